"""A frame too long for its tunnel, in blocks.

Source: IEC 62056-5-3 general-block-transfer. How GBCS uses it is not public: here the blocks
together hold the whole frame, none is lost or streamed back, and each is its own message
(docs/open-points.md).

    octets  field
    ------  ----------------------------------------------------------------
    1       E0
    1       block control: 80 last block, 40 streaming, 3F window
    2       block number, from 1
    2       block number acknowledged, 0 in a transfer that is only sent
    1..3    length of the block data
    n       block data
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from construct import Int8ub, Int16ub

from gbcs.errors import GbcsError, GbcsValueError, require_unsigned
from gbcs.fields import Definition, Fields, Fixed, Notes, Source, Value

BLOCK_TRANSFER_TAG = 0xE0
MAX_BLOCKS = 0xFFFF
_LAST, _STREAMING, _WINDOW = 0x80, 0x40, 0x3F
_THING = "general block transfer"


@dataclass(frozen=True, slots=True)
class Block:
    """One block of a longer message."""

    control: int
    number: int
    acknowledged: int
    data: bytes

    def __post_init__(self) -> None:
        require_unsigned("control", self.control, 1)
        require_unsigned("number", self.number, 2)
        require_unsigned("acknowledged", self.acknowledged, 2)

    @property
    def is_last(self) -> bool:
        return bool(self.control & _LAST)


_BLOCK = Fields(
    Block,
    _tag=Fixed(bytes([BLOCK_TRANSFER_TAG])),
    control=Int8ub,
    number=Int16ub,
    acknowledged=Int16ub,
    data=Value(None),
)
BLOCK = Definition(_THING, Block, _BLOCK)


def split(octets: bytes, block_octets: int) -> list[bytes]:
    """The blocks of a message, each with at most so many octets of it."""
    if block_octets < 1 or not octets:
        raise GbcsValueError("a block holds at least one octet")
    parts = [octets[at : at + block_octets] for at in range(0, len(octets), block_octets)]
    if len(parts) > MAX_BLOCKS:
        raise GbcsValueError(f"{len(parts)} blocks are more than {MAX_BLOCKS}")
    return [
        BLOCK.build(Block(_LAST if number == len(parts) else 0, number, 0, part))
        for number, part in enumerate(parts, 1)
    ]


def join(blocks: Iterable[bytes]) -> bytes:
    """The message that these blocks are, in this order. Raises GbcsError."""
    joined, is_whole = b"", False
    for number, octets in enumerate(blocks, 1):
        block = BLOCK.parse(octets)
        if is_whole or block.number != number:
            problem = f"is {block.number} in place {number}"
            raise GbcsError(_THING, "number", 2, problem)
        joined += block.data
        is_whole = block.is_last
    if not is_whole:
        raise GbcsError(_THING, "end", len(joined), "is missing: the last block is not there")
    return joined


def join_stream(octets: bytes) -> bytes:
    """The message that blocks one behind the other are. Raises GbcsError."""
    blocks, source = [], Source(octets, 0, Notes(_THING))
    while source.tell() < source.end:
        start = source.tell()
        _BLOCK._parse(source, None, "")
        blocks.append(octets[start : source.tell()])
    return join(blocks)
