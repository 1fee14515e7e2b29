"""`codec_ezsp_ash` and `frame_secure`: what a frame costs, against the same octets elsewhere.

Source: ours. Octets are compared before anything is measured.

`codec_ezsp_ash`: one message out and one in, as an NCP meets them: a `sendUnicast` of 17 octets
comes off the wire, its response and an `incomingMessageHandler` of 67 octets go onto it. Ours is
what the NCP runs, link and dispatch included (`AshNcp`, `Ezsp`), with a stack that takes the
message and does nothing. The peer is bellows' codec alone: `AshProtocol`'s unstuffing and
stuffing, its frame classes, its tables.

Then each step by itself: fields of the one frame, fields of the other, and ASH either way, where
the peer has no link behind its frame classes and ours has.

`frame_secure`: one MPDU of 121 octets (an Image Block Response of 50) built from its ZCL payload
and taken apart again, with APS and NWK security, FCS and both replay checks, in the calls and the
order of `ApsService`, `Stack` and `MacLink`, without queues and timers. The peer is two seals and
two opens of `AESCCM` on the same payloads and headers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter
from types import SimpleNamespace
from typing import Any

import bellows.types as t
from bellows.ash import AshProtocol, DataFrame, parse_frame
from bellows.ezsp.v14 import EZSPv14
from cryptography.hazmat.primitives.ciphers.aead import AESCCM

from bench.judge import Benchmark, BenchmarkError, Line, Measure
from emulator.ncp.ash import AshNcp, build_data
from emulator.ncp.ezsp import Ezsp
from emulator.ncp.ezsp_tables import Tables
from emulator.ncp.hot_frames import HotFrames
from emulator.zigbee import aps, mac, nwk, ota
from emulator.zigbee.events import Aps, MessageKind, MessageReceived, Status
from emulator.zigbee.security import FrameKey

_CALLS = 10_000
_TOY_CALLS = 40
_COUNTER = 0x5A


# -- EZSP and ASH --------------------------------------------------------------------------

_APS = Aps(0x0109, 0x0019, 1, 1, 0x0160, 0, _COUNTER)
_REQUEST = bytes(range(17))
_BLOCK = bytes(range(67))
_RECEIVED = MessageReceived(MessageKind.UNICAST, _APS, 0x0000, 0x02484E42000000A2, _BLOCK)


def _aps_frame(parameters: Aps) -> t.EmberApsFrame:
    return t.EmberApsFrame(
        profileId=parameters.profile,
        clusterId=parameters.cluster,
        sourceEndpoint=parameters.source_endpoint,
        destinationEndpoint=parameters.destination_endpoint,
        options=parameters.options,
        groupId=parameters.group,
        sequence=parameters.sequence,
    )


def _bellows_request() -> bytes:
    """A `sendUnicast` frame as bellows writes it: version 14, sequence 7."""
    frame = _aps_frame(_APS._replace(sequence=0))
    frame_id, schema, _ = EZSPv14.COMMANDS["sendUnicast"]
    values = {
        "message_type": t.EmberOutgoingMessageType.OUTGOING_DIRECT,
        "nwk": t.EmberNodeId(0x1234),
        "aps_frame": frame,
        "message_tag": t.uint16_t(9),
        "message": t.LVBytes(_REQUEST),
    }
    body = t.serialize_dict((), dict(zip(schema, values.values(), strict=True)), schema)
    return bytes((7, 0, 1, frame_id, 0)) + bytes(body)


class _OurCodec:
    """An NCP's link and EZSP face on a stack that takes messages and does nothing."""

    def __init__(self) -> None:
        service = SimpleNamespace(send_unicast=lambda *_: (Status.OK, _COUNTER))
        stack: Any = SimpleNamespace(aps=service)
        self._ash = AshNcp()
        self._ezsp = Ezsp(Tables(14), stack)
        self._ash.reset(0x0B, 0.0)
        self._ash.data_to_send()
        request = _bellows_request()
        # The host acknowledges the two frames of each turn in the next one.
        self._from_host = [build_data((n % 8) << 4 | 2 * n % 8, request) for n in range(8)]

    def turn(self, number: int) -> bytes:
        ash, ezsp = self._ash, self._ezsp
        for item in ash.receive_data(self._from_host[number & 7], 0.0):
            response = ezsp.receive(item)  # type: ignore[arg-type]
            if response is not None:
                ash.send(response, 0.0)
        ash.send(ezsp.callback(_RECEIVED), 0.0)
        return ash.data_to_send()


