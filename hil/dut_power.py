"""How a device under test gets its power: by hand, by a command, by a labgrid place.

Source: ours; labgrid's `labgrid-client -p PLACE power on|off`. What was done, by whom and when is
told to `on_done`, and so in the evidence. Where nobody is there to answer, a prompt is an error of
one sentence, never a test that waits for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from typing import Protocol, TextIO

from hil.asking import ask
from hil.dut_options import PowerCommands
from hil.errors import BenchBroke

COMMAND_TIMEOUT_S = 60.0

OnDone = Callable[[str, str], object]
"""What was to be done, and what came of it."""


class Power(Protocol):
    """A switch."""

    async def on(self) -> None: ...

    async def off(self) -> None: ...


class PromptPower:
    """Somebody at the table does it, and says so; `y` from a pipe does as well."""

    def __init__(
        self,
        name: str,
        on_done: OnDone,
        *,
        answers: TextIO | None = None,
        shown: TextIO | None = None,
    ) -> None:
        self._name = name
        self._on_done = on_done
        self._answers = answers
        self._shown = shown

    async def on(self) -> None:
        await self._do(f"switch {self._name} on")

    async def off(self) -> None:
        await self._do(f"switch {self._name} off")

    async def _do(self, what: str) -> None:
        # pytest has its own place for both; the table is where the program was started.
        answers = self._answers or sys.__stdin__
        shown = self._shown or sys.__stderr__
        if answers is None or shown is None:
            raise BenchBroke(f"somebody has to {what}, and there is nobody to ask")
        line = await ask(f"[ ] {what}, then Enter (n: it cannot be done)", answers, shown)
        if not line:
            raise BenchBroke(f"somebody has to {what}, and nobody answers")
        answer = line.strip() or "done"
        self._on_done(what, answer)
        if answer.lower() in ("n", "no"):
            raise BenchBroke(f"who was asked to {what} says that it cannot be done")


class CommandPower:
    """A command of the shell does it. What it starts in the background goes on."""

    def __init__(self, name: str, commands: PowerCommands, on_done: OnDone) -> None:
        self._name = name
        self._commands = commands
        self._on_done = on_done

    async def on(self) -> None:
        await self._run("on", self._commands.on)

    async def off(self) -> None:
        await self._run("off", self._commands.off)

    async def _run(self, which: str, command: str) -> None:
        what = f"switch {self._name} {which}"
        process = await asyncio.create_subprocess_shell(
            command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(COMMAND_TIMEOUT_S):
                code = await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            raise BenchBroke(
                f"the command to {what} is not done after {COMMAND_TIMEOUT_S:g} s: {command}"
            ) from None
        self._on_done(what, f"exit code {code}")
        if code != 0:
            raise BenchBroke(f"the command to {what} failed with {code}: {command}")


def power_of(name: str, power: str | PowerCommands, on_done: OnDone) -> Power:
    """The switch a bench file names."""
    if isinstance(power, PowerCommands):
        return CommandPower(name, power, on_done)
    if power == "prompt":
        return PromptPower(name, on_done)
    place = power.partition(":")[2]
    client = f"labgrid-client -p '{place}' power"
    return CommandPower(name, PowerCommands(on=f"{client} on", off=f"{client} off"), on_done)
