"""What the DSP makes of a device's words about its credentials: what it takes over, what it flags,
what it asks next."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from dsp_rig import (
    EPOCH,
    HUB,
    OLD,
    PPMID,
    SUPPLIER_EUI64,
    device_keys,
    dsp_keys,
    organisation,
    smi_device,
    smki,
)

from dsp_stub.credential_commands import (
    read_cells,
    read_certificate,
    renew_key,
    replace_acb_cells,
    update_certificate,
)
from dsp_stub.desk import CredentialsTold, Desk, DspEvent, Flagged, SecurityEvent
from dsp_stub.errors import DspValueError
from dsp_stub.options import Options
from dsp_stub.service import Dsp
from dsp_stub.smi import DeviceStatus, DeviceType, Premises
from dsp_stub.store import Store
from dsp_stub.users import Users
from gbcs.acb import User
from gbcs.ber import KeyUsage
from gbcs.certificates import Certificate, CertificateStore, Role
from gbcs.certification_requests import CertificationRequest
from gbcs.codes import build_payload
from gbcs.credentials import (
    CellContents,
    CredentialDetails,
    CredentialStatus,
    PartyDetails,
    RemotePartyRole,
)
from gbcs.device_certificates import (
    CertificateProvided,
    CredentialsIssued,
    IssueError,
    ProvideCertificateError,
)
from gbcs.device_credentials import certification_request, credential_use_cases
from gbcs.endpoint import Endpoint, EndpointState, Reply, TrustCells
from gbcs.envelope import Cra, Frame, build_frame, parse_frame
from gbcs.firmware import ActivateImageResult, FirmwareActivation, build_firmware_activation
from gbcs.protection import KeyUse, private_key_from, protect
from gbcs.smki import ACB_EUI64, Credential
from gbcs.use_cases import read_firmware_version
from gbcs.wan import (
    CommandForDevice,
    DeliveryOutcome,
    DeliveryResult,
    MessageFromDevice,
    parse_message,
    serialise,
)
from hil.seeds import Seeds

pytestmark = pytest.mark.requirement("MP170-R8", "good", "bad")

SIGN, AGREE = KeyUse.DIGITAL_SIGNATURE, KeyUse.KEY_AGREEMENT
TIMEOUT_S = 60


def certify(request: CertificationRequest) -> Certificate:
    assert request.use is not None
    return smki().certify(PPMID, request.use, request.public_key, "again")


def newer(use: KeyUse) -> Credential:
    key = private_key_from(Seeds(3).stream(f"acb {use}").getrandbits)
    certificate = smki().certify_organisation(
        ACB_EUI64, Role.ACCESS_CONTROL_BROKER, use, key.public_key(), f"newer {use}"
    )
    return Credential(certificate, key, use)


ACTIVATION = build_firmware_activation(
    FirmwareActivation(EPOCH, OLD, ActivateImageResult.ACTIVATION_SUCCESS)
)
PATH = (smki().issuing_authority.certificate.der,)


class House:
    """A DSP and one bridge, which hears what is in the outbox when it is asked to."""

    def __init__(self) -> None:
        self.now = EPOCH + timedelta(seconds=1)
        self.events: list[DspEvent] = []
        self.store = Store(None)
        keys = dsp_keys((PPMID,))
        options = Options(response_timeout_s=TIMEOUT_S)
        self.desk = Desk(self.store, Users([]), keys, ACB_EUI64, options, certify=certify)
        self.dsp = Dsp(self.desk, self.events.append)
        with self.store.transaction():
            self.desk.inventory.add_premises(Premises(id=1, responsible=(SUPPLIER_EUI64,)))
            hub = {"device_type": DeviceType.CHF, "status": DeviceStatus.COMMISSIONED,
                   "chf": None, "ppmid_variant": None, "date_commissioned": "2026-01-01",
                   "smets_chts_version": "CHTS V1.5"}  # fmt: skip
            self.desk.inventory.add(smi_device(HUB, **hub))
            self.desk.inventory.add(smi_device(PPMID, "bridge-1"))
        own, certificates = device_keys(PPMID)
        self.own = own
        cells = [organisation(ACB_EUI64, use)[0] for use in (SIGN, AGREE)]
        self.endpoint = Endpoint(
            PPMID,
            own,
            TrustCells(cells[0], cells[1], root=smki().root.certificate),
            EndpointState(10),
            (
                read_firmware_version(lambda: OLD),
                *credential_use_cases(Seeds(4).stream("bridge").getrandbits),
            ),
            certificates,
        )

    def order(self, call: Callable[..., None], *arguments: Any) -> None:
        self.dsp.carry_out(call, PPMID, *arguments, self.now)

    def take(self) -> CommandForDevice:
        """The command that is in the outbox."""
        delivery = self.dsp.next_for_hub(HUB, self.now)
        assert delivery is not None
        self.dsp.delivered(delivery)
        message = parse_message(delivery.body)
        assert isinstance(message, CommandForDevice)
        return message

    def is_idle(self) -> bool:
        return self.dsp.next_for_hub(HUB, self.now) is None

    def answers(self) -> None:
        """The bridge's own answer to what is in the outbox."""
        (reply,) = self.endpoint.receive(self.take().frame, self.now)
        assert isinstance(reply, Reply)
        self.hear(reply.frame)

    def says(self, payload: Any) -> None:
        """A verified answer to what is in the outbox, with a payload of the test's own."""
        command = parse_frame(self.take().frame).frame
        frame = Frame(
            cra=Cra.RESPONSE,
            originator_counter=command.originator_counter,
            originator=PPMID,
            recipient=ACB_EUI64,
            other_information=command.other_information,
            payload=build_payload(payload),
        )
        self.hear(build_frame(protect(frame, signing_key=self.own.digital_signature)))

    def hear(self, frame: bytes) -> None:
        self.dsp.receive(serialise(MessageFromDevice(HUB, PPMID, frame)), self.now)

    def pass_deadline(self) -> None:
        self.now += timedelta(seconds=TIMEOUT_S + 1)
        self.dsp.handle_timeout(self.now)

    def of(self, kind: type[Any]) -> list[Any]:
        found = [one for one in self.events if isinstance(one, kind)]
        self.events[:] = [one for one in self.events if not isinstance(one, kind)]
        return found

    def told(self) -> list[tuple[str, str]]:
        return [(one.use_case, one.detail) for one in self.of(CredentialsTold)]

    def flagged(self) -> list[str]:
        return [one.reason for one in self.of(Flagged)]


