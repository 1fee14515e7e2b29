"""A file, a client and a server for tests of the OTA cores, without loop or radio."""

from __future__ import annotations

import random
from typing import Any

from emulator.devices import ota_client, ota_server
from emulator.devices.flash import Flash, FlashContents, PagePool
from emulator.devices.image_store import ImageStore
from emulator.devices.ota_client import OtaClient, OtaClientIdentity, OtaClientParameters
from emulator.devices.ota_server import (
    OtaServer,
    OtaServerParameters,
    ResponseCode,
    TransferOutcome,
)
from emulator.zigbee import ota, zcl
from firmware_images.header import OtaHeader
from firmware_images.image import FirmwareImage, build_image

MAKER = 0x121D
KIND = 0x0084
HARDWARE = 0x1111
OLD = 0x00000001
NEW = 0x00000002
DEVICE = 0x00DB1234567890A4
OTHER = DEVICE + 1
DAY_S = 24 * 3600.0
IDENTITY = OtaClientIdentity(MAKER, KIND, HARDWARE, OLD, DEVICE)


def make_image(size_bytes: int = 1000, *, version: int = NEW, **fields: Any) -> FirmwareImage:
    """A file of exactly this size with a body of its own for every size and version."""
    named: dict[str, Any] = {
        "manufacturer_code": MAKER,
        "image_type": KIND,
        "file_version": version,
        "minimum_hardware_version": 0x1111,
        "maximum_hardware_version": 0x1112,
    }
    header = OtaHeader(**(named | fields))
    body = random.Random(f"{size_bytes} {version}").randbytes(size_bytes - header.header_length)
    return build_image(header, body)


def frame_of(output: object) -> zcl.ZclFrame:
    assert isinstance(output, ota_client.SendZcl | ota_server.SendZcl)
    return zcl.parse(output.payload)


def frames_of(outputs: list[Any]) -> list[zcl.ZclFrame]:
    sends = (ota_client.SendZcl, ota_server.SendZcl)
    return [frame_of(output) for output in outputs if isinstance(output, sends)]


def events_of(outputs: list[Any]) -> list[Any]:
    sends = (ota_client.SendZcl, ota_server.SendZcl)
    return [output for output in outputs if not isinstance(output, sends)]


class ClientRig:
    """A client and a hand that plays the server: `receive` and `expire` return the events."""

    def __init__(
        self,
        image: FirmwareImage | None = None,
        *,
        identity: OtaClientIdentity = IDENTITY,
        flash: Flash | None = None,
        problem: str | None = None,
        client_parameters: OtaClientParameters | None = None,
        **parameters: Any,
    ) -> None:
        self.image = image or make_image()
        contents = FlashContents.factory(identity.file_version)
        self.flash = flash or Flash(contents, PagePool())
        self.parameters = client_parameters or OtaClientParameters(**parameters)
        self.problem = problem
        self.client = OtaClient(
            identity, self.flash, self.parameters, verify=lambda _: self.problem, server_eui64=1
        )
        self.now = 0.0
        self.sent: list[zcl.ZclFrame] = []

    @property
    def state(self) -> ota_client.State:
        return self.client.state

    @property
    def last(self) -> zcl.ZclFrame:
        return self.sent[-1]

    def note(self, outputs: list[Any]) -> list[Any]:
        self.sent += frames_of(outputs)
        events = events_of(outputs)
        if any(isinstance(event, ota_client.Activate) for event in events):
            self.flash.mark_bootable()  # what the device does that the client works in
        return events

    def start(self, delay_s: float = 0.0) -> list[Any]:
        return self.note(self.client.start(self.now, delay_s))

    def expire(self) -> list[Any]:
        """Let the next timer run out."""
        due = self.client.next_timeout()
        assert due is not None, "nothing is due"
        self.now = max(self.now, due)
        return self.note(self.client.handle_timeout(self.now))

    def receive(
        self,
        number: int,
        command: ota.OtaCommand | bytes,
        *,
        tsn: int | None = None,
        control: int = zcl.RESPONSE,
        secured: bool = True,
    ) -> list[Any]:
        body = command if isinstance(command, bytes) else ota.build(command)
        head = bytes((control, self.last.tsn if tsn is None else tsn, number))
        return self.note(self.client.receive(head + body, self.now, secured))

    def default_response(self, command: int, status: int, tsn: int | None = None) -> list[Any]:
        body = zcl.build_default_response(zcl.DefaultResponse(command, status))
        return self.receive(zcl.DEFAULT_RESPONSE, body, tsn=tsn, control=0x18)

    def notify(self) -> list[Any]:
        notify = ota.ImageNotify(100, MAKER, KIND, NEW)
        return self.receive(ota.IMAGE_NOTIFY, notify, tsn=0x77, control=zcl.NOTIFY)

    def ask(self) -> list[Any]:
        """As far as the query."""
        self.start()
        return self.expire()

    def offer(self, **changes: Any) -> list[Any]:
        image = self.image
        header = image.header
        response = ota.QueryNextImageResponse(
            0, header.manufacturer_code, header.image_type, header.file_version, len(image.data)
        )
        return self.receive(ota.QUERY_NEXT_IMAGE_RESPONSE, response._replace(**changes))

    def begin(self) -> list[Any]:
        """As far as the first block request."""
        self.ask()
        return self.offer()

    def block(self, size: int = 56, *, offset: int | None = None, tsn: int | None = None) -> Any:
        """Serve what the last block request asked for, or octets at another offset."""
        request = ota.parse_image_block_request(self.last.payload)
        at = request.file_offset if offset is None else offset
        data = self.image.data[at : at + size]
        response = ota.ImageBlockResponse(*request[:3], at, data)
        return self.receive(ota.IMAGE_BLOCK_RESPONSE, response, tsn=tsn)

    def serve(self) -> list[Any]:
        """Serve block after block until the client asks for no more."""
        events: list[Any] = []
        while self.last.command == ota.IMAGE_BLOCK_REQUEST and self.state.name == "DOWNLOADING":
            events += self.block()
        return events

    def finish(self, current_s: int = 0, upgrade_s: int = 0, **ids: int) -> list[Any]:
        response = ota.UpgradeEndResponse(MAKER, KIND, NEW, current_s, upgrade_s)
        return self.receive(ota.UPGRADE_END_RESPONSE, response._replace(**ids))


