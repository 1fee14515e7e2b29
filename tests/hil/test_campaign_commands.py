"""`hanbench campaign`: what it tells of the database of a DSP, and what it asks the DSP to do."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dsp_stub.campaigns import Campaigns, CampaignState
from dsp_stub.options import DATABASE_FILE
from dsp_stub.store import Store
from dsp_stub.updates import Updates, UpdateState
from hil.cli import cli
from hil.errors import RequestError

FIRST, SECOND = "90-B3:00-DB:1", "90-B3:00-DB:2"
DEVICES, HUBS = (0xA1, 0xA2, 0xA3), (0xB1, 0xB2, 0xB3)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def campaign(*words: object) -> Result:
    return CliRunner().invoke(cli, ["campaign", *map(str, words)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A campaign under way, one device of which is done after 90 s, and one in quarantine."""
    with Store(tmp_path / DATABASE_FILE) as store, store.transaction():
        campaigns, updates = Campaigns(store), Updates(store)
        for request_id, state in (
            (FIRST, CampaignState.STARTING),
            (SECOND, CampaignState.QUARANTINED),
        ):
            end = NOW + timedelta(days=7)
            campaigns.accept(
                request_id, 1, "11.4", "ab", "cd", 0x10200, DEVICES, HUBS, state, NOW, end, None
            )
        updates.start(FIRST, DEVICES[:2], HUBS[:2], "ab", 0x10200, NOW, NOW, NOW)
        found = campaigns.find(FIRST)
        assert found is not None
        campaigns.placed(found, 2)
        done = updates.open_update(DEVICES[0])
        assert done is not None
        updates.move(done, UpdateState.ACTIVATED, NOW + timedelta(seconds=90))
    return tmp_path


@pytest.mark.requirement("MP170-SLA", "good")
def test_progress_and_service_level_are_told(folder: Path) -> None:
    listed = json.loads(campaign("list", "--data", folder, "--json").stdout)
    assert [(one["request_id"], one["state"]) for one in listed] == [
        (FIRST, "starting"),
        (SECOND, "quarantined"),
    ]
    assert listed[0]["states"] == {"activated": 1, "requested": 1, "waiting": 1}
    shown = json.loads(campaign("show", FIRST, "--data", folder, "--json").stdout)
    assert [one["state"] for one in shown["progress"]] == ["activated", "requested"]
    assert shown["progress"][0]["device_id"] == "00-00-00-00-00-00-00-A1"
    level = shown["service_level"]
    assert (level["target_s"], level["told"]) == (86_400, 1)
    assert level["percentiles_s"]["95"] == 90.0


def test_people_read_the_same(folder: Path) -> None:
    said = campaign("list", "--data", folder).output
    assert f"{FIRST}  starting  3 device(s): 1 activated, 1 requested, 1 waiting" in said
    said = campaign("show", FIRST, "--data", folder).output
    assert "00-00-00-00-00-00-00-A1  activated" in said
    assert "N39 for 1 of 2" in said


@pytest.mark.requirement("MP170-ADT", "good")
def test_a_decision_is_in_the_database_for_the_dsp(folder: Path) -> None:
    assert campaign("release", SECOND, "--data", folder).exit_code == 0
    assert campaign("cancel", FIRST, "--data", folder).exit_code == 0
    with Store(folder / DATABASE_FILE) as store:
        states = [one.state for one in Campaigns(store).all()]
    assert states == [CampaignState.CANCELLING, CampaignState.RELEASED]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("release", FIRST), "only one that is quarantined can be released"),
        (("cancel", "x"), "there is no campaign of request x"),
        (("show", "x"), "there is no campaign of request x"),
    ],
)
def test_what_cannot_be_decided_is_said(folder: Path, words: tuple[str, str], says: str) -> None:
    told = campaign(*words, "--data", folder)
    assert isinstance(told.exception, RequestError)
    assert says in str(told.exception)


def test_a_folder_without_a_dsp_is_said(tmp_path: Path) -> None:
    told = campaign("list", "--data", tmp_path)
    assert isinstance(told.exception, RequestError)
    assert "no DSP has run in this folder yet" in str(told.exception)
    assert not (tmp_path / DATABASE_FILE).exists()
