"""Tunnelling commands as a peer reads them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zcl_witness
from hypothesis import given
from hypothesis import strategies as st

from emulator.zigbee import tunnelling, zcl

U8 = st.integers(0, 0xFF)
U16 = st.integers(0, 0xFFFF)


def made(kind: type[Any], *fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.tuples(*fields).map(lambda values: kind(*values))


Parser = Callable[[bytes], Any]
PROTOCOLS = st.lists(made(tunnelling.TunnelProtocol, U16, U8), max_size=8).map(tuple)
COMMANDS: dict[Parser, st.SearchStrategy[Any]] = {
    tunnelling.parse_request_tunnel: made(tunnelling.RequestTunnel, U8, U16, st.booleans(), U16),
    tunnelling.parse_request_tunnel_response: made(tunnelling.RequestTunnelResponse, U16, U8, U16),
    tunnelling.parse_close_tunnel: made(tunnelling.CloseTunnel, U16),
    tunnelling.parse_transfer_data: made(tunnelling.TransferData, U16, st.binary(max_size=1500)),
    tunnelling.parse_transfer_data_error: made(tunnelling.TransferDataError, U16, U8),
    tunnelling.parse_ack_transfer_data: made(tunnelling.AckTransferData, U16, U16),
    tunnelling.parse_ready_data: made(tunnelling.ReadyData, U16, U16),
    tunnelling.parse_get_supported_tunnel_protocols: made(
        tunnelling.GetSupportedTunnelProtocols, U8
    ),
    tunnelling.parse_supported_tunnel_protocols_response: made(
        tunnelling.SupportedTunnelProtocolsResponse, st.booleans(), PROTOCOLS
    ),
    tunnelling.parse_tunnel_closure_notification: made(tunnelling.TunnelClosureNotification, U16),
}
BY_NAME = {parse.__name__.removeprefix("parse_"): parse for parse in COMMANDS}

# The CS08 command of the published RTDS vectors.
GBCS = bytes.fromhex(
    "DD000000000000461100000000DF090100000000000005140890B3D51F300000020800DB1234567890A400"
    "12012990B3D51F3001000000000000000003E802050000BDC5E70406017D96EE0F9759"
)
GB = tunnelling.TunnelProtocol(0xFFFF, 6)
# By hand from the layouts of the cluster; tshark reads them below. First octet: from the server.
GOLDEN: list[tuple[bool, int, tunnelling.TunnelCommand, str]] = [
    (False, 0x00, tunnelling.RequestTunnel(6, 0xFFFF, False, 1500), "06 FFFF 00 DC05"),
    (True, 0x00, tunnelling.RequestTunnelResponse(1, 0, 1500), "0100 00 DC05"),
    (False, 0x01, tunnelling.CloseTunnel(1), "0100"),
    (False, 0x02, tunnelling.TransferData(1, GBCS), "0100" + GBCS.hex()),
    (True, 0x01, tunnelling.TransferData(1, GBCS), "0100" + GBCS.hex()),
    (True, 0x02, tunnelling.TransferDataError(1, 0), "0100 00"),
    (False, 0x04, tunnelling.AckTransferData(1, 1500), "0100 DC05"),
    (False, 0x05, tunnelling.ReadyData(1, 1500), "0100 DC05"),
    (False, 0x06, tunnelling.GetSupportedTunnelProtocols(0), "00"),
    (True, 0x05, tunnelling.SupportedTunnelProtocolsResponse(True, (GB,)), "01 01 FFFF 06"),
    (True, 0x06, tunnelling.TunnelClosureNotification(1), "0100"),
]


@pytest.mark.parametrize("name", BY_NAME)
@given(data=st.data())
def test_a_command_survives_being_sent(name: str, data: st.DataObject) -> None:
    parse = BY_NAME[name]
    command = data.draw(COMMANDS[parse])
    assert parse(tunnelling.build(command)) == command


@pytest.mark.parametrize("name", BY_NAME)
@given(payload=st.binary(max_size=40))
def test_no_octets_bring_a_reader_down(name: str, payload: bytes) -> None:
    offset = 0
    try:
        BY_NAME[name](payload)
    except zcl.ZclError as error:
        offset = error.offset
    assert 0 <= offset <= len(payload)


@pytest.mark.parametrize("name", sorted(set(BY_NAME) - {"transfer_data"}))
@given(data=st.data())
def test_a_command_cut_short_or_with_octets_behind_it_is_refused(
    name: str, data: st.DataObject
) -> None:
    parse = BY_NAME[name]
    payload = tunnelling.build(data.draw(COMMANDS[parse]))
    with pytest.raises(zcl.ZclError):
        parse(payload[: data.draw(st.integers(0, len(payload) - 1))])
    with pytest.raises(zcl.ZclError):
        parse(payload + b"\x00")


def test_the_octets_on_the_air_are_those_of_the_profile(tmp_path: Path) -> None:
    frames = []
    for is_from_server, number, command, octets in GOLDEN:
        payload = tunnelling.build(command)
        assert payload == bytes.fromhex(octets)
        control = zcl.RESPONSE if is_from_server else zcl.REQUEST
        frames.append(bytes((control, 7, number)) + payload)
    trees = zcl_witness.decode(tunnelling.CLUSTER_ID, frames, tmp_path)
    expected = [
        ("Request Tunnel", "GB-HRGP (0x06)", "Max Incoming Transfer Size: 0x05dc"),
        ("Request Tunnel Response", "Tunnel Id: 0x0001", "Max Incoming Transfer Size: 0x05dc"),
        ("Close Tunnel", "Tunnel Id: 0x0001", ""),
        ("Transfer Data", "Tunnel Id: 0x0001", ""),
        ("Transfer Data", "Tunnel Id: 0x0001", ""),
        ("Transfer Data Error", "Tunnel Id: 0x0001", ""),
        ("Ack Transfer Data", "Num Octets Left: 0x05dc", ""),
        ("Ready Data", "Num Octets Left: 0x05dc", ""),
        ("Get Supported Tunnel Protocols", "Protocol Offset: 0x00", ""),
        ("Supported Tunnel Protocols Response", "List Complete: True", "GB-HRGP (0x06)"),
        ("Tunnel Closure Notification", "Tunnel Id: 0x0001", ""),
    ]
    for tree, (name, *fields) in zip(trees, expected, strict=True):
        assert f"Command: {name}" in tree
        for field in fields:
            assert field in tree


def test_a_broken_command_names_its_place() -> None:
    with pytest.raises(zcl.ZclError, match=r"Transfer Data ends at octet 1, inside tunnel_id"):
        tunnelling.parse_transfer_data(b"\x01")
    with pytest.raises(zcl.ZclError, match=r"Request Tunnel has 2 where a boolean stands"):
        tunnelling.parse_request_tunnel(bytes.fromhex("06FFFF02DC05"))
    with pytest.raises(zcl.ZclError, match=r"says 2 protocols and has fewer \(octet 5\)"):
        tunnelling.parse_supported_tunnel_protocols_response(bytes.fromhex("0102FFFF06"))


@pytest.mark.parametrize(
    "command",
    [
        tunnelling.RequestTunnel(256, 0xFFFF, False, 1500),
        tunnelling.TransferData(0x10000, b""),
        tunnelling.SupportedTunnelProtocolsResponse(True, (GB,) * 256),
        tunnelling.CloseTunnel(-1),
    ],
)
def test_a_command_that_cannot_be_is_not_built(command: tunnelling.TunnelCommand) -> None:
    with pytest.raises(zcl.ZclValueError):
        tunnelling.build(command)
