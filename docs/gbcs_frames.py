"""Writes `gbcs-frames.md` beside it: two exchanges octet by octet, and the table of use cases.

Source: the definitions of `gbcs/`; the frames are made with the test SMKI of seed 1, so the page is
the same whenever it is made. Run `python docs/gbcs_frames.py`; a test says when that is due.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from gbcs.acb import AccessControlBroker, BrokerState, User
from gbcs.certificates import Role
from gbcs.codes import (
    CS09_FIRMWARE_ACTIVATION,
    MESSAGES,
    SIGNED,
    SIGNED_AND_MACED,
    Message,
    Protection,
    build_payload,
    read_payload,
)
from gbcs.endpoint import DeviceKeys, Endpoint, EndpointState, Reply, TrustCells
from gbcs.envelope import Cra, parse_frame
from gbcs.firmware import ActivateImageResult, FirmwareActivation
from gbcs.protection import KeyUse
from gbcs.smki import ACB_EUI64, PPMID_EUI64, SUPPLIER_EUI64, Smki, issue_store
from gbcs.use_cases import read_firmware_version
from hil.frame_documents import document_of
from hil.seeds import Seeds

PAGE = Path(__file__).with_name("gbcs-frames.md")
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
VERSION = 0x0123ABCD
_ROW_OCTETS = 16

_HEAD = """\
# GBCS frames

Made by `python docs/gbcs_frames.py` from the definitions in `gbcs/`; do not edit.

