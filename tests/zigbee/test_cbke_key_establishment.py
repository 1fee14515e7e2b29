"""Key establishment between two devices, and everything that may come between them."""

from __future__ import annotations

from random import Random

import pytest
from cbke_vectors import EXAMPLES
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.zigbee import zcl
from emulator.zigbee.cbke import commands
from emulator.zigbee.cbke.commands import (
    ConfirmKeyData,
    EphemeralData,
    InitiateKeyEstablishment,
    KeyEstablishmentCommand,
    TerminateKeyEstablishment,
    TerminateStatus,
    build,
)
from emulator.zigbee.cbke.ecqv import DIGITAL_SIGNATURE, CertificateAuthority, Identity
from emulator.zigbee.cbke.ecqv import create_authority as create
from emulator.zigbee.cbke.errors import CbkeValueError
from emulator.zigbee.cbke.key_establishment import (
    Anomaly,
    Established,
    Failed,
    KeyEstablishment,
    KeyEstablishmentParameters,
    Output,
    SendZcl,
    State,
)
from emulator.zigbee.cbke.suites import SUITE_163K1, SUITE_283K1, SUITES, Suite
from emulator.zigbee.zcl import ZclFrame

DEVICE, HUB, STRANGER = 0x00DB000000000001, 0x00DB000000000002, 0x00DB000000000003
ISSUER = 0x1112131415161718
both_suites = pytest.mark.parametrize("suite", SUITES.values(), ids=lambda suite: suite.curve.name)
AUTHORITIES = {
    suite: create(suite, ISSUER, Random(suite.bit).getrandbits) for suite in SUITES.values()
}
FAST = SUITE_163K1  # where it does not matter which


def identity(eui64: int, suite: Suite = FAST, **options: int) -> Identity:
    return AUTHORITIES[suite].issue(eui64, Random(eui64).getrandbits, **options)


def node(
    eui64: int, *suites: Suite, parameters: KeyEstablishmentParameters | None = None
) -> KeyEstablishment:
    identities = [identity(eui64, suite) for suite in suites or (FAST,)]
    return KeyEstablishment(identities, Random(eui64).getrandbits, parameters)


def sent(outputs: list[Output]) -> ZclFrame:
    """The one frame among the outputs."""
    (frame,) = (zcl.parse(output.payload) for output in outputs if isinstance(output, SendZcl))
    return frame


def terminate_of(outputs: list[Output]) -> TerminateKeyEstablishment:
    frame = sent(outputs)
    assert frame.command == commands.TERMINATE_KEY_ESTABLISHMENT
    return commands.parse_terminate(frame.payload)


def failed(outputs: list[Output]) -> Failed:
    (failure,) = (output for output in outputs if isinstance(output, Failed))
    return failure


def frame_of(
    command: KeyEstablishmentCommand, *, from_server: bool = False, tsn: int = 9
) -> ZclFrame:
    control = zcl.RESPONSE if from_server else zcl.REQUEST
    return ZclFrame(control, tsn, commands.COMMAND_IDS[type(command)], build(command))


class Exchange:
    """A device that starts with a hub; frames go from one to the other step by step."""

    def __init__(self, suite: Suite = FAST) -> None:
        self.device, self.hub = node(DEVICE, suite), node(HUB, suite)
        self.frame = sent(self.device.start(HUB, suite.bit, 0.0))
        self.to_hub = True
        self.now = 0.0

    def step(self) -> list[Output]:
        """Deliver the frame under way; the outputs of whoever got it."""
        receiver, sender = (self.hub, DEVICE) if self.to_hub else (self.device, HUB)
        outputs = receiver.receive(sender, self.frame, self.now)
        frames = [output for output in outputs if isinstance(output, SendZcl)]
        if frames:
            assert frames[0].peer == sender
            self.frame = sent(outputs)
        self.to_hub = not self.to_hub
        return outputs

    def steps(self, count: int) -> list[Output]:
        outputs: list[Output] = []
        for _ in range(count):
            outputs = self.step()
        return outputs


