"""The credentials of a bridge are replaced by who may, over the WAN, the air and the tunnel; by
anybody else, or with anything wrong, nothing changes."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from bench_support import NEW, Bench, bench, make_image
from credential_premises import BRIDGE_EUI64, CredentialPremises, certify, credential_premises
from wan_rig import (
    AGREE,
    SIGN,
    USER,
    authorities,
    broker,
    identity,
    newer_acb,
    organisations,
    path,
    smki,
)

from dsp_stub.credential_commands import (
    read_cells,
    read_certificate,
    relay,
    renew_key,
    replace_acb_cells,
    update_certificate,
)
from dsp_stub.errors import DspValueError
from emulator.devices import tunnel
from emulator.devices.gbcs_half import FrameDiscarded
from emulator.medium.air import Loss
from gbcs.acb import AccessControlBroker, BrokerState
from gbcs.certificates import Certificate, CertificateStore, Role, parse_certificate
from gbcs.certification_requests import CertificationRequest
from gbcs.credentials import (
    ACB_DIGITAL_SIGNATURE,
    ACB_KEY_AGREEMENT,
    NEVER,
    RECOVERY_SIGNATURE,
    ROOT,
    Replacement,
)
from gbcs.endpoint import Endpoint, EndpointState, Reason
from gbcs.firmware import (
    ActivateImageResult,
    FirmwareActivation,
    build_firmware_activation,
)
from gbcs.protection import KeyUse
from gbcs.smki import ACB_EUI64, RECOVERY_EUI64, SUPPLIER_EUI64, Credential
from hil.clock import VirtualLoop

pytestmark = pytest.mark.requirement("MP170-R8", "good", "bad")

BOTH = {SIGN: newer_acb(SIGN), AGREE: newer_acb(AGREE)}
ACB_SIGN = "ACCESS_CONTROL_BROKER DIGITAL_SIGNATURE"
ACB_AGREE = "ACCESS_CONTROL_BROKER KEY_AGREEMENT"
RENEWED = [("CS02c", True), ("CS02d", True), ("CS02e", True)]


async def renewed(there: CredentialPremises, use: KeyUse = SIGN) -> None:
    there.order(renew_key, use)
    told = await there.told(3)
    assert [(one.use_case, one.succeeded) for one in told] == RENEWED


async def runs(there: CredentialPremises) -> None:
    """The bridge answers CS08, by the keys that the DSP thinks it has."""
    before = len(there.frames(BRIDGE_EUI64))
    refused = len(there.refused())
    there.cs08(BRIDGE_EUI64)
    await there.bench.until(lambda: len(there.frames(BRIDGE_EUI64)) > before)
    assert len(there.refused()) == refused
    counter = there.desk.commands.originator_counter
    assert (BRIDGE_EUI64, counter) not in there.desk.commands.outstanding


async def discarded(there: CredentialPremises, frame: bytes) -> Reason:
    """What the bridge says to a frame that it does not act on; its credentials stay."""
    before, held = len(there.discarded(BRIDGE_EUI64)), there.credentials
    there.send(BRIDGE_EUI64, frame)
    await there.bench.until(lambda: len(there.discarded(BRIDGE_EUI64)) > before)
    found: FrameDiscarded = there.discarded(BRIDGE_EUI64)[-1]
    assert there.credentials is held
    return found.reason


def old_acb(counter: int = 90_000) -> AccessControlBroker:
    """One that has the first keys of the ACB, and counters that were never used."""
    made = broker(BRIDGE_EUI64)
    made.state.originator_counter = counter
    return made


def old_alert(counter: int = 90_000) -> bytes:
    """A CS09 alert signed with the key the bridge was made with."""
    mine = identity(BRIDGE_EUI64)
    state = EndpointState(counter)
    endpoint = Endpoint(BRIDGE_EUI64, mine.keys, mine.trust, state, ())
    success = ActivateImageResult.ACTIVATION_SUCCESS
    activation = FirmwareActivation(smki().root.certificate.not_before, NEW, success)
    return endpoint.alert(0x012B, build_firmware_activation(activation))


# -- the ACB's own cells -----------------------------------------------------------------------


@pytest.mark.parametrize("ezsp", [13, 14])
async def test_the_acb_replaces_its_cells_and_is_heard_with_its_new_keys_alone(ezsp: int) -> None:
    async with bench(ezsp=ezsp) as made:
        there = await credential_premises(made)
        there.order(replace_acb_cells, BOTH, path())
        (told,) = await there.told(1)
        assert (told.use_case, told.succeeded) == ("CS02b", True)
        assert told.detail == f"{ACB_SIGN} SUCCESS, {ACB_AGREE} SUCCESS"
        trust = there.credentials.trust
        assert trust.acb_digital_signature == BOTH[SIGN].certificate
        assert trust.acb_key_agreement == BOTH[AGREE].certificate
        old = old_acb().read_firmware_version(BRIDGE_EUI64, USER)
        assert await discarded(there, old) is Reason.MAC
        await runs(there)
        there.order(read_cells)
        (told,) = await there.told(1)
        for use, cell in ((SIGN, ACB_SIGN), (AGREE, ACB_AGREE)):
            key_id = BOTH[use].certificate.subject_key_id.hex().upper()
            assert f"{cell} {key_id}" in told.detail
        await renewed(there)  # signed with the ACB's new key
        assert there.refused() == []


async def test_a_dsp_started_again_knows_by_which_keys_a_bridge_is_reached() -> None:
    async with bench() as made:
        there = await credential_premises(made)
        there.order(replace_acb_cells, BOTH, path())
        await there.told(1)
        await renewed(there)
        await renewed(there, AGREE)
        there.open_dsp()
        await runs(there)
        there.order(read_certificate, SIGN)
        (told,) = await there.told(1)
        assert told.succeeded
        assert there.refused() == []


def forged_chain() -> Certificate:
    """The authority that is held signed it, but for one bit of what it signed."""
    der = bytearray(BOTH[SIGN].certificate.der)
    at = der.index(b"TEST ONLY")
    der[at] ^= 1
    return parse_certificate(bytes(der))


def credential(certificate: Certificate) -> Credential:
    return Credential(certificate, BOTH[SIGN].private_key, SIGN)


BAD = {
    "another use": (lambda: BOTH[AGREE], path, "BAD_CERTIFICATE"),
    "another role": (lambda: newer_acb(SIGN, role=Role.SUPPLIER), path, "BAD_CERTIFICATE"),
    "a trust anchor that is not known": (
        lambda: newer_acb(SIGN, authorities=7),
        lambda: path(7),
        "NO_TRUST_ANCHOR",
    ),
    "an authority that is missing": (lambda: BOTH[SIGN], lambda: (), "NO_TRUST_ANCHOR"),
    "a chain that is broken": (lambda: credential(forged_chain()), path, "BAD_CERTIFICATE"),
    "another ACB": (lambda: newer_acb(SIGN, eui64=ACB_EUI64 + 8), path, "OTHER"),
}


@pytest.mark.parametrize("is_later", [False, True])
async def test_what_may_not_be_put_into_a_cell_is_refused_and_the_old_one_kept(
    is_later: bool,
) -> None:
    async with bench() as made:
        there = await credential_premises(made)
        before = there.credentials.trust
        for name, (make, chain, status) in BAD.items():
            options = {"execution": there.in_a_while(timedelta(seconds=20))} if is_later else {}
            there.order(replace_acb_cells, {SIGN: make()}, chain(), **options)
            if is_later:
                (kept,) = await there.told(1)
                assert (kept.succeeded, kept.detail) == (True, "accepted for later"), name
            (told,) = await there.told(1, 400)
            assert (told.succeeded, told.detail) == (False, f"{ACB_SIGN} {status}"), name
            assert there.credentials.trust == before
            assert there.desk.key_ring.offered(BRIDGE_EUI64) == {}
        await runs(there)
        assert there.refused() == []


async def test_one_bad_certificate_does_not_keep_the_other_cell_from_being_replaced() -> None:
    async with bench() as made:
        there = await credential_premises(made)
        before = there.credentials.trust
        pair = {SIGN: newer_acb(SIGN, authorities=7), AGREE: BOTH[AGREE]}
        there.order(replace_acb_cells, pair, path())
        (told,) = await there.told(1)
        assert told.detail == f"{ACB_SIGN} NO_TRUST_ANCHOR, {ACB_AGREE} SUCCESS"
        trust = there.credentials.trust
        assert trust.acb_digital_signature == before.acb_digital_signature
        assert trust.acb_key_agreement == BOTH[AGREE].certificate
        await runs(there)
        await renewed(there)  # signed with the old key, MACed with the new one


async def test_who_may_not_order_a_replacement_is_not_answered() -> None:
    async with bench() as made:
        there = await credential_premises(made)
        cell = Replacement(BOTH[SIGN].certificate.der, ACB_DIGITAL_SIGNATURE)
        own = old_acb(0)
        good = own.update_own_credentials(BRIDGE_EUI64, (cell,), path())
        supplier = broker(BRIDGE_EUI64, eui64=SUPPLIER_EUI64)
        keys = CertificateStore()  # of one who calls himself recovery and has other keys
        forger = newer_acb(SIGN, authorities=7, eui64=RECOVERY_EUI64, role=Role.RECOVERY)
        keys.add(forger.certificate, forger.private_key)
        recovery = AccessControlBroker(RECOVERY_EUI64, keys, BrokerState(10))
        frames = {
            "a supplier": (
                supplier.update_own_credentials(BRIDGE_EUI64, (cell,), path()),
                Reason.ORIGINATOR,
            ),
            "the ACB in recovery's name": (
                own.recover_credentials(BRIDGE_EUI64, (cell,), path()),
                Reason.ORIGINATOR,
            ),
            "not recovery": (
                recovery.recover_credentials(BRIDGE_EUI64, (cell,), path()),
                Reason.SIGNATURE,
            ),
            "a bit of the certificate": (good.replace(b"TEST ONLY", b"TESU ONLY"), Reason.MAC),
        }
        for name, (frame, reason) in frames.items():
            assert await discarded(there, frame) is reason, name
        there.send(BRIDGE_EUI64, good)
        await made.until(lambda: there.frames(BRIDGE_EUI64))
        assert there.credentials.trust.acb_digital_signature == BOTH[SIGN].certificate
        assert await discarded(there, good) is Reason.COUNTER
        assert there.refused() == ["UNEXPECTED"]  # the answer to what the DSP had not sent


# -- for later ---------------------------------------------------------------------------------


async def test_a_replacement_for_later_is_made_when_its_time_comes_and_told() -> None:
    async with bench() as made:
        there = await credential_premises(made)
        due = there.in_a_while(timedelta(minutes=20))
        there.order(replace_acb_cells, BOTH, path(), execution=due)
        (told,) = await there.told(1)
        assert told.detail == "accepted for later"
        await runs(there)
        await made.until(lambda: there.utc_now() > due - timedelta(minutes=1), 1300)
        assert there.credentials.trust == identity(BRIDGE_EUI64).trust
        (told,) = await there.told(1, 120)
        assert (told.use_case, told.succeeded) == ("CS02b", True)
        assert due <= there.utc_now() < due + timedelta(seconds=5)
        await runs(there)
        assert (
            await discarded(there, old_acb().read_firmware_version(BRIDGE_EUI64, USER))
            is Reason.MAC
        )
        assert there.refused() == []


async def test_what_was_put_off_outlives_a_power_cut_and_is_made_when_power_is_back() -> None:
    async with bench() as made:
        there = await credential_premises(made)
        due = there.in_a_while(timedelta(minutes=3))
        there.order(replace_acb_cells, BOTH, path(), execution=due)
        await there.told(1)
        await there.power_cycle()
        assert there.credentials.trust == identity(BRIDGE_EUI64).trust
        await there.bridge.power_off()
        await made.until(lambda: there.utc_now() > due, 1000)
        await there.power_cycle()
        (told,) = await there.told(1, 120)
        assert told.succeeded
        await runs(there)


async def test_what_was_put_off_is_taken_back() -> None:
    async with bench() as made:
        there = await credential_premises(made)
        due = there.in_a_while(timedelta(minutes=3))
        there.order(replace_acb_cells, BOTH, path(), execution=due)
        with pytest.raises(DspValueError, match="has not said whether"):
            there.order(replace_acb_cells, {SIGN: BOTH[SIGN]}, path(), execution=NEVER)
        with pytest.raises(DspValueError, match="is under way"):
            there.order(read_cells)
        await there.told(1)
        there.order(replace_acb_cells, {SIGN: BOTH[SIGN]}, path(), execution=NEVER)
        await there.told(1)
        await made.until(lambda: there.utc_now() > due + timedelta(minutes=1), 1000)
        assert there.credentials.trust == identity(BRIDGE_EUI64).trust
        await runs(there)


# -- recovery ----------------------------------------------------------------------------------


def recovery_party(counter: int = 10) -> AccessControlBroker:
    keys = CertificateStore([smki().device(BRIDGE_EUI64, SIGN).certificate])
    certificate = organisations().certificate(RECOVERY_EUI64, SIGN)
    assert certificate is not None
    keys.add(certificate, organisations().private_key(RECOVERY_EUI64, SIGN))
    return AccessControlBroker(RECOVERY_EUI64, keys, BrokerState(counter))


async def test_recovery_gives_a_bridge_back_to_an_acb_that_lost_its_keys() -> None:
    async with bench() as made:
        there = await credential_premises(made)
        cells = {ACB_DIGITAL_SIGNATURE: BOTH[SIGN], ACB_KEY_AGREEMENT: BOTH[AGREE]}
        replacements = tuple(Replacement(one.certificate.der, cell) for cell, one in cells.items())
        frame = recovery_party().recover_credentials(BRIDGE_EUI64, replacements, path())
        there.dsp.carry_out(relay, frame, there.utc_now(), own=BOTH.values())
        there.pump()
        (told,) = await there.told(1)
        assert told.detail == f"{ACB_SIGN} SUCCESS, {ACB_AGREE} SUCCESS"
        assert there.credentials.trust.acb_key_agreement == BOTH[AGREE].certificate
        await runs(there)
        # and replaces itself, later: the alert is recovery's, and the DSP follows it
        party = recovery_party(11)
        own = newer_acb(SIGN, eui64=RECOVERY_EUI64, role=Role.RECOVERY)
        frame = party.recover_credentials(
            BRIDGE_EUI64,
            (Replacement(own.certificate.der, RECOVERY_SIGNATURE),),
            path(),
            execution_date_time=there.in_a_while(timedelta(minutes=1)),
        )
        there.dsp.carry_out(relay, frame, there.utc_now())
        there.pump()
        kept, made_so = await there.told(2, 200)
        assert kept.detail == "accepted for later"
        assert made_so.detail == "RECOVERY DIGITAL_SIGNATURE SUCCESS"
        held = there.desk.key_ring.held(BRIDGE_EUI64)
        assert held["RECOVERY DIGITAL_SIGNATURE"] == own.certificate
        again = party.recover_credentials(BRIDGE_EUI64, (), path())
        assert await discarded(there, again) is Reason.SIGNATURE
        assert there.refused() == []


async def test_the_contingency_key_puts_another_root_into_a_bridge() -> None:
    """The certificates of a whole other SMKI do not fit into one message of the tunnel."""
    async with bench() as made:
        there = await credential_premises(made)
        party = recovery_party()
        root = authorities(7).root.certificate
        frame = party.replace_by_contingency(
            BRIDGE_EUI64, smki().contingency, (Replacement(root.der, ROOT),), ()
        )
        there.dsp.carry_out(relay, frame, there.utc_now())
        there.pump()
        (told,) = await there.told(1)
        assert told.detail == "ROOT KEY_CERT_SIGN SUCCESS"
        assert there.credentials.trust.root == root
        # and from now on only what hangs on that root is taken
        there.order(replace_acb_cells, {AGREE: BOTH[AGREE]}, path())
        assert (await there.told(1))[0].detail == f"{ACB_AGREE} NO_TRUST_ANCHOR"
        there.order(replace_acb_cells, {AGREE: newer_acb(AGREE, authorities=7)}, path(7))
        assert (await there.told(1))[0].succeeded
        await runs(there)
        again = party.replace_by_contingency(BRIDGE_EUI64, smki().contingency, (), ())
        assert await discarded(there, again) is Reason.SIGNATURE


async def test_a_command_too_long_for_the_tunnel_is_told_and_nothing_is_lost() -> None:
    async with bench() as made:
        there = await credential_premises(made)
        world = authorities(7)
        certificates = (world.root.certificate.der, *path(7), *path())
        frame = recovery_party().replace_by_contingency(
            BRIDGE_EUI64, smki().contingency, (Replacement(certificates[0], ROOT),), certificates
        )
        assert len(frame) > 1500
        there.dsp.carry_out(relay, frame, there.utc_now())
        there.pump()
        while there.desk.orders.next_deadline() is not None:
            await there.until_overdue()
        first, *_ = await there.told(2)
        assert (first.use_case, first.detail) == ("CS02b", "no answer")
        assert there.credentials.trust == identity(BRIDGE_EUI64).trust
        await runs(there)


async def test_recovery_is_told_nothing_but_what_it_put_off() -> None:
    """An alert for it that is another's business counts for nothing."""
    async with bench() as made:
        there = await credential_premises(made)
        mine = identity(BRIDGE_EUI64)
        endpoint = Endpoint(BRIDGE_EUI64, mine.keys, mine.trust, EndpointState(40), ())
        success = ActivateImageResult.ACTIVATION_SUCCESS
        activation = FirmwareActivation(smki().root.certificate.not_before, NEW, success)
        payload = build_firmware_activation(activation)
        there.bridge.send_through_tunnel(endpoint.alert(0x012B, payload, recipient=RECOVERY_EUI64))
        await made.until(there.refused)
        assert there.refused() == ["RECIPIENT"]
        assert BRIDGE_EUI64 not in there.desk.commands.accepted


