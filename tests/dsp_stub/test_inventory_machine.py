"""Any order of 12.2, 8.3, 8.4 and 8.11: what a status becomes; a refusal changes nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from dsp_rig import (
    DISTRIBUTOR_EUI64,
    GPF,
    HUB,
    INSTALL_CODE,
    OLD,
    OTHER_SUPPLIER_EUI64,
    PPMID,
    STRANGER,
    Device,
    Rig,
    running,
)
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from dsp_stub.inventory_requests import (
    Change,
    DecommissionDevice,
    DeleteDevice,
    DeviceDetails,
    NewDeviceStatus,
    NewHubStatus,
    NewMpxn,
    UpdateInventory,
)
from dsp_stub.requests import Body, DevicePrenotification, UpdateHanDeviceLog
from dsp_stub.smi import MAX_AT_PREMISES, SmiDevice
from dsp_stub.statuses import source
from gbcs.smki import SUPPLIER_EUI64
from gbcs.wan import CommandForDevice, MessageFromDevice, parse_message, serialise

DEVICES = st.sampled_from([STRANGER, STRANGER + 1, PPMID, HUB, GPF])
USERS = st.sampled_from([SUPPLIER_EUI64, SUPPLIER_EUI64, OTHER_SUPPLIER_EUI64, DISTRIBUTOR_EUI64])
CHANGES: st.SearchStrategy[Change] = st.one_of(
    st.sampled_from(("Pending", "InstalledNotCommissioned")).map(NewDeviceStatus),
    st.sampled_from(("Commissioned", "InstalledNotCommissioned", "Withdrawn")).map(NewHubStatus),
    st.sampled_from(
        (
            DeviceDetails(),
            DeviceDetails(ppmid_variant="AltHAN Bridge 2"),
            DeviceDetails(model="00849999"),
            DeleteDevice(),
            NewMpxn(import_mpxn="1312345678222"),
        )
    ),
)


class InventoryMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.context = running(None)
        self.rig: Rig = self.loop.run_until_complete(self.context.__aenter__())
        self.hub = Device(HUB)

    def teardown(self) -> None:
        self.loop.run_until_complete(self.context.__aexit__(None, None, None))
        self.loop.close()

    def ask(self, service: str, body: Body, **how: Any) -> str:
        """Ask without the socket; every change is one the table of statuses has."""
        rig = self.rig
        before = self.dump()
        lives = {one.device_id: one for one in rig.desk.inventory.all_devices()}
        octets = rig.request(service, body, **how)
        path = "/api/v1/serviceD" if "target" not in how else "/api/v1/serviceS"
        reply = rig.dsp.answer(path, octets, rig.now)
        code = reply.body.partition(b"ResponseCode>")[2].partition(b"<")[0].decode()
        if code.startswith("E"):
            assert self.dump() == before, f"{code} changed something"
        self.compare(lives)
        return code

    def dump(self) -> list[Any]:
        tables = ("devices", "premises", "future_dated", "schedules", "attempts", "updates")
        connection = self.rig.store.connection
        return [connection.execute(f"SELECT * FROM {table}").fetchall() for table in tables]

    def compare(self, before: dict[int, SmiDevice]) -> None:
        for one in self.rig.desk.inventory.all_devices():
            old = before.get(one.device_id)
            if old is not None and one.status is not old.status:
                assert one.status is not None
                assert source(old, one.status), f"{old.status} became {one.status}"

    @rule(device=DEVICES, user=USERS)
    def announce(self, device: int, user: int) -> None:
        body = DevicePrenotification(
            device_id=device,
            manufacturer="121D",
            model="00841111",
            device_type="PPMID",
            smets_chts_version="PPMIDTS V4.4",
            firmware_version=f"{OLD:08X}",
            ppmid_variant="PPMID",
        )
        was_there = self.rig.desk.inventory.get(device)
        may = was_there is None or was_there.status in ("Decommissioned", "Withdrawn")
        assert self.ask("12.2", body, user=user) == ("I99" if may else "E120201")

    @rule(device=DEVICES, user=USERS, change=CHANGES)
    def update(self, device: int, user: int, change: Change) -> None:
        code = self.ask("8.4", UpdateInventory(device, change), user=user)
        assert code in ("I99", "E19") or code.startswith("E0804")

    @rule(device=DEVICES, user=USERS)
    def decommission(self, device: int, user: int) -> None:
        code = self.ask("8.3", DecommissionDevice(device), user=user)
        assert code in ("I99", "E2", "E4", "E19", "E080301", "E080302")

    @rule(device=DEVICES, answers=st.booleans())
    def let_in(self, device: int, answers: bool) -> None:
        body = UpdateHanDeviceLog(device, "Add", 90, INSTALL_CODE)
        if self.ask("8.11", body, target=HUB) != "I99":
            return
        dsp = self.rig.dsp
        while (delivery := dsp.next_for_hub(HUB, self.rig.now)) is not None:
            dsp.delivered(delivery)
            message = parse_message(delivery.body)
            if answers and isinstance(message, CommandForDevice):
                before = {one.device_id: one for one in self.rig.desk.inventory.all_devices()}
                frame = self.hub.answer(message.frame)
                dsp.receive(serialise(MessageFromDevice(HUB, HUB, frame)), self.rig.now)
                self.compare(before)
                found = self.rig.desk.inventory.get(device)
                assert found is not None
                assert found.chf == HUB

    @invariant()
    def a_home_has_no_more_than_it_may(self) -> None:
        assert len(self.rig.desk.inventory.devices_at(1)) <= MAX_AT_PREMISES

    @invariant()
    def a_life_that_is_over_stays_as_it_was(self) -> None:
        for device in (STRANGER, PPMID):
            for old in self.rig.desk.inventory.lives(device)[:-1]:
                assert old.deleted or old.status in ("Decommissioned", "Withdrawn")


InventoryMachine.TestCase.settings = settings(
    max_examples=15, stateful_step_count=20, deadline=None
)
TestInventoryMachine = pytest.mark.real_clock(
    pytest.mark.requirement("MP170-REUSE", "good", "bad")(InventoryMachine.TestCase)
)
