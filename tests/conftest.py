"""Which loop an asynchronous test runs on: the virtual one, or a normal one if `real_clock`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping

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

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def pytest_asyncio_loop_factories(
    config: pytest.Config,  # noqa: ARG001 - the hook's own parameter names
    item: pytest.Item,
) -> Mapping[str, LoopFactory]:
    if item.get_closest_marker("real_clock") is not None:
        return {"real": asyncio.SelectorEventLoop}
    return {"virtual": VirtualLoop}