# -- the bridge's own keys ---------------------------------------------------------------------


async def test_after_a_renewal_alerts_verify_with_the_new_key_and_no_more_with_the_old() -> None:
    async with bench() as made:
        there = await credential_premises(made)
        old = smki().device(BRIDGE_EUI64, SIGN).certificate
        await renewed(there)
        new = there.desk.key_ring.held(BRIDGE_EUI64)[SIGN]
        assert there.credentials.certificate(SIGN) == new != old
        assert there.credentials.pending == ()
        there.offer(make_image(4096), BRIDGE_EUI64)
        await made.until(lambda: there.desk.commands.accepted.get(BRIDGE_EUI64), 7200)
        (alert,) = there.frames(BRIDGE_EUI64)[-1:]
        assert there.refused() == []
        first = AccessControlBroker(ACB_EUI64, there.desk.keys, BrokerState())
        assert "signature" in str(first.receive(alert))  # by the key it was made with: refused
        there.bridge.send_through_tunnel(old_alert())
        await made.until(there.refused)
        assert there.refused() == ["PROTECTION"]
        assert there.desk.commands.accepted[BRIDGE_EUI64] == 1
        await runs(there)


async def test_both_keys_are_renewed_again_and_again() -> None:
    async with bench() as made:
        there = await credential_premises(made)
        seen = {
            smki().device(BRIDGE_EUI64, use).certificate.subject_key_id for use in (SIGN, AGREE)
        }
        for use in (SIGN, AGREE, AGREE, SIGN):
            await renewed(there, use)
            seen.add(there.desk.key_ring.held(BRIDGE_EUI64)[use].subject_key_id)
            await runs(there)
        assert len(seen) == 6
        assert await discarded(there, old_acb().read_firmware_version(BRIDGE_EUI64, USER)) is (
            Reason.MAC
        )


