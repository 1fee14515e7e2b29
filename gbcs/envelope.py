"""The frame every GBCS message travels in: the grouping header, and the MAC header round it.

Source: GBCS, message structures: "Grouping Header" (DLMS general-signing, tag DF) and "MAC Header"
(DLMS general-ciphering, tag DD). All integers most significant octet first.

    MAC header, when a MAC is there                grouping structure
    ---------------------------------------------  -----------------------------------------------
    1   DD                                         1     DF
    5   five empty fields                          1     09, length of the transaction id
    1   00, no key info                            1+8   CRA flag, originator counter
    n   length of all that follows                 1+8   08, originator
    1   11, security control                       1+8   08, recipient
    4   invocation counter, always zero            1+n   date-time: nothing, or 12 octets
    n   the grouping structure                     n     other information behind its length
    12  MAC                                        n     payload behind its length
                                                   1+n   signature: nothing, or 64 octets;
                                                         not even a length in a pre-command

What a frame protects is what its sender wrote, so signature and MAC are checked over the octets
received, kept in `ReceivedFrame`. Lengths may be read in a longer form than they need; a frame is
built with the shortest, or with the form of each that `ReceivedFrame.lengths` says.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from construct import Int8ub, Int64ub

from gbcs.axdr import DATE_TIME_OCTETS
from gbcs.ber import is_whole_sequence, octets_decoder
from gbcs.errors import GbcsError, GbcsValueError, require_unsigned
from gbcs.fields import Fields, Fixed, Length, Value, parse_named, require_end
from gbcs.streams import MAX_LENGTH, Lengths, Notes, Sink, Source, Span, length_octets

SIGNATURE_OCTETS = 64
MAC_OCTETS = 12
MAX_COUNTER = 2**64 - 1
# Ours: with it, no length in a frame needs more than the form 82, and what is read is bounded.
MAX_FRAME_OCTETS = MAX_LENGTH
SECURITY_CONTROL = 0x11  # authentication only, suite 1
_GROUPING_TAG = 0xDF
_CIPHERING_TAG = 0xDD
_EMPTY_FIELDS = bytes(5)

THING = "GBCS frame"

_CHAIN = (
    "supplementary_remote_party_id",
    "supplementary_remote_party_counter",
    "supplementary_originator_counter",
)
_PLAIN_LENGTHS = (2, 10, 18, 26)


class Cra(IntEnum):
    """Command, response or alert."""

    COMMAND = 1
    RESPONSE = 2
    ALERT = 3


_MAC_HEADER = Fields(
    dict,
    _tag=Fixed(bytes([_CIPHERING_TAG])),
    _empty_fields=Fixed(_EMPTY_FIELDS),
    _key_info=Fixed(b"\0"),
    length=Length(),
    _security_control=Fixed(bytes([SECURITY_CONTROL])),
    _invocation_counter=Fixed(bytes(4)),
)
# The length counts what stands behind it in the MAC header too.
_COUNTED_HEADER_OCTETS = 1 + 4

_GROUPING = Fields(
    dict,
    _grouping_tag=Fixed(bytes([_GROUPING_TAG])),
    _transaction_id_length=Length(9),
    cra_flag=Int8ub,
    originator_counter=Int64ub,
    _originator_length=Length(8),
    originator=Int64ub,
    _recipient_length=Length(8),
    recipient=Int64ub,
    date_time=Value(None, octets_decoder(0, DATE_TIME_OCTETS)),
    other_information=Value(None),
    payload=Value(None),
)
# The octets of a grouping structure beside its date-time, and what stands behind that.
_FIXED_OCTETS = 1 + (1 + 1 + 8) + (1 + 8) + (1 + 8) + 1

_SIGNATURE = Value(None, octets_decoder(0, SIGNATURE_OCTETS))


@dataclass(frozen=True, slots=True)
class OtherInformation:
    """What kind of message it is, and whose, when the originator acts for somebody else.

    Five lengths exist: 2 (code), 10 (and supplementary remote party), 18 (and that party's
    counter), 26 (and supplementary originator counter), more than 18 (18 and the party's Key
    Agreement certificate).
    """

    message_code: int
    supplementary_remote_party_id: int | None = None
    supplementary_remote_party_counter: int | None = None
    supplementary_originator_counter: int | None = None
    key_agreement_certificate: bytes = b""

    def __post_init__(self) -> None:
        require_unsigned("message_code", self.message_code, 2)
        chain = (
            self.supplementary_remote_party_id,
            self.supplementary_remote_party_counter,
            self.supplementary_originator_counter,
        )
        for name, value in zip(_CHAIN, chain, strict=True):
            if value is not None:
                require_unsigned(name, value, 8)
        there = [value is not None for value in chain]
        if there != sorted(there, reverse=True):
            raise GbcsValueError("a supplementary field stands only behind the one before it")
        if self.key_agreement_certificate:
            if there != [True, True, False]:
                raise GbcsValueError("a certificate stands behind exactly party and counter")
            if not may_be_certificate(self.key_agreement_certificate):
                raise GbcsValueError("key_agreement_certificate is not one DER certificate")

    def octet_count(self) -> int:
        there = sum(getattr(self, name) is not None for name in _CHAIN)
        return 2 + 8 * there + len(self.key_agreement_certificate)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The fields of one frame; one that exists can be built.

    `signature` is None in a pre-command, empty where only a MAC protects the message; `mac` is
    None where no MAC header is.
    """

    cra: Cra
    originator_counter: int
    originator: int
    recipient: int
    other_information: OtherInformation
    payload: bytes
    date_time: bytes = b""
    signature: bytes | None = b""
    mac: bytes | None = None

    def __post_init__(self) -> None:
        for name in ("originator_counter", "originator", "recipient"):
            require_unsigned(name, getattr(self, name), 8)
        _require_octets("date_time", self.date_time, (0, DATE_TIME_OCTETS))
        if self.signature is not None:
            _require_octets("signature", self.signature, (0, SIGNATURE_OCTETS))
        if self.mac is not None:
            _require_octets("mac", self.mac, (MAC_OCTETS,))
            if self.signature is None:
                raise GbcsValueError("a pre-command has no MAC")
        if (octets := self.octet_count()) > MAX_FRAME_OCTETS:
            raise GbcsValueError(f"a frame has at most {MAX_FRAME_OCTETS} octets, not {octets}")

    def octet_count(self) -> int:
        """How many octets `build_frame` makes."""
        count = _FIXED_OCTETS + len(self.date_time)
        other_information = self.other_information.octet_count()
        for octets in (other_information, len(self.payload)):
            if octets > MAX_LENGTH:
                raise GbcsValueError(f"a field of a frame has at most {MAX_LENGTH} octets")
            count += len(length_octets(octets)) + octets
        if self.signature is not None:
            count += 1 + len(self.signature)
        if self.mac is not None:
            counted = min(_COUNTED_HEADER_OCTETS + count + MAC_OCTETS, MAX_LENGTH)
            count += 1 + len(_EMPTY_FIELDS) + 1 + len(length_octets(counted))
            count += _COUNTED_HEADER_OCTETS + MAC_OCTETS
        return count

    @property
    def message_code(self) -> int:
        return self.other_information.message_code


