"""Writes DUIS messages: one namespace, no white space, the same octets for the same content.

Source: DUIS XSD V5.4; Canonical XML 1.0 for the form. What is written is asked of the schema before
it leaves: a caller that wants something no schema allows learns it here, not from the other side.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lxml import etree

from dsp_stub.errors import DspValueError, SchemaError
from dsp_stub.fields import eui64_to_xml
from dsp_stub.safe_xml import SR, collapse
from dsp_stub.schema import SchemaProfile, validate

_DECLARATION = b'<?xml version="1.0" encoding="UTF-8"?>\n'


class XmlWriter:
    """One message in the making: elements are written in the order of the schema."""

    def __init__(self, root: str, schema_version: str) -> None:
        self._root = etree.Element(f"{{{SR}}}{root}", nsmap={"sr": SR})
        self._at = self._root
        try:
            self._root.set("schemaVersion", schema_version)
        except ValueError:
            raise DspValueError("schemaVersion has characters that XML cannot have") from None

    @contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """An element; what is written meanwhile is in it."""
        outer = self._at
        self._at = etree.SubElement(outer, f"{{{SR}}}{name}")
        try:
            yield
        finally:
            self._at = outer

    def leaf(self, name: str, text: str) -> None:
        element = etree.SubElement(self._at, f"{{{SR}}}{name}")
        if text != collapse(text):
            raise DspValueError(f"{name} has white space that nobody would read back")
        try:
            element.text = text
        except ValueError:
            raise DspValueError(f"{name} has characters that XML cannot have") from None

    def optional(self, name: str, text: str | None) -> None:
        if text is not None:
            self.leaf(name, text)

    def optional_eui64(self, name: str, eui64: int | None) -> None:
        if eui64 is not None:
            self.leaf(name, eui64_to_xml(eui64))

    def address(self, post_code: str | None, address_identifier: str | None) -> None:
        """A PropertyFilter; whether both are there is the schema's to say."""
        if post_code is None and address_identifier is None:
            return
        with self.inside("PropertyFilter"):
            self.optional("PostCode", post_code)
            self.optional("AddressIdentifier", address_identifier)

    def octets(self, profile: SchemaProfile) -> bytes:
        """The message, if the profile allows it."""
        try:
            validate(self._root, profile)
        except SchemaError as error:
            path = error.place.partition(" (")[0]
            raise DspValueError(f"{path} {error.problem}") from None
        octets: bytes = etree.tostring(self._root, method="c14n")
        return _DECLARATION + octets
