"""Folders of keys as others keep them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from gbcs.protection import KeyUse
from gbcs.smki import SUPPLIER_EUI64
from hil import key_folder
from hil.errors import HanbenchError
from hil.key_folder import key_name, load_keys, replace_file
from hil.pki_commands import pki_group

NAME = key_name(SUPPLIER_EUI64, KeyUse.DIGITAL_SIGNATURE)


def made(folder: Path, seed: int = 1) -> Path:
    result = CliRunner().invoke(pki_group, ["create", str(folder), "--seed", str(seed)])
    assert result.exit_code == 0
    return folder


def test_a_key_is_found_by_its_name_wherever_it_lies(tmp_path: Path) -> None:
    one = made(tmp_path / "one")
    apart = tmp_path / "apart"
    for home, suffix in (("of parties/a", "pem"), ("Private Keys", "key")):
        (apart / home).mkdir(parents=True)
        shutil.copy(one / f"{NAME}.{suffix}", apart / home / f"{NAME}.{suffix}".upper())
    store = load_keys(apart)
    assert len(store) == 1
    assert store.private_key(SUPPLIER_EUI64, KeyUse.DIGITAL_SIGNATURE) is not None


def test_of_two_certificates_of_one_name_the_first_counts_and_the_other_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = tmp_path / "both"
    for home, seed in (("a", 1), ("b", 2), ("c", 1)):
        (both / home).mkdir(parents=True)
        source = made(tmp_path / f"{home} {seed}", seed)
        for suffix in ("pem", "key"):
            shutil.copy(source / f"{NAME}.{suffix}", both / home)
    store = load_keys(both)
    first = load_keys(both / "a")
    place = (SUPPLIER_EUI64, KeyUse.DIGITAL_SIGNATURE)
    assert store.certificate(*place) == first.certificate(*place)
    assert store.private_key(*place) is not None
    complaints = capsys.readouterr().err.splitlines()
    assert len(complaints) == 1  # the same one again is no other
    assert f"b/{NAME}.pem left out: another certificate" in complaints[0]


def test_a_folder_of_everything_is_no_folder_of_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_folder, "MAX_FILES", 3)
    for number in range(4):
        (tmp_path / f"{number}").touch()
    with pytest.raises(HanbenchError, match="more than 3 files"):
        load_keys(tmp_path)
    with pytest.raises(HanbenchError, match="cannot be read"):
        load_keys(tmp_path / "none")


def test_what_a_run_that_was_cut_short_left_is_in_nobodys_way(tmp_path: Path) -> None:
    path = tmp_path / "issuing.crl"
    (tmp_path / "issuing.crl.new").write_bytes(b"half")
    replace_file(path, b"one")
    replace_file(path, b"another")
    assert path.read_bytes() == b"another"
    assert list(tmp_path.iterdir()) == [path]
