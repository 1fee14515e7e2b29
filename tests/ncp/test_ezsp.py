"""The EZSP face of a stick, octet for octet, as a host on the other end of the line reads it."""

from __future__ import annotations

from typing import Any

import bellows.types as t
import pytest
from air_support import CHANNEL
from ezsp_rig import EUI64, TABLES, Host, octets
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.ncp.commands import COMMANDS
from emulator.ncp.ezsp_tables import SUPPORTED_VERSIONS, EzspError, Tables
from emulator.zigbee.events import (
    Aps,
    DeviceUpdate,
    EnergyFound,
    Event,
    JoinDecision,
    MessageKind,
    MessageReceived,
    MessageSent,
    NetworkFound,
    ScanDone,
    StackStatus,
    Status,
    TrustCenterJoin,
)

VERSIONS = (13, 14)

versions = pytest.mark.parametrize("version", VERSIONS)


# Header forms and layouts as in tables 1.1 and 1.2 of the EZSP sheet, numbers as in UG100, by hand.


@pytest.mark.parametrize(
    ("version", "request_", "response"),
    [
        (13, "00 00 00 04", "00 80 00 0D 02 30 74"),  # the first one, whatever the stick
        (14, "00 00 00 04", "00 80 00 0E 02 00 80"),
        (13, "01 00 01 00 00 0D", "01 80 01 00 00 0D 02 30 74"),
        (14, "01 00 01 00 00 0E", "01 80 01 00 00 0E 02 00 80"),
        (13, "07 00 FF 00 00 04", "07 80 FF 00 00 0D 02 30 74"),  # form of versions 5 to 7
        (14, "02 00 01 05 00", "02 80 01 05 00"),  # nop
        (14, "03 00 01 81 00 02 AB CD", "03 80 01 81 00 02 AB CD"),  # echo
        (13, "04 00 01 26 00", "04 80 01 26 00 01 00 00 00 42 4E 48 02"),  # getEui64
        (14, "05 00 01 27 00", "05 80 01 27 00 FE FF"),  # getNodeId
        (14, "06 00 01 18 00", "06 80 01 18 00 00"),  # networkState, no network
        (13, "08 00 01 17 00 00 00", "08 80 01 17 00 93"),  # networkInit: NOT_JOINED
        (14, "08 00 01 17 00 00 00", "08 80 01 17 00 17 00 00 00"),
        (13, "09 00 01 FE 0F", "09 80 01 58 00 31"),  # ERROR_INVALID_FRAME_ID
        (14, "09 00 01 FE 0F 00 11", "09 80 01 58 00 1E 0C 00 00"),  # ZIGBEE_EZSP_ERROR
        (13, "0A 00 85", "0A 80 58 31"),
        (13, "0B 00 FF 00 85 00", "0B 80 FF 00 58 31"),
        # sendUnicast without a network
        (
            13,
            "0C 00 01 34 00 00 34 12 09 01 19 00 01 01 40 01 00 00 00 2A 02 AA BB",
            "0C 80 01 34 00 93 00",
        ),
        (
            14,
            "0C 00 01 34 00 00 34 12 09 01 19 00 01 01 40 01 00 00 00 2A 00 02 AA BB",
            "0C 80 01 34 00 17 00 00 00 00",
        ),
    ],
)
def test_a_host_reads_each_answer_where_the_sheet_has_it(
    version: int, request_: str, response: str
) -> None:
    host = Host(version)
    answer = host.ezsp.receive(octets(request_))
    assert answer is not None
    assert answer.hex(" ").upper() == response


APS = Aps(0x0109, 0x0019, 1, 2, 0x0060, 0x0103, 7)
APS_OCTETS = "09 01 19 00 01 02 60 00 03 01 07"


