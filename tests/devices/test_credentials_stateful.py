"""Whatever is ordered, lost, cut and waited for: the DSP reaches the bridge in the end, and they
agree on whose keys are whose."""

from __future__ import annotations

import contextlib
import os
from datetime import timedelta
from typing import Any

import pytest
from credential_premises import BRIDGE_EUI64, dsp_keys, smi_rows
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from wan_rig import AGREE, EPOCH, HUB_EUI64, SIGN, USER, identity, path, smki

from dsp_stub.credential_commands import (
    read_cells,
    read_certificate,
    renew_key,
    replace_acb_cells,
)
from dsp_stub.desk import Desk, DspEvent, Flagged, SecurityEvent
from dsp_stub.errors import DspValueError
from dsp_stub.key_ring import ACB_CELLS, OWN_USES
from dsp_stub.options import Options
from dsp_stub.service import Dsp
from dsp_stub.store import Store
from dsp_stub.users import Users
from emulator.devices.gbcs_half import DeviceHalf, GbcsMemory, SendMessage
from emulator.devices.nonvolatile import Cut, CutMode, PowerCut, Record, Supply
from gbcs.acb import Response
from gbcs.certificates import Certificate, Role
from gbcs.certification_requests import CertificationRequest
from gbcs.credentials import NEVER
from gbcs.protection import KeyUse, private_key_from
from gbcs.smki import ACB_EUI64, Credential, key_id
from gbcs.wan import CommandForDevice, MessageFromDevice, parse_message, serialise
from hil.seeds import Seeds

TIMEOUT_S = 60
IS_FULL = os.environ.get("HANBENCH_MATRIX") in ("full", "soak")


def certify(request: CertificationRequest) -> Certificate:
    assert request.use is not None
    name = key_id(request.public_key).hex()
    return smki().certify(BRIDGE_EUI64, request.use, request.public_key, name)


