"""One test SMKI, and a broker and a device that know each other through it."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import strategies as st

from gbcs.acb import AccessControlBroker, BrokerState
from gbcs.certificates import CertificateStore
from gbcs.endpoint import (
    DeviceKeys,
    Endpoint,
    EndpointState,
    TrustCells,
    UseCase,
    read_firmware_version,
)
from gbcs.envelope import Cra, Frame, OtherInformation
from gbcs.firmware import (
    ActivateImageResult,
    FirmwareActivation,
    build_firmware_activation,
)
from gbcs.protection import KeyUse, PrivateKey
from gbcs.smki import ACB_EUI64, CHF_EUI64, PPMID_EUI64, RECOVERY_EUI64, Smki, issue_store
from gbcs.streams import length_octets
from hil.seeds import Seeds

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
VERSION = 0x0123ABCD


@cache
def smki(seed: int = 1) -> Smki:
    seeds = Seeds(seed)
    return Smki(lambda name: seeds.stream(name).getrandbits, EPOCH)


@cache
def issued(seed: int = 1) -> CertificateStore:
    """Every certificate and key of the bench; not to be changed."""
    return issue_store(smki(seed))


def own_key(eui64: int, use: KeyUse) -> PrivateKey:
    key = issued().private_key(eui64, use)
    assert key is not None
    return key


def dsp_keys() -> CertificateStore:
    """What the DSP holds: everybody's certificates, its own private keys."""
    store, everything = CertificateStore(), issued()
    for eui64 in (ACB_EUI64, CHF_EUI64, PPMID_EUI64):
        for use in (KeyUse.DIGITAL_SIGNATURE, KeyUse.KEY_AGREEMENT):
            certificate = everything.certificate(eui64, use)
            assert certificate is not None
            store.add(certificate, own_key(eui64, use) if eui64 == ACB_EUI64 else None)
    return store


def trust_cells() -> TrustCells:
    everything = issued()
    signing = everything.certificate(ACB_EUI64, KeyUse.DIGITAL_SIGNATURE)
    agreement = everything.certificate(ACB_EUI64, KeyUse.KEY_AGREEMENT)
    assert signing is not None
    assert agreement is not None
    recovery = everything.certificate(RECOVERY_EUI64, KeyUse.DIGITAL_SIGNATURE)
    return TrustCells(signing, agreement, recovery, smki().root.certificate)


def device(
    state: EndpointState | None = None,
    *further: UseCase,
    eui64: int = PPMID_EUI64,
    version: int | None = VERSION,
) -> Endpoint:
    keys = DeviceKeys(
        own_key(eui64, KeyUse.DIGITAL_SIGNATURE), own_key(eui64, KeyUse.KEY_AGREEMENT)
    )
    use_cases = (read_firmware_version(lambda: version), *further)
    return Endpoint(eui64, keys, trust_cells(), state or EndpointState(5000), use_cases)


def broker(state: BrokerState | None = None) -> AccessControlBroker:
    return AccessControlBroker(ACB_EUI64, dsp_keys(), state or BrokerState(1299))


def write_scalars(table: Path, folder: Path) -> None:
    """The published test keys of organisations, which the vectors keep as scalars, as files."""
    with table.open(newline="") as file:
        for name, scalar in list(csv.reader(file))[1:]:
            key = ec.derive_private_key(int(scalar, 16), ec.SECP256R1())
            pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            (folder / f"{name}.key").write_bytes(pem)


def activation(version: int = VERSION) -> bytes:
    success = ActivateImageResult.ACTIVATION_SUCCESS
    return build_firmware_activation(FirmwareActivation(EPOCH, version, success))


U64 = st.integers(0, 2**64 - 1)
TIMES = st.datetimes(min_value=datetime(1, 1, 1), timezones=st.just(UTC)).map(
    lambda time: time.replace(microsecond=0)
)


@st.composite
def other_informations(draw: st.DrawFn) -> OtherInformation:
    code = draw(st.integers(0, 0xFFFF))
    there = draw(st.integers(0, 3))
    certificate = b""
    if there == 2 and draw(st.booleans()):
        content = draw(st.binary(min_size=7, max_size=200))
        certificate = b"\x30" + length_octets(len(content)) + content
    return OtherInformation(
        code,
        draw(U64) if there > 0 else None,
        draw(U64) if there > 1 else None,
        draw(U64) if there > 2 else None,
        certificate,
    )


@st.composite
def gbcs_frames(draw: st.DrawFn) -> Frame:
    mac = draw(st.none() | st.binary(min_size=12, max_size=12))
    signature = draw(st.just(b"") | st.binary(min_size=64, max_size=64))
    return Frame(
        cra=draw(st.sampled_from(Cra)),
        originator_counter=draw(U64),
        originator=draw(U64),
        recipient=draw(U64),
        other_information=draw(other_informations()),
        payload=draw(st.binary(max_size=300)),
        date_time=draw(st.just(b"") | st.binary(min_size=12, max_size=12)),
        signature=None if mac is None and draw(st.booleans()) else signature,
        mac=mac,
    )
