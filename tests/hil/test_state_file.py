"""A stick's memory as a file: whole or the one before, one owner, no temporary left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import stat
import time
from pathlib import Path

import pytest

from emulator.zigbee.state import StackState
from hil.errors import BenchBroke, RequestError
from hil.state_file import StateFile

FIRST, SECOND = StackState(1), StackState(1, nwk_counter=1024)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "stick.json"


def test_what_was_written_is_there_for_the_next_owner(path: Path) -> None:
    file = StateFile(path)
    assert file.state is None
    assert not path.exists()
    for state in (FIRST, SECOND):
        file.write(state.to_json())
        assert StackState.from_json(path.read_text()) == state
    file.close()
    again = StateFile(path)
    assert again.state == SECOND
    again.close()
    assert [one.name for one in path.parent.iterdir()] == ["stick.json"]


def test_nobody_else_can_read_the_keys(path: Path) -> None:
    before = os.umask(0)
    try:
        file = StateFile(path)
        file.write(FIRST.to_json())
        file.close()
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_one_memory_is_one_stick_s_through_all_replacements(path: Path) -> None:
    file = StateFile(path)
    for _ in range(3):
        file.write(FIRST.to_json())
        with pytest.raises(BenchBroke, match="another stick's memory"):
            StateFile(path)
    file.close()
    StateFile(path).close()


def test_a_file_that_appeared_meanwhile_is_not_overwritten(path: Path) -> None:
    file = StateFile(path)
    path.write_text("mine")
    with pytest.raises(FileExistsError):
        file.write(FIRST.to_json())
    file.close()
    assert path.read_text() == "mine"


def test_a_link_to_a_file_is_followed_and_kept(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.json"
    link.symlink_to(path)
    file = StateFile(link)
    file.write(FIRST.to_json())
    file.write(SECOND.to_json())
    file.close()
    assert link.is_symlink()
    assert StackState.from_json(path.read_text()) == SECOND


@pytest.mark.parametrize(
    ("octets", "sentence"),
    [
        (b"", "no JSON"),
        (b"\xff\xfe", "no text"),
        (b"{}", "schema"),
        (FIRST.to_json().encode()[:-5], "no JSON"),
        (FIRST.to_json().replace('"nwk_counter": 0', '"nwk_counter": -1').encode(), "nwk_counter"),
    ],
)
def test_a_damaged_file_is_refused_and_stays_as_it_is(
    path: Path, octets: bytes, sentence: str
) -> None:
    path.write_bytes(octets)
    with pytest.raises(RequestError, match=sentence) as refused:
        StateFile(path)
    assert str(path) in str(refused.value)
    assert path.read_bytes() == octets
    path.write_text(FIRST.to_json())
    StateFile(path).close()  # and nothing holds it


def test_a_folder_is_no_memory(tmp_path: Path) -> None:
    with pytest.raises(RequestError):
        StateFile(tmp_path)
    missing = StateFile(tmp_path / "nowhere" / "stick.json")
    with pytest.raises(FileNotFoundError):
        missing.write(FIRST.to_json())


def _write_for_ever(path: Path) -> None:
    file = StateFile(path)
    assert file.state is not None
    counter = file.state.nwk_counter
    while True:
        counter += 1
        file.write(StackState(1, nwk_counter=counter).to_json())


@pytest.mark.real_clock
def test_whoever_is_killed_while_writing_leaves_a_whole_document(path: Path) -> None:
    first = StateFile(path)
    first.write(StackState(1).to_json())
    first.close()
    last = 0
    for _ in range(8):
        writer = multiprocessing.get_context("fork").Process(target=_write_for_ever, args=(path,))
        writer.start()
        assert writer.pid is not None
        begun = path.stat().st_ino
        patience = time.monotonic() + 30
        while path.stat().st_ino == begun:  # it is writing
            assert time.monotonic() < patience
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        file = StateFile(path)  # nothing holds it any more
        assert file.state is not None
        assert file.state.nwk_counter > last
        last = file.state.nwk_counter
        file.close()
