"""What a kind of request body is in XML: its element, its service, how it is read and written.

Source: DUIS XSD V5.4: the body of a request is one element, and the element says the service.

Each family of requests has its module, which ends in a table of these; `dsp_stub.requests` joins
the tables.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lxml import etree

from dsp_stub.xml_writer import XmlWriter


@dataclass(frozen=True, slots=True)
class BodyXml:
    """One kind of body. `write` puts in what is inside the element."""

    element: str
    variant: str
    kind: type[Any]
    read: Callable[[etree._Element], Any]
    write: Callable[[XmlWriter, Any], None]


def service_reference(variant: str) -> str:
    """The service a variant is one of: 8.7 of 8.7.1, 11.4 of 11.4."""
    return ".".join(variant.split(".")[:2])
