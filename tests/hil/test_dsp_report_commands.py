"""`hanbench dsp report`: on the terminal and as files, and AltHANCo's inventory coming in."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dsp_stub.inventory import Inventory
from dsp_stub.options import DATABASE_FILE
from dsp_stub.reports import COLUMNS
from dsp_stub.smi import DeviceStatus, DeviceType, PpmidVariant, SmiDevice
from dsp_stub.store import Store
from dsp_stub.updates import Updates
from hil.dsp_command import dsp_command
from hil.errors import RequestError

BRIDGE, HUB = 0x00DB1234567890B1, 0x00DB1234567890A2
NOW = datetime(2026, 1, 31, 23, tzinfo=UTC)
HEADING = "device_id,variant,manufacturer,model,firmware_version\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with Store(tmp_path / DATABASE_FILE) as store, store.transaction():
        Inventory(store).add(
            SmiDevice(
                device_id=BRIDGE,
                device_type=DeviceType.PPMID,
                status=DeviceStatus.WHITELISTED,
                manufacturer="A17A",
                model="0A010101",
                firmware_version="00010100",
                ppmid_variant=PpmidVariant.BRIDGE_1,
                chf=HUB,
            )
        )
        updates = Updates(store)
        request_id = "90-B3-D5-1F-30-01-00-00:90-B3-D5-1F-30-00-00-02:1"
        later = NOW + timedelta(hours=2)
        for moment in (NOW, later):
            updates.start(request_id, [BRIDGE], [HUB], "aa", 0x00010200, moment, moment, moment)
    return tmp_path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(dsp_command, ["report", *map(str, arguments)], prog_name="dsp")


def said(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output + str(result.exception)
    assert result.stderr == ""
    return result.stdout


def refused(result: Result, words: str) -> None:
    assert isinstance(result.exception, RequestError), result.exception
    assert words in str(result.exception)
    assert "\n" not in str(result.exception)
    assert result.output == ""


@pytest.mark.requirement("MP170-R4", "good")
@pytest.mark.parametrize("name", [*COLUMNS, "esi-034i", "discrepancies"])
def test_a_report_is_csv_or_json_on_the_terminal_or_in_a_file(
    folder: Path, tmp_path: Path, name: str
) -> None:
    rows = list(csv.DictReader(io.StringIO(said(name, "--data", folder))))
    assert json.loads(said(name, "--data", folder, "--json")) == rows
    for suffix in ("csv", "json"):
        file = tmp_path / f"out.{suffix}"
        assert said(name, "--data", folder, "-o", file).startswith(f"{len(rows)} rows in ")
        text = file.read_text()
        read = json.loads(text) if suffix == "json" else list(csv.DictReader(io.StringIO(text)))
        assert read == rows


@pytest.mark.requirement("MP170-R4", "good")
def test_a_month_is_cut_in_utc(folder: Path) -> None:
    def count(name: str, month: str) -> int:
        return len(json.loads(said(name, "--data", folder, "--month", month, "--json")))

    assert [count("attempts", month) for month in ("2025-12", "2026-01", "2026-02")] == [0, 1, 1]
    assert count("esi-034i", "2026-02") == 1
    assert count("esi-034i", "2026-03") == 0
    (version, _) = json.loads(said("monthly", "--data", folder, "--month", "2026-01", "--json"))
    assert (version["variant"], version["in_progress"]) == ("AltHAN Bridge 1", "1")


def test_the_log_of_one_device_is_found_by_either_form_of_its_id(folder: Path) -> None:
    for device in ("00DB1234567890B1", "00-DB-12-34-56-78-90-b1"):
        assert len(said("log", "--data", folder, "--device", device).splitlines()) == 3
    refused(run("log", "--data", folder, "--device", "B1"), "'B1' is no EUI-64")


@pytest.mark.requirement("MP170-R3", "good", "bad")
def test_althancos_inventory_comes_in_whole_or_not_at_all(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "theirs.csv"
    line = "00DB1234567890B1,AltHAN Bridge 2,A17A,0A010101,00010100\n"
    file.write_text(HEADING + line)
    assert "1 bridges from" in said("import", "--data", folder, file)
    before = said("discrepancies", "--data", folder)
    assert "differs,variant,AltHAN Bridge 2,AltHAN Bridge 1" in before
    file.write_text(HEADING + line.replace("Bridge 2", "Bridge 1") + "nonsense,,,,\n")
    refused(run("import", "--data", folder, file), "theirs.csv, line 3: variant is missing")
    assert said("discrepancies", "--data", folder) == before, "nothing was taken over"


def test_a_dsp_without_a_folder_says_so() -> None:
    result = CliRunner().invoke(dsp_command, [], prog_name="dsp")
    assert result.exit_code == 2
    assert "Missing option '--data'" in result.output
