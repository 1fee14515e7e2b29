"""The EZSP face of a stick in each version: headers by hand, bodies as bellows reads them."""

from __future__ import annotations

from typing import Any

import bellows.types as t
import pytest
from bellows.ezsp import EZSP
from ezsp_rig import EUI64, TABLES, Host, octets
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.ncp.commands import COMMANDS
from emulator.ncp.ezsp_tables import SUPPORTED_VERSIONS
from emulator.ncp.hot_frames import HotFrames
from emulator.zigbee.events import (
    Aps,
    EnergyFound,
    MessageKind,
    MessageReceived,
    MessageSent,
    ScanDone,
    StackStatus,
    Status,
)
from emulator.zigbee.joining import TrustCenterPolicy
from emulator.zigbee.state import LinkKey
from hil.bench_file import EZSP_VERSIONS

PARTNER = t.EUI64.convert("00:11:22:33:44:55:66:77")
KEY = t.KeyData(bytes(range(16)))
versions = pytest.mark.parametrize("version", SUPPORTED_VERSIONS)


def test_a_bench_file_takes_the_versions_that_there_are() -> None:
    assert EZSP_VERSIONS == SUPPORTED_VERSIONS == tuple(sorted(EZSP._BY_VERSION))


# Header forms as in table 1.1 of the EZSP sheet, by hand.


@versions
def test_the_first_question_of_a_host_is_answered_in_the_oldest_form(version: int) -> None:
    answer = Host(version).ezsp.receive(octets("00 00 00 04"))
    assert answer is not None
    assert answer[:5] == bytes((0, 0x80, 0, version, 2))
    assert len(answer) == 7


_FORMS = {
    4: ("{:02X} 00 {:02X}", "{:02X} {:02X} {:02X}"),
    5: ("{:02X} 00 FF 00 {:02X}", "{:02X} {:02X} FF 00 {:02X}"),
    8: ("{:02X} 00 01 {:02X} 00", "{:02X} {:02X} 01 {:02X} 00"),
}


def forms(version: int) -> tuple[str, str]:
    return _FORMS[max(first for first in _FORMS if first <= version)]


@versions
def test_a_host_that_knows_the_version_is_answered_in_its_form(version: int) -> None:
    host = Host(version)
    ask, told = forms(version)
    for sequence, frame_id, rest in ((7, 0x05, ""), (8, 0x81, "02 AB CD")):  # nop, echo
        answer = host.ezsp.receive(octets(ask.format(sequence, frame_id)) + octets(rest))
        assert answer == octets(told.format(sequence, 0x80, frame_id)) + octets(rest)
    host.tell(EnergyFound(15, -95))
    name, fields, frame = host.callback()
    assert frame == octets(told.format(8, 0x90, 0x48)) + octets("0F A1")
    assert (name, fields["maxRssiValue"]) == ("energyScanResultHandler", -95)
    # mfglibStartTone, which no stick here does
    answer = host.ezsp.receive(octets(ask.format(9, 0x85)) + octets("00"))
    status = "1E 0C 00 00" if version >= 14 else "31"
    assert answer == octets(told.format(9, 0x80, 0x58)) + octets(status)


@pytest.mark.parametrize("version", [4, 5, 6, 7])
def test_an_old_stick_does_not_take_a_frame_id_for_a_frame_control(version: int) -> None:
    # getLibraryStatus (01) in the oldest form, longer than it need be
    answer = Host(version).ezsp.receive(octets("05 00 01 04 00 00"))
    assert answer == octets("05 80 01 80")


# Bodies: the three frames without tables against the tables of bellows.

APS = Aps(0x0109, 0x0019, 1, 2, 0x8060, 0x0103, 7)


def aps_frame() -> t.EmberApsFrame:
    return t.EmberApsFrame(
        profileId=0x0109,
        clusterId=0x0019,
        sourceEndpoint=1,
        destinationEndpoint=2,
        options=t.EmberApsOption(0x8060),
        groupId=0x0103,
        sequence=7,
    )


