"""The APS messages a node had lately, so that a repeated one is not delivered twice.

Source: ZigBee specification 05-3474, 2.2.8.4.2 (duplicate rejection: source address and counter).
"""

from __future__ import annotations

from collections import OrderedDict

MAX_REMEMBERED_SOURCES = 64
MAX_REMEMBERED = 128  # messages remembered per source, half of what a counter can number
REMEMBER_US = 5_000_000  # a sender's last try comes 3 x apscAckWaitDuration after its first


class RecentMessages:
    """Which messages of which sources were received within `REMEMBER_US`."""

    __slots__ = ("_sources",)

    def __init__(self) -> None:
        self._sources: OrderedDict[int, OrderedDict[int, int]] = OrderedDict()

    def clear(self) -> None:
        self._sources.clear()

    def is_repeated(self, source: int, counter: int, now_us: int) -> bool:
        """Whether the message was received before; if not, it is from now on."""
        seen = self._sources.get(source)
        if seen is None:
            if len(self._sources) >= MAX_REMEMBERED_SOURCES:
                self._sources.popitem(last=False)
            seen = self._sources[source] = OrderedDict()
        until_us = seen.get(counter)
        if until_us is not None:
            if now_us < until_us:
                return True
            seen.move_to_end(counter)
        seen[counter] = now_us + REMEMBER_US
        if len(seen) > MAX_REMEMBERED:
            seen.popitem(last=False)
        return False
