"""Whoever sends nonsense, nobody falls over: mutants of valid frames against everything that reads.

In half of the inputs the mutations come first and what guards the frame (CRC, FCS, MIC, length,
sequence number) is computed after them. Inputs come in sessions: a fresh subject in a state of its
own takes one after the other, and must at the end still do its work.

A failure names the seed of its session and prints every input of it as hex.

Codecs alone (fuzz_codecs.py) take many more inputs in the same time. `make soak` is all of it ten
times as long; this file, run as a program, says how much that is.
"""

from __future__ import annotations

import gc
import os
import random
import tracemalloc
from collections.abc import Callable
from time import process_time

import pytest
from fuzz_codecs import CODECS, Codec
from fuzz_mutation import Subject, mutate
from fuzz_radio import AshSubject, EzspSubject, StackSubject, warm_up
from fuzz_readers import BenchFileSubject, ImageSubject, OtaSubject, PcapngSubject, TunnelSubject

INPUTS = {"full": 100_000, "soak": 1_000_000}.get(os.environ.get("HANBENCH_MATRIX", ""), 2_000)
SESSION_INPUTS = 50
SHARDS = 4  # of each target, so that several processes share the work
MEAN_INPUT_S = 0.010  # a mean above this is a loop that depends on its input
WARM_UP_SESSIONS, MEASURED_SESSIONS = 20, 60
MOST_GROWTH_BYTES = 256 * 1024  # over 3 000 inputs: less than 100 octets each

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
    warm_up()
    began_s = process_time()
    for number in range(sessions):
        _session(SUBJECTS[name], f"{name}/{shard}/{number}")
    assert process_time() - began_s <= MEAN_INPUT_S * sessions * SESSION_INPUTS


@pytest.mark.matrix
@pytest.mark.parametrize("name", list(SUBJECTS))
def test_reading_mutants_all_day_takes_no_more_memory(name: str) -> None:
    warm_up()

    def read(sessions: range) -> int:
        for number in sessions:
            _session(SUBJECTS[name], f"{name}/memory/{number}")
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = read(range(WARM_UP_SESSIONS))
        after = read(range(WARM_UP_SESSIONS, WARM_UP_SESSIONS + MEASURED_SESSIONS))
    finally:
        tracemalloc.stop()
    assert after - before <= MOST_GROWTH_BYTES


# -- codecs alone --------------------------------------------------------------------------------


def _read(codec: Codec, octets: bytes) -> bool:
    """Whether `octets` were accepted; raises for anything they must not do."""
    try:
        parsed = codec.parse(octets)
    except codec.errors:
        return False
    if codec.build is not None:
        again = codec.build(parsed)
        if not codec.loose:
            assert again == octets, f"built again as {again.hex()}"
        assert codec.parse(again if codec.guard is None else codec.guard(again)) == parsed
    return True


@pytest.mark.matrix
@pytest.mark.parametrize("name", list(CODECS))
def test_a_codec_reads_a_mutant_or_says_what_is_wrong(name: str) -> None:
    codec = CODECS[name]
    rng = random.Random(name)
    samples = list(codec.samples())
    for sample in samples:
        assert _read(codec, sample), f"a good one is refused: {sample.hex()}"
    accepted = 0
    began_s = process_time()
    for number in range(INPUTS):
        octets = mutate(rng, rng.choice(samples))
        if codec.guard is not None and rng.getrandbits(1):
            octets = codec.guard(octets)
        try:
            accepted += _read(codec, octets)
        except Exception as error:
            message = f"{type(error).__name__}: {error}\ninput {number}: {octets.hex()}"
            raise AssertionError(message) from error
    assert process_time() - began_s <= MEAN_INPUT_S * INPUTS
    assert accepted or codec.guard is None, "no mutant got past what guards the frame"


if __name__ == "__main__":
    print(f"{len(SUBJECTS)} subjects and {len(CODECS)} codecs, {INPUTS} mutants each")
