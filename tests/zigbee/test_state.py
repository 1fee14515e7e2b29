"""What a stick remembers: stored text read back, and counters no power cut can bring back."""

from __future__ import annotations

import json
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from emulator.zigbee.cbke.identities import TestAuthorities
from emulator.zigbee.cbke.suites import SUITE_163K1, SUITE_283K1
from emulator.zigbee.events import NodeType
from emulator.zigbee.state import (
    COUNTER_LIMIT,
    COUNTER_STEP,
    Child,
    CounterExhausted,
    LinkKey,
    Network,
    ReservedCounter,
    StackState,
    StateError,
    StoredIdentity,
)

AUTHORITIES = TestAuthorities(lambda name: Random(name).getrandbits)

keys = st.binary(min_size=16, max_size=16)
shorts = st.integers(0, 0xFFFF)
euis = st.integers(0, 2**64 - 1)
counters = st.integers(0, 2**32 - 1)

networks = st.builds(
    Network,
    pan_id=shorts,
    extended_pan_id=euis,
    channel=st.integers(11, 26),
    node_type=st.sampled_from(NodeType),
    short_address=shorts,
    key=keys,
    key_sequence=st.integers(0, 255),
    trust_center_eui64=euis,
    parent=shorts,
    tx_power_dbm=st.integers(-20, 20),
    manager=shorts,
    update_id=st.integers(0, 255),
    next_key=st.none() | keys,
    next_key_sequence=st.integers(0, 255),
)
identities = [
    AUTHORITIES.issue(suite, eui64) for suite in (SUITE_163K1, SUITE_283K1) for eui64 in (1, 2)
]
states = st.builds(
    StackState,
    eui64=euis,
    network=st.none() | networks,
    preconfigured_key=st.none() | keys,
    security_bitmask=shorts,
    link_keys=st.lists(st.none() | st.builds(LinkKey, euis, keys, counters), max_size=4),
    devices=st.dictionaries(shorts, euis, max_size=4),
    nwk_counter=counters,
    aps_counter=counters,
    children=st.lists(
        st.none() | st.builds(Child, euis, shorts, st.sampled_from(NodeType), counters), max_size=4
    ),
    trust_center_counter=st.integers(0, 2**32),
    identities=st.lists(
        st.sampled_from(
            [
                StoredIdentity(one.suite.bit, one.certificate, one.private_key, one.ca_public_key)
                for one in identities
            ]
        ),
        max_size=2,
    ),
)


@given(state=states)
def test_what_was_stored_is_read_back(state: StackState) -> None:
    text = state.to_json()
    read = StackState.from_json(text)
    assert read == state
    assert read.to_json() == text


@given(text=st.text(max_size=60))
def test_a_file_of_something_else_is_refused_in_words(text: str) -> None:
    with pytest.raises(StateError, match="stored state"):
        StackState.from_json(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3)
    ),
    max_leaves=5,
)
FULL = StackState(
    1,
    Network(0x1A62, 2, 15, NodeType.ROUTER, 0x1234, bytes(16)),
    bytes(16),
    0,
    [LinkKey(3, bytes(16), 4)],
    {0x1234: 5},
    6,
    7,
    [Child(8, 9, NodeType.SLEEPY_END_DEVICE, 10)],
)
AUTHORITIES.install(FULL)


