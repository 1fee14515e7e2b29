"""The hub's one slot: the newest file has it, and no file above the limit gets in."""

from __future__ import annotations

import pytest
from ota_rig import KIND, MAKER, NEW, make_image

from emulator.devices.image_store import PAGE_BYTES, ImageStore, ImageStoreError, StoreContents
from emulator.devices.nonvolatile import Cut, CutMode, PowerCut, Supply


def test_a_file_is_found_by_the_name_a_block_request_gives_it() -> None:
    store = ImageStore()
    assert store.slot is None
    assert store.find(MAKER, KIND, NEW) is None
    image = make_image()
    assert store.put(image) is None
    stored = store.find(MAKER, KIND, NEW)
    assert stored is store.slot is not None
    assert stored.data is image.data
    assert (stored.ids, stored.size_bytes) == ((MAKER, KIND, NEW), 1000)
    for other in ((MAKER + 1, KIND, NEW), (MAKER, KIND + 1, NEW), (MAKER, KIND, NEW + 1)):
        assert store.find(*other) is None


def test_the_newer_file_overwrites_and_the_older_is_handed_back() -> None:
    store = ImageStore()
    first, second = make_image(), make_image(version=NEW + 1)
    store.put(first)
    displaced = store.put(second)
    assert displaced is not None
    assert displaced.data is first.data
    assert store.find(MAKER, KIND, NEW) is None


def test_the_same_file_again_displaces_nothing() -> None:
    store = ImageStore()
    store.put(make_image())
    held = store.slot
    assert store.put(make_image()) is None
    assert store.slot is held


def test_a_file_of_the_same_name_with_other_octets_is_another_file() -> None:
    store = ImageStore()
    store.put(make_image(1000))
    displaced = store.put(make_image(1001))
    assert displaced is not None
    assert displaced.size_bytes == 1000


@pytest.mark.requirement("MP170-SIZE", "bad")
@pytest.mark.parametrize("limit", [768_000, 750_000])
def test_one_octet_above_the_limit_is_refused_and_the_slot_stays_as_it_is(limit: int) -> None:
    store = ImageStore(limit_bytes=limit)
    store.put(make_image(limit))
    held = store.slot
    with pytest.raises(ImageStoreError, match=f"image has {limit + 1} bytes, the limit is {limit}"):
        store.put(make_image(limit + 1))
    assert store.slot is held


def test_an_emptied_slot_holds_nothing() -> None:
    store = ImageStore()
    store.put(make_image())
    assert store.clear() is not None
    assert store.slot is None
    assert store.clear() is None


# -- power cuts ----------------------------------------------------------------------------


def test_a_stored_file_is_there_after_a_restart_and_one_half_stored_is_not() -> None:
    contents = StoreContents()
    image = make_image(3 * PAGE_BYTES)
    with pytest.raises(PowerCut, match="image: page 1"):
        ImageStore(contents=contents, power=Supply(Cut(2, CutMode.TORN))).put(image)
    assert contents.written_bytes == PAGE_BYTES * 3 // 2
    store = ImageStore(contents=contents)
    assert store.slot is None
    store.put(image)
    again = ImageStore(contents=contents).slot
    assert again is not None
    assert again == store.slot
    assert again.data is image.data


def test_the_file_before_is_gone_as_soon_as_the_next_one_is_begun() -> None:
    contents = StoreContents()
    ImageStore(contents=contents).put(make_image())
    for number, mode in ((1, CutMode.AFTER), (2, CutMode.BEFORE), (3, CutMode.TORN)):
        with pytest.raises(PowerCut):
            ImageStore(contents=contents, power=Supply(Cut(number, mode))).put(
                make_image(version=NEW + 1)
            )
        assert ImageStore(contents=contents).slot is None
        ImageStore(contents=contents).put(make_image())


def test_a_file_that_has_rotted_is_not_served() -> None:
    contents = StoreContents()
    ImageStore(contents=contents).put(make_image())
    contents.data = contents.data[:-1] + b"\0"
    assert ImageStore(contents=contents).slot is None


def test_a_cleared_slot_is_empty_after_a_restart() -> None:
    store = ImageStore()
    store.put(make_image())
    held = store.slot
    assert store.clear() is held
    assert ImageStore(contents=store.contents).slot is None
    assert store.clear() is None
