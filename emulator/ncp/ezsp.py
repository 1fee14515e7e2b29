"""The EZSP face of a stick: command frames in, responses and callbacks out. No I/O.

Source: Silicon Labs UG100, "EZSP Reference Guide", chapters 2 and 3. A response takes the form of
its request, since a host that does not know the stick's version yet asks in the oldest form; a
callback has the form of the stick's version. It carries the sequence of the last command answered,
and waits until the response to a command under way is out: a host takes a frame with the sequence
it waits for as the answer.

Three frames make up a firmware transfer and have a path of their own (hot_frames.py).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from emulator.ncp.cbke_engine import CBKE_DELAY_US, CbkeEngine
from emulator.ncp.commands import COMMANDS, Session
from emulator.ncp.commands.binding import destination_of
from emulator.ncp.commands.configuration import (
    COUNTER_APS_RX_BROADCAST,
    COUNTER_APS_RX_UNICAST,
    COUNTER_APS_TX_BROADCAST,
    COUNTER_APS_TX_UNICAST_FAILED,
    COUNTER_APS_TX_UNICAST_SUCCESS,
    COUNTER_JOIN_INDICATION,
)
from emulator.ncp.commands.strictness import refuse, refuse_message
from emulator.ncp.ezsp_tables import Command, EzspError, Fields, Refusal, Tables
from emulator.ncp.hot_frames import (
    CALLBACK,
    EXTENDED_CONTROL,
    FIRST_EXTENDED,
    FIRST_WITH_MARK,
    LEGACY_MARK,
    LQI,
    RSSI_DBM,
    SEND_UNICAST,
    HotFrames,
    header_tail,
)
from emulator.zigbee.cbke.suites import SUITE_163K1
from emulator.zigbee.events import (
    AddressConflict,
    Aps,
    CbkeKeys,
    CbkeSmacs,
    ChildJoined,
    ChildPolled,
    DeviceUpdate,
    EnergyFound,
    Event,
    LinkKeyNews,
    ManyToOneRequest,
    MessageKind,
    MessageReceived,
    MessageSent,
    MessageSigned,
    NetworkFound,
    NetworkKeySwitched,
    NetworkStatusHeard,
    PacketHeard,
    PollComplete,
    RouteRecordHeard,
    ScanDone,
    SignatureVerified,
    StackStatus,
    Status,
    TrustCenterJoin,
)
from emulator.zigbee.nwk_commands import NetworkStatusCode
from emulator.zigbee.stack import Stack

__all__ = ["LQI", "RSSI_DBM", "Ezsp"]

_RESPONSE = 0x80
_EXTENDED_UNICAST = header_tail(FIRST_EXTENDED, _RESPONSE, SEND_UNICAST)
_MARKED_UNICAST = header_tail(FIRST_WITH_MARK, _RESPONSE, SEND_UNICAST)
_OLDEST_UNICAST = header_tail(0, _RESPONSE, SEND_UNICAST)
_HEADER_OCTETS = 5  # of every form but the oldest, which has 3
_MAX_CALLBACKS = 64
_MAX_BY_TABLE = 32
# The two failures that EZSP has told of from the beginning; bellows listens to no others.
_ROUTE_FAILURES: dict[int, Status] = {
    NetworkStatusCode.SOURCE_ROUTE_FAILURE: Status.SOURCE_ROUTE_FAILURE,
    NetworkStatusCode.MANY_TO_ONE_ROUTE_FAILURE: Status.MANY_TO_ONE_ROUTE_FAILURE,
}


def _of_suite(name: str, suite: int) -> str:
    """The callback's name for a suite of key establishment."""
    return name if suite == SUITE_163K1.bit else name + "283k1"


_OK = Status.OK
_UNICAST = MessageKind.UNICAST  # looking a member up in its class costs as much as a comparison


