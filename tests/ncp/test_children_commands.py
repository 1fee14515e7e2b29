"""End devices over EZSP, in every version: the child table, polls, rejoins and their callbacks."""

from __future__ import annotations

from typing import Any

import bellows.types as t
import pytest
from air_support import CHANNEL, join, link_key
from test_ezsp_versions import Host, versions

from emulator.zigbee.children import Children
from emulator.zigbee.events import NodeType
from emulator.zigbee.rejoin_commands import TIMEOUTS_S
from emulator.zigbee.state import LinkKey, StackState

DEVICE = 0x0011223344556677
SLEEPY = NodeType.SLEEPY_END_DEVICE


def eui64(value: int) -> t.EUI64:
    return t.EUI64.deserialize(value.to_bytes(8, "little"))[0]


class Home:
    """A host's hub with a child, and the callbacks of its stick."""

    def __init__(self, version: int) -> None:
        self.host = Host(version, formed=True)
        self.air = self.host.air
        self.child = join(self.air, self.host.stick, "child", DEVICE, node_type=SLEEPY)

    def callbacks(self, name: str) -> list[dict[str, Any]]:
        found = []
        protocol = self.host.protocol
        for frame in self.host.ezsp.take_callbacks(64):
            _, frame_id, body = protocol._ezsp_frame_rx(frame)
            told, _, schema = protocol.COMMANDS_BY_ID[frame_id]
            fields, rest = t.deserialize_dict(body, schema)
            assert rest == b""
            if told == name:
                found.append(dict(fields))
        return found


def is_ok(answer: dict[str, Any]) -> bool:
    return bool(t.sl_Status.from_ember_status(answer["status"]) == t.sl_Status.OK)


@versions
def test_the_host_hears_of_a_child_and_finds_it_in_the_table(version: int) -> None:
    home = Home(version)
    (told,) = home.callbacks("childJoinHandler")
    short = home.child.stack.short_address
    assert told == {
        "index": 0,
        "joining": True,
        "childId": short,
        "childEui64": eui64(DEVICE),
        "childType": t.EmberNodeType.SLEEPY_END_DEVICE,
    }
    answer = home.host.ask("getChildData", index=0)
    assert is_ok(answer)
    if version < 7:
        assert (answer["childId"], answer["childEui64"]) == (short, eui64(DEVICE))
        assert answer["childType"] == t.EmberNodeType.SLEEPY_END_DEVICE
    else:
        data = answer["childData" if version < 10 else "child_data"]
        assert (data.id, data.eui64, data.timeout) == (short, eui64(DEVICE), 8)
        assert data.type == t.EmberNodeType.SLEEPY_END_DEVICE
        if version >= 10:
            assert data.timeout_remaining > (TIMEOUTS_S[8] - 60) * 1000
    for index in (1, 255):
        empty = home.host.ask("getChildData", index=index)
        assert t.sl_Status.from_ember_status(empty["status"]) == t.sl_Status.NOT_JOINED
    parameters = home.host.ask("getParentChildParameters")
    assert (parameters["childCount"], parameters["parentNodeId"]) == (1, 0xFFFF)
    if version >= 12:
        assert home.host.ask("childId", childIndex=0)["childId"] == short
        assert home.host.ask("childId", childIndex=1)["childId"] == 0xFFFF
    child = home.host.stack.children.of_eui64(DEVICE)
    assert child is not None
    home.host.stack.children.remove(child)
    (gone,) = home.callbacks("childJoinHandler")
    assert (gone["joining"], gone["childId"]) == (False, short)


@versions
def test_polls_are_told_of_when_the_host_asked_for_it(version: int) -> None:
    home = Home(version)
    home.callbacks("")
    home.child.stack.polling.start(0, 3)
    home.air.clock.run_for(1)
    assert home.callbacks("pollHandler") == []
    policy = t.EzspPolicyId.POLL_HANDLER_POLICY
    assert is_ok(home.host.ask("setPolicy", policyId=policy, decisionId=t.EzspDecisionId(0x31)))
    home.child.stack.polling.start(0, 3)
    home.air.clock.run_for(1)
    (told,) = home.callbacks("pollHandler")
    assert told["childId"] == home.child.stack.short_address
    assert not told.get("transmitExpected", False)


