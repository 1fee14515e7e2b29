"""The frames a firmware transfer is made of, by `struct`: no tables, for every EZSP version.

Source: Silicon Labs UG100, chapter 3 (frame formats) and 8 (messaging). There are three headers and
two bodies:

    EZSP        header                            body
    ----------  --------------------------------  ---------------------------------------------
    4           sequence, control, id             one octet of tag and EmberStatus
    5 to 7      sequence, control, FF, 00, id     the same
    8 to 13     sequence, two of control, two     the same
    14 onwards  the same                          two octets of tag, four of sl_Status, and the
                                                  fields in another order
"""

from __future__ import annotations

from struct import Struct
from struct import error as StructError

from emulator.zigbee.events import Aps, MessageKind, MessageReceived, MessageSent

SEND_UNICAST = 0x0034
EXTENDED_CONTROL = 0x01  # high octet of the frame control of EZSP 8 and later
LEGACY_MARK = b"\xff\x00"  # of EZSP 5 to 7: where EZSP 4 has the frame id, and a further control
FIRST_WITH_MARK = 5
FIRST_WITH_ALIAS = 6
FIRST_EXTENDED = 8
FIRST_WITH_SL_STATUS = 14
CALLBACK = 0x90

LQI = 255
RSSI_DBM = -40
_NO_INDEX = 0xFF
_NO_EUI64 = 0xFFFFFFFFFFFFFFFF

_INCOMING = 0x0045
_SENT = 0x003F
# EmberApsFrame: profile, cluster, source endpoint, destination endpoint, options, group, sequence
_APS = "HHBBHHB"
_SEND_UNICAST_V4 = Struct(f"<BH{_APS}BB")
_SEND_UNICAST_V14 = Struct(f"<BH{_APS}HB")
_RESPONSE_V4 = "BB"
_RESPONSE_V14 = "IB"
_INCOMING_V4 = f"B{_APS}BbHBBB"
_INCOMING_V14 = f"B{_APS}HQBBBbIB"
_SENT_V4 = f"BH{_APS}BBB"
_SENT_V14 = f"IBH{_APS}HB"


def header_tail(version: int, control: int, frame_id: int) -> bytes:
    """What follows the sequence number in a header of a stick's own version."""
    if version >= FIRST_EXTENDED:
        return bytes((control, EXTENDED_CONTROL)) + frame_id.to_bytes(2, "little")
    if version >= FIRST_WITH_MARK:
        return bytes((control,)) + LEGACY_MARK + bytes((frame_id,))
    return bytes((control, frame_id))


class HotFrames:
    """sendUnicast, incomingMessageHandler and messageSentHandler of one EZSP version."""

    def __init__(self, version: int) -> None:
        self.is_v14 = version >= FIRST_WITH_SL_STATUS
        self._send_unicast = _SEND_UNICAST_V14 if self.is_v14 else _SEND_UNICAST_V4
        response = _RESPONSE_V14 if self.is_v14 else _RESPONSE_V4
        self._responses = {octets: Struct(f"<B{octets}s{response}") for octets in (2, 4)}
        # EmberOutgoingMessageType: the types with an alias, of EZSP 6, took 4 and 5.
        broadcast = 6 if version >= FIRST_WITH_ALIAS else 4
        self._outgoing = {
            MessageKind.MULTICAST: 3,
            MessageKind.BROADCAST: broadcast,
        }
        self._incoming_tail = header_tail(version, CALLBACK, _INCOMING)
        self._sent_tail = header_tail(version, CALLBACK, _SENT)
        header = f"<B{len(self._incoming_tail)}s"
        self._incoming = Struct(header + (_INCOMING_V14 if self.is_v14 else _INCOMING_V4))
        self._sent = Struct(header + (_SENT_V14 if self.is_v14 else _SENT_V4))

    def parse_send_unicast(
        self, frame: bytes, at: int
    ) -> tuple[int, int, Aps, int, bytes | None] | None:
        """Kind, destination, APS frame, tag and message (None when it is not as long as it says)
        of the sendUnicast whose body is at `at`; None for one that is cut off.
        """
        layout = self._send_unicast
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
                sequence,
                tag,
                length,
            ) = layout.unpack_from(frame, at)
        except StructError:
            return None
        at += layout.size
        message = frame[at : at + length]
        parameters = Aps(
            profile,
            cluster,
            source_endpoint,
            destination_endpoint,
            options,
            group,
            sequence,
        )
        return kind, destination, parameters, tag, message if len(message) == length else None

    def build_response(self, sequence: int, tail: bytes, status: int, counter: int) -> bytes:
        """The whole response to sendUnicast; `tail` is its header after the sequence number."""
        return self._responses[len(tail)].pack(sequence, tail, status, counter)

    def build_incoming(self, sequence: int, event: MessageReceived) -> bytes:
        """The whole incomingMessageHandler."""
        kind, aps, source, eui64, payload = event
        if self.is_v14:
            head = self._incoming.pack(
                sequence,
                self._incoming_tail,
                kind,
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
            head = self._incoming.pack(
                sequence,
                self._incoming_tail,
                kind,
                *aps,
                LQI,
                RSSI_DBM,
                source,
                _NO_INDEX,
                _NO_INDEX,
                len(payload),
            )
        return head + payload

    def build_sent(
        self, sequence: int, event: MessageSent, status: int, by_table: tuple[int, int] | None
    ) -> bytes:
        """The whole messageSentHandler, without the message itself: that is what the policy
        MESSAGE_TAG_ONLY_IN_CALLBACK says, and the default is. `by_table` is how the host named the
        destination when it did not by its address: outgoing type and index.
        """
        _, kind, destination, aps, tag = event
        if by_table is not None:
            number, destination = by_table
        elif kind is MessageKind.UNICAST:
            number = 0
        else:
            number = self._outgoing[kind]
        tail = self._sent_tail
        if self.is_v14:
            return self._sent.pack(sequence, tail, status, number, destination, *aps, tag, 0)
        return self._sent.pack(sequence, tail, number, destination, *aps, tag, status, 0)