Every frame is shown by `hanbench frame decode`, and made by `hanbench frame build` from what
`decode --json` prints. The frames below are made with the test SMKI of seed 1 (`hanbench pki
create`), so their signatures and MACs are nobody's. All numbers have their most significant octet
first.
"""

_MEANING = {
    "tag": "general-ciphering: a MAC header follows",
    "empty_fields": "five fields without content",
    "key_info": "none",
    "length": "of all that follows",
    "security_control": "authentication only, suite 1",
    "invocation_counter": "always zero",
    "grouping_tag": "general-signing; what a MAC protects begins here",
    "transaction_id_length": "what a signature protects begins here",
    "cra_flag": "1 command, 2 response, 3 alert",
    "originator_counter": "a number its originator never used before; a response has the command's",
    "originator": "EUI-64",
    "recipient": "EUI-64",
    "date_time": "none, or 12 octets: when a command was carried out",
    "other_information": "message code; the user the ACB acts for, and that user's counter",
    "payload": "length and content; what a signature protects ends here",
    "signature": "none: a MAC protects this message",
    "mac": "first 12 octets of an AES-GCM tag",
}

# For which role the package has what acts on a command, or raises an alert.
_ACTS = {
    **dict.fromkeys(("CCS01", "CCS08"), "hub"),
    **dict.fromkeys(("CS02a", "CS02c", "CS02d", "CS02e", "CS08", "CS09"), "PPMID, bridge"),
    **dict.fromkeys(
        ("CS03A1", "CS03A2", "CS03B", "CS03C", "CS04AC", "CS04B", "CS07"), "any device"
    ),
}
_ASN1_MODULES = {
    "gbcs.firmware",
    "gbcs.credentials",
    "gbcs.device_certificates",
    "gbcs.joining",
}
_ACTING_MODES = (0x00CB, 0x0104, 0x0108, 0x0109)


def page() -> str:
    command, response, alert = _frames()
    sections = (
        ("CS08 command: the ACB asks a PPMID which firmware it runs, for a supplier", command),
        ("CS08 response", response),
        ("CS09 alert: a PPMID says that it activated an image", alert),
    )
    parts = [_HEAD]
    for title, octets in sections:
        parts.append(f"## {title}\n\n{len(octets)} octets.\n\n{_table(octets)}")
    parts.append("## Use cases\n\n" + _use_cases())
    return "\n".join(parts)


def _frames() -> tuple[bytes, bytes, bytes]:
    seeds = Seeds(1)
    smki = Smki(lambda name: seeds.stream(name).getrandbits, EPOCH)
    store = issue_store(smki)
    uses = (KeyUse.DIGITAL_SIGNATURE, KeyUse.KEY_AGREEMENT)
    own = [store.private_key(PPMID_EUI64, use) for use in uses]
    cells = [store.certificate(ACB_EUI64, use) for use in uses]
    assert cells[0] is not None
    assert cells[0].role is Role.ACCESS_CONTROL_BROKER
    device = Endpoint(
        PPMID_EUI64,
        DeviceKeys(*own),  # type: ignore[arg-type]
        TrustCells(*cells, root=smki.root.certificate),  # type: ignore[arg-type]
        EndpointState(4999),
        (read_firmware_version(lambda: VERSION),),
    )
    acb = AccessControlBroker(ACB_EUI64, store, BrokerState(1299))
    command = acb.read_firmware_version(PPMID_EUI64, User(SUPPLIER_EUI64, 1000))
    (reply,) = device.receive(command, EPOCH)
    assert isinstance(reply, Reply)
    activated = FirmwareActivation(EPOCH, VERSION, ActivateImageResult.ACTIVATION_SUCCESS)
    alert = device.alert(CS09_FIRMWARE_ACTIVATION, build_payload(activated))
    return command, reply.frame, alert


def _table(octets: bytes) -> str:
    received = parse_frame(octets)
    frame = received.frame
    reading = read_payload(frame.message_code, frame.cra, frame.payload, received.payload_offset)
    assert reading is not None
    values = document_of(reading.value)
    rows: list[tuple[str, ...]] = [("offset", "octets", "field", "what")]
    for span in received.spans:
        meaning = _MEANING.get(span.name, "")
        if span.name.endswith("_length") and not meaning:
            meaning = "of the EUI-64 that follows"
        if span.name == "signature" and frame.signature:
            meaning = "length, then r and s: ECDSA, P-256, SHA-256"
        rows.append(_row(span.name, span.offset, span.length, octets, meaning))
        if span.name == "other_information":
            rows += _other_information(span.offset + 1, span.length - 1, octets)
        elif span.name == "payload":
            at = received.payload_offset
            if (head := reading.spans[0].offset - at) > 0:
                rows.append(_row("· head", at, head, octets, "SEQUENCE, and its length"))
            for inner in reading.spans:
                value = values.get(inner.name)
                meaning = "" if value is None else f"= {value}"
                name = f"· {inner.name.replace('_', ' ')}"
                rows.append(_row(name, inner.offset, inner.length, octets, meaning))
    return _markdown(rows)


def _other_information(at: int, length: int, octets: bytes) -> Iterator[tuple[str, ...]]:
    yield _row("· message code", at, 2, octets, "which use case")
    names = ("· supplementary remote party id", "· supplementary remote party counter")
    meanings = ("the user", "of the user's request")
    for place, name, meaning in zip(range(at + 2, at + length, 8), names, meanings, strict=False):
        yield _row(name, place, 8, octets, meaning)


def _row(name: str, offset: int, length: int, octets: bytes, what: str) -> tuple[str, ...]:
    lines = [
        octets[at : min(at + _ROW_OCTETS, offset + length)].hex(" ").upper()
        for at in range(offset, offset + length, _ROW_OCTETS)
    ]
    shown = "<br>".join(f"`{line}`" for line in lines)
    return str(offset), shown, name.replace("_", " "), what


def _use_cases() -> str:
    intro = (
        f"{len(MESSAGES)} messages. Each is read and built, with the place of every field; a code "
        "that is not in this table is read as far as the envelope, and its payload kept. The last "
        "column says for which devices the package has a use case that acts on the command, or "
        "raises the alert; which of them a device of a run is given is in `emulator/devices`.\n\n"
    )
    rows: list[tuple[str, ...]] = [
        ("use case", "code", "message", "originator", "protection", "payload", "acted on as")
    ]
    for message in sorted(MESSAGES.values(), key=_order):
        rows.append(
            (
                message.use_case,
                f"0x{message.message_code:04X}",
                message.cra.name.lower(),
                ", ".join(message.originators),
                " or ".join(map(_protection, message.protections)),
                _language(message),
                _acts(message),
            )
        )
    return intro + _markdown(rows)


def _order(message: Message) -> tuple[str, int, int]:
    return message.use_case, message.message_code, message.cra


def _protection(protection: Protection) -> str:
    if protection == SIGNED_AND_MACED:
        return "signature and MAC"
    return "signature" if protection == SIGNED else "MAC"


def _language(message: Message) -> str:
    modules = {kind.__module__ for kind in message.definition.kinds}
    if modules <= _ASN1_MODULES:
        return "ASN.1"
    if len(message.definition.kinds) > 1:
        return "DLMS, GBZ or ASN.1"
    return "GBZ" if "Gas" in message.definition.kinds[0].__name__ else "DLMS"


def _acts(message: Message) -> str:
    if message.use_case == "CS02b":
        return "PPMID, bridge" if message.message_code in _ACTING_MODES else ""
    is_sent_alone = message.cra is Cra.ALERT and message.use_case not in ("CCS08", "CS09")
    return "" if is_sent_alone else _ACTS.get(message.use_case, "")


def _markdown(rows: Iterable[tuple[str, ...]]) -> str:
    return "\n".join(_lines(list(rows))) + "\n"


def _lines(rows: list[tuple[str, ...]]) -> Iterator[str]:
    yield "| " + " | ".join(rows[0]) + " |"
    yield "|" + "---|" * len(rows[0])
    for row in rows[1:]:
        yield "| " + " | ".join(row) + " |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