@pytest.mark.parametrize("version", [9, 10, 14, 19])
def test_children_are_restored_from_a_backup(version: int) -> None:
    home = Home(version)
    kind = t.EmberChildDataV7 if version < 10 else t.EmberChildDataV10
    fields: dict[str, Any] = {"phy": 0, "power": 0, "timeout": 3}
    if version >= 10:
        fields["timeout_remaining"] = 0
    other = kind(eui64=eui64(DEVICE + 1), type=t.EmberNodeType.END_DEVICE, id=0x4711, **fields)
    assert is_ok(home.host.ask("setChildData", index=5, child_data=other))
    children = StackState.from_json(home.host.stick.stored).children
    assert [child and (child.short_address, child.timeout_s) for child in children[1:]] == [
        None,
        None,
        None,
        None,
        (0x4711, TIMEOUTS_S[3]),
    ]
    for broken, index in (({"type": 1}, 5), ({"timeout": 15}, 5), ({}, 32)):
        child = other.replace(**broken)
        assert not is_ok(home.host.ask("setChildData", index=index, child_data=child))
    assert home.host.stack.children.count == 2


@versions
def test_an_end_device_polls_as_its_host_says(version: int) -> None:
    home = Home(version)
    child = end_device_host(home, version)
    for units, interval, seconds in ((1, 500, 0.5), (2, 2, 0.5), (3, 1, 60.0)):
        before = polls_on_air(home)
        answer = child.ask(
            "pollForData", interval=interval, units=t.EmberEventUnits(units), failureLimit=0
        )
        assert is_ok(answer)
        home.air.clock.run_for(seconds * 4 + 0.1)
        assert polls_on_air(home) - before == 5
    before = polls_on_air(home)
    inactive = t.EmberEventUnits.EVENT_INACTIVE
    child.ask("pollForData", interval=1, units=inactive, failureLimit=0)
    home.air.clock.run_for(100)
    assert polls_on_air(home) - before == 1
    names = {name for name, _ in taken(child)}
    assert names == {"pollCompleteHandler"}
    refused = child.ask("pollForData", interval=32768, units=t.EmberEventUnits(1), failureLimit=0)
    assert not is_ok(refused)
    refused = home.host.ask("pollForData", interval=1, units=t.EmberEventUnits(1), failureLimit=0)
    assert not is_ok(refused)


def end_device_host(home: Home, version: int) -> Host:
    """bellows' protocol for the child's stick."""
    child = Host(version)
    child.stack.close()
    child.stick, child.stack = home.child, home.child.stack
    child.ezsp = type(child.ezsp)(child.ezsp._tables, child.stack)
    child.stack.on_event = child.tell
    return child


def polls_on_air(home: Home) -> int:
    return sum(psdu[0] & 7 == 3 and psdu[-3] == 4 for _, psdu in home.air.frames)


def taken(host: Host) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for frame in host.ezsp.take_callbacks(64):
        _, frame_id, body = host.protocol._ezsp_frame_rx(frame)
        name, _, schema = host.protocol.COMMANDS_BY_ID[frame_id]
        fields, rest = t.deserialize_dict(body, schema)
        assert rest == b""
        found.append((name, dict(fields)))
    return found


@versions
def test_a_host_sees_its_parent_lost_and_finds_it_again(version: int) -> None:
    home = Home(version)
    home.host.stack.state.link_keys[0] = LinkKey(DEVICE, link_key(DEVICE))
    child = end_device_host(home, version)
    child.ask("pollForData", interval=1000, units=t.EmberEventUnits(1), failureLimit=2)
    home.air.clock.run_for(5)
    parameters = child.ask("getParentChildParameters")
    assert parameters["parentNodeId"] == 0
    assert parameters["parentEui64"] == eui64(home.host.stack.state.eui64)
    assert taken(child) == []
    home.host.stack.mac.channel = None
    home.air.clock.run_for(3)
    ((name, fields),) = taken(child)
    assert name == "pollCompleteHandler"
    assert t.sl_Status.from_ember_status(fields["status"]) == t.sl_Status.MAC_NO_ACK_RECEIVED
    assert child.ask("networkState")["status"] == t.EmberNetworkStatus.JOINED_NETWORK_NO_PARENT
    more = {"reason": 0, "nodeType": t.EmberNodeType.SLEEPY_END_DEVICE} if version >= 14 else {}
    for channel, expected in ((None, t.sl_Status.NO_BEACONS), (CHANNEL, t.sl_Status.NETWORK_UP)):
        home.host.stack.mac.channel = channel
        mask = t.Channels.from_channel_list([11, CHANNEL])
        answer = child.ask(
            "findAndRejoinNetwork", haveCurrentNetworkKey=True, channelMask=mask, **more
        )
        assert is_ok(answer)
        assert child.ask("networkState")["status"] == t.EmberNetworkStatus.JOINING_NETWORK
        home.air.clock.run_for(2)
        statuses = [fields["status"] for name, fields in taken(child) if name.startswith("stack")]
        assert [t.sl_Status.from_ember_status(status) for status in statuses] == [expected]
        lost = channel is None
        assert child.ask("networkState")["status"] == (
            t.EmberNetworkStatus.JOINED_NETWORK_NO_PARENT
            if lost
            else t.EmberNetworkStatus.JOINED_NETWORK
        )