@pytest.fixture
def there() -> Iterator[House]:
    made = House()
    yield made
    made.store.close()


def requested(eui64: int = PPMID, use: KeyUse = SIGN) -> bytes:
    return certification_request(eui64, use, private_key_from(Seeds(5).stream("x").getrandbits))


# -- requests for certificates -----------------------------------------------------------------


@pytest.mark.parametrize(
    "request_der",
    [requested(HUB), requested(use=AGREE), b"\x30\x00", requested()[:-1] + b"\x00"],
    ids=["of another device", "for another use", "no request", "not signed by its key"],
)
def test_a_request_that_is_not_what_was_asked_for_is_not_certified(
    there: House, request_der: bytes
) -> None:
    there.desk.certify = None  # type: ignore[assignment]
    with pytest.raises(DspValueError, match="no SMKI"):
        there.order(renew_key, SIGN)
    asked: list[object] = []
    there.desk.certify = asked.append  # type: ignore[assignment,return-value]
    there.order(renew_key, SIGN)
    there.says(CredentialsIssued(request_der))
    assert there.flagged() == ["bad-certification-request"]
    assert asked == []
    assert there.is_idle()


def test_a_device_that_makes_no_key_ends_the_renewal(there: House) -> None:
    there.order(renew_key, SIGN)
    there.says(CredentialsIssued(error=IssueError.KEY_PAIR_GENERATION_FAILED))
    assert there.told() == [("CS02c", "KEY_PAIR_GENERATION_FAILED")]
    assert there.is_idle()
    assert there.desk.orders.next_deadline() is None


def test_a_device_that_left_in_the_midst_of_a_renewal_is_told_of(there: House) -> None:
    there.order(renew_key, SIGN)
    with there.store.transaction():
        there.desk.inventory.set_status(PPMID, DeviceStatus.SUSPENDED)
    there.answers()
    asked, ended = there.told()
    assert asked[0] == "CS02c"
    assert "Suspended" in ended[1]
    assert there.is_idle()
    assert there.desk.key_ring.offered(PPMID) == {}


