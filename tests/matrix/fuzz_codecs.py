"""The codecs a fuzz mutates octets for: a row each, and a new one is a row more.

Source: ours. What a codec accepts it builds again to the same octets, or its row says why it need
not: `loose` names what the parsed form does not keep.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import cache, partial
from typing import Any, NamedTuple

from emulator.medium import zep
from emulator.ncp.ezsp_tables import SUPPORTED_VERSIONS, EzspError, Tables
from emulator.ncp.hot_frames import HotFrames
from emulator.zigbee import (
    aps,
    aps_commands,
    joining_commands,
    mac,
    nwk,
    nwk_commands,
    ota,
    rejoin_commands,
    tunnelling,
    zcl,
)
from emulator.zigbee.cbke import commands as cbke
from emulator.zigbee.cbke.ecqv import parse_certificate
from emulator.zigbee.cbke.errors import CbkeError
from emulator.zigbee.cbke.suites import SUITE_163K1, SUITE_283K1
from emulator.zigbee.events import DeviceUpdate, NodeType
from emulator.zigbee.security import FrameKey, SecurityError
from emulator.zigbee.state import Child, LinkKey, Network, StackState, StateError


class Codec(NamedTuple):
    """`parse(octets)` raises `errors` alone; `build(parse(octets))` is the octets, unless `loose`.

    `samples` is called once. `guard` puts in order, in half of the inputs, what a mutation breaks
    before anything else is looked at: an FCS, a MIC.
    """

    samples: Callable[[], Iterable[bytes]]
    parse: Callable[[bytes], Any]
    errors: tuple[type[Exception], ...]
    build: Callable[[Any], bytes] | None = None
    loose: str = ""
    guard: Callable[[bytes], bytes] | None = None


_EUI64 = 0x00DB1234567890A4
_OCTETS = _EUI64.to_bytes(8, "little")
_KEY = FrameKey(bytes(range(16)))
_IDS = (0x121D, 0x0084, 2)


def _reset_fcs(frame: bytes) -> bytes:
    return frame[:-2] + mac.fcs(frame[:-2])


def _mac_frames() -> Iterable[bytes]:
    for destination, source in ((0x0000, 0x1234), (_EUI64, _EUI64 + 1), (0xFFFF, None)):
        yield mac.build(
            mac.MacFrame(
                mac.TYPE_DATA,
                True,
                False,
                7,
                0x1A62,
                destination,
                destination > 0xFFFF,
                None if source is None else 0x1A62,
                source,
                source is not None and source > 0xFFFF,
                b"payload",
            )
        )
    yield mac.build_ack(7)


def _nwk_headers() -> Iterable[bytes]:
    for ieee in (None, _EUI64):
        for relays in ((), (1, 2, 3)):
            for control in (nwk.DATA_CONTROL, nwk.COMMAND_CONTROL):
                frame = nwk.NwkFrame(control, 0, 0x1234, 30, 9, ieee, ieee, relays, 0)
                yield nwk.build_header(frame)


def _parse_nwk(octets: bytes) -> nwk.NwkFrame:
    frame = nwk.parse(octets)
    # Two flags say that something follows which a header that is built has not.
    control = frame.control & ~(nwk.MULTICAST | nwk.SOURCE_ROUTE)
    return frame._replace(control=control, header_octets=0)


def _sealed_nwk() -> Iterable[bytes]:
    header = nwk.build_header(nwk.NwkFrame(nwk.DATA_CONTROL, 0, 1, 30, 9, None, None, (), 0))
    yield nwk.seal(_KEY, header, 5, _OCTETS, 0, b"twenty octets of text")


def _open_nwk(octets: bytes) -> bytes:
    at = nwk.parse(octets).header_octets
    return nwk.open_sealed(_KEY, octets, at, nwk.parse_auxiliary(octets, at).source_eui64)


def _reseal_nwk(octets: bytes) -> bytes:
    """With a MIC that is right, whatever became of the rest."""
    header, payload = octets[:8], octets[22:-4]
    return nwk.seal(_KEY, header, 5, _OCTETS, 0, payload) if len(header) == 8 else octets


def _aps_headers() -> Iterable[bytes]:
    for control in (0x00, 0x02, 0x08, 0x0C, 0x12, 0x40, 0x80, 0x82, 0xC0):
        for fragmentation in (0, 1, 2):
            yield aps.build_header(
                aps.ApsFrame(control, 1, 7, 0x19, 0x0109, 1, 5, fragmentation, 2, 3, 0)
            )


def _parse_aps(octets: bytes) -> aps.ApsFrame:
    return aps.parse(octets)._replace(header_octets=0)


def _open_aps(octets: bytes) -> bytes:
    at = aps.parse(octets).header_octets
    aps.counter_of(octets, at)
    return aps.open_sealed(_KEY, octets, at, _OCTETS)


def _sealed_aps() -> Iterable[bytes]:
    header = aps.HEADER.pack(aps.TYPE_DATA | aps.SECURITY, 1, 0x19, 0x0109, 1, 5)
    yield aps.seal(_KEY, header, 5, _OCTETS, b"twenty octets of text")


def _reseal_aps(octets: bytes) -> bytes:
    header = octets[:8]
    return aps.seal(_KEY, header, 5, _OCTETS, octets[13:-4]) if len(header) == 8 else octets


def _transport_key() -> Iterable[bytes]:
    command = aps.TransportKey(bytes(range(16)), 1, _EUI64, _EUI64 + 1)
    yield aps.seal_transport_key(_KEY, command, 5, 9)


def _beacons() -> Iterable[bytes]:
    for flag in (False, True):
        yield mac.build_beacon(mac.Beacon(flag, flag, 2, flag, 1, flag, _EUI64, 3))


def _commands(build: Callable[[Any], bytes], *commands: Any) -> Callable[[], Iterable[bytes]]:
    return lambda: map(build, commands)


def _states() -> Iterable[bytes]:
    network = Network(0x1A62, _EUI64, 15, NodeType.ROUTER, 0x1234, bytes(16), parent=0)
    keys = [None, LinkKey(_EUI64, bytes(16), 4)]
    for state in (
        StackState(_EUI64),
        StackState(
            _EUI64,
            network,
            bytes(16),
            0x84,
            keys,
            {0: _EUI64},
            1024,
            2048,
            [None, Child(_EUI64, 7, NodeType.SLEEPY_END_DEVICE, 60)],
            custom_eui64=_EUI64,
        ),
    ):
        yield state.to_json().encode()


def _read_state(octets: bytes) -> StackState:
    try:
        text = octets.decode()
    except UnicodeDecodeError as error:
        raise StateError("not text") from error
    return StackState.from_json(text)


def _as_json(octets: bytes) -> bytes:
    """Text again, and JSON where a comma or a quotation mark was all that was missing."""
    text = octets.decode(errors="replace")
    try:
        return json.dumps(json.loads(text)).encode()
    except ValueError:
        return text.encode()


@cache
def _tables(version: int) -> Tables:
    return Tables(version)


def ezsp_requests(version: int) -> Iterable[bytes]:
    """Every request of a version, all its fields there, behind its two octets of frame id."""
    for command in _tables(version).by_id.values():
        body = b""
        for kind in command.request.values():
            value, _ = kind.deserialize(bytes(512))
            body += value.serialize()
        yield command.frame_id.to_bytes(2, "little") + body


def _parse_ezsp(version: int, octets: bytes) -> Any:
    tables = _tables(version)
    command = tables.by_id.get(int.from_bytes(octets[:2], "little"))
    if command is None:
        raise EzspError("no such frame")
    return tables.parse_request(command, octets[2:])


def _ezsp(version: int) -> Codec:
    return Codec(
        partial(ezsp_requests, version),
        partial(_parse_ezsp, version),
        (EzspError,),
        loose="hosts build requests, a stick does not; left-over octets are for later versions",
    )


def _parse_send_unicast(version: int, octets: bytes) -> Any:
    asked = HotFrames(version).parse_send_unicast(octets, 0)
    if asked is None:
        raise EzspError("cut off")
    return asked


def _send_unicast(version: int) -> Codec:
    tag_octets = 2 if version >= 14 else 1
    sample = bytes((0, 0x34, 0x12)) + bytes(11 + tag_octets) + b"\x11" + bytes(range(17))
    return Codec(
        lambda: [sample],
        partial(_parse_send_unicast, version),
        (EzspError,),
        loose="hosts build requests, a stick does not",
    )


def _certificate(suite: Any) -> Codec:
    def samples() -> Iterable[bytes]:
        octets = bytes(range(suite.certificate_octets))
        if suite is SUITE_283K1:  # type, curve and hash have one value each
            octets = b"\0" + octets[1:9] + b"\x0d\x08" + octets[11:]
        yield octets

    return Codec(
        samples,
        partial(parse_certificate, suite),
        (CbkeError,),
        lambda certificate: certificate.octets,
    )


def _zcl_codec(
    parse: Callable[[bytes], Any], build: Callable[[Any], bytes], *commands: Any, loose: str = ""
) -> Codec:
    return Codec(_commands(build, *commands), parse, (zcl.ZclError,), build, loose)


_RESERVED_BITS = "reserved bits of the field control are not kept"
_OTA: dict[str, Codec] = {
    f"OTA {name}": _zcl_codec(
        getattr(ota, f"parse_{name}"), ota.build, *commands, loose=_RESERVED_BITS if loose else ""
    )
    for name, loose, commands in (
        ("image_notify", False, [ota.ImageNotify(9), ota.ImageNotify(9, *_IDS)]),
        (
            "query_next_image_request",
            True,
            [ota.QueryNextImageRequest(*_IDS), ota.QueryNextImageRequest(*_IDS, 0x1111)],
        ),
        (
            "query_next_image_response",
            False,
            [ota.QueryNextImageResponse(0, *_IDS, 768_000), ota.QueryNextImageResponse(0x98)],
        ),
        (
            "image_block_request",
            True,
            [ota.ImageBlockRequest(*_IDS, 0, 56), ota.ImageBlockRequest(*_IDS, 0, 56, _EUI64, 9)],
        ),
        ("image_page_request", True, [ota.ImagePageRequest(*_IDS, 0, 56, 512, 50, _EUI64)]),
        (
            "image_block_response",
            False,
            [
                ota.ImageBlockResponse(*_IDS, 0, bytes(50)),
                ota.ImageBlockWait(1, 2),
                ota.ImageBlockWait(1, 2, 3),
                ota.ImageBlockRefused(0x95),
            ],
        ),
        (
            "upgrade_end_request",
            False,
            [ota.UpgradeEndRequest(0, *_IDS), ota.UpgradeEndRequest(0x95)],
        ),
        ("upgrade_end_response", False, [ota.UpgradeEndResponse(*_IDS, 0, 0)]),
        (
            "query_device_specific_file_request",
            False,
            [ota.QueryDeviceSpecificFileRequest(_EUI64, *_IDS, 2)],
        ),
        (
            "query_device_specific_file_response",
            False,
            [ota.QueryDeviceSpecificFileResponse(0, *_IDS, 9)],
        ),
    )
}

_TUNNELLING: dict[str, Codec] = {
    f"tunnelling {name}": _zcl_codec(
        getattr(tunnelling, f"parse_{name}"), tunnelling.build, *commands
    )
    for name, commands in (
        ("request_tunnel", [tunnelling.RequestTunnel(6, 0xFFFF, False, 1500)]),
        ("request_tunnel_response", [tunnelling.RequestTunnelResponse(1, 0, 1500)]),
        ("close_tunnel", [tunnelling.CloseTunnel(1)]),
        ("transfer_data", [tunnelling.TransferData(1, bytes(60))]),
        ("transfer_data_error", [tunnelling.TransferDataError(1, 2)]),
        ("ack_transfer_data", [tunnelling.AckTransferData(1, 2)]),
        ("ready_data", [tunnelling.ReadyData(1, 2)]),
        ("get_supported_tunnel_protocols", [tunnelling.GetSupportedTunnelProtocols(0)]),
        (
            "supported_tunnel_protocols_response",
            [
                tunnelling.SupportedTunnelProtocolsResponse(
                    True, (tunnelling.TunnelProtocol(0xFFFF, 6),) * 3
                )
            ],
        ),
        ("tunnel_closure_notification", [tunnelling.TunnelClosureNotification(1)]),
    )
}

_RESERVED = "reserved bits, and octets behind what the command has, are not kept"
_LINKS = tuple(nwk_commands.Link(node, 1, 2) for node in range(3))
_NWK: dict[str, Codec] = {
    f"NWK {name}": Codec(_commands(build, *commands), parse, (nwk.NwkError,), build, _RESERVED)
    for name, parse, build, commands in (
        (
            "Route Request",
            nwk_commands.parse_route_request,
            nwk_commands.build_route_request,
            [
                nwk_commands.RouteRequest(1, 2, 3),
                nwk_commands.RouteRequest(
                    1, 2, 3, nwk_commands.ManyToOne.WITH_ROUTE_RECORDS, _EUI64
                ),
            ],
        ),
        (
            "Route Reply",
            nwk_commands.parse_route_reply,
            nwk_commands.build_route_reply,
            [
                nwk_commands.RouteReply(1, 2, 3, 4),
                nwk_commands.RouteReply(1, 2, 3, 4, _EUI64, _EUI64 + 1),
            ],
        ),
        (
            "Network Status",
            nwk_commands.parse_network_status,
            nwk_commands.build_network_status,
            [nwk_commands.NetworkStatus(0x0B, 0x1234)],
        ),
        (
            "Route Record",
            nwk_commands.parse_route_record,
            nwk_commands.build_route_record,
            [nwk_commands.RouteRecord(()), nwk_commands.RouteRecord((1, 2, 3))],
        ),
        (
            "Link Status",
            nwk_commands.parse_link_status,
            nwk_commands.build_link_status,
            [nwk_commands.LinkStatus(()), nwk_commands.LinkStatus(_LINKS)],
        ),
        ("Leave", rejoin_commands.parse_leave, rejoin_commands.leave, [0x20, 0x60]),
        (
            "Rejoin Request",
            rejoin_commands.parse_rejoin_request,
            rejoin_commands.rejoin_request,
            [0x80, 0x8E],
        ),
        (
            "Rejoin Response",
            rejoin_commands.parse_rejoin_response,
            rejoin_commands.rejoin_response,
            [rejoin_commands.RejoinResponse(0x1234, rejoin_commands.RejoinStatus.OK)],
        ),
        (
            "End Device Timeout Request",
            rejoin_commands.parse_timeout_request,
            rejoin_commands.timeout_request,
            [0, 8],
        ),
        (
            "End Device Timeout Response",
            rejoin_commands.parse_timeout_response,
            rejoin_commands.timeout_response,
            [rejoin_commands.TimeoutResponse(rejoin_commands.TimeoutStatus.OK, 3)],
        ),
    )
}

_APS: dict[str, Codec] = {
    f"APS {name}": Codec(_commands(build, *commands), parse, (aps.ApsError,), build, loose)
    for name, parse, build, commands, loose in (
        (
            "key commands",
            aps_commands.parse,
            aps_commands.build,
            [
                aps.TransportKey(bytes(range(16)), 1, _EUI64, _EUI64 + 1),
                aps_commands.TransportApplicationKey(bytes(16), _EUI64, True),
                aps_commands.TransportTrustCenterKey(bytes(16), _EUI64, _EUI64 + 1),
                aps_commands.RemoveDevice(_EUI64),
                aps_commands.RequestKey(4),
                aps_commands.RequestKey(2, _EUI64),
                aps_commands.SwitchKey(1),
                aps_commands.VerifyKey(4, _EUI64, bytes(16)),
                aps_commands.ConfirmKey(0, 4, _EUI64),
            ],
            "a truth of another octet than 1",
        ),
        (
            "Update Device",
            joining_commands.parse_update_device,
            joining_commands.build_update_device,
            [
                joining_commands.UpdateDevice(
                    _EUI64, 0x1234, DeviceUpdate.STANDARD_SECURITY_UNSECURED_JOIN
                )
            ],
            "the identifier was looked at before",
        ),
        (
            "Tunnel",
            joining_commands.parse_tunnel,
            joining_commands.build_tunnel,
            [joining_commands.Tunnel(_EUI64, bytes(40))],
            "the identifier was looked at before",
        ),
    )
}

_ZEP = Codec(
    lambda: [zep.build(zep.ZepFrame(1_767_225_600_000_001, 15, 7, bytes(range(60))))],
    zep.parse,
    (zep.ZepError,),
    loose="device, quality and fractions of a microsecond are not kept",
)

_CBKE: dict[str, Codec] = {
    f"CBKE {name}": _zcl_codec(getattr(cbke, f"parse_{name}"), cbke.build, *commands)
    for name, commands in (
        (
            "initiate",
            [
                cbke.InitiateKeyEstablishment(suite, 11, 16, bytes(octets))
                for suite, octets in ((1, 48), (2, 74))
            ],
        ),
        ("ephemeral_data", [cbke.EphemeralData(bytes(22)), cbke.EphemeralData(bytes(37))]),
        ("confirm_key_data", [cbke.ConfirmKeyData(bytes(16))]),
        ("terminate", [cbke.TerminateKeyEstablishment(3, 30, 2)]),
    )
}

CODECS: dict[str, Codec] = {
    "MAC": Codec(
        _mac_frames,
        mac.parse,
        (mac.MacError,),
        mac.build,
        "reserved bits of the frame control are not kept",
        _reset_fcs,
    ),
    "beacon": Codec(
        _beacons,
        mac.parse_beacon,
        (mac.MacError,),
        mac.build_beacon,
        "what a ZigBee beacon has always the same is not kept",
    ),
    "NWK header": Codec(
        _nwk_headers,
        _parse_nwk,
        (nwk.NwkError,),
        nwk.build_header,
        "the payload, the relay index and the multicast control are not kept",
    ),
    "NWK, opened": Codec(
        _sealed_nwk,
        _open_nwk,
        (nwk.NwkError, SecurityError),
        loose="what is opened is not sealed again under the same counter",
        guard=_reseal_nwk,
    ),
    "APS header": Codec(
        _aps_headers,
        _parse_aps,
        (aps.ApsError,),
        aps.build_header,
        "the payload and reserved bits are not kept",
    ),
    "APS, opened": Codec(
        _sealed_aps,
        _open_aps,
        (aps.ApsError, SecurityError),
        loose="what is opened is not sealed again under the same counter",
        guard=_reseal_aps,
    ),
    "Transport Key": Codec(
        _transport_key,
        partial(aps.open_transport_key, _KEY),
        (aps.ApsError, SecurityError),
        loose="what is opened is not sealed again under the same counter",
    ),
    "ZCL": _zcl_codec(
        zcl.parse,
        zcl.build,
        zcl.ZclFrame(0x01, 7, 5, bytes(20)),
        zcl.ZclFrame(0x0C, 7, 5, bytes(20), 0x121D),
    ),
    "ZCL read": _zcl_codec(
        zcl.parse_read_attributes, zcl.build_read_attributes, (0, 4, 5), loose=""
    ),
    "ZCL read response": _zcl_codec(
        zcl.parse_read_attributes_response,
        zcl.build_read_attributes_response,
        (zcl.AttributeRecord(6, 0, 0x30, 1), zcl.AttributeRecord(7, 0x86)),
    ),
    "ZCL default response": _zcl_codec(
        zcl.parse_default_response, zcl.build_default_response, zcl.DefaultResponse(5, 0x81)
    ),
    **_OTA,
    **_TUNNELLING,
    **_CBKE,
    **_NWK,
    **_APS,
    "ZEP": _ZEP,
    "certificate 163k1": _certificate(SUITE_163K1),
    "certificate 283k1": _certificate(SUITE_283K1),
    "state JSON": Codec(
        _states,
        _read_state,
        (StateError,),
        lambda state: state.to_json().encode(),
        "JSON says the same in many ways",
        _as_json,
    ),
    **{f"EZSP {version}": _ezsp(version) for version in SUPPORTED_VERSIONS},
    **{f"sendUnicast {version}": _send_unicast(version) for version in (13, 14)},
}