@given(data=st.data(), value=json_values)
def test_a_stored_value_of_another_kind_is_refused_or_means_the_same(
    data: st.DataObject, value: object
) -> None:
    values = json.loads(FULL.to_json())
    places = [values, values["network"], values["link_keys"][0], values["identities"][0]]
    place = data.draw(st.sampled_from(places))
    name = data.draw(st.sampled_from(sorted(place)))
    place[name] = value
    try:
        state = StackState.from_json(json.dumps(values))
    except StateError:
        return
    assert StackState.from_json(state.to_json()) == state


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"eui64": -1}, "eui64: -1 is not 16 hex digits"),
        ({"eui64": "1FFFFFFFFFFFFFFFF"}, "eui64"),
        ({"nwk_counter": "7"}, "nwk_counter"),
        ({"aps_counter": 2**32}, "aps_counter"),
        ({"preconfigured_key": "00"}, "preconfigured_key: 1 octets, not 16"),
        ({"devices": {"70000": "0000000000000001"}}, "devices"),
        ({"devices": {"x": "0000000000000001"}}, "devices: .x. is no number"),
        ({"unknown": 1}, "unknown: there is no such key"),
        ({"network": {}}, "network.pan_id: is missing"),
        ({"identities": [{"suite": 3}]}, r"identities\[0\].certificate: is missing"),
        ({"trust_center_counter": -1}, "trust_center_counter: -1 is no frame counter"),
    ],
)
def test_a_damaged_field_is_named(change: dict[str, object], sentence: str) -> None:
    values = json.loads(FULL.to_json()) | change
    with pytest.raises(StateError, match=sentence):
        StackState.from_json(json.dumps(values))


def test_what_the_document_of_a_stick_looks_like() -> None:
    document = json.loads(FULL.to_json())
    assert [sorted(one) for one in document.pop("identities")] == 2 * [
        ["ca_public_key", "certificate", "private_key", "suite"]
    ]
    assert document == {
        "schema": "hanbench-stick-1",
        "eui64": "0000000000000001",
        "network": {
            "pan_id": 0x1A62,
            "extended_pan_id": "0000000000000002",
            "channel": 15,
            "node_type": "router",
            "short_address": 0x1234,
            "key": "00" * 16,
            "key_sequence": 0,
            "trust_center_eui64": "FFFFFFFFFFFFFFFF",
            "parent": 0xFFFF,
            "tx_power_dbm": 8,
            "manager": 0,
            "update_id": 0,
            "channels": 0x07FFF800,
            "next_key": None,
            "next_key_sequence": 0,
        },
        "preconfigured_key": "00" * 16,
        "security_bitmask": 0,
        "link_keys": [{"eui64": "0000000000000003", "key": "00" * 16, "incoming_counter": 4}],
        "devices": {"4660": "0000000000000005"},
        "nwk_counter": 6,
        "aps_counter": 7,
        "children": [
            {
                "eui64": "0000000000000008",
                "short_address": 9,
                "node_type": "sleepy_end_device",
                "timeout_s": 10,
            }
        ],
        "trust_center_counter": 0,
        "custom_eui64": None,
    }


def test_a_key_an_older_build_did_not_write_takes_its_default() -> None:
    oldest = '{"schema": "hanbench-stick-1", "eui64": "00DB1234567890A2"}'
    assert StackState.from_json(oldest) == StackState(0x00DB1234567890A2)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"eui64": "00DB1234567890A2"}', "schema: is not 'hanbench-stick-1'"),
        ('{"schema": "hanbench-stick-2", "eui64": "00DB1234567890A2"}', "schema"),
        ('{"schema": "hanbench-stick-1"}', "eui64: is missing"),
        ('{"eui64": 1, "eui64": 2}', "key 'eui64' twice"),
        (" " * 2**20 + "{}", "longer"),
        ("[]", "no JSON object"),
    ],
)
def test_a_document_of_another_form_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(StateError, match=sentence):
        StackState.from_json(text)


@pytest.mark.parametrize(
    ("place", "name", "value", "sentence"),
    [
        ("network", "channel", 10, "network.channel: 10 is not in 11..26"),
        ("network", "channel", True, "network.channel"),
        ("network", "tx_power_dbm", 200, "network.tx_power_dbm"),
        ("network", "node_type", "hub", "network.node_type: 'hub' is none of coordinator"),
        ("network", "key", "00" * 15, "network.key: 15 octets, not 16"),
        ("network", "key", "0g" * 16, "network.key: '0g0g"),
        ("network", "chanel", 15, "network.chanel: there is no such key"),
        ("link_keys", "eui64", 7, r"link_keys\[0\].eui64: 7 is not 16 hex digits"),
        ("link_keys", "incoming_counter", 2**32 + 1, "link_keys"),
    ],
)
def test_a_damaged_field_inside_is_named_with_its_place(
    place: str, name: str, value: object, sentence: str
) -> None:
    values = json.loads(FULL.to_json())
    inner = values[place] if place == "network" else values[place][0]
    inner[name] = value
    with pytest.raises(StateError, match=sentence):
        StackState.from_json(json.dumps(values))