class _BellowsCodec:
    """bellows' codec turned round: what it sends is parsed here, what it parses is built."""

    def __init__(self) -> None:
        self._from_host = bytearray(build_data(0, _bellows_request())[:-1])
        _, self.tx_schema, self._response_schema = EZSPv14.COMMANDS["sendUnicast"]
        _, _, self.callback_schema = EZSPv14.COMMANDS["incomingMessageHandler"]
        self.callback = self._callback_fields()

    def turn(self, number: int) -> bytes:
        frame = parse_frame(AshProtocol._unstuff_bytes(self._from_host))
        t.deserialize_dict(frame.ezsp_frame[5:], self.tx_schema)
        first = 2 * number % 8
        ack = (number + 1) % 8
        response = (t.sl_Status.OK, t.uint8_t(_COUNTER))
        body = t.serialize_dict(response, {}, self._response_schema)
        out = self._data(first, ack, b"\x07\x80\x01\x34\x00" + body)
        body = t.serialize_dict(self.callback, {}, self.callback_schema)
        return out + self._data(first + 1, ack, b"\x07\x90\x01\x45\x00" + body)

    @staticmethod
    def _data(number: int, ack: int, frame: bytes) -> bytes:
        data = DataFrame(frm_num=number % 8, re_tx=False, ack_num=ack, ezsp_frame=frame)
        return bytes(AshProtocol._stuff_bytes(data.to_bytes())) + b"\x7e"

    @staticmethod
    def _callback_fields() -> tuple[Any, ...]:
        return (
            t.EmberIncomingMessageType.INCOMING_UNICAST,
            _aps_frame(_APS),
            t.NWK(0),
            t.EUI64.deserialize((0x02484E42000000A2).to_bytes(8, "little"))[0],
            t.uint8_t(0xFF),
            t.uint8_t(0xFF),
            t.uint8_t(255),
            t.int8s(-40),
            t.uint32_t(0),
            t.LVBytes(_BLOCK),
        )


def _time_s(turn: Callable[[int], object], turns: int) -> float:
    began_s = perf_counter()
    for number in range(turns):
        turn(number)
    return perf_counter() - began_s


