"""`hanbench pki create`: a folder of test certificates that others cannot read."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from gbcs_rig import issued

from emulator.zigbee.cbke.ecqv import CertificateAuthority, private_key_matches
from emulator.zigbee.cbke.identities import TEST_ISSUER, TestAuthorities
from emulator.zigbee.cbke.suites import SUITE_163K1, SUITE_283K1
from gbcs.certificates import parse_pem_certificate
from gbcs.protection import KeyUse
from gbcs.smki import ACB_EUI64, CHF_EUI64, PPMID_EUI64, SUPPLIER_EUI64, WAN_PROVIDER_EUI64
from hil.errors import HanbenchError
from hil.key_folder import load_keys
from hil.pki_commands import pki_group
from hil.seeds import Seeds


def create(*arguments: str) -> Result:
    return CliRunner().invoke(pki_group, ["create", *arguments])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_same_seed_gives_the_same_files(tmp_path: Path) -> None:
    one, two, other = (tmp_path / name for name in ("one", "two", "other"))
    assert create(str(one)).exit_code == 0
    assert create(str(two), "--seed", "1").exit_code == 0
    assert create(str(other), "--seed", "2").exit_code == 0
    assert contents(one) == contents(two)
    theirs = contents(other)
    assert all(data != theirs[name] for name, data in contents(one).items())


def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    folder = tmp_path / "pki"
    folder.mkdir(mode=0o755)
    assert create(str(folder)).exit_code == 0
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_every_file_says_that_it_is_a_test(tmp_path: Path) -> None:
    result = create(str(tmp_path / "pki"))
    assert "TEST ONLY" in result.output
    for name, data in contents(tmp_path / "pki").items():
        assert data.removeprefix(b"# ").startswith(b"TEST ONLY\n"), name


def test_the_keys_are_read_back_as_they_were_issued(tmp_path: Path) -> None:
    assert create(str(tmp_path / "pki")).exit_code == 0
    store = load_keys(tmp_path / "pki")
    assert len(store) == len(issued())
    for eui64 in (ACB_EUI64, WAN_PROVIDER_EUI64, SUPPLIER_EUI64, CHF_EUI64, PPMID_EUI64):
        for use in KeyUse:
            assert store.certificate(eui64, use) == issued().certificate(eui64, use)
            ours, theirs = store.private_key(eui64, use), issued().private_key(eui64, use)
            assert (ours and ours.private_numbers()) == (theirs and theirs.private_numbers())


def test_the_authorities_of_key_establishment_are_those_of_a_run_with_that_seed(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "pki"
    assert create(str(folder), "--seed", "7").exit_code == 0
    for suite, curve in ((SUITE_163K1, "163k1"), (SUITE_283K1, "283k1")):
        lines = [(folder / f"zse-ca-{curve}.{kind}").read_text().split() for kind in ("pub", "key")]
        assert [line[:2] for line in lines] == [["TEST", "ONLY"]] * 2
        public_key, private_key = (bytes.fromhex(line[2]) for line in lines)
        authority = CertificateAuthority(suite, TEST_ISSUER, private_key)
        assert authority.public_key == public_key
        # a device's identity of that run is one of this authority's
        own = TestAuthorities(lambda name: Seeds(7).stream(name).getrandbits).issue(suite, 0x55)
        assert own.fields.issuer == TEST_ISSUER
        assert private_key_matches(suite, own.certificate, public_key, own.private_key)


def test_epoch_and_days_are_in_the_certificates(tmp_path: Path) -> None:
    arguments = ("--epoch", "2027-03-01T12:00:00+01:00", "--days", "2")
    assert create(str(tmp_path / "pki"), *arguments).exit_code == 0
    certificate = parse_pem_certificate((tmp_path / "pki" / "root.pem").read_bytes())
    assert certificate.not_before.isoformat() == "2027-03-01T11:00:00+00:00"
    assert certificate.not_after.isoformat() == "2027-03-03T10:59:59+00:00"


@pytest.mark.parametrize("epoch", ["yesterday", "2026-01-01T00:00:00", "1999-12-31T23:59:59Z"])
def test_an_epoch_that_is_none_is_a_wrong_request(tmp_path: Path, epoch: str) -> None:
    result = create(str(tmp_path / "pki"), "--epoch", epoch)
    assert result.exit_code == 2
    assert not (tmp_path / "pki").exists()


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    result = create(str(tmp_path))
    assert isinstance(result.exception, HanbenchError)
    assert result.exception.exit_code == 2
    assert "not empty" in str(result.exception)
    assert contents(tmp_path) == {"mine.txt": b"mine"}
    result = create(str(tmp_path / "mine.txt"))
    assert isinstance(result.exception, HanbenchError)
    assert "is a file" in str(result.exception)
