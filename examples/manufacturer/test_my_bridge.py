"""Tests of one's own: `pytest test_my_bridge.py`; `--hanbench-bench FILE` names a bench."""

import pytest


@pytest.mark.requirement("MP170-R6")
async def test_my_bridge_tells_every_interface_the_same(bridge):
    assert await bridge.update() == "activated"
    assert await bridge.read_version() == await bridge.read_inventory()
    assert not bridge.complaints
