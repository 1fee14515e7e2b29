"""What a stick keeps over a reset, what it forgets, and what it refuses while it runs."""

from __future__ import annotations

from typing import Any

import bellows.types as t
import pytest
from air_support import Air
from bellows.ezsp import EZSP

from emulator.ncp.ezsp import Ezsp
from emulator.ncp.ezsp_tables import Tables
from emulator.zigbee.events import Event, StackStatus, Status
from emulator.zigbee.stack import Stack
from emulator.zigbee.state import StackState

TABLES = {version: Tables(version) for version in (13, 14)}
EUI64 = 0x02484E4200000001
PARTNER = t.EUI64.convert("00:11:22:33:44:55:66:77")
KEY = t.KeyData(bytes(range(16)))
versions = pytest.mark.parametrize("version", [13, 14])

pytestmark = versions


class Stick:
    """A stick that is built from its stored octets at every start."""

    def __init__(self, version: int) -> None:
        self.version = version
        self.air = Air()
        self.stored = StackState(EUI64).to_json()
        self.protocol = EZSP._BY_VERSION[version](lambda *_: None, None)
        self.events: list[Event] = []
        self.boot()

    def boot(self) -> None:
        state = StackState.from_json(self.stored)

        def save() -> None:
            self.stored = state.to_json()

        self.stack = Stack(
            "stick",
            state,
            self.air.medium,
            self.air.clock,
            self.air.random.getrandbits,
            on_event=self.events.append,
            save=save,
        )
        self.ezsp = Ezsp(TABLES[self.version], self.stack)

    def reset(self) -> None:
        """What RST does: everything is gone but the stored octets."""
        self.stack.close()
        self.boot()

    def ask(self, name: str, **fields: Any) -> dict[str, Any]:
        response = self.ezsp.receive(self.protocol._ezsp_frame(name, **fields))
        assert response is not None
        _, _, body = self.protocol._ezsp_frame_rx(response)
        got, rest = t.deserialize_dict(body, self.protocol.COMMANDS[name][2])
        assert rest == b""
        return dict(got)

    def good(self, name: str, **fields: Any) -> dict[str, Any]:
        got = self.ask(name, **fields)
        assert not got["status"], f"{name}: {got}"
        return got

    def form(self) -> None:
        self.good(
            "setInitialSecurityState",
            state=t.EmberInitialSecurityState(
                bitmask=t.EmberInitialSecurityBitmask.HAVE_PRECONFIGURED_KEY
                | t.EmberInitialSecurityBitmask.HAVE_NETWORK_KEY,
                preconfiguredKey=t.KeyData(b"\x5a" * 16),
                networkKey=KEY,
                networkKeySequenceNumber=0,
                preconfiguredTrustCenterEui64=t.EUI64(bytes(8)),
            ),
        )
        self.good("formNetwork", parameters=self.parameters())
        self.air.clock.run_for(0.1)

    def parameters(self, channel: int = 15) -> t.EmberNetworkParameters:
        return t.EmberNetworkParameters(
            extendedPanId=t.ExtendedPanId(bytes(range(8))),
            panId=0x1A62,
            radioTxPower=8,
            radioChannel=channel,
            joinMethod=t.EmberJoinMethod.USE_MAC_ASSOCIATION,
            nwkManagerId=0,
            nwkUpdateId=0,
            channels=t.Channels.from_channel_list([15]),
        )

    def value(self, number: int) -> int:
        return int.from_bytes(self.good("getValue", valueId=number)["value"], "little")

    def broadcast(self) -> None:
        aps = t.EmberApsFrame(
            profileId=0x0109,
            clusterId=0x0019,
            sourceEndpoint=1,
            destinationEndpoint=1,
            options=t.EmberApsOption(0),
            groupId=0,
            sequence=0,
        )
        if self.version == 13:
            frame = {"apsFrame": aps, "messageTag": 1, "messageContents": b"x"}
        else:
            frame = {"alias": 0, "sequence": 0, "aps_frame": aps, "message_tag": 1, "message": b"x"}
        self.good("sendBroadcast", destination=0xFFFD, radius=0, **frame)
        self.air.clock.run_for(0.1)


NWK_COUNTER, APS_COUNTER = 0x23, 0x24


