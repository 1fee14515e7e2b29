"""What ends a run early, and with which exit code.

Source: DESIGN, "What it promises to the outside" (exit codes 2 and 3).
"""

from __future__ import annotations

from typing import ClassVar


class HanbenchError(Exception):
    """One sentence that names the thing and the way out; the command line prints it and exits."""

    exit_code: ClassVar[int] = 3


class RequestError(HanbenchError):
    """The caller broke the rule: a file, an option or an image is wrong."""

    exit_code: ClassVar[int] = 2


class BenchBroke(HanbenchError):
    """The bench itself gave out: a radio was lost, a port was taken, nothing moves any more."""

    exit_code: ClassVar[int] = 3


class VirtualDeadlock(BenchBroke):
    """Tasks wait, yet nothing is scheduled that could wake them.

    `waiting` holds one line for each of them: its name, and the source line it awaits.
    """

    def __init__(self, sentence: str, waiting: tuple[str, ...] = ()) -> None:
        super().__init__(sentence)
        self.waiting = waiting