@both_suites
def test_two_devices_come_to_one_link_key(suite: Suite) -> None:
    exchange = Exchange(suite)
    states = [(exchange.device.state, exchange.hub.state)]
    for _ in range(4):
        assert not any(isinstance(output, Established) for output in exchange.step())
        states.append((exchange.device.state, exchange.hub.state))
    assert states == [
        (State.INITIATED, State.IDLE),
        (State.INITIATED, State.ANSWERED),
        (State.EXCHANGED, State.ANSWERED),
        (State.EXCHANGED, State.AGREED),
        (State.CONFIRMED, State.AGREED),
    ]
    assert (exchange.device.peer, exchange.hub.peer) == (HUB, DEVICE)
    (_, of_hub) = exchange.step()
    (of_device,) = exchange.step()
    assert isinstance(of_hub, Established)
    assert isinstance(of_device, Established)
    assert of_hub.link_key == of_device.link_key
    assert len(of_hub.link_key) == 16
    assert (of_hub.peer, of_hub.am_initiator) == (DEVICE, False)
    assert (of_device.peer, of_device.am_initiator) == (HUB, True)
    assert of_hub.link_key.hex() not in repr(of_hub)
    for one in (exchange.device, exchange.hub):
        assert one.state is State.IDLE
        assert one.next_timeout() is None


def test_frames_carry_their_numbers_and_directions() -> None:
    exchange = Exchange(SUITE_283K1)
    seen = []
    for _ in range(6):
        seen.append((exchange.frame.frame_control, exchange.frame.command, exchange.frame.tsn))
        exchange.step()
    assert seen == [
        (0x01, 0, 1),
        (0x19, 0, 1),
        (0x01, 1, 2),
        (0x19, 1, 2),
        (0x01, 2, 3),
        (0x19, 2, 3),
    ]


def test_a_second_exchange_gives_another_key() -> None:
    exchange = Exchange()
    (first,) = exchange.steps(6)
    exchange.frame = sent(exchange.device.start(HUB, FAST.bit, 0.0))
    (second,) = exchange.steps(6)
    assert isinstance(first, Established)
    assert isinstance(second, Established)
    assert first.link_key != second.link_key


class Published:
    """Random bits that come to the published ephemeral key."""

    def __init__(self, private_key: bytes) -> None:
        self._number = int.from_bytes(private_key, "big")

    def bits(self, count: int) -> int:
        assert self._number < 1 << count
        return self._number


def test_the_published_example_runs_through_both_machines() -> None:
    example = EXAMPLES[0]
    machines = []
    for party in (example.u, example.v):
        assert party.certificate is not None
        own = Identity(
            example.suite, party.certificate, party.static.private_key, example.ca_public_key
        )
        machines.append(KeyEstablishment([own], Published(party.ephemeral.private_key).bits))
    u, v = machines
    now, outputs = 0.0, u.start(example.v.eui64, 1, 0.0)
    frames = []
    for receiver, sender in [(v, example.u), (u, example.v)] * 3:
        frames.append(sent(outputs))
        outputs = receiver.receive(sender.eui64, frames[-1], now)
        if isinstance(outputs[-1], Established):
            assert outputs[-1].link_key == example.link_key
    assert isinstance(outputs[-1], Established)
    assert [frame.payload for frame in frames[2:]] == [
        example.u.ephemeral.public_key,
        example.v.ephemeral.public_key,
        example.macu,
        example.macv,
    ]


def test_the_attribute_names_every_suite_there_is_an_identity_for() -> None:
    assert node(HUB, SUITE_283K1).suites == 0x0002
    assert node(HUB, SUITE_163K1, SUITE_283K1).suites == 0x0003


def test_a_hub_of_both_suites_takes_the_one_it_is_asked_for() -> None:
    hub = node(HUB, SUITE_163K1, SUITE_283K1)
    for suite in SUITES.values():
        request = sent(node(DEVICE, suite).start(HUB, suite.bit, 0.0))
        response = commands.parse_initiate(sent(hub.receive(DEVICE, request, 0.0)).payload)
        assert response.key_establishment_suite == suite.bit
        assert len(response.identity) == suite.certificate_octets
        hub.abandon()