def test_a_reset_keeps_network_and_keys_and_forgets_what_the_host_set(version: int) -> None:
    stick = Stick(version)
    stick.good(
        "setConfigurationValue", configId=t.EzspConfigId.CONFIG_KEY_TABLE_SIZE, value=t.uint16_t(16)
    )
    stick.form()
    stick.good("importLinkKey", index=2, address=PARTNER, key=KEY)
    stick.good("importTransientKey", eui64=PARTNER, plaintext_key=KEY, flags=0)
    stick.good("setPolicy", policyId=0, decisionId=0x11)
    stick.good("setValue", valueId=0x15, value=b"\1")
    stick.good("setMulticastTableEntry", index=1, value=t.EmberMulticastTableEntry(1, 1, 0))
    stick.ask("setExtendedTimeout", remoteEui64=PARTNER, extendedTimeout=True)
    stick.stack.endpoints.clear()
    stick.good(
        "addEndpoint",
        endpoint=1,
        profileId=0x0109,
        deviceId=0,
        deviceVersion=0,
        inputClusterCount=0,
        outputClusterCount=0,
        inputClusterList=[],
        outputClusterList=[],
    )
    assert stick.stack.is_up
    stick.reset()
    assert stick.ask("networkState")["status"] == t.EmberNetworkStatus.NO_NETWORK
    assert stick.stack.endpoints == {}
    assert stick.stack.aps.transient_keys == {}
    assert stick.good("getPolicy", policyId=0)["decisionId"] == 1
    assert stick.ask("getValue", valueId=0x15)["status"]
    assert stick.good("getMulticastTableEntry", index=1)["value"].multicastId == 0
    extended = stick.ask("getExtendedTimeout", remoteEui64=PARTNER)
    assert extended["status"] if version == 14 else not extended["extendedTimeout"]
    assert stick.good("getConfigurationValue", configId=t.EzspConfigId.CONFIG_KEY_TABLE_SIZE)[
        "value"
    ] == t.uint16_t(4)
    assert stick.ask("findKeyTableEntry", address=PARTNER, linkKey=True)["index"] == 2
    stick.good("networkInit", networkInitBitmask=0)
    stick.air.clock.run_for(0.1)
    assert stick.events[-1] == StackStatus(Status.NETWORK_UP)
    parameters = stick.good("getNetworkParameters")["parameters"]
    assert (parameters.panId, parameters.radioChannel) == (0x1A62, 15)
    key = stick.good(
        "exportKey", context=t.SecurityManagerContextV13.deserialize(b"\1" + bytes(63))[0]
    )["key"]
    assert key == KEY


def test_no_reset_ever_brings_a_frame_counter_back(version: int) -> None:
    stick = Stick(version)
    stick.form()
    highest = stick.value(NWK_COUNTER)
    for _ in range(5):
        for _ in range(3):
            stick.broadcast()
        before = stick.value(NWK_COUNTER)
        assert before > highest
        stick.reset()
        assert stick.value(NWK_COUNTER) >= before
        highest = stick.value(NWK_COUNTER)
        stick.good("networkInit", networkInitBitmask=0)
        stick.air.clock.run_for(0.1)


def test_a_frame_counter_can_be_written_only_while_nothing_uses_it(version: int) -> None:
    stick = Stick(version)
    for number in (NWK_COUNTER, APS_COUNTER):
        stick.good("setValue", valueId=number, value=(5000).to_bytes(4, "little"))
        assert stick.value(number) == 5000
        assert stick.ask("setValue", valueId=number, value=b"\1")["status"]
        assert stick.value(number) == 5000
    stick.form()
    before = stick.value(NWK_COUNTER)
    assert stick.ask("setValue", valueId=NWK_COUNTER, value=bytes(4))["status"]
    assert stick.value(NWK_COUNTER) == before
    stick.reset()
    assert stick.value(APS_COUNTER) >= 5000


