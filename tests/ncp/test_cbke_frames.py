"""Key establishment and signatures on sticks, asked for by bellows' EZSP of several versions."""

from __future__ import annotations

import asyncio
from typing import Any

import bellows.types as t
import pytest
from bellows.ezsp import EZSP
from bench_support import Bench, bench, device_node, hub_node, join, of_kind
from cbke_vectors import CA_283K1, CERTIFICATES, EXAMPLES

from emulator.devices.node import Frame, Joined, Received, Sent
from emulator.ncp.commands.cbke import CBKE_LIBRARIES
from emulator.zigbee.cbke.identities import TestAuthorities, install_identity
from emulator.zigbee.cbke.suites import SUITE_163K1, SUITE_283K1, KeyPair, Suite
from emulator.zigbee.security import mmo_hash
from emulator.zigbee.state import StackState
from hil.seeds import Seeds

versions = pytest.mark.parametrize("ezsp", [4, 8, 13, 14, 18])
both = pytest.mark.parametrize("suite", [SUITE_163K1, SUITE_283K1], ids=["163k1", "283k1"])
AUTHORITIES = TestAuthorities(lambda name: Seeds(1).stream(name).getrandbits)
EUI64 = 0x02484E4200000010


def kind(name: str) -> Any:
    return getattr(t, name)


class StickHost:
    """bellows' EZSP on one stick, and the callbacks it got."""

    def __init__(self, ezsp: EZSP) -> None:
        self.ezsp = ezsp
        self.told: list[tuple[str, list[Any]]] = []
        ezsp.add_callback(lambda name, args: self.told.append((name, list(args))))

    async def ask(self, name: str, **fields: Any) -> Any:
        answer = await getattr(self.ezsp, name)(**fields)
        return answer[0] if len(answer) == 1 else answer

    async def begin(self, name: str, handler: str, **fields: Any) -> list[Any]:
        """An operation of the engine: it answers that it has begun; what the callback says."""
        before = len(self.told)
        status = await self.ask(name, **fields)
        assert as_sl(status) == t.sl_Status.IN_PROGRESS, f"{name}: {status!r}"
        assert len(self.told) == before  # the callback comes after the answer
        await asyncio.sleep(1)
        (told,) = self.told[before:]
        assert told[0] == handler
        return told[1]

    # -- one side of an agreement --------------------------------------------------------------

    async def generate(self, suite: Suite) -> bytes:
        tail = "" if suite is SUITE_163K1 else "283k1"
        told = await self.begin(f"generateCbkeKeys{tail}", f"generateCbkeKeysHandler{tail}")
        assert not told[0]
        return bytes(told[1])

    async def smacs(
        self, suite: Suite, certificate: bytes, point: bytes, *, am_initiator: bool
    ) -> list[Any]:
        tail = "" if suite is SUITE_163K1 else "283k1"
        data = "Data" if suite is SUITE_163K1 else "283k1Data"
        return await self.begin(
            f"calculateSmacs{tail}",
            f"calculateSmacsHandler{tail}",
            amInitiator=t.Bool(am_initiator),
            partnerCertificate=kind(f"EmberCertificate{data}")(certificate),
            partnerEphemeralPublicKey=kind(f"EmberPublicKey{data}")(point),
        )

    async def clear(self, suite: Suite, *, store: bool) -> t.sl_Status:
        tail = "" if suite is SUITE_163K1 else "283k1"
        name = f"clearTemporaryDataMaybeStoreLinkKey{tail}"
        return as_sl(await self.ask(name, storeLinkKey=t.Bool(store)))

    async def certificate(self, suite: Suite) -> tuple[t.sl_Status, bytes]:
        tail = "" if suite is SUITE_163K1 else "283k1"
        status, certificate = await self.ask(f"getCertificate{tail}")
        return as_sl(status), bytes(certificate)

    async def load(
        self, suite: Suite, certificate: bytes, private_key: bytes, ca_public_key: bytes
    ) -> t.sl_Status:
        if suite is SUITE_163K1:
            status = await self.ask(
                "setPreinstalledCbkeData",
                caPublic=t.EmberPublicKeyData(ca_public_key),
                myCert=t.EmberCertificateData(certificate),
                myKey=t.EmberPrivateKeyData(private_key),
            )
            return as_sl(status)
        for number, value in ((0x1A, certificate), (0x1B, ca_public_key), (0x1C, private_key)):
            await self.ask("setValue", valueId=t.EzspValueId(number), value=value)
        return as_sl(await self.ask("savePreinstalledCbkeData283k1"))


