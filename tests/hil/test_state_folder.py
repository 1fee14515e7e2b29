"""What processes of their own keep: in the folder before anybody is told, and for one at a time."""

from __future__ import annotations

import resource
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from emulator.devices.flash import PAGE_BYTES, Flash, FlashContents, Slot, SpareState
from emulator.devices.gbcs_half import GbcsMemory
from emulator.devices.image_store import ImageStore
from emulator.devices.nonvolatile import PowerCut
from firmware_images.samples import identity, maker_key, seeded_image
from hil.errors import RequestError
from hil.kept import Kept
from hil.seeds import Seeds
from hil.state_folder import STATE_FILE, StateFolder

FACTORY = 0x00010100
SEEDS = Seeds(1)
IMAGE = seeded_image(
    identity("ppmid"),
    file_version=FACTORY + 0x100,
    size_bytes=3 * PAGE_BYTES + 100,
    random_bits=SEEDS.stream("image").getrandbits,
    maker_key=maker_key(SEEDS.stream("maker").getrandbits),
)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[StateFolder]:
    held = StateFolder(tmp_path / "state", "ppmid")
    yield held
    held.close()


def lost(reason: str) -> None:
    raise AssertionError(reason)


def as_found(folder: StateFolder) -> FlashContents:
    """The flash as a process started now would find it."""
    return Kept(folder, lost).flash(FACTORY)


class KeptFlash(RuleBasedStateMachine):
    """Whatever is done to a flash, the folder has it at once, down to the last page."""

    def __init__(self) -> None:
        super().__init__()
        self._place = TemporaryDirectory()
        self._folder = StateFolder(Path(self._place.name) / "state", "ppmid")
        self._flash = self._restarted()

    def _restarted(self) -> Flash:
        """The flash of a process started now; what is not in the folder is not in it."""
        power = Kept(self._folder, lost)
        self._flash = Flash(power.flash(FACTORY), power=power)
        return self._flash

    @rule()
    def begin(self) -> None:
        self._flash.begin(len(IMAGE.data))

    @rule()
    def die(self) -> None:
        self._restarted()

    @precondition(lambda self: self._flash.is_filling)
    @rule(octets=st.integers(1, 2 * PAGE_BYTES))
    def write(self, octets: int) -> None:
        at = self._flash.written_bytes
        self._flash.write(at, IMAGE.data[at : at + octets])

    @precondition(lambda self: self._flash.is_complete)
    @rule()
    def activate(self) -> None:
        self._flash.mark_bootable()
        assert self._restarted().boot().sha256 == IMAGE.sha256

    @rule()
    def boot(self) -> None:
        self._restarted().boot()

    @rule()
    def confirm(self) -> None:
        self._flash.confirm()

    @rule()
    def erase(self) -> None:
        self._flash.erase()

    @invariant()
    def the_folder_has_it(self) -> None:
        found, contents = as_found(self._folder), self._flash.contents
        assert found.state == contents.state
        for slot in (0, 1):
            assert found.slots[slot].pages == contents.slots[slot].pages
            assert found.slots[slot].checks == contents.slots[slot].checks

    def teardown(self) -> None:
        self._folder.close()
        self._place.cleanup()


TestKeptFlash = KeptFlash.TestCase
TestKeptFlash.settings = settings(max_examples=15, stateful_step_count=20)


def test_a_download_goes_on_where_its_last_whole_page_is(folder: StateFolder) -> None:
    power = Kept(folder, lost)
    flash = Flash(power.flash(FACTORY), power=power)
    flash.begin(len(IMAGE.data))
    for at in range(0, 2 * PAGE_BYTES + 500, 50):
        flash.write(at, IMAGE.data[at : at + 50])
    assert flash.written_bytes > 2 * PAGE_BYTES
    again = Kept(folder, lost)
    flash = Flash(again.flash(FACTORY), power=again)
    assert flash.written_bytes == 2 * PAGE_BYTES
    flash.write(2 * PAGE_BYTES, IMAGE.data[2 * PAGE_BYTES :])
    flash.mark_bootable()
    last = Kept(folder, lost)
    flash = Flash(last.flash(FACTORY), power=last)
    assert flash.spare_state is SpareState.MARKED
    assert flash.boot().file_version == IMAGE.header.file_version
    assert flash.read(Slot.RUNNING) == IMAGE.data