async def test_a_bridge_without_power_between_cs02c_and_cs02d_takes_the_certificate_later() -> None:
    async with bench() as made:
        there = await credential_premises(made)
        made_for: list[Certificate] = []
        gone: list[asyncio.Task[None]] = []

        def certify_and_cut(request: CertificationRequest) -> Certificate:
            made_for.append(certify(request))
            gone.append(asyncio.get_running_loop().create_task(there.bridge.power_off()))
            return made_for[0]

        there.desk.certify = certify_and_cut
        there.order(renew_key, SIGN)
        await made.until(lambda: gone and gone[0].done())
        while there.desk.orders.next_deadline() is not None:
            await there.until_overdue()
        told = await there.told(4)
        assert [(one.use_case, one.detail) for one in told[1:]] == [
            ("CS02d", "no answer"), ("CS02e", "no answer"), ("CS02e", "no answer"),
        ]  # fmt: skip
        await there.power_cycle()
        assert [use for use, _ in there.credentials.pending] == [SIGN]
        assert there.credentials.certificate(SIGN) == identity(BRIDGE_EUI64).certificates[0]
        there.order(update_certificate, SIGN, made_for[0])
        (told_last,) = await there.told(1)
        assert (told_last.use_case, told_last.detail) == ("CS02d", "SUCCESS")
        assert there.credentials.certificate(SIGN) == made_for[0]
        await there.power_cycle()
        assert there.credentials.certificate(SIGN) == made_for[0]
        await runs(there)


