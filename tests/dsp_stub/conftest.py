"""The published requests, responses and certificates, read from outside the repository."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from command_rig import Door

from gbcs.certificates import Certificate, parse_pem_certificate


@pytest.fixture(autouse=True)
def doors() -> Iterator[None]:
    """Every port that a test has opened is closed with it."""
    yield
    Door.close_all()


@pytest.fixture(scope="session")
def templates(vectors: Path) -> dict[str, bytes]:
    """The published request templates by the names of their files."""
    found = {path.name: path.read_bytes() for path in sorted((vectors / "duis").glob("*.XML"))}
    assert found
    return found


@pytest.fixture(scope="session")
def samples(vectors: Path) -> dict[str, bytes]:
    """The published responses by the names of their files."""
    found = {path.name: path.read_bytes() for path in sorted((vectors / "duis").glob("*.xml"))}
    assert found
    return found


@pytest.fixture(scope="session")
def published_signers(vectors: Path) -> tuple[Certificate, ...]:
    """The published certificates that sign XML."""
    names = (
        "Z1-accessControlBroker-dSPXmlSign.pem",
        "dsp-xml-sign-90B3D51F30000002-ds.pem",
        "dsp-xml-sign-90B3D51F30000002-ds-pre-1.4.1.pem",
        "xml-sign-90B3D51F30010000-ds.pem",
    )
    return tuple(parse_pem_certificate((vectors / "keys" / name).read_bytes()) for name in names)
