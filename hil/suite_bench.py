"""The bench of conformance tests: the built-in one with images that are sent in a moment.

Source: ours. The size of an image shows nothing of a device that a few dozen blocks do not show;
the one test of the largest image says so itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hil.bench_file import BUILT_IN, Bench, load_bench
from hil.dut import with_civil_time

SMALL_BYTES = 12 * 1024  # three flash sectors: a transfer can be resumed in the midst of it


def suite_bench(path: Path | None) -> Bench:
    """The bench of a file, or the built-in one with small images."""
    if path is None:
        small = [
            device.model_copy(update={"image_size_bytes": SMALL_BYTES})
            for device in BUILT_IN.devices
        ]
        return BUILT_IN.model_copy(update={"devices": tuple(small)})
    return with_civil_time(load_bench(path))


def changed(bench: Bench, keys: Mapping[str, Any]) -> Bench:
    """The bench with some keys of a bench file set anew; a table as it is read from one."""
    tables = Bench.model_validate({"device": [{"id": "x", "kind": "ppmid"}], **keys})
    names = {field.alias or name: name for name, field in Bench.model_fields.items()}
    return bench.model_copy(update={names[key]: getattr(tables, names[key]) for key in keys})
