"""Messages in fragments: cut, lost, repeated and mixed up, and delivered exactly once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.zigbee.fragments import (
    FORGET_S,
    MAX_BLOCKS,
    MAX_GATHERING,
    MAX_REMEMBERED,
    FragmentError,
    Reassembler,
    Taken,
    split,
)

KEPT = Taken(True, None)
IGNORED = Taken(False, None)


def receive_all(
    reassembler: Reassembler, blocks: list[bytes], *, source: int = 1, counter: int = 1
) -> list[bytes]:
    taken = [
        reassembler.receive(source, counter, len(blocks), index, block, 0.0)
        for index, block in enumerate(blocks)
    ]
    assert all(one.acknowledge for one in taken)
    return [one.message for one in taken if one.message is not None]


@given(payload=st.binary(min_size=1, max_size=2000), octets=st.integers(8, 80))
def test_a_message_is_cut_into_equal_blocks_and_put_together_again(
    payload: bytes, octets: int
) -> None:
    blocks = split(payload, octets)
    assert {len(block) for block in blocks[:-1]} <= {octets}
    assert 1 <= len(blocks[-1]) <= octets
    assert receive_all(Reassembler(), blocks) == [payload]


def test_a_message_of_too_many_blocks_is_refused() -> None:
    assert len(split(bytes(255), 1)) == MAX_BLOCKS
    with pytest.raises(FragmentError, match="256 blocks"):
        split(bytes(256), 1)
    with pytest.raises(FragmentError, match="not 0"):
        split(b"payload", 0)


@given(
    payload=st.binary(min_size=30, max_size=200),
    repeats=st.lists(st.integers(1, 3), min_size=10, max_size=10),
)
def test_repeated_blocks_are_acknowledged_and_delivered_once(
    payload: bytes, repeats: list[int]
) -> None:
    blocks = split(payload, 20)
    reassembler = Reassembler()
    delivered = []
    for index, block in enumerate(blocks):
        for _ in range(repeats[index % 10]):
            taken = reassembler.receive(1, 9, len(blocks), index, block, 0.0)
            assert taken.acknowledge
            if taken.message is not None:
                delivered.append(taken.message)
    for index, block in enumerate(blocks):  # after the end, from an acknowledgement lost
        assert reassembler.receive(1, 9, len(blocks), index, block, 5.0) == KEPT
    assert delivered == [payload]


@given(order=st.lists(st.integers(0, 4), max_size=60))
def test_in_whatever_order_blocks_come_the_message_is_right_and_comes_once(
    order: list[int],
) -> None:
    blocks = [bytes((index,)) * 10 for index in range(5)]
    reassembler = Reassembler()
    delivered = []
    for index in [*order, *range(5)]:
        taken = reassembler.receive(1, 1, 5 if index == 0 else 0, index, blocks[index], 0.0)
        if taken.message is not None:
            delivered.append(taken.message)
    assert delivered == [b"".join(blocks)]


def test_a_block_ahead_of_its_turn_is_not_acknowledged() -> None:
    reassembler = Reassembler()
    assert reassembler.receive(1, 1, 0, 1, b"one", 0.0) == IGNORED
    assert reassembler.receive(1, 1, 3, 0, b"zero", 0.0) == KEPT
    assert reassembler.receive(1, 1, 0, 2, b"two", 0.0) == IGNORED
    assert reassembler.receive(1, 1, 0, 1, b"one", 0.0) == KEPT
    assert reassembler.receive(1, 1, 0, 2, b"two", 0.0) == Taken(True, b"zeroonetwo")


def test_a_first_block_that_says_there_are_none_is_ignored() -> None:
    assert Reassembler().receive(1, 1, 0, 0, b"zero", 0.0) == IGNORED


@given(choices=st.lists(st.booleans(), max_size=40))
def test_two_senders_at_once_do_not_get_into_each_other(choices: list[bool]) -> None:
    messages = {1: split(b"A" * 95, 10), 2: split(b"B" * 73, 10)}
    reassembler = Reassembler()
    delivered: dict[int, list[bytes]] = {1: [], 2: []}
    at = {1: 0, 2: 0}
    for source in [*(1 + choice for choice in choices), *[1, 2] * 10]:
        blocks = messages[source]
        if at[source] == len(blocks):
            continue
        taken = reassembler.receive(source, 7, len(blocks), at[source], blocks[at[source]], 0.0)
        assert taken.acknowledge
        if taken.message is not None:
            delivered[source].append(taken.message)
        at[source] += 1
    assert delivered == {1: [b"A" * 95], 2: [b"B" * 73]}


def test_a_new_message_whose_counter_came_round_is_delivered() -> None:
    reassembler = Reassembler()
    assert receive_all(reassembler, [b"old 0", b"old 1"], counter=5) == [b"old 0old 1"]
    assert receive_all(reassembler, [b"new 0", b"new 1"], counter=5) == [b"new 0new 1"]


def test_a_message_begun_anew_by_a_restarted_sender_is_delivered() -> None:
    reassembler = Reassembler()
    assert reassembler.receive(1, 5, 3, 0, b"old 0", 0.0) == KEPT
    assert reassembler.receive(1, 5, 3, 1, b"old 1", 0.0) == KEPT
    assert receive_all(reassembler, [b"new 0", b"new 1"], counter=5) == [b"new 0new 1"]


def test_a_message_abandoned_is_forgotten_and_its_rest_does_not_finish_it() -> None:
    reassembler = Reassembler()
    reassembler.receive(1, 5, 2, 0, b"half", 0.0)
    assert reassembler.receive(1, 5, 2, 1, b"late", FORGET_S) == IGNORED
    assert receive_all(reassembler, [b"half", b"whole"], counter=5) == [b"halfwhole"]


def test_each_block_gives_a_slow_message_more_time() -> None:
    reassembler = Reassembler()
    for index in range(5):
        now = index * (FORGET_S - 0.1)
        taken = reassembler.receive(1, 5, 5, index, b"block", now)
        assert taken.acknowledge
    assert taken.message == b"block" * 5


def test_messages_that_end_do_not_push_out_one_that_is_under_way() -> None:
    reassembler = Reassembler()
    assert reassembler.receive(9, 1, 2, 0, b"begin", 0.0) == KEPT
    for counter in range(3 * MAX_REMEMBERED):
        assert receive_all(reassembler, [b"short"], counter=counter) == [b"short"]
    assert reassembler.receive(9, 1, 2, 1, b"end", 0.0) == Taken(True, b"beginend")


def test_the_last_block_of_many_messages_ago_is_still_acknowledged() -> None:
    reassembler = Reassembler()
    for counter in range(MAX_REMEMBERED):
        assert receive_all(reassembler, [b"begin", b"end"], counter=counter) == [b"beginend"]
    assert reassembler.receive(1, 0, 0, 1, b"end", 0.0) == Taken(True, None)


def test_senders_that_never_finish_do_not_fill_the_memory() -> None:
    reassembler = Reassembler()
    for counter in range(1000):
        reassembler.receive(counter, counter & 0xFF, 255, 0, bytes(80), 0.0)
    assert len(reassembler._gathering) == MAX_GATHERING
    # the newest is still there
    assert reassembler.receive(999, 999 & 0xFF, 255, 1, bytes(80), 0.0).acknowledge
    assert not reassembler.receive(1, 1, 255, 1, bytes(80), 0.0).acknowledge


@given(
    blocks=st.lists(
        st.tuples(
            st.integers(0, 3),
            st.integers(0, 255),
            st.integers(0, 255),
            st.integers(0, 255),
            st.binary(max_size=80),
            st.floats(0, 60),
        ),
        max_size=60,
    )
)
def test_any_blocks_at_all_raise_nothing_and_stay_bounded(
    blocks: list[tuple[int, int, int, int, bytes, float]],
) -> None:
    reassembler = Reassembler()
    for block in blocks:
        taken = reassembler.receive(*block)
        assert taken.message is None or taken.acknowledge
        assert len(reassembler._gathering) <= MAX_GATHERING + MAX_REMEMBERED