def as_sl(status: Any) -> t.sl_Status:
    return t.sl_Status.from_ember_status(status)


async def host(made: Bench, name: str, eui64: int, *, stored: str | None = None) -> StickHost:
    url = made.stick(name, eui64, stored)
    ezsp = EZSP({"path": url, "baudrate": 115200, "flow_control": None})
    await ezsp.connect(use_thread=False)
    made.closing(ezsp.disconnect)
    return StickHost(ezsp)


def ephemeral_comes_out_as(made: Bench, name: str, suite: Suite, pair: KeyPair) -> None:
    """The next ephemeral key of a stick is this one: it is all that is drawn for it. One published
    for suite 2 is larger than the order, of which no draw is."""
    stack = made.sticks[name].stack
    before = stack.random_bits

    def once(_bits: int) -> int:
        stack.random_bits = before
        return int.from_bytes(pair.private_key, "big") % suite.curve.order

    stack.random_bits = once


@versions
async def test_the_published_example_comes_out_of_two_sticks(ezsp: int) -> None:
    example = EXAMPLES[0]
    async with bench(ezsp=ezsp) as made:
        sides = {}
        for name, party in (("u", example.u), ("v", example.v)):
            side = sides[name] = await host(made, name, party.eui64)
            assert party.certificate is not None
            assert (await side.certificate(SUITE_163K1))[0] == t.sl_Status.FAIL
            certificate, private = party.certificate, party.static.private_key
            status = await side.load(SUITE_163K1, certificate, private, example.ca_public_key)
            assert status == t.sl_Status.OK
            assert await side.certificate(SUITE_163K1) == (t.sl_Status.OK, certificate)
            ephemeral_comes_out_as(made, name, SUITE_163K1, party.ephemeral)
            assert await side.generate(SUITE_163K1) == party.ephemeral.public_key
        for name, partner, am_initiator in (("u", example.v, True), ("v", example.u, False)):
            status, macu, macv = await sides[name].smacs(
                SUITE_163K1,
                partner.certificate or b"",
                partner.ephemeral.public_key,
                am_initiator=am_initiator,
            )
            assert not status
            assert (bytes(macu), bytes(macv)) == (example.macu, example.macv)
            assert await sides[name].clear(SUITE_163K1, store=True) == t.sl_Status.OK
            entry = made.sticks[name].stack.state.link_key_of(partner.eui64)
            assert entry is not None
            assert entry.key == example.link_key
            # once stored, the temporary data are gone
            assert await sides[name].clear(SUITE_163K1, store=True) == t.sl_Status.FAIL


@versions
async def test_two_published_identities_of_suite_2_agree(ezsp: int) -> None:
    v = EXAMPLES[1].v
    _, _, other, static = CERTIFICATES[-1]
    assert v.certificate is not None
    async with bench(ezsp=ezsp) as made:
        one = await host(made, "one", v.eui64)
        two = await host(made, "two", 0x0022080000000001)
        identities = ((one, v.certificate, v.static), (two, other, static))
        for side, certificate, pair in identities:
            status = await side.load(SUITE_283K1, certificate, pair.private_key, CA_283K1)
            assert status == t.sl_Status.OK
            # the private key is not where a host could read it
            read, _ = await side.ask("getValue", valueId=t.EzspValueId(0x1C))
            assert read != 0
        ephemeral_comes_out_as(made, "one", SUITE_283K1, v.ephemeral)
        points = [await side.generate(SUITE_283K1) for side in (one, two)]
        assert points[0] == v.ephemeral.public_key
        told = [
            await one.smacs(SUITE_283K1, other, points[1], am_initiator=True),
            await two.smacs(SUITE_283K1, v.certificate, points[0], am_initiator=False),
        ]
        assert told[0] == told[1]
        assert told[0][1] != told[0][2]
        for side in (one, two):
            assert await side.clear(SUITE_283K1, store=True) == t.sl_Status.OK
        keys = [made.sticks[name].stack.state.link_keys[0] for name in ("one", "two")]
        assert keys[0] is not None
        assert keys[1] is not None
        assert keys[0].key == keys[1].key
        assert (keys[0].eui64, keys[1].eui64) == (0x0022080000000001, v.eui64)


