"""Which file goes to which device, and what is refused before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench_support import make_image, published

from firmware_images.image import build_image
from firmware_images.samples import identity, split_trailer, verify_maker
from hil.bench_file import BUILT_IN, Bench
from hil.errors import RequestError
from hil.images import NEW_VERSION, OLD_VERSION, device_images, with_images


def bench(**changes: object) -> Bench:
    return Bench.model_validate(
        {
            "device": [
                {"id": "ppmid", "kind": "ppmid", "image_size_bytes": 2048},
                {"id": "bridge-1", "kind": "bridge-1", "image_size_bytes": 2048},
                {"id": "bridge-2", "kind": "bridge-2", "image_size_bytes": 2048},
            ]
        }
        | changes
    )


def write(folder: Path, data: bytes, name: str = "image.ota") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def test_the_built_in_images_have_the_sizes_that_are_promised() -> None:
    images = device_images(BUILT_IN)
    sizes = {name: len(image.image.data) for name, image in images.items()}
    assert sizes == {"ppmid": 65_536, "bridge-1": 768_000, "bridge-2": 65_536}
    for image in images.values():
        assert image.policy == "maker-signed"
        assert image.image.header.file_version == NEW_VERSION > image.factory_version == OLD_VERSION
        assert verify_maker(image.image.data, image.maker) is None


def test_a_seed_has_images_of_its_own_and_the_same_ones_each_time() -> None:
    hashes = [
        {name: image.image.sha256 for name, image in device_images(bench(seed=seed)).items()}
        for seed in (1, 1, 2)
    ]
    assert hashes[0] == hashes[1]
    assert not set(hashes[0].values()) & set(hashes[2].values())


def test_devices_of_one_product_share_one_file_in_memory() -> None:
    two = Bench.model_validate(
        {
            "device": [
                {"id": name, "kind": "ppmid", "image_size_bytes": 2048} for name in ("one", "two")
            ]
        }
    )
    images = device_images(two)
    assert images["one"].image is images["two"].image


def test_a_published_sample_goes_to_the_ppmid_as_it_is() -> None:
    path = published("11.4_UPDATE_PPMID_FIRMWARE_SAMPLE.ota")
    chosen = with_images(bench(), [path])
    image = device_images(chosen)["ppmid"]
    assert image.policy == "opaque"
    assert image.image.data == path.read_bytes()
    assert image.factory_version < image.image.header.file_version


def test_a_file_of_the_seeds_own_maker_stays_maker_signed(tmp_path: Path) -> None:
    made = device_images(bench())["bridge-1"].image
    chosen = with_images(bench(), [write(tmp_path, made.data)])
    assert device_images(chosen)["bridge-1"].policy == "maker-signed"
    other_seed = with_images(bench(seed=2), [write(tmp_path, made.data)])
    assert device_images(other_seed)["bridge-1"].policy == "opaque"
    assert split_trailer(made.data) is not None


def test_a_file_for_nobody_here_says_what_it_is_for_and_who_is_here(tmp_path: Path) -> None:
    image = make_image(512)
    header = image.header.__class__(
        manufacturer_code=0x1234, image_type=0x5678, file_version=1, header_string=b"x" * 32
    )
    path = write(tmp_path, build_image(header, bytes(100)).data)
    with pytest.raises(RequestError, match=r"0x1234 image type 0x5678.*ppmid, bridge-1, bridge-2"):
        with_images(bench(), [path])


def test_two_files_for_one_device_are_refused_by_their_names(tmp_path: Path) -> None:
    first = write(tmp_path, make_image(512).data, "first.ota")
    second = write(tmp_path, make_image(600).data, "second.ota")
    with pytest.raises(RequestError, match=r"first.ota and .*second.ota are both for ppmid"):
        with_images(bench(), [first, second])


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "image.ota"),
        (b"not an image at all, but long enough to be one of them" * 3, "file identifier"),
        (make_image(600).data[:-1], "600"),
        (make_image(600).data[:40], "image.ota"),
        (make_image(750 * 1024 + 1).data, "768001"),
    ],
    ids=["empty", "foreign", "truncated", "header cut", "over the limit"],
)
def test_a_file_that_must_not_be_sent_is_named_with_the_reason(
    tmp_path: Path, data: bytes, says: str
) -> None:
    path = write(tmp_path, data)
    with pytest.raises(RequestError) as refusal:
        device_images(with_images(bench(), [path]))
    sentence = str(refusal.value)
    assert "image.ota" in sentence
    assert says in sentence.replace(" ", "") or says in sentence
    assert "\n" not in sentence


def test_an_image_of_exactly_the_limit_is_sent(tmp_path: Path) -> None:
    path = write(tmp_path, make_image(750 * 1024).data)
    image = device_images(with_images(bench(), [path]))["ppmid"]
    assert len(image.image.data) == 768_000


def test_a_file_that_is_nobodys_update_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, make_image(600, version=0).data)
    with pytest.raises(RequestError, match="00000000, never a real one"):
        device_images(with_images(bench(), [path]))


@pytest.mark.parametrize("version", [1, OLD_VERSION, 0xFFFFFFFE])
def test_a_device_is_delivered_with_something_older_than_its_update(
    tmp_path: Path, version: int
) -> None:
    path = write(tmp_path, make_image(600, version=version).data)
    image = device_images(with_images(bench(), [path]))["ppmid"]
    assert 0 <= image.factory_version < version


def test_a_bench_that_wants_signed_files_refuses_one_that_is_not(tmp_path: Path) -> None:
    path = write(tmp_path, make_image(600).data)
    signed = bench(device=[{"id": "ppmid", "kind": "ppmid", "image": str(path)}])
    with pytest.raises(RequestError, match='with image_policy = "opaque" it is sent anyway'):
        device_images(signed)
    opaque = bench(
        device=[
            {"id": "ppmid", "kind": "ppmid", "image": str(path), "image_policy": "opaque"},
        ]
    )
    assert device_images(opaque)["ppmid"].image.data == path.read_bytes()


def test_a_file_for_other_hardware_is_for_nobody(tmp_path: Path) -> None:
    image = make_image(600)
    fields = {
        name: getattr(image.header, name)
        for name in ("manufacturer_code", "image_type", "file_version")
    }
    header = image.header.__class__(
        **fields, minimum_hardware_version=0x2222, maximum_hardware_version=0x2222
    )
    path = write(tmp_path, build_image(header, bytes(100)).data)
    assert identity("ppmid").hardware_version == 0x1111
    with pytest.raises(RequestError, match="no device of this bench"):
        with_images(bench(), [path])
