"""The trust centre's EZSP frames on every version, asked for by bellows' own hosts."""

from __future__ import annotations

import asyncio
from typing import Any

import bellows.types as t
import pytest
from bench_support import (
    HUB_EUI64,
    Bench,
    DeviceNode,
    HubNode,
    bench,
    device_node,
    hub_node,
    join,
    link_key,
    of_kind,
)

from emulator.devices.node import Frame, Joined, PutOut, Received, Sent
from emulator.ncp.ezsp_tables import SUPPORTED_VERSIONS
from emulator.zigbee.security import mmo_hash
from emulator.zigbee.stack import Stack
from emulator.zigbee.state import Network

EUI64 = 0x02484E4200000010
NEW_KEY = bytes(range(100, 116))
versions = pytest.mark.parametrize("ezsp", SUPPORTED_VERSIONS)


class House:
    """A hub and two devices, the callbacks of all, and the sticks under them."""

    def __init__(self, made: Bench, hub: HubNode, devices: list[DeviceNode]) -> None:
        self.made = made
        self.nodes: list[Any] = [hub, *devices]
        self.told: list[list[tuple[str, list[Any]]]] = [[] for _ in self.nodes]
        for node, told in zip(self.nodes, self.told, strict=True):
            node.node.ezsp.add_callback(lambda name, args, told=told: told.append((name, [*args])))

    async def ask(self, who: int, name: str, **fields: Any) -> t.sl_Status:
        answer = await getattr(self.nodes[who].node.ezsp, name)(**fields)
        return t.sl_Status.from_ember_status(answer[0])

    def callbacks(self, who: int, name: str) -> list[list[int]]:
        return [
            [int(value) if isinstance(value, int) else _number(value) for value in args]
            for told, args in self.told[who]
            if told == name
        ]

    def stack(self, who: int) -> Stack:
        name = "hub" if not who else f"device-{EUI64 + who - 1:X}"
        return self.made.sticks[name].stack

    def network(self, who: int) -> Network:
        network = self.stack(who).state.network
        assert network is not None
        return network

    async def talk(self) -> None:
        """Each device and the hub, under both keys."""
        seen = [len(node.events) for node in self.nodes]
        for number in (1, 2):
            self.nodes[0].node.send(Frame(EUI64 + number - 1, 0x0704, 3, 1, b"down"))
            self.nodes[number].node.send(Frame(HUB_EUI64, 0x0704, 1, 3, b"up"))
        for node, at, messages in zip(self.nodes, seen, (2, 1, 1), strict=True):
            await self.made.until(lambda n=node, a=at, m=messages: _arrived(n, a, m), 30)


def _number(value: Any) -> int:
    return int.from_bytes(value.serialize(), "little")


def _arrived(node: Any, since: int, messages: int) -> bool:
    events = node.events[since:]
    return len(of_kind(events, Received)) == len(of_kind(events, Sent)) == messages and all(
        sent.delivered for sent in of_kind(events, Sent)
    )


async def house(made: Bench) -> House:
    hub = await hub_node(made)
    devices = [await device_node(made, EUI64 + number) for number in range(2)]
    for device in devices:
        await join(hub, device)
    await made.until(lambda: len(of_kind(hub.events, Joined)) == 2)
    await asyncio.sleep(1)
    return House(made, hub, devices)


@versions
async def test_the_network_key_is_replaced_under_a_running_network(ezsp: int) -> None:
    async with bench(ezsp=ezsp) as made:
        home = await house(made)
        await home.talk()
        key = t.KeyData(NEW_KEY)
        assert await home.ask(1, "broadcastNextNetworkKey", key=key) == t.sl_Status.INVALID_STATE
        assert await home.ask(0, "broadcastNextNetworkKey", key=key) == t.sl_Status.OK
        too_soon = await home.ask(0, "broadcastNetworkKeySwitch")
        assert too_soon == t.sl_Status.ZIGBEE_TOO_SOON_FOR_SWITCH_KEY
        await asyncio.sleep(10)
        assert [home.network(who).next_key for who in range(3)] == [NEW_KEY] * 3
        await home.talk()
        assert home.callbacks(0, "switchNetworkKeyHandler") == []
        assert await home.ask(0, "broadcastNetworkKeySwitch") == t.sl_Status.OK
        await asyncio.sleep(1)
        for who in range(3):
            assert home.callbacks(who, "switchNetworkKeyHandler") == [[1]]
            assert (home.network(who).key, home.network(who).key_sequence) == (NEW_KEY, 1)
        await home.talk()
        # one by one
        other = t.KeyData(bytes(range(50, 66)))
        for number in (1, 2):
            status = await home.ask(
                0,
                "unicastNwkKeyUpdate",
                destShort=home.stack(number).short_address,
                destLong=t.EUI64((EUI64 + number - 1).to_bytes(8, "little")),
                key=other,
            )
            assert status == t.sl_Status.OK
        await asyncio.sleep(1)
        assert await home.ask(0, "broadcastNetworkKeySwitch") == t.sl_Status.OK
        await asyncio.sleep(1)
        assert [home.network(who).key for who in range(3)] == [other.serialize()] * 3
        await home.talk()


