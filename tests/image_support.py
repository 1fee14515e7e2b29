"""A small image of a product, whoever made it."""

from __future__ import annotations

from functools import cache

from firmware_images.header import OtaHeader
from firmware_images.image import build_image
from firmware_images.samples import identity


@cache
def small_image(kind: str, version: int = 0x00010200) -> bytes:
    product = identity(kind)
    header = OtaHeader(
        manufacturer_code=product.manufacturer_code,
        image_type=product.image_type,
        file_version=version,
        minimum_hardware_version=product.hardware_version,
        maximum_hardware_version=product.hardware_version,
    )
    return build_image(header, bytes(range(256))).data
