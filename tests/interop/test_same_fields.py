"""Our codec and bellows' see the same fields in the same octets, object by object.

The frames are those of the recorded hosts. ASH, and the three frames that have a path of their own
(hot_frames.py), share nothing with bellows; what a stick says by bellows' own tables is at least
read back by them to the last octet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

import bellows.types as t
from bellows.ash import AshProtocol, DataFrame, parse_frame
from bellows.ezsp import EZSP
from serial_log import CLOSE, FOLDER, HOST, OPEN, STICK, SerialEvent, SerialLog, name_of
from sticks import sweep

from emulator.ncp.ash import FLAG, AshNcp, ResetRequest, build_data
from emulator.ncp.ezsp_tables import SUPPORTED_VERSIONS, Tables
from emulator.ncp.hot_frames import HotFrames, header_tail
from emulator.zigbee.events import Aps, MessageKind, MessageReceived, MessageSent

FRAMES = 1_000
# Each layout once (hot_frames.py), and the newest.
versions = sweep(SUPPORTED_VERSIONS, quick=(4, 7, 13, 14, 19))


class Recorded(NamedTuple):
    """One EZSP frame of a recording, and which side said it."""

    version: int
    what: str
    frame: bytes
    control: int
    wire: bytes


@cache
def recorded() -> tuple[Recorded, ...]:
    return tuple(frame for path in sorted(FOLDER.glob("*.jsonl")) for frame in _of(path))


def _of(path: Any) -> Iterator[Recorded]:
    log = SerialLog.read(path)
    for line in range(log.lines):
        for what in (HOST, STICK):
            for event in _sessions(log.events, line, what):
                for stuffed in event.split(FLAG):
                    wire = stuffed[stuffed.rfind(b"\x1a") + 1 :]
                    if not wire:
                        continue
                    frame = parse_frame(AshProtocol._unstuff_bytes(wire))
                    if isinstance(frame, DataFrame):
                        control = frame.frm_num << 4 | frame.re_tx << 3 | frame.ack_num
                        ezsp = bytes(frame.ezsp_frame)
                        yield Recorded(log.ezsp, what, ezsp, control, wire + FLAG)


def _sessions(events: list[SerialEvent], line: int, what: str) -> Iterator[bytes]:
    """Everything one side wrote between the opening of a line and its closing."""
    said = b""
    for event in events:
        if event.line == line:
            if event.what == what:
                said += event.octets
            elif event.what in (OPEN, CLOSE):
                yield said
                said = b""
    yield said


@cache
def tables(version: int) -> Tables:
    return Tables(version)


def body_of(version: int, frame: bytes) -> bytes:
    if frame[2:3] == b"\xff" or (version >= 8 and len(frame) >= 5 and frame[2] & 3 == 1):
        return frame[5:]
    return frame[3:]


def plain(value: Any) -> Any:
    """A value of bellows' as one of ours, by its octets and attributes alone."""
    if isinstance(value, t.EUI64 | t.ExtendedPanId):
        return int.from_bytes(value.serialize(), "little")
    if isinstance(value, t.KeyData):
        return value.serialize()
    if isinstance(value, bytes):
        return bytes(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, list):
        return [plain(item) for item in value]
    return {f.name: plain(getattr(value, f.name)) for f in value.fields if f.name in vars(value)}


def test_there_are_enough_frames_of_every_kind() -> None:
    frames = recorded()
    assert len(frames) >= FRAMES
    names = [name_of(tables(one.version), one.frame) for one in frames]
    for name in ("sendUnicast", "incomingMessageHandler", "messageSentHandler"):
        assert names.count(name) >= 10
    assert len(set(names)) >= 45


def test_ash_of_both_codecs_is_the_same_octets_and_the_same_payloads() -> None:
    for one in recorded():
        assert build_data(one.control, one.frame) == one.wire
        link = AshNcp()
        link.reset(0x0B, 0.0)
        link._expected = one.control >> 4
        link._acked = one.control & 7
        [heard] = link.receive_data(one.wire, 0.0)
        assert not isinstance(heard, ResetRequest)
        assert heard == one.frame


def test_a_request_has_the_fields_that_bellows_gives_it() -> None:
    requests = [one for one in recorded() if one.what == HOST]
    for version, _, frame, _, _ in requests:
        command = tables(version).by_name[name_of(tables(version), frame)]
        ours = tables(version).parse_request(command, body_of(version, frame))
        theirs, _ = t.deserialize_dict(body_of(version, frame), _given(version, frame, command))
        for name, value in theirs.items():
            if command.name != "addEndpoint":  # whose two lists bellows cannot tell apart
                assert ours[name] == plain(value), (command.name, name)


def _given(version: int, frame: bytes, command: Any) -> Mapping[str, Any]:
    """The schema of the fields that are there: hosts leave out what is last."""
    schema, rest = {}, body_of(version, frame)
    for name, kind in command.request.items():
        if not rest:
            break
        _, rest = kind.deserialize(rest)
        schema[name] = kind
    return schema


def test_what_a_stick_says_is_read_by_bellows_to_the_last_octet() -> None:
    answers = [one for one in recorded() if one.what == STICK]
    for version, _, frame, _, _ in answers:
        command = tables(version).by_name[name_of(tables(version), frame)]
        body = body_of(version, frame)
        if not isinstance(command.response, dict):
            value, rest = command.response.deserialize(body)
            again = value.serialize()
        else:
            fields, rest = t.deserialize_dict(body, command.response)
            again = t.serialize_dict(tuple(fields.values()), {}, command.response)
        assert (rest, again) == (b"", body), command.name