@versions
async def test_the_next_network_key_can_be_read_where_the_version_has_a_word_for_it(
    ezsp: int,
) -> None:
    async with bench(ezsp=ezsp) as made:
        hub = await hub_node(made)
        protocol = hub.node.ezsp
        if ezsp < 13:

            async def read() -> bytes | None:
                status, key = await protocol.getKey(keyType=t.EmberKeyType.NEXT_NETWORK_KEY)
                return None if status else key.key.serialize()

        else:
            context = t.SecurityManagerContextV13(
                core_key_type=t.SecurityManagerKeyType.NETWORK,
                key_index=1,
                derived_type=t.SecurityManagerDerivedKeyTypeV13.NONE,
                eui64=t.EUI64(bytes(8)),
                multi_network_index=0,
                flags=t.SecurityManagerContextFlags.NONE,
                psa_key_alg_permission=0,
            )

            async def read() -> bytes | None:
                fields = protocol._protocol.COMMANDS["exportKey"][2]
                answer = dict(zip(fields, await protocol.exportKey(context=context), strict=True))
                return None if answer["status"] else answer["key"].serialize()

        assert await read() is None
        await protocol.broadcastNextNetworkKey(key=t.KeyData(NEW_KEY))
        assert await read() == NEW_KEY


@versions
async def test_partners_and_the_trust_centre_give_new_link_keys_as_policies_say(ezsp: int) -> None:
    async with bench(ezsp=ezsp) as made:
        home = await house(made)
        partner = t.EUI64((EUI64 + 1).to_bytes(8, "little"))
        # zigpy's own start denies keys of partners, and gives out the current one of its own
        assert await home.ask(1, "requestLinkKey", partner=partner) == t.sl_Status.OK
        await asyncio.sleep(8)
        news = "zigbeeKeyEstablishmentHandler"
        assert home.callbacks(1, news) == [[EUI64 + 1, 0x04]]
        assert home.callbacks(0, news) == [[EUI64, 0x11]]
        for policy, decision in ((5, 0x52), (6, 0x61)):
            status = await home.ask(
                0,
                "setPolicy",
                policyId=t.EzspPolicyId(policy),
                decisionId=t.EzspDecisionId(decision),
            )
            assert status == t.sl_Status.OK
        assert await home.ask(1, "requestLinkKey", partner=partner) == t.sl_Status.OK
        await asyncio.sleep(2)
        assert home.callbacks(1, news)[1:] == [[EUI64 + 1, 0x01]]
        assert home.callbacks(2, news) == [[EUI64, 0x01]]
        assert home.callbacks(0, news)[1:] == [[EUI64, 0x07]]
        keys = [home.stack(1).state.link_key_of(EUI64 + 1), home.stack(2).state.link_key_of(EUI64)]
        assert keys[0] is not None
        assert keys[1] is not None
        assert keys[0].key == keys[1].key
        # the key with the trust centre
        hub = t.EUI64(HUB_EUI64.to_bytes(8, "little"))
        if ezsp >= 7:
            assert await home.ask(1, "updateTcLinkKey", maxAttempts=3) == t.sl_Status.OK
        else:
            assert await home.ask(1, "requestLinkKey", partner=hub) == t.sl_Status.OK
        await asyncio.sleep(2)
        assert home.callbacks(1, news)[2:] == [[HUB_EUI64, 0x03], [HUB_EUI64, 0x65]]
        assert home.callbacks(0, news)[2:] == [[EUI64, 0x06], [EUI64, 0x34]]
        entry = home.stack(0).state.link_key_of(EUI64)
        assert entry is not None
        assert entry.key == home.stack(1).state.preconfigured_key != link_key(EUI64)
        await home.talk()
        if ezsp >= 6:
            status = await home.ask(
                0,
                "sendTrustCenterLinkKey",
                destinationNodeId=home.stack(2).short_address,
                destinationEui64=partner,
            )
            assert status == t.sl_Status.OK
            await asyncio.sleep(2)
            assert home.callbacks(2, news)[1:] == [[HUB_EUI64, 0x03], [HUB_EUI64, 0x65]]
        await home.talk()


@versions
async def test_a_device_is_put_out_by_its_hub(ezsp: int) -> None:
    async with bench(ezsp=ezsp) as made:
        home = await house(made)
        eui64 = t.EUI64(EUI64.to_bytes(8, "little"))
        short = home.stack(1).short_address
        status = await home.ask(
            0, "removeDevice", destShort=short, destLong=eui64, targetLong=eui64
        )
        assert status == t.sl_Status.OK
        await made.until(lambda: of_kind(home.nodes[1].events, PutOut), 10)
        assert home.stack(1).state.network is None
        assert home.stack(2).is_up
        assert home.stack(0).short_of(EUI64) is None