def test_an_image_is_there_whole_or_not_at_all(folder: StateFolder) -> None:
    power = Kept(folder, lost)
    store = ImageStore(contents=power.image(), power=power)
    store.put(IMAGE)
    found = ImageStore(contents=Kept(folder, lost).image()).slot
    assert found is not None
    assert found.data == IMAGE.data
    store.clear()
    assert ImageStore(contents=Kept(folder, lost).image()).slot is None
    assert folder.read_all("image") == []


def test_an_image_that_was_changed_in_the_folder_is_refused(folder: StateFolder) -> None:
    power = Kept(folder, lost)
    ImageStore(contents=power.image(), power=power).put(IMAGE)
    folder.write({"image": IMAGE.data[:-1]})
    with pytest.raises(RequestError, match="the image in it is damaged"):
        Kept(folder, lost).image()


def test_what_the_folder_does_not_take_is_said_once_and_nothing_is_stored_after_it(
    tmp_path: Path, folder: StateFolder
) -> None:
    told: list[str] = []
    power = Kept(folder, told.append)
    memory = GbcsMemory.restarted(power.record("gbcs"), power)
    memory.keep("gbcs: activating", activating=1)
    with a_full_disk(tmp_path / "state"), pytest.raises(PowerCut):
        memory.keep("gbcs: activating", activating=2)
    (sentence,) = told
    assert "state cannot be written: " in sentence
    with pytest.raises(PowerCut):
        memory.keep("gbcs: activating", activating=3)
    assert len(told) == 1
    again = Kept(folder, lost)
    assert GbcsMemory.restarted(again.record("gbcs"), again).activating == 1


@contextmanager
def a_full_disk(folder: Path) -> Iterator[None]:
    """No file may grow beyond what the largest in the folder has."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    largest = max(path.stat().st_size for path in folder.iterdir())
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_only_its_owner_reads_it(tmp_path: Path, folder: StateFolder) -> None:
    folder.write({"key": b"k"})
    modes = {path.stat().st_mode & 0o077 for path in (tmp_path / "state").iterdir()}
    assert modes == {0}
    assert (tmp_path / "state").stat().st_mode & 0o077 == 0


def test_one_process_has_it_at_a_time(tmp_path: Path, folder: StateFolder) -> None:
    told = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from pathlib import Path; from hil.state_folder import StateFolder\n"
            "StateFolder(Path(sys.argv[1]), 'ppmid')",
            str(tmp_path / "state"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "BenchBroke" in told.stderr
    assert "is another process's state at this moment" in told.stderr
    folder.close()
    StateFolder(tmp_path / "state", "ppmid").close()


def test_it_is_of_one_device(tmp_path: Path, folder: StateFolder) -> None:
    folder.claim(1)
    folder.claim(1)
    with pytest.raises(RequestError, match="is the state of 0000000000000001, and the radio is"):
        folder.claim(2)
    folder.close()
    with pytest.raises(RequestError, match="is the state of a ppmid, not of a hub"):
        StateFolder(tmp_path / "state", "hub")


@pytest.mark.parametrize("rubbish", [b"no database", b"SQLite format 3\0" + bytes(100)])
def test_rubbish_is_refused_and_left_as_it_is(tmp_path: Path, rubbish: bytes) -> None:
    file = tmp_path / STATE_FILE
    file.write_bytes(rubbish)
    with pytest.raises(RequestError, match="is no state of hanbench"):
        StateFolder(tmp_path, "ppmid")
    assert file.read_bytes() == rubbish


def test_somebody_elses_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / STATE_FILE) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    before = (tmp_path / STATE_FILE).read_bytes()
    with pytest.raises(RequestError, match="is a database of something else"):
        StateFolder(tmp_path, "ppmid")
    assert (tmp_path / STATE_FILE).read_bytes() == before


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RequestError, match="cannot hold a state"):
        StateFolder(tmp_path / "file" / "state", "ppmid")
