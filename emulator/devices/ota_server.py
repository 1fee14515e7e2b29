"""The hub's half of a firmware update: offers the image in its slot to devices and serves blocks.

Source: ZigBee Cluster Library 07-5123-06, chapter 11 (OTA Upgrade); GBCS use case CCS08 for what
becomes of an offer; timers and the order of checks are ours (docs/open-points.md, "OTA server").

One table per device; "open" is OFFERED, ASKED or TRANSFERRING.

    state         event                              next          effect
    ------------  ---------------------------------  ------------  -------------------------------
    none, DONE    offer                              OFFERED       Image Notify
    none          query                              none          NOT_AUTHORIZED
    OFFERED       timeout, not yet the last notify   OFFERED       Image Notify
    open          query that fits                    ASKED         the image's version and size
    open          query, other ids or hardware       DONE          NO_IMAGE, hardware mismatch
    open          query, offered version runs        DONE          NO_IMAGE, success if all served
    ASKED         block request                      TRANSFERRING  TransferStarted, block
    OFFERED       block request, hub was restarted   TRANSFERRING  TransferStarted, block
    TRANSFERRING  block request                      TRANSFERRING  block of any offset asked
    open          Upgrade End SUCCESS                DONE          Upgrade End Response, success
    ASKED, TRANSF. Upgrade End, other status         DONE          SUCCESS, transfer failure
    ASKED         size or field refused              DONE          transfer failure
    open          nothing new served for a day       DONE          transfer failure
    open          slot overwritten                   DONE          image discarded
    DONE          query                              DONE          NO_IMAGE
    DONE          block request                      DONE          ABORT; NO_IMAGE after success
    DONE          Upgrade End SUCCESS after success  DONE          Upgrade End Response again
    DONE          Upgrade End SUCCESS otherwise      DONE          ABORT
    any           malformed, unknown                 same          default response, Anomaly

Every offer ends in exactly one `TransferOutcome`. A device whose last offer was of another file
must query before it gets blocks, so that two files never become one. Page requests are answered
UNSUP_CLUSTER_COMMAND and queries for device-specific files NO_IMAGE_AVAILABLE: not built yet.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, IntEnum, auto
from typing import Any, NamedTuple

from emulator.devices.image_store import Image, ImageStore, StoredImage
from emulator.zigbee import ota, zcl
from emulator.zigbee.zcl import Status

# The most data that fits one frame under NWK and APS security without a source route.
DEFAULT_MAX_DATA_SIZE = 56


@dataclass(frozen=True, slots=True, kw_only=True)
class OtaServerParameters:
    max_data_size: int = DEFAULT_MAX_DATA_SIZE
    notify_attempts: int = 6
    notify_period_s: float = 600.0
    notify_jitter: int = 100
    # From the last octet served for the first time: a slow device may take days for a whole file.
    stall_timeout_s: float = 24 * 3600.0
    # Both 0: upgrade now. With WAIT_FOR_UPGRADE_COMMAND the device waits for another command.
    upgrade_time_s: int = 0
    # A file for another product would else stay on offer until it stalls. Switch it off for a
    # device that asks for several image types in turn.
    ids_mismatch_ends_offer: bool = True
    max_devices: int = 15  # a hub's device log without the hub's own two entries


class OtaServerError(ValueError):
    """The caller asked the server for what it cannot do; nothing changed."""


class ResponseCode(IntEnum):
    """What became of an offer, as CCS08 says it."""

    SUCCESS = 0
    IMAGE_DISCARDED = 1
    HARDWARE_VERSION_MISMATCH = 2
    FILE_TRANSFER_FAILURE = 3


class State(Enum):
    OFFERED = auto()
    ASKED = auto()
    TRANSFERRING = auto()
    DONE = auto()


class SendZcl(NamedTuple):
    """Send to this device: APS-encrypted unicast on the OTA Upgrade cluster."""

    eui64: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class QuerySeen:
    """A device asked for an image and said what it runs."""

    eui64: int
    current_version: int


@dataclass(frozen=True, slots=True)
class TransferStarted:
    eui64: int
    file_version: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class TransferProgress:
    """Another whole percent was served."""

    eui64: int
    offset_bytes: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class TransferOutcome:
    """What became of one offer; there is one for every offer."""

    eui64: int
    file_version: int
    response_code: ResponseCode
    reason: str


@dataclass(frozen=True, slots=True)
class Anomaly:
    """Something came that should not have, or did not come that should have."""

    eui64: int
    kind: str
    detail: str


Output = SendZcl | QuerySeen | TransferStarted | TransferProgress | TransferOutcome | Anomaly


class _Offer:
    """One image for one device, and how far it has come."""

    __slots__ = (
        "eui64",
        "ids",
        "image",
        "is_success",
        "max_data_size",
        "must_query",
        "next_mark_bytes",
        "notified",
        "notify_due_s",
        "progress_s",
        "served_bytes",
        "state",
        "wanted",
    )

    def __init__(self, eui64: int, image: StoredImage, now: float, max_data_size: int) -> None:
        self.eui64 = eui64
        self.image = image
        self.ids = image.ids
        # The head of a plain block request without sequence number, as BLOCK_FRAME unpacks it.
        self.wanted = (zcl.REQUEST, ota.IMAGE_BLOCK_REQUEST, 0, *image.ids)
        self.max_data_size = max_data_size
        self.state = State.OFFERED
        self.is_success = False
        self.must_query = False
        self.notified = 0
        self.notify_due_s: float | None = now
        self.progress_s = now
        self.served_bytes = 0
        self.next_mark_bytes = 0

    @property
    def is_open(self) -> bool:
        return self.state is not State.DONE


class OtaServer:
    """The server of one hub, for every device it has ever offered an image to."""

    def __init__(self, store: ImageStore, parameters: OtaServerParameters | None = None) -> None:
        self._store = store
        self._parameters = parameters or OtaServerParameters()
        self._offers: dict[int, _Offer] = {}
        self._max_data_size: dict[int, int] = {}
        self._tsn = 0
        # Never later than what is due first; progress moves a device's own time without this one.
        self._due_s: float | None = None

    def set_max_data(self, eui64: int, octets: int) -> None:
        """Serve a device at most this much a block: its route or its make may need less."""
        if not 1 <= octets <= 0xFF:
            raise OtaServerError(f"a block of {octets} octets is none")
        if eui64 not in self._max_data_size and (
            len(self._max_data_size) >= self._parameters.max_devices
        ):
            raise OtaServerError(f"{len(self._max_data_size)} devices have a block size already")
        self._max_data_size[eui64] = octets
        if eui64 in self._offers:
            self._offers[eui64].max_data_size = octets

    def state(self, eui64: int) -> State | None:
        """How far the last offer to a device has come; None when there was none."""
        offer = self._offers.get(eui64)
        return None if offer is None else offer.state

    def offer(self, eui64: int, image: Image, now: float) -> list[Output]:
        """Store the image if the slot does not hold it, and offer it to one device.

        The same offer again while it is open changes nothing. Raises ImageStoreError when the
        image does not fit the slot.
        """
        if eui64 not in self._offers and len(self._offers) >= self._parameters.max_devices:
            raise OtaServerError(f"{len(self._offers)} devices have an offer already")
        self._store.put(image)
        outputs = self.sweep()
        stored = self._store.slot
        previous = self._offers.get(eui64)
        if stored is None or (previous is not None and previous.is_open):
            return outputs
        max_data_size = self._max_data_size.get(eui64, self._parameters.max_data_size)
        offer = _Offer(eui64, stored, now, max_data_size)
        if previous is not None:
            is_same = previous.image.is_same_file(stored.data)
            offer.must_query = previous.must_query or not is_same
        self._offers[eui64] = offer
        destination = stored.header.upgrade_file_destination
        if destination is not None and destination != eui64:
            reason = f"the file is for the device {destination:016X} only"
            return [*outputs, _done(offer, ResponseCode.HARDWARE_VERSION_MISMATCH, reason)]
        return [*outputs, *self._notify(offer, now)]

    def sweep(self) -> list[Output]:
        """End the offers whose image is no longer in the slot. For a hub that fills the slot
        itself; `offer`, `receive` and `handle_timeout` see to it anyway.
        """
        slot = self._store.slot
        return [
            _discarded(offer)
            for offer in self._offers.values()
            if offer.is_open and offer.image is not slot
        ]

    def remove_device(self, eui64: int) -> list[Output]:
        """Forget a device that left the hub's device log."""
        self._max_data_size.pop(eui64, None)
        offer = self._offers.pop(eui64, None)
        if offer is None or not offer.is_open:
            return []
        return [_done(offer, ResponseCode.IMAGE_DISCARDED, "the device was removed")]

    # Time.

    def next_timeout(self) -> float | None:
        """When to call `handle_timeout`; it may then find that there is nothing to do yet."""
        return self._due_s

    def handle_timeout(self, now: float) -> list[Output]:
        if self._due_s is None or now < self._due_s:
            return []
        parameters = self._parameters
        outputs = self.sweep()
        for offer in self._offers.values():
            if offer.is_open and now >= offer.progress_s + parameters.stall_timeout_s:
                outputs.append(_done(offer, ResponseCode.FILE_TRANSFER_FAILURE, _stalled(offer)))
            elif offer.is_open and offer.notify_due_s is not None and now >= offer.notify_due_s:
                outputs += self._notify(offer, now)
        self._plan()
        return outputs

    def _plan(self) -> None:
        dues = [
            due
            for offer in self._offers.values()
            if offer.is_open
            for due in (offer.notify_due_s, offer.progress_s + self._parameters.stall_timeout_s)
            if due is not None
        ]
        self._due_s = min(dues, default=None)

    def _notify(self, offer: _Offer, now: float) -> list[Output]:
        """Notify once more, or fall silent and rely on the device to ask by itself."""
        parameters = self._parameters
        outputs: list[Output]
        if offer.notified == parameters.notify_attempts:
            offer.notify_due_s = None
            detail = f"no query after {offer.notified} notifications, the image stays on offer"
            outputs = [Anomaly(offer.eui64, "not-asked", detail)]
        else:
            offer.notified += 1
            due_s = now if offer.notify_due_s is None else offer.notify_due_s
            offer.notify_due_s = due_s + parameters.notify_period_s
            self._tsn = self._tsn + 1 & 0xFF
            notify = ota.build(ota.ImageNotify(parameters.notify_jitter, *offer.ids))
            head = bytes((zcl.NOTIFY, self._tsn, ota.IMAGE_NOTIFY))
            outputs = [SendZcl(offer.eui64, head + notify)]
        self._plan()
        return outputs

    # The path of a block.

    def receive(self, eui64: int, payload: bytes, now: float, secured: bool = True) -> list[Output]:
        """A ZCL frame from a device; `secured` says that APS security protected it."""
        offer = self._offers.get(eui64)
        if (
            offer is not None
            and secured
            and offer.state is State.TRANSFERRING
            and len(payload) == ota.BLOCK_FRAME.size
        ):
            control, tsn, command, field_control, *ids, offset, most = ota.BLOCK_FRAME.unpack(
                payload
            )
            if (control, command, field_control, *ids) == offer.wanted and (
                0 < most and offset < offer.image.size_bytes and offer.image is self._store.slot
            ):
                return self._serve(offer, tsn, offset, most, now)
        return self._receive_other(eui64, offer, payload, now, secured)

    def _serve(self, offer: _Offer, tsn: int, offset: int, most: int, now: float) -> list[Output]:
        """Octets at any offset inside the file; what was served before plays no part."""
        octets = most if most < offer.max_data_size else offer.max_data_size
        data = offer.image.data[offset : offset + octets]
        head = ota.BLOCK_FRAME.pack(
            zcl.RESPONSE, tsn, ota.IMAGE_BLOCK_RESPONSE, 0, *offer.ids, offset, len(data)
        )
        outputs: list[Output] = [SendZcl(offer.eui64, head + data)]
        end = offset + len(data)
        if end > offer.served_bytes:
            offer.served_bytes = end
            offer.progress_s = now
            if end >= offer.next_mark_bytes:
                size_bytes = offer.image.size_bytes
                percent = end * 100 // size_bytes
                offer.next_mark_bytes = -(-(percent + 1) * size_bytes // 100)
                if percent:
                    outputs.append(TransferProgress(offer.eui64, end, size_bytes))
        return outputs

    # Everything received but plain block requests.

    def _receive_other(
        self, eui64: int, offer: _Offer | None, payload: bytes, now: float, secured: bool
    ) -> list[Output]:
        if not secured:
            detail = f"{len(payload)} octets without APS security"
            return [Anomaly(eui64, "unsecured", detail)]
        try:
            frame = zcl.parse(payload)
        except zcl.ZclError as error:
            return [Anomaly(eui64, "malformed", str(error))]
        if frame.is_from_server:
            detail = f"command 0x{frame.command:02X} of a server"
            return [Anomaly(eui64, "unexpected", detail)]
        outputs: list[Output] = []
        if offer is not None and offer.is_open and offer.image is not self._store.slot:
            outputs.append(_discarded(offer))
        try:
            handled = self._handle(eui64, offer, frame, now)
        except zcl.ZclError as error:
            anomaly = Anomaly(eui64, "malformed", str(error))
            status = Status.MALFORMED_COMMAND
        else:
            if handled is not None:
                return outputs + handled
            anomaly = Anomaly(eui64, "unsupported", f"command 0x{frame.command:02X}")
            status = zcl.unsupported(frame)
        if not frame.is_default_response:
            outputs.append(_answer(eui64, frame, status))
        return [*outputs, anomaly]

    def _handle(
        self, eui64: int, offer: _Offer | None, frame: zcl.ZclFrame, now: float
    ) -> list[Output] | None:
        """Take a frame by its command; None for one that a server does not know."""
        if frame.manufacturer_code is not None:
            return None
        if not frame.is_cluster_command:
            return self._handle_general(eui64, offer, frame)
        payload = frame.payload
        match frame.command:
            case ota.QUERY_NEXT_IMAGE_REQUEST:
                query = ota.parse_query_next_image_request(payload)
                return self._receive_query(eui64, offer, frame, query, now)
            case ota.IMAGE_BLOCK_REQUEST:
                request = ota.parse_image_block_request(payload)
                return self._receive_block_request(eui64, offer, frame, request, now)
            case ota.UPGRADE_END_REQUEST:
                end = ota.parse_upgrade_end_request(payload)
                return self._receive_upgrade_end(eui64, offer, frame, end)
            case ota.QUERY_DEVICE_SPECIFIC_FILE_REQUEST:
                ota.parse_query_device_specific_file_request(payload)
                none = ota.QueryDeviceSpecificFileResponse(Status.NO_IMAGE_AVAILABLE)
                return [_respond(eui64, frame, ota.QUERY_DEVICE_SPECIFIC_FILE_RESPONSE, none)]
        return None

    def _handle_general(
        self, eui64: int, offer: _Offer | None, frame: zcl.ZclFrame
    ) -> list[Output] | None:
        if frame.command == zcl.READ_ATTRIBUTES:
            return [SendZcl(eui64, zcl.read_attributes_response_to(frame, {}))]
        if frame.command != zcl.DEFAULT_RESPONSE:
            return None
        command, status = zcl.parse_default_response(frame.payload)
        # A device that is busy or asleep refuses a notification: that fails nothing.
        if status == Status.SUCCESS or command == ota.IMAGE_NOTIFY:
            return []
        name = zcl.status_name(status)
        is_refusal = command == ota.QUERY_NEXT_IMAGE_RESPONSE and status in _REFUSALS
        if is_refusal and offer is not None and offer.state is State.ASKED:
            reason = f"the device refused the image: {name}"
            return [_done(offer, ResponseCode.FILE_TRANSFER_FAILURE, reason)]
        return [Anomaly(eui64, "refused", f"{name} to command 0x{command:02X}")]

    def _receive_query(
        self,
        eui64: int,
        offer: _Offer | None,
        frame: zcl.ZclFrame,
        query: ota.QueryNextImageRequest,
        now: float,
    ) -> list[Output]:
        seen = QuerySeen(eui64, query.current_file_version)
        if offer is None:
            none = ota.QueryNextImageResponse(Status.NOT_AUTHORIZED)
            return [seen, _respond(eui64, frame, ota.QUERY_NEXT_IMAGE_RESPONSE, none)]
        outputs: list[Output] = [seen]
        offer.notify_due_s = None
        verdict = self._judge(offer, query) if offer.is_open else None
        if verdict is not None and verdict[0] is not None:
            outputs.append(_done(offer, *verdict))
        if verdict is not None or not offer.is_open:
            none = ota.QueryNextImageResponse(Status.NO_IMAGE_AVAILABLE)
            return [*outputs, _respond(eui64, frame, ota.QUERY_NEXT_IMAGE_RESPONSE, none)]
        if offer.state is State.OFFERED:
            offer.progress_s = now
        offer.state = State.ASKED
        offer.must_query = False
        offer.served_bytes = offer.next_mark_bytes = 0
        found = ota.QueryNextImageResponse(Status.SUCCESS, *offer.ids, offer.image.size_bytes)
        return [*outputs, _respond(eui64, frame, ota.QUERY_NEXT_IMAGE_RESPONSE, found)]
