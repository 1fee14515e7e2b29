"""Questions and their answers, at a terminal, through a pipe or by options.

Source: ours. A wrong answer is told and asked for again at a terminal; from a pipe, or where it
came by an option, it ends the command.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

import click

from hil.errors import RequestError

_T = TypeVar("_T")


class Questions:
    """With `assume_defaults` nothing is asked, and what has no default is an error."""

    def __init__(self, *, assume_defaults: bool) -> None:
        self._assume_defaults = assume_defaults
        self._at_terminal = sys.stdin.isatty()

    def say(self, text: str) -> None:
        if not self._assume_defaults:
            click.echo(text)

    def ask(
        self,
        text: str,
        read: Callable[[str], _T],
        *,
        option: str,
        given: str | None = None,
        default: str | None = None,
    ) -> _T:
        """The answer, as `read` takes it; `read` raises RequestError or ValueError with a sentence
        for what it does not take."""
        if given is not None or self._assume_defaults:
            answer = default if given is None else given
            if answer is None:
                raise RequestError(f"{option} is needed: it has no default")
            return _read(read, answer, option)
        shown = f" [{default}]" if default else ""
        while True:
            answer = self._line(f"{text}{shown}: ") or default or ""
            try:
                return _read(read, answer, _shortened(text))
            except RequestError as error:
                if not self._at_terminal:
                    raise
                click.echo(f"  {error}")

    def confirm(
        self, text: str, *, option: str, given: bool | None = None, default: bool = False
    ) -> bool:
        """Yes or no."""
        word = None if given is None else ("yes" if given else "no")
        return self.ask(
            text, _yes_or_no, option=option, given=word, default="yes" if default else "no"
        )

    def _line(self, prompt: str) -> str:
        try:
            line = input(prompt)
        except EOFError:
            click.echo()
            raise RequestError(
                f"the answers end at '{_shortened(prompt)}': --yes takes the defaults for the rest"
            ) from None
        except UnicodeDecodeError:
            raise RequestError("an answer is not UTF-8 text") from None
        if not self._at_terminal:
            click.echo(line)  # so that what was answered stands in a log
        return line.strip()


def _shortened(question: str) -> str:
    """Its words alone, without what may be chosen."""
    return question.rpartition("\n")[2].partition(" (")[0].partition(" [")[0].rstrip(": ")


def _read(read: Callable[[str], _T], answer: str, what: str) -> _T:
    try:
        return read(answer)
    except RequestError:
        raise
    except ValueError as error:
        raise RequestError(f"{what}: {error}") from None


def _yes_or_no(answer: str) -> bool:
    if answer.lower() not in ("y", "yes", "n", "no"):
        raise ValueError(f"{answer!r} is neither yes nor no")
    return answer.lower().startswith("y")
