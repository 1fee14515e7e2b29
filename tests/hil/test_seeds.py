"""Seeds: one number repeats a run, on every Python, and its streams do not touch each other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.seeds import ROOT_MAX, SeedError, Seeds

# printf '\x01\0\0\0\0\0\0\0medium' | sha256sum
DIGEST = "e7a8a3cba12fe3e91443a98324575d9ae7ff0cc96d69b6beff349eacacbd979c"
# That digest, read as a little-endian integer, in CPython's random.Random(n).getrandbits(32).
FIRST_DRAWS = [0xF23A6C21, 0xA1BDBD2A, 0x0186AFED, 0x2F72154A]

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
roots = st.integers(0, ROOT_MAX)


def test_a_seed_of_an_old_report_still_gives_the_same_run() -> None:
    stream = Seeds(1).stream("medium")
    expected = Random(int.from_bytes(bytes.fromhex(DIGEST), "little"))
    assert stream.getstate() == expected.getstate()
    assert [stream.getrandbits(32) for _ in range(4)] == FIRST_DRAWS


def test_a_network_of_an_old_report_still_has_the_same_keys() -> None:
    seeds = Seeds(1)
    assert seeds.network_key().hex() == "4f32a335d5a4e812212e7def30d1b4fb"
    assert seeds.pan_id() == 0xB18B
    assert seeds.extended_pan_id().hex() == "18262cd292ad61d7"
    assert seeds.install_code(0x0011223344556677).hex() == "802ab99ed2657e849b6076cba15a945d"


def test_a_run_does_not_depend_on_the_hash_seed_of_the_interpreter() -> None:
    code = "from hil.seeds import Seeds; print(Seeds(7).derive('fault loss', 16).hex())"
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for hash_seed in ("0", "1")
    }
    assert told == {Seeds(7).derive("fault loss", 16).hex()}


@given(roots, names, st.integers(1, 64))
def test_a_stream_asked_for_twice_starts_again(root: int, name: str, octets: int) -> None:
    seeds = Seeds(root)
    first = seeds.stream(name)
    first.getrandbits(64)
    assert seeds.derive(name, octets) == Seeds(root).derive(name, octets)
    assert len(seeds.derive(name, octets)) == octets


@given(roots, names, names)
def test_drawing_from_one_stream_leaves_the_others_alone(root: int, one: str, other: str) -> None:
    if one == other:
        other += "'"
    seeds = Seeds(root)
    assert seeds.derive(one, 16) != seeds.derive(other, 16)


@given(roots)
def test_another_root_gives_another_network(root: int) -> None:
    other = Seeds((root + 1) % (ROOT_MAX + 1))
    assert Seeds(root).network_key() != other.network_key()
    assert Seeds(root).network_key("han") != Seeds(root).network_key("alt han")


@given(roots, names, st.integers(-1000, 1000), st.integers(0, 1000))
def test_a_number_stays_within_its_bounds(root: int, name: str, low: int, span: int) -> None:
    assert low <= Seeds(root).integer(name, low, low + span) <= low + span


@given(roots)
def test_a_network_never_gets_a_reserved_id(root: int) -> None:
    seeds = Seeds(root)
    assert 1 <= seeds.pan_id() <= 0xFFFD
    assert seeds.extended_pan_id() not in (bytes(8), b"\xff" * 8)


def test_every_number_between_the_bounds_can_come_up() -> None:
    assert {Seeds(root).integer("die", 1, 6) for root in range(200)} == {1, 2, 3, 4, 5, 6}


def test_two_devices_never_share_an_install_code() -> None:
    codes = {Seeds(1).install_code(eui64) for eui64 in range(100)}
    assert len(codes) == 100


@pytest.mark.parametrize("root", [-1, 2**64])
def test_a_seed_that_is_no_seed_is_refused(root: int) -> None:
    with pytest.raises(SeedError, match="not a number from 0 to"):
        Seeds(root)


def test_a_draw_that_cannot_be_is_refused() -> None:
    seeds = Seeds(1)
    with pytest.raises(SeedError, match="name"):
        seeds.stream("")
    with pytest.raises(SeedError, match="0 octets"):
        seeds.derive("key", 0)
    with pytest.raises(SeedError, match="from 2 to 1"):
        seeds.integer("die", 2, 1)
