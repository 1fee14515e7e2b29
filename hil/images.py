"""Which image each device of a bench gets: files checked, or images made from the seed.

Source: DESIGN, "There and back" (`image_policy`); MP170-SIZE (the limit). Everything is refused
here, before a run has a folder or an air.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from firmware_images.checks import require_acceptable
from firmware_images.errors import ImageError
from firmware_images.image import FirmwareImage
from firmware_images.samples import (
    ProductIdentity,
    identity,
    identity_of_image,
    image_stream,
    maker_key,
    maker_key_stream,
    seeded_image,
    split_trailer,
    verify_maker,
)
from hil.bench_file import Bench, Device, ImagePolicy
from hil.errors import RequestError
from hil.seeds import Seeds

NEW_VERSION = 0x00010200
OLD_VERSION = 0x00010100  # what a device runs when it is delivered


@dataclass(frozen=True, slots=True)
class DeviceImage:
    """One device's image, and by what the device judges it."""

    image: FirmwareImage
    policy: ImagePolicy
    maker: ec.EllipticCurvePublicKey
    factory_version: int
    product: ProductIdentity | None = None  # where it is not the built-in one of its kind


def maker_of(seeds: Seeds, product: ProductIdentity) -> ec.EllipticCurvePrivateKey:
    """The key with which the maker of `product` signs in this run."""
    return maker_key(seeds.stream(maker_key_stream(product.manufacturer_code)).getrandbits)


def with_images(bench: Bench, files: Sequence[Path]) -> Bench:
    """`bench` with each file of `--image` given to the devices of the product it is for.

    Raises RequestError for a file that does not read, fits no device here, or fits one that another
    of the files fits as well.
    """
    given: dict[str, Path] = {}
    for path in files:
        image = _read(bench, path, None)
        kind = identity_of_image(image.header)
        fitting = [device for device in bench.devices if device.kind == kind]
        header = image.header
        if not fitting:
            raise RequestError(
                f"{path} is for manufacturer 0x{header.manufacturer_code:04X} image type "
                f"0x{header.image_type:04X}, and no device of this bench is that: it has "
                + ", ".join(device.kind for device in bench.devices)
            )
        maker = maker_of(Seeds(bench.seed), identity(fitting[0].kind)).public_key()
        signed = split_trailer(image.data) is not None
        genuine = signed and verify_maker(image.data, maker) is None
        policy: ImagePolicy = "maker-signed" if genuine else "opaque"
        for device in fitting:
            if device.id in given:
                raise RequestError(f"{given[device.id]} and {path} are both for {device.id}")
            given[device.id] = path
            bench = bench.with_image(device.id, path, policy)
    return bench


def device_images(bench: Bench) -> dict[str, DeviceImage]:
    """The image of every device, by device id. Devices of one product and file share the object.

    Raises RequestError for an image that must not be sent.
    """
    seeds = Seeds(bench.seed)
    made: dict[tuple[object, ...], FirmwareImage] = {}
    listed: dict[tuple[str, int], tuple[str, FirmwareImage]] = {}
    images: dict[str, DeviceImage] = {}
    for device in bench.devices:
        product = device.product(device.kind)
        key = maker_of(seeds, product)
        source = (device.kind, device.image, device.image_size_bytes)
        image = made.get(source)
        if image is None:
            image = made[source] = _image_of(bench, seeds, device, product, key)
        version = image.header.file_version
        other, first = listed.setdefault((device.kind, version), (device.id, image))
        if first.sha256 != image.sha256:
            raise RequestError(
                f"{other} and {device.id} are both {device.kind} and have different images of "
                f"version {version:08X}: the Central Products List has one for a model and version"
            )
        factory = OLD_VERSION if version > OLD_VERSION else version - 1
        policy = device.image_policy
        if device.dut:  # whether a file is genuine is its maker's own affair
            factory, policy = int(str(device.version), 16), "opaque"
        images[device.id] = DeviceImage(image, policy, key.public_key(), factory, product)
    return images


def image_back(bench: Bench, device: Device) -> FirmwareImage | None:
    """The image that leads a device under test back, where there is one."""
    if device.image_back is None:
        return None
    return _read(bench, device.image_back, device.product(device.kind))


def _image_of(
    bench: Bench,
    seeds: Seeds,
    device: Device,
    product: ProductIdentity,
    key: ec.EllipticCurvePrivateKey,
) -> FirmwareImage:
    if device.image is not None:
        image = _read(bench, device.image, product)
        if device.image_policy == "maker-signed" and not device.dut:
            problem = verify_maker(image.data, key.public_key())
            if problem is not None:
                raise RequestError(
                    f'{device.image}: {problem}; with image_policy = "opaque" it is sent anyway'
                )
        return image
    image = seeded_image(
        product,
        file_version=NEW_VERSION,
        size_bytes=device.image_size_bytes,
        random_bits=seeds.stream(image_stream(device.kind)).getrandbits,
        maker_key=key,
    )
    return _accept(bench, image.data, product, f"the image of {device.id}")


def _read(bench: Bench, path: Path, product: ProductIdentity | None) -> FirmwareImage:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror}") from None
    return _accept(bench, data, product, str(path))


def _accept(bench: Bench, data: bytes, product: ProductIdentity | None, name: str) -> FirmwareImage:
    try:
        return require_acceptable(
            data, limit=bench.limits.size_limit(), identity=product, name=name
        )
    except ImageError as error:
        raise RequestError(str(error)) from None
