"""Messages between hub and device: each arrives once, or somebody is told that it did not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.devices import tunnel
from emulator.devices.tunnel import (
    CLOSED_BY_DEVICE,
    Anomaly,
    MessageReceived,
    MessageRefused,
    SendZcl,
    State,
    TunnelClient,
    TunnelDown,
    TunnelParameters,
    TunnelServer,
    TunnelUp,
)
from emulator.zigbee import tunnelling, zcl
from emulator.zigbee.zcl import Status

OPENED = TunnelUp(0, 1500)


class Link:
    """Hub and device joined by a wire that can be cut; events gather on each side."""

    def __init__(self, **parameters: Any) -> None:
        self.now = 0.0
        self.parameters = TunnelParameters(**parameters)
        self.hub = TunnelClient(self.parameters)
        self.device = TunnelServer(self.parameters)
        self.is_cut = False
        self.at_hub: list[Any] = []
        self.at_device: list[Any] = []
        self.frames: list[zcl.ZclFrame] = []

    def from_hub(self, outputs: list[tunnel.Output]) -> None:
        for output in outputs:
            if not isinstance(output, SendZcl):
                self.at_hub.append(output)
                continue
            self.frames.append(zcl.parse(output.payload))
            if not self.is_cut:
                self.from_device(self.device.receive(output.payload, self.now))

    def from_device(self, outputs: list[tunnel.Output]) -> None:
        for output in outputs:
            if not isinstance(output, SendZcl):
                self.at_device.append(output)
                continue
            self.frames.append(zcl.parse(output.payload))
            if not self.is_cut:
                self.from_hub(self.hub.receive(output.payload, self.now))

    def open(self) -> None:
        self.from_hub(self.hub.open(self.now))

    def restart_device(self) -> None:
        self.device = TunnelServer(self.parameters)

    def expire(self) -> None:
        due = self.hub.next_timeout()
        assert due is not None, "nothing is due"
        self.now = due
        self.from_hub(self.hub.handle_timeout(due))


def kinds(events: list[Any]) -> list[str]:
    return [event.kind for event in events if isinstance(event, Anomaly)]


def received(events: list[Any]) -> list[bytes]:
    return [event.data for event in events if isinstance(event, MessageReceived)]


def test_a_tunnel_opens_with_the_values_of_gbcs() -> None:
    link = Link()
    link.open()
    request = tunnelling.parse_request_tunnel(link.frames[0].payload)
    assert request == tunnelling.RequestTunnel(6, 0xFFFF, False, 1500)
    response = tunnelling.parse_request_tunnel_response(link.frames[1].payload)
    assert response == tunnelling.RequestTunnelResponse(0, 0, 1500)
    assert link.frames[1].tsn == link.frames[0].tsn
    assert link.at_hub == link.at_device == [OPENED]
    assert link.hub.next_timeout() is None


@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=1500)), max_size=12))
def test_messages_of_any_size_arrive_as_they_were_sent(
    messages: list[tuple[bool, bytes]],
) -> None:
    link = Link()
    link.open()
    for is_hubs, message in messages:
        if is_hubs:
            link.from_hub(link.hub.send(message, 0.0))
        else:
            link.from_device(link.device.send(message, 0.0))
    assert received(link.at_device) == [message for is_hubs, message in messages if is_hubs]
    assert received(link.at_hub) == [message for is_hubs, message in messages if not is_hubs]


def test_messages_given_before_there_is_a_tunnel_follow_in_order() -> None:
    link = Link()
    for number in range(3):
        link.from_device(link.device.send(b"from device %d" % number, 0.0))
    link.is_cut = True
    for number in range(3):
        link.from_hub(link.hub.send(b"from hub %d" % number, 0.0))
    assert len(link.frames) == 1  # the first message asked for a tunnel
    link.is_cut = False
    link.expire()
    assert received(link.at_device) == [b"from hub %d" % n for n in range(3)]
    assert received(link.at_hub) == [b"from device %d" % n for n in range(3)]


def test_more_messages_than_are_kept_are_refused_by_name() -> None:
    link = Link(queue_limit=2)
    link.is_cut = True
    for _ in range(3):
        link.from_hub(link.hub.send(b"x", 0.0))
        link.from_device(link.device.send(b"x", 0.0))
    refused = [MessageRefused("2 messages wait for a tunnel already")]
    assert link.at_hub == link.at_device == refused


def test_a_message_longer_than_the_tunnel_takes_is_refused() -> None:
    link = Link()
    link.open()
    link.from_hub(link.hub.send(bytes(1501), 0.0))
    link.from_device(link.device.send(bytes(1501), 0.0))
    refused = MessageRefused("1501 octets are more than the 1500 the peer takes")
    assert link.at_hub == link.at_device == [OPENED, refused]


def test_a_device_that_does_not_answer_is_asked_five_times() -> None:
    link = Link()
    link.is_cut = True
    link.from_hub(link.hub.send(b"x", 0.0))
    for _ in range(4):
        link.expire()
    assert (link.now, len(link.frames), link.at_hub) == (40.0, 5, [])
    assert len({frame.tsn for frame in link.frames}) == 5
    link.expire()
    reason = "5 requests for a tunnel without an answer"
    assert link.at_hub == [TunnelDown(reason), MessageRefused(reason)]
    assert link.hub.next_timeout() is None
    link.is_cut = False
    link.from_hub(link.hub.send(b"y", link.now))
    assert received(link.at_device) == [b"y"]


def answer(link: Link, status: int, tunnel_id: int = 0) -> None:
    response = tunnelling.RequestTunnelResponse(tunnel_id, status, 1500)
    payload = bytes((zcl.RESPONSE, link.frames[-1].tsn, 0x00)) + tunnelling.build(response)
    link.from_hub(link.hub.receive(payload, link.now))


@pytest.mark.parametrize("status", [1, 2])
def test_a_busy_device_is_asked_again_after_three_minutes_as_long_as_it_takes(status: int) -> None:
    link = Link()
    link.is_cut = True
    link.from_hub(link.hub.send(b"x", 0.0))
    for _ in range(20):
        answer(link, status)
        assert link.hub.state is State.BACKING
        assert link.hub.next_timeout() == link.now + 180.0
        link.expire()
    link.is_cut = False
    link.expire()
    assert received(link.at_device) == [b"x"]


@pytest.mark.parametrize(("status", "word"), [(3, "protocol"), (4, "flow control"), (9, "9")])
def test_a_tunnel_that_cannot_be_is_given_up_at_once(status: int, word: str) -> None:
    link = Link()
    link.is_cut = True
    link.from_hub(link.hub.send(b"x", 0.0))
    answer(link, status)
    down, refused = link.at_hub
    assert isinstance(down, TunnelDown)
    assert isinstance(refused, MessageRefused)
    assert word in down.reason
    assert link.hub.state is State.CLOSED


def test_after_a_restart_of_the_device_a_message_arrives_once_through_a_new_tunnel() -> None:
    link = Link()
    link.open()
    link.from_hub(link.hub.send(b"before", 0.0))
    link.now = 100.0
    link.restart_device()
    link.from_hub(link.hub.send(b"after", link.now))
    assert received(link.at_device) == [b"before", b"after"]
    assert link.at_hub == [OPENED, TunnelDown("the peer knows no such tunnel"), OPENED]


def test_after_a_restart_of_the_hub_a_message_of_the_device_arrives_once() -> None:
    link = Link()
    link.open()
    link.hub = TunnelClient()
    link.from_device(link.device.send(b"alert", 0.0))
    assert received(link.at_hub) == []
    link.open()
    assert received(link.at_hub) == [b"alert"]
    assert TunnelUp(1, 1500) in link.at_hub


def error(link: Link, status: int, tunnel_id: int = 0, number: int = 0x02) -> list[Any]:
    body = tunnelling.build(tunnelling.TransferDataError(tunnel_id, status))
    outputs = link.hub.receive(bytes((zcl.RESPONSE, 9, number)) + body, link.now)
    link.from_hub(outputs)
    return outputs


@pytest.mark.parametrize("status", [0, 1])
def test_a_message_refused_twice_is_not_sent_a_third_time(status: int) -> None:
    link = Link()
    link.open()
    link.is_cut = True
    link.from_hub(link.hub.send(b"x", 0.0))
    for tunnel_id in (0, 1):
        error(link, status, tunnel_id)
        answer(link, 0, tunnel_id + 1)
    transfers = [f for f in link.frames if f.command == tunnelling.TRANSFER_DATA_TO_SERVER]
    assert len(transfers) == 2
    refused = [event for event in link.at_hub if isinstance(event, MessageRefused)]
    assert refused == [MessageRefused("the peer knows no such tunnel, twice")]
    assert link.hub.state is State.OPEN


def handles(outputs: list[tunnel.Output]) -> list[int | None]:
    """Of the frames to send and of the messages refused."""
    return [one.handle for one in outputs if isinstance(one, SendZcl | MessageRefused)]


@pytest.mark.parametrize("half", ["hub", "device"])
def test_a_message_is_known_by_its_handle_in_whichever_frame_it_leaves(half: str) -> None:
    link = Link(queue_limit=2)
    sender = getattr(link, half)
    link.is_cut = True
    kept = [sender.send(bytes(number), 0.0, number) for number in (1, 2, 3)]
    assert handles(kept[2]) == [3]  # there is room for two
    request = tunnelling.RequestTunnel(
        tunnelling.PROTOCOL_GB_HRGP, tunnelling.NO_MANUFACTURER, False, 1500
    )
    answer = tunnelling.RequestTunnelResponse(0, 0, 1500)
    body: tunnelling.TunnelCommand = answer if half == "hub" else request
    control = zcl.RESPONSE if half == "hub" else zcl.REQUEST
    opened = sender.receive(bytes((control, 1, 0)) + tunnelling.build(body), 0.0)
    assert [handle for handle in handles(opened) if handle is not None] == [1, 2]
    assert handles(sender.send(b"x", 0.0, 7)) == [7]
    assert handles(sender.send(b"x", 0.0)) == [None]


def test_a_message_sent_once_more_has_the_same_handle_and_so_has_its_refusal() -> None:
    link = Link()
    link.open()
    link.is_cut = True
    link.from_hub(link.hub.send(b"x", 0.0, 7))
    lost = error(link, 0, 0)
    assert handles(lost) == [None]  # another tunnel is asked for
    response = tunnelling.RequestTunnelResponse(1, 0, 1500)
    payload = bytes((zcl.RESPONSE, 1, 0x00)) + tunnelling.build(response)
    assert handles(link.hub.receive(payload, link.now)) == [7]
    assert MessageRefused("the peer knows no such tunnel, twice", 7) in error(link, 0, 1)


def test_a_device_that_disowns_its_old_tunnel_closes_it_at_the_hub_and_not_a_new_one() -> None:
    link = Link()
    link.open()
    link.restart_device()
    link.from_device(link.device.disown(0))
    assert link.at_hub[-1] == TunnelDown(CLOSED_BY_DEVICE)
    assert link.hub.state is State.CLOSED
    link.open()
    assert link.device.disown(0) == []
    assert link.hub.state is link.device.state is State.OPEN


def frames_of(outputs: list[tunnel.Output]) -> list[bytes]:
    return [output.payload for output in outputs if isinstance(output, SendZcl)]


def test_a_message_that_overtakes_the_answer_which_opens_its_tunnel_is_not_lost() -> None:
    hub, device = TunnelClient(), TunnelServer()
    device.send(b"alert", 0)
    (request,) = frames_of(hub.open(0))
    response, data = frames_of(device.receive(request, 0))
    (error,) = frames_of(hub.receive(data, 0))  # the hub knows of no tunnel yet
    assert TunnelUp(0, 1500) in hub.receive(response, 0)

    (closure,) = frames_of(device.receive(error, 0))
    assert TunnelDown(CLOSED_BY_DEVICE) in hub.receive(closure, 0), "else nobody opens another"
    (request,) = frames_of(hub.open(1))
    response, data = frames_of(device.receive(request, 1))
    hub.receive(response, 1)
    assert received(hub.receive(data, 1)) == [b"alert"]


def test_a_closure_that_overtakes_the_answer_which_opens_its_tunnel_is_not_forgotten() -> None:
    # The device's data comes first and is refused, then the closure, and the answer last.
    link = Link()
    hub, device = link.hub, link.device
    (request,) = frames_of(hub.open(0.0))
    (answer,) = frames_of(device.receive(request, 0.0))
    (data,) = frames_of(device.send(b"alert", 0.0))
    (refusal,) = frames_of(hub.receive(data, 0.0))
    (closure,) = frames_of(device.receive(refusal, 0.0))
    assert frames_of(hub.receive(closure, 0.0)) == []
    (again,) = frames_of(hub.receive(answer, 0.0))
    answer, data = frames_of(device.receive(again, 0.0))
    assert hub.receive(answer, 0.0) == [TunnelUp(1, 1500)]
    assert received(hub.receive(data, 0.0)) == [b"alert"]


def test_a_message_refused_in_the_tunnel_before_goes_through_the_new_one_and_only_once_more() -> (
    None
):
    hub, device = TunnelClient(), TunnelServer()
    for now in (0, 1):  # a hub that was started again asks anew
        (request,) = frames_of(hub.open(now))
        opened = device.receive(request, now)
        if now == 0:
            device.send(b"alert", now)
        hub.receive(frames_of(opened)[0], now)

    def error(tunnel_id: int) -> bytes:
        body = tunnelling.TransferDataError(tunnel_id, tunnelling.TransferStatus.NO_SUCH_TUNNEL)
        command = tunnelling.TRANSFER_DATA_ERROR_TO_SERVER
        return bytes((zcl.REQUEST, 9, command)) + tunnelling.build(body)

    outputs = device.receive(error(0), 2)
    assert device.state is State.OPEN
    (data,) = frames_of(outputs)
    assert received(hub.receive(data, 2)) == [b"alert"]
    assert frames_of(device.receive(error(0), 2)) == []
    assert device.state is State.OPEN


def test_an_error_long_after_a_message_does_not_send_it_again() -> None:
    link = Link()
    link.open()
    link.from_hub(link.hub.send(b"old", 0.0))
    link.now = 11.0
    error(link, 0)
    assert received(link.at_device) == [b"old"]


def test_a_device_without_room_refuses_the_message_and_keeps_the_tunnel() -> None:
    link = Link()
    link.open()
    link.from_hub(link.hub.send(b"x", 0.0))
    error(link, 2)
    assert link.at_hub[-1] == MessageRefused("the peer has no room for the message")
    assert link.hub.state is State.OPEN


def test_errors_about_nothing_sent_change_nothing() -> None:
    link = Link()
    link.open()
    for status, tunnel_id in ((0, 0), (0, 7), (9, 0), (2, 7)):
        assert kinds(error(link, status, tunnel_id)) == ["unexpected"]
    assert link.hub.state is State.OPEN


def test_a_tunnel_closed_by_the_device_is_opened_again_by_the_next_message() -> None:
    link = Link()
    link.open()
    link.from_device(link.device.close())
    assert link.at_hub[-1] == TunnelDown("closed by the device")
    assert link.at_device[-1] == TunnelDown("closed by this device")
    assert link.device.close() == []
    link.from_hub(link.hub.send(b"x", 0.0))
    assert received(link.at_device) == [b"x"]
    body = tunnelling.build(tunnelling.TunnelClosureNotification(0))
    stale = link.hub.receive(bytes((zcl.RESPONSE, 9, 0x06)) + body, 0.0)
    assert kinds(stale) == ["unexpected"]


def ask(link: Link, number: int, body: bytes, control: int = zcl.REQUEST) -> zcl.ZclFrame:
    """The device's answer to one command of the hub."""
    sends = [
        output
        for output in link.device.receive(bytes((control, 0x33, number)) + body, link.now)
        if isinstance(output, SendZcl)
    ]
    (sent,) = sends
    frame = zcl.parse(sent.payload)
    assert frame.tsn == 0x33
    return frame


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (tunnelling.RequestTunnel(5, 0xFFFF, False, 1500), 3),
        (tunnelling.RequestTunnel(6, 0x121D, False, 1500), 3),
        (tunnelling.RequestTunnel(6, 0xFFFF, True, 1500), 4),
    ],
)
def test_a_device_opens_the_gb_protocol_only(
    request_: tunnelling.RequestTunnel, status: int
) -> None:
    link = Link()
    response = ask(link, tunnelling.REQUEST_TUNNEL, tunnelling.build(request_))
    parsed = tunnelling.parse_request_tunnel_response(response.payload)
    assert parsed == tunnelling.RequestTunnelResponse(0xFFFF, status, 1500)
    assert link.device.state is State.CLOSED


