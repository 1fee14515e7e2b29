"""What a device stores: the old image or the new one runs, and every octet is the one received."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ota_rig import NEW, OLD, make_image

from emulator.devices.flash import (
    PAGE_BYTES,
    Flash,
    FlashContents,
    FlashError,
    PagePool,
    RunningImage,
    Slot,
    SpareState,
)
from emulator.devices.nonvolatile import Cut, CutMode, PowerCut, Record, Supply
from firmware_images.image import FirmwareImage


def new_flash(pool: PagePool | None = None) -> Flash:
    return Flash(FlashContents.factory(OLD), pool)


def fill(flash: Flash, data: bytes, step: int = 56) -> None:
    flash.begin(len(data))
    for offset in range(0, len(data), step):
        flash.write(offset, data[offset : offset + step])


@given(size=st.integers(1, 3 * PAGE_BYTES + 1), step=st.integers(1, 9000), cut=st.integers(0, 3000))
def test_what_is_read_back_is_what_was_written(size: int, step: int, cut: int) -> None:
    data = hashlib.shake_256(bytes([size & 0xFF])).digest(size)
    flash = new_flash()
    flash.begin(size)
    for offset in range(0, size, step):
        flash.write(offset, data[offset : offset + step])
        stored = data[: offset + step]
        assert flash.written_bytes == len(stored)
        assert flash.sha256() == hashlib.sha256(stored).hexdigest()
    assert flash.is_complete
    assert flash.read(Slot.SPARE) == data
    assert flash.head(cut) == data[:cut]


def test_a_page_of_zeros_or_ones_counts_as_received() -> None:
    for octet in (b"\x00", b"\xff"):
        flash = new_flash()
        fill(flash, octet * (2 * PAGE_BYTES), step=PAGE_BYTES)
        rebuilt = Flash(flash.contents)
        assert rebuilt.written_bytes == 2 * PAGE_BYTES
        assert rebuilt.is_complete


def test_a_device_restarted_in_a_download_knows_how_far_it_was() -> None:
    data = make_image(3 * PAGE_BYTES).data
    flash = new_flash()
    flash.begin(len(data))
    flash.write(0, data[: PAGE_BYTES + 100])
    rebuilt = Flash(flash.contents)
    assert rebuilt.written_bytes == PAGE_BYTES  # the page that was not full is lost
    rebuilt.write(PAGE_BYTES, data[PAGE_BYTES:])
    assert rebuilt.sha256() == hashlib.sha256(data).hexdigest()


def test_the_new_image_runs_after_boot_and_after_every_later_restart() -> None:
    image = make_image(PAGE_BYTES + 17)
    flash = new_flash()
    fill(flash, image.data)
    flash.mark_bootable()
    assert flash.running == RunningImage(OLD)
    restarted = Flash(flash.contents)
    expected = RunningImage(NEW, len(image.data), hashlib.sha256(image.data).hexdigest())
    assert restarted.boot() == expected
    assert Flash(restarted.contents).boot() == expected
    assert restarted.read(Slot.RUNNING) == image.data


def test_without_a_mark_the_old_image_runs() -> None:
    flash = new_flash()
    fill(flash, make_image().data)
    assert flash.boot() == RunningImage(OLD)
    assert Flash(flash.contents).boot() == RunningImage(OLD)


def test_a_marked_slot_that_is_no_file_leaves_the_old_image_running() -> None:
    flash = new_flash()
    fill(flash, bytes(100))
    flash.mark_bootable()
    assert flash.boot() == RunningImage(OLD)
    assert flash.contents.state.spare_state is SpareState.IDLE


def test_a_marked_slot_the_boot_loader_objects_to_leaves_the_old_image_running() -> None:
    image = make_image(PAGE_BYTES + 17)
    flash = new_flash()
    fill(flash, image.data)
    flash.mark_bootable()
    seen: list[bytes] = []

    def objects(judged: Flash) -> str:
        seen.append(judged.read(Slot.SPARE))
        return "not for this board"

    assert Flash(flash.contents).boot(objects) == RunningImage(OLD)
    assert seen == [image.data]
    assert flash.contents.state.spare_state is SpareState.IDLE
    # it is not tried again, and the next download is as any other
    assert Flash(flash.contents).boot() == RunningImage(OLD)
    fill(flash, image.data)
    flash.mark_bootable()
    assert flash.boot(lambda _: None).file_version == NEW


def test_a_boot_loader_judges_nothing_that_was_not_marked() -> None:
    flash = new_flash()
    fill(flash, make_image().data)
    judged: list[Flash] = []
    flash.boot(lambda one: judged.append(one))
    assert judged == []


def test_a_second_update_leaves_the_first_running_until_it_is_booted() -> None:
    first, second = make_image(5000), make_image(6000, version=NEW + 1)
    flash = new_flash()
    fill(flash, first.data)
    flash.mark_bootable()
    flash.boot()
    fill(flash, second.data)
    assert flash.read(Slot.RUNNING) == first.data
    flash.mark_bootable()
    assert flash.boot().file_version == NEW + 1
    assert flash.read(Slot.SPARE) == first.data


def test_a_download_never_touches_what_runs() -> None:
    image = make_image(5000)
    flash = new_flash()
    fill(flash, image.data)
    flash.mark_bootable()
    running = flash.boot()
    flash.begin(100)
    flash.erase()
    fill(flash, bytes(100))
    assert flash.running == running
    assert flash.read(Slot.RUNNING) == image.data


def test_octets_out_of_order_or_past_the_end_are_refused_and_change_nothing() -> None:
    flash = new_flash()
    with pytest.raises(FlashError, match="no download has begun"):
        flash.write(0, b"x")
    flash.begin(10)
    flash.write(0, b"abcd")
    with pytest.raises(FlashError, match="offset 0 is not the next one, 4"):
        flash.write(0, b"abcd")
    with pytest.raises(FlashError, match="offset 5 is not the next one, 4"):
        flash.write(5, b"e")
    with pytest.raises(FlashError, match="7 octets at 4 run past the end at 10"):
        flash.write(4, bytes(7))
    assert flash.read(Slot.SPARE) == b"abcd"
    with pytest.raises(FlashError, match="4 of 10 bytes are no image to boot"):
        flash.mark_bootable()


@pytest.mark.parametrize("size", [0, -1, 768_001])
def test_a_file_larger_than_the_slot_is_refused_before_anything_is_erased(size: int) -> None:
    flash = new_flash()
    fill(flash, b"kept")
    with pytest.raises(FlashError, match="do not fit a slot of 768000"):
        flash.begin(size)
    assert flash.read(Slot.SPARE) == b"kept"


def test_equal_pages_of_many_devices_are_one_object_in_memory() -> None:
    pool = PagePool()
    data = make_image(4 * PAGE_BYTES).data
    devices = [new_flash(pool) for _ in range(10)]
    for flash in devices:
        fill(flash, data)
    assert len(pool) == 4
    pages = [flash.contents.slots[1].pages for flash in devices]
    assert all(page is pages[0][at] for row in pages for at, page in enumerate(row))


def test_pages_nobody_holds_are_forgotten() -> None:
    pool = PagePool()
    first, second = new_flash(pool), new_flash(pool)
    data = make_image(2 * PAGE_BYTES).data
    fill(first, data)
    fill(second, data)
    first.erase()
    assert len(pool) == 2
    second.erase()
    assert len(pool) == 0
    with_other_pool = new_flash()
    fill(with_other_pool, data)
    stranger = Flash(with_other_pool.contents, pool)
    stranger.erase()
    assert len(pool) == 0


# -- trial, confirmation, the way back -----------------------------------------------------


def on_trial(image: FirmwareImage, contents: FlashContents | None = None) -> Flash:
    flash = Flash(contents or FlashContents.factory(OLD))
    fill(flash, image.data)
    flash.mark_bootable()
    flash.boot()
    return flash


def test_a_new_image_that_never_confirms_makes_room_for_the_old_one_after_three_starts() -> None:
    first, second = make_image(5000), make_image(6000, version=NEW + 1)
    flash = on_trial(first)
    flash.confirm()
    flash = on_trial(second, flash.contents)
    versions = [flash.running.file_version]
    for _ in range(4):
        flash = Flash(flash.contents)
        versions.append(flash.boot().file_version)
    assert versions == [NEW + 1, NEW + 1, NEW + 1, NEW, NEW]
    assert flash.read(Slot.RUNNING) == first.data
    assert not flash.is_on_trial


def test_a_confirmed_image_stays_however_often_it_starts() -> None:
    flash = on_trial(make_image(5000))
    assert flash.is_on_trial
    flash.confirm()
    for _ in range(10):
        flash = Flash(flash.contents)
        assert flash.boot().file_version == NEW
    assert not flash.is_on_trial


def test_a_way_back_to_the_factory_image_is_a_way_back() -> None:
    flash = on_trial(make_image(5000))
    for _ in range(3):
        flash = Flash(flash.contents)
        flash.boot()
    assert flash.running == RunningImage(OLD)


def test_a_new_image_that_takes_the_next_update_has_come_up() -> None:
    flash = on_trial(make_image(5000))
    flash.begin(100)
    for _ in range(5):
        flash = Flash(flash.contents)
        assert flash.boot().file_version == NEW


# -- power cuts ----------------------------------------------------------------------------


def update(contents: FlashContents, power: Supply, data: bytes) -> None:
    """What firmware and boot loader do from the begin of an update to its confirmation."""
    flash = Flash(contents, power=power)
    if flash.running.file_version == NEW:
        flash.boot()
        flash.confirm()
        return
    if flash.contents.state.spare_state is not SpareState.MARKED:
        if flash.size_bytes != len(data):
            flash.begin(len(data))
        for offset in range(flash.written_bytes, len(data), 512):
            flash.write(offset, data[offset : offset + 512])
        flash.mark_bootable()
    flash = Flash(contents, power=power)
    flash.boot()
    flash.confirm()


DATA = make_image(3 * PAGE_BYTES + 100).data


def operations(before: FlashContents) -> list[str]:
    power = Supply()
    update(before, power, DATA)
    return power.operations


def test_every_change_of_the_flash_is_a_named_operation() -> None:
    assert operations(FlashContents.factory(OLD)) == [
        "spare: forget",
        "spare: begin",
        *(f"spare: page {number}" for number in range(4)),
        "spare: mark",
        "boot: swap",
        "boot: confirm",
    ]
    flash = on_trial(make_image(5000, version=OLD))
    assert operations(flash.contents)[:3] == ["spare: forget", "spare: begin", "spare: page 0"]


@pytest.mark.parametrize("mode", CutMode)
@pytest.mark.parametrize("number", range(1, 10))
def test_after_a_power_cut_at_any_operation_the_old_or_the_new_image_runs(
    number: int, mode: CutMode
) -> None:
    contents = FlashContents.factory(OLD)
    with pytest.raises(PowerCut):
        update(contents, Supply(Cut(number, mode)), DATA)
    running = Flash(contents).running
    assert running.file_version in (OLD, NEW)
    if running.file_version == NEW:
        assert running.sha256 == hashlib.sha256(DATA).hexdigest()
    update(contents, Supply(), DATA)
    flash = Flash(contents)
    assert flash.running == RunningImage(NEW, len(DATA), hashlib.sha256(DATA).hexdigest())
    assert flash.read(Slot.RUNNING) == DATA


def test_a_torn_page_is_not_taken_for_one_that_was_received() -> None:
    for octets in (DATA, b"\xff" * len(DATA)):
        contents = FlashContents.factory(OLD)
        flash = Flash(contents, power=Supply(Cut(4, CutMode.TORN)))
        with pytest.raises(PowerCut, match="at operation 4, spare: page 1"):
            fill(flash, octets)
        rebuilt = Flash(contents)
        assert rebuilt.written_bytes == PAGE_BYTES
        assert rebuilt.read(Slot.SPARE) == octets[:PAGE_BYTES]
        rebuilt.write(PAGE_BYTES, octets[PAGE_BYTES : PAGE_BYTES + 100])
        assert rebuilt.read(Slot.SPARE) == octets[: PAGE_BYTES + 100]
        rebuilt.write(PAGE_BYTES + 100, octets[PAGE_BYTES + 100 :])
        assert rebuilt.read(Slot.SPARE) == octets


def test_a_torn_erase_leaves_nothing_that_counts_as_received() -> None:
    flash = on_trial(make_image(3 * PAGE_BYTES))
    flash.confirm()
    fill(flash, DATA)
    torn = Flash(flash.contents, power=Supply(Cut(2, CutMode.TORN)))
    with pytest.raises(PowerCut, match="spare: erase"):
        torn.erase()
    rebuilt = Flash(flash.contents)
    assert rebuilt.written_bytes == 0
    assert not rebuilt.is_filling
    assert rebuilt.boot().file_version == NEW


def test_a_marked_image_whose_page_has_rotted_is_not_booted() -> None:
    flash = new_flash()
    fill(flash, DATA)
    flash.mark_bootable()
    stored = flash.contents.slots[1]
    stored.pages[2] = bytes(PAGE_BYTES)
    assert Flash(flash.contents).boot() == RunningImage(OLD)


@given(st.lists(st.binary(max_size=40), max_size=5), st.integers(1, 6), st.sampled_from(CutMode))
def test_a_record_holds_what_was_written_last_or_what_was_before(
    bodies: list[bytes], number: int, mode: CutMode
) -> None:
    record, power = Record(b"first"), Supply(Cut(number, mode))
    written = [b"first"]
    try:
        for body in bodies:
            written.append(body)
            record.write(power, "record", body)
    except PowerCut:
        assert record.read() == written[-1 if mode is CutMode.AFTER else -2]
        record.write(Supply(), "record", b"again")
        written.append(b"again")
    assert record.read() == written[-1]
    assert Record().read() is None
