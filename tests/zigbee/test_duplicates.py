"""Messages a node had before: told from new ones, for a while, in a bounded memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from emulator.zigbee.duplicates import (
    MAX_REMEMBERED,
    MAX_REMEMBERED_SOURCES,
    REMEMBER_US,
    RecentMessages,
)


def test_a_repeated_message_is_known_until_no_sender_repeats_it_any_more() -> None:
    recent = RecentMessages()
    assert not recent.is_repeated(1, 7, 0)
    assert recent.is_repeated(1, 7, REMEMBER_US - 1)
    assert not recent.is_repeated(1, 7, REMEMBER_US)
    assert REMEMBER_US > 3 * 1_600_000  # the last try of four, apscAckWaitDuration apart


def test_the_same_counter_of_another_source_is_another_message() -> None:
    recent = RecentMessages()
    assert not recent.is_repeated(1, 7, 0)
    assert not recent.is_repeated(2, 7, 0)


def test_after_a_leave_nothing_is_known() -> None:
    recent = RecentMessages()
    recent.is_repeated(1, 7, 0)
    recent.clear()
    assert not recent.is_repeated(1, 7, 0)


def test_a_busy_source_loses_its_oldest_messages_first() -> None:
    recent = RecentMessages()
    for counter in range(MAX_REMEMBERED + 1):
        assert not recent.is_repeated(1, counter, 0)
    assert recent.is_repeated(1, 1, 0)
    assert not recent.is_repeated(1, 0, 0)


def test_many_sources_do_not_fill_the_memory() -> None:
    recent = RecentMessages()
    for source in range(MAX_REMEMBERED_SOURCES + 1):
        assert not recent.is_repeated(source, 7, 0)
    assert recent.is_repeated(MAX_REMEMBERED_SOURCES, 7, 0)
    assert not recent.is_repeated(0, 7, 0)


@given(
    messages=st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 40), st.integers(0, 2_000_000)), max_size=80
    )
)
def test_within_its_bounds_it_remembers_exactly_what_came(
    messages: list[tuple[int, int, int]],
) -> None:
    recent = RecentMessages()
    until_us: dict[tuple[int, int], int] = {}
    now_us = 0
    for source, counter, later_us in messages:
        now_us += later_us
        known = now_us < until_us.get((source, counter), 0)
        assert recent.is_repeated(source, counter, now_us) is known
        if not known:
            until_us[source, counter] = now_us + REMEMBER_US