class ServerRig:
    """A server and a hand that plays the devices."""

    def __init__(self, image: FirmwareImage | None = None, **parameters: Any) -> None:
        self.image = image or make_image()
        self.store = ImageStore()
        self.server = OtaServer(self.store, OtaServerParameters(**parameters))
        self.now = 0.0
        self.tsn = 0
        self.answers: list[zcl.ZclFrame] = []
        self.outcomes: list[TransferOutcome] = []

    def note(self, outputs: list[Any]) -> list[Any]:
        self.answers = frames_of(outputs)
        events = events_of(outputs)
        self.outcomes += [event for event in events if isinstance(event, TransferOutcome)]
        return events

    def offer(self, eui64: int = DEVICE, image: FirmwareImage | None = None) -> list[Any]:
        return self.note(self.server.offer(eui64, image or self.image, self.now))

    def expire(self) -> list[Any]:
        due = self.server.next_timeout()
        assert due is not None, "nothing is due"
        self.now = max(self.now, due)
        return self.note(self.server.handle_timeout(self.now))

    def receive(
        self,
        number: int,
        command: ota.OtaCommand | bytes,
        *,
        eui64: int = DEVICE,
        control: int = zcl.REQUEST,
        secured: bool = True,
    ) -> list[Any]:
        self.tsn = (self.tsn + 1) & 0xFF
        body = command if isinstance(command, bytes) else ota.build(command)
        payload = bytes((control, self.tsn, number)) + body
        events = self.note(self.server.receive(eui64, payload, self.now, secured))
        assert all(answer.tsn == self.tsn for answer in self.answers)
        return events

    def query(self, version: int = OLD, hardware: int | None = HARDWARE, **ids: int) -> list[Any]:
        query = ota.QueryNextImageRequest(MAKER, KIND, version, hardware)._replace(**ids)
        return self.receive(ota.QUERY_NEXT_IMAGE_REQUEST, query, eui64=DEVICE)

    def block(
        self, offset: int, most: int = 56, *, version: int = NEW, eui64: int = DEVICE
    ) -> list[Any]:
        request = ota.ImageBlockRequest(MAKER, KIND, version, offset, most)
        return self.receive(ota.IMAGE_BLOCK_REQUEST, request, eui64=eui64)

    def end(self, status: int = 0, version: int = NEW) -> list[Any]:
        end = ota.UpgradeEndRequest(status, MAKER, KIND, version)
        return self.receive(ota.UPGRADE_END_REQUEST, end)

    def default_response(self, command: int, status: int) -> list[Any]:
        body = zcl.build_default_response(zcl.DefaultResponse(command, status))
        return self.receive(zcl.DEFAULT_RESPONSE, body, control=0x10)

    def transfer(self) -> None:
        """As far as the last block."""
        self.offer()
        self.query()
        for offset in range(0, len(self.image.data), 56):
            self.block(offset)

    @property
    def data(self) -> bytes:
        """The octets in the answer to a block request."""
        answer = ota.parse_image_block_response(self.answer(ota.IMAGE_BLOCK_RESPONSE).payload)
        assert isinstance(answer, ota.ImageBlockResponse)
        return answer.data

    def answer(self, number: int) -> zcl.ZclFrame:
        (answer,) = self.answers
        assert (answer.command, answer.frame_control) == (number, zcl.RESPONSE)
        return answer

    @property
    def refusal(self) -> tuple[int, int]:
        """Command and status of the default response that was the answer."""
        (answer,) = self.answers
        assert answer.is_default_response
        command, status = zcl.parse_default_response(answer.payload)
        return command, status

    @property
    def is_abort(self) -> bool:
        return self.answer(ota.IMAGE_BLOCK_RESPONSE).payload == b"\x95"

    @property
    def codes(self) -> list[ResponseCode]:
        return [outcome.response_code for outcome in self.outcomes]


def kinds(events: list[Any]) -> list[str]:
    """The kinds of the anomalies among the events."""
    anomalies = (ota_client.Anomaly, ota_server.Anomaly)
    return [event.kind for event in events if isinstance(event, anomalies)]


def default_response(frame: zcl.ZclFrame) -> zcl.DefaultResponse:
    assert frame.is_default_response
    return zcl.parse_default_response(frame.payload)


def request_of(rig: ClientRig) -> ota.ImageBlockRequest:
    assert rig.last.command == ota.IMAGE_BLOCK_REQUEST
    return ota.parse_image_block_request(rig.last.payload)


def end_of(rig: ClientRig) -> ota.UpgradeEndRequest:
    assert rig.last.command == ota.UPGRADE_END_REQUEST
    return ota.parse_upgrade_end_request(rig.last.payload)


def read(rig: ClientRig, *attributes: int) -> Any:
    """Values of the client's attributes as it tells them, the status where it refuses."""
    body = zcl.build_read_attributes(attributes)
    rig.receive(zcl.READ_ATTRIBUTES, body, tsn=0x55, control=zcl.SERVER_TO_CLIENT)
    assert rig.last.tsn == 0x55
    records = zcl.parse_read_attributes_response(rig.sent.pop().payload)
    values = [record.value if record.status == 0 else record.status for record in records]
    return values if len(values) > 1 else values[0]