class _Steps:
    """The steps of a turn, ours and bellows', each on the same octets."""

    def __init__(self) -> None:
        request = _bellows_request()
        self._hot = HotFrames(14)
        self._link = AshNcp()
        self._link.reset(0x0B, 0.0)
        self._link.data_to_send()
        self._wires = [build_data(number << 4, request) for number in range(8)]
        self._peer = _BellowsCodec()
        self._request = request
        self._callback = self._hot.build_incoming(7, _RECEIVED)
        self.pairs: dict[str, tuple[Callable[[int], object], Callable[[int], object]]] = {
            "decode": (self._our_decode, self._bellows_decode),
            "encode": (self._our_encode, self._bellows_encode),
            "ash in": (self._our_ash_in, self._bellows_ash_in),
            "ash out": (self._our_ash_out, self._bellows_ash_out),
        }

    def check(self) -> None:
        """Raises BenchmarkError unless both sides make the same of the same."""
        kind, node, parameters, tag, message = self._our_decode(0) or (None,) * 5
        theirs, rest = self._bellows_decode(0)
        fields = tuple(theirs.values())
        ours = (kind, node, _aps_frame(parameters or _APS), tag, message)
        outputs = (
            (ours, fields),
            (rest, b""),
            (self._our_encode(0), self._bellows_encode(0)),
            (self._our_ash_in(0), [bytes(self._bellows_ash_in(0).ezsp_frame)]),
            (self._our_ash_out(0), self._bellows_ash_out(0)),
        )
        for mine, other in outputs:
            if mine != other:
                raise BenchmarkError(f"{mine!r} is not {other!r}")
        self._link.reset(0x0B, 0.0)
        self._link.data_to_send()

    def _our_decode(self, _turn: int) -> Any:
        return self._hot.parse_send_unicast(self._request, 5)

    def _bellows_decode(self, _turn: int) -> Any:
        return t.deserialize_dict(self._request[5:], self._peer.tx_schema)

    def _our_encode(self, _turn: int) -> bytes:
        return self._hot.build_incoming(7, _RECEIVED)

    def _bellows_encode(self, _turn: int) -> bytes:
        body = t.serialize_dict(self._peer.callback, {}, self._peer.callback_schema)
        return b"\x07\x90\x01\x45\x00" + bytes(body)

    def _our_ash_in(self, turn: int) -> Any:
        return self._link.receive_data(self._wires[turn & 7], 0.0)

    def _bellows_ash_in(self, turn: int) -> Any:
        return parse_frame(AshProtocol._unstuff_bytes(self._wires[turn & 7][:-1]))

    def _our_ash_out(self, turn: int) -> bytes:
        return build_data((turn & 7) << 4, self._callback)

    def _bellows_ash_out(self, turn: int) -> bytes:
        return _BellowsCodec._data(turn & 7, 0, self._callback)


def _prepare_codec(toy: bool) -> Measure:
    turns = _TOY_CALLS if toy else _CALLS
    one, other = _OurCodec(), _BellowsCodec()
    for number in range(16):
        mine, theirs = one.turn(number), other.turn(number)
        if mine != theirs:
            raise BenchmarkError(
                f"turn {number} is not of the same octets: {mine.hex()} and {theirs.hex()}"
            )
    steps = _Steps()
    steps.check()

    def measure() -> Mapping[str, float]:
        ours_s = _time_s(_OurCodec().turn, turns)
        bellows_s = _time_s(other.turn, turns)
        figures = {
            "faster": bellows_s / ours_s,
            "ours": 1e6 * ours_s / turns,
            "bellows": 1e6 * bellows_s / turns,
        }
        for name, (our_step, bellows_step) in steps.pairs.items():
            ours_s = _time_s(our_step, turns)
            figures[name] = _time_s(bellows_step, turns) / ours_s
        return figures

    return measure


CODEC_EZSP_ASH = Benchmark(
    "codec_ezsp_ash",
    "a sendUnicast in, its response and an incomingMessageHandler out, ASH both ways",
    (
        Line("faster", "all: bellows' codec / ours, link and dispatch included", at_least=5),
        Line("decode", "decode sendUnicast: bellows / ours", at_least=5),
        Line("encode", "encode incomingMessageHandler: bellows / ours", at_least=5),
        Line("ash in", "ASH, host to stick: bellows / ours, link included", at_least=5),
        Line("ash out", "ASH, stick to host: bellows / ours", at_least=5),
        Line("ours", "us: ours, link and dispatch included"),
        Line("bellows", "us: bellows' codec"),
    ),
    _prepare_codec,
)


# -- one secured frame ---------------------------------------------------------------------

_NETWORK_KEY, _LINK_KEY = bytes(range(16)), bytes(range(16, 32))
_EUI64 = (0x02484E42000000A2).to_bytes(8, "little")
_PAN, _HUB, _DEVICE = 0x1A62, 0x0000, 0x1234
_MPDU_OCTETS = 121
_ZCL = b"\x19\x01\x05" + ota.build(ota.ImageBlockResponse(0xA17A, 0x0A01, 2, 0, bytes(50)))
_APS_CONTROL = aps.TYPE_DATA | aps.SECURITY | aps.ACK_REQUEST


