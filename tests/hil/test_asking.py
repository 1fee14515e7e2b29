"""Answers of who is at the table come one by one, from whatever they are read."""

from __future__ import annotations

import asyncio
import io
import os
from pathlib import Path
from typing import TextIO

import pytest

from hil.asking import ANSWER_OCTETS, ask

pytestmark = pytest.mark.real_clock


async def answers_of(answers: TextIO, count: int) -> list[str]:
    return [await ask("?", answers, io.StringIO()) for _ in range(count)]


async def test_what_is_typed_ahead_is_the_answer_to_the_next_question() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading) as answers, os.fdopen(writing, "wb", buffering=0) as typed:
        typed.write(b"done\nn\xff\nhal")
        assert await answers_of(answers, 2) == ["done\n", "n\ufffd\n"]
        asyncio.get_running_loop().call_later(0.01, typed.write, b"f\n")
        assert await answers_of(answers, 1) == ["half\n"]
        typed.close()
        assert await answers_of(answers, 1) == [""]


async def test_a_file_and_a_text_answer_as_well(tmp_path: Path) -> None:
    (tmp_path / "answers").write_text("y\nn\n")
    with (tmp_path / "answers").open() as answers:
        assert await answers_of(answers, 3) == ["y\n", "n\n", ""]
    assert await answers_of(io.StringIO("y\nn\n"), 3) == ["y\n", "n\n", ""]


async def test_an_answer_without_an_end_has_one(tmp_path: Path) -> None:
    (tmp_path / "answers").write_text("y" * 3 * ANSWER_OCTETS)
    with (tmp_path / "answers").open() as answers:
        assert await answers_of(answers, 1) == ["y" * ANSWER_OCTETS]


async def test_who_gives_up_waiting_leaves_nothing_behind_on_the_loop() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading) as answers, os.fdopen(writing, "wb", buffering=0) as typed:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(answers_of(answers, 1), 0.01)
        assert not asyncio.get_running_loop().remove_reader(reading)
        typed.write(b"late\n")
        assert await answers_of(answers, 1) == ["late\n"]