def test_a_new_request_of_the_hub_takes_the_place_of_the_old_tunnel() -> None:
    link = Link()
    link.open()
    link.hub = TunnelClient()
    link.open()
    old = ask(link, tunnelling.TRANSFER_DATA_TO_SERVER, b"\x00\x00data")
    assert tunnelling.parse_transfer_data_error(old.payload) == (0, 0)
    link.from_hub(link.hub.send(b"x", 0.0))
    assert received(link.at_device) == [b"x"]


def test_tunnel_numbers_go_round_without_the_one_that_means_none() -> None:
    link = Link()
    link.device._next_id = 0xFFFE
    for expected in (0xFFFE, 0, 1):
        link.open()
        assert link.at_hub[-1] == TunnelUp(expected, 1500)


def test_data_for_no_tunnel_or_too_much_of_it_is_refused() -> None:
    link = Link()
    transfer = tunnelling.TRANSFER_DATA_TO_SERVER
    before = ask(link, transfer, b"\x00\x00data")
    assert tunnelling.parse_transfer_data_error(before.payload) == (0, 0)
    link.open()
    other = ask(link, transfer, b"\x07\x00data")
    assert tunnelling.parse_transfer_data_error(other.payload) == (7, 0)
    large = ask(link, transfer, bytes(2 + 1501))
    assert tunnelling.parse_transfer_data_error(large.payload) == (0, 2)
    assert received(link.at_device) == []


