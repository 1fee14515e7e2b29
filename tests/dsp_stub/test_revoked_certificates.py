"""Whose certificate was taken back is refused at the signature, whatever else is right."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from dsp_rig import (
    EPOCH,
    OTHER_SUPPLIER_EUI64,
    PPMID,
    ROLES,
    Rig,
    organisation,
    running,
    smki,
)

from dsp_stub.desk import Answered
from dsp_stub.options import Codes, Options
from dsp_stub.requests import ReadInventory
from dsp_stub.users import User, Users
from gbcs.certificates import Certificate
from gbcs.chain import Authorities, parse_revocation_list
from gbcs.protection import KeyUse
from gbcs.smki import SUPPLIER_EUI64, Credential, Smki
from hil.errors import HanbenchError
from hil.key_folder import load_authorities
from hil.pki_commands import pki_group
from hil.seeds import Seeds

pytestmark = pytest.mark.real_clock

SERVED = "I0"
CERTIFICATE = organisation(SUPPLIER_EUI64, KeyUse.XML_SIGNATURE)[0]


def trusting(rig: Rig, authorities: Authorities) -> None:
    """The DSP as it is when these are its authorities."""
    rig.desk.users = Users(
        (User(eui64, role, organisation(eui64, KeyUse.XML_SIGNATURE)[0])
         for eui64, role in ROLES.items()),
        authorities,
    )  # fmt: skip


def taken_back(issuer: Credential, *certificates: Certificate) -> Authorities:
    der = smki().revocation_list(
        issuer, {certificate.serial: EPOCH for certificate in certificates}, EPOCH
    )
    revoked = parse_revocation_list(der, issuer.certificate)
    return replace(smki().authorities(), revoked=(revoked,))


async def code(rig: Rig, user: int = SUPPLIER_EUI64) -> str:
    return (await rig.ask("8.2", ReadInventory(device_id=PPMID), user=user)).response_code


def reason(rig: Rig) -> str:
    answered = rig.events[-1]
    assert isinstance(answered, Answered)
    return answered.sentence


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running(tmp_path) as rig:
        trusting(rig, smki().authorities())
        yield rig


async def test_the_certificate_of_a_user_that_was_taken_back_is_refused(rig: Rig) -> None:
    assert await code(rig) == SERVED
    trusting(rig, taken_back(smki().issuing_authority, CERTIFICATE))
    assert await code(rig) == "E40"
    assert "it is revoked" in reason(rig)
    assert await code(rig, OTHER_SUPPLIER_EUI64) == SERVED


async def test_an_issuing_authority_that_was_taken_back_takes_every_user_with_it(rig: Rig) -> None:
    trusting(rig, taken_back(smki().root, smki().issuing_authority.certificate))
    assert [await code(rig, user) for user in ROLES] == ["E40"] * len(ROLES)


async def test_a_serial_on_another_authoritys_list_is_nobodys(rig: Rig) -> None:
    trusting(rig, taken_back(smki().root, CERTIFICATE))
    assert await code(rig) == SERVED


async def test_times_need_not_be_looked_at_for_a_certificate_to_be_revoked(tmp_path: Path) -> None:
    async with running(tmp_path, Options(check_certificate_times=False)) as rig:
        rig.now = EPOCH + timedelta(days=31)
        trusting(rig, smki().authorities())
        assert await code(rig) == SERVED
        trusting(rig, taken_back(smki().issuing_authority, CERTIFICATE))
        assert await code(rig) == "E40"


async def test_a_chain_that_ended_is_refused_while_times_are_looked_at(rig: Rig) -> None:
    rig.now = EPOCH + timedelta(days=31)
    assert await code(rig) == "E40"
    assert "not valid at this time" in reason(rig)


async def test_the_code_of_a_revoked_certificate_is_that_of_bad_signatures(tmp_path: Path) -> None:
    async with running(tmp_path, codes=Codes(bad_signature="E47")) as rig:
        trusting(rig, taken_back(smki().issuing_authority, CERTIFICATE))
        assert await code(rig) == "E47"


async def test_a_user_certified_elsewhere_is_a_user_all_the_same(rig: Rig) -> None:
    """Real adaptors have certificates of another test SMKI; who lists them in dsp.toml means it."""
    other = Smki(lambda name: Seeds(2).stream(name).getrandbits, EPOCH)
    trusting(rig, other.authorities())
    assert await code(rig) == SERVED
    rig.now = EPOCH + timedelta(days=31)
    assert await code(rig) == "E40"


async def test_an_issuer_with_a_borrowed_name_is_refused(rig: Rig) -> None:
    other = Smki(lambda name: Seeds(2).stream(name).getrandbits, EPOCH)
    forged = replace(
        other.issuing_authority.certificate, subject_key_id=CERTIFICATE.authority_key_id
    )
    trusting(rig, replace(smki().authorities(), below=(forged,)))
    assert await code(rig) == "E40"


def pki(*words: object) -> None:
    result = CliRunner().invoke(pki_group, [str(word) for word in words])
    assert result.exit_code == 0, result.output


async def test_what_pki_revoke_put_on_the_list_the_dsp_refuses(rig: Rig, tmp_path: Path) -> None:
    folder = tmp_path / "pki"
    pki("create", folder)
    certificate = folder / f"{SUPPLIER_EUI64:016x}-xml-ds.pem"
    authorities = load_authorities(folder)
    assert authorities is not None
    trusting(rig, authorities)
    assert await code(rig) == SERVED
    pki("revoke", folder, certificate)
    authorities = load_authorities(folder)
    assert authorities is not None
    trusting(rig, authorities)
    assert await code(rig) == "E40"
    assert await code(rig, OTHER_SUPPLIER_EUI64) == SERVED


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "issuing.crl").write_text("TEST ONLY\n"),
        lambda folder: (folder / "root.crl").rename(folder / "issuing.crl"),
        lambda folder: (folder / "issuing.pem").unlink(),
    ],
    ids=["no list", "another authority's list", "a list without its authority"],
)
def test_a_list_that_cannot_be_believed_is_no_empty_list(tmp_path: Path, spoil: object) -> None:
    folder = tmp_path / "pki"
    pki("create", folder)
    assert load_authorities(folder) is not None
    spoil(folder)  # type: ignore[operator]
    with pytest.raises(HanbenchError, match="issuing"):
        load_authorities(folder)


def test_a_folder_of_published_keys_has_no_authorities(tmp_path: Path) -> None:
    assert load_authorities(tmp_path) is None
