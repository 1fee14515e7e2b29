"""What a device remembers of its credentials when the power goes at any operation on its memory."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st
from wan_rig import AGREE, EPOCH, SIGN, broker, identity, newer_acb, path, smki

from emulator.devices import endpoint_record
from emulator.devices.gbcs_half import DeviceHalf, FrameDiscarded, GbcsMemory, SendMessage
from emulator.devices.nonvolatile import Cut, CutMode, PowerCut, Record, Supply
from gbcs.acb import AccessControlBroker, Alert, Response
from gbcs.ber import KeyUsage
from gbcs.credentials import (
    ACB_DIGITAL_SIGNATURE,
    ACB_KEY_AGREEMENT,
    CredentialStatus,
    Replacement,
)
from gbcs.device_certificates import UpdateCertificateResult
from gbcs.endpoint import EndpointState
from gbcs.protection import KeyUse, PublicKey, private_key_from
from gbcs.trust import Credentials, DeviceKeys
from gbcs.use_cases import Postponed

pytestmark = pytest.mark.requirement("MP170-R8", "good", "bad")

EUI64 = 0x02484E4200000010
DUE = EPOCH + timedelta(hours=2)


class Unit:
    """A device's GBCS application, which is started again from its record alone after a cut."""

    def __init__(self, cut: Cut | None = None) -> None:
        self.record = Record()
        self.power = Supply(cut)
        self.cuts = 0
        self.half = self._start()

    def _start(self) -> DeviceHalf:
        memory = GbcsMemory.restarted(self.record, self.power)
        return DeviceHalf(EUI64, identity(EUI64), memory, lambda: 1)

    def _run(self, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except PowerCut:
            self.cuts += 1
            self.power = Supply()
            self.half = self._start()
            return None

    def take(self, frame: bytes) -> bytes | FrameDiscarded | None:
        """The answer; None when the power went."""
        taken: bytes | FrameDiscarded | None = self._run(lambda: self.half.take(frame, EPOCH))
        return taken

    def at(self, now_utc: datetime) -> list[bytes]:
        outputs = self._run(lambda: self.half.execute_due(0.0, now_utc))
        if outputs is None:
            outputs = self._run(lambda: self.half.start(0.0, now_utc))
            outputs += self.half.execute_due(0.0, now_utc)
        return [one.frame for one in outputs if isinstance(one, SendMessage)]

    @property
    def credentials(self) -> Credentials:
        return self.half._endpoint.credentials


def is_whole(credentials: Credentials) -> None:
    """Every private key is that of its certificate."""
    keys = {SIGN: credentials.keys.digital_signature, AGREE: credentials.keys.key_agreement}
    for use, key in keys.items():
        certificate = credentials.certificate(use)
        assert certificate is not None
        assert key.public_key().public_numbers() == certificate.public_key.public_numbers()


def request_of(response: Any) -> PublicKey:
    request = x509.load_der_x509_csr(response.payload.certification_request)
    public: Any = request.public_key()
    return public


def renewed(unit: Unit, acb: AccessControlBroker) -> None:
    """CS02c until there is a request, then CS02d until the device speaks with the new key."""
    while True:
        answer = unit.take(acb.issue_credentials(EUI64, KeyUsage.DIGITAL_SIGNATURE))
        is_whole(unit.credentials)
        if answer is None:
            continue
        assert isinstance(answer, bytes)
        public = request_of(acb.receive(answer))
        certificate = smki().certify(EUI64, SIGN, public, "again")
        answer = unit.take(acb.update_certificate(EUI64, certificate.der))
        is_whole(unit.credentials)
        if answer is None and unit.credentials.pending:
            answer = unit.take(acb.update_certificate(EUI64, certificate.der))
        if answer is not None:
            assert isinstance(answer, bytes)
            response = acb.receive(answer)
            assert isinstance(response, Response)
            assert response.payload.result is UpdateCertificateResult.SUCCESS
        assert unit.credentials.certificate(SIGN) == certificate
        assert unit.credentials.pending == ()
        return


CUTS = [Cut(number, mode) for number in (1, 2) for mode in CutMode]


@pytest.mark.parametrize("cut", [None, *CUTS], ids=str)
def test_no_power_cut_leaves_a_key_without_its_certificate(cut: Cut | None) -> None:
    unit = Unit(cut)
    renewed(unit, broker(EUI64))
    assert unit.cuts == (cut is not None)
    assert unit.half.memory.record.read() is not None


@pytest.mark.parametrize("cut", [None, *CUTS[:3]], ids=str)
def test_no_power_cut_leaves_one_cell_old_and_the_other_new(cut: Cut | None) -> None:
    unit, acb = Unit(cut), broker(EUI64)
    new = {ACB_DIGITAL_SIGNATURE: newer_acb(SIGN), ACB_KEY_AGREEMENT: newer_acb(AGREE)}
    replacements = tuple(Replacement(one.certificate.der, cell) for cell, one in new.items())
    frame = acb.update_own_credentials(EUI64, replacements, path())
    answer = unit.take(frame)
    trust = unit.credentials.trust
    are_new = [trust.certificate(cell) == one.certificate for cell, one in new.items()]
    assert are_new in ([True, True], [False, False])
    if answer is None and not any(are_new):
        answer = unit.take(frame)  # not carried out, so its counter was not used up
    if answer is None:
        assert isinstance(unit.take(frame), FrameDiscarded)
    else:
        assert isinstance(answer, bytes)
        response = acb.receive(answer)
        assert isinstance(response, Response)
        replaced = response.payload.outcome.replacements
        assert {each.status for each in replaced} == {CredentialStatus.SUCCESS}
    trust = unit.credentials.trust
    assert all(trust.certificate(cell) == one.certificate for cell, one in new.items())


@pytest.mark.parametrize("mode", CutMode)
def test_what_was_put_off_is_made_and_told_once_though_the_power_goes_then(mode: CutMode) -> None:
    unit, acb = Unit(Cut(2, mode)), broker(EUI64)
    new = newer_acb(SIGN).certificate
    replacement = Replacement(new.der, ACB_DIGITAL_SIGNATURE)
    unit.take(acb.update_own_credentials(EUI64, (replacement,), path(), execution_date_time=DUE))
    assert unit.half.next_due() == DUE
    frames = unit.at(DUE)
    assert unit.cuts == 1
    assert len(frames) == 1
    assert isinstance(acb.receive(frames[0]), Alert)
    assert unit.credentials.trust.acb_digital_signature == new
    assert unit.half.memory.outbox == tuple(frames)
    assert unit.half.next_due() is None


def test_a_key_made_before_a_power_cut_is_not_made_again() -> None:
    """The source of keys goes on where it was: it is soldered in."""
    source = identity(EUI64)
    keys = [private_key_from(source.random_bits) for _ in range(2)]
    assert keys[0].private_numbers() != keys[1].private_numbers()


# -- the record ------------------------------------------------------------------------------------


def stored(seed: int, uses: set[KeyUse], has_recovery: bool) -> Credentials:
    mine = identity(EUI64)
    keys = [
        private_key_from(lambda bits, at=at: (seed * 3 + at + 1) * 0x9E3779B97F4A7C15 % (1 << bits))  # type: ignore[misc]
        for at in range(4)
    ]
    trust = mine.trust
    if not has_recovery:
        trust = trust.__class__(trust.acb_digital_signature, trust.acb_key_agreement)
    pending = tuple(zip(sorted(uses), keys[2:], strict=False))
    return Credentials(DeviceKeys(keys[0], keys[1]), trust, mine.certificates, pending)


U64 = st.integers(0, 2**64 - 1)
TIMES = st.datetimes(min_value=datetime(2020, 1, 1), timezones=st.just(EPOCH.tzinfo))


@settings(max_examples=25)
@given(
    counter=U64,
    accepted=st.dictionaries(U64, U64, max_size=3),
    seed=st.none() | st.integers(1, 1000),
    uses=st.sets(st.sampled_from([SIGN, AGREE])),
    has_recovery=st.booleans(),
    postponed=st.lists(
        st.builds(Postponed, TIMES, st.integers(0, 0xFFFF), U64, st.binary(max_size=40)),
        max_size=2,
    ),
)
def test_what_is_stored_is_read_again(
    counter: int,
    accepted: dict[int, int],
    seed: int | None,
    uses: set[KeyUse],
    has_recovery: bool,
    postponed: list[Postponed],
) -> None:
    credentials = None if seed is None else stored(seed, uses, has_recovery)
    state = EndpointState(counter, tuple(sorted(accepted.items())), credentials, tuple(postponed))
    record = Record()
    GbcsMemory(record=record).keep("test", endpoint=state)
    again = GbcsMemory.restarted(record).endpoint
    assert endpoint_record.pack(again) == endpoint_record.pack(state)
    assert (again.originator_counter, again.accepted) == (counter, state.accepted)
    assert again.postponed == state.postponed
    if credentials is None or again.credentials is None:
        assert again.credentials is credentials
    else:
        assert again.credentials.trust == credentials.trust
        assert again.credentials.certificates == credentials.certificates
        theirs, ours = again.credentials.keys, credentials.keys
        assert theirs.key_agreement.private_numbers() == ours.key_agreement.private_numbers()
        assert [use for use, _ in again.credentials.pending] == sorted(uses)


def test_no_private_key_is_in_what_a_memory_says_of_itself() -> None:
    unit = Unit()
    unit.take(broker(EUI64).issue_credentials(EUI64, KeyUsage.DIGITAL_SIGNATURE))
    ((_, pending),) = unit.credentials.pending
    scalar = pending.private_numbers().private_value
    said = repr(unit.half.memory) + repr(unit.half.memory.endpoint)
    assert f"{scalar:x}" not in said.lower()
    assert str(scalar) not in said