@pytest.mark.parametrize(
    ("version", "event", "callback"),
    [
        (
            13,
            MessageReceived(MessageKind.UNICAST, APS, 0x1234, EUI64, b"\1\2\3"),
            f"2A 90 01 45 00 00 {APS_OCTETS} FF D8 34 12 FF FF 03 01 02 03",
        ),
        (
            14,
            MessageReceived(MessageKind.UNICAST, APS, 0x1234, EUI64, b"\1\2\3"),
            f"2A 90 01 45 00 00 {APS_OCTETS} 34 12 01 00 00 00 42 4E 48 02 FF FF FF D8"
            " 00 00 00 00 03 01 02 03",
        ),
        (
            14,
            MessageReceived(MessageKind.BROADCAST, APS, 0x1234, None, b""),
            f"2A 90 01 45 00 04 {APS_OCTETS} 34 12 FF FF FF FF FF FF FF FF FF FF FF D8"
            " 00 00 00 00 00",
        ),
        (
            13,
            MessageSent(Status.OK, MessageKind.UNICAST, 0x1234, APS, 0x2B),
            f"2A 90 01 3F 00 00 34 12 {APS_OCTETS} 2B 00 00",
        ),
        (
            13,
            MessageSent(Status.DELIVERY_FAILED, MessageKind.UNICAST, 0x1234, APS, 0x2B),
            f"2A 90 01 3F 00 00 34 12 {APS_OCTETS} 2B 66 00",
        ),
        (
            14,
            MessageSent(Status.OK, MessageKind.BROADCAST, 0xFFFD, APS, 0x012B),
            f"2A 90 01 3F 00 00 00 00 00 06 FD FF {APS_OCTETS} 2B 01 00",
        ),
        (
            14,
            MessageSent(Status.DELIVERY_FAILED, MessageKind.UNICAST, 0x1234, APS, 1),
            f"2A 90 01 3F 00 02 0C 00 00 00 34 12 {APS_OCTETS} 01 00 00",
        ),
        (13, StackStatus(Status.NETWORK_UP), "2A 90 01 19 00 90"),
        (14, StackStatus(Status.NETWORK_UP), "2A 90 01 19 00 15 00 00 00"),
        (13, StackStatus(Status.NETWORK_DOWN), "2A 90 01 19 00 91"),
        (14, StackStatus(Status.NETWORK_DOWN), "2A 90 01 19 00 16 00 00 00"),
        (
            14,
            TrustCenterJoin(
                0x1234,
                EUI64,
                DeviceUpdate.STANDARD_SECURITY_UNSECURED_JOIN,
                JoinDecision.USE_PRECONFIGURED_KEY,
                0x0000,
            ),
            "2A 90 01 24 00 34 12 01 00 00 00 42 4E 48 02 01 00 00 00",
        ),
        (13, EnergyFound(15, -95), "2A 90 01 48 00 0F A1"),
        (13, ScanDone(Status.OK), "2A 90 01 1C 00 00 00"),
        (14, ScanDone(Status.OK), "2A 90 01 1C 00 00 00 00 00 00"),
        (
            14,
            NetworkFound(15, 0x1A62, EUI64, True, 2, 3, 0),
            "2A 90 01 1B 00 0F 62 1A 01 00 00 00 42 4E 48 02 01 02 03 FF D8",
        ),
    ],
)
def test_a_host_reads_each_callback_where_the_sheet_has_it(
    version: int, event: Event, callback: str
) -> None:
    host = Host(version)
    host.ezsp.receive(octets("2A 00 01 05 00"))
    host.tell(event)
    (frame,) = host.callbacks()
    assert frame.hex(" ").upper() == callback
    # bellows reads it to its end
    _, frame_id, body = host.protocol._ezsp_frame_rx(frame)
    _, rest = t.deserialize_dict(body, host.protocol.COMMANDS_BY_ID[frame_id][2])
    assert rest == b""


@versions
@pytest.mark.parametrize("formed", [False, True], ids=["blank", "formed"])
@pytest.mark.parametrize("name", COMMANDS)
def test_no_answer_has_octets_that_bellows_cannot_place(
    version: int, formed: bool, name: str
) -> None:
    host = Host(version, formed=formed)
    if name not in host.protocol.COMMANDS:
        assert name not in TABLES[version].by_name
        return
    command, _, _ = host.protocol.COMMANDS[name]
    header = bytes((9, 0, 1)) + command.to_bytes(2, "little")
    bodies = [b"", bytes(256), b"\1" * 256]
    if name == "setTokenData":
        del bodies[2]  # its octets would be counted by 32 bits of ones
    for body in bodies:
        host.answer_to(name, header + body)


