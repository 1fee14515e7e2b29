"""The products on the bench, and images made for them from a seed.

Source: the published DUIS 11.4 sample image (PPMID); MP170 (four bridge products, one image each);
FIPS 186-5 and RFC 6979 (the maker's signature).

A PPMID's image carries no signature the legal text knows of: whether it is genuine is its maker's
own affair. The maker here ends a file in a trailer of our own form (docs/open-points.md, "maker's
trailer"):

    octets   what
    -------  -----------------------------------------------------------------------
    8        MAKER_MARK
    64       r || s, ECDSA on P-256 with SHA-256, over every octet before the mark
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.hashes import SHA256

from firmware_images.errors import ImageValueError
from firmware_images.header import (
    HARDWARE_BYTE_ORDER,
    HEADER_STRING_OCTETS,
    ByteOrder,
    OtaHeader,
    build_header,
)
from firmware_images.image import MAX_FILE_BYTES, FirmwareImage, read_image

RandomBits = Callable[[int], int]
"""`getrandbits` of a seeded generator."""

PUBLISHED_MANUFACTURER_CODE = 0x121D
# No code of AltHANCo is published; this one lies far above those assigned so far
# (docs/open-points.md, "identities of the bridges").
ALTHANCO_MANUFACTURER_CODE = 0xA17A

MAKER_MARK = b"MAKERSIG"
SIGNATURE_OCTETS = 64
TRAILER_OCTETS = len(MAKER_MARK) + SIGNATURE_OCTETS

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # SP 800-186
MAKER_KEY_BITS = 256 + 64  # FIPS 186-5, A.2.1: the extra bits take the bias out of the remainder


@dataclass(frozen=True, slots=True)
class ProductIdentity:
    """What tells one product's image from another's.

    `model` is as DUIS and the CPL write it, 8 hexadecimal digits: model identifier, then hardware
    version and revision, which is `hardware_version`.
    """

    kind: str
    manufacturer_code: int
    image_type: int
    hardware_version: int
    model: str


def _bridge(number: int) -> ProductIdentity:
    # Equal octets, so that either byte order of the header's hardware range gives the same answer.
    hardware_version = number * 0x0101
    return ProductIdentity(
        kind=f"bridge-{number}",
        manufacturer_code=ALTHANCO_MANUFACTURER_CODE,
        image_type=0x0A00 + number,
        hardware_version=hardware_version,
        model=f"{0x0A00 + number:04X}{hardware_version:04X}",
    )


_PPMID = ProductIdentity("ppmid", PUBLISHED_MANUFACTURER_CODE, 0x0084, 0x1111, "00841111")
PRODUCTS = {product.kind: product for product in (_PPMID, *map(_bridge, range(1, 5)))}
KINDS = tuple(PRODUCTS)


def identity(kind: str) -> ProductIdentity:
    """The product of this kind: "ppmid" or "bridge-1" to "bridge-4"."""
    try:
        return PRODUCTS[kind]
    except KeyError:
        raise ImageValueError(f"no product {kind!r}; there are {', '.join(KINDS)}") from None


def identity_of_image(header: OtaHeader, byte_order: ByteOrder = HARDWARE_BYTE_ORDER) -> str | None:
    """The kind of the product a file fits, None when it fits none of them."""
    for product in PRODUCTS.values():
        ids = (product.manufacturer_code, product.image_type)
        if ids == (header.manufacturer_code, header.image_type) and header.fits_hardware(
            product.hardware_version, byte_order
        ):
            return product.kind
    return None


def maker_key_stream(manufacturer_code: int) -> str:
    """The name of the random stream a maker's key is drawn from, the same wherever it is needed."""
    return f"maker key {manufacturer_code:04X}"


def image_stream(kind: str) -> str:
    """The name of the random stream an image's body is drawn from."""
    return f"image {kind}"


def maker_key(random_bits: RandomBits) -> ec.EllipticCurvePrivateKey:
    """The maker's P-256 key, drawn from a seeded `getrandbits`."""
    scalar = random_bits(MAKER_KEY_BITS) % (P256_ORDER - 1) + 1
    return ec.derive_private_key(scalar, ec.SECP256R1())


def seeded_image(
    identity: ProductIdentity,
    *,
    file_version: int,
    size_bytes: int,
    random_bits: RandomBits,
    maker_key: ec.EllipticCurvePrivateKey,
) -> FirmwareImage:
    """An image of `size_bytes` in all for one product: random octets and the maker's trailer."""
    header = OtaHeader(
        manufacturer_code=identity.manufacturer_code,
        image_type=identity.image_type,
        file_version=file_version,
        header_string=f"hanbench {identity.kind}".encode().ljust(HEADER_STRING_OCTETS, b"\0"),
        minimum_hardware_version=identity.hardware_version,
        maximum_hardware_version=identity.hardware_version,
    )
    random_octets = size_bytes - header.header_length - TRAILER_OCTETS
    if random_octets < 1 or size_bytes > MAX_FILE_BYTES:
        least = header.header_length + 1 + TRAILER_OCTETS
        raise ImageValueError(f"an image has {least} to {MAX_FILE_BYTES} bytes, not {size_bytes}")
    data = bytearray(build_header(replace(header, total_image_size_bytes=size_bytes)))
    data += random_bits(8 * random_octets).to_bytes(random_octets, "little")
    signature = _sign(data, maker_key)
    data += MAKER_MARK
    data += signature
    return read_image(bytes(data), identity.kind)


def split_trailer(data: bytes | memoryview) -> tuple[memoryview, bytes] | None:
    """What the maker signed and the r || s of it, None when no trailer ends the file."""
    view = memoryview(data)
    mark = len(view) - TRAILER_OCTETS
    if mark < 0 or view[mark : mark + len(MAKER_MARK)] != MAKER_MARK:
        return None
    return view[:mark], bytes(view[mark + len(MAKER_MARK) :])


def sign_again(data: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    """The file with the signature in its trailer made anew, by this key."""
    parts = split_trailer(data)
    if parts is None:
        raise ImageValueError(f"no maker's trailer ends the {len(data)} bytes of the image")
    return data[:-SIGNATURE_OCTETS] + _sign(bytes(parts[0]), key)


def verify_maker(data: bytes | memoryview, public_key: ec.EllipticCurvePublicKey) -> str | None:
    """None when the maker signed exactly this file, else the sentence that says why not."""
    parts = split_trailer(data)
    if parts is None:
        return f"no maker's trailer ends the {len(data)} bytes of the image"
    signed, signature = parts
    r, s = signature[:32], signature[32:]
    der = encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))
    try:
        public_key.verify(der, signed, ec.ECDSA(SHA256()))
    except InvalidSignature:
        return f"the maker's signature does not fit the first {len(signed)} bytes of the image"
    return None


def _sign(data: bytes | bytearray, key: ec.EllipticCurvePrivateKey) -> bytes:
    der = key.sign(data, ec.ECDSA(SHA256(), deterministic_signing=True))
    r, s = decode_dss_signature(der)
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")
