"""A radio whose network stack runs in this process: what a stick is, less its serial line.

Source: DESIGN, "The one seam" (`StackNode`) and sentence 10: it starts from its stored octets
alone, so what a power cut must not leave is not there to be left.
"""

from __future__ import annotations

from collections.abc import Callable

from emulator.medium.air import Medium
from emulator.medium.timing import RandomBits, Scheduler
from emulator.zigbee.events import Event
from emulator.zigbee.stack import Stack
from emulator.zigbee.state import StackState


class StackRadio:
    """A stack on an air. `stored` is its non-volatile memory (`StackState.to_json`), written before
    anything depends on it.
    """

    def __init__(
        self, name: str, stored: str, medium: Medium, clock: Scheduler, random_bits: RandomBits
    ) -> None:
        self.name = name
        self.stored = stored
        self._medium = medium
        self._clock = clock
        self._random_bits = random_bits
        self.stack = self._boot(_nobody)

    def _boot(self, on_event: Callable[[Event], object]) -> Stack:
        state = StackState.from_json(self.stored)

        def save() -> None:
            self.stored = state.to_json()

        return Stack(
            self.name,
            state,
            self._medium,
            self._clock,
            self._random_bits,
            on_event=on_event,
            save=save,
        )

    def restart(self, on_event: Callable[[Event], object]) -> Stack:
        """Start anew from what is stored, for whoever listens from now on."""
        self.stack.close()
        self.stack = self._boot(on_event)
        return self.stack

    def let_go(self) -> None:
        """Nobody listens any more; the radio stays on, as a stick's does."""
        self.stack.on_event = _nobody

    def close(self) -> None:
        """Power off, without a word on the air."""
        self.stack.close()


def _nobody(_event: Event) -> None:
    """Who listens to a radio that no application has opened."""