@versions
async def test_a_message_is_hashed_by_the_stick_in_parts(ezsp: int) -> None:
    async with bench(ezsp=ezsp) as made:
        hub = await hub_node(made, form=False)
        message = bytes(range(150))
        context = t.EmberAesMmoHashContext(
            result=t.EmberAesMmoHashContext.fields.result.type(bytes(16)), length=0
        )
        status, context = await hub.node.ezsp.aesMmoHash(
            context=context, finalize=t.Bool.false, data=message[:96]
        )
        assert not status
        status, context = await hub.node.ezsp.aesMmoHash(
            context=context, finalize=t.Bool.true, data=message[96:]
        )
        assert not status
        assert bytes(context.result) == mmo_hash(message)
        assert context.length == len(message)
        status, _ = await hub.node.ezsp.aesMmoHash(
            context=context, finalize=t.Bool.false, data=b"no whole block"
        )
        assert status
        # A context that says of itself that more went before than the padding can count.
        context.length = 0xE8DEAD00
        status, _ = await hub.node.ezsp.aesMmoHash(
            context=context, finalize=t.Bool.true, data=b"the end"
        )
        assert status


@pytest.mark.parametrize("ezsp", [4, 8, 12])
async def test_nobody_becomes_a_trust_centre_where_there_is_one(ezsp: int) -> None:
    async with bench(ezsp=ezsp) as made:
        hub = await hub_node(made)
        (status,) = await hub.node.ezsp.becomeTrustCenter(key=t.KeyData(NEW_KEY))
        assert status == t.EmberStatus.INVALID_CALL


async def test_a_policy_that_is_none_is_refused() -> None:
    async with bench() as made:
        hub = await hub_node(made)
        for policy in (5, 6):
            (status,) = await hub.node.ezsp.setPolicy(
                policyId=t.EzspPolicyId(policy), decisionId=t.EzspDecisionId(0x21)
            )
            assert status != t.sl_Status.OK


# -- tables and times -------------------------------------------------------------------------


@pytest.mark.parametrize("timeout_s", [300, 20])
async def test_a_transient_key_is_gone_after_its_time_and_one_in_the_table_is_not(
    timeout_s: int,
) -> None:
    async with bench() as made:
        hub = await hub_node(made)
        stack = made.sticks["hub"].stack
        number = t.EzspConfigId.CONFIG_TRANSIENT_KEY_TIMEOUT_S
        _, default = await hub.node.ezsp.getConfigurationValue(configId=number)
        assert default == 300
        await hub.node.ezsp.setConfigurationValue(configId=number, value=t.uint16_t(timeout_s))
        eui64 = t.EUI64(EUI64.to_bytes(8, "little"))
        await hub.node.ezsp.add_transient_link_key(eui64, t.KeyData(NEW_KEY))
        await hub.node.ezsp.importLinkKey(
            index=0, address=t.EUI64(bytes(8)), key=t.KeyData(NEW_KEY)
        )
        await asyncio.sleep(timeout_s - 1)
        # given again, it lives from then on
        await hub.node.ezsp.add_transient_link_key(eui64, t.KeyData(NEW_KEY))
        await asyncio.sleep(timeout_s - 1)
        assert stack.aps.link_key(EUI64) is not None
        await asyncio.sleep(2)
        assert stack.aps.transient_keys == {}
        assert stack.aps.link_key(EUI64) is None
        assert stack.aps.link_key(0) is not None


async def test_the_hub_keeps_a_joiners_key_alive_as_long_as_it_lets_it_in() -> None:
    async with bench() as made:
        hub = await hub_node(made)
        device = await device_node(made, EUI64)
        await hub.node.permit(EUI64, link_key(EUI64), 1200)
        await asyncio.sleep(1100)
        await device.node.join(15, 0x18262CD292AD61D7, link_key(EUI64))
        await made.until(lambda: of_kind(hub.events, Joined), 30)


@pytest.mark.parametrize("ezsp", [4, 12, 14])
async def test_a_key_table_has_the_size_it_was_given_and_is_not_cut_off_under_its_keys(
    ezsp: int,
) -> None:
    async with bench(ezsp=ezsp) as made:
        hub = await hub_node(made, form=False)
        protocol = hub.node.ezsp
        stack = made.sticks["hub"].stack
        number = t.EzspConfigId.CONFIG_KEY_TABLE_SIZE

        async def size(value: int) -> bool:
            (status,) = await protocol.setConfigurationValue(
                configId=number, value=t.uint16_t(value)
            )
            return not status

        async def write(index: int) -> bool:
            address = t.EUI64(bytes([index]) * 8)
            if ezsp >= 12:
                (status,) = await protocol.importLinkKey(
                    index=index, address=address, key=t.KeyData(NEW_KEY)
                )
            else:
                (status,) = await protocol.addOrUpdateKeyTableEntry(
                    address=address, linkKey=t.Bool.true, keyData=t.KeyData(NEW_KEY)
                )
            return not status

        assert await size(6)
        assert len(stack.state.link_keys) == 6
        assert [await write(index) for index in range(7)] == [True] * 6 + [False]
        assert not await size(5)
        assert len(stack.state.link_keys) == 6
        (status,) = await protocol.eraseKeyTableEntry(index=5)
        assert not status
        assert await size(5)
        assert not await write(5)
        assert await size(20)
        assert await write(5)
        assert not await size(1000)