class Ezsp:
    """One booted NCP, from EZSP frame to stack and back."""

    def __init__(
        self,
        tables: Tables,
        stack: Stack,
        *,
        strict: bool = False,
        cbke: bool = True,
        cbke_delay_us: int = CBKE_DELAY_US,
    ) -> None:
        self._tables = tables
        self._hot = HotFrames(tables.version)
        self._is_extended = tables.version >= FIRST_EXTENDED
        self._sequence = 0
        self._callbacks: deque[bytes] = deque(maxlen=_MAX_CALLBACKS)
        self.callbacks_lost = 0
        engine = CbkeEngine(stack, cbke_delay_us) if cbke else None
        self.session = Session(tables.version, stack, strict, cbke=engine)
        self._aps = stack.aps
        # Messages sent by way of a table: (node, APS counter): how the host named the node.
        self._by_table: dict[tuple[int, int], tuple[int, int]] = {}
        self._count = self.session.aps_counters
        self._is_strict = strict
        self._translate: dict[type[Any], Callable[[Any], bytes | None]] = {
            MessageReceived: self._incoming_message,
            MessageSent: self._message_sent,
            StackStatus: lambda event: self._callback("stackStatusHandler", status=event.status),
            TrustCenterJoin: self._trust_center_join,
            NetworkFound: self._network_found,
            EnergyFound: lambda event: self._callback(
                "energyScanResultHandler", channel=event.channel, maxRssiValue=event.rssi_dbm
            ),
            PacketHeard: lambda event: self._callback(
                "mfglibRxHandler", linkQuality=LQI, rssi=RSSI_DBM, packetContents=event.packet
            ),
            ScanDone: lambda event: self._callback(
                "scanCompleteHandler", channel=0, status=event.status
            ),
            RouteRecordHeard: lambda event: self._callback(
                "incomingRouteRecordHandler",
                source=event.source,
                sourceEui=event.source_eui64,
                lastHopLqi=LQI,
                lastHopRssi=RSSI_DBM,
                relayList=list(event.relays),
            ),
            ManyToOneRequest: lambda event: self._callback(
                "incomingManyToOneRouteRequestHandler",
                source=event.source,
                longId=event.source_eui64,
                cost=event.cost,
            ),
            AddressConflict: lambda event: self._callback(
                "idConflictHandler", nodeId=event.address
            ),
            NetworkStatusHeard: self._network_status,
            ChildJoined: self._child_joined,
            ChildPolled: lambda event: self._callback(
                "pollHandler", childId=event.short_address, transmitExpected=event.frame_follows
            ),
            PollComplete: lambda event: self._callback("pollCompleteHandler", status=event.status),
            LinkKeyNews: lambda event: self._callback(
                "zigbeeKeyEstablishmentHandler", partner=event.partner, status=event.status.value
            ),
            NetworkKeySwitched: lambda event: self._callback(
                "switchNetworkKeyHandler", sequenceNumber=event.sequence
            ),
            CbkeKeys: lambda event: self._callback(
                _of_suite("generateCbkeKeysHandler", event.suite),
                status=event.status,
                ephemeralPublicKey=event.public_key or None,
            ),
            CbkeSmacs: lambda event: self._callback(
                _of_suite("calculateSmacsHandler", event.suite),
                status=event.status,
                initiatorSmac=event.initiator_smac or None,
                responderSmac=event.responder_smac or None,
            ),
            MessageSigned: lambda event: self._callback(
                "dsaSignHandler", status=event.status, messageContents=event.message
            ),
            SignatureVerified: lambda event: self._callback(
                "dsaVerifyHandler", status=event.status
            ),
        }

    # -- host to stick -------------------------------------------------------------------------

    def receive(self, frame: bytes) -> bytes | None:
        """The response to one command frame, None for what is not even a header."""
        octets = len(frame)
        if octets >= 5 and frame[2] & 0x03 == EXTENDED_CONTROL and self._is_extended:
            frame_id = frame[3] | frame[4] << 8
            if frame_id == SEND_UNICAST:
                return self._send_unicast(frame, 5, _EXTENDED_UNICAST)
            head = bytes((frame[0], _RESPONSE, EXTENDED_CONTROL))
            return self._answer(frame_id, head, 2, frame[5:])
        if octets >= 5 and frame[2] == LEGACY_MARK[0]:
            if frame[4] == SEND_UNICAST:
                return self._send_unicast(frame, 5, _MARKED_UNICAST)
            return self._answer(frame[4], bytes((frame[0], _RESPONSE)) + LEGACY_MARK, 1, frame[5:])
        if octets >= 3:
            if frame[2] == SEND_UNICAST:
                return self._send_unicast(frame, 3, _OLDEST_UNICAST)
            return self._answer(frame[2], bytes((frame[0], _RESPONSE)), 1, frame[3:])
        return None

    def refuse(self, frame: bytes) -> bytes:
        """What a stick answers that does not know the command: `invalidCommand`, in its form."""
        self._sequence = frame[0]
        octets = self.header_octets(frame)
        if octets < _HEADER_OCTETS:
            return self._invalid(bytes((frame[0], _RESPONSE)), 1)
        id_octets = 2 if frame[2] != LEGACY_MARK[0] else 1
        return self._invalid(
            bytes((frame[0], _RESPONSE)) + frame[2 : octets - id_octets], id_octets
        )

    def header_octets(self, frame: bytes) -> int:
        """How many octets of a frame, either way, stand before its fields."""
        is_long = len(frame) >= _HEADER_OCTETS and (
            frame[2] == LEGACY_MARK[0]
            or (self._is_extended and frame[2] & 0x03 == EXTENDED_CONTROL)
        )
        return _HEADER_OCTETS if is_long else 3

    def frame_name(self, frame: bytes) -> str:
        """The name of a frame, either way; empty for one that has none."""
        octets = self.header_octets(frame)
        if octets < _HEADER_OCTETS:
            frame_id = frame[2]
        elif frame[2] == LEGACY_MARK[0]:
            frame_id = frame[4]
        else:
            frame_id = frame[3] | frame[4] << 8
        command = self._tables.by_id.get(frame_id)
        return "" if command is None else command.name

    def has_frame(self, name: str) -> bool:
        """Whether this version of EZSP has a frame of that name."""
        return name in self._tables.by_name

    def _answer(self, frame_id: int, header: bytes, id_octets: int, octets: bytes) -> bytes:
        self._sequence = header[0]
        command = self._tables.by_id.get(frame_id)
        handler = None if command is None else COMMANDS.get(command.name)
        if command is None or handler is None:
            return self._invalid(header, id_octets)
        try:
            request = self._tables.parse_request(command, octets)
        except EzspError:
            return self._invalid(header, id_octets, Refusal.INVALID_VALUE)
        if self.session.strict:
            refusal = refuse(self.session, command.name, request)
            if refusal is Refusal.VERSION_NOT_SET:
                return self._invalid(header, id_octets, refusal)
        else:
            refusal = None
        response = {"status": refusal} if refusal else handler(self.session, request)
        body = self._tables.build_response(command, response)
        return header + frame_id.to_bytes(id_octets, "little") + body

    def _invalid(
        self, header: bytes, id_octets: int, reason: Refusal = Refusal.INVALID_FRAME_ID
    ) -> bytes:
        command = self._tables.by_name["invalidCommand"]
        body = self._tables.build_response(command, {"status": reason})
        return header + command.frame_id.to_bytes(id_octets, "little") + body

    def _send_unicast(self, frame: bytes, at: int, tail: bytes) -> bytes:
        self._sequence = frame[0]
        asked = self._hot.parse_send_unicast(frame, at)
        if asked is None:
            id_octets = 2 if tail is _EXTENDED_UNICAST else 1
            return self._invalid(frame[:1] + tail[:-id_octets], id_octets, Refusal.INVALID_VALUE)
        kind, destination, parameters, tag, message = asked
        status: Status | Refusal
        if message is None:
            status, counter = Status.INVALID_PARAMETER, 0
        elif self._is_strict and (
            refusal := refuse_message(self.session, parameters.source_endpoint)
        ):
            status, counter = refusal, 0
        elif kind:
            status, counter = self._send_by_table(kind, destination, parameters, tag, message)
        else:
            status, counter = self._aps.send_unicast(destination, parameters, message, tag)
        number = 0 if status is _OK else self._number(status)
        return self._hot.build_response(frame[0], tail, number, counter)

    def _send_by_table(
        self, kind: int, index: int, parameters: Aps, tag: int, message: bytes
    ) -> tuple[Status, int]:
        node = destination_of(self.session, kind, index)
        if node is None:
            return Status.INVALID_PARAMETER, 0
        status, counter = self._aps.send_unicast(node, parameters, message, tag)
        if status is Status.OK:
            if len(self._by_table) >= _MAX_BY_TABLE:
                del self._by_table[next(iter(self._by_table))]
            self._by_table[node, counter] = kind, index
        return status, counter

    def _number(self, status: Status | Refusal) -> int:
        return self._tables.status_number(status, ember=not self._hot.is_v14)

    # -- stick to host -------------------------------------------------------------------------

    def callback(self, event: Event) -> bytes | None:
        """The callback frame that tells the host what the stack told; None when this version of
        EZSP has none for it.
        """
        return self._translate[type(event)](event)

    def keep_callback(self, frame: bytes) -> None:
        """Keep a callback that cannot go out now; the oldest of too many is lost, and counted."""
        if len(self._callbacks) == _MAX_CALLBACKS:
            self.callbacks_lost += 1
        self._callbacks.append(frame)

    @property
    def has_callbacks(self) -> bool:
        """Whether callback frames wait to be taken."""
        return bool(self._callbacks)

    def take_callbacks(self, most: int) -> list[bytes]:
        """The oldest `most` callback frames not yet taken."""
        callbacks = self._callbacks
        return [callbacks.popleft() for _ in range(min(most, len(callbacks)))]

    def _callback(self, name: str, **values: object) -> bytes:
        command: Command = self._tables.by_name[name]
        fields: Fields = dict(values)
        header = header_tail(self._tables.version, CALLBACK, command.frame_id)
        return bytes((self._sequence,)) + header + self._tables.build_response(command, fields)

    def _incoming_message(self, event: MessageReceived) -> bytes:
        unicast = event.kind is _UNICAST
        self._count[COUNTER_APS_RX_UNICAST if unicast else COUNTER_APS_RX_BROADCAST] += 1
        return self._hot.build_incoming(self._sequence, event)

    def _message_sent(self, event: MessageSent) -> bytes:
        status = event.status
        if status is _OK:
            number = 0
            unicast = event.kind is _UNICAST
            self._count[
                COUNTER_APS_TX_UNICAST_SUCCESS if unicast else COUNTER_APS_TX_BROADCAST
            ] += 1
        else:
            number = self._number(status)
            self._count[COUNTER_APS_TX_UNICAST_FAILED] += 1
        by_table = None
        if self._by_table:
            by_table = self._by_table.pop((event.destination, event.aps.sequence), None)
        return self._hot.build_sent(self._sequence, event, number, by_table)

    def _network_status(self, event: NetworkStatusHeard) -> bytes | None:
        failure = _ROUTE_FAILURES.get(event.status)
        if failure is not None:
            return self._callback("incomingRouteErrorHandler", status=failure, target=event.address)
        if "incomingNetworkStatusHandler" not in self._tables.by_name:
            return None  # before EZSP 8
        return self._callback(
            "incomingNetworkStatusHandler", errorCode=event.status, target=event.address
        )

    def _trust_center_join(self, event: TrustCenterJoin) -> bytes:
        if event.update is not DeviceUpdate.DEVICE_LEFT:
            self._count[COUNTER_JOIN_INDICATION] += 1
        return self._callback(
            "trustCenterJoinHandler",
            newNodeId=event.short_address,
            newNodeEui64=event.eui64,
            status=event.update.value,
            policyDecision=event.decision.value,
            parentOfNewNodeId=event.parent,
        )

    def _child_joined(self, event: ChildJoined) -> bytes:
        return self._callback(
            "childJoinHandler",
            index=event.child_index,
            joining=event.joining,
            childId=event.short_address,
            childEui64=event.eui64,
            childType=event.node_type.value,
        )

    def _network_found(self, event: NetworkFound) -> bytes:
        return self._callback(
            "networkFoundHandler",
            networkFound={
                "channel": event.channel,
                "panId": event.pan_id,
                "extendedPanId": event.extended_pan_id,
                "allowingJoin": event.permit_joining,
                "stackProfile": event.stack_profile,
                "nwkUpdateId": event.update_id,
            },
            lastHopLqi=LQI,
            lastHopRssi=RSSI_DBM,
        )
