"""Which loop an asynchronous test runs on: the virtual one, or a normal one if `real_clock`; and
where the published reference files are."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from hil.clock import VirtualLoop

# A busy machine is no failure: no test is timed. CI tries the same examples every time.
settings.register_profile(
    "hanbench",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("hanbench")

pytest_plugins = ["answered_codes", "capture_witness"]

REPOSITORY = Path(__file__).parents[1]
LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def pytest_asyncio_loop_factories(
    config: pytest.Config,  # noqa: ARG001 - the hook's own parameter names
    item: pytest.Item,
) -> Mapping[str, LoopFactory]:
    if item.get_closest_marker("real_clock") is not None:
        return {"real": asyncio.SelectorEventLoop}
    return {"virtual": VirtualLoop}


@pytest.fixture(scope="session")
def vectors() -> Path:
    """The folder of published reference files, which RTDS_DIR names."""
    folder = REPOSITORY / os.environ.get("RTDS_DIR", "../shared/vectors")
    if not (folder / "rtds").is_dir():
        pytest.skip(f"{folder} is not there; RTDS_DIR names its folder")
    return folder
