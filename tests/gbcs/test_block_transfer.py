"""A frame in blocks: cut, put together again, and refused when a block is missing or moved."""

from __future__ import annotations

import contextlib

import pytest
from gbcs_rig import U64, gbcs_frames
from hypothesis import given
from hypothesis import strategies as st
from test_envelope import COMMAND

from gbcs.block_transfer import BLOCK, Block, Transfer, join, join_stream, split
from gbcs.envelope import Cra, Frame, build_frame
from gbcs.errors import GbcsError, GbcsValueError

# By hand, after the tables of Wireshark's dissector: the first 16 octets of the CS08 command.
FIRST = (
    "DD 09 01 0000000000000514 08 90B3D51F30000002 08 00DB1234567890A4 00 02 0129 00"
    "1C 00 00000000 E0 00 0001 0000 10 DD000000000000461100000000DF0901"
)
BLOCKS = st.builds(
    Block,
    st.sampled_from(Cra),
    U64,
    U64,
    U64,
    st.integers(0, 0xFFFF),
    st.builds(
        Transfer,
        st.integers(0, 0xFFFF),
        st.binary(max_size=300),
        st.integers(0, 255),
        st.integers(0, 0xFFFF),
        st.integers(0, 255),
    ),
)


def test_a_block_has_the_layout_that_is_known_of_it() -> None:
    blocks = split(COMMAND, 16)
    assert blocks[0] == bytes.fromhex(FIRST)
    assert BLOCK.parse(blocks[-1]).transfer.control == 0x80
    assert [BLOCK.parse(block).transfer.number for block in blocks] == [1, 2, 3, 4, 5]


@given(gbcs_frames(), st.integers(1, 1500))
def test_what_is_cut_is_put_together_again(frame: Frame, size: int) -> None:
    octets = build_frame(frame)
    blocks = split(octets, size)
    assert join(blocks) == octets
    assert join_stream(b"".join(blocks)) == octets


@given(BLOCKS)
def test_a_block_that_is_built_reads_back_the_same(block: Block) -> None:
    assert BLOCK.parse(BLOCK.build(block)) == block


@given(st.binary(max_size=120))
def test_hostile_blocks_are_refused_with_our_error_only(octets: bytes) -> None:
    for hostile in (octets, bytes.fromhex(FIRST)[:40] + octets):
        with contextlib.suppress(GbcsError):
            join_stream(hostile)


def test_blocks_out_of_order_missing_or_of_another_frame_are_refused() -> None:
    blocks = split(COMMAND, 16)
    other = split(COMMAND.replace(b"\x05\x14", b"\x05\x15", 1), 16)
    for wrong in (
        blocks[1:],
        blocks[:-1],
        [blocks[1], blocks[0], *blocks[2:]],
        [*blocks, blocks[-1]],
        [blocks[0][:-1]],
        [blocks[0], *other[1:]],
        [],
    ):
        with pytest.raises(GbcsError):
            join(wrong)
    with pytest.raises(GbcsValueError):
        split(COMMAND, 0)
    with pytest.raises(GbcsError):
        split(b"", 10)