@dataclass(frozen=True, slots=True)
class ReceivedFrame:
    """A frame as it was read: its fields, the octets they came in, where each stands, and the
    form of its lengths."""

    frame: Frame
    octets: bytes
    spans: tuple[Span, ...]
    lengths: Lengths
    signature_input: bytes
    grouping: bytes

    @property
    def payload_offset(self) -> int:
        """Where the payload itself begins, behind its length."""
        return self.offset_of("payload") - len(self.frame.payload)

    def offset_of(self, name: str) -> int:
        """Where the octets of a field end."""
        span = next(span for span in self.spans if span.name == name)
        return span.offset + span.length


def parse_frame(octets: bytes) -> ReceivedFrame:
    """Read one whole frame. Raises GbcsError with the field and its offset."""
    octets = bytes(octets)
    if len(octets) > MAX_FRAME_OCTETS:
        problem = f"is too far: a frame has at most {MAX_FRAME_OCTETS} octets"
        raise GbcsError(THING, "end", len(octets), problem)
    notes = Notes(THING)
    if octets[:1] != bytes([_CIPHERING_TAG]):
        frame, signed = _parse_grouping(octets, 0, notes, mac=None)
        return ReceivedFrame(frame, octets, tuple(notes.spans), notes.lengths, signed, octets)
    if len(octets) > 1 and octets[1]:
        problem = "are not empty: this is a block of a longer frame"
        raise GbcsError(THING, "empty fields", 1, problem)
    source = Source(octets, 0, notes)
    length = _MAC_HEADER._parse(source, None, "")["length"]
    start = source.tell()
    counted = len(octets) - start + _COUNTED_HEADER_OCTETS
    if length != counted:
        problem = f"is {length}, and {counted} octets follow"
        raise GbcsError(THING, "length", notes.spans[3].offset, problem)
    mac_at = len(octets) - MAC_OCTETS
    if mac_at < start:
        raise GbcsError(THING, "mac", start, f"has {len(octets) - start} octets, not 12")
    grouping = octets[start:mac_at]
    frame, signed = _parse_grouping(grouping, start, notes, mac=octets[mac_at:])
    notes.spans.append(Span("mac", mac_at, MAC_OCTETS))
    return ReceivedFrame(frame, octets, tuple(notes.spans), notes.lengths, signed, grouping)