def test_only_one_exchange_is_started_and_only_with_a_suite_there_is() -> None:
    device = node(DEVICE)
    with pytest.raises(CbkeValueError, match="0x0002"):
        device.start(HUB, 2, 0.0)
    device.start(HUB, 1, 0.0)
    with pytest.raises(CbkeValueError, match="under way"):
        device.start(STRANGER, 1, 0.0)
    assert device.peer == HUB
    assert device.abandon() == [Failed(HUB, "abandoned")]
    assert device.abandon() == []


# -- what is wrong with an Initiate ---------------------------------------------------------------


def initiate(own: Identity, **changes: object) -> InitiateKeyEstablishment:
    return InitiateKeyEstablishment(own.suite.bit, 11, 16, own.certificate)._replace(**changes)  # type: ignore[arg-type]


def foreign(eui64: int) -> Identity:
    ca: CertificateAuthority = create(FAST, ISSUER + 1, Random(9).getrandbits)
    return ca.issue(eui64, Random(1).getrandbits)


BAD_INITIATES = {
    "a certificate of an unknown issuer": (
        initiate(foreign(DEVICE)),
        TerminateStatus.UNKNOWN_ISSUER,
    ),
    "a certificate of somebody else": (
        initiate(identity(STRANGER)),
        TerminateStatus.BAD_MESSAGE,
    ),
    "a certificate of another suite": (
        initiate(identity(DEVICE), identity=bytes(74)),
        TerminateStatus.BAD_MESSAGE,
    ),
    "a time that is not valid": (
        initiate(identity(DEVICE), ephemeral_data_generate_time_s=255),
        TerminateStatus.BAD_MESSAGE,
    ),
    "another time that is not valid": (
        initiate(identity(DEVICE), confirm_key_generate_time_s=255),
        TerminateStatus.BAD_MESSAGE,
    ),
    "a suite that is not here": (
        initiate(identity(DEVICE), key_establishment_suite=2),
        TerminateStatus.UNSUPPORTED_SUITE,
    ),
    "two suites at once": (
        initiate(identity(DEVICE), key_establishment_suite=3),
        TerminateStatus.UNSUPPORTED_SUITE,
    ),
    "no suite": (
        initiate(identity(DEVICE), key_establishment_suite=0),
        TerminateStatus.UNSUPPORTED_SUITE,
    ),
}


@pytest.mark.parametrize("name", BAD_INITIATES)
def test_a_bad_initiate_request_is_terminated_with_its_reason(name: str) -> None:
    command, status = BAD_INITIATES[name]
    hub = node(HUB)
    outputs = hub.receive(DEVICE, frame_of(command, tsn=77), 0.0)
    assert terminate_of(outputs) == TerminateKeyEstablishment(status, 0, FAST.bit)
    assert (sent(outputs).frame_control, sent(outputs).tsn) == (0x19, 77)
    assert failed(outputs).status == status
    assert hub.state is State.IDLE


@pytest.mark.parametrize("name", BAD_INITIATES)
def test_a_bad_initiate_response_is_terminated_with_its_reason(name: str) -> None:
    command, status = BAD_INITIATES[name]
    hub = node(HUB)  # begins; the device answers
    hub.start(DEVICE, FAST.bit, 0.0)
    outputs = hub.receive(DEVICE, frame_of(command, from_server=True), 0.0)
    assert terminate_of(outputs).status == status
    assert sent(outputs).frame_control == 0x01
    assert failed(outputs).status == status
    assert hub.state is State.IDLE


