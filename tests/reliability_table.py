"""What a sweep covers, as the page `docs/reliability.md` says it.

A test module that has a function `reliability() -> tuple[Sweep, ...]` is found by
`docs/reliability.py`. Its numbers are those the tests run by: computed from the same lists, never
written beside them.
"""

from __future__ import annotations

import os
from typing import NamedTuple

SIZES = ("test", "quick", "full", "soak")
SIZE = os.environ.get("HANBENCH_MATRIX", "") or "quick"


class Runs(NamedTuple):
    """How many runs there are in `make test`, `matrix-quick`, `matrix` and `soak`."""

    test: int
    quick: int
    full: int
    soak: int


class Sweep(NamedTuple):
    """One line of the page: the row of the reliability sheet, what is varied, how often it runs,
    and what every single run has to end with."""

    row: str
    what: str
    runs: Runs
    ends: str