OTHER = 0x02484E4200000099
WRONG = {
    "of another bridge": (
        lambda _request: smki().device(OTHER, SIGN).certificate,
        "WRONG_DEVICE_IDENTITY",
    ),
    "for another key": (
        lambda _request: smki().device(BRIDGE_EUI64, SIGN).certificate,
        "WRONG_PUBLIC_KEY",
    ),
    "of an organisation": (
        lambda _request: organisations().certificate(ACB_EUI64, SIGN),
        "INVALID_CERTIFICATE",
    ),
    "for another use": (
        lambda _request: smki().device(BRIDGE_EUI64, AGREE).certificate,
        "NO_CORRESPONDING_KEY_PAIR_GENERATED",
    ),
}


async def test_a_certificate_that_is_not_for_the_waiting_key_leaves_the_old_one_in_use() -> None:
    async with bench() as made:
        there = await credential_premises(made)
        before = there.credentials.certificates
        for make, result in WRONG.values():
            there.desk.certify = make
            there.order(renew_key, SIGN)
            issued, updated = await there.told(2)
            assert issued.succeeded
            assert (updated.use_case, updated.detail) == ("CS02d", result)
            assert there.credentials.certificates == before
        assert there.desk.key_ring.offered(BRIDGE_EUI64) == {}
        there.bridge.send_through_tunnel(old_alert())
        await made.until(lambda: there.desk.commands.accepted.get(BRIDGE_EUI64))
        assert there.refused() == []


