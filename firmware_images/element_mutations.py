"""Damage to a file's sub-elements and signatures, for `firmware_images.damage`.

Source: the sheet "Malformed or hostile images" of this bench; ZigBee Cluster Library, "OTA File
Format" (tags). The content becomes the data of an upgrade image, and the built-in maker's trailer
stays inside it: nothing but the element format is judged by it.
"""

from __future__ import annotations

from functools import partial

from firmware_images.checks import (
    ELEMENT_OCTETS,
    FIRST_MANUFACTURER_ELEMENT,
    SIGNATURE_SUITE_1,
    SIGNATURE_SUITE_2,
    UPGRADE_IMAGE,
)
from firmware_images.errors import ImageValueError
from firmware_images.image import MAX_ELEMENTS, build_image, join_elements
from firmware_images.mutations import Mutate, Undamaged
from firmware_images.samples import maker_key, sign_again

_RESERVED_ELEMENT = 0x0100
_CERTIFICATE_SUITE_2 = 0x0006


def _elements(file: Undamaged, *elements: tuple[int, bytes], behind: bytes = b"") -> bytes:
    return build_image(file.header, join_elements(elements) + behind).data


def element_past_end(file: Undamaged) -> bytes:
    length = len(file.image.body) + 1
    head = UPGRADE_IMAGE.to_bytes(2, "little") + length.to_bytes(4, "little")
    return build_image(file.header, head + bytes(file.image.body)).data


def element_empty(file: Undamaged) -> bytes:
    return _elements(file, (UPGRADE_IMAGE, b""))


def element_twice(file: Undamaged) -> bytes:
    body = bytes(file.image.body)
    return _elements(file, (UPGRADE_IMAGE, body), (UPGRADE_IMAGE, file.redrawn(body)))


def element_reserved(file: Undamaged) -> bytes:
    return _elements(file, (_RESERVED_ELEMENT, file.octets(8)), _whole(file))


def element_manufacturer(file: Undamaged) -> bytes:
    return _elements(file, (FIRST_MANUFACTURER_ELEMENT, file.octets(8)), _whole(file))


def element_many(file: Undamaged) -> bytes:
    more = [(FIRST_MANUFACTURER_ELEMENT + at, file.octets(4)) for at in range(MAX_ELEMENTS)]
    return _elements(file, _whole(file), *more)


def _whole(file: Undamaged) -> tuple[int, bytes]:
    """All of the body as an upgrade image."""
    return UPGRADE_IMAGE, bytes(file.image.body)


def _trailing(file: Undamaged, octets: int) -> bytes:
    return _elements(file, _whole(file), behind=file.octets(octets))


ELEMENT_TRAILING: dict[str, Mutate] = {
    str(octets): partial(_trailing, octets=octets) for octets in range(1, 6)
}


# Signatures: of the format, as sub-elements; and the built-in maker's, which ends the file.


def _signature(file: Undamaged, tag: int) -> tuple[int, bytes]:
    return tag, file.octets(ELEMENT_OCTETS[tag])


def _maker_trailer(file: Undamaged) -> bytes:
    if not file.trailer:
        raise ImageValueError("the file has no maker's trailer")
    return file.trailer


def _unsigned_elements(file: Undamaged) -> bytes:
    return _elements(file, (UPGRADE_IMAGE, file.content))


def _without_trailer(file: Undamaged) -> bytes:
    _maker_trailer(file)
    return build_image(file.header, file.content).data


def _signature_then_more(file: Undamaged) -> bytes:
    signature = _signature(file, SIGNATURE_SUITE_2)
    return _elements(file, _whole(file), signature, (FIRST_MANUFACTURER_ELEMENT, file.octets(8)))


def _trailer_then_more(file: Undamaged) -> bytes:
    content = file.content + _maker_trailer(file) + file.octets(8)
    return build_image(file.header, content).data


def signature_both(file: Undamaged) -> bytes:
    signatures = [_signature(file, tag) for tag in (SIGNATURE_SUITE_1, SIGNATURE_SUITE_2)]
    return _elements(file, _whole(file), *signatures)


def _foreign_elements(file: Undamaged) -> bytes:
    """Signature and certificate of nobody that anybody knows."""
    certificate = _signature(file, _CERTIFICATE_SUITE_2)
    return _elements(file, _whole(file), certificate, _signature(file, SIGNATURE_SUITE_2))


def _foreign_maker(file: Undamaged) -> bytes:
    """A good signature, by another key than the maker's."""
    _maker_trailer(file)
    return sign_again(file.data, maker_key(file.random_bits))


SIGNATURE_MISSING: dict[str, Mutate] = {"elements": _unsigned_elements, "maker": _without_trailer}
SIGNATURE_NOT_LAST: dict[str, Mutate] = {
    "elements": _signature_then_more,
    "maker": _trailer_then_more,
}
SIGNATURE_FOREIGN: dict[str, Mutate] = {"elements": _foreign_elements, "maker": _foreign_maker}
