"""A DSP that is asked over HTTP, a home with a device of every type, and devices that answer.

Tests read from top to bottom: each request is posted and answered while the loop of this module
runs, and what the DSP has to hand over is taken by hand. Frames are answered by the devices' own
half of GBCS. A meter is a PPMID's half that knows the supplier too.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, ClassVar

from dsp_rig import (
    BRIDGE,
    DISTRIBUTOR_EUI64,
    EPOCH,
    ESME,
    GPF,
    HUB,
    OLD,
    OTHER_HUB,
    OTHER_SUPPLIER_EUI64,
    OTHER_USER_EUI64,
    PPMID,
    ROLES,
    cpl_entry,
    device_keys,
    dsp_keys,
    organisation,
    sign,
    smi_device,
)

from dsp_stub import xml_signature
from dsp_stub.desk import Desk, DspEvent, SecurityEvent
from dsp_stub.http import XML, DspServer
from dsp_stub.options import Options
from dsp_stub.requests import (
    BODIES,
    Body,
    Request,
    RequestId,
    SignedPreCommand,
    build_request,
    service_path,
    service_reference,
)
from dsp_stub.responses import (
    DccAlertMessage,
    DeviceAlertMessage,
    GbcsPayload,
    LocalCommand,
    PreCommand,
    Response,
    ResponseMessage,
    parse_response,
)
from dsp_stub.safe_xml import parse_xml
from dsp_stub.service import Dsp
from dsp_stub.smi import DeviceStatus, DeviceType, Premises, SmiDevice
from dsp_stub.store import Store
from dsp_stub.users import User, Users
from gbcs.certificates import Certificate, Role
from gbcs.endpoint import Endpoint, EndpointState, Reply, TrustCells, UseCase
from gbcs.envelope import parse_frame
from gbcs.protection import KeyUse, complete_pre_command, shared_secret
from gbcs.smki import ACB_EUI64, SUPPLIER_EUI64
from gbcs.use_cases import CredentialUseCase
from gbcs.wan import (
    CommandForDevice,
    MessageFromDevice,
    WanMessage,
    parse_message,
    serialise,
)

GSME, HCALCS = 0x00DB1234567890A1, 0x00DB1234567890A5
IHD, CAD = 0x00DB1234567890A6, 0x00DB1234567890A7
OTHER_GPF = 0x00DB1234567891A3
OF_TYPE = {
    DeviceType.ESME: ESME,
    DeviceType.GSME: GSME,
    DeviceType.GPF: GPF,
    DeviceType.CHF: HUB,
    DeviceType.HCALCS: HCALCS,
    DeviceType.PPMID: PPMID,
    DeviceType.IHD: IHD,
    DeviceType.CAD: CAD,
}
SMART_DEVICES = (HUB, OTHER_HUB, GPF, OTHER_GPF, ESME, GSME, HCALCS, PPMID, BRIDGE)
_COMMISSIONED = {
    "status": DeviceStatus.COMMISSIONED,
    "date_commissioned": "2026-01-01",
    "manufacturer": "FFF0",
    "gbcs_version": "4.1",
    "firmware_version": "00010000",
}


def home(responsible: tuple[int, ...] = (SUPPLIER_EUI64,)) -> tuple[Premises, list[SmiDevice]]:
    premises = Premises(id=1, uprn="123", import_mpxn="1312345678111", responsible=responsible)
    devices = []
    for device_id, kind, model, version, more in (
        (HUB, DeviceType.CHF, "00CF0101", "CHTS V1.5", {"associated_gpf": GPF}),
        (GPF, DeviceType.GPF, "00CF0101", "CHTS V1.5", {"chf": HUB}),
        (ESME, DeviceType.ESME, "0E5E0101", "ESMETS V5.1", {"chf": HUB, "esme_variant": "A"}),
        (GSME, DeviceType.GSME, "0E5F0101", "GSMETS V5.1", {"chf": HUB}),
        (OTHER_HUB, DeviceType.CHF, "00CF0101", "CHTS V1.5", {"associated_gpf": OTHER_GPF}),
        (OTHER_GPF, DeviceType.GPF, "00CF0101", "CHTS V1.5", {"chf": OTHER_HUB}),
    ):
        at = None if device_id in (OTHER_HUB, OTHER_GPF) else 1
        devices.append(
            SmiDevice(
                device_id=device_id, device_type=kind, model=model, smets_chts_version=version,
                premises=at, **_COMMISSIONED, **more,
            )
        )  # fmt: skip
    devices.append(
        smi_device(
            HCALCS,
            device_type=DeviceType.HCALCS,
            model="0AC10101",
            manufacturer="FFF0",
            smets_chts_version="HCALCSTS V5.1",
            ppmid_variant=None,
        )
    )
    devices += [smi_device(PPMID), smi_device(BRIDGE, "bridge-1")]
    for device_id, kind in ((IHD, DeviceType.IHD), (CAD, DeviceType.CAD)):
        devices.append(
            SmiDevice(
                device_id=device_id, device_type=kind, status=None, manufacturer="Maker",
                model="One", chf=HUB, premises=1,
            )
        )  # fmt: skip
    return premises, devices


class Door(DspServer):
    """The port of a DSP whose outbox is left alone."""

    _loop = asyncio.new_event_loop()
    _open: ClassVar[list[Door]] = []

    def post(self, path: str, octets: bytes) -> bytes:
        """One request from its first octet to the last of its answer."""
        return self._loop.run_until_complete(self._exchange(path, octets))

    async def _exchange(self, path: str, octets: bytes) -> bytes:
        if self not in self._open:
            self._url = await self.start("127.0.0.1", 0)
            self._open.append(self)
        assert self._session is not None
        headers = {"Content-Type": XML}
        async with self._session.post(self._url + path, data=octets, headers=headers) as answer:
            assert answer.status == 200
            return await answer.read()

    def pump(self) -> None:
        """Nothing leaves before a test takes it."""

    @classmethod
    def close_all(cls) -> None:
        while cls._open:
            cls._loop.run_until_complete(cls._open.pop().stop())


class Bench:
    """One DSP with its database in memory, the time it is, and what it has to hand over."""

    def __init__(
        self,
        options: Options | None = None,
        roles: dict[int, Any] | None = None,
        responsible: tuple[int, ...] = (SUPPLIER_EUI64,),
        store: Store | None = None,
    ) -> None:
        self.now = EPOCH + timedelta(seconds=1)
        self.events: list[DspEvent] = []
        self.counter = 100
        self._told: list[tuple[int, Response]] = []
        self._users = sorted(ROLES | (roles or {}))
        self.store = store or Store(None)
        users = Users(
            User(eui64, role, organisation(eui64, KeyUse.XML_SIGNATURE)[0], "http://127.0.0.1:1/")
            for eui64, role in (ROLES | (roles or {})).items()
        )
        keys = dsp_keys(SMART_DEVICES)
        for user in (SUPPLIER_EUI64, OTHER_SUPPLIER_EUI64, DISTRIBUTOR_EUI64, OTHER_USER_EUI64):
            keys.add(organisation(user, KeyUse.DIGITAL_SIGNATURE)[0])
        self.keys = keys
        self.desk = Desk(self.store, users, keys, ACB_EUI64, options)
        self.dsp = Dsp(self.desk, self.events.append)
        self.door = Door(self.dsp, lambda: self.now)
        if not self.desk.inventory.all_devices():
            premises, devices = home(responsible)
            self.desk.inventory.add_premises(premises)
            for device in devices:
                self.desk.inventory.add(device)
            for kind in ("ppmid", "bridge-1"):
                self.desk.cpl.add(cpl_entry(kind, OLD))

    # -- a user's side -------------------------------------------------------------------------

    def request(
        self,
        body: Body,
        target: int,
        variant: int,
        *,
        user: int = SUPPLIER_EUI64,
        service: str = "",
        counter: int | None = None,
    ) -> Request:
        if counter is None:
            self.counter += 1
            counter = self.counter
        name = BODIES[type(body)].variant or service
        request_id = RequestId(user, target, counter)
        return Request(request_id, variant, service_reference(name), name, body)

    def post(self, request: Request, path: str | None = None) -> Response:
        octets = sign(build_request(request), request.request_id.originator)
        root = parse_xml(self.door.post(path or service_path(request), octets))
        xml_signature.verify(root, _dsp_certificate)
        return parse_response(root)

    def ask(self, body: Body, target: int, variant: int, **how: Any) -> Response:
        return self.post(self.request(body, target, variant, **how))

    def code(self, body: Body, target: int, variant: int, **how: Any) -> str:
        return self.ask(body, target, variant, **how).response_code

    def transformed(self, body: Body, target: int, **how: Any) -> tuple[Response, bytes]:
        """The answer to a Transform, and what the user makes of it."""
        answer = self.ask(body, target, 4, **how)
        content = content_of(answer)
        assert isinstance(content, PreCommand)
        return answer, signed(content.octets, how.get("user", SUPPLIER_EUI64))

    def send_signed(
        self, answer: Response, octets: bytes, variant: int = 5, time: str | None = None
    ) -> Response:
        """The signed pre-command of a Transform, under the same RequestID."""
        assert answer.request_id is not None
        assert isinstance(answer.message, ResponseMessage)
        request_id = answer.request_id
        request = self.request(
            SignedPreCommand(octets, time),
            request_id.target,
            variant,
            user=request_id.originator,
            service=answer.message.service_reference_variant,
            counter=request_id.counter,
        )
        return self.post(request)

    def critical(self, body: Body, target: int, **how: Any) -> CommandForDevice:
        """A critical request from its Transform to the command at the hub."""
        answer, octets = self.transformed(body, target, **how)
        assert self.send_signed(answer, octets).response_code == "I99"
        return self.command()

    def told(self) -> list[Response]:
        """Everything users were told so far, in order."""
        for user in self._users:
            for body in self._taken(user, callbacks=True):
                root = parse_xml(body)
                xml_signature.verify(root, _dsp_certificate)
                self._told.append((user, parse_response(root)))
        return [response for _, response in self._told]

    def response(self) -> Response:
        """The last response to a request that a user was told."""
        return [one for one in self.told() if isinstance(one.message, ResponseMessage)][-1]

    def alerts(self, kind: type[Any] | None = None) -> list[Any]:
        """The DCC alerts users were told so far."""
        messages = [one.message for one in self.told()]
        found = [one.alert for one in messages if isinstance(one, DccAlertMessage)]
        return [alert for alert in found if kind is None or isinstance(alert, kind)]

    def alert_codes(self) -> list[str]:
        messages = [one.message for one in self.told()]
        return [one.dcc_alert_code for one in messages if isinstance(one, DccAlertMessage)]

    def device_alerts(self) -> list[int]:
        messages = [one.message for one in self.told()]
        return [one.alert_code for one in messages if isinstance(one, DeviceAlertMessage)]

    # -- a hub's side --------------------------------------------------------------------------

    def messages(self, hub: int = HUB) -> list[WanMessage]:
        return [parse_message(body) for body in self._taken(hub, callbacks=False)]

    def command(self, hub: int = HUB) -> CommandForDevice:
        """The only command for a device of this hub."""
        (found,) = [one for one in self.messages(hub) if isinstance(one, CommandForDevice)]
        return found

    def _taken(self, destination: int, *, callbacks: bool) -> list[bytes]:
        bodies = []
        following = self.dsp.next_callback if callbacks else self.dsp.next_for_hub
        while (delivery := following(destination, self.now)) is not None:
            bodies.append(delivery.body)
            self.dsp.delivered(delivery)
        return bodies

    def receive(self, device: int, frame: bytes, hub: int = HUB) -> None:
        self.dsp.receive(serialise(MessageFromDevice(hub, device, frame)), self.now)

    # -- what is there -------------------------------------------------------------------------

    def device(self, device_id: int) -> SmiDevice:
        found = self.desk.inventory.get(device_id)
        assert found is not None
        return found

    def status(self, device_id: int) -> DeviceStatus | None:
        return self.device(device_id).status

    def reasons(self) -> list[str]:
        return [one.reason for one in self.events if isinstance(one, SecurityEvent)]

    def is_quiet(self) -> bool:
        """Nothing leaves for a hub."""
        return not any(self.messages(hub) for hub in (HUB, OTHER_HUB))


def _dsp_certificate(serial: int) -> Certificate | None:
    certificate = organisation(ACB_EUI64, KeyUse.XML_SIGNATURE)[0]
    return certificate if certificate.serial == serial else None


def signed(pre_command: bytes, user: int = SUPPLIER_EUI64) -> bytes:
    key = organisation(user, KeyUse.DIGITAL_SIGNATURE)[1]
    return complete_pre_command(parse_frame(pre_command), key)


def content_of(response: Response) -> Any:
    assert isinstance(response.message, ResponseMessage)
    return response.message.content


def payload_of(response: Response) -> bytes:
    """The frame a response carries."""
    content = content_of(response)
    assert isinstance(content, GbcsPayload | LocalCommand | PreCommand)
    return content.octets


# -- devices -----------------------------------------------------------------------------------


class MeterTrust(TrustCells):
    """The cells of a meter: the supplier signs and agrees keys too."""

    def signer(self, eui64: int) -> Certificate | None:
        if eui64 == SUPPLIER_EUI64:
            return organisation(SUPPLIER_EUI64, KeyUse.DIGITAL_SIGNATURE)[0]
        return super().signer(eui64)


class Meter(Endpoint):
    """A device that knows the supplier: what it MACs for the supplier only the supplier can see."""

    def _protected(self, frame: Any, required: Any) -> bytes:
        agreed = self._secret
        if frame.recipient == SUPPLIER_EUI64:
            public = organisation(SUPPLIER_EUI64, KeyUse.KEY_AGREEMENT)[0].public_key
            self._secret = shared_secret(self._credentials.keys.key_agreement, public)
        try:
            return super()._protected(frame, required)
        finally:
            self._secret = agreed


def endpoint(eui64: int, *use_cases: UseCase | CredentialUseCase, counter: int = 5000) -> Endpoint:
    """What a PPMID or a hub is in GBCS."""
    keys, certificates = device_keys(eui64)
    cells = TrustCells(*_acb_cells())
    return Endpoint(eui64, keys, cells, EndpointState(counter), use_cases, certificates)


def meter(eui64: int, *use_cases: UseCase | CredentialUseCase, counter: int = 5000) -> Meter:
    keys, certificates = device_keys(eui64)
    cells = MeterTrust(*_acb_cells())
    cases = [replace(case, roles=(Role.SUPPLIER,)) for case in use_cases]
    return Meter(eui64, keys, cells, EndpointState(counter), cases, certificates)


def _acb_cells() -> tuple[Certificate, Certificate]:
    return (
        organisation(ACB_EUI64, KeyUse.DIGITAL_SIGNATURE)[0],
        organisation(ACB_EUI64, KeyUse.KEY_AGREEMENT)[0],
    )


def answer(device: Endpoint, frame: bytes, now: datetime = EPOCH) -> bytes:
    (reply,) = device.receive(frame, now)
    assert isinstance(reply, Reply), reply
    return reply.frame
