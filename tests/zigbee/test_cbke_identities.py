"""The bench's own certificate authorities: identities from a seed, and in a stick's state."""

from __future__ import annotations

from random import Random

import pytest

from emulator.zigbee.cbke.ecmqv import agree
from emulator.zigbee.cbke.ecqv import private_key_matches
from emulator.zigbee.cbke.identities import TestAuthorities, identity_of, install_identity
from emulator.zigbee.cbke.suites import SUITE_163K1, SUITE_283K1, SUITES, Suite, generate_key_pair
from emulator.zigbee.state import StackState

both = pytest.mark.parametrize("suite", SUITES.values(), ids=["163k1", "283k1"])


def authorities(seed: int) -> TestAuthorities:
    return TestAuthorities(lambda name: Random(f"{seed} {name}").getrandbits)


@both
def test_a_seed_gives_each_device_its_own_identity_and_always_the_same(suite: Suite) -> None:
    made = authorities(1)
    first = [made.issue(suite, eui64) for eui64 in (1, 2, 3)]
    # whatever the order, and whoever else asked before
    again = authorities(1)
    assert [again.issue(suite, eui64) for eui64 in (3, 1, 2)] == [first[2], first[0], first[1]]
    assert len({one.private_key for one in first}) == 3
    assert authorities(2).issue(suite, 1) != first[0]
    for identity, eui64 in zip(first, (1, 2, 3), strict=True):
        assert identity.fields.subject == eui64
        assert private_key_matches(
            suite, identity.certificate, identity.ca_public_key, identity.private_key
        )


@both
def test_any_two_devices_of_a_run_agree(suite: Suite) -> None:
    made = authorities(3)
    devices = [made.issue(suite, 0x100 + number) for number in range(4)]
    pairs = [generate_key_pair(suite, Random(number).getrandbits) for number in range(4)]
    for one in range(4):
        other = (one + 1) % 4
        mine = agree(
            devices[one],
            pairs[one],
            devices[other].certificate,
            pairs[other].public_key,
            am_initiator=True,
        )
        theirs = agree(
            devices[other],
            pairs[other],
            devices[one].certificate,
            pairs[one].public_key,
            am_initiator=False,
        )
        assert mine == theirs


def test_a_state_holds_one_identity_of_each_suite_and_the_last_one_counts() -> None:
    state = StackState(0x55)
    assert identity_of(state, SUITE_283K1) is None
    authorities(1).install(state)
    authorities(2).install(state)
    assert len(state.identities) == 2
    for suite in (SUITE_163K1, SUITE_283K1):
        assert identity_of(state, suite) == authorities(2).issue(suite, 0x55)
    other = authorities(3).issue(SUITE_163K1, 0x55)
    install_identity(state, other)
    read = StackState.from_json(state.to_json())
    assert identity_of(read, SUITE_163K1) == other
    assert identity_of(read, SUITE_283K1) == authorities(2).issue(SUITE_283K1, 0x55)