@both
@versions
async def test_a_hub_and_its_device_talk_under_the_key_they_established(
    ezsp: int, suite: Suite
) -> None:
    async with bench(ezsp=ezsp) as made:
        hub = await hub_node(made)
        device = await device_node(made, EUI64)
        await join(hub, device)
        await made.until(lambda: of_kind(hub.events, Joined))
        sides = StickHost(device.node.ezsp), StickHost(hub.node.ezsp)
        for node in (hub, device):
            stick = made.sticks["hub" if node is hub else f"device-{EUI64:X}"]
            install_identity(stick.stack.state, AUTHORITIES.issue(suite, node.node.eui64))
        certificates = [(await side.certificate(suite))[1] for side in sides]
        points = [await side.generate(suite) for side in sides]
        told = [
            await sides[0].smacs(suite, certificates[1], points[1], am_initiator=True),
            await sides[1].smacs(suite, certificates[0], points[0], am_initiator=False),
        ]
        assert told[0] == told[1]
        assert not told[0][0]
        for side in sides:
            assert await side.clear(suite, store=True) == t.sl_Status.OK
        stacks = [made.sticks[name].stack for name in (f"device-{EUI64:X}", "hub")]
        key = stacks[0].state.preconfigured_key  # the trust centre's key has a place of its own
        at_hub = stacks[1].state.link_key_of(EUI64)
        assert at_hub is not None
        assert at_hub.key == key
        hub.node.send(Frame(EUI64, 0x0704, 3, 1, b"from the hub"))
        device.node.send(Frame(hub.node.eui64, 0x0704, 1, 3, b"from the device"))
        await made.until(lambda: all(of_kind(end.events, Sent) for end in (hub, device)))
        for end in (hub, device):
            assert all(sent.delivered for sent in of_kind(end.events, Sent))
            assert [one.encrypted for one in of_kind(end.events, Received)] == [True]


@versions
async def test_what_is_signed_verifies_and_nothing_else_does(ezsp: int) -> None:
    async with bench(ezsp=ezsp) as made:
        signer = await host(made, "signer", EUI64)
        reader = await host(made, "reader", EUI64 + 1)
        for side, eui64 in ((signer, EUI64), (reader, EUI64 + 1)):
            for suite in (SUITE_163K1, SUITE_283K1):
                own = AUTHORITIES.issue(suite, eui64)
                parts = own.certificate, own.private_key, own.ca_public_key
                assert await side.load(suite, *parts) == t.sl_Status.OK
        # three octets of header that the signature does not cover, then the covered ones
        status, signed = await signer.begin(
            "dsaSign", "dsaSignHandler", messageContents=b"HDRthe message\x03"
        )
        signed = bytes(signed)
        assert not status
        assert signed[:-42] == b"HDRthe message\x01"
        certificate = (await signer.certificate(SUITE_163K1))[1]
        stranger = TestAuthorities(lambda name: Seeds(2).stream(name).getrandbits)
        foreign = stranger.issue(SUITE_163K1, EUI64).certificate
        for digest, by, signature, good in (
            (mmo_hash(b"the message"), certificate, signed[-42:], True),
            (mmo_hash(b"the massage"), certificate, signed[-42:], False),
            (mmo_hash(b"the message"), certificate, bytes(42), False),
            (mmo_hash(b"the message"), foreign, signed[-42:], False),
            (mmo_hash(b"the message"), bytes(48), signed[-42:], False),
        ):
            (told,) = await reader.begin(
                "dsaVerify",
                "dsaVerifyHandler",
                digest=t.EmberMessageDigest(digest),
                signerCertificate=t.EmberCertificateData(by),
                receivedSig=t.EmberSignatureData(signature),
            )
            expected = t.sl_Status.OK if good else t.sl_Status.ZIGBEE_SIGNATURE_VERIFY_FAILURE
            assert as_sl(told) == expected
        (told,) = await reader.begin(
            "dsaVerify283k1",
            "dsaVerifyHandler",
            digest=t.EmberMessageDigest(bytes(16)),
            signerCertificate=t.EmberCertificate283k1Data(
                (await signer.certificate(SUITE_283K1))[1]
            ),
            receivedSig=t.EmberSignature283k1Data(bytes(72)),
        )
        assert as_sl(told) == t.sl_Status.ZIGBEE_SIGNATURE_VERIFY_FAILURE
        too_long = await signer.ask("dsaSign", messageContents=bytes(180))
        assert as_sl(too_long) == t.sl_Status.MESSAGE_TOO_LONG


