"""Reads the values of a DUIS message: each by the form it has, each refusal with its place.

Source: DUIS XSD V5.4 (simple types).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from lxml import etree

from dsp_stub.errors import DuisError, SchemaError
from dsp_stub.fields import RequestId, eui64_from_xml, octets_from_hex, octets_from_xml
from dsp_stub.safe_xml import THING, child, local_name, place_of, token

_T = TypeVar("_T")
# Where in a DeviceIDList of 24 characters a device something else than a digit stands.
_MARKS = (*((at, "-") for at in range(2, 23, 3)), (23, ","))


def refused(element: etree._Element, problem: str) -> SchemaError:
    return SchemaError(THING, place_of(element), problem)


def require(parent: etree._Element, name: str) -> etree._Element:
    """The child with this name, which must be there."""
    element = child(parent, name)
    if element is None:
        raise refused(parent, f"lacks {name}")
    return element


def read_text(parent: etree._Element, name: str) -> str:
    return token(require(parent, name))


def optional_text(parent: etree._Element | None, name: str) -> str | None:
    """The text of a child; None if it, or what it would be in, is not there."""
    element = None if parent is None else child(parent, name)
    return None if element is None else token(element)


def read_as(element: etree._Element, read: Callable[[str, str], _T]) -> _T:
    """A value by the reader of its form."""
    try:
        return read(token(element), local_name(element))
    except DuisError as error:
        raise refused(element, error.problem) from None


def read_field(parent: etree._Element, name: str, read: Callable[[str, str], _T]) -> _T:
    return read_as(require(parent, name), read)


def optional_field(parent: etree._Element, name: str, read: Callable[[str, str], _T]) -> _T | None:
    element = child(parent, name)
    return None if element is None else read_as(element, read)


def read_eui64(parent: etree._Element, name: str) -> int:
    return read_field(parent, name, eui64_from_xml)


def read_request_id(parent: etree._Element, name: str) -> RequestId:
    return read_field(parent, name, RequestId.parse)


def read_octets(parent: etree._Element, name: str) -> bytes:
    return read_field(parent, name, octets_from_xml)


def read_hex(parent: etree._Element, name: str) -> bytes:
    return read_field(parent, name, octets_from_hex)


def read_devices(text: str, place: str) -> tuple[int, ...]:
    """A DeviceIDList."""
    # One after the other is what 50 000 have no time for, and finds the one that is wrong.
    if all(text[at::24].strip(mark) == "" for at, mark in _MARKS):
        with suppress(ValueError):
            octets = bytes.fromhex(text.replace("-", "").replace(",", ""))
            if 3 * len(octets) == len(text) + 1:
                return struct.unpack(f">{len(octets) // 8}Q", octets)
    return tuple(eui64_from_xml(one, place) for one in text.split(","))