def of_no_key_that_is_known() -> Certificate:
    return smki().certify(PPMID, SIGN, newer(SIGN).certificate.public_key, "?")


def of_another() -> Certificate:
    return smki().device(HUB, SIGN).certificate


# -- certificates the device says it has -------------------------------------------------------


@pytest.mark.parametrize(
    ("provided", "told", "flags"),
    [
        (
            CertificateProvided(error=ProvideCertificateError.NO_CERTIFICATE_HELD),
            [("CS02e", "NO_CERTIFICATE_HELD")],
            [],
        ),
        (
            CertificateProvided(
                smki().certify(PPMID, SIGN, newer(SIGN).certificate.public_key, "?").der
            ),
            [],
            ["credentials-not-known"],
        ),
        (
            CertificateProvided(smki().device(HUB, SIGN).certificate.der),
            [],
            ["credentials-not-known"],
        ),
        (CertificateProvided(PATH[0]), [], ["credentials-not-known"]),
        (CertificateProvided(b"\x30\x00"), [], ["bad-certificate"]),
    ],
    ids=["none", "of a key nobody knows", "of another device", "of an authority", "no certificate"],
)
def test_a_certificate_that_is_not_known_is_not_believed(
    there: House, provided: CertificateProvided, told: list[Any], flags: list[str]
) -> None:
    there.order(read_certificate, SIGN)
    there.says(provided)
    assert there.told() == told
    assert there.flagged() == flags
    assert there.desk.key_ring.held(PPMID) == {}


def test_a_refused_certificate_is_no_more_offered(there: House) -> None:
    there.order(update_certificate, SIGN, smki().device(PPMID, SIGN).certificate)
    assert SIGN in there.desk.key_ring.offered(PPMID)
    there.answers()
    assert there.told() == [("CS02d", "NO_CORRESPONDING_KEY_PAIR_GENERATED")]
    assert there.desk.key_ring.offered(PPMID) == {}


# -- cells -------------------------------------------------------------------------------------


def maced(there: House, details: CredentialDetails) -> None:
    command = parse_frame(there.take().frame).frame
    frame = Frame(
        cra=Cra.RESPONSE,
        originator_counter=command.originator_counter,
        originator=PPMID,
        recipient=ACB_EUI64,
        other_information=command.other_information,
        payload=build_payload(details),
    )
    there.hear(build_frame(protect(frame, secret=there.endpoint._secret)))


def test_a_cell_that_holds_a_key_nobody_knows_is_flagged_and_not_used(there: House) -> None:
    there.order(read_cells)
    contents = CellContents(KeyUsage.KEY_AGREEMENT, ACB_EUI64, b"stranger")
    acb = RemotePartyRole.ACCESS_CONTROL_BROKER
    details = CredentialDetails(
        (
            PartyDetails(acb, CredentialStatus.SUCCESS, 1, (contents,)),
            PartyDetails(RemotePartyRole.RECOVERY, CredentialStatus.TRUST_ANCHOR_NOT_FOUND),
        )
    )
    maced(there, details)
    assert there.flagged() == ["credentials-not-known"]
    assert there.desk.key_ring.held(PPMID) == {}
    ((name, detail),) = there.told()
    assert name == "CS02a"
    assert detail.endswith("RECOVERY TRUST_ANCHOR_NOT_FOUND")


def test_a_device_that_still_has_its_old_cells_goes_on_to_be_reached_by_them(there: House) -> None:
    there.order(replace_acb_cells, {AGREE: newer(AGREE)}, PATH)
    there.take()  # and it is lost
    there.pass_deadline()
    unheard = there.take().frame
    (discarded,) = there.endpoint.receive(unheard, there.now)
    assert not isinstance(discarded, Reply)
    there.pass_deadline()
    there.answers()
    assert [name for name, _ in there.told()] == ["CS02b", "CS02a", "CS02a"]
    assert there.desk.commands.outstanding == {}
    frame = there.desk.broker.read_firmware_version(PPMID, User(SUPPLIER_EUI64, 1))
    (reply,) = there.endpoint.receive(frame, there.now)
    assert isinstance(reply, Reply)


