"""The stick's end of a serial line: what a transport calls, and what it hands over for writing.

Source: DESIGN, "The one seam". Memory lines, TCP lines and PTYs all end in one of these.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class SerialWire(Protocol):
    """One stick. A transport has at most one host on it at a time.

    Octets come in any portions. The stick stays powered while no host is there: it may be
    connected again later, and its link goes on where it was until the host resets it.
    """

    def host_connected(
        self, write: Callable[[bytes], None], hang_up: Callable[[], None] | None = None
    ) -> None:
        """A host has opened the line; `write` sends to it until `host_disconnected`.

        `hang_up` closes the line from the stick's end, where a line can be closed.
        """

    def data_received(self, data: bytes) -> None:
        """The host sent `data`."""

    def host_disconnected(self) -> None:
        """The host is gone, for whatever reason; what is written from now on goes nowhere."""