@both
@versions
async def test_a_partner_that_sends_nonsense_fails_the_agreement(ezsp: int, suite: Suite) -> None:
    async with bench(ezsp=ezsp) as made:
        side = await host(made, "one", EUI64)
        own = AUTHORITIES.issue(suite, EUI64)
        await side.load(suite, own.certificate, own.private_key, own.ca_public_key)
        certificate = AUTHORITIES.issue(suite, 0x77).certificate
        point = await side.generate(suite)
        for wrong in ((bytes(suite.certificate_octets), point), (certificate, bytes(len(point)))):
            told = await side.smacs(suite, *wrong, am_initiator=True)
            assert as_sl(told[0]) == t.sl_Status.INVALID_CONFIGURATION
            assert await side.clear(suite, store=True) == t.sl_Status.FAIL
            await side.generate(suite)
        assert made.sticks["one"].stack.state.link_keys.count(None) == len(
            made.sticks["one"].stack.state.link_keys
        )


@both
async def test_certificates_of_another_authority_lead_to_different_macs(suite: Suite) -> None:
    stranger = TestAuthorities(lambda name: Seeds(2).stream(name).getrandbits)
    async with bench(ezsp=14) as made:
        sides = []
        for name, eui64, by in (("one", EUI64, AUTHORITIES), ("two", EUI64 + 1, stranger)):
            side = await host(made, name, eui64)
            own = by.issue(suite, eui64)
            await side.load(suite, own.certificate, own.private_key, own.ca_public_key)
            sides.append((side, own.certificate, await side.generate(suite)))
        told = [
            await sides[0][0].smacs(suite, *sides[1][1:], am_initiator=True),
            await sides[1][0].smacs(suite, *sides[0][1:], am_initiator=False),
        ]
        assert told[0][1:] != told[1][1:]
        # so the host stores nothing, and cannot later
        for name, (side, _, _) in zip(("one", "two"), sides, strict=True):
            assert await side.clear(suite, store=False) == t.sl_Status.FAIL
            assert await side.clear(suite, store=True) == t.sl_Status.FAIL
            assert not any(made.sticks[name].stack.state.link_keys)


