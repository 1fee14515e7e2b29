"""`hanbench campaign`: how far the 11.4 of a DSP have come, and what an operator decides of them.

Source: MP170 (progress, anomaly detection, service level). A DSP that runs does what was decided
within seconds; one that does not, when it is started. Exit code 2 for what cannot be decided.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from dsp_stub.campaigns import Campaign, Campaigns, CampaignState
from dsp_stub.columns import time_text
from dsp_stub.errors import DspValueError
from dsp_stub.fields import eui64_to_xml
from dsp_stub.options import DATABASE_FILE
from dsp_stub.service_level import service_level
from dsp_stub.store import Store
from dsp_stub.updates import Updates
from hil.cpl_commands import load_dsp_file
from hil.errors import RequestError


@click.group("campaign")
def campaign_group() -> None:
    """Updates of a DSP: progress, service level, cancelling, quarantine."""


def _folder_option(command: Any) -> Any:
    return click.option(
        "--data",
        "folder",
        metavar="DIR",
        required=True,
        type=click.Path(path_type=Path, exists=True, file_okay=False),
        help="The folder of the DSP.",
    )(command)


def _json_option(command: Any) -> Any:
    return click.option("--json", "as_json", is_flag=True, help="One JSON document.")(command)


@campaign_group.command("list")
@_folder_option
@_json_option
def list_command(folder: Path, as_json: bool) -> None:
    """Every campaign: its state, and how many of its devices are where."""
    target_s = load_dsp_file(folder).options.service_level_s
    with _store(folder) as store:
        documents = [_document(store, one, target_s) for one in Campaigns(store).all()]
    if as_json:
        click.echo(json.dumps(documents, indent=2))
        return
    for one in documents:
        counts = ", ".join(f"{count} {state}" for state, count in one["states"].items())
        click.echo(f"{one['request_id']}  {one['state']}  {one['devices']} device(s): {counts}")


@campaign_group.command("show")
@click.argument("request_id", metavar="REQUESTID")
@_folder_option
@_json_option
def show_command(request_id: str, folder: Path, as_json: bool) -> None:
    """One campaign, device by device, and the time from the 11.4 to the N39."""
    target_s = load_dsp_file(folder).options.service_level_s
    with _store(folder) as store:
        campaign = Campaigns(store).find(request_id)
        if campaign is None:
            raise RequestError(f"there is no campaign of request {request_id}")
        document = _document(store, campaign, target_s)
        document["progress"] = [
            {"device_id": eui64_to_xml(one.device), "state": str(one.state)}
            for one in Updates(store).of_request(request_id)
        ]
    if as_json:
        click.echo(json.dumps(document, indent=2))
        return
    level = document["service_level"]
    click.echo(f"{request_id}  {document['state']}  version {document['firmware_version']}")
    for one in document["progress"]:
        click.echo(f"  {one['device_id']}  {one['state']}")
    times = ", ".join(f"{rank} %: {value:.0f} s" for rank, value in level["percentiles_s"].items())
    click.echo(
        f"  N39 for {level['told']} of {level['devices']}, {level['late']} later than "
        f"{target_s} s{'; ' + times if times else ''}"
    )


@campaign_group.command("cancel")
@click.argument("request_id", metavar="REQUESTID")
@_folder_option
def cancel_command(request_id: str, folder: Path) -> None:
    """End a campaign for every device whose hub does not have the image yet."""
    _ask_for(folder, request_id, CampaignState.CANCELLING)


@campaign_group.command("release")
@click.argument("request_id", metavar="REQUESTID")
@_folder_option
def release_command(request_id: str, folder: Path) -> None:
    """Let a quarantined campaign go."""
    _ask_for(folder, request_id, CampaignState.RELEASED)


def _ask_for(folder: Path, request_id: str, state: CampaignState) -> None:
    with _store(folder) as store:
        Campaigns(store).ask_for(request_id, state)
    click.echo(f"{request_id}  {state}: the DSP does it when it next looks")


def _document(store: Store, campaign: Campaign, target_s: int) -> dict[str, Any]:
    updates = Updates(store).of_request(campaign.request_id)
    states = Counter(str(one.state) for one in updates)
    if campaign.placed < campaign.device_count:
        states["waiting"] = campaign.device_count - campaign.placed
    level = service_level(store, target_s, datetime.now(UTC), campaign.request_id)
    return {
        "request_id": campaign.request_id,
        "state": str(campaign.state),
        "firmware_version": f"{campaign.firmware_version:08X}",
        "accepted_at": time_text(campaign.accepted_at),
        "deadline": time_text(campaign.deadline),
        "devices": campaign.device_count,
        "states": dict(sorted(states.items())),
        "service_level": {
            "target_s": target_s,
            "devices": level.devices,
            "told": level.told,
            "late": level.late,
            "percentiles_s": {str(rank): value for rank, value in level.percentiles_s.items()},
        },
    }


@contextmanager
def _store(folder: Path) -> Iterator[Store]:
    path = folder / DATABASE_FILE
    if not path.exists():
        shown = click.format_filename(path)
        raise RequestError(f"{shown} is not there: no DSP has run in this folder yet")
    try:
        with Store(path) as store:
            yield store
    except DspValueError as error:
        raise RequestError(str(error)) from None