def test_a_key_that_is_imported_again_takes_no_old_frame_twice(version: int) -> None:
    stick = Stick(version)
    stick.good(
        "setConfigurationValue", configId=t.EzspConfigId.CONFIG_KEY_TABLE_SIZE, value=t.uint16_t(16)
    )
    stick.good("importLinkKey", index=0, address=PARTNER, key=KEY)
    entry = stick.stack.state.link_keys[0]
    assert entry is not None
    entry.incoming_counter = 77
    stick.good("importLinkKey", index=0, address=PARTNER, key=KEY)
    assert stick.stack.state.link_keys[0].incoming_counter == 77  # type: ignore[union-attr]
    stick.good("importLinkKey", index=0, address=PARTNER, key=t.KeyData(bytes(16)))
    assert stick.stack.state.link_keys[0].incoming_counter == 0  # type: ignore[union-attr]


def test_a_key_outside_the_table_is_refused_and_one_erased_is_gone(version: int) -> None:
    stick = Stick(version)
    stick.good(
        "setConfigurationValue", configId=t.EzspConfigId.CONFIG_KEY_TABLE_SIZE, value=t.uint16_t(2)
    )
    assert stick.ask("importLinkKey", index=2, address=PARTNER, key=KEY)["status"]
    stick.good("importLinkKey", index=1, address=PARTNER, key=KEY)
    stick.good("eraseKeyTableEntry", index=1)
    assert stick.ask("eraseKeyTableEntry", index=1)["status"]
    assert stick.ask("findKeyTableEntry", address=PARTNER, linkKey=True)["index"] == 0xFF
    assert stick.ask("exportLinkKeyByIndex", index=1)["status"]
    stick.good("importLinkKey", index=0, address=PARTNER, key=KEY)
    stick.good("clearKeyTable")
    assert stick.stack.state.link_keys == [None, None]


def test_transient_keys_are_bounded(version: int) -> None:
    stick = Stick(version)
    taken = 0
    for number in range(100):
        address = t.EUI64(number.to_bytes(8, "little"))
        if stick.ask("importTransientKey", eui64=address, plaintext_key=KEY, flags=0)["status"]:
            break
        taken += 1
    assert taken == len(stick.stack.aps.transient_keys) == 32
    stick.ask("clearTransientLinkKeys")
    assert stick.stack.aps.transient_keys == {}


def test_forming_without_security_or_off_the_band_is_refused(version: int) -> None:
    stick = Stick(version)
    assert stick.ask("formNetwork", parameters=stick.parameters())["status"]
    stick.form()
    stick.good("permitJoining", duration=10)
    assert stick.ask("formNetwork", parameters=stick.parameters())["status"]
    assert stick.ask(
        "setInitialSecurityState",
        state=t.EmberInitialSecurityState.deserialize(bytes(64))[0],
    )["status"]
    other = Stick(version)
    other.good(
        "setInitialSecurityState", state=t.EmberInitialSecurityState.deserialize(bytes(64))[0]
    )
    assert other.ask("formNetwork", parameters=other.parameters(channel=27))["status"]
    assert other.ask("permitJoining", duration=10)["status"]
    assert other.events == []


def test_a_stick_that_left_knows_no_network_after_a_reset_either(version: int) -> None:
    stick = Stick(version)
    stick.form()
    stick.good("leaveNetwork", **({"options": 0} if version == 14 else {}))
    stick.air.clock.run_for(1)
    assert stick.events[-1] == StackStatus(Status.NETWORK_DOWN)
    assert stick.ask("networkInit", networkInitBitmask=0)["status"]
    stick.reset()
    assert stick.ask("networkInit", networkInitBitmask=0)["status"]
    assert stick.ask("getNetworkParameters")["status"]


def test_a_factory_reset_forgets_keys_and_counters_for_good(version: int) -> None:
    stick = Stick(version)
    stick.form()
    stick.broadcast()
    stick.ask("tokenFactoryReset", excludeOutgoingFC=False, excludeBootCounter=False)
    stick.reset()
    assert stick.value(NWK_COUNTER) == 0
    assert stick.ask("networkInit", networkInitBitmask=0)["status"]
    assert '"network": null' in stick.stored
    assert bytes(KEY.serialize()).hex() not in stick.stored
    stick.form()
    stick.broadcast()
    counter = stick.value(NWK_COUNTER)
    stick.ask("tokenFactoryReset", excludeOutgoingFC=True, excludeBootCounter=True)
    stick.reset()
    assert stick.value(NWK_COUNTER) >= counter


