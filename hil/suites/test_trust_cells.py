"""Whom a device trusts, and who may change that: the ACB's cells by CS02b, over the air.

Source: MP170, requirement 8 (credentials of a bridge are replaceable by an authorised party); GBCS
use cases CS02a and CS02b. The devices are emulated: a real one would go on with keys that the next
bench does not have.
"""

from __future__ import annotations

from typing import Any

from dsp_stub.desk import CredentialsTold
from dsp_stub.requests import TRANSFORM_VARIANT, UpdateSecurityCredentialsKrp
from gbcs.acb import AccessControlBroker, BrokerState
from gbcs.certificates import CertificateStore
from gbcs.credentials import ACB_DIGITAL_SIGNATURE, Replacement
from gbcs.envelope import Cra
from gbcs.protection import KeyUse
from gbcs.smki import (
    ACB_EUI64,
    BENCH_ORGANISATIONS,
    RECOVERY_EUI64,
    SUPPLIER_EUI64,
    Smki,
    issue_store,
)
from hil.bench_device import BenchDevice
from hil.bench_up import BenchUp
from hil.conformance import conformance
from hil.seeds import Seeds
from hil.session import Session
from hil.verdict import version_text

ACB_SIGN = "ACCESS_CONTROL_BROKER DIGITAL_SIGNATURE"
ACB_AGREE = "ACCESS_CONTROL_BROKER KEY_AGREEMENT"
CS02B = "CS02b"
FAR_AHEAD = 1000


def foreign_smki(bench: BenchUp) -> Smki:
    """An authority that no device of the bench has ever heard of."""
    seeds = Seeds(bench.seed + 1)
    return Smki(lambda name: seeds.stream(name).getrandbits, bench.file.epoch)


async def told(bench: BenchUp, device: BenchDevice, use_case: str) -> CredentialsTold:
    """What the DSP was told of the command that has just been sent."""
    witness = bench.session.witness
    mine = [one for one in witness.credentials if one.device == device.eui64]
    await bench.until(lambda: len(witness.credentials) > len(mine), f"an answer to {use_case}")
    last = witness.credentials[-1]
    assert (last.device, last.use_case) == (device.eui64, use_case)
    return last


async def cells(bench: BenchUp, device: BenchDevice) -> str:
    """CS02a: whose certificates the device says it holds."""
    bench.session.dcc.read_cells(device.eui64)
    return (await told(bench, device, "CS02a")).detail


@conformance(
    "MP170-R8",
    title="the ACB replaces its certificates in a device, which then heeds the new ones alone",
    needs=("device", "emulated"),
    steps=(
        "the device tells whom it trusts (CS02a)",
        "CS02b with new certificates of the ACB: the device tells SUCCESS of each cell",
        "CS02a tells the new keys",
        "the device answers 11.2 that is MACed with the new key, and one with the old key never",
        "it is updated, and its alert is believed",
    ),
)
async def test_the_acbs_cells_are_replaced(
    bench: BenchUp, device: BenchDevice, dsp: Session, step: Any
) -> None:
    await device.admit()
    dcc = dsp.dcc
    counter = dcc.desk.commands.originator_counter
    with step(1):
        before = await cells(bench, device)
        assert ACB_SIGN in before
        assert ACB_AGREE in before
    with step(2):
        old = AccessControlBroker(ACB_EUI64, dcc.keys, BrokerState(counter + FAR_AHEAD))
        dcc.replace_acb_cells(device.eui64)
        outcome = await told(bench, device, CS02B)
        assert outcome.succeeded
        assert outcome.detail == f"{ACB_SIGN} SUCCESS, {ACB_AGREE} SUCCESS"
    with step(3):
        assert await cells(bench, device) not in (before, "")
    with step(4):
        assert await device.read_version() == version_text(device.running)
        answers = len(device.frames(Cra.RESPONSE))
        dsp.wiring.hub.send_through_tunnel(
            device.eui64, old.read_credentials(device.eui64, (ACB_DIGITAL_SIGNATURE.role,))
        )
        await bench.never(
            lambda: len(device.frames(Cra.RESPONSE)) > answers, "it is answered", bench.brief_s
        )
    with step(5):
        assert await device.update() == "activated", device.track.detail
        assert not device.complaints, ", ".join(device.complaints)


@conformance(
    "MP170-R8",
    title="who may not change a device's credentials does not, and the old ones are kept",
    needs=("device", "emulated"),
    steps=(
        "a supplier's 6.15.1 for the device: E11",
        "CS02b with certificates of an unknown trust anchor: refused, cell by cell",
        "CS02b of a supplier, and of one who calls himself recovery: no answer",
        "CS02a tells the same keys as before",
        "the device is updated as if nothing had been",
    ),
)
async def test_nobody_else_changes_the_cells(
    bench: BenchUp, device: BenchDevice, dsp: Session, step: Any
) -> None:
    await device.admit()
    dcc, smki = dsp.dcc, foreign_smki(bench)
    counter = dcc.desk.commands.originator_counter + FAR_AHEAD
    before = await cells(bench, device)
    strangers = issue_store(smki, BENCH_ORGANISATIONS, ())
    path = (smki.issuing_authority.certificate.der,)
    with step(1):
        mine = strangers.certificate(SUPPLIER_EUI64, KeyUse.DIGITAL_SIGNATURE)
        assert mine is not None
        body = UpdateSecurityCredentialsKrp("Supplier", mine.der, None, None, path, True)
        answer = await dsp.ask(
            *("6.15.1", body),
            target=device.eui64,
            about=(device.eui64,),
            variant=TRANSFORM_VARIANT,
        )
        assert answer.code == "E11"
    with step(2):
        dcc.replace_acb_cells(device.eui64, smki=smki)
        outcome = await told(bench, device, CS02B)
        assert not outcome.succeeded
        assert outcome.detail == f"{ACB_SIGN} NO_TRUST_ANCHOR, {ACB_AGREE} NO_TRUST_ANCHOR"
    with step(3):
        answers = len(device.frames(Cra.RESPONSE))
        _take_in(strangers, dcc.keys, device)
        wanted = strangers.certificate(ACB_EUI64, KeyUse.DIGITAL_SIGNATURE)
        assert wanted is not None
        cell = (Replacement(wanted.der, ACB_DIGITAL_SIGNATURE),)
        supplier = AccessControlBroker(SUPPLIER_EUI64, strangers, BrokerState(counter))
        recovery = AccessControlBroker(RECOVERY_EUI64, strangers, BrokerState(1))
        for frame in (
            supplier.update_own_credentials(device.eui64, cell, path),
            recovery.recover_credentials(device.eui64, cell, path),
        ):
            dsp.wiring.hub.send_through_tunnel(device.eui64, frame)
        await bench.never(
            lambda: len(device.frames(Cra.RESPONSE)) > answers, "it is answered", bench.brief_s
        )
    with step(4):
        assert await cells(bench, device) == before
    with step(5):
        assert await device.update() == "activated", device.track.detail
        assert not device.complaints, ", ".join(device.complaints)


def _take_in(store: CertificateStore, known: CertificateStore, device: BenchDevice) -> None:
    """Who speaks to a device knows its certificates."""
    for use in (KeyUse.DIGITAL_SIGNATURE, KeyUse.KEY_AGREEMENT):
        certificate = known.certificate(device.eui64, use)
        assert certificate is not None
        store.add(certificate)