@pytest.mark.parametrize("from_server", [False, True])
def test_a_certificate_for_signatures_only_is_refused(from_server: bool) -> None:
    hub = node(HUB, SUITE_283K1)
    if from_server:
        hub.start(DEVICE, SUITE_283K1.bit, 0.0)
    command = initiate(identity(DEVICE, SUITE_283K1, key_usage=DIGITAL_SIGNATURE))
    outputs = hub.receive(DEVICE, frame_of(command, from_server=from_server), 0.0)
    assert terminate_of(outputs).status == TerminateStatus.INVALID_KEY_USAGE


def test_who_borrows_a_certificate_gets_as_far_as_the_mac() -> None:
    # The key of the certificate is what a thief of octets lacks.
    borrowed = identity(DEVICE)
    own = Identity(
        FAST, borrowed.certificate, identity(STRANGER).private_key, borrowed.ca_public_key
    )
    exchange = Exchange()
    exchange.device = KeyEstablishment([own], Random(1).getrandbits)
    exchange.frame = sent(exchange.device.start(HUB, FAST.bit, 0.0))
    exchange.steps(4)
    outputs = exchange.step()
    assert terminate_of(outputs).status == TerminateStatus.BAD_KEY_CONFIRM
    assert not any(isinstance(output, Established) for output in outputs)
    (told,) = exchange.step()
    assert isinstance(told, Failed)
    assert told.status == TerminateStatus.BAD_KEY_CONFIRM


# -- what is wrong later --------------------------------------------------------------------------


@pytest.mark.parametrize(("steps", "at_hub"), [(4, True), (5, False)])
def test_a_mac_with_a_flipped_bit_establishes_nothing(steps: int, at_hub: bool) -> None:
    exchange = Exchange()
    exchange.steps(steps)
    smac = exchange.frame.payload
    for bit in (0, 64, 127):
        flipped = (int.from_bytes(smac, "big") ^ 1 << bit).to_bytes(16, "big")
        receiver, sender = (exchange.hub, DEVICE) if at_hub else (exchange.device, HUB)
        outputs = receiver.receive(sender, exchange.frame._replace(payload=flipped), 0.0)
        if bit == 0:
            assert terminate_of(outputs).status == TerminateStatus.BAD_KEY_CONFIRM
            assert failed(outputs).status == TerminateStatus.BAD_KEY_CONFIRM
        assert not any(isinstance(output, Established) for output in outputs)
        assert receiver.state is State.IDLE
    # and the right one comes too late
    assert not any(
        isinstance(output, Established) for output in receiver.receive(sender, exchange.frame, 0.0)
    )


@pytest.mark.parametrize("steps", [2, 3])
@pytest.mark.parametrize(
    "payload",
    [bytes(22), b"\x02" + bytes(20) + b"\x01", b"\x02" + bytes(21), bytes(37), b"", bytes(21)],
    ids=["infinity", "x is 1", "order 2", "other suite", "empty", "short"],
)
def test_ephemeral_data_that_are_no_point_end_the_exchange(steps: int, payload: bytes) -> None:
    exchange = Exchange()
    exchange.steps(steps)
    exchange.frame = exchange.frame._replace(payload=payload)
    outputs = exchange.step()
    assert terminate_of(outputs).status == TerminateStatus.BAD_MESSAGE
    (told,) = exchange.step()
    assert isinstance(told, Failed)
    assert exchange.device.state is exchange.hub.state is State.IDLE


@pytest.mark.parametrize("steps", range(1, 6))
def test_a_command_out_of_turn_ends_the_exchange(steps: int) -> None:
    exchange = Exchange()
    exchange.steps(steps)
    receiver, sender = (exchange.hub, DEVICE) if exchange.to_hub else (exchange.device, HUB)
    expected = exchange.frame.command
    for command in (EphemeralData(bytes(22)), ConfirmKeyData(bytes(16))):
        if commands.COMMAND_IDS[type(command)] == expected:
            continue
        wrong = frame_of(command, from_server=not exchange.to_hub)
        outputs = receiver.receive(sender, wrong, 0.0)
        assert terminate_of(outputs).status == TerminateStatus.BAD_MESSAGE
        assert receiver.state is State.IDLE
        assert any(isinstance(output, Failed) for output in outputs)
        break


