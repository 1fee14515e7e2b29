"""Waiting for a fact: until it is one, until the time is up, or until nothing more will come."""

from __future__ import annotations

import asyncio

import pytest

from hil.journal import Journal


async def test_a_fact_that_is_one_already_costs_no_time() -> None:
    assert await Journal().until(lambda: True, 10)
    assert asyncio.get_running_loop().time() == 0


async def test_a_wait_ends_when_the_fact_is_told_and_not_before() -> None:
    journal = Journal()
    facts: list[object] = []
    loop = asyncio.get_running_loop()

    def learn(fact: str) -> None:
        facts.append(fact)
        journal.tell()

    loop.call_later(1, learn, "another")
    loop.call_later(2, learn, "it")
    assert await journal.until(lambda: "it" in facts, 10)
    assert loop.time() == 2


async def test_a_wait_whose_time_is_up_says_so_and_leaves_nothing_behind() -> None:
    journal = Journal()
    asked: list[object] = []

    def condition() -> bool:
        asked.append(1)
        return False

    assert not await journal.until(condition, 5)
    assert asyncio.get_running_loop().time() == 5
    before = len(asked)
    journal.tell()
    assert len(asked) == before


async def test_everybody_who_waits_for_the_same_fact_hears_of_it() -> None:
    journal = Journal()
    facts: list[object] = []
    waits = [asyncio.ensure_future(journal.until(lambda: bool(facts), 10)) for _ in range(3)]
    other = asyncio.ensure_future(journal.until(lambda: len(facts) > 1, 10))
    await asyncio.sleep(1)
    facts.append(1)
    journal.tell()
    assert await asyncio.gather(*waits) == [True] * 3
    assert not await other


async def test_when_nothing_more_will_come_every_wait_ends_with_the_reason() -> None:
    journal = Journal()
    waits = [asyncio.ensure_future(journal.until(lambda: False, 1000)) for _ in range(2)]
    await asyncio.sleep(1)
    journal.break_off(RuntimeError("the radio is gone"))
    journal.break_off(RuntimeError("said later"))
    for wait in waits:
        with pytest.raises(RuntimeError, match="the radio is gone"):
            await wait
    with pytest.raises(RuntimeError, match="the radio is gone"):
        await journal.until(lambda: True, 10)
    assert asyncio.get_running_loop().time() == 1


async def test_a_wait_that_is_cancelled_is_forgotten() -> None:
    journal = Journal()
    asked: list[object] = []

    def condition() -> bool:
        asked.append(1)
        return False

    wait = asyncio.ensure_future(journal.until(condition, 1000))
    await asyncio.sleep(1)
    wait.cancel()
    await asyncio.gather(wait, return_exceptions=True)
    before = len(asked)
    journal.tell()
    assert len(asked) == before
