"""Frames as JSON documents, and documents as frames: what `frame decode` prints and `build` takes.

Source: DESIGN, "What it promises to the outside" (`frame decode --json`). Beside the fields named
there a document holds

    key        what
    ---------  --------------------------------------------------------------------------------
    envelope   what else it takes to build the frame again: other information, date-time, the
               octets of signature and MAC (null where a frame has none), and `lengths` where
               they are not in their shortest form
    payload    `octets`, the fields by their names, `lengths` as above
    attributes encrypted attributes: offset, length, verdict, and what they say under the keys
    fields     every field with its offset and length; those of the payload begin with `payload.`

A document that is built needs message_code, cra, originator, recipient, originator_counter and
payload; fields of the payload count before its octets.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import IntEnum
from typing import Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from gbcs.codes import MESSAGES
from gbcs.envelope import Cra, Frame, OtherInformation, ReceivedFrame
from gbcs.errors import GbcsValueError
from gbcs.fields import Reading

Document = dict[str, Any]

# Hexadecimal digits of each number that is not shown in decimal.
HEX_WIDTHS = {
    "firmware_version": 8,
    "alert_code": 4,
    **dict.fromkeys(
        (
            "device",
            "other_device",
            "subject",
            "existing_subject",
            "replacing_subject",
            "extended_pan_id",
            "originator",
            "recipient",
            "supplementary_remote_party_id",
        ),
        16,
    ),
}
_OTHER = (
    "supplementary_remote_party_id",
    "supplementary_remote_party_counter",
    "supplementary_originator_counter",
)


# -- values to documents -----------------------------------------------------------------------


def document_of(value: object, name: str = "") -> Any:
    """A payload, or a part of one, as JSON has it."""
    match value:
        case IntEnum():
            return value.name.lower().replace("_", "-")
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case bytes():
            return value.hex().upper()
        case bool():
            return value
        case int() if name in HEX_WIDTHS:
            return f"{value:0{HEX_WIDTHS[name]}X}"
        case dict():
            return {key: document_of(each, key) for key, each in value.items()}
        case tuple():
            return [document_of(each, name) for each in value]
        case _ if is_dataclass(value):
            return {
                field.name: document_of(getattr(value, field.name), field.name)
                for field in fields(value)
            }
        case _:
            return value


def payload_document(frame: Frame, reading: Reading[Any] | None) -> Document:
    document: Document = {"octets": frame.payload.hex().upper()}
    if reading is not None:
        document |= document_of(reading.value)
        if reading.lengths:
            document["lengths"] = list(reading.lengths)
    return document


def envelope_document(received: ReceivedFrame) -> Document:
    frame, other = received.frame, received.frame.other_information
    document: Document = {
        name: document_of(value, name)
        for name in _OTHER
        if (value := getattr(other, name)) is not None
    }
    if other.key_agreement_certificate:
        document["key_agreement_certificate"] = other.key_agreement_certificate.hex().upper()
    if frame.date_time:
        document["date_time"] = frame.date_time.hex().upper()
    for name in ("signature", "mac"):
        octets = getattr(frame, name)
        document[name] = None if octets is None else octets.hex().upper()
    if received.lengths:
        document["lengths"] = list(received.lengths)
    return document


def fields_document(received: ReceivedFrame, reading: Reading[Any] | None) -> list[Document]:
    """Every field where it stands; those of the payload behind it."""
    rows: list[Document] = []
    for span in received.spans:
        rows.append(span._asdict())
        if span.name == "payload" and reading is not None:
            rows += [
                {"name": f"payload.{inner.name}", "offset": inner.offset, "length": inner.length}
                for inner in reading.spans
            ]
    return rows


# -- documents to values -----------------------------------------------------------------------


class Drafted(NamedTuple):
    """A frame as a document has it, before it is protected: `payload_lengths` and `lengths` say
    which forms its lengths take."""

    frame: Frame
    lengths: tuple[int, ...]


def frame_of(document: object) -> Drafted:
    """The frame a document describes. Raises GbcsValueError, which names the key."""
    if not isinstance(document, Mapping):
        raise GbcsValueError("a frame is an object with message_code, cra, originator, ...")
    code = _number(_required(document, "message_code"), "message_code", 16)
    cra = _member(Cra, _required(document, "cra"), "cra")
    envelope = document.get("envelope") or {}
    if not isinstance(envelope, Mapping):
        raise GbcsValueError("envelope is not an object")
    party = {
        name: _number(envelope[name], name, 16 if name in HEX_WIDTHS else 10)
        for name in _OTHER
        if name in envelope
    }
    signature, mac = envelope.get("signature", ""), envelope.get("mac")
    frame = Frame(
        cra=cra,
        originator_counter=_number(
            _required(document, "originator_counter"), "originator_counter", 10
        ),
        originator=_number(_required(document, "originator"), "originator", 16),
        recipient=_number(_required(document, "recipient"), "recipient", 16),
        other_information=OtherInformation(
            code,
            **party,
            key_agreement_certificate=_octets(
                envelope.get("key_agreement_certificate", ""), "key_agreement_certificate"
            ),
        ),
        payload=_payload(code, cra, _required(document, "payload")),
        date_time=_octets(envelope.get("date_time", ""), "date_time"),
        signature=None if signature is None else _octets(signature, "signature"),
        mac=None if mac is None else _octets(mac, "mac"),
    )
    return Drafted(frame, _lengths(envelope))


def _payload(code: int, cra: Cra, document: object) -> bytes:
    if isinstance(document, str):
        return _octets(document, "payload")
    if not isinstance(document, Mapping):
        raise GbcsValueError("payload is neither an object nor hexadecimal octets")
    named = {name: value for name, value in document.items() if name not in ("octets", "lengths")}
    message = MESSAGES.get((code, cra))
    if message is None or (not named and "octets" in document):
        if named:
            first = next(iter(named))
            raise GbcsValueError(f"payload.{first}: {code:04X} {cra.name.lower()} is not read here")
        return _octets(_required(document, "octets"), "payload.octets")
    kinds = message.definition.kinds
    kind = next((each for each in kinds if _names(each) >= set(named)), kinds[0])
    value = _value(kind, named, "payload")
    return message.definition.build(value, _lengths(document))


def _names(kind: type[Any]) -> set[str]:
    return {field.name for field in fields(kind)}


def _value(hint: Any, given: object, name: str) -> Any:
    """What a field of this type is, from JSON."""
    if get_origin(hint) in (Union, types.UnionType):
        if given is None:
            return None
        (hint,) = [each for each in get_args(hint) if each is not types.NoneType]
    if get_origin(hint) is tuple:
        if not isinstance(given, list):
            raise GbcsValueError(f"{name} is not a list")
        inner = get_args(hint)[0]
        return tuple(_value(inner, each, f"{name}[{at}]") for at, each in enumerate(given))
    if is_dataclass(hint):
        return _object(hint, given, name)
    if isinstance(hint, type) and issubclass(hint, IntEnum):
        return _member(hint, given, name)
    return _LEAVES[hint](given, name)


def _object(kind: Any, given: object, name: str) -> Any:
    if not isinstance(given, Mapping):
        raise GbcsValueError(f"{name} is not an object")
    if unknown := sorted(set(given) - _names(kind)):
        raise GbcsValueError(f"{name}.{unknown[0]} is no field of {kind.__name__}")
    hints = get_type_hints(kind)
    values = {key: _value(hints[key], each, f"{name}.{key}") for key, each in given.items()}
    try:
        return kind(**values)
    except TypeError:
        missing = sorted(_names(kind) - set(given))
        raise GbcsValueError(f"{name}.{missing[0]} is missing") from None


def _member(members: type[IntEnum], given: object, name: str) -> Any:
    for member in members:
        if given == member.name.lower().replace("_", "-") or given == int(member):
            return member
    known = ", ".join(member.name.lower().replace("_", "-") for member in members)
    raise GbcsValueError(f"{name} is {given!r}, not one of {known}")


def _required(document: Mapping[str, Any], name: str) -> Any:
    if name not in document:
        raise GbcsValueError(f"{name} is missing")
    return document[name]


def _number(given: object, name: str, base: int) -> int:
    if isinstance(given, int) and not isinstance(given, bool):
        return given
    try:
        return int(str(given), base)
    except ValueError:
        raise GbcsValueError(f"{name} is {given!r}, not a number") from None


def _octets(given: object, name: str) -> bytes:
    try:
        return bytes.fromhex(given)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise GbcsValueError(f"{name} is not octets in hexadecimal") from None


def _lengths(document: Mapping[str, Any]) -> tuple[int, ...]:
    given = document.get("lengths", [])
    if not isinstance(given, list) or not all(each in (1, 2, 3) for each in given):
        raise GbcsValueError("lengths is not a list of 1, 2 and 3")
    return tuple(given)


def _leaf_number(given: object, name: str) -> int:
    field = name.rsplit(".", 1)[-1]
    return _number(given, name, 16 if field in HEX_WIDTHS else 10)


def _leaf_time(given: object, name: str) -> datetime:
    try:
        time = datetime.fromisoformat(str(given))
    except ValueError:
        raise GbcsValueError(f"{name} is {given!r}, not a time") from None
    return time


def _leaf_flag(given: object, name: str) -> bool:
    if not isinstance(given, bool):
        raise GbcsValueError(f"{name} is neither true nor false")
    return given


_LEAVES: dict[Any, Callable[[object, str], Any]] = {
    int: _leaf_number,
    bytes: _octets,
    datetime: _leaf_time,
    bool: _leaf_flag,
}
