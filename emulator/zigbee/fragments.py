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
    any          too old                      (none)      forgotten
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

MAX_BLOCKS = 255
MAX_MESSAGES = 16  # under way or remembered, all senders together
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
    __slots__ = ("blocks", "count", "done", "until")

    def __init__(self, count: int, until: float) -> None:
        self.count = count
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
        if message is not None and now >= message.until:
            del self._gathering[key]
            message = None
        if message is None:
            if index or not count:
                return Taken(False, None)
            message = self._gathering[key] = _Gathering(count, now + FORGET_S)
            if len(self._gathering) > MAX_MESSAGES:
                self._gathering.popitem(last=False)
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