@pytest.mark.parametrize("steps", range(1, 5))
def test_nothing_a_stranger_sends_disturbs_an_exchange(steps: int) -> None:
    exchange = Exchange()
    exchange.steps(steps)
    for one in (exchange.device, exchange.hub):
        before = one.state, one.peer, one.next_timeout()
        for command in (
            initiate(identity(STRANGER)),
            EphemeralData(bytes(22)),
            ConfirmKeyData(bytes(16)),
            TerminateKeyEstablishment(1, 0, 1),
        ):
            for from_server in (False, True):
                outputs = one.receive(STRANGER, frame_of(command, from_server=from_server), 0.0)
                assert not any(isinstance(output, Established | Failed) for output in outputs)
                assert isinstance(outputs[-1], Anomaly)
                assert (one.state, one.peer, one.next_timeout()) == before
    outputs = exchange.steps(6 - steps)
    assert isinstance(outputs[-1], Established)


def test_a_second_initiator_is_told_to_come_back_later() -> None:
    exchange = Exchange()
    exchange.step()
    outputs = exchange.hub.receive(STRANGER, frame_of(initiate(identity(STRANGER))), 0.0)
    assert terminate_of(outputs) == TerminateKeyEstablishment(
        TerminateStatus.NO_RESOURCES, 30, FAST.bit
    )
    stranger = node(STRANGER)
    stranger.start(HUB, FAST.bit, 0.0)
    (told,) = stranger.receive(HUB, sent(outputs), 0.0)
    assert isinstance(told, Failed)
    assert (told.status, told.wait_s) == (TerminateStatus.NO_RESOURCES, 30)


def test_two_that_begin_with_each_other_at_once_both_hear_no_resources() -> None:
    exchange = Exchange()
    other = sent(exchange.hub.start(DEVICE, FAST.bit, 0.0))
    for one, peer, frame in (
        (exchange.hub, DEVICE, exchange.frame),
        (exchange.device, HUB, other),
    ):
        outputs = one.receive(peer, frame, 0.0)
        assert terminate_of(outputs).status == TerminateStatus.NO_RESOURCES
        assert one.state is State.INITIATED


def test_a_partner_that_was_restarted_may_begin_anew() -> None:
    exchange = Exchange()
    exchange.steps(3)
    exchange.device.abandon()
    exchange.frame, exchange.to_hub = sent(exchange.device.start(HUB, FAST.bit, 1.0)), True
    outputs = exchange.step()
    assert failed(outputs).peer == DEVICE
    assert exchange.hub.state is State.ANSWERED
    (established,) = exchange.steps(5)
    assert isinstance(established, Established)


def test_a_partner_that_begins_anew_badly_ends_its_exchange_once() -> None:
    exchange = Exchange()
    exchange.steps(3)
    outputs = exchange.hub.receive(DEVICE, frame_of(initiate(foreign(DEVICE))), 0.0)
    assert failed(outputs).status == TerminateStatus.UNKNOWN_ISSUER
    assert exchange.hub.state is State.IDLE


def test_a_late_answer_is_told_that_nobody_waits_for_it() -> None:
    device = node(DEVICE)
    late = frame_of(initiate(identity(HUB)), from_server=True, tsn=3)
    outputs = device.receive(HUB, late, 0.0)
    assert terminate_of(outputs).status == TerminateStatus.BAD_MESSAGE
    assert sent(outputs).frame_control == 0x01
    assert not any(isinstance(output, Failed) for output in outputs)
    assert device.state is State.IDLE


def test_a_terminate_is_never_answered() -> None:
    exchange = Exchange()
    exchange.steps(2)
    for one, peer, from_server in ((exchange.hub, DEVICE, False), (exchange.device, HUB, True)):
        short = ZclFrame(zcl.RESPONSE if from_server else zcl.REQUEST, 1, 3, b"\x01")
        assert [type(output) for output in one.receive(peer, short, 0.0)] == [Anomaly]
        wrong_way = frame_of(TerminateKeyEstablishment(1, 0, 1), from_server=not from_server)
        assert [type(output) for output in one.receive(peer, wrong_way, 0.0)] == [Anomaly]
        ended = frame_of(TerminateKeyEstablishment(200, 7, 1), from_server=from_server)
        assert one.receive(peer, ended, 0.0) == [Failed(peer, "the partner ended it", 200, 7)]
        assert [type(output) for output in one.receive(peer, ended, 0.0)] == [Anomaly]


