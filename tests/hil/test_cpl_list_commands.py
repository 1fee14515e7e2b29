"""`hanbench cpl list|import|export|remove|notices|eligible|applicability`: the list as a whole."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dsp_stub.cpl import Cpl, CplStatus
from dsp_stub.inventory import Inventory
from dsp_stub.options import DATABASE_FILE, OPTIONS_FILE
from dsp_stub.smi import DeviceStatus, DeviceType, SmiDevice
from dsp_stub.store import Store
from dsp_stub.updates import Updates
from hil.cpl_list_commands import cpl_group
from hil.errors import RequestError

HEADING = (
    "device_type,manufacturer,model_id,hardware_version,hardware_revision,firmware_version,"
    "smets_chts_version,gbcs_version,status,image_hash,certificates\n"
)
LINE = "PPMID,12:1D,00:84,11,11,00:01:02:00,PPMIDTS V4.4,4.1,Current,,ZigBee 2030-12-31 ZIG-1\n"
SMETS1 = "PPMID,12:1D,00:84,11,11,00:01:02:00,SMETS V1.2,1.0,Current,,\n"
NAMED = (
    "--manufacturer", "121d", "--model", "00841111", "--firmware-version", "00010200",
    "--smets-version", "PPMIDTS V4.4", "--gbcs-version", "4.1",
)  # fmt: skip


def run(command: str, folder: Path, *arguments: object) -> Result:
    words = [command, "--data", str(folder), *map(str, arguments)]
    return CliRunner().invoke(cpl_group, words, prog_name="hanbench")


def done(command: str, folder: Path, *arguments: object) -> str:
    result = run(command, folder, *arguments)
    assert result.exit_code == 0, result.output + str(result.exception)
    return result.stdout


def refused(result: Result, words: str) -> None:
    assert isinstance(result.exception, RequestError), result.exception
    assert words in str(result.exception)
    assert "\n" not in str(result.exception)


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.requirement("CPL-ENTRY", "good")
@pytest.mark.parametrize("suffix", ["csv", "json"])
def test_a_list_goes_out_and_comes_in_elsewhere(tmp_path: Path, suffix: str) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
    done("import", one, written(tmp_path / "list.csv", HEADING + LINE))
    assert "1 entries" in done("export", one, "-o", tmp_path / f"out.{suffix}")
    assert "1 entries added" in done("import", other, tmp_path / f"out.{suffix}")
    assert done("list", one) == done("list", other)
    assert "Current  PPMID  12:1D, 00:84, 11, 11, 00:01:02:00, PPMIDTS V4.4" in done("list", one)


@pytest.mark.requirement("CPL-ENTRY", "good", "bad")
def test_an_import_is_whole_or_not_at_all(tmp_path: Path) -> None:
    good = LINE.replace("00:01:02:00", "00:01:03:00")
    file = written(tmp_path / "list.csv", HEADING + LINE + good + SMETS1)
    refused(run("import", tmp_path, file), "list.csv, line 4: 12:1D, 00:84")
    assert done("list", tmp_path) == "0 entries\n"
    written(file, HEADING + LINE)
    done("import", tmp_path, file)
    written(file, HEADING + good + LINE)
    refused(run("import", tmp_path, file), "line 3: the CPL has 12:1D")
    assert done("list", tmp_path).endswith("1 entries\n")
    assert "1 entries added" in done("import", tmp_path, "--skip-held", file)
    amended = LINE.replace("ZIG-1", "ZIG-2")
    written(file, HEADING + amended)
    refused(run("import", tmp_path, "--skip-held", file), "no entry is amended")


@pytest.mark.requirement("MP202-R3", "good", "bad")
def test_smets1_is_the_dccs_and_on_the_epcl(tmp_path: Path) -> None:
    file = written(tmp_path / "list.csv", HEADING + SMETS1)
    refused(run("import", tmp_path, file), "only the DCC")
    refused(run("import", tmp_path, "--submitted-by", "dcc", file), "not on the EPCL")
    product = ("--manufacturer", "121d", "--model", "00841111", "--firmware-version", "00010200")
    assert done("eligible", tmp_path, *product) == "121D  00841111  00010200\n"
    refused(run("eligible", tmp_path, "--manufacturer", "121D"), "model '' is not 8 digits")
    done("import", tmp_path, "--submitted-by", "dcc", file)
    new = ("--initial", *product[:4], "--firmware-version", "00010300")
    smets1 = ("--smets-version", "SMETS V1.2", "--gbcs-version", "1.0")
    refused(run("add", tmp_path, *new, *smets1), "only the DCC")


@pytest.mark.requirement("CPL-CERT", "good")
def test_certificates_may_be_required(tmp_path: Path) -> None:
    written(tmp_path / OPTIONS_FILE, '[options]\nassurance = "required"\n')
    new = (
        "--initial", "--manufacturer", "121D", "--model", "00841111",
        "--firmware-version", "00010300",
    )  # fmt: skip
    refused(run("add", tmp_path, *new), "lacks a valid certificate of ZigBee")
    refused(run("add", tmp_path, *new, "--certificate", "ZigBee"), "is no certificate such as")
    said = done("add", tmp_path, *new, "--certificate", "ZigBee 2999-12-31", "--json")
    assert json.loads(said)["certificates"] == ["ZigBee 2999-12-31"]


@pytest.mark.requirement("CPL-CERT", "good")
def test_notices_are_told_for_any_day(tmp_path: Path) -> None:
    done("import", tmp_path, written(tmp_path / "list.csv", HEADING + LINE))
    assert done("notices", tmp_path, "--on", "2029-12-30") == "0 notices\n"
    assert "within 12 months" in done("notices", tmp_path, "--on", "2029-12-31")
    (row,) = json.loads(done("notices", tmp_path, "--on", "2030-07-01", "--json"))
    assert (row["within_months"], row["expires"]) == (6, "2030-12-31")
    assert "has expired" in done("notices", tmp_path, "--on", "2031-01-01")


@pytest.mark.requirement("CPL-CERT", "bad")
def test_removal_is_an_explicit_act_and_flags_what_is_in_flight(tmp_path: Path) -> None:
    done("import", tmp_path, written(tmp_path / "list.csv", HEADING + LINE))
    now = datetime(2026, 1, 1, tzinfo=UTC)
    with Store(tmp_path / DATABASE_FILE) as store, store.transaction():
        Inventory(store).add(
            SmiDevice(
                device_id=7,
                device_type=DeviceType.PPMID,
                status=DeviceStatus.WHITELISTED,
                manufacturer="121D",
                model="00841111",
            )
        )
        Updates(store).start("1:2:3", [7], [8], "", 0x00010200, now, now, now)
    said = done("remove", tmp_path, *NAMED)
    assert said.splitlines()[1].startswith("flagged: the update of 0000000000000007")
    with Store(tmp_path / DATABASE_FILE) as store:
        assert [one.status for one in Cpl(store).find()] == [CplStatus.REMOVED]
    refused(run("remove", tmp_path, *NAMED), "is Removed from the CPL already")
    assert done("list", tmp_path, "--status", "Current") == "0 entries\n"


@pytest.mark.requirement("CPL-APPL", "good")
def test_applicability_tables_go_out_and_come_in(tmp_path: Path) -> None:
    assert "PPMIDTS V4.4: IVP 2021-11-04 to further notice" in done("applicability", tmp_path)
    out = tmp_path / "tables.csv"
    done("applicability", tmp_path, "-o", out)
    text = out.read_text().replace("PPMIDTS V4.4,2021-11-04,", "PPMIDTS V4.4,2022-01-01,")
    written(out, text)
    assert "PPMIDTS V4.4: IVP 2022-01-01" in done("applicability", tmp_path, "--import", out)
    written(out, text.replace("2022-01-01,", "soon,"))
    refused(run("applicability", tmp_path, "--import", out), "line 3: 'soon' is no day")
    assert "PPMIDTS V4.4: IVP 2022-01-01" in done("applicability", tmp_path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    refused(run("import", tmp_path, tmp_path / "none.csv"), "none.csv cannot be read")
    bad = tmp_path / "bad.csv"
    bad.write_bytes(b"\xff\xfe")
    refused(run("import", tmp_path, bad), "bad.csv is no text in UTF-8")
    (tmp_path / DATABASE_FILE).write_bytes(b"x" * 1000)
    refused(run("list", tmp_path), "cannot be")