@versions
def test_bellows_reads_a_message_and_the_end_of_one_where_it_looks_for_them(version: int) -> None:
    host = Host(version)
    host.ask("nop")
    payload = bytes(range(82))
    host.tell(MessageReceived(MessageKind.UNICAST, APS, 0x1234, EUI64, payload))
    name, fields, _ = host.callback()
    assert name == "incomingMessageHandler"
    new = version >= 14
    assert fields["aps_frame" if new else "apsFrame"] == aps_frame()
    assert fields["nwk" if new else "sender"] == 0x1234
    assert fields["message" if new else "messageContents"] == payload
    assert fields["rssi" if new else "lastHopRssi"] == -40
    for status in (Status.OK, Status.DELIVERY_FAILED):
        host.tell(MessageSent(status, MessageKind.UNICAST, 0x1234, APS, 0x2B))
        name, fields, _ = host.callback()
        assert name == "messageSentHandler"
        assert fields["aps_frame" if new else "apsFrame"] == aps_frame()
        assert fields["message_tag" if new else "messageTag"] == 0x2B
        assert fields["nwk" if new else "indexOrDestination"] == 0x1234
        expected = t.sl_Status.OK if status is Status.OK else t.sl_Status.ZIGBEE_DELIVERY_FAILED
        got = t.sl_Status.from_ember_status(fields["status"])
        assert got == expected


@versions
def test_a_stack_status_is_the_one_bellows_waits_for(version: int) -> None:
    host = Host(version)
    for status, expected in (
        (Status.NETWORK_UP, t.sl_Status.NETWORK_UP),
        (Status.NETWORK_DOWN, t.sl_Status.NETWORK_DOWN),
        (Status.NO_BEACONS, t.sl_Status.NO_BEACONS),
    ):
        host.tell(StackStatus(status))
        name, fields, _ = host.callback()
        assert name == "stackStatusHandler"
        assert t.sl_Status.from_ember_status(fields["status"]) == expected
    host.tell(ScanDone(Status.OK))
    assert not host.callback()[1]["status"]


@versions
def test_a_unicast_of_bellows_goes_out_as_it_was_meant(version: int) -> None:
    host = Host(version, formed=True)
    host.air.clock.run_for(1)
    assert host.callback()[0] == "stackStatusHandler"
    new = version >= 14
    kind = "message_type" if new else "type"
    fields = {
        kind: t.EmberOutgoingMessageType.OUTGOING_DIRECT,
        "nwk" if new else "indexOrDestination": 0x1234,
        "aps_frame" if new else "apsFrame": aps_frame().replace(options=t.EmberApsOption(0x40)),
        "message_tag" if new else "messageTag": 9,
        "message" if new else "messageContents": b"hello",
    }
    answer = host.ask("sendUnicast", **fields)
    assert not answer["status"]
    host.air.clock.run_for(60)  # nobody is there to acknowledge it
    name, told, _ = host.callback()
    assert name == "messageSentHandler"
    assert told["message_tag" if new else "messageTag"] == 9
    assert told["aps_frame" if new else "apsFrame"].sequence == answer["sequence"]
    assert told["status"]
    cut_off = host.ezsp.receive(host.protocol._ezsp_frame("sendUnicast", **fields)[:12])
    assert cut_off is not None
    assert host.protocol._ezsp_frame_rx(cut_off)[1] == host.protocol.COMMANDS["invalidCommand"][0]
    # too long, by table, and without a network: each refused with a status of its family
    too_long = host.ask("sendUnicast", **fields | {list(fields)[-1]: bytes(83)})
    assert t.sl_Status.from_ember_status(too_long["status"]) == t.sl_Status.MESSAGE_TOO_LONG
    by_table = host.ask("sendUnicast", **fields | {kind: t.EmberOutgoingMessageType(1)})
    assert t.sl_Status.from_ember_status(by_table["status"]) == t.sl_Status.INVALID_PARAMETER
    blank = Host(version).ask("sendUnicast", **fields)
    assert t.sl_Status.from_ember_status(blank["status"]) == t.sl_Status.NOT_JOINED


@versions
@pytest.mark.parametrize("formed", [False, True], ids=["blank", "formed"])
def test_no_answer_has_octets_that_bellows_cannot_place(version: int, formed: bool) -> None:
    host = Host(version, formed=formed)
    answered = 0
    for name in COMMANDS:
        if name not in host.protocol.COMMANDS:
            assert name not in TABLES[version].by_name
            continue
        header = host.protocol._ezsp_frame_tx(name)
        bodies = [b"", bytes(200), b"\1" * 200]
        if name == "setTokenData":
            del bodies[2]  # its octets would be counted by 32 bits of ones
        for body in bodies:
            host.answer_to(name, header + body)
        answered += 1
    assert answered > 50


