"""Which loop an asynchronous test runs on: the virtual one, or a normal one if `real_clock`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest

from hil.clock import VirtualLoop

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def pytest_asyncio_loop_factories(
    config: pytest.Config,  # noqa: ARG001 - the hook's own parameter names
    item: pytest.Item,
) -> Mapping[str, LoopFactory]:
    if item.get_closest_marker("real_clock") is not None:
        return {"real": asyncio.SelectorEventLoop}
    return {"virtual": VirtualLoop}