class _SecureFrame:
    """One direction of a secured link: frames with counters of their own, and who checks them."""

    def __init__(self) -> None:
        self._network_key, self._link_key = FrameKey(_NETWORK_KEY), FrameKey(_LINK_KEY)
        self._counter = 0
        self._nwk_counters: dict[bytes, int] = {}
        self._aps_counter = 0

    def build(self) -> bytes:
        self._counter = counter = self._counter + 1
        header = aps.HEADER.pack(_APS_CONTROL, 1, 0x0019, 0x0109, 1, counter & 0xFF)
        message = aps.seal(self._link_key, header, counter, _EUI64, _ZCL)
        sequence = counter & 0xFF
        radius = nwk.MAX_RADIUS
        frame = nwk.seal_data(
            self._network_key, _DEVICE, _HUB, radius, sequence, counter, _EUI64, 0, message
        )
        octets = mac.DATA_HEADER.pack(mac.DATA_ACKED, sequence, _PAN, _DEVICE, _HUB) + frame
        return octets + mac.fcs(octets)

    def take(self, psdu: bytes) -> bytes | None:
        _, _, pan, destination, _ = mac.DATA_HEADER.unpack_from(psdu)
        if pan != _PAN or destination != _DEVICE or psdu[-2:] != mac.fcs(psdu[:-2]):
            return None
        frame = psdu[mac.DATA_HEADER_OCTETS : -mac.FCS_OCTETS]
        header = nwk.parse(frame)
        at = header.header_octets
        counter, eui64, _ = nwk.parse_auxiliary(frame, at)
        if counter < self._nwk_counters.get(eui64, 0):
            return None
        message = nwk.open_sealed(self._network_key, frame, at, eui64)
        self._nwk_counters[eui64] = counter + 1
        at = aps.parse(message).header_octets
        counter = aps.counter_of(message, at)
        if counter < self._aps_counter:
            return None
        payload = aps.open_sealed(self._link_key, message, at, eui64)
        self._aps_counter = counter + 1
        return payload

    def turn(self, _number: int) -> None:
        self.take(self.build())


def _bare_s(turns: int) -> float:
    """Two seals and two opens with nothing round them."""
    network, link = AESCCM(_NETWORK_KEY, tag_length=4), AESCCM(_LINK_KEY, tag_length=4)
    nonce, aps_header, nwk_header = bytes(13), bytes(13), bytes(22)
    message = bytes(aps.HEADER_OCTETS + aps.SECURITY_OCTETS + len(_ZCL))
    sealed_zcl = link.encrypt(nonce, _ZCL, aps_header)
    sealed_message = network.encrypt(nonce, message, nwk_header)
    began_s = perf_counter()
    for _ in range(turns):
        link.encrypt(nonce, _ZCL, aps_header)
        network.encrypt(nonce, message, nwk_header)
        network.decrypt(nonce, sealed_message, nwk_header)
        link.decrypt(nonce, sealed_zcl, aps_header)
    return perf_counter() - began_s


def _prepare_secure(toy: bool) -> Measure:
    turns = _TOY_CALLS if toy else _CALLS
    link = _SecureFrame()
    psdu = link.build()
    if len(psdu) != _MPDU_OCTETS or link.take(psdu) != _ZCL or link.take(psdu) is not None:
        raise BenchmarkError(f"a frame of {len(psdu)} octets does not come through once")

    def measure() -> Mapping[str, float]:
        frame_s = _time_s(link.turn, turns)
        bare_s = _bare_s(turns)
        return {
            "ratio": frame_s / bare_s,
            "frame": 1e6 * frame_s / turns,
            "bare": 1e6 * bare_s / turns,
        }

    return measure


FRAME_SECURE = Benchmark(
    "frame_secure",
    "a secured MPDU of 121 octets built and taken apart",
    (
        Line("ratio", "frame / 4 bare AES-CCM calls", at_most=3.5),
        Line("frame", "us: frame"),
        Line("bare", "us: 4 bare AES-CCM calls"),
    ),
    _prepare_secure,
)
