"""What a node answers for itself, asked on the air; and what it makes of nonsense."""

from __future__ import annotations

import pytest
from air_support import SMART_ENERGY, Air, StackHost, form, join
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.zigbee import zdo
from emulator.zigbee.events import OPTION_RETRY, Aps, MessageReceived, NodeType, Status
from emulator.zigbee.zdo import Endpoint

BRIDGE = 0x0011223344556677
EUI64 = BRIDGE.to_bytes(8, "little")
HUB_EUI64 = 0x00DB1234567890A2


def zdo_message(cluster: int, options: int = OPTION_RETRY) -> Aps:
    return Aps(zdo.PROFILE, cluster, 0, 0, options)


class Questions:
    """A hub that asks a bridge, and what it hears back."""

    def __init__(self) -> None:
        self.air = Air()
        self.hub = form(self.air)
        self.bridge = join(self.air, self.hub, "bridge", BRIDGE)
        self.bridge.stack.manufacturer_code = 0x121D
        self.bridge.stack.endpoints.clear()
        self.bridge.stack.endpoints[3] = Endpoint(3, SMART_ENERGY, 0x0506, 1, (0, 0x19), (0x0A,))
        self.bridge.stack.endpoints[1] = Endpoint(1, 0x0104, 0x0008, 0, (0,), ())
        self.short = self.bridge.stack.short_address.to_bytes(2, "little")

    def ask(self, cluster: int, payload: bytes, *, broadcast: bool = False) -> bytes | None:
        """What came back, without its sequence number; None when nothing did."""
        self.hub.events.clear()
        self.bridge.events.clear()
        service = self.hub.stack.aps
        if broadcast:
            status, _ = service.send_broadcast(
                0xFFFD, zdo_message(cluster, 0), b"\x2a" + payload, 0
            )
        else:
            status, _ = service.send_unicast(
                self.bridge.stack.short_address, zdo_message(cluster), b"\x2a" + payload, 0
            )
        assert status is Status.OK
        self.air.clock.run_for(1)
        answers = [
            event
            for event in self.hub.events
            if isinstance(event, MessageReceived) and event.source != 0
        ]
        if not answers:
            return None
        (answer,) = answers
        assert answer.aps.cluster == cluster | zdo.RESPONSE
        assert answer.aps.profile == zdo.PROFILE
        assert answer.payload[:1] == b"\x2a"
        return answer.payload[1:]


def test_a_node_tells_its_short_address_and_its_eui64() -> None:
    questions = Questions()
    answer = b"\x00" + EUI64 + questions.short
    assert questions.ask(zdo.NWK_ADDRESS, EUI64 + b"\x00\x00") == answer
    assert questions.ask(zdo.IEEE_ADDRESS, questions.short + b"\x00\x00") == answer
    assert questions.ask(zdo.NWK_ADDRESS, EUI64 + b"\x00\x00", broadcast=True) == answer


def test_asked_for_another_node_alone_it_says_not_found_and_in_public_nothing() -> None:
    questions = Questions()
    other = bytes(8)
    answer = b"\x81" + other + b"\xff\xff"
    assert questions.ask(zdo.NWK_ADDRESS, other + b"\x00\x00") == answer
    assert questions.ask(zdo.NWK_ADDRESS, other + b"\x00\x00", broadcast=True) is None
    assert questions.ask(zdo.IEEE_ADDRESS, b"\x42\x42\x00\x00") == b"\x81" + bytes(8) + b"\x42\x42"
    for cluster in (
        zdo.IEEE_ADDRESS,
        zdo.NODE_DESCRIPTOR,
        zdo.POWER_DESCRIPTOR,
        zdo.SIMPLE_DESCRIPTOR,
        zdo.ACTIVE_ENDPOINTS,
    ):
        assert questions.ask(cluster, b"\x42\x42\x03\x00", broadcast=True) is None


