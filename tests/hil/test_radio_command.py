"""`hanbench radio`: sticks for other programs, from the first line to a clean end."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import signal
import socket
import stat
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import bellows.ezsp
import bellows.types as t
import pytest
from bellows.zigbee.application import ControllerApplication
from bench_support import hanbench, start_hanbench

from emulator.medium.pcapng import read_pcapng
from emulator.zigbee import nwk
from emulator.zigbee.state import StackState

pytestmark = pytest.mark.real_clock

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    processes: list[subprocess.Popen[str]] = []

    def call(*arguments: object, **options: Any) -> subprocess.Popen[str]:
        process = start_hanbench("radio", *arguments, **options)
        processes.append(process)
        return process

    yield call
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=30)


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def connect(url: str) -> socket.socket:
    host, _, port = url.removeprefix("tcp://").rpartition(":")
    return socket.create_connection((host, int(port)), timeout=30)


def sticks_of(process: subprocess.Popen[str], count: int = 1) -> list[dict[str, Any]]:
    return [json.loads(line_of(process)) for _ in range(count)]


def stop(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> None:
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")


@asynccontextmanager
async def host(url: str) -> AsyncIterator[Any]:
    """bellows with a stick open."""
    ezsp = bellows.ezsp.EZSP({"path": url, "baudrate": 115200, "flow_control": None})
    await ezsp.connect(use_thread=False)
    try:
        yield ezsp
    finally:
        await ezsp.disconnect()


def network_counters(capture: bytes) -> list[int]:
    """The NWK counters of every secured frame on the air, in the order they were sent."""
    counters = []
    for _, psdu in read_pcapng(capture):
        if psdu[0] & 0x07 == 1:  # MAC data: nine octets of header before the network's
            header = nwk.parse(psdu[9:-2])
            if header.secured:
                counters.append(nwk.parse_auxiliary(psdu[9:-2], header.header_octets)[0])
    return counters


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("with_host", [False, True], ids=["alone", "with a host"])
def test_it_ends_cleanly_when_told_to(start: Start, number: int, with_host: bool) -> None:
    process = start("--listen", "tcp://127.0.0.1:0", "--json")
    stick = json.loads(line_of(process))
    host = connect(stick["url"]) if with_host else None
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "", "")
    if host is not None:
        host.close()


@pytest.mark.parametrize("version", [13, 14])
def test_each_stick_is_a_line_with_all_a_host_needs(start: Start, version: int) -> None:
    listen = ["--listen", "tcp://127.0.0.1:0"]
    process = start(*listen, *listen, "--ezsp", version, "--json")
    sticks: list[dict[str, Any]] = [json.loads(line_of(process)) for _ in range(2)]
    assert [stick["stick"] for stick in sticks] == ["stick-1", "stick-2"]
    assert {stick["ezsp"] for stick in sticks} == {version}
    assert len({stick["eui64"] for stick in sticks}) == len({stick["url"] for stick in sticks}) == 2
    for stick in sticks:
        assert len(stick["eui64"]) == 16
        with connect(stick["url"]) as host:
            host.sendall(bytes.fromhex("1A C0 38 BC 7E"))  # CANCEL, RST
            answer = b""
            while not answer.endswith(b"\x7e"):
                answer += host.recv(64)
            # RSTACK of version 2, reset by software: UG101, with its CRC
            assert answer == bytes.fromhex("1A C1 02 0B 0A 52 7E")


def test_without_json_it_is_a_line_for_people(start: Start) -> None:
    process = start("--listen", "tcp://127.0.0.1:0")
    words = line_of(process).split()
    assert words[0] == "stick-1"
    assert words[1].startswith("tcp://127.0.0.1:")
    assert words[2:] == ["EUI-64", words[3], "EZSP", "14"]


def test_a_port_that_is_taken_is_said_in_one_sentence(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = start("--listen", "tcp://127.0.0.1:0", "--listen", f"tcp://127.0.0.1:{port}")
        _, err = process.communicate(timeout=30)
    assert process.returncode == 3
    assert err.count("\n") == 1
    assert err.startswith(f"hanbench: tcp://127.0.0.1:{port} cannot be listened on: ")


def test_a_host_beyond_this_machine_is_refused_unless_allowed(start: Start) -> None:
    process = start("--listen", "tcp://0.0.0.0:0")
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (2, "")
    assert "--allow-remote" in err
    assert err.count("\n") == 1
    allowed = start("--listen", "tcp://0.0.0.0:0", "--allow-remote", "--json")
    assert json.loads(line_of(allowed))["url"].startswith("tcp://0.0.0.0:")


def test_noise_from_a_host_costs_no_traceback(start: Start) -> None:
    process = start("--listen", "tcp://127.0.0.1:0", "--json")
    url = json.loads(line_of(process))["url"]
    with connect(url) as host:
        host.sendall(bytes(range(256)) * 20 + b"\x7e")
        host.sendall(bytes.fromhex("1A C0 38 BC 7E"))
        answer = b""
        while bytes.fromhex("C1 02 0B 0A 52 7E") not in answer:
            answer += host.recv(64)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")


# -- pseudo-terminals ------------------------------------------------------------------------------


async def test_a_stick_at_a_terminal_is_a_file_a_host_opens(start: Start, tmp_path: Path) -> None:
    process = start("--listen", f"pty://{tmp_path}/hub", "--json")
    (stick,) = sticks_of(process)
    assert stick["url"] == str(tmp_path / "hub")
    for _ in range(3):  # hosts come and go
        async with host(stick["url"]) as ezsp:
            (eui64,) = await ezsp.getEui64()
            assert eui64.serialize()[::-1].hex().upper() == stick["eui64"]
    stop(process)
    assert list(tmp_path.iterdir()) == []


async def test_a_bare_name_is_announced_with_its_folder(start: Start, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    environment = {"XDG_RUNTIME_DIR": str(tmp_path / "run")}
    process = start("--listen", "pty://hub", "--json", env=environment)
    (stick,) = sticks_of(process)
    assert stick["url"] == str(tmp_path / "run" / "hanbench" / "hub")
    async with host(stick["url"]):
        pass
    stop(process)


@pytest.mark.matrix
async def test_a_killed_radio_s_terminals_are_taken_over(start: Start, tmp_path: Path) -> None:
    url = f"pty://{tmp_path}/hub"
    process = start("--listen", url, "--json")
    sticks_of(process)
    process.kill()
    process.wait(timeout=30)
    assert (tmp_path / "hub").is_symlink()
    process = start("--listen", url, "--json")
    (stick,) = sticks_of(process)
    async with host(stick["url"]):
        pass
    stop(process)


def test_a_file_at_the_terminal_s_place_is_left_alone(start: Start, tmp_path: Path) -> None:
    (tmp_path / "hub").write_text("mine")
    process = start("--listen", f"pty://{tmp_path}/hub")
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err.count("\n")) == (2, "", 1)
    assert (tmp_path / "hub").read_text() == "mine"


# -- memory ----------------------------------------------------------------------------------------


@pytest.mark.matrix
async def test_two_sticks_go_on_where_they_were_whatever_stopped_them(
    start: Start, tmp_path: Path
) -> None:
    options = ["--listen", "tcp://127.0.0.1:0", "--listen", f"pty://{tmp_path}/meter"]
    options += ["--state", tmp_path / "hub.json", "--state", f"stick-2={tmp_path}/meter.json"]
    options += ["--eui64", "stick-2=0011223344556677", "--eui64", "02:48:4E:42:00:00:00:01"]
    options += ["--profile", "coordinator", "--profile", "router", "--strict", "--json"]
    known: list[list[dict[str, Any]]] = []
    for signal_ in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        process = start(*options)
        known.append(sticks_of(process, 2))
        hub, meter = known[-1]
        assert (hub["eui64"], meter["eui64"]) == ("02484E4200000001", "0011223344556677")
        async with host(hub["url"]) as at_hub, host(meter["url"]) as at_meter:
            for ezsp in (at_hub, at_meter):
                with ezsp.wait_for_stack_status(t.sl_Status.NETWORK_UP) as up:
                    assert await ezsp.initialize_network() == t.sl_Status.OK
                    await up
            # the meter asks the hub for its active endpoints: both are in one network
            answered = asyncio.get_running_loop().create_future()

            def told(name: str, arguments: list[Any], answered: Any = answered) -> None:
                if name == "incomingMessageHandler" and not answered.done():
                    answered.set_result(arguments)

            at_meter.add_callback(told)
            aps = t.EmberApsFrame(0, 0x0005, 0, 0, t.EmberApsOption.APS_OPTION_RETRY, 0, 0)
            await at_meter._protocol.send_unicast(0x0000, aps, 1, b"\x01\x00\x00")
            async with asyncio.timeout(20):
                await answered
        if signal_ == signal.SIGKILL:
            process.kill()
            process.wait(timeout=30)
        else:
            stop(process, signal_)
        for name in ("hub", "meter"):
            path = tmp_path / f"{name}.json"
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            StackState.from_json(path.read_text())
    assert sorted(one.name for one in tmp_path.iterdir()) == ["hub.json", "meter.json"]


@pytest.mark.matrix
async def test_counters_never_go_back_however_often_the_radio_is_killed(
    start: Start, tmp_path: Path
) -> None:
    """zigpy forms; the radio is killed at moments nobody chose; network and counters go on."""
    chance = random.Random(7)
    network: tuple[Any, ...] | None = None
    highest = -1
    for round_ in range(4):
        pcap = tmp_path / f"{round_}.pcapng"
        options = ["--listen", "tcp://127.0.0.1:0", "--state", tmp_path / "hub.json"]
        process = start(*options, "--pcap", pcap, "--json")
        (stick,) = sticks_of(process)
        app = ControllerApplication(
            {
                "device": {"path": stick["url"]},
                "use_thread": False,
                "backup_enabled": False,
                "topology_scan_enabled": False,
                "startup_energy_scan": False,
                "watchdog_enabled": False,
                "network": {"channel": 15},
                "ota": {"enabled": False},
            }
        )
        await app.startup(auto_form=network is None)
        info = app.state.network_info
        found = (info.network_key.key, info.pan_id, info.extended_pan_id)
        assert network in (None, found)
        network = found

        async def talk(app: Any = app) -> None:
            aps = t.EmberApsFrame(0x0104, 0x0006, 1, 1, t.EmberApsOption(0), 0, 0)
            while True:
                await app._ezsp._protocol.send_broadcast(
                    0xFFFD, aps, 0, 1, 0xFFFF, 0, b"anybody there?"
                )

        talking = asyncio.create_task(talk())
        await asyncio.sleep(chance.uniform(0.0, 0.3))
        process.kill()
        process.wait(timeout=30)
        talking.cancel()
        await asyncio.gather(talking, return_exceptions=True)
        await app.shutdown(db=False)
        counters = network_counters(_whole_blocks(pcap.read_bytes()))
        assert counters == sorted(set(counters))  # none twice, each higher than the one before
        assert counters[0] > highest
        highest = counters[-1]
        assert StackState.from_json((tmp_path / "hub.json").read_text()).nwk_counter > highest


def _whole_blocks(capture: bytes) -> bytes:
    """A capture but for what its killed writer had begun."""
    at = 0
    while at + 8 <= len(capture):
        length = int.from_bytes(capture[at + 4 : at + 8], "little")
        if at + length > len(capture):
            break
        at += length
    return capture[:at]


@pytest.mark.parametrize("damage", ["{", "[]", '{"schema": "hanbench-stick-1", "eui64": 1}'])
def test_a_damaged_memory_is_refused_and_left_as_it_is(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    damage: str,
) -> None:
    path = tmp_path / "hub.json"
    path.write_text(damage)
    done = hanbench(capsys, monkeypatch, "radio", "--listen", "tcp://127.0.0.1:0", "--state", path)
    assert (done.exit_code, done.out, done.err.count("\n")) == (2, "", 1)
    assert str(path) in done.err
    assert path.read_text() == damage


async def test_a_memory_that_cannot_be_written_ends_the_radio(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    options = ["--state", folder / "hub.json", "--profile", "coordinator", "--json"]
    process = start("--listen", "tcp://127.0.0.1:0", *options)
    (stick,) = sticks_of(process)
    shutil.rmtree(folder)
    with connect(stick["url"]) as port:
        port.close()
    ezsp = bellows.ezsp.EZSP({"path": stick["url"], "baudrate": 115200, "flow_control": None})
    await ezsp.connect(use_thread=False)
    setting = asyncio.create_task(ezsp.setValue(valueId=0x23, value=b"\0\0\1\0"))
    out, err = await asyncio.to_thread(process.communicate, timeout=30)
    assert (process.returncode, out, err.count("\n")) == (3, "", 1)
    assert "hub.json cannot be written" in err
    setting.cancel()
    await asyncio.gather(setting, return_exceptions=True)
    await ezsp.disconnect()


# -- watching --------------------------------------------------------------------------------------


needs_tshark = pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")


async def scan(url: str) -> None:
    """Put beacon requests on the air."""
    async with host(url) as ezsp:
        await ezsp.startScan(scanType=1, channelMask=1 << 15 | 1 << 20, duration=0)


@needs_tshark
async def test_the_capture_can_be_followed_and_tshark_reads_all_of_it(
    start: Start, tmp_path: Path
) -> None:
    pcap = tmp_path / "air.pcapng"
    options = ["--listen", "tcp://127.0.0.1:0"] * 2
    options += ["--profile", "coordinator", "--profile", "router"]
    process = start(*options, "--pcap", pcap, "--json")
    hub, meter = sticks_of(process, 2)
    async with host(hub["url"]) as ezsp:
        with ezsp.wait_for_stack_status(t.sl_Status.NETWORK_UP) as up:
            assert await ezsp.initialize_network() == t.sl_Status.OK
            await up
        await scan(meter["url"])
        while_running = len(list(read_pcapng(pcap.read_bytes())))
        assert while_running >= 3  # two requests, and the coordinator's beacon
    stop(process)
    fields = ["frame.number", "wpan.fcs_ok", "wpan.cmd", "zbee_beacon.ext_panid", "_ws.malformed"]
    shown = subprocess.run(
        ["tshark", "-r", pcap, "-T", "fields", "-E", "separator=/t"]
        + [part for field in fields for part in ("-e", field)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    rows = [line.split("\t") for line in shown]
    assert len(rows) >= while_running
    assert all(row[1] == "1" and row[4] == "" for row in rows)
    assert "0x07" in {row[2] for row in rows}
    assert any(row[3] for row in rows)


@needs_tshark
async def test_the_live_stream_is_what_tshark_listens_to(start: Start) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = start("--listen", "tcp://127.0.0.1:0", "--zep", f"127.0.0.1:{port}", "--json")
    (stick,) = sticks_of(process)
    listening = subprocess.Popen(
        [
            *("tshark", "-i", "udpdump", "-l", "-c", "1", "-T", "fields", "-e", "zep.version"),
            *("-e", "zep.channel_id", "-e", "wpan.cmd", "-e", "wpan.fcs_ok"),
            *("-o", f"extcap.udpdump.port:{port}", "-o", "extcap.udpdump.payload:zep"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        async with asyncio.timeout(60):
            while listening.poll() is None:  # tshark takes its time to listen
                await scan(stick["url"])
        out, err = listening.communicate(timeout=30)
    finally:
        listening.kill()
    if "udpdump" in err and not out:
        pytest.skip("this tshark has no udpdump")
    channel = out.split("\t")[1]
    assert out.strip() == f"2\t{channel}\t0x07\t1"
    assert channel in ("15", "20")
    stop(process)


async def test_a_stream_nobody_listens_to_harms_nobody(start: Start) -> None:
    process = start("--listen", "tcp://127.0.0.1:0", "--zep", "--json")
    (stick,) = sticks_of(process)
    for _ in range(2):
        await scan(stick["url"])
    stop(process)


# -- what cannot be asked --------------------------------------------------------------------------


TCP = ("--listen", "tcp://127.0.0.1:0")


@pytest.mark.parametrize(
    "options",
    [
        ("--listen", "udp://127.0.0.1:1"),
        ("--listen", "tcp://127.0.0.1"),
        ("--listen", "mem://hub"),
        ("--listen", "pty://"),
        (*TCP, "--eui64", "12"),
        (*TCP, "--eui64", "FFFFFFFFFFFFFFFF"),
        (*TCP, "--eui64", "stick-2=0011223344556677"),
        (*TCP, "--eui64", "0011223344556677", "--eui64", "0011223344556678"),
        (*TCP, "--profile", "hub"),
        (*TCP, "--profile", "router"),
        (*TCP, "--state", "/nowhere/at/all/hub.json"),
        (*TCP, "--state", "/"),
        (*TCP, "--pcap", "/nowhere/at/all/air.pcapng"),
        (*TCP, "--zep", "192.0.2.1:17754"),
        (*TCP, "--zep", "nonsense"),
        (*TCP, "--fault", "rain"),
        (*TCP, "--ezsp", "15"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_asked_is_one_sentence_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    done = hanbench(capsys, monkeypatch, "radio", *options)
    assert (done.exit_code, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith("hanbench: ")