def test_a_device_that_says_nothing_to_anything_is_asked_twice_and_left_alone(
    there: House,
) -> None:
    there.order(update_certificate, SIGN, smki().device(PPMID, SIGN).certificate)
    codes = []
    for _ in range(3):
        codes.append(parse_frame(there.take().frame).frame.message_code)
        there.pass_deadline()
    assert codes == [0x000B, 0x000C, 0x000C]
    assert there.is_idle()
    assert there.told() == [("CS02d", "no answer"), ("CS02e", "no answer"), ("CS02e", "no answer")]
    assert there.desk.orders.next_deadline() is None
    assert SIGN in there.desk.key_ring.offered(PPMID)  # a late word may still prove it


def test_what_the_hub_could_not_deliver_is_not_waited_for(there: House) -> None:
    there.order(read_cells)
    command = there.take()
    outcome = DeliveryOutcome(HUB, PPMID, command.reference, DeliveryResult.UNREACHABLE)
    there.dsp.receive(serialise(outcome), there.now)
    assert there.told() == [("CS02a", "no answer")]
    assert there.desk.commands.outstanding == {}


def test_a_late_answer_is_unexpected(there: House) -> None:
    there.order(read_cells)
    (reply,) = there.endpoint.receive(there.take().frame, there.now)
    assert isinstance(reply, Reply)
    there.pass_deadline()
    there.hear(reply.frame)
    assert [one.reason for one in there.of(SecurityEvent)] == ["UNEXPECTED"]


# -- commands that a DUIS request led to -------------------------------------------------------


def test_what_a_request_offered_is_held_when_the_device_says_so(there: House) -> None:
    """No order of the DCC is under way: what was offered says what it is about."""
    broker = there.desk.broker
    user = User(SUPPLIER_EUI64, 7)
    with there.store.transaction():
        issue = broker.issue_credentials(PPMID, KeyUsage.KEY_AGREEMENT)
    (reply,) = there.endpoint.receive(issue, there.now)
    assert isinstance(reply, Reply)
    there.hear(reply.frame)
    public = there.endpoint.credentials.pending[0][1].public_key()
    certificate = smki().certify(PPMID, AGREE, public, "for a user")
    with there.store.transaction():
        there.desk.key_ring.offer(PPMID, AGREE, certificate)
        update = broker.update_certificate(PPMID, certificate.der)
    (reply,) = there.endpoint.receive(update, there.now)
    assert isinstance(reply, Reply)
    there.hear(reply.frame)
    assert there.told()[-1] == ("CS02d", "SUCCESS")
    assert there.desk.key_ring.held(PPMID) == {AGREE: certificate}
    frame = broker.read_firmware_version(PPMID, user)
    (reply,) = there.endpoint.receive(frame, there.now)
    assert isinstance(reply, Reply)


def test_a_device_that_signs_with_an_offered_key_has_it(there: House) -> None:
    there.order(renew_key, SIGN)
    there.answers()
    certificate = there.desk.key_ring.offered(PPMID)[SIGN]
    (reply,) = there.endpoint.receive(there.take().frame, there.now)  # its answer is lost
    assert isinstance(reply, Reply)
    there.hear(
        there.endpoint.alert(0x1000, bytes.fromhex("30160203008103180F") + b"20260101000000Z")
    )
    held = there.desk.key_ring.held(PPMID)
    assert held == {SIGN: certificate}
    assert there.of(SecurityEvent) == []
    old = Endpoint(PPMID, there.own, there.endpoint.credentials.trust, EndpointState(99), ())
    there.hear(old.alert(0x1000, bytes.fromhex("30160203008103180F") + b"20260101000000Z"))
    assert [one.reason for one in there.of(SecurityEvent)] == ["PROTECTION"]


def test_keys_of_one_device_are_not_those_of_another(there: House) -> None:
    there.order(replace_acb_cells, {AGREE: newer(AGREE)}, PATH)
    there.answers()
    ring = there.desk.key_ring
    new = newer(AGREE).private_key.private_numbers()
    assert ring.of(PPMID).private_key(ACB_EUI64, AGREE).private_numbers() == new  # type: ignore[union-attr]
    assert ring.of(HUB) is there.desk.keys
    assert isinstance(there.desk.keys, CertificateStore)
