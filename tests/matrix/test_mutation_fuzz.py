"""Whoever sends nonsense, nobody falls over: mutants of valid frames against everything that reads.

In half of the inputs the mutations come first and what guards the frame (CRC, FCS, MIC, length,
sequence number) is computed after them. Inputs come in sessions: a fresh subject in a state of its
own takes one after the other, and must at the end still do its work.

A failure names the seed of its session and prints every input of it as hex.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from time import process_time

import pytest
from fuzz_mutation import Subject, mutate
from fuzz_radio import AshSubject, EzspSubject, StackSubject, host_sessions
from fuzz_readers import BenchFileSubject, ImageSubject, OtaSubject, PcapngSubject, TunnelSubject

INPUTS = 100_000 if os.environ.get("HANBENCH_MATRIX") == "full" else 2_000
SESSION_INPUTS = 50
SHARDS = 4  # of each target, so that several processes share the work
MEAN_INPUT_S = 0.010  # a mean above this is a loop that depends on its input

SUBJECTS: dict[str, Callable[[random.Random], Subject]] = {
    "ASH": AshSubject,
    "EZSP": EzspSubject,
    "MAC, NWK, APS": StackSubject,
    "OTA commands": OtaSubject,
    "tunnel": TunnelSubject,
    "OTA file": ImageSubject,
    "bench file": BenchFileSubject,
    "pcapng": PcapngSubject,
}


def _session(make: Callable[[random.Random], Subject], seed: str) -> None:
    fed: list[str] = []
    rng = random.Random(seed)
    try:
        subject = make(rng)
        for _ in range(SESSION_INPUTS):
            inner, wrap = subject.pick()
            is_guarded = rng.getrandbits(1)
            octets = wrap(mutate(rng, inner)) if is_guarded else mutate(rng, wrap(inner))
            fed.append(octets.hex())
            subject.feed(octets)
        subject.check()
    except Exception as error:
        inputs = "\n".join(fed)
        message = f"{type(error).__name__}: {error}\nseed {seed!r}, inputs:\n{inputs}"
        raise AssertionError(message) from error


@pytest.mark.matrix
@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.parametrize("name", list(SUBJECTS))
def test_a_mutant_neither_escapes_nor_breaks_what_comes_after_it(name: str, shard: int) -> None:
    sessions = INPUTS // SESSION_INPUTS // SHARDS
    host_sessions()
    began_s = process_time()
    for number in range(sessions):
        _session(SUBJECTS[name], f"{name}/{shard}/{number}")
    assert process_time() - began_s <= MEAN_INPUT_S * sessions * SESSION_INPUTS
