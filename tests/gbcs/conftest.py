"""The published frames and test keys, read from outside the repository."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from gbcs_rig import write_scalars


@pytest.fixture(scope="session")
def published(vectors: Path) -> dict[str, bytes]:
    """Every published frame by the name of its file."""
    frames = {
        path.name: bytes.fromhex(path.read_text().strip())
        for path in sorted((vectors / "rtds").glob("*.HEX"))
    }
    assert frames
    return frames


@pytest.fixture(scope="session")
def published_index(vectors: Path) -> list[dict[str, str]]:
    with (vectors / "index.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="session")
def key_folder(vectors: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as an RTDS download has it: certificates, and the published organisations' keys."""
    folder = tmp_path_factory.mktemp("keys")
    for path in (vectors / "keys").glob("*.pem"):
        (folder / path.name).write_bytes(path.read_bytes())
    write_scalars(vectors / "keys" / "organisation-test-scalars.csv", folder)
    return folder
