"""A question to the person at the table, and whoever has to be quiet meanwhile.

Source: ours. A process has one table: a screen registers here, a question says when it begins and
ends, and neither knows the other. The answer is awaited on the loop and not by a thread, which
would hold up the end of the program until somebody presses Enter.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Final, TextIO

ANSWER_OCTETS: Final = 200

Quiet = Callable[[], AbstractContextManager[None]]

_watchers: list[Quiet] = []


@contextmanager
def watching(quiet: Quiet) -> Iterator[None]:
    """From now on `quiet` is entered while somebody is asked."""
    _watchers.append(quiet)
    try:
        yield
    finally:
        _watchers.remove(quiet)


@contextmanager
def asking() -> Iterator[None]:
    """A question is on the terminal."""
    with ExitStack() as stack:
        for quiet in tuple(_watchers):
            stack.enter_context(quiet())
        yield


async def ask(question: str, answers: TextIO, shown: TextIO) -> str:
    """One line of an answer with its end; empty where nobody answers."""
    with asking():
        print(question, end=" ", file=shown, flush=True)
        try:
            descriptor = answers.fileno()
        except OSError:  # a text in memory
            return answers.readline(ANSWER_OCTETS)
        return await _line_of(descriptor)


async def _line_of(descriptor: int) -> str:
    """Octet by octet: what comes after the line is for who asks next."""
    octets = b""
    while not octets.endswith(b"\n") and len(octets) < ANSWER_OCTETS:
        await _readable(descriptor)
        octet = os.read(descriptor, 1)
        if not octet:
            break
        octets += octet
    return octets.decode(errors="replace")


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    try:
        loop.add_reader(descriptor, told.set)
    except PermissionError:  # a file on a disk has its next octet at any time
        return
    try:
        await told.wait()
    finally:
        loop.remove_reader(descriptor)
