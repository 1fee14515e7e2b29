"""The EZSP face of a stick: command frames in, responses and callbacks out. No I/O.

Source: Silicon Labs UG100, "EZSP Reference Guide", chapters 2 and 3. A response takes the form of
its request (legacy or extended header); a callback carries the sequence of the last command
answered, and waits until the response to a command under way is out: a host takes a frame with the
sequence it waits for as the answer.

Three frames make up a firmware transfer and have a path of their own (`struct`, no tables).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from struct import Struct
from struct import error as StructError
from typing import Any

from emulator.ncp.commands import COMMANDS, Session
from emulator.ncp.ezsp_tables import Command, EzspError, Fields, Tables
from emulator.zigbee.events import (
    Aps,
    EnergyFound,
    Event,
    MessageReceived,
    MessageSent,
    NetworkFound,
    ScanDone,
    StackStatus,
    Status,
    TrustCenterJoin,
)
from emulator.zigbee.stack import Stack

_RESPONSE = 0x80
_CALLBACK = 0x90
_EXTENDED_CONTROL = 0x01  # high octet of the frame control of EZSP 8 and later
_EXTENDED = Struct("<BBBH")
_SEND_UNICAST = 0x0034
_MAX_CALLBACKS = 64

LQI = 255
RSSI_DBM = -40
_NO_INDEX = 0xFF
_NO_EUI64 = 0xFFFFFFFFFFFFFFFF

# EmberApsFrame: profile, cluster, source endpoint, destination endpoint, options, group, sequence
_SEND_UNICAST_V13 = Struct("<BHHHBBHHBBB")
_SEND_UNICAST_V14 = Struct("<BHHHBBHHBHB")
_SEND_UNICAST_RESPONSE_V13 = Struct("<BBBHBB")
_SEND_UNICAST_RESPONSE_V14 = Struct("<BBBHIB")
_INCOMING_V13 = Struct("<BBBHBHHBBHHBBbHBBB")
_INCOMING_V14 = Struct("<BBBHBHHBBHHBHQBBBbIB")
_SENT_V13 = Struct("<BBBHBHHHBBHHBBBB")
_SENT_V14 = Struct("<BBBHIBHHHBBHHBHB")
_INCOMING_ID = 0x0045
_SENT_ID = 0x003F


class Ezsp:
    """One booted NCP, from EZSP frame to stack and back."""

    def __init__(self, tables: Tables, stack: Stack) -> None:
        self._tables = tables
        self._is_v14 = tables.version >= 14
        self._sequence = 0
        self._callbacks: deque[bytes] = deque(maxlen=_MAX_CALLBACKS)
        self.callbacks_lost = 0
        self.session = Session(tables.version, stack)
        self._aps = stack.aps
        self._translate: dict[type[Any], Callable[[Any], bytes]] = {
            MessageReceived: self._incoming_message,
            MessageSent: self._message_sent,
            StackStatus: lambda event: self._callback("stackStatusHandler", status=event.status),
            TrustCenterJoin: self._trust_center_join,
            NetworkFound: self._network_found,
            EnergyFound: lambda event: self._callback(
                "energyScanResultHandler", channel=event.channel, maxRssiValue=event.rssi_dbm
            ),
            ScanDone: lambda event: self._callback(
                "scanCompleteHandler", channel=0, status=event.status
            ),
        }

    # -- host to stick -------------------------------------------------------------------------

    def receive(self, frame: bytes) -> bytes | None:
        """The response to one command frame, None for what is not even a header."""
        if len(frame) >= 5 and frame[2] & 0x03 == _EXTENDED_CONTROL:
            sequence = frame[0]
            frame_id = frame[3] | frame[4] << 8
            if frame_id == _SEND_UNICAST:
                return self._send_unicast(sequence, frame)
            header = bytes((sequence, _RESPONSE, _EXTENDED_CONTROL))
            return self._answer(sequence, frame_id, header, 2, frame[5:])
        if len(frame) >= 5 and frame[2] == 0xFF:
            header = bytes((frame[0], _RESPONSE, 0xFF, 0x00))
            return self._answer(frame[0], frame[4], header, 1, frame[5:])
        if len(frame) >= 3:
            header = bytes((frame[0], _RESPONSE))
            return self._answer(frame[0], frame[2], header, 1, frame[3:])
        return None

    def _answer(
        self, sequence: int, frame_id: int, header: bytes, id_octets: int, octets: bytes
    ) -> bytes:
        self._sequence = sequence
        command = self._tables.by_id.get(frame_id)
        handler = None if command is None else COMMANDS.get(command.name)
        if command is None or handler is None:
            return self._invalid(header, id_octets)
        try:
            request = self._tables.parse_request(command, octets)
        except EzspError:
            return self._invalid(header, id_octets)
        response = handler(self.session, request)
        body = self._tables.build_response(command, response)
        return header + frame_id.to_bytes(id_octets, "little") + body

    def _invalid(self, header: bytes, id_octets: int) -> bytes:
        command = self._tables.by_name["invalidCommand"]
        body = self._tables.build_response(command, {"status": Status.NOT_FOUND})
        return header + command.frame_id.to_bytes(id_octets, "little") + body

    def _send_unicast(self, sequence: int, frame: bytes) -> bytes:
        self._sequence = sequence
        layout = _SEND_UNICAST_V14 if self._is_v14 else _SEND_UNICAST_V13
        try:
            (
                kind,
                destination,
                profile,
                cluster,
                source_endpoint,
                destination_endpoint,
                options,
                group,
                aps_sequence,
                tag,
                length,
            ) = layout.unpack_from(frame, 5)
        except StructError:
            return self._invalid(bytes((sequence, _RESPONSE, _EXTENDED_CONTROL)), 2)
        at = 5 + layout.size
        payload = frame[at : at + length]
        if len(payload) != length or kind != 0:
            # Only OUTGOING_DIRECT: address and binding tables are not used for sending.
            status, counter = Status.INVALID_PARAMETER, 0
        else:
            parameters = Aps(
                profile,
                cluster,
                source_endpoint,
                destination_endpoint,
                options,
                group,
                aps_sequence,
            )
            status, counter = self._aps.send_unicast(destination, parameters, payload, tag)
        number = 0
        if status is not Status.OK:
            number = self._tables.status_number(status, ember=not self._is_v14)
        response = _SEND_UNICAST_RESPONSE_V14 if self._is_v14 else _SEND_UNICAST_RESPONSE_V13
        return response.pack(sequence, _RESPONSE, _EXTENDED_CONTROL, _SEND_UNICAST, number, counter)

    # -- stick to host -------------------------------------------------------------------------

    def callback(self, event: Event) -> bytes:
        """The callback frame that tells the host what the stack told."""
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
        header = _EXTENDED.pack(self._sequence, _CALLBACK, _EXTENDED_CONTROL, command.frame_id)
        return header + self._tables.build_response(command, fields)

    def _incoming_message(self, event: MessageReceived) -> bytes:
        kind, aps, source, eui64, payload = event
        if self._is_v14:
            header = _INCOMING_V14.pack(
                self._sequence,
                _CALLBACK,
                _EXTENDED_CONTROL,
                _INCOMING_ID,
                kind.value,
                *aps,
                source,
                _NO_EUI64 if eui64 is None else eui64,
                _NO_INDEX,
                _NO_INDEX,
                LQI,
                RSSI_DBM,
                0,
                len(payload),
            )
        else:
            header = _INCOMING_V13.pack(
                self._sequence,
                _CALLBACK,
                _EXTENDED_CONTROL,
                _INCOMING_ID,
                kind.value,
                *aps,
                LQI,
                RSSI_DBM,
                source,
                _NO_INDEX,
                _NO_INDEX,
                len(payload),
            )
        return header + payload

    def _message_sent(self, event: MessageSent) -> bytes:
        status, kind, destination, aps, tag = event
        number = 0
        if status is not Status.OK:
            number = self._tables.status_number(status, ember=not self._is_v14)
        # EmberOutgoingMessageType: 0 direct, 4 broadcast, as for incoming messages. The message
        # itself is left out, which is what MESSAGE_TAG_ONLY_IN_CALLBACK says and the default is.
        if self._is_v14:
            return _SENT_V14.pack(
                self._sequence,
                _CALLBACK,
                _EXTENDED_CONTROL,
                _SENT_ID,
                number,
                kind.value,
                destination,
                *aps,
                tag,
                0,
            )
        return _SENT_V13.pack(
            self._sequence,
            _CALLBACK,
            _EXTENDED_CONTROL,
            _SENT_ID,
            kind.value,
            destination,
            *aps,
            tag,
            number,
            0,
        )

    def _trust_center_join(self, event: TrustCenterJoin) -> bytes:
        return self._callback(
            "trustCenterJoinHandler",
            newNodeId=event.short_address,
            newNodeEui64=event.eui64,
            status=event.update.value,
            policyDecision=event.decision.value,
            parentOfNewNodeId=event.parent,
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
