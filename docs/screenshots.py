"""Make the pictures of the reports in this folder: `python docs/screenshots.py [FOLDER]`.

Two runs of the built-in bench, the second with faults, and its conformance tests are shown by a
headless Chromium.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FAULTS = ("loss 12 %", "power loss at 100 s on bridge-1")
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
        for picture, (page, width, height) in PICTURES.items():
            url = (folder / page).as_uri()
            take(url, target / picture, width, height, folder / "profile")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
