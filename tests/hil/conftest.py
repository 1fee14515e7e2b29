"""A run of a test's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from run_support import Told


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path / "ev")
