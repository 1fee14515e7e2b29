"""What a hub answers about itself, and that another takes its place with all its devices."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from bench_support import EXTENDED_PAN_ID, HUB_EUI64, NEW, OLD, STACK, bench, link_key, make_image
from swap_rig import NEW_HUB, NEW_SETTINGS, Successor, taken_away
from wan_rig import USER, Premises, premises

from emulator.devices.device_log import MAX_DEVICES, MAX_HISTORIC
from emulator.devices.hub import FIRMWARE_VERSION, DeviceClassified
from emulator.devices.models import without_tunnel
from emulator.devices.ota_server import TransferStarted
from emulator.devices.ppmid import PPMID
from emulator.ncp.ezsp_tables import SUPPORTED_VERSIONS
from emulator.zigbee.security import mmo_hash
from gbcs.acb import Alert
from gbcs.axdr import invoke_id, read_date_time
from gbcs.codes import (
    CCS02_REMOVE_DEVICE,
    CCS05_CCS04_READ_LOG,
    CCS06_READ_LOG,
    CCS07_READ_LOGS,
    CS08_READ_FIRMWARE_VERSION,
    ECS52_READ_METER_VERSION,
)
from gbcs.device_log import REMOVE_DEVICE, DlmsResult, LinkKeyHash, RemoveDevice
from gbcs.firmware import (
    READ_FIRMWARE_VERSION,
    FirmwareVersion,
    ReadFirmwareVersion,
    TransferResult,
)
from gbcs.hub_log import (
    DEVICE_LOG_CHANGED,
    READ_DEVICE_LOGS,
    READ_HAN_STATUS,
    ReadDeviceLogs,
    ReadHanStatus,
)
from gbcs.meter_versions import READ_METER_VERSION, ReadMeterVersion
from gbcs.wan import DeliveryResult, DeviceType

EUI64 = 0x02484E4200000010
SECOND = EUI64 + 1
nodes = pytest.mark.parametrize("ezsp", [STACK, 14])
all_nodes = pytest.mark.parametrize(
    "ezsp",
    [STACK, *(pytest.param(one, marks=pytest.mark.matrix) for one in SUPPORTED_VERSIONS)],
)


async def asked(there: Premises, code: int, payload: bytes) -> Any:
    before = len(there.responses(HUB_EUI64))
    there.send(HUB_EUI64, there.acb.command(code, HUB_EUI64, payload, USER))
    return (await there.answer(HUB_EUI64, before)).payload


def number(there: Premises) -> int:
    return invoke_id(there.acb.state.originator_counter + 1)


def hash_of(eui64: int) -> LinkKeyHash:
    return LinkKeyHash(eui64, mmo_hash(link_key(eui64)))


async def test_the_dsp_hears_of_each_change_of_the_log_with_the_hashes_that_count_then() -> None:
    async with bench(ezsp=STACK) as made:
        there = await premises(made, EUI64)
        await there.add(EUI64)
        entered, joined = there.logs()
        assert entered.backup.devices == (LinkKeyHash(EUI64, b""),)  # it has no key yet
        assert joined.backup.devices == (hash_of(EUI64),)
        assert {one.alert_code for one in there.logs()} == {DEVICE_LOG_CHANGED}
        assert {one.backup.extended_pan_id for one in there.logs()} == {EXTENDED_PAN_ID}
        told = [one for one in there.judged if isinstance(one, Alert)]
        assert [one.payload.invoke_id for one in told] == [one.counter for one in told]
        assert read_date_time(joined.date_time) == there.utc_now().replace(microsecond=0)
        await asked(there, CCS02_REMOVE_DEVICE, REMOVE_DEVICE.build(RemoveDevice(1, EUI64)))
        await made.until(lambda: len(there.logs()) == 3)
        assert there.logs()[-1].backup.devices == ()
        assert there.rejected() == []


@all_nodes
async def test_ccs07_tells_log_and_historic_log_with_the_hashes_of_the_sticks_keys(
    ezsp: int | str,
) -> None:
    async with bench(ezsp=ezsp) as made:
        there = await premises(made, EUI64, SECOND)
        await there.add(EUI64)
        await there.add(SECOND)
        await asked(there, CCS02_REMOVE_DEVICE, REMOVE_DEVICE.build(RemoveDevice(1, SECOND)))
        command = READ_DEVICE_LOGS.build(ReadDeviceLogs(number(there)))
        logs = await asked(there, CCS07_READ_LOGS, command)
        assert logs.log.devices == (hash_of(EUI64),)
        assert logs.historic_log.devices == (hash_of(SECOND),)
        assert logs.log.extended_pan_id == EXTENDED_PAN_ID
        assert logs.log_result is logs.historic_log_result is DlmsResult.SUCCESS


async def test_the_historic_log_forgets_the_oldest_of_sixteen() -> None:
    async with bench(ezsp=STACK) as made:
        there = await premises(made, EUI64)
        for each in range(EUI64, EUI64 + MAX_HISTORIC + 1):
            there.name(each)
            assert (await there.registered(each)).succeeded
            await asked(there, CCS02_REMOVE_DEVICE, REMOVE_DEVICE.build(RemoveDevice(1, each)))
        command = READ_DEVICE_LOGS.build(ReadDeviceLogs(number(there)))
        logs = await asked(there, CCS07_READ_LOGS, command)
        devices = [one.device for one in logs.historic_log.devices]
        assert devices == list(range(EUI64 + 1, EUI64 + MAX_HISTORIC + 1))


@nodes
@pytest.mark.parametrize("code", [CCS05_CCS04_READ_LOG, CCS06_READ_LOG])
async def test_a_device_is_active_once_it_is_heard(ezsp: int | str, code: int) -> None:
    async with bench(ezsp=ezsp) as made:
        there = await premises(made, EUI64, SECOND)
        await there.add(EUI64)
        there.name(SECOND)
        assert (await there.registered(SECOND)).succeeded  # and never joins
        await there.version(EUI64)
        command = READ_HAN_STATUS.build(ReadHanStatus(number(there)))
        answer = await asked(there, code, command)
        assert answer.result is DlmsResult.SUCCESS
        there_is, silent = answer.devices
        assert (there_is.device, silent.device) == (EUI64, SECOND)
        assert (there_is.status, silent.status) == (0xC0, 0)
        heard = read_date_time(there_is.last_communication)
        assert isinstance(heard, datetime)
        assert 0 <= (there.utc_now() - heard).total_seconds() < 60
        assert read_date_time(silent.last_communication) is None
        assert there_is.transmission_successes > 0
        assert there_is.transmission_failures == silent.transmission_successes == 0
        if ezsp != STACK:
            assert there_is.greatest_lqi >= there_is.average_lqi >= there_is.least_lqi > 0
            assert 0 > there_is.greatest_rssi >= there_is.least_rssi > -128


async def test_ecs52_tells_the_version_of_the_hub() -> None:
    async with bench(ezsp=STACK) as made:
        there = await premises(made, EUI64)
        command = READ_METER_VERSION.build(ReadMeterVersion(number(there)))
        answer = await asked(there, ECS52_READ_METER_VERSION, command)
        assert answer.firmware_version == FIRMWARE_VERSION


# -- another hub -------------------------------------------------------------------------------


@pytest.mark.requirement("MP170-TCSO", "good")
@all_nodes
async def test_another_hub_takes_the_devices_over_and_updates_them(ezsp: int | str) -> None:
    async with bench(ezsp=ezsp) as made:
        there = await premises(made, EUI64)
        await there.add(EUI64)
        backup = there.logs()[-1].backup
        await taken_away(there)
        other = Successor(there, EUI64)
        await other.hub.start(NEW_SETTINGS)
        assert await other.restored(backup) is DlmsResult.SUCCESS
        assert other.hub.extended_pan_id == EXTENDED_PAN_ID
        assert other.hub.device_log[EUI64].device_type is DeviceType.TYPE_2
        await made.until(lambda: other.tunnels(EUI64), 7200)
        assert other.told(DeviceClassified) == [DeviceClassified(EUI64, DeviceType.PPMID)]
        # Its key is the hash of the one it had, and a third hub needs the hash of that.
        assert other.hub.device_log[EUI64].hashed_key == mmo_hash(mmo_hash(link_key(EUI64)))
        payload = READ_FIRMWARE_VERSION.build(ReadFirmwareVersion())
        read = await other.ask(EUI64, CS08_READ_FIRMWARE_VERSION, payload)
        assert read == FirmwareVersion(OLD)
        other.offer(make_image(4096).data, EUI64)
        await made.until(lambda: there.home.devices[EUI64].build.memory.outbox == (), 7200)
        await made.until(
            lambda: [one.device for one in other.judged if isinstance(one, Alert)][-1] == EUI64,
            7200,
        )
        assert await other.ask(EUI64, CS08_READ_FIRMWARE_VERSION, payload) == FirmwareVersion(NEW)


@nodes
async def test_who_is_taken_for_a_type_2_device_has_no_firmware_and_the_others_have(
    ezsp: int | str,
) -> None:
    async with bench(ezsp=ezsp) as made:
        there = await premises(made, EUI64, SECOND)
        there.name(SECOND)
        assert (await there.registered(SECOND)).succeeded
        model = {"model": without_tunnel(PPMID)}
        await there.home.add(SECOND, admit=False, **(there.gbcs_options(SECOND) | model))
        await there.add(EUI64)
        await made.until(lambda: bool(there.home.hub.device_log[SECOND].hashed_key), 600)
        assert there.home.hub.without_tunnel() == [SECOND]
        backup = there.logs()[-1].backup
        await taken_away(there)
        other = Successor(there, EUI64, SECOND)
        await other.hub.start(NEW_SETTINGS)
        assert await other.restored(backup) is DlmsResult.SUCCESS
        lost = DeviceClassified(SECOND, DeviceType.TYPE_2)
        await made.until(lambda: lost in other.told(DeviceClassified), 86400)
        await made.until(lambda: other.tunnels(EUI64), 7200)
        assert other.hub.without_tunnel() == []  # it is lost already

        failed, image = TransferResult.FILE_TRANSFER_FAILURE, make_image(4096).data
        reference = other.offer(image, SECOND)
        assert other.results(reference) == [DeliveryResult.DELIVERED]
        assert other.transfers(SECOND) == [failed]
        other.offer(image, SECOND, again=reference)
        assert other.transfers(SECOND) == [failed]
        assert other.hub.stored.image.written_bytes == 0  # nobody can have it
        other.offer(image, SECOND, EUI64)
        await made.until(lambda: bool(other.transfers(EUI64)), 7200)
        assert other.transfers(SECOND) == [failed] * 2
        assert other.transfers(EUI64) == [TransferResult.FILE_TRANSFER_SUCCESS]
        assert {one.eui64 for one in other.told(TransferStarted)} == {EUI64}

        # It is one still after a restart.
        await other.hub.stop()
        await other.hub.power_up()
        other.offer(make_image(4096, version=NEW + 1).data, SECOND)
        assert other.transfers(SECOND) == [failed] * 3


async def test_a_log_that_is_none_for_this_hub_is_refused_and_changes_nothing() -> None:
    async with bench(ezsp=STACK) as made:
        there = await premises(made, EUI64)
        await there.add(EUI64)
        backup = there.logs()[-1].backup
        await taken_away(there)
        other = Successor(there, EUI64)
        await other.hub.start(NEW_SETTINGS)
        own = other.hub.extended_pan_id
        many = tuple(hash_of(SECOND + each) for each in range(MAX_DEVICES))
        for changes in (
            {"network": 0},
            {"network": 0xFFFFFFFFFFFFFFFF},
            {"more": many},
            {"more": (hash_of(EUI64),)},
        ):
            assert await other.restored(backup, **changes) is DlmsResult.OTHER_REASON
            assert len(other.hub.device_log) == 0
            assert other.hub.extended_pan_id == own
        assert await other.restored(backup) is DlmsResult.SUCCESS
        assert await other.restored(backup) is DlmsResult.SUCCESS  # as it is already
        assert await other.restored(backup, network=own) is DlmsResult.OTHER_REASON
        emptied = backup.__class__(backup.date_time, backup.extended_pan_id, ())
        assert await other.restored(emptied) is DlmsResult.OTHER_REASON
        assert list(other.hub.device_log) == [EUI64]
        assert other.hub.extended_pan_id == EXTENDED_PAN_ID
        assert other.hub.node.eui64 == NEW_HUB
