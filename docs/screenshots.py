"""Make the pictures in this folder: `python docs/screenshots.py [FOLDER]`.

Two runs of the built-in bench, the second with faults, and its conformance tests are shown by a
headless Chromium. `live.svg` is the screen of the second run in its midst, read off a terminal.
"""

from __future__ import annotations

import importlib
import io
import re
import shutil
import subprocess
import sys
import tempfile
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.style import Style
from rich.text import Text

HERE = Path(__file__).parent
TESTS = HERE.parent / "tests"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FAULTS = ("loss 12 %", "power loss at 100 s on bridge-1")
# To its last line: what is read off a terminal may be half of a screen.
_IN_ITS_MIDST = re.compile(r"^bridge-1 [^\n]* 6\d % .*^Ctrl-C stops", re.MULTILINE | re.DOTALL)
LIVE = "live.svg"
PICTURES = {  # name: page, width, height
    "report.png": ("a/report.html", 1280, 1500),
    "report-400.png": ("a/report.html", 400, 1500),
    "report-compare.png": ("compare.html", 1280, 2000),
    "report-verify.png": ("v/report.html", 1280, 1500),
}


def hanbench(*words: object) -> None:
    command = [sys.executable, "-m", "hil.cli", *map(str, words)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def take(page: str, picture: Path, width: int, height: int, profile: Path) -> None:
    subprocess.run(
        [
            str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            f"--user-data-dir={profile}", f"--window-size={width},{height}",
            f"--screenshot={picture}", page,
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=120,
    )  # fmt: skip


def take_screen(picture: Path, folder: Path, columns: int = 100, lines: int = 25) -> None:
    """A run with faults on a terminal, when the image of its first bridge is mostly there."""
    if str(TESTS) not in sys.path:
        sys.path.append(str(TESTS))
    terminals = importlib.import_module("screen_support").Terminal
    words = [word for fault in FAULTS for word in ("--fault", fault)]
    run = ("run", "--seed", 1, *words, "--evidence", "evidence/1")
    with terminals.hanbench(*run, columns=columns, lines=lines, folder=folder) as terminal:
        if terminal.read(lambda one: bool(_IN_ITS_MIDST.search(one.text)), 300) != -1:
            sys.exit(f"the run is over before its picture is taken: {terminal.text}")
        console = Console(file=io.StringIO(), record=True, width=columns, color_system="standard")
        for row in range(len(terminal.text.splitlines())):
            console.print(_line(terminal.screen.buffer[row], columns), soft_wrap=True)
    words = [f"--fault '{fault}'" for fault in FAULTS]
    drawn = console.export_svg(title=f"hanbench run {' '.join(words)}", unique_id="live")
    # Fonts from elsewhere are no part of a picture: any of fixed width will do.
    picture.write_text(re.sub(r"@font-face \{[^}]*\}\s*", "", drawn))


def _line(cells: Any, columns: int) -> Text:
    """One line of the terminal as rich has it."""
    text = Text()
    for (fg, bold), same in groupby((cells[at] for at in range(columns)), lambda c: (c.fg, c.bold)):
        colour = {"default": None, "brown": "yellow"}.get(fg, fg)
        text.append("".join(cell.data for cell in same), Style(color=colour, bold=bold))
    text.rstrip()
    return text


def main(target: Path) -> None:
    if CHROMIUM is None:
        sys.exit("chromium is not installed")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        hanbench("run", "--seed", 1, "--evidence", folder / "a")
        faults = [word for fault in FAULTS for word in ("--fault", fault)]
        hanbench("run", "--seed", 1, *faults, "--evidence", folder / "b")
        hanbench("report", "compare", folder / "a", folder / "b", "--html", folder / "compare.html")
        hanbench("verify", "-n", 2, "--evidence", folder / "v")
        take_screen(target / LIVE, folder)
        for picture, (page, width, height) in PICTURES.items():
            url = (folder / page).as_uri()
            take(url, target / picture, width, height, folder / "profile")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
