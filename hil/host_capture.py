"""`host.pcapng`: what a bench without a sniffer knows of its air, as frames that Wireshark reads.

Source: DESIGN, "What it promises to the outside": on real radios `air.pcapng` exists only with a
sniffer stick, else `host.pcapng`, which is reconstructed. It is the hub's host that it is from: the
hub is at one end of every message of a HAN, so each is there once, and in the order in which the
hub met it. What a device sent and the hub did not hear is not in it.

A frame is MAC data, NWK and APS, none of them secured, as the stick has opened them. Of what EZSP
does not tell nothing is invented:

    field                                   is
    --------------------------------------  ------------------------------------------------------
    MAC and NWK sequence numbers, radius    0
    MAC addresses                           those of the two ends, whatever relays there were
    MAC and NWK acknowledgements, retries   not there; no frame asks for a MAC acknowledgement
    APS acknowledgements                    not there, but for fragments, which the host does itself
    security of NWK and APS                 none; the comment says what came under the link key
    destination of a broadcast              0xFFFD
    EUI-64 of the other end                 in the NWK header where the hub's host knows it, whether
                                            or not it was on the air
    time                                    of arrival at the host; of what is sent, when the stick
                                            has taken it
    LQI and RSSI                            of the last hop, as the stick tells them

Joining and leaving have no frames at the host, only their outcome: they are the events `joined` and
`left`. A packet without octets would be a malformed one to every reader.
"""

from __future__ import annotations

from datetime import datetime

from emulator.devices.host_messages import HostMessage, HostRouteRecord
from emulator.devices.node import NetworkSettings
from emulator.medium.pcapng import PcapngWriter
from emulator.medium.timing import MAX_PSDU_OCTETS, Scheduler
from emulator.zigbee import aps, mac, nwk, nwk_commands
from emulator.zigbee.aps import ApsFrame
from emulator.zigbee.events import (
    OPTION_ENCRYPTION,
    OPTION_FRAGMENT,
    OPTION_RETRY,
    MessageKind,
)
from emulator.zigbee.nwk import NwkFrame
from emulator.zigbee.nwk_commands import RouteRecord
from hil.bench_file import HUB
from hil.evidence import Evidence

CAPTURE = "host.pcapng"
UNDER_LINK_KEY = "under the link key"
HUB_NWK = 0x0000
NOT_TOLD = 0

_DELIVERY = {
    MessageKind.UNICAST: aps.DELIVERY_UNICAST,
    MessageKind.MULTICAST: aps.DELIVERY_GROUP,
    MessageKind.BROADCAST: aps.DELIVERY_BROADCAST,
}


class HostCapture:
    """Writes what the host of the hub's stick tells, as it happens."""

    def __init__(
        self, evidence: Evidence, clock: Scheduler, settings: NetworkSettings, *, epoch: datetime
    ) -> None:
        self._writer = PcapngWriter(evidence.open_binary(CAPTURE).write, interfaces=(HUB,))
        self._clock = clock
        self._settings = settings
        self._epoch_us = round(epoch.timestamp() * 1e6)

    def take(self, message: HostMessage | HostRouteRecord) -> None:
        """One message or fragment. What the hub says to itself is not on the air, and what is
        longer than a frame can be was in none."""
        if message.nwk == HUB_NWK:
            return
        psdu = reconstructed(message, self._settings.pan_id)
        if len(psdu) > MAX_PSDU_OCTETS:
            return
        self._writer.frame(
            self._clock.now_us(),
            psdu,
            channel=self._settings.channel,
            rssi_dbm=message.rssi_dbm,
            lqi=message.lqi,
            epoch_us=self._epoch_us,
            comment=comment_of(message),
        )


def comment_of(message: HostMessage | HostRouteRecord) -> str:
    """What stands beside the frame."""
    told = f"reconstructed at {HUB}: {message.command}"
    if isinstance(message, HostMessage) and message.aps.options & OPTION_ENCRYPTION:
        told += f", {UNDER_LINK_KEY}"
    return told


def reconstructed(message: HostMessage | HostRouteRecord, pan_id: int) -> bytes:
    """The frame with its FCS."""
    source, destination, next_hop = message.nwk, HUB_NWK, HUB_NWK
    control = nwk.UNSECURED_DATA_CONTROL
    source_eui64, destination_eui64 = message.eui64, None
    if isinstance(message, HostRouteRecord):
        control = nwk.TYPE_COMMAND | nwk.PROTOCOL_VERSION
        payload = nwk_commands.build_route_record(RouteRecord(message.relays))
    else:
        payload = _aps(message)
        if message.is_sent:
            source, destination = HUB_NWK, message.nwk
            source_eui64, destination_eui64 = None, message.eui64
            next_hop = destination
        elif message.kind is not MessageKind.UNICAST:
            destination, next_hop = nwk.BROADCAST_RX_ON, mac.BROADCAST
    header = nwk.build_header(
        NwkFrame(
            control,
            destination,
            source,
            NOT_TOLD,
            NOT_TOLD,
            destination_eui64,
            source_eui64,
            (),
            0,
        )
    )
    head = mac.DATA_HEADER.pack(mac.DATA_UNACKED, NOT_TOLD, pan_id, next_hop, source)
    frame = head + header + payload
    return frame + mac.fcs(frame)


def _aps(message: HostMessage) -> bytes:
    told, control = message.aps, _DELIVERY[message.kind]
    fragmentation = block = 0
    if told.options & OPTION_FRAGMENT:
        control |= aps.EXTENDED_HEADER
        index = told.group & 0xFF
        fragmentation = aps.FRAGMENT_PART if index else aps.FRAGMENT_FIRST
        # The first fragment says how many there are; an acknowledgement always which it is of.
        is_first = not index and not message.acknowledges_fragment
        block = told.group >> 8 if is_first else index
    if message.acknowledges_fragment:
        control |= aps.TYPE_ACK
    elif told.options & OPTION_RETRY:
        control |= aps.ACK_REQUEST
    header = ApsFrame(
        control,
        told.destination_endpoint,
        told.group,
        told.cluster,
        told.profile,
        told.source_endpoint,
        told.sequence,
        fragmentation,
        block,
        told.group >> 8,
        0,
    )
    return aps.build_header(header) + message.payload