def _parse_grouping(
    octets: bytes, base: int, notes: Notes, *, mac: bytes | None
) -> tuple[Frame, bytes]:
    source = Source(octets, base, notes)
    values = _GROUPING._parse(source, None, "")
    end = source.tell()
    try:
        cra = Cra(values["cra_flag"])
    except ValueError:
        problem = f"is {values['cra_flag']}, not 1, 2 or 3"
        raise GbcsError(THING, "cra flag", _offset(notes, "cra_flag"), problem) from None
    signature: bytes | None = None
    if mac is not None or end < len(octets):
        signature = parse_named(_SIGNATURE, source, "signature")
        require_end(source, "")
    frame = Frame(
        cra=cra,
        originator_counter=values["originator_counter"],
        originator=values["originator"],
        recipient=values["recipient"],
        date_time=values["date_time"],
        other_information=parse_other_information(
            values["other_information"], _offset(notes, "other_information")
        ),
        payload=values["payload"],
        signature=signature,
        mac=mac,
    )
    return frame, octets[1:end]


def _offset(notes: Notes, name: str) -> int:
    return next(span.offset for span in notes.spans if span.name == name)


def parse_other_information(octets: bytes, at: int = 0) -> OtherInformation:
    certificate = b"" if len(octets) in _PLAIN_LENGTHS else octets[18:]
    if len(octets) not in _PLAIN_LENGTHS and not may_be_certificate(certificate):
        problem = f"has {len(octets)} octets, not 2, 10, 18, 26 or 18 and a certificate"
        raise GbcsError(THING, "other information", at, problem)
    fixed = octets[: len(octets) - len(certificate)]
    numbers = [int.from_bytes(fixed[start : start + 8], "big") for start in range(2, len(fixed), 8)]
    chain = dict(zip(_CHAIN, numbers, strict=False))
    code = int.from_bytes(fixed[:2], "big")
    return OtherInformation(code, **chain, key_agreement_certificate=certificate)


def build_other_information(other: OtherInformation) -> bytes:
    octets = other.message_code.to_bytes(2, "big")
    for name in _CHAIN:
        if (value := getattr(other, name)) is not None:
            octets += value.to_bytes(8, "big")
    return octets + other.key_agreement_certificate


def may_be_certificate(octets: bytes) -> bool:
    """Whether it is one DER value. With 8 octets it would be a counter, so it is longer."""
    return len(octets) > 8 and is_whole_sequence(octets)


def _require_octets(name: str, value: bytes, lengths: tuple[int, ...]) -> None:
    if len(value) not in lengths:
        shown = " or ".join(map(str, lengths))
        raise GbcsValueError(f"{name} has {len(value)} octets, not {shown}")


# -- building ----------------------------------------------------------------------------------


def _put_unsigned(frame: Frame, sink: Sink) -> None:
    values: dict[str, Any] = {
        "cra_flag": int(frame.cra),
        "originator_counter": frame.originator_counter,
        "originator": frame.originator,
        "recipient": frame.recipient,
        "date_time": frame.date_time,
        "other_information": build_other_information(frame.other_information),
        "payload": frame.payload,
    }
    _GROUPING._build(values, sink, None, "")


def build_unsigned(frame: Frame) -> bytes:
    """The grouping structure up to the end of its payload."""
    sink = Sink(iter(()))
    _put_unsigned(frame, sink)
    return sink.getvalue()


def signature_input(frame: Frame) -> bytes:
    """What the signature of this frame protects: all behind DF, up to the end of the payload."""
    return build_unsigned(frame)[1:]


def signed_octets(unsigned: bytes, signature: bytes) -> bytes:
    """A grouping structure with its signature, which is what a MAC protects."""
    return unsigned + bytes([len(signature)]) + signature


def build_grouping(frame: Frame) -> bytes:
    """The grouping structure with its signature, which is what a MAC protects."""
    unsigned = build_unsigned(frame)
    return unsigned if frame.signature is None else signed_octets(unsigned, frame.signature)


def maced_octets(grouping: bytes, mac: bytes) -> bytes:
    """A grouping structure in its MAC header."""
    length = length_octets(_COUNTED_HEADER_OCTETS + len(grouping) + MAC_OCTETS)
    return _BEFORE_LENGTH + length + _BEHIND_LENGTH + grouping + mac


_BEFORE_LENGTH = bytes([_CIPHERING_TAG]) + _EMPTY_FIELDS + b"\0"
_BEHIND_LENGTH = bytes([SECURITY_CONTROL]) + bytes(4)


def build_frame(frame: Frame, lengths: Lengths = ()) -> bytes:
    """The octets of a frame, with the shortest lengths or with those that are said."""
    if not lengths:
        grouping = build_grouping(frame)
        return grouping if frame.mac is None else maced_octets(grouping, frame.mac)
    forms = iter(lengths)
    # The MAC header's length stands first, and counts what the others take.
    header = 0 if frame.mac is None else next(forms)
    sink = Sink(forms)
    _put_unsigned(frame, sink)
    if frame.signature is not None:
        _SIGNATURE._build(frame.signature, sink, None, "")
    if next(forms, None) is not None:
        raise GbcsValueError("a frame has fewer lengths than are given")
    grouping = sink.getvalue()
    if frame.mac is None:
        return grouping
    length = length_octets(_COUNTED_HEADER_OCTETS + len(grouping) + MAC_OCTETS, header)
    return _BEFORE_LENGTH + length + _BEHIND_LENGTH + grouping + frame.mac
