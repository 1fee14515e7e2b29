"""Serial lines between a host and a stick that programs which are not ours make: socat, ser2net.

A host sees what it would of a USB stick: a terminal by a path, or a port server by RFC 2217. A line
can be pulled out in the middle of things, and put back.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

LINES = ("socat", "ser2net")
_PATIENCE_S = 10.0

_SER2NET = """\
%YAML 1.1
---
default:
  name: nouucplock
  value: true
  class: serialdev
connection: &stick
  accepter: telnet(rfc2217),tcp,127.0.0.1,{port}
  connector: serialdev,{terminal},115200n81,local
"""


class Line:
    """One line: `url` is what the host opens."""

    def __init__(self, kind: str, folder: Path, name: str, stick: str) -> None:
        """`stick` is where the stick is: `tcp://…` for socat, a terminal for ser2net."""
        self._processes: list[subprocess.Popen[bytes]] = []
        if kind == "socat":
            self.url = str(folder / name)
            port = stick.removeprefix("tcp://")
            self._words = [_tool("socat"), f"PTY,link={self.url},raw,echo=0", f"TCP:{port}"]
        else:
            port = _free_port()
            self.url = f"rfc2217://127.0.0.1:{port}"
            configuration = folder / f"{name}.yaml"
            configuration.write_text(_SER2NET.format(port=port, terminal=stick))
            self._words = [_tool("ser2net"), "-n", "-c", str(configuration)]
        self.put_back()

    def put_back(self) -> None:
        """Plug it in; it is there when this returns."""
        assert not self._processes
        self._processes.append(
            subprocess.Popen(self._words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        )
        end_s = time.monotonic() + _PATIENCE_S
        while not self._is_there():
            assert time.monotonic() < end_s, f"{self._words} makes no line"
            assert self._processes[0].poll() is None, f"{self._words} ended"
            time.sleep(0.05)

    def pull(self) -> None:
        """Pull it out."""
        while self._processes:
            process = self._processes.pop()
            process.kill()
            process.wait()

    def _is_there(self) -> bool:
        if not self.url.startswith("rfc2217:"):
            return Path(self.url).exists()
        # A connection would be one to the stick: ser2net has one user at a time.
        port = int(self.url.rpartition(":")[2])
        listening = f":{port:04X} 00000000:0000 0A "
        return any(listening in line for line in Path("/proc/net/tcp").read_text().splitlines())


@contextlib.contextmanager
def lines(kind: str, folder: Path, sticks: Sequence[str]) -> Iterator[list[Line]]:
    """A line to each of the sticks, named by number; all are gone in the end."""
    made: list[Line] = []
    try:
        for number, stick in enumerate(sticks):
            made.append(Line(kind, folder, f"line-{number}", stick))
        yield made
    finally:
        for line in made:
            line.pull()


def _tool(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