class Credentials(RuleBasedStateMachine):
    """A DSP and a bridge; what is between them loses messages either way."""

    def __init__(self) -> None:
        super().__init__()
        self.now = EPOCH + timedelta(seconds=1)
        self.loop_s = 1.0
        self.pairs = 0
        self.events: list[DspEvent] = []
        self.store = Store(None)
        self.open_dsp()
        with self.store.transaction():
            for row in smi_rows():
                self.desk.inventory.add(row)
        self.identity = identity(BRIDGE_EUI64)
        self.record = Record()
        self.cut: Cut | None = None
        self.boot()

    def teardown(self) -> None:
        try:
            self.settle()
        finally:
            self.store.close()

    def open_dsp(self) -> None:
        options = Options(response_timeout_s=TIMEOUT_S)
        keys = dsp_keys(HUB_EUI64, BRIDGE_EUI64)
        self.desk = Desk(self.store, Users([]), keys, ACB_EUI64, options, certify=certify)
        self.dsp = Dsp(self.desk, self.events.append)

    # -- the bridge ----------------------------------------------------------------------------

    def boot(self) -> None:
        self.power = Supply(self.cut)
        self.cut = None
        memory = GbcsMemory.restarted(self.record, self.power)
        self.half = DeviceHalf(BRIDGE_EUI64, self.identity, memory, lambda: 1)

    def run(self, work: Any) -> Any:
        """What the bridge does; None when the power goes."""
        try:
            return work()
        except PowerCut:
            self.boot()
            return None

    def tell(self, frame: bytes) -> None:
        message = MessageFromDevice(HUB_EUI64, BRIDGE_EUI64, frame)
        self.dsp.receive(serialise(message), self.now)

    # -- rules ---------------------------------------------------------------------------------

    def order(self, call: Any, *arguments: Any, **options: Any) -> None:
        with contextlib.suppress(DspValueError):  # another is under way, or not settled
            self.dsp.carry_out(call, BRIDGE_EUI64, *arguments, self.now, **options)

    def pair(self, use: KeyUse, is_good: bool) -> Credential:
        self.pairs += 1
        name = f"pair {self.pairs}"
        key = private_key_from(Seeds(8).stream(name).getrandbits)
        role = Role.ACCESS_CONTROL_BROKER if is_good else Role.SUPPLIER
        certificate = smki().certify_organisation(ACB_EUI64, role, use, key.public_key(), name)
        return Credential(certificate, key, use)

    @rule(
        uses=st.sampled_from([(SIGN,), (AGREE,), (SIGN, AGREE)]),
        is_good=st.booleans(),
        later=st.sampled_from([None, None, timedelta(seconds=100), NEVER]),
    )
    def replace(self, uses: tuple[KeyUse, ...], is_good: bool, later: Any) -> None:
        pairs = {use: self.pair(use, is_good or use is AGREE) for use in uses}
        due = later
        if isinstance(later, timedelta):
            due = self.now.replace(microsecond=0) + later
        self.order(replace_acb_cells, pairs, path(), execution=due)

    @rule(use=st.sampled_from([SIGN, AGREE]))
    def renew(self, use: KeyUse) -> None:
        self.order(renew_key, use)

    @rule(use=st.sampled_from([None, SIGN, AGREE]))
    def read(self, use: KeyUse | None) -> None:
        if use is None:
            self.order(read_cells)
        else:
            self.order(read_certificate, use)

    @rule(arrives=st.booleans(), returns=st.booleans())
    def deliver(self, arrives: bool = True, returns: bool = True) -> None:
        """The oldest message to the bridge, and its answer."""
        delivery = self.dsp.next_for_hub(HUB_EUI64, self.now)
        if delivery is None:
            return
        self.dsp.delivered(delivery)
        message = parse_message(delivery.body)
        assert isinstance(message, CommandForDevice)
        if not arrives:
            return
        answer = self.run(lambda: self.half.take(message.frame, self.now))
        if isinstance(answer, bytes) and returns:
            self.tell(answer)

    @rule()
    def deliver_whole(self) -> None:
        self.deliver()

    @rule(seconds=st.sampled_from([1, TIMEOUT_S + 1, 120]))
    def wait(self, seconds: int) -> None:
        """Time passes; what waits in the bridge is carried out, and the alert about it arrives."""
        self.now += timedelta(seconds=seconds)
        self.loop_s += seconds
        outputs = self.run(lambda: self.half.execute_due(self.loop_s, self.now)) or []
        outputs += self.run(lambda: self.half.start(self.loop_s, self.now)) or []
        for output in outputs:
            if isinstance(output, SendMessage) and output.handle is not None:
                self.tell(output.frame)
                handle = output.handle
                self.run(lambda handle=handle: self.half.sent(handle, True, self.loop_s))
        self.dsp.handle_timeout(self.now)

    @rule(operation=st.integers(1, 2), mode=st.sampled_from(CutMode))
    def cut_power(self, operation: int, mode: CutMode) -> None:
        """The bridge is started again, and its power will go soon."""
        self.cut = Cut(operation, mode)
        self.boot()

    @rule()
    def open_dsp_again(self) -> None:
        self.open_dsp()

    # -- what holds ----------------------------------------------------------------------------

    @invariant()
    def nothing_true_was_refused(self) -> None:
        for event in self.events:
            if isinstance(event, SecurityEvent):
                # A late answer, or an alert the bridge does not know to be delivered.
                assert event.reason in ("UNEXPECTED", "REPLAY"), event
            assert not isinstance(event, Flagged), event

    def settle(self) -> None:
        """Nothing is lost any more; everything open is asked for."""
        self.cut = None
        self.boot()
        self.wait(120)
        self.quiet()
        for question in (None, SIGN, AGREE):
            self.read(question)
            self.quiet()
        held = self.half._endpoint.credentials
        ring = self.desk.key_ring
        assert ring.offered(BRIDGE_EUI64) == {}
        for use in OWN_USES:
            mine = held.certificate(use)
            assert mine is not None
            keys = ring.of(BRIDGE_EUI64)
            theirs = keys.public_key(BRIDGE_EUI64, use)
            assert theirs is not None
            assert theirs.public_numbers() == mine.public_key.public_numbers()
            cell = held.trust.certificate(ACB_CELLS[use])
            assert cell is not None
            key = keys.private_key(ACB_EUI64, use)
            assert key is not None
            assert key.public_key().public_numbers() == cell.public_key.public_numbers()
        with self.store.transaction():
            command = self.desk.broker.read_firmware_version(BRIDGE_EUI64, USER)
        answer = self.half.take(command, self.now)
        assert isinstance(answer, bytes)
        with self.store.transaction():
            assert isinstance(self.desk.broker.receive(answer), Response)
        self.nothing_true_was_refused()

    def quiet(self) -> None:
        for _ in range(20):
            self.deliver()
            if self.desk.orders.next_deadline() is None:
                return
            if self.dsp.next_for_hub(HUB_EUI64, self.now) is None:
                self.wait(TIMEOUT_S + 1)
        raise AssertionError("it does not come to an end")


TestCredentials = pytest.mark.requirement("MP170-R8", "good", "bad")(Credentials.TestCase)
TestCredentials.settings = settings(
    max_examples=15, stateful_step_count=20, suppress_health_check=list(HealthCheck)
)


@pytest.mark.matrix
class TestCredentialsLong(Credentials.TestCase):  # type: ignore[misc,name-defined]
    settings = settings(
        max_examples=600 if IS_FULL else 100,
        stateful_step_count=40,
        suppress_health_check=list(HealthCheck),
    )