def test_every_command_this_stick_knows_is_one_of_some_version() -> None:
    known = {name for tables in TABLES.values() for name in tables.by_name}
    assert set(COMMANDS) <= known


# -- what the versions have different words for ---------------------------------------------


@pytest.mark.parametrize("version", [4, 5, 6, 7, 8, 9, 10, 11, 12])
def test_the_key_table_is_written_and_read_by_its_old_commands(version: int) -> None:
    host = Host(version)
    host.stack.state.link_keys.clear()  # as on a blank stick
    index_gone, erased = t.sl_Status.INVALID_INDEX, t.sl_Status.NOT_FOUND

    def read(index: int) -> Any:
        answer = host.ask("getKeyTableEntry", index=index)
        status = t.sl_Status.from_ember_status(answer["status"])
        return answer["keyStruct"] if status == t.sl_Status.OK else status

    assert (read(0), read(3), read(4)) == (erased, erased, index_gone)  # 4 by default
    host.ask("setConfigurationValue", configId=t.EzspConfigId.CONFIG_KEY_TABLE_SIZE, value=6)
    assert (read(5), read(6)) == (erased, index_gone)
    entry = {"address": PARTNER, "linkKey": True, "keyData": KEY}
    assert not host.ask("setKeyTableEntry", index=2, **entry)["status"]
    assert host.ask("setKeyTableEntry", index=6, **entry)["status"]
    assert (read(2).partnerEUI64, read(2).key) == (PARTNER, KEY)
    assert host.ask("findKeyTableEntry", address=PARTNER, linkKey=True)["index"] == 2
    # The partner's entry is updated where it is, another one takes the first free place.
    other = t.KeyData(b"\x5a" * 16)
    assert not host.ask("addOrUpdateKeyTableEntry", **entry | {"keyData": other})["status"]
    assert read(2).key == other
    taken = 1
    for number in range(100, 110):
        address = t.EUI64(number.to_bytes(8, "little"))
        status = host.ask("addOrUpdateKeyTableEntry", **entry | {"address": address})["status"]
        if status:
            assert t.sl_Status.from_ember_status(status) == t.sl_Status.FULL
            break
        taken += 1
    assert taken == 6
    assert [read(index).partnerEUI64 == PARTNER for index in range(6)].index(True) == 2


@pytest.mark.parametrize("version", [4, 5, 6, 7, 8, 9, 10, 11, 12])
def test_a_key_written_again_takes_no_old_frame_twice(version: int) -> None:
    host = Host(version, formed=True)
    host.stack.state.link_keys = [LinkKey(0x0011223344556677, bytes(range(16)), 77)]
    entry = {"address": PARTNER, "linkKey": True, "keyData": KEY}
    host.ask("setKeyTableEntry", index=0, **entry)
    assert host.stack.state.link_keys[0].incoming_counter == 77  # type: ignore[union-attr]
    host.ask("addOrUpdateKeyTableEntry", **entry)
    assert host.stack.state.link_keys[0].incoming_counter == 77  # type: ignore[union-attr]
    host.ask("setKeyTableEntry", index=0, **entry | {"keyData": t.KeyData(bytes(16))})
    assert host.stack.state.link_keys[0].incoming_counter == 0  # type: ignore[union-attr]


@pytest.mark.parametrize("version", [13, 14, 16, 17, 18, 19])
def test_the_old_commands_for_keys_are_gone(version: int) -> None:
    host = Host(version)
    for frame_id in (0x6A, 0x71, 0x72, 0x66, 0xAF):
        answer = host.ezsp.receive(octets(forms(version)[0].format(1, frame_id)) + bytes(40))
        assert answer is not None
        assert answer[3] == 0x58


@pytest.mark.parametrize("version", [4, 5, 6, 7, 8, 9, 10, 11, 12])
def test_the_keys_of_a_network_are_read_by_get_key(version: int) -> None:
    host = Host(version, formed=True)
    host.stack.state.preconfigured_key = b"\x33" * 16
    network_key = host.ask("getKey", keyType=t.EmberKeyType.CURRENT_NETWORK_KEY)
    assert not network_key["status"]
    assert network_key["keyStruct"].key == t.KeyData(bytes(range(16)))
    assert network_key["keyStruct"].outgoingFrameCounter == host.stack.nwk_counter.next_value
    link_key = host.ask("getKey", keyType=t.EmberKeyType.TRUST_CENTER_LINK_KEY)["keyStruct"]
    assert link_key.key == t.KeyData(b"\x33" * 16)
    assert link_key.partnerEUI64 == host.ask("getEui64")["eui64"]
    assert host.ask("getKey", keyType=t.EmberKeyType.NEXT_NETWORK_KEY)["status"]
    assert Host(version).ask("getKey", keyType=t.EmberKeyType.CURRENT_NETWORK_KEY)["status"]


