"""`environment.json`: on what a run was made, when, and the command that repeats it.

Source: ours. It is in the evidence so that the report can be made again from the evidence alone. No
host name, user or path of the machine is in it, but for what the command itself names.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from hil.evidence import Evidence

ENVIRONMENT = "environment.json"
SCHEMA = 1
PACKAGES = ("hanbench", "bellows", "zigpy", "serialx", "construct", "cryptography", "lxml")

_MAX_OCTETS = 64 * 1024


@dataclass(frozen=True, slots=True)
class Made:
    """What the evidence says of it; None is what it does not say. `began` is the time of the
    machine, not of the run's clock."""

    repeat: str | None = None
    began: str | None = None
    python: str | None = None
    os: str | None = None
    packages: Mapping[str, str] = field(default_factory=dict)


def write_environment(evidence: Evidence, repeat: str) -> None:
    """Into the evidence, when a run begins."""
    made = Made(
        repeat,
        datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        f"{platform.python_implementation()} {platform.python_version()}",
        platform.platform(),
        {name: _version(name) for name in PACKAGES},
    )
    document = {"schema": SCHEMA, **asdict(made)}
    evidence.write(ENVIRONMENT, (json.dumps(document, indent=2) + "\n").encode())


def read_environment(folder: Path) -> Made:
    """What the evidence says; nothing where it has no such file, or one that cannot be read."""
    try:
        with (folder / ENVIRONMENT).open("rb") as file:
            document = json.loads(file.read(_MAX_OCTETS))
    except (OSError, ValueError, RecursionError):
        return Made()
    if not isinstance(document, dict):
        return Made()
    packages = document.get("packages")
    return Made(
        **{name: _text(document.get(name)) for name in ("repeat", "began", "python", "os")},
        packages={str(name): str(value) for name, value in packages.items()}
        if isinstance(packages, dict)
        else {},
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
