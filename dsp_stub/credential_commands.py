"""What the DCC does about the credentials of a device of its own accord, without a DUIS request.

Source: MP170-R8 (credentials of a bridge are replaceable, not routinely); GBCS use cases CS02a to
CS02e with the Access Control Broker as known remote party, and CS02b by recovery. A call sends one
command; what the device answers, and what follows from that, is in `credential_outcomes`.

    call                  command    then
    --------------------  ---------  ---------------------------------------------------------
    read_cells            CS02a
    replace_acb_cells     CS02b      commands and answers use the new keys once they are told
    renew_key             CS02c      the SMKI certifies the key, CS02d, CS02e
    update_certificate    CS02d
    read_certificate      CS02e
    relay                 CS02b      recovery's, signed by it or by the contingency key; the answer
                                     goes to nobody, but what it says is followed

One command at a time is under way for a device. A DUIS request that leads to one of these commands
offers its certificates as here, and the answer is followed in the same way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta

from dsp_stub.desk import Desk
from dsp_stub.errors import DspValueError
from dsp_stub.key_ring import ACB_CELLS, KEY_USAGES, cell_place
from dsp_stub.orders import Order, Purpose
from dsp_stub.smi import SmiDevice
from dsp_stub.targets import REACHABLE
from gbcs import credential_replacement
from gbcs.acb import AccessControlBroker
from gbcs.certificates import Certificate
from gbcs.codes import parse_payload
from gbcs.credentials import NEVER, RemotePartyRole, Replacement, UpdateCredentials
from gbcs.envelope import Frame, parse_frame
from gbcs.errors import GbcsError, GbcsValueError
from gbcs.protection import KeyStore, KeyUse
from gbcs.smki import Credential
from gbcs.wan import CommandForDevice

# Whose cells a PPMID has.
ROLES = (RemotePartyRole.ACCESS_CONTROL_BROKER, RemotePartyRole.RECOVERY, RemotePartyRole.ROOT)


def read_cells(desk: Desk, device_id: int, now: datetime) -> None:
    """CS02a: what is in the cells."""
    _ask_cells(desk, device_id, now, Purpose.ALONE, None)


def replace_acb_cells(
    desk: Desk,
    device_id: int,
    credentials: Mapping[KeyUse, Credential],
    certification_path: tuple[bytes, ...],
    now: datetime,
    *,
    execution: datetime | None = None,
    new_floor: int = 0,
) -> None:
    """CS02b: new key pairs of the ACB for the cells of these uses, at once or at `execution`; NEVER
    takes back what was put off. Which certificates a device should refuse is for the device to say:
    they are sent as they are."""
    change = {
        cell_place(ACB_CELLS[use]): credential.certificate
        for use, credential in credentials.items()
    }
    desk.key_ring.require_settled(device_id, change)
    for credential in credentials.values():
        desk.key_ring.add_own(credential)
    for place, certificate in change.items():
        if execution != NEVER:
            desk.key_ring.offer(device_id, place, certificate)
    replacements = tuple(
        Replacement(credential.certificate.der, ACB_CELLS[use])
        for use, credential in credentials.items()
    )
    broker = _broker(desk, None)
    with _building(desk, device_id):
        frame = broker.update_own_credentials(
            device_id,
            replacements,
            certification_path,
            new_floor=new_floor,
            execution_date_time=execution,
        )
    _send(desk, device_id, frame, now)


def renew_key(desk: Desk, device_id: int, use: KeyUse, now: datetime) -> None:
    """CS02c, and all that follows until the device speaks with a new key."""
    if desk.certify is None:
        raise DspValueError("no SMKI is there that would certify a new key")
    desk.key_ring.require_settled(device_id, {})
    with _building(desk, device_id):
        frame = _broker(desk, None).issue_credentials(device_id, KEY_USAGES[use])
    _send(desk, device_id, frame, now, Purpose.RENEWAL, use)


def update_certificate(
    desk: Desk,
    device_id: int,
    use: KeyUse,
    certificate: Certificate,
    now: datetime,
    purpose: Purpose = Purpose.ALONE,
) -> None:
    """CS02d: the certificate of the key that waits in the device."""
    desk.key_ring.require_settled(device_id, {use: certificate})
    desk.key_ring.offer(device_id, use, certificate)
    with _building(desk, device_id):
        frame = _broker(desk, None).update_certificate(device_id, certificate.der)
    _send(desk, device_id, frame, now, purpose, use)


def read_certificate(desk: Desk, device_id: int, use: KeyUse, now: datetime) -> None:
    """CS02e: with which certificate does it speak?"""
    _ask_certificate(desk, device_id, use, now, Purpose.ALONE, None)


def relay(desk: Desk, octets: bytes, now: datetime, own: Iterable[Credential] = ()) -> None:
    """A CS02b that recovery sends, whatever else is open: it is what helps when nothing else does.
    `own` are key pairs of the ACB that it puts into the device."""
    frame, payload = _read(octets)
    if frame.originator == desk.acb or not isinstance(payload, UpdateCredentials):
        raise DspValueError("what is relayed is a CS02b of another party than the ACB")
    for credential in own:
        desk.key_ring.add_own(credential)
    for replacement in payload.replacements:
        certificate = credential_replacement.read_certificate(replacement.certificate)
        if certificate is not None:  # else the device will say so
            desk.key_ring.offer(frame.recipient, cell_place(replacement.cell), certificate)
    _send(desk, frame.recipient, octets, now)


def ask(desk: Desk, order: Order, purpose: Purpose, now: datetime) -> None:
    """Ask for what an order has not been answered with: by the keys that hold if it was carried
    out, or by those that hold if it was not."""
    keys = desk.key_ring.offered_to(order.device) if purpose is Purpose.ASK_OFFERED else None
    if order.place:
        _ask_certificate(desk, order.device, KeyUse(order.place), now, purpose, keys)
    else:
        _ask_cells(desk, order.device, now, purpose, keys)


def _ask_cells(
    desk: Desk, device_id: int, now: datetime, purpose: Purpose, keys: KeyStore | None
) -> None:
    with _building(desk, device_id):
        frame = _broker(desk, keys).read_credentials(device_id, ROLES)
    _send(desk, device_id, frame, now, purpose)


def _ask_certificate(
    desk: Desk, device_id: int, use: KeyUse, now: datetime, purpose: Purpose, keys: KeyStore | None
) -> None:
    with _building(desk, device_id):
        frame = _broker(desk, keys).provide_certificate(device_id, KEY_USAGES[use])
    _send(desk, device_id, frame, now, purpose, use)


def _broker(desk: Desk, keys: KeyStore | None) -> AccessControlBroker:
    """The ACB, with the keys that hold, or with others."""
    if keys is None:
        return desk.broker
    return AccessControlBroker(desk.acb, keys, desk.commands)


def _send(
    desk: Desk,
    device_id: int,
    octets: bytes,
    now: datetime,
    purpose: Purpose = Purpose.ALONE,
    place: str = "",
) -> None:
    """Into the outbox, and onto the list of what is under way."""
    hub = _reachable(desk, device_id).chf
    assert hub is not None
    frame, _ = _read(octets)
    order = Order(
        frame.originator,
        device_id,
        frame.originator_counter,
        frame.other_information,
        purpose,
        place,
        now + timedelta(seconds=desk.options.response_timeout_s),
    )
    desk.orders.add(order)
    message = CommandForDevice(hub, device_id, order.reference(desk.acb), octets)
    desk.outbox.add_message(message, now, expires_at=order.deadline)


@contextmanager
def _building(desk: Desk, device_id: int) -> Iterator[None]:
    _reachable(desk, device_id)
    try:
        yield
    except GbcsValueError as error:
        raise DspValueError(f"no command to {device_id:016X} can be built: {error}") from None


def _reachable(desk: Desk, device_id: int) -> SmiDevice:
    device = desk.inventory.get(device_id)
    if device is None:
        raise DspValueError(f"device {device_id:016X} is not in the inventory")
    if device.status not in REACHABLE or device.chf is None:
        raise DspValueError(f"device {device_id:016X} is {device.status} and on no hub")
    return device


def _read(octets: bytes) -> tuple[Frame, object]:
    try:
        frame = parse_frame(octets).frame
        return frame, parse_payload(frame.message_code, frame.cra, frame.payload)
    except GbcsError as error:
        raise DspValueError(f"it cannot be sent: {error}") from None