@pytest.mark.parametrize("field", ["certificate", "private_key", "ca_public_key"])
def test_an_identity_that_could_not_be_used_is_not_taken(field: str) -> None:
    values = json.loads(FULL.to_json())
    values["identities"][1][field] = values["identities"][1][field][2:]
    with pytest.raises(StateError, match=r"length|octets"):
        StackState.from_json(json.dumps(values))


def test_a_file_of_an_older_stick_reads_as_it_always_did() -> None:
    values = json.loads(FULL.to_json())
    for name in ("identities", "trust_center_counter"):
        del values[name]
    for name in ("next_key", "next_key_sequence"):
        del values["network"][name]
    state = StackState.from_json(json.dumps(values))
    assert state.identities == []
    assert state.network is not None
    assert state.network.next_key is None


def test_private_keys_are_not_in_what_is_printed() -> None:
    printed = repr(FULL.identities)
    assert FULL.identities[0].private_key.hex() not in printed
    assert repr(FULL.identities[0].private_key) not in printed


def test_a_file_nested_without_end_is_refused() -> None:
    with pytest.raises(StateError):
        StackState.from_json("[" * 100_000)


def test_a_link_key_is_found_by_its_partner_and_free_places_are_skipped() -> None:
    kept = LinkKey(5, bytes(16))
    state = StackState(1, link_keys=[None, LinkKey(4, bytes(16)), kept])
    assert state.link_key_of(5) is kept
    assert state.link_key_of(6) is None


def test_a_counter_is_reserved_before_its_first_use_and_then_once_a_step() -> None:
    reserved: list[int] = []
    counter = ReservedCounter(0, reserved.append)
    assert reserved == []
    for value in range(COUNTER_STEP):
        assert counter.take() == value
        assert reserved == [COUNTER_STEP]
    assert counter.next_value == COUNTER_STEP
    counter.take()
    assert reserved == [COUNTER_STEP, 2 * COUNTER_STEP]


def test_a_counter_at_its_end_is_refused_and_never_wraps() -> None:
    stored = [COUNTER_LIMIT - COUNTER_STEP]
    counter = ReservedCounter(stored[0], stored.append)
    for _ in range(COUNTER_STEP):
        assert counter.take() < COUNTER_LIMIT
    for _ in range(2):
        with pytest.raises(CounterExhausted):
            counter.take()
    assert stored[-1] == COUNTER_LIMIT


class CounterUnderPowerCuts(RuleBasedStateMachine):
    """Taken, restarted higher, cut at any moment: no value twice, none below an earlier one."""

    def __init__(self) -> None:
        super().__init__()
        self.stored = 0
        self.taken: list[int] = []
        self.counter = ReservedCounter(0, self.store)

    def store(self, reserved: int) -> None:
        self.stored = reserved

    @rule(times=st.integers(1, 1500))
    def take(self, times: int) -> None:
        self.taken += [self.counter.take() for _ in range(times)]

    @rule()
    def cut_the_power(self) -> None:
        self.counter = ReservedCounter(self.stored, self.store)

    @rule(ahead=st.integers(0, 5000))
    def host_sets_it_ahead(self, ahead: int) -> None:
        self.counter.restart(self.counter.next_value + ahead)

    @invariant()
    def never_goes_back(self) -> None:
        assert all(one < other for one, other in zip(self.taken, self.taken[1:], strict=False))
        assert self.stored >= (self.taken[-1] + 1 if self.taken else 0)


TestCounterUnderPowerCuts = CounterUnderPowerCuts.TestCase