def test_the_descriptors_of_a_node_are_laid_out_as_the_standard_says() -> None:
    questions = Questions()
    short = questions.short
    # 05-3474, 2.3.2.3: router, 2.4 GHz, mains and always on, manufacturer, 82, 1594, revision 22
    node = bytes.fromhex("01 40 8E 1D 12 52 3A 06 00 2C 3A 06 00")
    assert questions.ask(zdo.NODE_DESCRIPTOR, short) == b"\x00" + short + node
    assert questions.ask(zdo.POWER_DESCRIPTOR, short) == b"\x00" + short + b"\x10\xc1"
    assert questions.ask(zdo.NODE_DESCRIPTOR, b"\x42\x42") == b"\x81\x42\x42"
    assert questions.ask(zdo.POWER_DESCRIPTOR, b"\x42\x42") == b"\x81\x42\x42"


def test_the_hub_says_that_it_is_coordinator_and_trust_centre() -> None:
    questions = Questions()
    bridge = questions.bridge
    payload = b"\x2a\x00\x00"
    bridge.stack.aps.send_unicast(0, zdo_message(zdo.NODE_DESCRIPTOR), payload, 0)
    questions.air.clock.run_for(1)
    answer = bridge.received()[-1]
    assert answer[4] & 0x07 == 0
    assert int.from_bytes(answer[12:14], "little") & 0x0041 == 0x0041


def test_endpoints_are_listed_in_order_and_described() -> None:
    questions = Questions()
    short = questions.short
    assert questions.ask(zdo.ACTIVE_ENDPOINTS, short) == b"\x00" + short + b"\x02\x01\x03"
    assert questions.ask(zdo.ACTIVE_ENDPOINTS, b"\x42\x42") == b"\x81\x42\x42\x00"
    descriptor = bytes.fromhex("03 09 01 06 05 01 02 00 00 19 00 01 0A 00")
    assert questions.ask(zdo.SIMPLE_DESCRIPTOR, short + b"\x03") == (
        b"\x00" + short + b"\x0e" + descriptor
    )
    for endpoint, status in ((2, 0x83), (0, 0x82), (255, 0x82)):
        assert questions.ask(zdo.SIMPLE_DESCRIPTOR, short + bytes((endpoint,))) == (
            bytes((status,)) + short + b"\x00"
        )
    assert questions.ask(zdo.SIMPLE_DESCRIPTOR, b"\x42\x42\x03") == b"\x81\x42\x42\x00"


def test_an_endpoint_with_more_clusters_than_a_frame_holds_is_answered_and_breaks_nothing() -> None:
    questions = Questions()
    fits = tuple(range(34))  # 13 octets round 34 clusters: the longest answer of one frame
    questions.bridge.stack.endpoints[5] = Endpoint(5, SMART_ENERGY, 0x0500, 0, fits, ())
    questions.bridge.stack.endpoints[6] = Endpoint(6, SMART_ENERGY, 0x0500, 0, fits, (99,))
    short = questions.short
    answer = questions.ask(zdo.SIMPLE_DESCRIPTOR, short + b"\x05")
    assert answer is not None
    assert len(answer) + 1 == 81
    assert questions.ask(zdo.SIMPLE_DESCRIPTOR, short + b"\x06") == b"\x8a" + short + b"\x00"
    for number in range(1, 100):
        questions.bridge.stack.endpoints[number] = Endpoint(number, SMART_ENERGY, 0, 0, (), ())
    assert questions.ask(zdo.ACTIVE_ENDPOINTS, short) == b"\x8a" + short + b"\x00"