def test_the_hub_may_close_its_tunnel_once() -> None:
    link = Link()
    link.open()
    statuses = []
    for _ in range(2):
        frame = ask(link, tunnelling.CLOSE_TUNNEL, b"\x00\x00")
        statuses.append(zcl.parse_default_response(frame.payload).status)
    assert statuses == [Status.SUCCESS, Status.NOT_FOUND]
    assert link.device.state is State.CLOSED


def test_a_device_tells_its_protocols_and_that_it_never_closes() -> None:
    link = Link()
    frame = ask(link, tunnelling.GET_SUPPORTED_TUNNEL_PROTOCOLS, b"\x00")
    told = tunnelling.parse_supported_tunnel_protocols_response(frame.payload)
    assert told == (True, ((0xFFFF, 6),))
    frame = ask(link, tunnelling.GET_SUPPORTED_TUNNEL_PROTOCOLS, b"\x01")
    assert tunnelling.parse_supported_tunnel_protocols_response(frame.payload) == (True, ())
    frame = ask(link, zcl.READ_ATTRIBUTES, b"\x00\x00", control=0x00)
    (record,) = zcl.parse_read_attributes_response(frame.payload)
    assert record.value == 0xFFFF
    assert link.device.next_timeout() is None
    assert link.device.handle_timeout(1e9) == []


