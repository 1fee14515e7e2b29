"""The pictures in docs/ can be made again by the script beside them."""

from __future__ import annotations

import runpy
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
SCRIPT = DOCS / "screenshots.py"


@pytest.mark.matrix
@pytest.mark.real_clock
@pytest.mark.skipif(
    not (shutil.which("chromium") or shutil.which("chromium-browser")),
    reason="chromium is not installed",
)
def test_every_picture_is_made_as_it_is_in_the_docs(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(SCRIPT), str(tmp_path)], check=True, timeout=240)
    script = runpy.run_path(str(SCRIPT))
    pictures, live = script["PICTURES"], script["LIVE"]
    for folder in (tmp_path, DOCS):
        drawn = (folder / live).read_text()
        assert "activated" in drawn
        assert "struck" in drawn
        assert len(drawn) < 60_000
        assert "@font-face" not in drawn
    for name, (_, width, height) in pictures.items():
        octets = (tmp_path / name).read_bytes()
        assert struct.unpack_from(">II", octets, 16) == (width, height)
        assert len(octets) > 50_000, "a page that shows next to nothing"
        assert (DOCS / name).is_file()