@versions
def test_bellows_reads_back_what_it_set(version: int) -> None:
    host = Host(version)
    host.ask("setValue", valueId=t.EzspValueId(0x15), value=b"\1\2")
    assert host.ask("getValue", valueId=t.EzspValueId(0x15))["value"] == b"\1\2"
    host.ask("setConfigurationValue", configId=t.EzspConfigId.CONFIG_KEY_TABLE_SIZE, value=16)
    got = host.ask("getConfigurationValue", configId=t.EzspConfigId.CONFIG_KEY_TABLE_SIZE)
    assert got["value"] == 16
    key = t.KeyData(bytes(range(16)))
    host.ask("importLinkKey", index=3, address=t.EUI64.convert("00:11:22:33:44:55:66:77"), key=key)
    stored = host.stick.stack.state.link_keys[3]
    assert stored is not None
    assert (stored.eui64, stored.key) == (0x0011223344556677, bytes(range(16)))
    exported = host.ask("exportLinkKeyByIndex", index=3)
    assert exported["plaintext_key"] == key
    assert not exported["status"]
    found = host.ask("findKeyTableEntry", address=exported_partner(exported), linkKey=True)
    assert found["index"] == 3


def exported_partner(exported: dict[str, Any]) -> Any:
    return exported["eui64"] if "eui64" in exported else exported["context"].eui64


@versions
def test_a_stick_that_knows_its_network_tells_bellows_all_of_it(version: int) -> None:
    host = Host(version, formed=True)
    node = host.ask("getNetworkParameters")
    parameters = node["parameters"]
    assert (parameters.panId, parameters.radioChannel) == (0x1A62, CHANNEL)
    assert node["nodeType"] == t.EmberNodeType.COORDINATOR
    assert host.ask("getCurrentSecurityState")["state"].trustCenterLongAddress == t.EUI64(
        host.ask("getEui64")["eui64"]
    )
    context = t.SecurityManagerContextV13.deserialize(bytes(64))[0]
    context.core_key_type = t.SecurityManagerKeyType.NETWORK
    assert host.ask("exportKey", context=context)["key"] == t.KeyData(bytes(range(16)))
    assert host.ask("getNetworkKeyInfo")["network_key_info"].network_key_set


def test_the_ota_cluster_of_an_endpoint_is_not_taken_for_one_it_serves() -> None:
    host = Host(13)
    answer = host.ask(
        "addEndpoint",
        endpoint=1,
        profileId=0x0109,
        deviceId=0x0506,
        deviceVersion=0,
        inputClusterCount=2,
        outputClusterCount=1,
        inputClusterList=[0x0000, 0x0704],
        outputClusterList=[0x0019],
    )
    assert not answer["status"]
    endpoint = host.stick.stack.endpoints[1]
    assert (endpoint.input_clusters, endpoint.output_clusters) == ((0x0000, 0x0704), (0x0019,))


def test_an_endpoint_cut_short_has_no_clusters_nobody_named() -> None:
    host = Host(13)
    # Five input and five output clusters are promised, two are there.
    request = octets("01 00 01 02 00 01 09 01 06 05 00 05 05 04 07 19 00")
    host.ezsp.receive(request)
    endpoint = host.stick.stack.endpoints[1]
    assert (endpoint.input_clusters, endpoint.output_clusters) == ((0x0704, 0x0019), ())


@versions
def test_a_host_that_leaves_the_flags_out_can_still_let_a_device_in(version: int) -> None:
    # zigbee-herdsman on EZSP 14: importTransientKey of EUI-64 and key, no flags octet.
    host = Host(version)
    key = bytes(range(16))
    answer = host.answer_to(
        "importTransientKey",
        octets("05 00 01 11 01") + (0x0011223344556677).to_bytes(8, "little") + key,
    )
    assert not answer["status"]
    assert host.stick.stack.aps.transient_keys == {0x0011223344556677: key}


