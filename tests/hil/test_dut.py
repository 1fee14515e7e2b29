"""A device under test in a bench file, its power, and what it sends that nobody can read."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_support import small_image

from emulator.devices.models import OTA_UPGRADE
from emulator.devices.node import Received
from emulator.zigbee import ota, zcl
from emulator.zigbee.security import install_code_crc
from hil.bench_file import BUILT_IN, BenchFileError, load_bench
from hil.clock import RealClock
from hil.dut import PATIENCE_S, DeviceUnderTest, patience_of, with_civil_time
from hil.dut_options import PowerCommands
from hil.dut_power import CommandPower, PromptPower, power_of
from hil.errors import BenchBroke, RequestError
from hil.evidence import Evidence
from hil.images import device_images, image_back
from hil.journal import Journal
from hil.live import Live
from hil.ota_tap import Tap
from hil.stand_in import StandIn, relabelled
from hil.witness import MAX_OF_A_KIND, Witness

CODE = bytes(range(16))
DUT = f"""
[hub]
radio = "/dev/ttyUSB0"

[[device]]
id = "bridge"
kind = "bridge-1"
dut = true
eui64 = "00-DB-12-34-56-78-90-B1"
install_code = "{CODE.hex()}"
version = "00010100"
image = "new.ota"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "new.ota").write_bytes(small_image("bridge-1"))
    return tmp_path


def written(folder: Path, text: str) -> Path:
    path = folder / "bench.toml"
    path.write_text(text)
    return path


def test_a_device_under_test_has_no_radio_and_an_opaque_image(folder: Path) -> None:
    bench = load_bench(written(folder, DUT))
    (device,) = bench.devices
    assert device.eui64 == 0x00DB1234567890B1
    assert device.install_code == CODE
    assert CODE.hex() not in repr(bench)
    assert str(CODE) not in repr(bench)
    assert bench.radios == {"hub": "/dev/ttyUSB0"}
    assert bench.resolve_clock() == "real"
    image = device_images(bench)["bridge"]
    assert (image.policy, image.factory_version) == ("opaque", 0x00010100)
    assert image_back(bench, device) is None


def test_it_has_the_time_of_the_machine_and_is_not_waited_for_for_hours(folder: Path) -> None:
    bench = load_bench(written(folder, DUT))
    assert with_civil_time(bench).epoch > BUILT_IN.epoch
    said = load_bench(written(folder, 'epoch = "2026-02-03T04:05:06Z"\n' + DUT))
    assert with_civil_time(said).epoch == said.epoch
    assert with_civil_time(BUILT_IN) is BUILT_IN
    assert (patience_of(bench, None), patience_of(bench, 20.0)) == (PATIENCE_S, 20.0)
    assert (patience_of(BUILT_IN, None), patience_of(BUILT_IN, 20.0)) == (None, 20.0)