# -- the frames of a transfer, on every version -----------------------------------------------


class Message(NamedTuple):
    """A message of a recording, in no version's layout."""

    aps: Aps
    node: int
    tag: int
    payload: bytes


@cache
def messages() -> tuple[Message, ...]:
    """As many as a test wants; those recorded, over and over with other numbers."""
    found: list[Message] = []
    for version, what, frame, _, _ in recorded():
        if what == HOST and name_of(tables(version), frame) == "sendUnicast":
            at = len(frame) - len(body_of(version, frame))
            asked = HotFrames(version).parse_send_unicast(frame, at)
            assert asked is not None
            _, node, aps, tag, payload = asked
            assert payload is not None
            found.append(Message(aps, node, tag & 0xFF, payload))
    assert found
    return tuple(
        message._replace(
            aps=message.aps._replace(sequence=number % 256, cluster=number * 7 % 0x10000),
            node=(message.node + number) % 0xFFF8,
        )
        for number in range(FRAMES)
        for message in (found[number % len(found)],)
    )


def aps_frame(aps: Aps) -> t.EmberApsFrame:
    return t.EmberApsFrame(
        profileId=aps.profile,
        clusterId=aps.cluster,
        sourceEndpoint=aps.source_endpoint,
        destinationEndpoint=aps.destination_endpoint,
        options=t.EmberApsOption(aps.options),
        groupId=aps.group,
        sequence=aps.sequence,
    )


def read_by_bellows(version: int, frame: bytes, name: str) -> dict[str, Any]:
    """What bellows' own protocol class makes of a callback."""
    told: list[tuple[str, Any]] = []
    protocol = EZSP._BY_VERSION[version](lambda *event: told.append(event), None)
    protocol(frame)
    [(kind, values)] = told
    assert kind == name
    return dict(zip(tables(version).by_name[name].response, values, strict=True))


@versions
def test_a_message_that_bellows_sends_is_the_one_we_read(version: int) -> None:
    hot = HotFrames(version)
    schema = tables(version).by_name["sendUnicast"].request
    names = list(schema)
    for aps, node, tag, payload in messages():
        values = dict.fromkeys(names, 0)
        for name in names:
            kind = schema[name]
            if kind is t.EmberApsFrame:
                values[name] = aps_frame(aps)
            elif issubclass(kind, t.LVBytes):
                values[name] = kind(payload)
            elif "type" in name:
                values[name] = t.EmberOutgoingMessageType.OUTGOING_DIRECT
            elif "tag" in name.lower():
                values[name] = tag
            else:
                values[name] = node
        body = t.serialize_dict((), values, schema)
        assert hot.parse_send_unicast(bytes(body), 0) == (0, node, aps, tag, payload)


@versions
def test_a_message_that_we_hand_up_is_the_one_bellows_reads(version: int) -> None:
    hot = HotFrames(version)
    for aps, node, _, payload in messages():
        event = MessageReceived(MessageKind.UNICAST, aps, node, 0x0011223344556677, payload)
        got = read_by_bellows(version, hot.build_incoming(7, event), "incomingMessageHandler")
        seen = {plain_key(name): plain(value) for name, value in got.items()}
        assert seen["apsframe"] == plain(aps_frame(aps))
        assert seen["message"] == payload
        assert seen["sender"] == node
        assert seen["type"] == t.EmberIncomingMessageType.INCOMING_UNICAST
        assert (seen["lqi"], seen["rssi"]) == (255, -40)
        if version >= 14:
            assert seen["eui64"] == 0x0011223344556677


@versions
def test_an_outcome_that_we_tell_is_the_one_bellows_reads(version: int) -> None:
    hot = HotFrames(version)
    for number, (aps, node, tag, _) in enumerate(messages()):
        event = MessageSent(None, MessageKind.UNICAST, node, aps, tag)  # type: ignore[arg-type]
        failure = 0x66 if number % 2 else 0  # EmberStatus and sl_Status alike: a number
        got = read_by_bellows(
            version, hot.build_sent(7, event, failure, None), "messageSentHandler"
        )
        seen = {plain_key(name): plain(value) for name, value in got.items()}
        assert seen["apsframe"] == plain(aps_frame(aps))
        assert (seen["sender"], seen["messagetag"], seen["status"]) == (node, tag, failure)
        assert seen["message"] == b""


def plain_key(name: str) -> str:
    """The name of a field, whichever version it is of."""
    key = name.lower().replace("_", "")
    return {
        "messagecontents": "message",
        "messagetype": "type",
        "nwk": "sender",
        "indexordestination": "sender",
        "lasthoplqi": "lqi",
        "lasthoprssi": "rssi",
        "source": "sender",
        "tag": "messagetag",
    }.get(key, key)


def test_a_header_of_ours_is_the_one_bellows_reads() -> None:
    for version in SUPPORTED_VERSIONS:
        number = tables(version).by_name["stackStatusHandler"].frame_id
        status = b"\x90" if version < 14 else b"\x15\0\0\0"
        frame = b"\x07" + header_tail(version, 0x90, number) + status
        assert int(read_by_bellows(version, frame, "stackStatusHandler")["status"]) == status[0]
