"""A hub's device log after a restart: who was entered is there, who was taken out is not."""

from __future__ import annotations

import asyncio

import pytest

from emulator.devices.device_log import MAX_DEVICES, DeviceLog, DeviceLogFull
from emulator.devices.nonvolatile import STEADY, Cut, CutMode, Power, PowerCut, Record, Supply
from gbcs.wan import DeviceType

FIRST, SECOND = 0x02484E4200000010, 0x02484E4200000011
KEYS = {FIRST: bytes(range(16)), SECOND: bytes(range(16, 32))}


def log_of(record: Record, power: Power = STEADY) -> DeviceLog:
    return DeviceLog(asyncio.get_running_loop(), lambda *_: None, record, power)


def entries(log: DeviceLog) -> dict[int, tuple[bytes, DeviceType]]:
    return {eui64: (peer.link_key, peer.device_type) for eui64, peer in log.items()}


async def test_who_was_entered_is_there_after_a_restart_with_key_and_type() -> None:
    record = Record()
    log = log_of(record)
    for eui64, key in KEYS.items():
        log.enter(eui64, key, DeviceType.PPMID)
    log.enter(FIRST, bytes(16), DeviceType.PPMID)  # keeps the key it has
    assert entries(log_of(record)) == entries(log)
    assert entries(log)[FIRST] == (KEYS[FIRST], DeviceType.PPMID)
    log.remove(FIRST)
    log.remove(FIRST)
    assert list(log_of(record)) == [SECOND]
    log.enter(FIRST, bytes(16), DeviceType.PPMID)
    assert entries(log_of(record))[FIRST] == (bytes(16), DeviceType.PPMID)


@pytest.mark.parametrize("mode", CutMode)
async def test_a_cut_while_a_device_is_entered_leaves_all_of_it_or_nothing(mode: CutMode) -> None:
    record = Record()
    log_of(record).enter(FIRST, KEYS[FIRST], DeviceType.PPMID)
    log = log_of(record, Supply(Cut(1, mode)))
    with pytest.raises(PowerCut):
        log.enter(SECOND, KEYS[SECOND], DeviceType.PPMID)
    assert list(log) == [FIRST]
    there = [FIRST, SECOND] if mode is CutMode.AFTER else [FIRST]
    assert list(log_of(record)) == there


async def test_a_full_log_refuses_one_more_and_stores_nothing() -> None:
    record = Record()
    log = log_of(record)
    for eui64 in range(MAX_DEVICES):
        log.enter(eui64, bytes(16), DeviceType.PPMID)
    before = record.read()
    with pytest.raises(DeviceLogFull):
        log.enter(FIRST, bytes(16), DeviceType.PPMID)
    assert record.read() == before