@pytest.mark.parametrize("version", [v for v in SUPPORTED_VERSIONS if v >= 5])
def test_a_transient_key_is_kept_and_told_again(version: int) -> None:
    host = Host(version)
    if version <= 12:
        answer = host.ask("addTransientLinkKey", partner=PARTNER, transientKey=KEY)
    else:
        answer = host.ask("importTransientKey", eui64=PARTNER, plaintext_key=KEY, flags=0)
    assert not answer["status"]
    assert host.stack.aps.transient_keys == {0x0011223344556677: bytes(range(16))}
    if version <= 12:
        name = "eui" if version < 8 else "eui64"
        told = host.ask("getTransientLinkKey", **{name: PARTNER})
        assert not told["status"]
        entry = told["transientKeyData" if version < 8 else "transient_key_data"]
        assert (entry.eui64, entry.keyData) == (PARTNER, KEY)
        assert host.ask("getTransientLinkKey", **{name: t.EUI64(bytes(8))})["status"]
    if 7 <= version <= 12:
        entry = host.ask("getTransientKeyTableEntry", index=0)
        assert not entry.pop("status")
        (value,) = entry.values()
        assert (value.eui64, value.keyData) == (PARTNER, KEY)
        assert host.ask("getTransientKeyTableEntry", index=1)["status"]
    if version >= 12:
        told = host.ask("exportTransientKeyByEui", eui64=PARTNER)
        assert (told["plaintext_key"], bool(told["status"])) == (KEY, False)
    host.ask("clearTransientLinkKeys")
    assert host.stack.aps.transient_keys == {}


@versions
def test_a_policy_means_what_its_version_says(version: int) -> None:
    host = Host(version)
    joining = host.stack.joining
    joins, own_keys = TrustCenterPolicy.ALLOW_JOINS, TrustCenterPolicy.JOINS_USE_INSTALL_CODE_KEY
    rejoins = TrustCenterPolicy.ALLOW_UNSECURED_REJOINS

    def policy(decision: int) -> TrustCenterPolicy:
        assert not host.ask("setPolicy", policyId=0, decisionId=decision)["status"]
        assert host.ask("getPolicy", policyId=0)["decisionId"] == decision
        return joining.policy

    if version >= 8:
        assert policy(0x00) == 0
        assert policy(0x03) & joins
        assert policy(0x11) == joins | own_keys
        assert policy(0x01) == joins
    else:
        assert policy(0x06) == joins | own_keys
        assert policy(0x03) == 0  # a bit mask would let everybody in
        assert policy(0x02) == rejoins
        assert host.ask("setPolicy", policyId=0, decisionId=0x11)["status"]
        assert host.ask("getPolicy", policyId=0)["decisionId"] == 0x02
        assert joining.policy == rejoins
        assert policy(0x01) == joins | rejoins


@versions
def test_a_child_table_without_children_shows_none(version: int) -> None:
    # Anything but NOT_JOINED is a child to bellows: 256 of them.
    status = Host(version).ask("getChildData", index=0)["status"]
    assert t.sl_Status.from_ember_status(status) == t.sl_Status.NOT_JOINED


@versions
def test_tokens_that_a_stick_does_not_have_are_refused_or_unknown(version: int) -> None:
    host = Host(version)
    if version < 9:
        assert "getTokenData" not in host.protocol.COMMANDS
        return
    assert host.ask("getTokenCount")["count"] == 0
    assert host.ask("getTokenInfo", index=0)["status"]
    assert host.ask("getTokenData", token=0xE12A, index=0)["value"].status


@versions
def test_the_release_a_stick_names_is_told_twice_and_alike(version: int) -> None:
    host = Host(version)
    stack = host.ask("version", desiredProtocolVersion=version)
    assert (stack["protocolVersion"], stack["stackType"]) == (version, 2)
    value = host.ask("getValue", valueId=t.EzspValueId.VALUE_VERSION_INFO)["value"]
    assert len(value) == 7
    numbers = [stack["stackVersion"] >> shift & 15 for shift in (12, 8, 4, 0)]
    assert list(value[2:6]) == numbers


