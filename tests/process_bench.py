"""A home whose every part is a process of its own: sticks, DSP, supplier, hub, device.

What it takes is files and the command line; whoever is killed can be started again. Between hub or
device and their sticks may be a line that is not ours (`serial_lines`).
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from process_support import Process, hanbench, running
from serial_lines import Line, lines

from gbcs.smki import CHF_EUI64, PPMID_EUI64
from hil.images import NEW_VERSION, OLD_VERSION

SUPPLIER = 0x90B3D51F30010000
INSTALL_CODE = "83FED3407A939723A5C639B26916D505"
QUICK = os.environ.get("HANBENCH_MATRIX") == "quick"
IMAGE_BYTES = 10 * 1024
# By then a device has a whole page, and a hub still half of the file to serve.
KILL_PERCENT = 50

DSP_TOML = f"""
[[user]]
eui64 = "{SUPPLIER:016X}"
role = "IS"
callback = "CALLBACK"

[[premises]]
id = 1
uprn = "100000000001"
responsible = ["{SUPPLIER:016X}"]

[[premises.device]]
eui64 = "{CHF_EUI64:016X}"
type = "CHF"
manufacturer = "106C"
model = "433100AC"
firmware_version = "00009001"
gbcs_version = "4.1"

[[premises.device]]
eui64 = "{PPMID_EUI64:016X}"
type = "PPMID"
status = "Pending"
manufacturer = "121D"
model = "00841111"
firmware_version = "{OLD_VERSION:08X}"
smets_chts_version = "PPMIDTS V4.4"
gbcs_version = "4.1"
ppmid_variant = "PPMID"

[options]
check_certificate_times = false
"""


class ProcessBench:
    """Five processes. Hub and device can be killed and started again, and with `kind` the lines to
    their sticks be pulled."""

    def __init__(self, folder: Path, stack: ExitStack, kind: str | None = None) -> None:
        self._folder = folder
        self._stack = stack
        self._pki = folder / "pki"
        self.image = folder / "new.ota"
        self._prepare()
        listener = self._start(
            "duis", "listen", "--listen", "127.0.0.1:0", "--keys", self._pki, "--json"
        )
        callback = json.loads(listener.line_with(r"\{.*\}")[0])["listening"]
        (folder / "dsp.toml").write_text(DSP_TOML.replace("CALLBACK", callback))
        self.callbacks = listener
        places = ["tcp://127.0.0.1:0"] * 2
        if kind == "ser2net":
            places = [f"pty://{folder}/stick-{number}" for number in range(2)]
        radio = self._start(
            *("radio", "--json", "--listen", places[0], "--listen", places[1]),
            *("--eui64", f"{CHF_EUI64:016X}", "--eui64", f"{PPMID_EUI64:016X}"),
        )
        self._sticks = [json.loads(radio.line_with(r"\{.*\}")[0])["url"] for _ in range(2)]
        self.radio = radio
        self.lines: list[Line] = []
        if kind is not None:
            self.lines = stack.enter_context(lines(kind, folder, self._sticks))
            self._sticks = [line.url for line in self.lines]
        self._listen = "127.0.0.1:0"
        self.start_dsp()

    def _start(self, *words: object) -> Process:
        return self._stack.enter_context(running(*words))

    def _prepare(self) -> None:
        version, data = f"0x{NEW_VERSION:08X}", ("--data", self._folder)
        built = ("image", "build", "--kind", "ppmid", "--version", version)
        _run(*built, "--size", IMAGE_BYTES, "-o", self.image)
        _run("pki", "create", self._pki)
        old = ("--initial", "--kind", "ppmid", "--firmware-version", f"{OLD_VERSION:08X}")
        _run("cpl", "add", *data, *old)
        _run("cpl", "add", *data, "--from-image", self.image)

    def start_dsp(self) -> None:
        """Anew where it was."""
        self.dsp = self._start("dsp", "--listen", self._listen, "--data", self._folder)
        self.url = self.dsp.line_with(r"http://[0-9.:]+")[0]
        self._listen = self.url.removeprefix("http://")

    def start_hub(self) -> Process:
        hub = self._start(
            *("hub", "--radio", self._sticks[0], "--wan", self.url, "--keys", self._pki),
            *("--state", self._folder / "hub"),
        )
        hub.line_with(f"hub  {CHF_EUI64:016X}")
        return hub

    def start_device(self) -> Process:
        return self._start(
            *("device", "--radio", self._sticks[1], "--keys", self._pki, "--json"),
            *("--install-code", INSTALL_CODE, "--state", self._folder / "device"),
        )

    def send(self, service: str, *values: str) -> str:
        """One request of the supplier's; what it is answered at once."""
        to = CHF_EUI64 if service == "8.11" else None
        words = ["duis", "build", service, "--from", f"{SUPPLIER:016X}"]
        if to is not None:
            words += ["--to", f"{to:016X}"]
        for value in values:
            words += ["--set", value]
        built = _run(*words)
        signed = _run("duis", "sign", "-", "--keys", self._pki, input=built)
        return _run(
            *("duis", "send", "-", "--url", self.url, "--keys", self._pki), input=signed
        ).decode()

    def admit(self) -> None:
        said = self.send(
            "8.11",
            f"DeviceID={PPMID_EUI64:016X}",
            "RequestType=Add",
            "JoinTimePeriod=300",
            f"InstallCode={INSTALL_CODE}",
        )
        assert "I99" in said, said

    def update(self) -> None:
        said = self.send(
            "11.4",
            f"FirmwareImage=@{self.image}",
            f"FirmwareVersion={NEW_VERSION:08X}",
            f"DeviceIDList={PPMID_EUI64:016X}",
        )
        assert "I99" in said, said

    def alert(self, code: str) -> str:
        return self.callbacks.line_with(rf'"{code}"').string

    def smi_version(self) -> str:
        with sqlite3.connect(self._folder / "dsp.sqlite") as connection:
            (version,) = connection.execute(
                "SELECT firmware_version FROM devices WHERE device_id = ?", (f"{PPMID_EUI64:016X}",)
            ).fetchone()
        connection.close()
        return str(version)


def _run(*words: object, input: bytes = b"") -> bytes:
    ended = hanbench(*words, input=input)
    assert ended.exit_code == 0, ended.output + ended.stderr + repr(ended.exception)
    return ended.stdout_bytes


def events(device: Process) -> list[dict[str, Any]]:
    return [json.loads(line) for line in device.said]


def event(device: Process, name: str, fits: Callable[[dict[str, Any]], bool] = bool) -> Any:
    """The next event of this name that fits."""
    while True:
        found = json.loads(device.line_with(rf'"event": "{name}"').string)
        if fits(found):
            return found


def half_way(device: Process) -> None:
    event(device, "progress", lambda one: one["percent"] >= KILL_PERCENT)


def finish(bench: ProcessBench, hub: Process, device: Process) -> None:
    """The update has one end, told once; everybody stops when told to."""
    bench.alert("N39")
    assert bench.smi_version() == f"{NEW_VERSION:08X}"
    assert [one.stop() for one in (device, hub, bench.dsp, bench.callbacks, bench.radio)] == [0] * 5
    said = "".join(bench.callbacks.said)
    assert [said.count(f'"{code}"') for code in ("N62", "N39")] == [1, 1]
