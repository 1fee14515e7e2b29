"""The published sample images, read from outside the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


def _published(name: str) -> bytes:
    folder = REPOSITORY / os.environ.get("RTDS_DIR", "../shared/vectors")
    path = folder / "duis" / name
    if not path.exists():
        pytest.skip(f"{name} is not there; RTDS_DIR names its folder")
    return path.read_bytes()


@pytest.fixture(scope="session")
def ppmid_sample() -> bytes:
    """DUIS 11.4 sample, smartdcc duis-templates."""
    return _published("11.4_UPDATE_PPMID_FIRMWARE_SAMPLE.ota")


@pytest.fixture(scope="session")
def meter_sample() -> bytes:
    """DUIS 11.1 sample, smartdcc duis-templates."""
    return _published("11.1_UPDATE_FIRMWARE_SAMPLE.ota")