@versions
def test_an_end_device_started_again_asks_its_parent_unless_it_trusts_its_memory(
    version: int,
) -> None:
    home = Home(version)
    for options, asks in ((0, True), (1, False), (2, True), (3, True)):
        home.child.power_cycle()
        child = end_device_host(home, version)
        home.callbacks("")
        if version < 6:
            init: dict[str, Any] = {"networkInitStruct": t.EmberNetworkInitBitmask(options)}
            assert is_ok(child.ask("networkInitExtended", **init))
        else:
            init = {"networkInitBitmask": t.EmberNetworkInitBitmask(options)}
            assert is_ok(child.ask("networkInit", **init))
        assert child.stack.is_up is not asks
        home.air.clock.run_for(2)
        assert child.stack.is_up
        rejoined = home.callbacks("trustCenterJoinHandler")
        assert [told["status"] for told in rejoined] == (
            [t.EmberDeviceUpdate.STANDARD_SECURITY_SECURED_REJOIN] if asks else []
        )


@pytest.mark.parametrize("version", [14, 16, 17, 18, 19])
def test_a_host_that_leaves_may_say_that_it_comes_back(version: int) -> None:
    home = Home(version)
    child = end_device_host(home, version)
    option = t.SlZigbeeLeaveNetworkOption.WITH_OPTION_REJOIN
    assert is_ok(child.ask("leaveNetwork", options=option))
    home.air.clock.run_for(3)
    assert child.stack.is_up
    assert home.host.stack.children.count == 1
    assert is_ok(child.ask("leaveNetwork", options=t.SlZigbeeLeaveNetworkOption(0)))
    home.air.clock.run_for(3)
    assert child.stack.state.network is None


@versions
def test_settings_of_end_devices_take_effect(version: int) -> None:
    host = Host(version)
    children: Children = host.stack.children

    def configure(number: int, value: int) -> bool:
        answer = host.ask("setConfigurationValue", configId=t.EzspConfigId(number), value=value)
        return bool(answer["status"] == 0)

    assert host.ask("getConfigurationValue", configId=t.EzspConfigId(0x12))["value"] == 7680
    assert configure(0x11, 2)
    assert children.max_children == 2
    assert not configure(0x11, 65)
    assert configure(0x12, 3000)
    assert host.stack.mac.held.persistence_us == 3_000_000
    if version < 7:  # seconds, shifted
        assert configure(0x13, 60)
        assert configure(0x1B, 8)
        assert TIMEOUTS_S[children.timeout] == 256 * 60
        assert configure(0x1B, 0)
        assert TIMEOUTS_S[children.timeout] == 120
    else:
        assert configure(0x13, 3)
        assert TIMEOUTS_S[children.timeout] == 8 * 60
        assert not configure(0x13, 15)
    assert children.max_children == 2


@versions
def test_a_stick_says_how_its_parent_lets_it_keep_alive(version: int) -> None:
    home = Home(version)
    child = end_device_host(home, version)
    mode = t.EzspValueId.VALUE_END_DEVICE_KEEP_ALIVE_SUPPORT_MODE
    assert child.ask("getValue", valueId=mode)["value"] == b"\x00"
    child.ask("pollForData", interval=0, units=t.EmberEventUnits(0), failureLimit=3)
    home.air.clock.run_for(1)
    assert child.ask("getValue", valueId=mode)["value"] == b"\x03"


def test_a_joiner_may_be_of_every_kind_but_a_coordinator() -> None:
    for kind, ok in (
        (0, False),
        (1, False),
        (2, True),
        (3, True),
        (4, True),
        (5, True),
        (6, False),
    ):
        host = Host(14)
        host.ask(
            "setInitialSecurityState",
            state=t.EmberInitialSecurityState(
                bitmask=t.EmberInitialSecurityBitmask(0x0100),
                preconfiguredKey=t.KeyData(bytes(16)),
                networkKey=t.KeyData(bytes(16)),
                networkKeySequenceNumber=0,
                preconfiguredTrustCenterEui64=eui64(0),
            ),
        )
        parameters = t.EmberNetworkParameters(
            extendedPanId=t.ExtendedPanId(bytes(8)),
            panId=0xFFFF,
            radioTxPower=8,
            radioChannel=CHANNEL,
            joinMethod=t.EmberJoinMethod.USE_MAC_ASSOCIATION,
            nwkManagerId=0,
            nwkUpdateId=0,
            channels=t.Channels.from_channel_list([CHANNEL]),
        )
        answer = host.ask("joinNetwork", nodeType=t.EmberNodeType(kind), parameters=parameters)
        assert is_ok(answer) is ok