@versions
def test_a_field_that_is_cut_off_is_an_unknown_command_and_changes_nothing(version: int) -> None:
    host = Host(version)
    # importTransientKey whose key ends after five octets
    response = host.ezsp.receive(octets("05 00 01 11 01") + bytes(8) + b"\1" * 5)
    assert response is not None
    assert response[:5] == octets("05 80 01 58 00")
    assert host.stick.stack.aps.transient_keys == {}
    command = TABLES[version].by_name["importTransientKey"]
    with pytest.raises(EzspError, match="importTransientKey: plaintext_key"):
        TABLES[version].parse_request(command, bytes(8) + b"\1" * 5)


@versions
def test_a_callback_bears_the_sequence_of_the_last_answer_never_of_the_next_question(
    version: int,
) -> None:
    host = Host(version)
    host.ezsp.receive(octets("10 00 01 05 00"))
    host.tell(ScanDone(Status.OK))
    host.ezsp.receive(octets("11 00 01 05 00"))
    host.tell(StackStatus(Status.NETWORK_UP))
    host.tell(StackStatus(Status.NETWORK_DOWN))
    frames = host.callbacks()
    assert [frame[0] for frame in frames] == [0x10, 0x11, 0x11]
    assert [frame[3] for frame in frames] == [0x1C, 0x19, 0x19]
    assert not host.ezsp.has_callbacks


def test_a_host_that_takes_no_callbacks_costs_the_oldest_and_no_memory() -> None:
    host = Host(14)
    for channel in range(100):
        host.tell(EnergyFound(channel, -1))
    frames = host.ezsp.take_callbacks(1000)
    assert [frame[5] for frame in frames] == list(range(36, 100))
    assert host.ezsp.callbacks_lost == 36


@versions
@pytest.mark.parametrize("kind", [1, 2, 5])
def test_messages_by_table_are_refused_not_sent_to_a_node_of_that_number(
    version: int, kind: int
) -> None:
    host = Host(version, formed=True)
    tag = "2A" if version == 13 else "2A 00"
    body = f"0C 00 01 34 00 0{kind} 34 12 09 01 19 00 01 01 40 01 00 00 00 {tag} 02 AA BB"
    frames = len(host.air.frames)
    response = host.ezsp.receive(octets(body))
    assert response is not None
    assert response[5] != 0
    host.air.clock.run_for(10)
    assert len(host.air.frames) == frames


@versions
def test_a_message_shorter_than_it_says_is_not_sent(version: int) -> None:
    host = Host(version, formed=True)
    tag = "2A" if version == 13 else "2A 00"
    body = octets(f"0C 00 01 34 00 00 34 12 09 01 19 00 01 01 40 01 00 00 00 {tag} 02 AA BB")
    frames = len(host.air.frames)
    for cut in range(3, len(body)):
        host.ezsp.receive(body[:cut])
    host.air.clock.run_for(10)
    assert len(host.air.frames) == frames


# -- hostile hosts -------------------------------------------------------------------------

_IDS = sorted({command.frame_id for tables in TABLES.values() for command in tables.by_id.values()})
_known = st.builds(
    lambda sequence, frame_id, body: (
        bytes((sequence, 0, 1)) + frame_id.to_bytes(2, "little") + body
    ),
    st.integers(0, 255),
    st.sampled_from(_IDS),
    st.binary(max_size=100) | st.integers(0, 100).map(bytes),
)
_legacy = st.builds(
    lambda sequence, frame_id, body: bytes((sequence, 0, frame_id)) + body,
    st.integers(0, 255),
    st.integers(0, 255),
    st.binary(max_size=100),
)


@settings(max_examples=200, deadline=None)
@given(
    version=st.sampled_from(VERSIONS),
    formed=st.booleans(),
    frames=st.lists(_known | _legacy | st.binary(max_size=220), min_size=1, max_size=6),
)
def test_no_request_whatever_brings_a_stick_down(
    version: int, formed: bool, frames: list[bytes]
) -> None:
    host = Host(version, formed=formed)
    for frame in frames:
        response = host.ezsp.receive(frame)
        assert (response is None) == (len(frame) < 3)
        if response is not None:
            assert response[0] == frame[0]
            assert response[1] == 0x80
    host.air.clock.run_for(5)
    for frame in host.callbacks():
        assert frame[1] == 0x90
    assert host.ezsp.receive(octets("77 00 01 05 00")) == octets("77 80 01 05 00")


_HANDLED = sorted(
    {command.frame_id for command in TABLES[14].by_id.values() if command.name in COMMANDS}
)


