"""What the frames below the application are called: MAC, NWK and APS commands, beacons, answers.

Source: IEEE 802.15.4-2006, 7.3; ZigBee specification 05-3474, 3.4 (NWK commands), 4.4.10 (APS
commands), 2.2.5 (APS frames).
"""

from __future__ import annotations

from emulator.zigbee import aps, mac, nwk, zdo
from hil.air_words import cluster_name, zdo_name

_MAC_COMMANDS = {
    mac.COMMAND_ASSOCIATION_REQUEST: "Association Request",
    mac.COMMAND_ASSOCIATION_RESPONSE: "Association Response",
    0x03: "Disassociation Notification",
    mac.COMMAND_DATA_REQUEST: "Data Request",
    0x06: "Orphan Notification",
    mac.COMMAND_BEACON_REQUEST: "Beacon Request",
    0x08: "Coordinator Realignment",
}
_NWK_COMMANDS = {
    0x01: "Route Request",
    0x02: "Route Reply",
    0x03: "Network Status",
    nwk.COMMAND_LEAVE: "Leave",
    0x05: "Route Record",
    0x06: "Rejoin Request",
    0x07: "Rejoin Response",
    0x08: "Link Status",
    0x09: "Network Report",
    0x0A: "Network Update",
    0x0B: "End Device Timeout Request",
    0x0C: "End Device Timeout Response",
}
_APS_COMMANDS = {
    aps.COMMAND_TRANSPORT_KEY: "Transport Key",
    0x06: "Update Device",
    0x07: "Remove Device",
    0x08: "Request Key",
    0x09: "Switch Key",
    0x0E: "Tunnel",
    0x0F: "Verify Key",
    0x10: "Confirm Key",
}


def mac_command_words(payload: bytes) -> str:
    command = payload[0]
    name = _MAC_COMMANDS.get(command, f"command 0x{command:02X}")
    if command != mac.COMMAND_ASSOCIATION_RESPONSE:
        return name
    if len(payload) != 4:
        return f"{name}, malformed"
    if payload[3] != mac.ASSOCIATION_SUCCESSFUL:
        return f"{name}, refused with 0x{payload[3]:02X}"
    return f"{name} {int.from_bytes(payload[1:3], 'little'):04X}"


def beacon_words(payload: bytes) -> str:
    try:
        beacon = mac.parse_beacon(payload)
    except mac.MacError as error:
        return f"Beacon, not ZigBee's: {error}"
    joining = "permitted" if beacon.permit_joining else "closed"
    return f"Beacon, extended PAN id {beacon.extended_pan_id:016X}, joining {joining}"


def ack_words(header: aps.ApsFrame) -> str:
    if header.control & aps.ACK_FORMAT:
        return "ack of a command"
    if header.profile == zdo.PROFILE:
        return f"ack, {zdo_name(header.cluster)}"
    fragment = f", fragment {header.block + 1}" if header.fragmentation else ""
    return f"ack, {cluster_name(header.cluster)}{fragment}"


def nwk_command_words(payload: bytes) -> str:
    return _NWK_COMMANDS.get(payload[0], f"command 0x{payload[0]:02X}")


def aps_command_words(frame: bytes) -> str:
    """An APS command that is not secured."""
    if len(frame) < 3:
        return "command, malformed"
    return _APS_COMMANDS.get(frame[2], f"command 0x{frame[2]:02X}")
