"""tshark as a foreign reader of what was on an air."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def read_by_tshark(path: Path, fields: Mapping[str, str], *keys: bytes) -> list[dict[str, Any]]:
    """One dict per frame of a capture: of `fields` (our name: tshark's) those that it has, each
    with a list of values. It opens what is under `keys`.
    """
    options: list[str] = []
    for key in keys:
        options += ["-o", f'uat:zigbee_pc_keys:"{key.hex().upper()}","Normal","key"']
    wanted = [part for field in fields.values() for part in ("-e", field)]
    done = subprocess.run(
        ["tshark", "-r", str(path), "-n", "-T", "json", *wanted, *options],
        capture_output=True,
        text=True,
        check=True,
    )
    names = {field: name for name, field in fields.items()}
    return [
        {names[field]: values for field, values in frame["_source"]["layers"].items()}
        for frame in json.loads(done.stdout)
    ]
