"""From a bench file to sticks and devices: names, addresses, keys and rooms for images."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from emulator.zigbee.state import StackState
from hil.bench_file import Bench
from hil.clock import VirtualLoop
from hil.dcc import Dcc
from hil.errors import RequestError
from hil.evidence import Evidence
from hil.images import device_images
from hil.seeds import Seeds
from hil.wiring import Air, Keys, Wiring, require_buildable

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def bench(*kinds: str, **changes: Any) -> Bench:
    devices = [{"id": f"d-{kind}", "kind": kind, "image_size_bytes": 2048} for kind in kinds]
    return Bench.model_validate({"device": devices} | changes)


@pytest.fixture
def evidence(tmp_path: Path) -> Iterator[Evidence]:
    with Evidence(tmp_path / "ev", epoch=EPOCH) as folder:
        yield folder


def loop() -> VirtualLoop:
    running = asyncio.get_running_loop()
    assert isinstance(running, VirtualLoop)
    return running


def utc_now() -> datetime:
    return EPOCH


def nobody(*_: object) -> None:
    """Who hears of a run that is only wired up."""


def wire(made: Bench, evidence: Evidence) -> Wiring:
    dcc = Dcc(
        made,
        Seeds(made.seed),
        utc_now=utc_now,
        hold=contextlib.nullcontext,
        on_callback=nobody,
        on_refused=nobody,
        on_event=nobody,
        on_frame=nobody,
        on_log_entry=nobody,
    )
    return Wiring(
        made,
        device_images(made),
        loop(),
        evidence,
        dcc,
        utc_now=utc_now,
        on_hub_event=lambda _event: None,
        on_device_event=lambda _name, _event: None,
        on_power=nobody,
        on_action=nobody,
    )


async def test_every_stick_and_every_device_has_an_address_and_a_key_of_its_own(
    evidence: Evidence,
) -> None:
    wiring = wire(bench("ppmid", "bridge-1", "bridge-2"), evidence)
    assert wiring.air is not None
    eui64s = [StackState.from_json(ncp.stored).eui64 for ncp in wiring.air.sticks.values()]
    assert len(set(eui64s)) == 4
    assert all(eui64 >> 56 == 0x02 for eui64 in eui64s)  # locally administered
    keys = [device.build.link_key for device in wiring.devices.values()]
    assert len(set(keys)) == 3
    assert {len(key) for key in keys} == {16}
    assert wiring.settings.network_key not in keys
    await wiring.close()


async def test_keys_show_up_in_no_representation(evidence: Evidence) -> None:
    wiring = wire(bench("ppmid"), evidence)
    build = wiring.devices["d-ppmid"].build
    for text in (repr(wiring.keys), repr(build), repr(wiring.settings)):
        for key in (build.link_key, wiring.settings.network_key):
            assert key.hex() not in text
            assert repr(key) not in text
    await wiring.close()


def test_wireshark_gets_a_line_a_key() -> None:
    keys = Keys(bytes(16), {"ppmid": b"\xff" * 16})
    assert keys.wireshark() == (
        f'"{"00" * 16}","Normal","network"\n"{"ff" * 16}","Normal","link ppmid"\n'
    )


async def test_two_runs_in_one_process_have_sticks_of_their_own(tmp_path: Path) -> None:
    made = bench("ppmid")
    with (
        Evidence(tmp_path / "1", epoch=EPOCH) as first_folder,
        Evidence(tmp_path / "2", epoch=EPOCH) as second_folder,
    ):
        first = Air(made, Seeds(1), loop(), first_folder)
        second = Air(made, Seeds(1), loop(), second_folder)
        assert first.stick("hub") != second.stick("hub")
        first.close()
        second.close()


@pytest.mark.parametrize(
    ("limits", "slot_bytes"),
    [
        ({}, 768_000),
        ({"unit": "kb"}, 750_000),
        ({"image_kb": 10}, 10_240),
    ],
)
async def test_hub_and_device_have_room_for_what_the_limit_allows(
    evidence: Evidence, limits: dict[str, Any], slot_bytes: int
) -> None:
    wiring = wire(bench("ppmid", limits=limits), evidence)
    assert wiring.devices["d-ppmid"].build.slot_size_bytes == slot_bytes
    assert wiring.hub.ota._store.limit_bytes == slot_bytes
    await wiring.close()


async def test_a_limit_on_the_body_leaves_room_for_the_header(evidence: Evidence) -> None:
    wiring = wire(bench("ppmid", limits={"scope": "body"}), evidence)
    assert wiring.devices["d-ppmid"].build.slot_size_bytes > 768_000
    await wiring.close()


@pytest.mark.parametrize("kind", ["bridge-3", "bridge-4"])
def test_a_device_that_is_not_emulated_yet_is_named(kind: str) -> None:
    require_buildable(bench("ppmid", "bridge-1", "bridge-2"))
    with pytest.raises(RequestError, match=f"d-{kind}: a {kind} is not emulated yet, only ppmid"):
        require_buildable(bench("ppmid", kind))


async def test_real_radios_get_no_emulated_air_and_no_capture(
    evidence: Evidence, tmp_path: Path
) -> None:
    made = Bench.model_validate(
        {
            "hub": {"radio": "/dev/ttyUSB7"},
            "device": [{"id": "ppmid", "kind": "ppmid", "radio": "/dev/ttyUSB8"}],
        }
    )
    wiring = wire(made, evidence)
    assert wiring.air is None
    assert wiring.hub.node.url == "/dev/ttyUSB7"  # type: ignore[attr-defined]
    assert wiring.devices["ppmid"].build.radio_url == "/dev/ttyUSB8"
    assert not (tmp_path / "ev" / "air.pcapng").exists()