def test_a_factory_reset_in_a_running_network_ends_it_instead_of_the_stick(version: int) -> None:
    stick = Stick(version)
    stick.form()
    stick.ask("tokenFactoryReset", excludeOutgoingFC=False, excludeBootCounter=False)
    stick.air.clock.run_for(1)
    assert stick.events[-1] == StackStatus(Status.NETWORK_DOWN)
    assert stick.ask("networkState")["status"] == t.EmberNetworkStatus.NO_NETWORK
    assert stick.ask("permitJoining", duration=10)["status"]
    stick.form()
    stick.broadcast()


def test_a_multicast_entry_beyond_the_table_is_refused(version: int) -> None:
    stick = Stick(version)
    entry = t.EmberMulticastTableEntry(0x1234, 1, 0)
    stick.good("setMulticastTableEntry", index=7, value=entry)
    assert stick.good("getMulticastTableEntry", index=7)["value"].multicastId == 0x1234
    assert stick.ask("setMulticastTableEntry", index=8, value=entry)["status"]


def test_a_child_table_without_children_shows_none(version: int) -> None:
    # Anything but NOT_JOINED is a child to bellows: 256 of them.
    stick = Stick(version)
    status = stick.ask("getChildData", index=0)["status"]
    assert t.sl_Status.from_ember_status(status) == t.sl_Status.NOT_JOINED


def test_an_address_table_gives_back_what_it_took_and_nothing_else(version: int) -> None:
    stick = Stick(version)
    entry = {"addressTableIndex": 1, "newEui64": PARTNER, "newId": 0x1234}
    old = stick.good("replaceAddressTableEntry", newExtendedTimeout=False, **entry)
    assert old["oldId"] == 0xFFFF
    old = stick.good("replaceAddressTableEntry", newExtendedTimeout=False, **entry)
    assert old["oldId"] == 0x1234
    assert stick.ask("lookupNodeIdByEui64", eui64=PARTNER)["nodeId"] == 0x1234
    if version == 14:
        assert stick.good("getAddressTableInfo", index=1)["nwk"] == 0x1234
        assert stick.ask("getAddressTableInfo", index=2)["status"]
    else:
        assert stick.ask("getAddressTableRemoteNodeId", addressTableIndex=1)["nodeId"] == 0x1234
        assert stick.ask("getAddressTableRemoteNodeId", addressTableIndex=2)["nodeId"] == 0xFFFF
    entry["addressTableIndex"] = 200
    refused = stick.ask("replaceAddressTableEntry", newExtendedTimeout=False, **entry)
    assert refused["status"]


def test_herdsman_gets_the_seven_octets_of_a_version_and_a_stack_type_of_two(version: int) -> None:
    stick = Stick(version)
    assert len(stick.good("getValue", valueId=0x11)["value"]) == 7
    assert stick.ask("version", desiredProtocolVersion=version)["stackType"] == 2
    flags = stick.ask("getExtendedValue", valueId=0, characteristics=1)
    assert flags["status"]  # else it does not register its endpoint


def test_an_active_scan_finds_the_networks_there_are(version: int) -> None:
    stick = Stick(version)
    stick.form()
    scanning = Stick(version)
    scanning.air = stick.air
    scanning.stored = StackState(EUI64 + 1).to_json()
    scanning.stack.close()
    scanning.stack = Stack(
        "scanning",
        StackState(EUI64 + 1),
        stick.air.medium,
        stick.air.clock,
        stick.air.random.getrandbits,
        on_event=scanning.events.append,
        save=lambda: None,
    )
    scanning.ezsp = Ezsp(TABLES[version], scanning.stack)
    mask = t.Channels.from_channel_list([15, 20])
    scanning.good("startScan", scanType=1, channelMask=mask, duration=3)
    assert scanning.ask("startScan", scanType=1, channelMask=mask, duration=3)["status"]
    stick.air.clock.run_for(1)
    kinds = [type(event).__name__ for event in scanning.events]
    assert kinds == ["NetworkFound", "ScanDone"]
    scanning.good("startScan", scanType=0, channelMask=mask, duration=3)
    stick.air.clock.run_for(1)
    kinds = [type(event).__name__ for event in scanning.events[2:]]
    assert kinds == ["EnergyFound", "EnergyFound", "ScanDone"]
    assert scanning.ask("startScan", scanType=1, channelMask=0, duration=3)["status"]