# -- answers that do not come ------------------------------------------------------------------


async def test_an_answer_to_cs02d_that_is_lost_does_not_lose_the_bridge() -> None:
    async with bench() as made:
        there = await credential_premises(made)
        there.lost = [0x000B]
        there.order(renew_key, AGREE)
        await there.told(1)
        await made.until(lambda: not there.lost)
        await there.until_overdue()
        lost, provided = await there.told(2)
        assert (lost.use_case, lost.detail) == ("CS02d", "no answer")
        assert (provided.use_case, provided.succeeded) == ("CS02e", True)
        await runs(there)


async def test_an_alert_under_the_new_key_is_answer_enough() -> None:
    async with bench() as made:
        there = await credential_premises(made)
        there.lost = [0x000B]
        there.order(renew_key, SIGN)
        await there.told(1)
        await made.until(lambda: not there.lost)
        there.offer(make_image(4096), BRIDGE_EUI64)
        await made.until(lambda: there.desk.commands.accepted.get(BRIDGE_EUI64), 3000)
        assert there.desk.key_ring.held(BRIDGE_EUI64)[SIGN] == there.credentials.certificate(SIGN)
        there.bridge.send_through_tunnel(old_alert())
        await made.until(there.refused)
        assert there.refused() == ["PROTECTION"]


