"""Every frame of whatever RTDS download RTDS_DIR names, however its folders are called."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from gbcs_rig import write_scalars

from gbcs.codes import MESSAGES
from gbcs.envelope import Cra
from hil.frame_commands import frame_group
from hil.key_folder import load_keys

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def download() -> Path:
    """Not the fixture of the vectors: a download has neither their folders nor their index."""
    folder = (REPOSITORY / os.environ.get("RTDS_DIR", "../shared/vectors")).resolve()
    if not any(path.suffix.lower() == ".hex" for path in folder.rglob("*")):
        pytest.skip(f"{folder} holds no frames; RTDS_DIR names a download")
    return folder


@pytest.fixture(scope="module")
def all_keys(download: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every key of the download in one folder, and the organisations' that are kept as scalars."""
    folder = tmp_path_factory.mktemp("all-keys")
    for path in [*download.rglob("*.pem"), *download.rglob("*.key")]:
        (folder / path.name).write_bytes(path.read_bytes())
    for path in download.rglob("organisation-test-scalars.csv"):
        write_scalars(path, folder)
    return folder


@pytest.fixture(scope="module")
def rows(download: Path, all_keys: Path) -> list[dict[str, Any]]:
    arguments = ["decode", "--json", "--keys", str(all_keys), str(download)]
    result = CliRunner().invoke(frame_group, arguments)
    assert result.exit_code == 0, result.exception
    document: list[dict[str, Any]] = json.loads(result.stdout)
    assert len(document) == sum(path.suffix.lower() == ".hex" for path in download.rglob("*"))
    return document


def test_every_frame_is_decoded_and_nothing_in_it_is_invalid(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        assert row["error"] is None, row["file"]
        assert "invalid" not in (row["signature"], row["mac"]), row["file"]
        assert all(each["verdict"] == "valid" for each in row["attributes"]), row["file"]


def test_no_key_is_missing_but_between_two_devices(
    rows: list[dict[str, Any]], all_keys: Path
) -> None:
    store = load_keys(all_keys)
    for row in rows:
        if "no-key" in (row["signature"], row["mac"]):
            parties = (int(row["originator"], 16), int(row["recipient"], 16))
            assert all(store.is_device(eui64) for eui64 in parties), row["file"]


def test_every_frame_of_a_use_case_is_read_field_by_field(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        code, cra = int(row["message_code"], 16), Cra[row["cra"].upper()]
        if (code, cra) in MESSAGES:
            names = [each["name"] for each in row["fields"]]
            assert any(name.startswith("payload.") for name in names), row["file"]


def test_every_frame_is_built_again_octet_for_octet(rows: list[dict[str, Any]]) -> None:
    stripped = [
        row | {"payload": {k: v for k, v in row["payload"].items() if k != "octets"}}
        if len(set(row["payload"]) - {"octets", "lengths"}) > 0
        else row
        for row in rows
    ]
    result = CliRunner().invoke(frame_group, ["build", "-"], input=json.dumps(stripped))
    assert result.exit_code == 0, result.exception
    for row, built in zip(rows, result.stdout.split(), strict=True):
        text = "".join(Path(row["file"]).read_text("utf-8-sig").split())
        assert built == text.upper(), row["file"]