async def test_operations_come_one_at_a_time_and_in_order() -> None:
    async with bench(ezsp=14) as made:
        side = await host(made, "one", EUI64)
        own = AUTHORITIES.issue(SUITE_283K1, EUI64)
        assert as_sl(await side.ask("generateCbkeKeys283k1")) == t.sl_Status.FAIL  # no identity
        assert as_sl(await side.ask("dsaSign", messageContents=b"x\0")) == t.sl_Status.FAIL
        await side.load(SUITE_283K1, own.certificate, own.private_key, own.ca_public_key)
        parts = {
            "amInitiator": t.Bool(True),
            "partnerCertificate": t.EmberCertificate283k1Data(own.certificate),
            "partnerEphemeralPublicKey": t.EmberPublicKey283k1Data(own.ca_public_key),
        }
        early = await side.ask("calculateSmacs283k1", **parts)
        assert as_sl(early) == t.sl_Status.INVALID_STATE
        assert as_sl(await side.ask("generateCbkeKeys283k1")) == t.sl_Status.IN_PROGRESS
        busy = await side.ask("generateCbkeKeys283k1")
        assert as_sl(busy) == t.sl_Status.INVALID_STATE
        await asyncio.sleep(1)
        assert [name for name, _ in side.told] == ["generateCbkeKeysHandler283k1"]
        # of the other suite there is nothing
        assert await side.clear(SUITE_163K1, store=True) == t.sl_Status.FAIL
        after = await side.ask("calculateSmacs283k1", **parts)
        assert as_sl(after) == t.sl_Status.INVALID_STATE  # clearing wiped that key too


@both
async def test_an_identity_with_a_wrong_part_is_refused_and_one_taken_outlives_a_reset(
    suite: Suite,
) -> None:
    async with bench(ezsp=14) as made:
        side = await host(made, "one", EUI64)
        own = AUTHORITIES.issue(suite, EUI64)
        good = [own.certificate, own.private_key, own.ca_public_key]
        for number in range(3):
            bad = list(good)
            bad[number] = bytes(len(bad[number]))
            assert await side.load(suite, *bad) == t.sl_Status.INVALID_CONFIGURATION
        assert (await side.certificate(suite))[0] == t.sl_Status.FAIL
        assert await side.load(suite, *good) == t.sl_Status.OK
        stored = made.sticks["one"].stored
        again = await host(made, "again", EUI64, stored=stored)
        assert await again.certificate(suite) == (t.sl_Status.OK, own.certificate)
        assert len(await again.generate(suite)) == suite.point_octets


async def test_a_stick_can_be_given_its_identities_before_it_is_plugged_in() -> None:
    state = StackState(EUI64)
    AUTHORITIES.install(state)
    async with bench(ezsp=14) as made:
        side = await host(made, "one", EUI64, stored=state.to_json())
        for suite in (SUITE_163K1, SUITE_283K1):
            status, certificate = await side.certificate(suite)
            assert status == t.sl_Status.OK
            assert certificate == AUTHORITIES.issue(suite, EUI64).certificate


@versions
async def test_a_stick_as_sold_has_only_the_stub_of_the_library(ezsp: int) -> None:
    async with bench(ezsp=ezsp, cbke=False) as made:
        side = await host(made, "one", EUI64)
        for library in range(0x15):
            status = await side.ask("getLibraryStatus", libraryId=t.uint8_t(library))
            assert bool(status & 0x80) is (library not in CBKE_LIBRARIES)
        own = AUTHORITIES.issue(SUITE_163K1, EUI64)
        parts = own.certificate, own.private_key, own.ca_public_key
        assert await side.load(SUITE_163K1, *parts) == t.sl_Status.NOT_AVAILABLE
        for name, fields in (
            ("generateCbkeKeys", {}),
            ("generateCbkeKeys283k1", {}),
            ("savePreinstalledCbkeData283k1", {}),
            ("dsaSign", {"messageContents": b"x\0"}),
            ("clearTemporaryDataMaybeStoreLinkKey", {"storeLinkKey": t.Bool.true}),
        ):
            assert as_sl(await side.ask(name, **fields)) == t.sl_Status.NOT_AVAILABLE
        assert (await side.certificate(SUITE_283K1))[0] == t.sl_Status.NOT_AVAILABLE
        assert side.told == []


async def test_a_stick_with_the_library_says_so() -> None:
    async with bench(ezsp=14) as made:
        side = await host(made, "one", EUI64)
        for library in CBKE_LIBRARIES:
            status = await side.ask("getLibraryStatus", libraryId=t.uint8_t(library))
            assert status == 0x80
        unknown = await side.ask("getLibraryStatus", libraryId=t.uint8_t(0x15))
        assert unknown == 0xFF