async def test_an_answer_to_cs02b_that_is_lost_is_asked_for_by_the_new_keys() -> None:
    async with bench() as made:
        there = await credential_premises(made)
        there.lost = [0x0104]
        there.order(replace_acb_cells, BOTH, path())
        await made.until(lambda: not there.lost)
        await there.until_overdue()
        lost, asked = await there.told(2)
        assert (lost.use_case, lost.detail) == ("CS02b", "no answer")
        assert (asked.use_case, asked.succeeded) == ("CS02a", True)
        await runs(there)
        assert there.desk.key_ring.offered(BRIDGE_EUI64) == {}


async def test_a_cs02b_that_is_lost_on_its_way_is_asked_for_by_the_old_keys_in_the_end() -> None:
    async with bench() as made:
        there = await credential_premises(made)
        made.medium.set_faults((Loss(1.0),))
        there.order(replace_acb_cells, BOTH, path())
        await made.until(lambda: there.desk.orders.next_deadline() is not None)
        await made.until(lambda: len(there.from_hub) > 0 and bool(there.events), 600)
        made.medium.set_faults(())
        while there.desk.orders.next_deadline() is not None:
            await there.until_overdue()
        assert there.credentials.trust == identity(BRIDGE_EUI64).trust
        there.events.clear()
        await runs(there)
        there.order(replace_acb_cells, BOTH, path())
        assert (await there.told(1))[0].succeeded
        await runs(there)


