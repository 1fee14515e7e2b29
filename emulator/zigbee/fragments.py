"""Messages longer than a frame: cut into blocks, and put together again.

Source: ZigBee specification 05-3474, 2.2.8.4.5 (fragmented transmissions). The window is one block:
the next leaves when the last is acknowledged. Every block but the last has the same length.

    reassembly   block                        next        effect
    -----------  ---------------------------  ----------  ---------------------------------
    (none)       first, index 0               GATHERING   kept, acknowledged
    (none)       another                      (none)      not acknowledged: its start is lost
    GATHERING    the next one                 GATHERING   kept, acknowledged
    GATHERING    the last one                 COMPLETE    acknowledged, message delivered once
    GATHERING    one had before               GATHERING   acknowledged again
    GATHERING    one out of order             GATHERING   not acknowledged
    COMPLETE     any of it                    COMPLETE    acknowledged again, nothing delivered
    any          the first, but another one   GATHERING   a new message with that counter
    any          too old                      (none)      forgotten

APS counters have 8 bits and count all messages of a node, so that one comes round within seconds:
what a first block holds tells a new message from the repetition of an old one.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

MAX_BLOCKS = 255
MAX_GATHERING = 16  # messages under way, all senders together
MAX_REMEMBERED = 128  # complete ones, whose blocks may still come again
FORGET_S = 20.0  # longer than a sender goes on with one block: 4 x apscAckWaitDuration


class FragmentError(ValueError):
    """A message that cannot be sent in fragments."""


def split(payload: bytes, block_octets: int) -> list[bytes]:
    """The blocks of `payload`. Raises FragmentError when there would be more than 255."""
    if block_octets < 1:
        raise FragmentError(f"a block has at least one octet, not {block_octets}")
    blocks = [payload[at : at + block_octets] for at in range(0, len(payload), block_octets)]
    if len(blocks) > MAX_BLOCKS:
        raise FragmentError(
            f"{len(payload)} octets make {len(blocks)} blocks of {block_octets}, 255 is the most"
        )
    return blocks


class Taken(NamedTuple):
    """What became of one block."""

    acknowledge: bool
    message: bytes | None


class _Gathering:
    __slots__ = ("blocks", "count", "done", "first", "until")

    def __init__(self, count: int, first: bytes, until: float) -> None:
        self.count = count
        self.first = first
        self.blocks: list[bytes] = []
        self.done = False
        self.until = until


class Reassembler:
    """Puts the fragmented messages of all senders together; `now` is loop time in seconds."""

    def __init__(self) -> None:
        self._gathering: OrderedDict[tuple[int, int], _Gathering] = OrderedDict()

    def receive(
        self, source: int, counter: int, count: int, index: int, block: bytes, now: float
    ) -> Taken:
        """One block of the message `counter` from `source`; `count` counts only at index 0."""
        key = (source, counter)
        message = self._gathering.get(key)
        if message is not None and (
            now >= message.until
            or (index == 0 and (block, count) != (message.first, message.count))
        ):
            del self._gathering[key]
            message = None
        if message is None:
            if index or not count:
                return Taken(False, None)
            self._make_room()
            message = self._gathering[key] = _Gathering(count, block, now + FORGET_S)
        if message.done or index < len(message.blocks):
            return Taken(True, None)
        if index > len(message.blocks):
            return Taken(False, None)
        message.blocks.append(block)
        message.until = now + FORGET_S
        if len(message.blocks) < message.count:
            return Taken(True, None)
        message.done = True
        whole = b"".join(message.blocks)
        message.blocks.clear()
        return Taken(True, whole)

    def _make_room(self) -> None:
        """Forget the oldest complete message, or the oldest under way, for a new one."""
        kept = self._gathering
        for done, most in ((False, MAX_GATHERING), (True, MAX_REMEMBERED)):
            alike = [key for key, message in kept.items() if message.done is done]
            if len(alike) >= most:
                del kept[alike[0]]
