"""When every key is lost: a command that the contingency key has signed replaces any cell, the root
as well."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from credential_rig import (
    ACB_AGREEMENT,
    ACB_SIGNING,
    RECOVERY_CELL,
    ROOT_CELL,
    answered,
    device,
    discarded,
    newer,
    path,
    replaced,
    statuses,
    stranger,
)
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from gbcs_rig import dsp_keys, own_key, smki, trust_cells
from hypothesis import given
from hypothesis import strategies as st

from gbcs.acb import AccessControlBroker, BrokerState, Response
from gbcs.certificates import Certificate, Role, parse_certificate
from gbcs.contingency import (
    SYMMETRIC_KEY_OCTETS,
    WRAPPED_CONTINGENCY_KEY,
    Contingency,
    contingency_key,
)
from gbcs.credentials import CredentialStatus, RemotePartyRole
from gbcs.endpoint import Reason, Reply
from gbcs.envelope import parse_frame
from gbcs.protection import KeyUse
from gbcs.smki import ACB_EUI64, PPMID_EUI64, RECOVERY_EUI64, Smki

pytestmark = pytest.mark.requirement("MP170-R8", "good")

SIGN, AGREE = KeyUse.DIGITAL_SIGNATURE, KeyUse.KEY_AGREEMENT
BAD, GOOD = CredentialStatus.BAD_CERTIFICATE, CredentialStatus.SUCCESS


def sender(counter: int = 100) -> AccessControlBroker:
    """Recovery without its key, which is lost."""
    return AccessControlBroker(RECOVERY_EUI64, dsp_keys(), BrokerState(counter))


def by(contingency: Contingency, *pairs: Any, chain: tuple[bytes, ...] | None = None) -> bytes:
    return sender().replace_by_contingency(
        PPMID_EUI64, contingency, replaced(*pairs), path() if chain is None else chain
    )


def of_new_root(role: Role, eui64: int, use: KeyUse) -> Certificate:
    return stranger().organisation(eui64, role, use).certificate


def new_world() -> tuple[tuple[Any, Certificate], ...]:
    """Certificates of another SMKI for every cell, the root last."""
    acb = Role.ACCESS_CONTROL_BROKER
    return (
        (ACB_SIGNING, of_new_root(acb, ACB_EUI64, SIGN)),
        (ACB_AGREEMENT, of_new_root(acb, ACB_EUI64, AGREE)),
        (RECOVERY_CELL, of_new_root(Role.RECOVERY, RECOVERY_EUI64, SIGN)),
        (ROOT_CELL, stranger().root.certificate),
    )


def new_path() -> tuple[bytes, ...]:
    return (stranger().issuing_authority.certificate.der,)


def test_every_cell_is_replaced_by_another_smki_of_which_the_old_one_knows_nothing() -> None:
    endpoint = device()
    dsp = sender()
    frame = dsp.replace_by_contingency(
        PPMID_EUI64, smki().contingency, replaced(*new_world()), new_path()
    )
    assert parse_frame(frame).frame.message_code == 0x0109
    (reply,) = endpoint.receive(frame, smki().root.certificate.not_before)
    assert isinstance(reply, Reply)
    response = dsp.receive(reply.frame)
    assert isinstance(response, Response)
    assert statuses(response.payload.outcome) == [GOOD] * 4
    assert dict(endpoint.credentials.trust.cells()) == dict(new_world())
    # The contingency key of the root before is nobody's now, that of the new one is.
    again = sender(200).replace_by_contingency(PPMID_EUI64, smki().contingency, (), ())
    assert discarded(endpoint, again) is Reason.SIGNATURE
    theirs = sender(200).replace_by_contingency(PPMID_EUI64, stranger().contingency, (), ())
    assert statuses(answered(endpoint, theirs).outcome) == []


def test_what_does_not_hang_on_the_root_that_comes_with_it_is_refused() -> None:
    endpoint = device()
    pairs = (
        (ACB_SIGNING, newer(use=SIGN).certificate),
        (ROOT_CELL, stranger().root.certificate),
    )
    outcome = answered(endpoint, by(smki().contingency, *pairs)).outcome
    assert statuses(outcome) == [CredentialStatus.NO_TRUST_ANCHOR, GOOD]
    trust = endpoint.credentials.trust
    assert trust.acb_digital_signature == trust_cells().acb_digital_signature
    assert trust.root == stranger().root.certificate


def test_with_the_old_root_it_replaces_like_recovery() -> None:
    endpoint = device()
    pairs = (
        (ACB_SIGNING, newer(use=SIGN).certificate),
        (RECOVERY_CELL, of_new_root(Role.RECOVERY, RECOVERY_EUI64, SIGN)),
    )
    outcome = answered(endpoint, by(smki().contingency, *pairs)).outcome
    assert statuses(outcome) == [GOOD, CredentialStatus.NO_TRUST_ANCHOR]


def forged_root() -> Certificate:
    der = bytearray(stranger().root.certificate.der)
    der[-1] ^= 1
    return parse_certificate(bytes(der))


def test_a_root_that_has_not_signed_itself_is_none() -> None:
    endpoint = device()
    pairs = ((ROOT_CELL, forged_root()),)
    outcome = answered(endpoint, by(smki().contingency, *pairs)).outcome
    assert statuses(outcome) == [CredentialStatus.NO_TRUST_ANCHOR]
    authority = stranger().issuing_authority.certificate
    outcome = answered(device(), by(smki().contingency, (ROOT_CELL, authority))).outcome
    assert statuses(outcome) == [BAD]
    assert endpoint.credentials.trust == trust_cells()


def test_who_has_not_both_keys_replaces_nothing() -> None:
    pair = (ROOT_CELL, stranger().root.certificate)
    held = smki().contingency
    strange = ec.generate_private_key(ec.SECP256R1())
    recovery = own_key(RECOVERY_EUI64, SIGN)
    for contingency in (
        Contingency(strange, held.symmetric_key),
        Contingency(recovery, held.symmetric_key),
        Contingency(held.private_key, bytes(SYMMETRIC_KEY_OCTETS)),
        Contingency(held.private_key, b""),
        Contingency(held.private_key, held.symmetric_key + b"\0"),
        stranger().contingency,
    ):
        endpoint = device()
        assert discarded(endpoint, by(contingency, pair)) is Reason.SIGNATURE
        assert endpoint.credentials.trust == trust_cells()


def test_a_command_used_once_is_used_up() -> None:
    endpoint = device()
    octets = by(smki().contingency, (ACB_SIGNING, newer(use=SIGN).certificate))
    answered(endpoint, octets)
    assert discarded(endpoint, octets) is Reason.COUNTER


def test_no_bit_of_it_may_be_another() -> None:
    octets = by(smki().contingency, (ACB_SIGNING, newer(use=SIGN).certificate))
    at = 8 * octets.index(smki().contingency.symmetric_key)
    of_key = range(at, at + 8 * SYMMETRIC_KEY_OCTETS, 7)
    endpoint = device()
    for bit in {*range(0, 8 * len(octets), 29), *of_key}:
        changed = bytearray(octets)
        changed[bit // 8] ^= 1 << bit % 8
        reason = discarded(endpoint, bytes(changed))
        assert bit not in of_key or reason is Reason.SIGNATURE


# -- the extension -----------------------------------------------------------------------------


def test_a_roots_certificate_shows_the_key_to_who_has_the_other_one_alone() -> None:
    root, held = smki().root.certificate, smki().contingency
    key = contingency_key(root, held.symmetric_key)
    assert key is not None
    assert key.public_numbers() == held.private_key.public_key().public_numbers()
    assert contingency_key(root, stranger().contingency.symmetric_key) is None
    assert contingency_key(smki().issuing_authority.certificate, held.symmetric_key) is None
    extension = x509.load_der_x509_certificate(root.der).extensions.get_extension_for_oid(
        WRAPPED_CONTINGENCY_KEY
    )
    assert not extension.critical
    assert f"{held.private_key.public_key().public_numbers().x:064x}" not in root.der.hex()
    assert held.symmetric_key not in root.der
    assert repr(held) == object.__repr__(held)


def root_with(value: bytes) -> Certificate:
    """A root whose extension is this."""

    class Damaged(Contingency):
        def extension(self) -> x509.UnrecognizedExtension:
            return x509.UnrecognizedExtension(WRAPPED_CONTINGENCY_KEY, value)

    class Other(Smki):
        def _authority(self, *arguments: Any) -> Any:
            self.contingency = Damaged(self.contingency.private_key, b"")
            return super()._authority(*arguments)

    one = smki()
    return Other(one._stream, one.root.certificate.not_before).root.certificate


@given(st.data())
def test_an_extension_that_is_none_shows_no_key(data: st.DataObject) -> None:
    held = smki().contingency
    whole = held.extension().value
    value = data.draw(
        st.binary(max_size=160)
        | st.integers(0, 8 * len(whole) - 1).map(
            lambda bit: bytes(
                octet ^ (1 << bit % 8 if at == bit // 8 else 0) for at, octet in enumerate(whole)
            )
        )
        | st.integers(0, len(whole) - 1).map(lambda end: whole[:end])
    )
    assert contingency_key(root_with(value), held.symmetric_key) is None


def test_a_role_that_no_cell_has_is_named_in_the_outcome() -> None:
    supplier = replace(ACB_SIGNING, role=RemotePartyRole.SUPPLIER)
    pair = (supplier, newer(role=Role.SUPPLIER, use=SIGN).certificate)
    outcome = answered(device(), by(smki().contingency, pair)).outcome
    assert statuses(outcome) == [CredentialStatus.TRUST_ANCHOR_NOT_FOUND]