def match(profile: int, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> bytes:
    octets = b"\xfd\xff" + profile.to_bytes(2, "little")
    for clusters in (inputs, outputs):
        octets += bytes((len(clusters),))
        octets += b"".join(cluster.to_bytes(2, "little") for cluster in clusters)
    return octets


def test_whoever_serves_a_cluster_of_the_profile_answers_a_search_and_others_do_not() -> None:
    questions = Questions()
    found = b"\x00" + questions.short + b"\x01\x03"
    for broadcast in (True, False):
        for inputs, outputs in (((0x19,), ()), ((), (0x0A,)), ((0x19, 0x700), (0x0A,))):
            wanted = match(SMART_ENERGY, inputs, outputs)
            assert questions.ask(zdo.MATCH_DESCRIPTOR, wanted, broadcast=broadcast) == found
        for profile, inputs, outputs in (
            (0x0104, (0x19,), ()),
            (SMART_ENERGY, (0x0A,), (0x19,)),
            (SMART_ENERGY, (), ()),
        ):
            wanted = match(profile, inputs, outputs)
            assert questions.ask(zdo.MATCH_DESCRIPTOR, wanted, broadcast=broadcast) is None


# Match_Desc_req (2.4.3.1.7) laid out by hand: sequence, address, profile, the two lists.
@pytest.mark.parametrize(
    ("is_server", "octets"),
    [(True, "2a 34 12 09 01 01 19 00 00"), (False, "2a 34 12 09 01 00 01 19 00")],
)
def test_a_search_is_laid_out_as_the_standard_says(is_server: bool, octets: str) -> None:
    request = zdo.match_request(0x2A, 0x1234, SMART_ENERGY, 0x0019, is_server=is_server)
    assert request == bytes.fromhex(octets)


@pytest.mark.parametrize(
    ("cluster", "is_server", "endpoint"),
    [(0x19, True, 3), (0x0A, False, 3), (0x19, False, None), (0x0A, True, None)],
)
def test_what_is_searched_for_is_found_where_it_is_and_nowhere_else(
    cluster: int, is_server: bool, endpoint: int | None
) -> None:
    questions = Questions()
    address = questions.bridge.stack.short_address
    request = zdo.match_request(0x2A, address, SMART_ENERGY, cluster, is_server=is_server)
    answer = questions.ask(zdo.MATCH_DESCRIPTOR, request[1:])
    assert (None if answer is None else zdo.first_match(b"\x2a" + answer)) == endpoint


@given(st.binary(max_size=12))
def test_whatever_is_taken_for_the_answer_to_a_search_names_an_endpoint_or_none(
    octets: bytes,
) -> None:
    found = zdo.first_match(octets)
    assert found is None or (octets[1] == zdo.SUCCESS and octets[4] and found == octets[5])


def test_joining_is_opened_and_closed_by_request_and_only_a_request_to_one_is_answered() -> None:
    questions = Questions()
    joining = questions.bridge.stack.joining
    assert questions.ask(zdo.MGMT_PERMIT_JOINING, b"\x3c\x00") == b"\x00"
    assert joining.permits
    assert questions.ask(zdo.MGMT_PERMIT_JOINING, b"\x00\x00", broadcast=True) is None
    assert not joining.permits


def test_a_request_nobody_here_serves_is_answered_not_supported_unless_public() -> None:
    questions = Questions()
    for cluster in (0x0033, 0x7FFF):
        assert questions.ask(cluster, b"\x00") == b"\x84"
        assert questions.ask(cluster, b"\x00", broadcast=True) is None


def test_the_host_sees_requests_only_when_it_asked_to_and_always_responses() -> None:
    questions = Questions()
    questions.ask(zdo.ACTIVE_ENDPOINTS, questions.short)
    assert questions.bridge.received() == []
    questions.bridge.stack.passes_zdo_requests = True
    questions.ask(zdo.ACTIVE_ENDPOINTS, questions.short)
    assert questions.bridge.received() == [b"\x2a" + questions.short]


def test_a_question_to_oneself_is_answered_after_the_call() -> None:
    questions = Questions()
    hub = questions.hub
    hub.events.clear()
    payload = b"\x07" + HUB_EUI64.to_bytes(8, "little") + b"\x00\x00"
    service = hub.stack.aps
    assert service.send_broadcast(0xFFFD, zdo_message(zdo.NWK_ADDRESS, 0), payload, 0)[0] is (
        Status.OK
    )
    assert hub.events == []
    questions.air.clock.run_for(1)
    assert hub.received() == [b"\x07\x00" + HUB_EUI64.to_bytes(8, "little") + b"\x00\x00"]


def announce(short: int, eui64: int) -> bytes:
    return b"\x01" + short.to_bytes(2, "little") + eui64.to_bytes(8, "little") + b"\x8e"


def test_an_announcement_is_learnt_and_shown_to_the_host() -> None:
    questions = Questions()
    hub, bridge = questions.hub, questions.bridge
    payload = announce(0x4242, 0xCAFE)
    bridge.stack.aps.send_broadcast(0xFFFD, zdo_message(zdo.DEVICE_ANNOUNCE, 0), payload, 0)
    questions.air.clock.run_for(1)
    assert hub.stack.short_of(0xCAFE) == 0x4242
    assert hub.received()[-1] == payload


@pytest.mark.parametrize("short", [0x0000, 0xFFF8, 0xFFFE, 0xFFFF])
def test_nobody_takes_the_coordinators_address_or_a_broadcast_by_announcing_it(short: int) -> None:
    questions = Questions()
    bridge = questions.bridge
    assert not zdo.answer(
        bridge.stack, 0x4242, zdo_message(zdo.DEVICE_ANNOUNCE), announce(short, 1), broadcast=True
    )
    assert bridge.stack.eui64_of(0) == HUB_EUI64.to_bytes(8, "little")
    assert bridge.stack.short_of(1) is None


def test_a_node_does_not_learn_itself_from_its_own_announcement() -> None:
    questions = Questions()
    bridge = questions.bridge
    own = bridge.stack.short_address
    payload = announce(0x4242, BRIDGE)
    assert zdo.answer(bridge.stack, 0, zdo_message(zdo.DEVICE_ANNOUNCE), payload, broadcast=True)
    assert bridge.stack.short_of(BRIDGE) == own


CAPABILITIES = {
    NodeType.COORDINATOR: 0x8F,  # alternate coordinator, full function, mains, always on, address
    NodeType.ROUTER: 0x8E,
    NodeType.END_DEVICE: 0x8C,
    NodeType.SLEEPY_END_DEVICE: 0x80,
    NodeType.MOBILE_END_DEVICE: 0x80,
}


@pytest.mark.parametrize("node_type", list(NodeType))
def test_a_node_says_what_it_can(node_type: NodeType) -> None:
    assert zdo.capability(node_type) == CAPABILITIES[node_type]


BYSTANDER = Questions()


@settings(max_examples=200, deadline=None)
@given(
    cluster=st.sampled_from([*range(0x0020), 0x0036, 0x8000, 0xFFFF]),
    payload=st.binary(max_size=82),
    broadcast=st.booleans(),
    about_itself=st.booleans(),
)
def test_whatever_a_request_holds_it_raises_nothing(
    cluster: int, payload: bytes, broadcast: bool, about_itself: bool
) -> None:
    stack = BYSTANDER.bridge.stack
    if about_itself:
        payload = payload[:1] + BYSTANDER.short + payload[1:80]
    parameters = zdo_message(cluster)
    zdo.answer(stack, 0, parameters, payload, broadcast=broadcast)
    BYSTANDER.air.clock.run_for(0.2)
    assert stack.is_up


def test_a_hostile_crowd_of_questions_is_answered_one_after_another() -> None:
    questions = Questions()
    bridge: StackHost = questions.bridge
    for _ in range(100):
        parameters = zdo_message(zdo.ACTIVE_ENDPOINTS)
        zdo.answer(bridge.stack, 0, parameters, b"\x01" + questions.short, broadcast=False)
    questions.air.clock.run_for(5)
    answers = [payload for payload in questions.hub.received() if payload[1:2] == b"\x00"]
    assert 33 <= len(answers) <= 100  # one on its way, 32 queued, and what is tried again
