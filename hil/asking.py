"""Whoever asks the person at the table something, and whoever has to be quiet meanwhile.

Source: ours. A process has one table: a screen registers here, a question says when it begins and
ends, and neither knows the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

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
