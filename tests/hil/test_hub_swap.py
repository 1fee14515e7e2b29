"""A hub is swapped for another (8.12.1), and who serves no tunnel is named and not updated."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from run_support import BRIDGE, NEW, PPMID, Event, bench, session

from dsp_stub.requests import RestoreHanDeviceLog, UpdateHanDeviceLog
from gbcs.device_log import DlmsResult, RemoveDeviceResult, RestoreLogResult
from hil.bench_file import Bench
from hil.errors import RequestError
from hil.judging import judge_device
from hil.session import Session, is_settled, payload_of
from hil.track import SWAPPED, Track

LIMIT_S = 7200.0
TUNNELLESS: Event = BRIDGE | {"id": "no-tunnel", "tunnel": False}


@asynccontextmanager
async def joined_session(made: Bench, folder: Path) -> AsyncIterator[Session]:
    """The devices are in the network, and the DSP knows under which keys."""
    async with session(made, folder) as home:
        for track in home.tracks.values():
            await home.switch_on(track)
            assert (await home.prenotify(track)).code == "I99"
            await added(home, track)
            home.let_join(track)
            await joined(home, track)
        assert await home.until(lambda: not unknown(home), LIMIT_S)
        yield home


def unknown(home: Session) -> list[int]:
    """Of whom the hub has not told the DSP under which key they are there."""
    return [eui64 for eui64, peer in home.wiring.hub.device_log.items() if not peer.hashed_key]


async def added(home: Session, track: Track) -> None:
    answer, is_in = await home.add_to_log(track)
    assert (answer.code, is_in) == ("I99", True)


async def joined(home: Session, track: Track) -> None:
    assert await home.until(lambda: track.joined, LIMIT_S)


async def restored(home: Session, old: int) -> DlmsResult:
    """8.12.1 at the hub that is there, and its answer."""
    hub = home.wiring.hub.node.eui64
    answer = await home.ask("8.12.1", RestoreHanDeviceLog(old), target=hub)
    assert answer.code == "I99"
    response, _ = await home.response(answer.request_id)
    assert response is not None
    payload = payload_of(response)
    assert isinstance(payload, RestoreLogResult)
    return payload.restore_pan


async def updated(home: Session, track: Track) -> str:
    """11.4, and what became of it."""
    answer = await home.ask_update(track.image.image, (track.eui64,))
    assert answer.code == "I99"
    await home.progress_until(lambda: is_settled(track), [track])
    return judge_device(track).outcome


def named_type_2(home: Session, track: Track) -> int:
    return home.witness.anomalies[track.device_id, "type 2"]


@pytest.mark.requirement("MP170-TCSO", "good", "bad")
async def test_who_serves_no_tunnel_is_lost_in_a_swap_until_it_is_struck_off_and_added_again(
    tmp_path: Path,
) -> None:
    async with joined_session(bench(BRIDGE, TUNNELLESS), tmp_path) as home:
        kept, lost = home.tracks["bridge-1"], home.tracks["no-tunnel"]
        old = home.wiring.hub.node.eui64
        # Before anything is done, the bench names who will be lost.
        assert home.wiring.hub.without_tunnel() == [lost.eui64]
        assert {kept.type_at_hub, lost.type_at_hub} == {"PPMID"}

        await home.swap_hub()
        assert home.wiring.hub.node.eui64 != old
        assert await restored(home, old) is DlmsResult.SUCCESS
        assert await home.until(lambda: kept.tunnel_up and bool(named_type_2(home, lost)), 86400)
        assert (kept.type_at_hub, lost.type_at_hub) == ("PPMID", "TYPE_2")
        assert not named_type_2(home, kept)

        started_s = home.witness.time_s()
        assert await updated(home, lost) == "not-updatable"
        assert home.witness.time_s() - started_s < 60, "nobody waits for a transfer that is none"
        assert not lost.started
        assert await updated(home, kept) == "activated"
        await home.read_back(kept)
        assert kept.smi_version == NEW

        body = UpdateHanDeviceLog(lost.eui64, "Remove")
        answer = await home.ask("8.11", body, target=home.wiring.hub.node.eui64)
        response, _ = await home.response(answer.request_id)
        assert response is not None
        assert isinstance(payload_of(response), RemoveDeviceResult)
        lost.renew(lost.image.image, lost.image.factory_version)
        lost.joined = False
        await added(home, lost)
        await joined(home, lost)
        assert lost.type_at_hub == "PPMID"
        answer = await home.ask_update(lost.image.image, (lost.eui64,))
        assert answer.code == "I99"
        assert await home.until(lambda: bool(lost.restarted and lost.transferred_event), LIMIT_S)
        # It runs it, and has no way to say so.
        assert judge_device(lost).outcome == "transferred-unconfirmed"


@pytest.mark.requirement("MP170-TCSO", "good", "bad")
async def test_an_update_that_a_swap_interrupts_is_discarded_and_begins_anew(
    tmp_path: Path,
) -> None:
    large = BRIDGE | {"image_size_bytes": 20_000}
    async with joined_session(bench(large), tmp_path) as home:
        track = home.tracks["bridge-1"]
        old = home.wiring.hub.node.eui64
        image, running = track.image.image, track.image.factory_version
        assert (await home.ask_update(image, (track.eui64,))).code == "I99"
        assert await home.until(lambda: track.offset_bytes > 5_000, LIMIT_S)
        await home.swap_hub()
        assert not track.transferred_event
        assert judge_device(track) == ("discarded", SWAPPED)
        code = (await home.ask_update(image, (track.eui64,))).code
        assert code == "E110403", "to the DSP it is under way until 8.12.1"

        assert await restored(home, old) is DlmsResult.SUCCESS
        track.renew(track.image.image, running)
        assert await home.until(lambda: track.tunnel_up, 86400)
        assert await updated(home, track) == "activated"
        await home.read_back(track)
        assert track.smi_version == NEW


async def test_a_hub_whose_power_goes_is_not_swapped(tmp_path: Path) -> None:
    made = bench(PPMID, fault=[{"kind": "power cut", "on": "hub", "at_s": 9e5}])
    async with joined_session(made, tmp_path) as home:
        with pytest.raises(RequestError, match="power stays on"):
            await home.swap_hub()
        assert home.wiring.hub.extended_pan_id
