"""A frame too long for its tunnel, in blocks that each say where they go.

Source: IEC 62056-5-3 general-block-transfer; how GBCS wraps it, after the GBCS dissector of
Wireshark (packet-gbcs.c, "Routing Header", "GBT Header"), since the specification's own text is not
public. What no source gives is one default each (docs/open-points.md): security control 00, no
streaming, no window.

    routing header                                GBT header
    --------------------------------------------  -----------------------------------------------
    1     DD                                      1     E0
    1+9   09, CRA flag, originator counter        1     80 last block, 40 streaming, 3F window
    1+8   08, originator                          2     block number, from 1
    1+8   08, recipient                           2     block number acknowledged
    1     00, no date-time                        n     length of the block data
    1+2   02, message code                        n     block data
    1     00, no key info
    n     length of all that follows
    1     security control
    4     invocation counter

The data of all blocks are a whole frame, MAC header and all. A block without data acknowledges.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from construct import Int8ub, Int16ub, Int64ub

from gbcs.envelope import Cra, parse_frame
from gbcs.errors import GbcsError, GbcsValueError, require_unsigned
from gbcs.fields import Definition, Fields, Fixed, Length, Many, Mapped, Sized, Value, member_of

MAX_BLOCKS = 0xFFFF
ROUTED = b"\xdd\x09"
"""How a block begins; a frame of its own has DD 00 or DF there."""

_LAST = 0x80
_THING = "general block transfer"


@dataclass(frozen=True, slots=True)
class Transfer:
    """What one block carries, and which block it is."""

    number: int
    data: bytes
    control: int = 0
    acknowledged: int = 0
    security_control: int = 0

    def __post_init__(self) -> None:
        require_unsigned("number", self.number, 2)
        require_unsigned("control", self.control, 1)
        require_unsigned("acknowledged", self.acknowledged, 2)
        require_unsigned("security_control", self.security_control, 1)

    @property
    def is_last(self) -> bool:
        return bool(self.control & _LAST)


@dataclass(frozen=True, slots=True)
class Block:
    """One block, and whose message it is of."""

    cra: Cra
    originator_counter: int
    originator: int
    recipient: int
    message_code: int
    transfer: Transfer

    def __post_init__(self) -> None:
        for name in ("originator_counter", "originator", "recipient"):
            require_unsigned(name, getattr(self, name), 8)
        require_unsigned("message_code", self.message_code, 2)

    @property
    def route(self) -> tuple[int, ...]:
        """What all blocks of one message have in common."""
        return self.cra, self.originator_counter, self.originator, self.recipient, self.message_code


@dataclass(frozen=True, slots=True)
class _Blocks:
    blocks: tuple[Block, ...]


_BLOCK = Fields(
    Block,
    _tag=Fixed(b"\xdd"),
    _transaction_id_length=Length(9),
    cra=Mapped(Int8ub, member_of(Cra), int),
    originator_counter=Int64ub,
    _originator_length=Length(8),
    originator=Int64ub,
    _recipient_length=Length(8),
    recipient=Int64ub,
    _date_time=Fixed(b"\0"),
    _other_information_length=Length(2),
    message_code=Int16ub,
    _key_info=Fixed(b"\0"),
    transfer=Sized(
        None,
        Fields(
            Transfer,
            security_control=Int8ub,
            _invocation_counter=Fixed(bytes(4)),
            _general_block_transfer=Fixed(b"\xe0"),
            control=Int8ub,
            number=Int16ub,
            acknowledged=Int16ub,
            data=Value(None),
        ),
    ),
)
BLOCK = Definition(_THING, Block, _BLOCK)
_STREAM = Definition(_THING, _Blocks, Fields(_Blocks, blocks=Many(_BLOCK)))


def split(octets: bytes, block_octets: int) -> list[bytes]:
    """The blocks of a frame, each with at most so many octets of it."""
    if block_octets < 1:
        raise GbcsValueError("a block holds at least one octet")
    frame = parse_frame(octets).frame
    parts = [octets[at : at + block_octets] for at in range(0, len(octets), block_octets)]
    if len(parts) > MAX_BLOCKS:
        raise GbcsValueError(f"{len(parts)} blocks are more than {MAX_BLOCKS}")
    return [
        BLOCK.build(
            Block(
                frame.cra,
                frame.originator_counter,
                frame.originator,
                frame.recipient,
                frame.message_code,
                Transfer(number, part, control=_LAST if number == len(parts) else 0),
            )
        )
        for number, part in enumerate(parts, 1)
    ]


def join(blocks: Iterable[bytes]) -> bytes:
    """The frame that these blocks are, in this order. Raises GbcsError."""
    return _joined([BLOCK.parse(octets) for octets in blocks])


def join_stream(octets: bytes) -> bytes:
    """The frame that blocks one behind the other are. Raises GbcsError."""
    return _joined(_STREAM.parse(octets).blocks)


def _joined(blocks: Iterable[Block]) -> bytes:
    joined, first, is_whole = b"", None, False
    for number, block in enumerate(blocks, 1):
        first = first or block
        if is_whole or block.transfer.number != number:
            problem = f"is {block.transfer.number} in place {number}"
            raise GbcsError(_THING, "number", len(joined), problem)
        if block.route != first.route:
            problem = f"is that of another message than of block 1, {first.originator:016X}"
            raise GbcsError(_THING, "routing header", len(joined), problem)
        joined += block.transfer.data
        is_whole = block.transfer.is_last
    if not is_whole:
        raise GbcsError(_THING, "end", len(joined), "is missing: the last block is not there")
    return joined
