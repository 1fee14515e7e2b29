"""A frame in blocks: cut, put together again, and refused when a block is missing or moved."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gbcs.block_transfer import BLOCK, Block, join, join_stream, split
from gbcs.errors import GbcsError, GbcsValueError


def test_blocks_have_the_layout_of_the_standard() -> None:
    # IEC 62056-5-3: E0, control, number, acknowledged, length, data.
    first, last = split(bytes.fromhex("DF09010203"), 3)
    assert first.hex().upper() == "E000000100000" + "3DF0901"
    assert last.hex().upper() == "E080000200000" + "20203"


@given(st.binary(min_size=1, max_size=4000), st.integers(1, 1500))
def test_what_is_cut_is_put_together_again(octets: bytes, size: int) -> None:
    blocks = split(octets, size)
    assert join(blocks) == octets
    assert join_stream(b"".join(blocks)) == octets


@given(st.builds(Block, st.integers(0, 255), *[st.integers(0, 0xFFFF)] * 2, st.binary()))
def test_a_block_that_is_built_reads_back_the_same(block: Block) -> None:
    assert BLOCK.parse(BLOCK.build(block)) == block


def test_blocks_out_of_order_or_missing_are_refused() -> None:
    blocks = split(bytes(range(100)), 10)
    for wrong in (
        blocks[1:],
        blocks[:-1],
        [blocks[1], blocks[0], *blocks[2:]],
        [*blocks, blocks[-1]],
        [blocks[0][:-1]],
        [],
    ):
        with pytest.raises(GbcsError):
            join(wrong)
    with pytest.raises(GbcsValueError):
        split(b"", 10)
    with pytest.raises(GbcsValueError):
        split(b"1", 0)
    with pytest.raises(GbcsValueError):
        split(bytes(0x10001), 1)
