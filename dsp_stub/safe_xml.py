"""XML from anybody: parsed without document types, entities, network or inclusions, and bounded.

Source: XML 1.0 (fifth edition), 2.8 (prolog) and 4.3.3 (encodings); DUIS XSD: FirmwareImage may
have 10 240 000 octets, which base64 makes 13.7 million characters.

A document type declaration is looked for before the parser sees the document: entities would be
expanded in attributes while it reads. The search is for the letters alone, in comments and CDATA
too: no DUIS message has them, and what is not told apart cannot be told apart wrongly. Only UTF-8,
and UTF-16 with its byte order mark, are decoded, both here, so that parser and search see the same
characters.

Comments and processing instructions stay in the tree, since a document that is signed keeps them.
So an element's text is read with `text_of`: lxml's own `text` ends at the first comment, of which
a signature says nothing.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

from lxml import etree

from dsp_stub.errors import DoctypeError, DuisError

SR = "http://www.dccinterface.co.uk/ServiceUserGateway"
RA = "http://www.dccinterface.co.uk/ResponseAndAlert"
DS = "http://www.w3.org/2000/09/xmldsig#"

MAX_DOCUMENT_BYTES = 24 * 1024 * 1024
MAX_DEPTH = 64
# A request has some 30 tags, an inventory of 17 devices a thousand: nodes cost 30 times the octets
# they are written with.
MAX_TAGS = 10_000
MAX_EQUALS_SIGNS = 10_000

THING = "DUIS document"
_SHOWN_CHARACTERS = 60
_SHOWN_STEPS = 8

_ENCODINGS = ("UTF-8", "UTF-16", "US-ASCII")
_DECLARED_ENCODING = re.compile(
    r"<\?xml[ \t\r\n][^>]*?encoding[ \t\r\n]*=[ \t\r\n]*[\"']([^\"'>]*)[\"']"
)
_DOCTYPE = "<!DOCTYPE"
_WHITE_SPACE = re.compile(r"[ \t\r\n]+")
_LINE_AND_COLUMN = re.compile(r",? ?line \d+, column \d+.*", re.DOTALL)


def parse_xml(octets: bytes, thing: str = THING) -> etree._Element:
    """The root element. Raises DuisError, and DoctypeError for any document type declaration."""
    if len(octets) > MAX_DOCUMENT_BYTES:
        problem = f"has {len(octets)} octets, more than {MAX_DOCUMENT_BYTES}"
        raise DuisError(thing, "the document", problem)
    if octets.count(b"<") > MAX_TAGS or octets.count(b"=") > MAX_EQUALS_SIGNS:
        raise DuisError(thing, "the document", "has more markup than any DUIS document")
    text = _decode(octets, thing)
    _refuse_doctype(text, thing)
    parser = etree.XMLParser(
        encoding="UTF-8",  # whatever the declaration says: it was decoded above
        resolve_entities=False,
        load_dtd=False,
        dtd_validation=False,
        attribute_defaults=False,
        no_network=True,
        huge_tree=True,
        strip_cdata=False,
    )
    try:
        root = etree.fromstring(text.encode(), parser)
    except etree.XMLSyntaxError as error:
        line, column = error.position
        problem = _LINE_AND_COLUMN.sub("", str(error.msg)).strip() or "it ends early"
        # What libxml2 quotes of the document is not repeated at length.
        shown = shorten(" ".join(problem.split()), 2 * _SHOWN_CHARACTERS)
        raise DuisError(thing, f"line {line}, column {column}", f"is not XML: {shown}") from None
    if root.getroottree().docinfo.internalDTD is not None:
        raise DoctypeError(thing, "the prolog", "has a document type declaration")
    _require_shallow(root, thing)
    return root


def _decode(octets: bytes, thing: str) -> str:
    is_utf_16 = octets.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    encoding = "utf-16" if is_utf_16 else "utf-8-sig"
    try:
        text = octets.decode(encoding)
    except UnicodeDecodeError as error:
        place = f"octet {error.start}"
        raise DuisError(thing, place, f"is not {encoding.removesuffix('-sig').upper()}") from None
    declared = _DECLARED_ENCODING.match(text)
    if declared is not None and declared[1].upper() not in _ENCODINGS:
        problem = f"says {shorten(declared[1])!r}, only UTF-8 and UTF-16 are read"
        raise DuisError(thing, "the encoding", problem)
    return text


def _refuse_doctype(text: str, thing: str) -> None:
    at = text.find(_DOCTYPE)
    if at >= 0:
        line = text.count("\n", 0, at) + 1
        raise DoctypeError(thing, f"line {line}", "has a document type declaration")


def _require_shallow(root: etree._Element, thing: str) -> None:
    level, depth = [root], 1
    while level := [child for element in level for child in children(element)]:
        depth += 1
        if depth > MAX_DEPTH:
            problem = f"is nested deeper than {MAX_DEPTH} elements"
            raise DuisError(thing, f"line {level[0].sourceline}", problem)


# -- reading a tree ----------------------------------------------------------------------------


def children(element: etree._Element) -> Iterator[etree._Element]:
    """The elements in an element, without its comments and processing instructions."""
    return iter(element.iterchildren(tag=etree.Element))


def child(element: etree._Element, name: str) -> etree._Element | None:
    """The first child with this name in the namespace of service requests."""
    return element.find(f"{{{SR}}}{name}")


def text_of(element: etree._Element) -> str:
    """All text directly in an element, that after a comment too."""
    parts = [element.text or ""]
    parts += [node.tail or "" for node in element]
    return "".join(parts)


def token(element: etree._Element) -> str:
    """The text of an element as xs:token has it: white space collapsed."""
    return collapse(text_of(element))


def collapse(text: str) -> str:
    """White space as xs:token has it; other spaces of Unicode are characters like any."""
    if not has_white_space(text):
        return text
    return _WHITE_SPACE.sub(" ", text).strip(" ")


def has_white_space(text: str) -> bool:
    """Whether there is any: a megabyte of base64 is searched faster than it is replaced in."""
    return any(mark in text for mark in " \t\r\n")


def local_name(element: etree._Element) -> str:
    name: str = etree.QName(element).localname
    return name


def place_of(element: etree._Element) -> str:
    """Where an element is, for a sentence: its path and its line."""
    steps = [element, *element.iterancestors()][:_SHOWN_STEPS]
    path = "/".join(shorten(local_name(step)) for step in reversed(steps))
    line = element.sourceline
    return path if line is None else f"{path} (line {line})"


def shorten(text: str, characters: int = _SHOWN_CHARACTERS) -> str:
    return text if len(text) <= characters else f"{text[:characters]}..."