def test_what_is_no_command_of_the_cluster_is_left_to_the_application() -> None:
    exchange = Exchange()
    exchange.steps(2)
    for frame in (
        ZclFrame(0x00, 1, 0x00, bytes(2)),
        ZclFrame(0x05, 1, 0x00, bytes(2), manufacturer_code=0x1234),
    ):
        assert [type(o) for o in exchange.hub.receive(DEVICE, frame, 0.0)] == [Anomaly]
    assert exchange.hub.state is State.ANSWERED


# -- time -----------------------------------------------------------------------------------------


def test_each_side_waits_as_long_as_the_other_said_it_takes_and_ten_seconds_more() -> None:
    times = KeyEstablishmentParameters(
        ephemeral_data_generate_time_s=3, confirm_key_generate_time_s=6
    )
    exchange = Exchange()
    exchange.device = node(DEVICE, parameters=times)
    exchange.frame = sent(exchange.device.start(HUB, FAST.bit, 100.0))
    exchange.now = 100.0
    due = [(exchange.device.next_timeout(), exchange.hub.next_timeout())]
    for _ in range(4):
        exchange.step()
        due.append((exchange.device.next_timeout(), exchange.hub.next_timeout()))
    assert due == [
        (110.0, None),
        (110.0, 113.0),
        (121.0, 113.0),
        (121.0, 116.0),
        (126.0, 116.0),
    ]


@pytest.mark.parametrize("steps", range(5))
def test_an_exchange_that_stalls_ends_for_both_and_a_new_one_succeeds(steps: int) -> None:
    exchange = Exchange()
    exchange.steps(steps)
    waiting = [exchange.device] if steps == 0 else [exchange.device, exchange.hub]
    for one in waiting:
        due = one.next_timeout()
        assert due is not None
        assert one.handle_timeout(due - 0.001) == []
        (failure,) = one.handle_timeout(due)
        assert isinstance(failure, Failed)
        assert failure.status is None
        assert one.handle_timeout(due + 100) == []
        assert one.next_timeout() is None
    exchange.frame, exchange.to_hub = sent(exchange.device.start(HUB, FAST.bit, 200.0)), True
    (established,) = exchange.steps(6)
    assert isinstance(established, Established)


# -- anything at all ------------------------------------------------------------------------------


@given(data=st.data())
@settings(max_examples=60)
def test_no_frames_at_all_raise_anything_or_establish_a_key(data: st.DataObject) -> None:
    exchange = Exchange()
    exchange.steps(data.draw(st.integers(0, 5)))
    for _ in range(data.draw(st.integers(1, 6))):
        one, partner = data.draw(st.sampled_from([(exchange.device, HUB), (exchange.hub, DEVICE)]))
        frame = ZclFrame(
            data.draw(st.sampled_from([0x00, 0x01, 0x08, 0x09, 0x11, 0x19])),
            data.draw(st.integers(0, 255)),
            data.draw(st.integers(0, 5)),
            data.draw(
                st.one_of(
                    st.binary(max_size=80),
                    st.binary(min_size=22, max_size=22),
                    st.binary(min_size=16, max_size=16),
                    st.just(build(initiate(identity(DEVICE)))),
                    st.just(build(initiate(identity(HUB)))),
                )
            ),
        )
        outputs = one.receive(data.draw(st.sampled_from([partner, STRANGER])), frame, 0.0)
        assert outputs
        assert not any(isinstance(output, Established) for output in outputs)
        for output in outputs:
            if isinstance(output, SendZcl):
                zcl.parse(output.payload)