def test_the_crc_that_is_printed_on_a_device_may_be_there(folder: Path) -> None:
    printed = CODE + install_code_crc(CODE)
    bench = load_bench(written(folder, DUT.replace(CODE.hex(), printed.hex())))
    assert bench.devices[0].install_code == CODE


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('version = "00010100"', "", "device[0].version is missing: a device under test needs it"),
        ('radio = "/dev/ttyUSB0"', "", "hub.radio is emulated: it cannot hear it"),
        ("dut = true", 'dut = true\nradio = "/dev/ttyS1"', "has a radio of its own; leave it out"),
        (CODE.hex(), CODE.hex() + "0000", "18 with their CRC"),
        ("dut = true", 'dut = true\nclaims = ["flies"]', "verifies-images"),
        ("dut = true", 'dut = true\npower = "luck"', '"prompt", "labgrid:PLACE"'),
        ("dut = true", 'dut = true\nimage_back = "old.ota"', "there is no such file"),
        ("dut = true", 'dut = true\ncertificates = "nowhere"', "there is no such folder"),
        ("00-DB-12", "00-DB-XX", "an EUI-64 such as"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(
    folder: Path, old: str, new: str, sentence: str
) -> None:
    with pytest.raises(BenchFileError) as raised:
        load_bench(written(folder, DUT.replace(old, new, 1)))
    assert sentence in str(raised.value)
    assert CODE.hex() not in str(raised.value).replace(CODE.hex() + "0000", "")


def test_its_keys_alone_make_no_device_under_test(folder: Path) -> None:
    text = DUT.replace("dut = true\n", "").replace('radio = "/dev/ttyUSB0"', "")
    with pytest.raises(BenchFileError, match="eui64 is for a device under test: say dut = true"):
        load_bench(written(folder, text))


def test_a_folder_without_its_certificates_says_which(folder: Path) -> None:
    (folder / "keys").mkdir()
    text = DUT.replace("dut = true", 'dut = true\ncertificates = "keys"')
    (entry,) = load_bench(written(folder, text)).devices
    with pytest.raises(RequestError, match=r"00db1234567890b1-ds\.pem"):
        DeviceUnderTest(entry, lambda _what, _answer: None).certificates()


# -- power ---------------------------------------------------------------------------------------


class Table:
    """Who is told what was done."""

    def __init__(self) -> None:
        self.done: list[tuple[str, str]] = []

    def __call__(self, what: str, answer: str) -> None:
        self.done.append((what, answer))


async def test_somebody_at_the_table_answers_from_a_pipe() -> None:
    table, shown = Table(), io.StringIO()
    power = PromptPower("dut", table, answers=io.StringIO("\nred lamp\nn\n"), shown=shown)
    await power.on()
    await power.off()
    with pytest.raises(BenchBroke, match="it cannot be done"):
        await power.on()
    with pytest.raises(BenchBroke, match="nobody answers"):
        await power.off()
    assert table.done == [
        ("switch dut on", "done"),
        ("switch dut off", "red lamp"),
        ("switch dut on", "n"),
    ]
    assert "[ ] switch dut off, then Enter" in shown.getvalue()


@pytest.mark.real_clock
async def test_a_command_switches_and_what_it_starts_goes_on(tmp_path: Path) -> None:
    table, mark = Table(), tmp_path / "pid"
    power = CommandPower(
        "dut",
        PowerCommands(on=f"sleep 60 & echo $! >{mark}", off=f"kill $(cat {mark}); exit 3"),
        table,
    )
    await power.on()
    with pytest.raises(BenchBroke, match="failed with 3"):
        await power.off()
    assert table.done == [("switch dut on", "exit code 0"), ("switch dut off", "exit code 3")]


@pytest.mark.real_clock
async def test_a_labgrid_place_is_switched_by_its_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = tmp_path / "labgrid-client"
    client.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/asked\n')
    client.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    power = power_of("dut", "labgrid:bench-3", Table())
    await power.on()
    await power.off()
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked == ["-p bench-3 power on", "-p bench-3 power off"]


# -- what it sends -------------------------------------------------------------------------------


@given(st.binary(max_size=80), st.booleans(), st.sampled_from([OTA_UPGRADE, 0x0704, 0]))
def test_hostile_octets_never_crash_the_tap(octets: bytes, encrypted: bool, cluster: int) -> None:
    async def hear() -> None:
        tap = Tap(lambda: None)
        tap.stand_in = StandIn(1, bytes(100), (1, 2, 3))
        answer = tap.device_says(Received(1, cluster, 1, 2, octets, encrypted))
        assert answer is None or zcl.parse(answer).is_from_server
        assert len(tap.unreadable) <= 1

    asyncio.run(hear())


async def test_who_says_what_is_wrong_for_ever_does_not_fill_the_evidence(tmp_path: Path) -> None:
    clock = RealClock(asyncio.get_running_loop())
    live = Live("virtual", silent=True)
    with Evidence(tmp_path / "e", epoch=BUILT_IN.epoch) as evidence:
        witness = Witness({}, Journal(), clock, evidence, live)
        for _ in range(3 * MAX_OF_A_KIND):
            witness.anomaly(None, "malformed", "two octets")
        witness.anomaly(None, "stray", "cluster 0019 of profile 0104")
    lines = (tmp_path / "e" / "events.jsonl").read_text().splitlines()
    assert len(lines) == MAX_OF_A_KIND + 1
    assert "counted alone" in lines[-2]
    assert witness.anomalies[None, "malformed"] == 3 * MAX_OF_A_KIND


@given(st.integers(0, 2**32 - 1), st.integers(0, 255), st.integers(0, 2**32 - 1))
def test_the_stand_in_serves_every_request_or_refuses_it(at: int, most: int, version: int) -> None:
    data = relabelled(small_image("ppmid"), version)
    server = StandIn(1, data, (0x121D, 0x84, version))
    request = ota.ImageBlockRequest(0x121D, 0x84, version, at, most)
    answer = server(1, request)
    assert answer is not None
    assert ota.build(answer)
    if isinstance(answer, ota.ImageBlockResponse):
        assert answer.data == data[at : at + len(answer.data)]
        assert len(answer.data) <= most
    assert server(2, request) is None