async def test_credentials_are_replaced_over_an_air_that_loses_every_tenth_frame() -> None:
    async with bench(losses=(Loss(0.1),)) as made:
        there = await credential_premises(made)
        there.order(replace_acb_cells, BOTH, path())
        await there.told(1, 600)
        there.order(renew_key, SIGN)
        await there.told(3, 600)
        held = there.desk.key_ring.held(BRIDGE_EUI64)
        assert held[SIGN] == there.credentials.certificate(SIGN)
        assert held[ACB_AGREE] == there.credentials.trust.acb_key_agreement


# -- what is seen of it ------------------------------------------------------------------------


async def course(made: Bench) -> CredentialPremises:
    there = await credential_premises(made)
    there.order(replace_acb_cells, BOTH, path())
    await there.told(1)
    await renewed(there)
    return there


def test_the_same_seed_gives_the_same_frames() -> None:
    async def frames(seed: int) -> list[bytes]:
        async with bench(seed=seed) as made:
            await course(made)
            return made.frames

    traces = []
    for seed in (5, 5, 6):
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            traces.append(runner.run(frames(seed)))
    assert traces[0] == traces[1]
    assert traces[0] != traces[2]


async def test_no_private_key_leaves_bridge_or_dsp() -> None:
    async with bench() as made:
        there = await course(made)
        keys = [one.private_key for one in BOTH.values()]
        keys += [there.credentials.keys.digital_signature, there.credentials.keys.key_agreement]
        seen = b"".join(there.frames(BRIDGE_EUI64)) + repr(there.events).encode()
        received = there.home.told_by(BRIDGE_EUI64, tunnel.MessageReceived)
        seen += b"".join(one.data for one in received)
        for key in keys:
            scalar = key.private_numbers().private_value
            for form in (scalar.to_bytes(32, "big"), f"{scalar:064x}".encode()):
                assert form not in seen
                assert form.upper() not in seen


async def test_what_cannot_be_ordered_is_said_and_leaves_nothing_behind() -> None:
    async with bench() as made:
        there = await credential_premises(made)
        with pytest.raises(DspValueError, match="not in the inventory"):
            there.dsp.carry_out(read_cells, OTHER, there.utc_now())
        with pytest.raises(DspValueError, match="another party than the ACB"):
            there.dsp.carry_out(relay, old_acb().read_firmware_version(BRIDGE_EUI64, USER),
                                there.utc_now())  # fmt: skip
        with pytest.raises(DspValueError, match="cannot be sent"):
            there.dsp.carry_out(relay, b"no frame", there.utc_now())
        there.desk.certify = None
        with pytest.raises(DspValueError, match="no SMKI"):
            there.order(renew_key, SIGN)
        assert there.desk.orders.next_deadline() is None
        assert there.desk.key_ring.offered(OTHER) == {}
