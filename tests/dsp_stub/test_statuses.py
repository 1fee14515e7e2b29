"""The table of statuses: every cell of nine by nine, and what a recovered device may become."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from dsp_stub.errors import DspValueError
from dsp_stub.inventory import Inventory
from dsp_stub.smi import DeviceStatus, DeviceType, PpmidVariant, SmiDevice
from dsp_stub.statuses import TRANSITIONS, source
from dsp_stub.store import Store

pytestmark = pytest.mark.requirement("MP170-SR84", "good", "bad")

# Rows and columns in the order of the enumeration; x is a cell with a source.
CELLS = {
    "Pending": ".xxxx.x..",
    "Whitelisted": "x.xxx.xx.",
    "InstalledNotCommissioned": "...xxxxx.",
    "Commissioned": "....xxxx.",
    "Decommissioned": "x........",
    "Withdrawn": "x........",
    "Suspended": "xxxxx....",
    "Recovery": "....x...x",
    "Recovered": ".......x.",
}


@pytest.fixture
def inventory() -> Iterator[Inventory]:
    with Store(None) as store:
        yield Inventory(store)


def device(status: DeviceStatus, **changes: Any) -> SmiDevice:
    fields: dict[str, Any] = {
        "device_id": 0x00DB1234567890A4,
        "device_type": DeviceType.PPMID,
        "status": status,
        "manufacturer": "121D",
        "model": "00841111",
        "ppmid_variant": PpmidVariant.PPMID,
        "date_commissioned": "2026-01-01",
    }
    return SmiDevice(**(fields | changes))


@pytest.mark.parametrize(("old", "new"), list(product(DeviceStatus, DeviceStatus)))
def test_a_status_follows_another_exactly_where_its_cell_has_a_source(
    inventory: Inventory, old: DeviceStatus, new: DeviceStatus
) -> None:
    has_source = CELLS[old][list(DeviceStatus).index(new)] == "x"
    assert ((old, new) in TRANSITIONS) is has_source
    assert not has_source or TRANSITIONS[old, new]
    held = device(old)
    inventory.add(held)
    is_new_life = old in (DeviceStatus.DECOMMISSIONED, DeviceStatus.WITHDRAWN)
    if has_source and is_new_life:
        inventory.add(device(new))
        assert inventory.lives(held.device_id) == (held, device(new))
    elif has_source:
        before = {"before_recovery": old} if new is DeviceStatus.RECOVERY else {}
        assert inventory.set_status(held.device_id, new) == replace(held, status=new, **before)  # type: ignore[arg-type]
    else:
        words = "for good" if is_new_life else f"is {old} and cannot become {new}"
        with pytest.raises(DspValueError, match=words):
            inventory.set_status(held.device_id, new)
        assert inventory.get(held.device_id) == held


@pytest.mark.parametrize("before", [DeviceStatus.WHITELISTED, DeviceStatus.COMMISSIONED])
@pytest.mark.parametrize("new", DeviceStatus)
def test_a_recovered_device_may_become_what_it_could_before(
    inventory: Inventory, before: DeviceStatus, new: DeviceStatus
) -> None:
    held = device(before)
    inventory.add(held)
    for status in (DeviceStatus.RECOVERY, DeviceStatus.RECOVERED):
        inventory.set_status(held.device_id, status)
    recovered = inventory.get(held.device_id)
    assert recovered == device(DeviceStatus.RECOVERED, before_recovery=before)
    assert (source(recovered, new) is not None) is ((before, new) in TRANSITIONS)


def test_a_second_recovery_remembers_the_status_before_the_first(inventory: Inventory) -> None:
    inventory.add(device(DeviceStatus.COMMISSIONED))
    for status in ("Recovery", "Recovered", "Recovery", "Recovered"):
        inventory.set_status(device(DeviceStatus.PENDING).device_id, DeviceStatus(status))
    held = inventory.get(device(DeviceStatus.PENDING).device_id)
    assert held is not None
    assert held.before_recovery is DeviceStatus.COMMISSIONED


def test_a_type_2_device_has_no_status_to_come_from() -> None:
    cad = SmiDevice(
        device_id=1, device_type=DeviceType.CAD, status=None, manufacturer="GEO", model="Trio"
    )
    for status in DeviceStatus:
        assert source(cad, status) is None
