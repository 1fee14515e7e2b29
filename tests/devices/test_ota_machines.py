"""Client and server against peers that say anything at any time.

Whatever comes: only typed outputs, one outcome for each offer, the running slot untouched, and
nothing but octets of the offered file in the spare slot.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from ota_rig import IDENTITY, KIND, MAKER, NEW, OLD, make_image

from emulator.devices import ota_client, ota_server
from emulator.devices.flash import Flash, FlashContents, RunningImage, Slot, SpareState
from emulator.devices.image_store import ImageStore
from emulator.devices.ota_client import Activate, OtaClient, OtaClientParameters
from emulator.devices.ota_server import OtaServer, OtaServerParameters, TransferOutcome
from emulator.zigbee import ota, zcl

IMAGES = [make_image(400), make_image(401), make_image(400, version=NEW + 1)]
DEVICES = [1, 2, 3]
STATUSES = st.sampled_from([0x00, 0x01, 0x7E, 0x80, 0x85, 0x89, 0x95, 0x96, 0x97, 0x98, 0x99, 0xFF])
TIMES = st.sampled_from([0, 1, 60, 5000, 0xFFFFFFFE, 0xFFFFFFFF])
IDS = st.tuples(
    st.sampled_from([MAKER, 0xFFFF, 1]),
    st.sampled_from([KIND, 0xFFFF, 1]),
    st.sampled_from([OLD, NEW, NEW + 1, 0, 0xFFFFFFFF]),
)


class HostileServer(RuleBasedStateMachine):
    """The client meets a server that says anything."""

    @initialize(
        period=st.booleans(),
        resume=st.booleans(),
        verify_s=st.sampled_from([0.0, 5.0]),
        without_answer=st.booleans(),
    )
    def join(self, period: bool, resume: bool, verify_s: float, without_answer: bool) -> None:
        self.parameters = OtaClientParameters(
            announce_block_period=period,
            resume=resume,
            verify_s=verify_s,
            activate_without_answer=without_answer,
            max_errors=3,
            max_end_requests=3,
        )
        self.now = 0.0
        self.flash = Flash(FlashContents.factory(OLD), slot_size_bytes=2000)
        self.is_active = False
        self.sent: list[zcl.ZclFrame] = [zcl.ZclFrame(1, 0, 0, b"")]
        self.restart()

    def restart(self) -> None:
        self.flash = Flash(self.flash.contents, slot_size_bytes=2000)
        self.client = OtaClient(IDENTITY, self.flash, self.parameters, verify=self.verify)
        self.note(self.client.start(self.now))

    def verify(self, flash: Flash) -> str | None:
        return None if flash.read(Slot.SPARE) == IMAGES[0].data else "not the image"

    def note(self, outputs: list[Any]) -> None:
        for output in outputs:
            assert isinstance(output, ota_client.Output)
            if isinstance(output, ota_client.SendZcl):
                self.sent.append(zcl.parse(output.payload))
            if isinstance(output, Activate):
                assert self.flash.read(Slot.SPARE) == IMAGES[0].data
                self.flash.mark_bootable()
                self.is_active = True

    def receive(
        self, number: int, body: bytes, tsn: int | None = None, control: int = 0x19
    ) -> None:
        tsn = self.sent[-1].tsn if tsn is None else tsn
        payload = bytes((control, tsn & 0xFF, number)) + body
        self.note(self.client.receive(payload, self.now))

    @rule()
    def time_passes(self) -> None:
        due = self.client.next_timeout()
        if due is not None:
            assert due >= self.now
            self.now = due
            self.note(self.client.handle_timeout(due))

    @rule(ids=IDS, size=st.sampled_from([0, 40, 400, 401, 2000, 2001]), status=STATUSES)
    def offer_anything(self, ids: tuple[int, int, int], size: int, status: int) -> None:
        response = ota.QueryNextImageResponse(status, *ids, size)
        self.receive(ota.QUERY_NEXT_IMAGE_RESPONSE, ota.build(response))

    @rule()
    def offer_the_image(self) -> None:
        response = ota.QueryNextImageResponse(0, MAKER, KIND, NEW, 400)
        self.receive(ota.QUERY_NEXT_IMAGE_RESPONSE, ota.build(response))

    @rule(count=st.integers(1, 9), size=st.integers(1, 56))
    def serve(self, count: int, size: int) -> None:
        for _ in range(count):
            if self.sent[-1].command != ota.IMAGE_BLOCK_REQUEST:
                return
            request = ota.parse_image_block_request(self.sent[-1].payload)
            data = IMAGES[0].data[request.file_offset : request.file_offset + size]
            block = ota.ImageBlockResponse(*request[:4], data)
            self.receive(ota.IMAGE_BLOCK_RESPONSE, ota.build(block))

    @rule(ids=IDS, offset=st.integers(0, 500), data=st.binary(max_size=70), back=st.integers(0, 3))
    def serve_anything(
        self, ids: tuple[int, int, int], offset: int, data: bytes, back: int
    ) -> None:
        if ids == (MAKER, KIND, NEW) and offset == self.flash.written_bytes:
            return  # indistinguishable from the file
        block = ota.ImageBlockResponse(*ids, offset, data)
        self.receive(ota.IMAGE_BLOCK_RESPONSE, ota.build(block), self.sent[-1].tsn - back)

    @rule(current=TIMES, later=TIMES, period=st.none() | st.integers(0, 70))
    def make_it_wait(self, current: int, later: int, period: int | None) -> None:
        wait = ota.ImageBlockWait(current, later, period)
        self.receive(ota.IMAGE_BLOCK_RESPONSE, ota.build(wait))

    @rule(ids=IDS, current=TIMES, upgrade=TIMES)
    def end(self, ids: tuple[int, int, int], current: int, upgrade: int) -> None:
        response = ota.UpgradeEndResponse(*ids, current, upgrade)
        self.receive(ota.UPGRADE_END_RESPONSE, ota.build(response))

    @rule(command=st.integers(0, 9), status=STATUSES)
    def refuse(self, command: int, status: int) -> None:
        self.receive(zcl.DEFAULT_RESPONSE, bytes((command, status)), control=0x18)

    @rule()
    def notify(self) -> None:
        self.receive(ota.IMAGE_NOTIFY, ota.build(ota.ImageNotify(100)), control=0x09)

    @rule(number=st.integers(0, 12), body=st.binary(max_size=20), control=st.integers(0, 0xFF))
    def babble(self, number: int, body: bytes, control: int) -> None:
        self.receive(number, body, control=control)

    @rule(payload=st.binary(max_size=8))
    def noise(self, payload: bytes) -> None:
        self.note(self.client.receive(payload, self.now))

    @precondition(lambda self: not self.is_active)
    @rule()
    def power_cut(self) -> None:
        self.restart()

    @invariant()
    def the_running_slot_is_untouched(self) -> None:
        assert self.flash.running == RunningImage(OLD)
        assert self.flash.read(Slot.RUNNING) == b""

    @invariant()
    def only_a_whole_verified_image_is_marked(self) -> None:
        is_marked = self.flash.spare_state is SpareState.MARKED
        assert is_marked == self.is_active


class HostileClients(RuleBasedStateMachine):
    """The server meets devices that say anything, and a hub that offers at any time."""

    @initialize(ends=st.booleans())
    def begin(self, ends: bool) -> None:
        self.now = 0.0
        self.store = ImageStore()
        parameters = OtaServerParameters(ids_mismatch_ends_offer=ends, stall_timeout_s=5000.0)
        self.server = OtaServer(self.store, parameters)
        self.offers = dict.fromkeys(DEVICES, 0)
        self.outcomes = dict.fromkeys(DEVICES, 0)
        self.tsn = 0

    def note(self, outputs: list[Any], eui64: int | None = None) -> None:
        for output in outputs:
            assert isinstance(output, ota_server.Output)
            if isinstance(output, TransferOutcome):
                self.outcomes[output.eui64] += 1
            if isinstance(output, ota_server.SendZcl) and eui64 is not None:
                assert output.eui64 == eui64
                self.judge(zcl.parse(output.payload))

    def judge(self, answer: zcl.ZclFrame) -> None:
        """What is served is of the file in the slot."""
        assert answer.tsn == self.tsn
        if answer.is_cluster_command and answer.command == ota.IMAGE_BLOCK_RESPONSE:
            block = ota.parse_image_block_response(answer.payload)
            if isinstance(block, ota.ImageBlockResponse):
                held = self.store.find(*block[:3])
                assert held is not None
                end = block.file_offset + len(block.data)
                assert block.data == held.data[block.file_offset : end]
                assert 0 < len(block.data) <= 56

    def is_open(self, eui64: int) -> bool:
        return self.server.state(eui64) not in (None, ota_server.State.DONE)

    def receive(self, eui64: int, number: int, body: bytes, control: int = 0x01) -> None:
        self.tsn = (self.tsn + 1) & 0xFF
        payload = bytes((control, self.tsn, number)) + body
        self.note(self.server.receive(eui64, payload, self.now), eui64)

    @rule(eui64=st.sampled_from(DEVICES), image=st.sampled_from(IMAGES))
    def offer(self, eui64: int, image: Any) -> None:
        held = self.store.slot
        is_same = held is not None and held.is_same_file(image.data)
        if not (self.is_open(eui64) and is_same):
            self.offers[eui64] += 1
        self.note(self.server.offer(eui64, image, self.now))

    @rule(image=st.sampled_from(IMAGES))
    def fill_the_slot(self, image: Any) -> None:
        self.store.put(image)
        self.note(self.server.sweep())

    @rule()
    def time_passes(self) -> None:
        due = self.server.next_timeout()
        if due is not None:
            self.now = max(self.now, due)
            self.note(self.server.handle_timeout(self.now))

    @rule(eui64=st.sampled_from(DEVICES), ids=IDS, hardware=st.sampled_from([None, 0x1111, 9]))
    def query(self, eui64: int, ids: tuple[int, int, int], hardware: int | None) -> None:
        query = ota.QueryNextImageRequest(*ids, hardware)
        self.receive(eui64, ota.QUERY_NEXT_IMAGE_REQUEST, ota.build(query))

    @rule(
        eui64=st.sampled_from(DEVICES),
        version=st.sampled_from([NEW, NEW + 1]),
        offset=st.integers(0, 420),
        most=st.sampled_from([0, 1, 56, 255]),
        node=st.none() | st.just(7),
    )
    def block(self, eui64: int, version: int, offset: int, most: int, node: int | None) -> None:
        request = ota.ImageBlockRequest(MAKER, KIND, version, offset, most, node)
        self.receive(eui64, ota.IMAGE_BLOCK_REQUEST, ota.build(request))

    @rule(eui64=st.sampled_from(DEVICES), ids=IDS, status=STATUSES)
    def end(self, eui64: int, ids: tuple[int, int, int], status: int) -> None:
        self.receive(eui64, ota.UPGRADE_END_REQUEST, ota.build(ota.UpgradeEndRequest(status, *ids)))

    @rule(eui64=st.sampled_from(DEVICES), command=st.integers(0, 9), status=STATUSES)
    def refuse(self, eui64: int, command: int, status: int) -> None:
        self.receive(eui64, zcl.DEFAULT_RESPONSE, bytes((command, status)), control=0x10)

    @rule(
        eui64=st.sampled_from([*DEVICES, 99]),
        number=st.integers(0, 12),
        body=st.binary(max_size=20),
        control=st.integers(0, 0xFF).filter(
            lambda control: not control & zcl.MANUFACTURER_SPECIFIC
        ),
    )
    def babble(self, eui64: int, number: int, body: bytes, control: int) -> None:
        self.receive(eui64, number, body, control)

    @rule(payload=st.binary(max_size=8))
    def noise(self, payload: bytes) -> None:
        self.note(self.server.receive(DEVICES[0], payload, self.now))

    @invariant()
    def every_offer_has_one_outcome(self) -> None:
        for eui64 in DEVICES:
            assert self.outcomes[eui64] == self.offers[eui64] - self.is_open(eui64)


@pytest.mark.parametrize("machine", [HostileServer, HostileClients])
def test_no_peer_gets_more_than_the_rules_allow(machine: type[RuleBasedStateMachine]) -> None:
    run_state_machine_as_test(
        machine, settings=settings(max_examples=150, stateful_step_count=40, deadline=None)
    )