# -- any bytes --------------------------------------------------------------------------------

_u8, _u16 = st.integers(0, 0xFF), st.integers(0, 0xFFFF)
_aps = st.builds(Aps, _u16, _u16, _u8, _u8, _u16, _u16, _u8)
_any_version = st.sampled_from(SUPPORTED_VERSIONS)
_PROTOCOLS = {v: EZSP._BY_VERSION[v](lambda *_: None, None) for v in SUPPORTED_VERSIONS}


def bellows_aps(aps: Aps) -> t.EmberApsFrame:
    profile, cluster, source, destination, options, group, sequence = aps
    return t.EmberApsFrame(
        profileId=profile,
        clusterId=cluster,
        sourceEndpoint=source,
        destinationEndpoint=destination,
        options=t.EmberApsOption(options),
        groupId=group,
        sequence=sequence,
    )


def read_by_bellows(version: int, frame: bytes) -> list[Any]:
    _, frame_id, body = _PROTOCOLS[version]._ezsp_frame_rx(frame)
    fields, rest = t.deserialize_dict(body, _PROTOCOLS[version].COMMANDS_BY_ID[frame_id][2])
    assert rest == b""
    return list(fields.values())


@given(
    version=_any_version,
    sequence=_u8,
    kind=st.sampled_from(MessageKind),
    aps=_aps,
    source=_u16,
    eui64=st.none() | st.integers(0, 2**64 - 1),
    payload=st.binary(max_size=120),
)
def test_bellows_reads_any_message_as_it_came_in(
    version: int,
    sequence: int,
    kind: MessageKind,
    aps: Aps,
    source: int,
    eui64: int | None,
    payload: bytes,
) -> None:
    event = MessageReceived(kind, aps, source, eui64, payload)
    frame = HotFrames(version).build_incoming(sequence, event)
    assert frame[0] == sequence
    partner = t.EUI64((0xFFFFFFFFFFFFFFFF if eui64 is None else eui64).to_bytes(8, "little"))
    got = read_by_bellows(version, frame)
    if version >= 14:
        rest = [source, partner, 0xFF, 0xFF, 255, -40, 0, payload]
    else:
        rest = [255, -40, source, 0xFF, 0xFF, payload]
    assert got == [kind.value, bellows_aps(aps), *rest]


@given(
    version=_any_version,
    aps=_aps,
    node=_u16,
    tag=_u16,
    payload=st.binary(max_size=120),
    cut=st.integers(1, 200),
)
def test_any_unicast_of_bellows_is_read_whole_and_none_that_is_cut_off(
    version: int, aps: Aps, node: int, tag: int, payload: bytes, cut: int
) -> None:
    new = version >= 14
    tag &= 0xFFFF if new else 0xFF
    frame = _PROTOCOLS[version]._ezsp_frame("sendUnicast", 0, node, bellows_aps(aps), tag, payload)
    at = 3 if version == 4 else 5
    hot = HotFrames(version)
    assert hot.parse_send_unicast(frame, at) == (0, node, aps, tag, payload)
    asked = hot.parse_send_unicast(frame[: max(0, len(frame) - cut)], at)
    assert asked is None or asked[-1] is None


@settings(max_examples=300)
@given(
    version=_any_version,
    formed=st.booleans(),
    asked=st.lists(
        st.tuples(
            st.sampled_from([*sorted(COMMANDS), "sendUnicast"]),
            st.binary(max_size=60) | st.integers(0, 64).map(bytes),
        )
        | st.binary(max_size=120),
        max_size=10,
    ),
)
def test_no_order_of_commands_whatever_brings_a_stick_down(
    version: int, formed: bool, asked: list[Any]
) -> None:
    host = Host(version, formed=formed)
    for one in asked:
        if isinstance(one, bytes):
            host.ezsp.receive(one)
        elif one[0] in host.protocol.COMMANDS:
            answer = host.ezsp.receive(host.protocol._ezsp_frame_tx(one[0]) + one[1])
            assert answer is not None
        host.air.clock.run_for(0.5)
    for frame in host.ezsp.take_callbacks(64):
        assert frame[1] == 0x90
        read_by_bellows(version, frame)
    nop = octets(forms(version)[0].format(0x77, 0x05))
    assert host.ezsp.receive(nop) == octets(forms(version)[1].format(0x77, 0x80, 0x05))
