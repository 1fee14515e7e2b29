"""What a real browser makes of a page: its picture, its console, what it asks for, its paper."""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
import zlib
from pathlib import Path
from typing import NamedTuple

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
HEIGHT = 1400
browser = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

_ALONE = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-extensions", "--hide-scrollbars",
    # the browser has errands of its own; none of them gets out
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)  # fmt: skip


class Shown(NamedTuple):
    """What a browser made of a page: its picture, its console, what the page asked for."""

    rows: set[bytes]
    console: list[str]
    requests: set[str]


def show(page_file: Path, folder: Path, width: int = 1280) -> Shown:
    """Show a page in a window of this width; `folder` is for what the browser leaves."""
    picture, net_log = folder / "page.png", folder / "net.json"
    done = subprocess.run(
        [
            str(CHROMIUM), *_ALONE, f"--user-data-dir={folder / 'profile'}",
            f"--window-size={width},{HEIGHT}", "--enable-logging=stderr", "--v=0",
            f"--log-net-log={net_log}", f"--screenshot={picture}", page_file.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )  # fmt: skip
    console = [line for line in done.stderr.splitlines() if ":CONSOLE:" in line]
    return Shown(rows_of(picture, width), console, requests_of(net_log))


def sheets(page_file: Path, folder: Path) -> int:
    """Print a page; how many sheets of paper it takes."""
    paper = folder / "page.pdf"
    subprocess.run(
        [
            str(CHROMIUM), *_ALONE, f"--user-data-dir={folder / 'profile'}",
            f"--print-to-pdf={paper}", page_file.as_uri(),
        ],
        capture_output=True,
        timeout=120,
        check=True,
    )  # fmt: skip
    return len(re.findall(rb"/Type\s*/Page\b", paper.read_bytes()))


def rows_of(picture: Path, width: int) -> set[bytes]:
    """The rows of a PNG that differ, as they are packed: a blank page has one or two."""
    octets = picture.read_bytes()
    assert octets[:8] == b"\x89PNG\r\n\x1a\n"
    at, packed, header = 8, b"", b""
    while at < len(octets):
        (length,) = struct.unpack_from(">I", octets, at)
        kind, body = octets[at + 4 : at + 8], octets[at + 8 : at + 8 + length]
        header = body if kind == b"IHDR" else header
        packed += body if kind == b"IDAT" else b""
        at += 12 + length
    assert struct.unpack_from(">II", header) == (width, HEIGHT)
    raw = zlib.decompress(packed)
    stride = len(raw) // HEIGHT
    return {raw[row : row + stride] for row in range(0, len(raw), stride)}


def requests_of(net_log: Path) -> set[str]:
    """Every URL that the page asked for; what the browser asks for itself has no origin."""
    text = net_log.read_text().rstrip()
    log = json.loads(f"{text[:-1]}]}}" if text.endswith(",") else text)  # ended in mid-writing
    started = [event.get("params") or {} for event in log["events"]]
    return {
        params["url"]
        for params in started
        if "url" in params and params.get("initiator", "not an origin") != "not an origin"
    }