def test_what_is_not_protected_is_neither_believed_nor_answered() -> None:
    link = Link()
    body = tunnelling.build(tunnelling.RequestTunnel(6, 0xFFFF, False, 1500))
    outputs = link.device.receive(bytes((1, 1, 0)) + body, 0.0, secured=False)
    assert kinds(outputs) == ["unsecured"]
    link.open()
    outputs = link.hub.receive(bytes((zcl.RESPONSE, 1, 1)) + b"\x00\x00x", 0.0, secured=False)
    assert kinds(outputs) == ["unsecured"]


@pytest.mark.parametrize(
    ("octets", "kind", "status"),
    [
        ("01", "malformed", None),
        ("19 01 00 00", "unexpected", None),
        ("01 01 00 00", "malformed", Status.MALFORMED_COMMAND),
        ("01 01 04 0000 0000", "unsupported", Status.UNSUP_CLUSTER_COMMAND),
        ("01 01 2A", "unsupported", Status.UNSUP_CLUSTER_COMMAND),
        ("00 01 02", "unsupported", Status.UNSUP_GENERAL_COMMAND),
        ("05 2110 01 00", "unsupported", Status.UNSUP_MANUF_CLUSTER_COMMAND),
        ("10 01 0B 01", "malformed", None),
        ("10 01 0B 01 81", "refused", None),
        ("14 2110 01 0B 01 81", "unsupported", None),
    ],
)
def test_what_a_device_does_not_know_is_noted_and_refused_where_that_is_allowed(
    octets: str, kind: str, status: int | None
) -> None:
    link = Link()
    link.open()
    outputs = link.device.receive(bytes.fromhex(octets), 0.0)
    assert kinds(outputs) == [kind]
    sent = [zcl.parse(output.payload) for output in outputs if isinstance(output, SendZcl)]
    assert [zcl.parse_default_response(frame.payload).status for frame in sent] == (
        [] if status is None else [status]
    )
    assert link.device.state is State.OPEN
    assert link.device.receive(bytes.fromhex("10 01 0B 01 00"), 0.0) == []


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=12),
            st.builds(
                lambda control, number, body: bytes((control, 5, number)) + body,
                st.sampled_from([0x01, 0x11, 0x09, 0x19, 0x00, 0x18]),
                st.integers(0, 8),
                st.binary(max_size=8),
            ),
        ),
        max_size=20,
    )
)
def test_hostile_frames_yield_events_and_nothing_else(frames: list[bytes]) -> None:
    hub, device = TunnelClient(), TunnelServer()
    hub.open(0.0)
    for frame in frames:
        for half in (hub, device):
            outputs = half.receive(frame, 1.0) + half.send(b"message", 1.0)
            assert all(isinstance(output, tunnel.Output) for output in outputs)