_NODES = st.sampled_from([0x0000, 0x1234, 0xFFFC, 0xFFFD, 0xFFFF])


def _message(version: int, kind: str, node: int, aps: bytes, body: bytes) -> bytes:
    """A sendUnicast, sendBroadcast or sendReply that parses."""
    at = node.to_bytes(2, "little")
    tag = b"\1" if version == 13 else b"\1\0"
    message = bytes((len(body),)) + body
    if kind == "unicast":
        return bytes((1, 0, 1, 0x34, 0, 0)) + at + aps + tag + message
    if kind == "reply":
        return bytes((1, 0, 1, 0x39, 0)) + at + aps + message
    middle = aps + b"\0" + tag
    if version == 14:
        return bytes((1, 0, 1, 0x36, 0, 0, 0)) + at + b"\0" + middle + message
    return bytes((1, 0, 1, 0x36, 0)) + at + middle + message


_aps_frames = st.builds(
    lambda profile, cluster, endpoints, options, group, sequence: (
        profile.to_bytes(2, "little")
        + cluster.to_bytes(2, "little")
        + bytes(endpoints)
        + options.to_bytes(2, "little")
        + group.to_bytes(2, "little")
        + bytes((sequence,))
    ),
    st.sampled_from([0x0000, 0x0109]),
    st.sampled_from([0x0019, 0x0000, 0x0006, 0x0031, 0x0036]),
    st.tuples(st.sampled_from([0, 1, 255]), st.sampled_from([0, 1, 255])),
    st.sampled_from([0x0000, 0x0040, 0x0060, 0x8040, 0x8060, 0xFFFF]),
    st.integers(0, 0xFFFF),
    st.integers(0, 255),
)
_messages = st.builds(
    lambda *parts: parts,
    st.sampled_from(["unicast", "broadcast", "reply"]),
    _NODES,
    _aps_frames,
    st.binary(max_size=100),
)
_commands = st.tuples(
    st.sampled_from(_HANDLED), st.binary(max_size=60) | st.integers(0, 64).map(bytes)
)


@settings(max_examples=200, deadline=None)
@given(
    version=st.sampled_from(VERSIONS),
    formed=st.booleans(),
    asked=st.lists(_commands | _messages, max_size=12),
)
def test_no_order_of_known_commands_brings_a_stick_down(
    version: int, formed: bool, asked: list[Any]
) -> None:
    host = Host(version, formed=formed)
    for one in asked:
        if len(one) == 2:
            host.ezsp.receive(bytes((1, 0, 1)) + one[0].to_bytes(2, "little") + one[1])
        else:
            host.ezsp.receive(_message(version, *one))
        host.air.clock.run_for(0.5)
    assert host.ezsp.receive(octets("77 00 01 05 00")) == octets("77 80 01 05 00")


@versions
def test_a_used_up_frame_counter_is_a_refusal_not_the_end_of_the_stick(version: int) -> None:
    host = Host(version, formed=True)
    host.stick.stack.nwk_counter.restart(0xFFFFFFF0)
    host.stick.stack.aps_counter.restart(0xFFFFFFF0)
    frames = len(host.air.frames)
    for _ in range(3):
        for kind in ("broadcast", "unicast"):
            host.ezsp.receive(_message(version, kind, 0xFFFD, octets("09 01") + bytes(9), b"\1"))
    host.air.clock.run_for(10)
    assert len(host.air.frames) == frames
    assert host.ezsp.receive(octets("77 00 01 05 00")) == octets("77 80 01 05 00")


@pytest.mark.parametrize("version", SUPPORTED_VERSIONS)
def test_a_request_without_any_of_its_fields_reads_as_zeros(version: int) -> None:
    tables = Tables(version)
    for command in tables.by_id.values():  # certificates and signatures are the longest of them
        assert tables.parse_request(command, b"").keys() == command.request.keys()
        tables.build_response(command, {})


@pytest.mark.parametrize("version", [3, 15, 20])
def test_a_version_that_is_not_emulated_is_named(version: int) -> None:
    with pytest.raises(ValueError, match=f"EZSP version {version} is not emulated, only 4 to 14"):
        Tables(version)
