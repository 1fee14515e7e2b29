"""`hanbench radio`: sticks for other programs, from the first line to a clean end."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from bench_support import start_hanbench

pytestmark = pytest.mark.real_clock

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    processes: list[subprocess.Popen[str]] = []

    def call(*arguments: object) -> subprocess.Popen[str]:
        process = start_hanbench("radio", *arguments)
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
