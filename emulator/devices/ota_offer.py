"""One image on offer to one device: what the hub answers, and what becomes of the offer.

Source: ZigBee Cluster Library 07-5123-06, chapter 11 (OTA Upgrade); GBCS use case CCS08 for the
outcomes; timers and the order of checks are ours (docs/open-points.md, "OTA server").

    state         event                              next          effect
    ------------  ---------------------------------  ------------  ------------------------------
    OFFERED       timeout                            OFFERED       Image Notify, up to the last
    OFFERED       block request (hub was restarted)  TRANSFERRING  TransferStarted, block
    open          query that fits                    ASKED         the image's version and size
    open          query with other ids or hardware   DONE          NO_IMAGE, hardware mismatch
    open          query, the version offered runs    DONE          NO_IMAGE; success if it was asked
                                                                   for by another version, or all
                                                                   of it served, else failure
    open          query, the policy has no such      DONE          NO_IMAGE, transfer failure
    ASKED         block request                      TRANSFERRING  TransferStarted, block
    TRANSFERRING  block request                      TRANSFERRING  block, of any offset asked for
    ASKED         default response: image refused    DONE          transfer failure
    open          Upgrade End SUCCESS                DONE          Upgrade End Response, success
    OFFERED       Upgrade End, other status          OFFERED       SUCCESS: it is of an older offer
    open          Upgrade End REQUIRE_MORE_IMAGE     DONE          SUCCESS, success
    open          Upgrade End, other status          DONE          SUCCESS, transfer failure
    open          nothing new served for a day       DONE          transfer failure
    open          the slot was overwritten           DONE          image discarded
    DONE          query                              DONE          NO_IMAGE
    DONE          block request                      DONE          ABORT; NO_IMAGE after success
    DONE          Upgrade End SUCCESS                DONE          ABORT; as above after success
    DONE          released                           DONE          Upgrade End Response, at once
    DONE          Upgrade End, other status          DONE          SUCCESS

"open" is any state but DONE. There is exactly one `TransferOutcome`. A query for a device-specific
file is a query. After a restart of the hub an open offer is OFFERED, one that is done is DONE. With
`must_query` the device may hold part of another file of the same name: until it queries it gets
ABORT, so that two files never become one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal, NamedTuple

from emulator.devices.image_store import ImageStore, StoredImage
from emulator.devices.ota_pacing import PacingParameters
from emulator.devices.ota_server_outputs import (
    Anomaly,
    Output,
    ResponseCode,
    SendZcl,
    TransferOutcome,
    TransferProgress,
    TransferStarted,
)
from emulator.zigbee import ota, zcl
from emulator.zigbee.zcl import Status

VersionPolicy = Literal["newer", "different", "older"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OtaServerParameters(PacingParameters):
    # The most data that fits one frame under NWK and APS security without a source route.
    max_data_size: int = 56
    notify_attempts: int = 6
    notify_period_s: float = 600.0
    notify_jitter: int = 100
    # From the last octet served for the first time: a slow device may take days for a whole file.
    stall_timeout_s: float = 24 * 3600.0
    # A file nobody was served a block of for so long leaves the slot; None for never.
    discard_after_s: float | None = None
    # Which versions a device is offered, set against the one it says it runs.
    version_policy: VersionPolicy = "different"
    serve_pages: bool = False
    # Both times 0: upgrade now. WAIT_FOR_UPGRADE_COMMAND makes the device wait for another word.
    # They count from the time of the hub's clock, where it has one.
    current_time_s: int = 0
    upgrade_time_s: int = 0
    # A file for another product would else stay on offer until it stalls. To be switched off for a
    # device that asks for several image types in turn.
    ids_mismatch_ends_offer: bool = True
    max_devices: int = 15  # a device log holds 17 entries with the hub's own two


class State(Enum):
    OFFERED = auto()
    ASKED = auto()
    TRANSFERRING = auto()
    DONE = auto()


# Default responses to a query response with which a client says that it does not want the image.
_REFUSALS = frozenset({Status.INSUFFICIENT_SPACE, Status.INVALID_FIELD, Status.INVALID_IMAGE})


class Numbers:
    """The numbers of a hub's outcomes."""

    __slots__ = ("last",)

    def __init__(self, last: int = 0) -> None:
        self.last = last

    def next(self) -> int:
        self.last += 1
        return self.last


class OfferRecord(NamedTuple):
    """What of an offer outlives a restart."""

    eui64: int
    ids: tuple[int, int, int]
    sha256: str
    response_code: int | None  # of one that is done
    must_query: bool
    asked_version: int | None
    is_released: bool


class Offer:
    """Made when a device is to have an image; kept when done, to answer what still comes."""

    __slots__ = (
        "_asked_version",
        "_ids",
        "_max_data_size",
        "_must_query",
        "_next_mark_bytes",
        "_notified",
        "_notify_due_s",
        "_numbers",
        "_parameters",
        "_progress_s",
        "_served_blocks",
        "_served_bytes",
        "_store",
        "_wanted",
        "eui64",
        "image",
        "is_changed",
        "is_released",
        "response_code",
        "sha256",
        "state",
    )

    def __init__(
        self,
        eui64: int,
        image: StoredImage,
        store: ImageStore,
        parameters: OtaServerParameters,
        *,
        max_data_size: int,
        now: float,
        numbers: Numbers,
        previous: Offer | None = None,
    ) -> None:
        self.eui64 = eui64
        self.image = image
        self.sha256 = image.sha256
        self.state = State.OFFERED
        self.response_code: ResponseCode | None = None
        self.is_changed = True  # something that is to outlive a restart, since it was last stored
        self._store = store
        self._parameters = parameters
        self._max_data_size = max_data_size
        self._numbers = numbers
        self._must_query: bool = previous is not None and (
            previous._must_query or previous.sha256 != image.sha256
        )
        self._asked_version: int | None = None
        self.is_released = False  # a device left to wait was given the word to activate
        self._ids = image.ids
        # What a plain block request has as BLOCK_FRAME unpacks it, but for what differs each time.
        self._wanted = [zcl.REQUEST, ota.IMAGE_BLOCK_REQUEST, 0, *image.ids]
        self._notified = 0
        self._notify_due_s: float | None = now
        self._progress_s = now
        self._served_bytes = 0
        self._served_blocks = 0
        self._next_mark_bytes = 0

    @property
    def is_open(self) -> bool:
        return self.state is not State.DONE

    def record(self) -> OfferRecord:
        code = None if self.response_code is None else int(self.response_code)
        return OfferRecord(
            self.eui64,
            self._ids,
            self.sha256,
            code,
            self._must_query,
            self._asked_version,
            self.is_released,
        )

    def restore(self, record: OfferRecord) -> None:
        """Go on from where a restart found this offer, which was made anew for that."""
        self._ids, self.sha256 = record.ids, record.sha256
        self._wanted = [zcl.REQUEST, ota.IMAGE_BLOCK_REQUEST, 0, *record.ids]
        self._must_query, self._asked_version = record.must_query, record.asked_version
        self.is_released = record.is_released
        if record.response_code is not None:
            self.state = State.DONE
            self.response_code = ResponseCode(record.response_code)
        self.is_changed = False

    def set_max_data_size(self, octets: int) -> None:
        self._max_data_size = octets

    @property
    def progress_s(self) -> float:
        """When an octet was last served for the first time, or the image offered or asked for."""
        return self._progress_s

    def octets_a_block(self, most: int) -> int:
        return min(most, self._max_data_size)

    def next_timeout(self) -> float | None:
        """When something is due; while blocks are served this moves on without being asked for."""
        if not self.is_open:
            return None
        stalled_s = self._progress_s + self._parameters.stall_timeout_s
        return stalled_s if self._notify_due_s is None else min(stalled_s, self._notify_due_s)

    def handle_timeout(self, now: float, tsn: int) -> list[Output]:
        """`tsn` is for the notification, if there is one."""
        if not self.is_open:
            return []
        if now >= self._progress_s + self._parameters.stall_timeout_s:
            reason = (
                f"{self._served_bytes} of {self.image.size_bytes} bytes served, "
                f"nothing new for {now - self._progress_s:.0f} s"
            )
            return [self.end(ResponseCode.FILE_TRANSFER_FAILURE, reason)]
        if self._notify_due_s is not None and now >= self._notify_due_s:
            return [self._notify(self._notify_due_s, tsn)]
        return []

    def _notify(self, due_s: float, tsn: int) -> Output:
        """Notify once more, or fall silent and rely on the device to ask by itself."""
        parameters = self._parameters
        if self._notified == parameters.notify_attempts:
            self._notify_due_s = None
            detail = f"no query after {self._notified} notifications, the image stays on offer"
            return Anomaly(self.eui64, "not-asked", detail)
        self._notified += 1
        self._notify_due_s = due_s + parameters.notify_period_s
        notify = ota.build(ota.ImageNotify(parameters.notify_jitter, *self._ids))
        return SendZcl(self.eui64, bytes((zcl.NOTIFY, tsn, ota.IMAGE_NOTIFY)) + notify)

    def end(self, response_code: ResponseCode, reason: str) -> TransferOutcome:
        self.state = State.DONE
        self.response_code = response_code
        self.is_changed = True
        number = self._numbers.next()
        return TransferOutcome(self.eui64, self._ids[2], response_code, reason, number)

    def discard_if_displaced(self) -> list[Output]:
        """End the offer when its image is no longer the one in the slot."""
        if not self.is_open or self._store.slot is self.image:
            return []
        return [self.end(ResponseCode.IMAGE_DISCARDED, "another image took its place in the hub")]

    # Blocks.

    def receive_plain_request(self, payload: bytes, now: float) -> list[Output] | None:
        """Serve a block request without optional fields during a transfer; None for all else."""
        if self.state is not State.TRANSFERRING or len(payload) != ota.BLOCK_FRAME.size:
            return None
        control, tsn, command, field, maker, kind, version, offset, most = ota.BLOCK_FRAME.unpack(
            payload
        )
        if (
            [control, command, field, maker, kind, version] != self._wanted
            or offset >= len(self.image.data)
            or not most
            or self._store.slot is not self.image
        ):
            return None
        return self._serve(tsn, offset, most, now)

    def _serve(self, tsn: int, offset: int, most: int, now: float) -> list[Output]:
        """The octets at `offset`; what was served before plays no part in it."""
        most = min(most, self._max_data_size)
        data = self.image.data[offset : offset + most]
        head = ota.BLOCK_FRAME.pack(
            zcl.RESPONSE, tsn, ota.IMAGE_BLOCK_RESPONSE, 0, *self._ids, offset, len(data)
        )
        outputs: list[Output] = [SendZcl(self.eui64, head + data)]
        end = offset + len(data)
        if end > self._served_bytes:
            self._served_bytes = end
            self._served_blocks += 1
            self._progress_s = now
            if end >= self._next_mark_bytes:
                outputs.append(self._progress(end))
        return outputs

    def _progress(self, end: int) -> TransferProgress:
        size_bytes = self.image.size_bytes
        self._next_mark_bytes = -(-(end * 100 // size_bytes + 1) * size_bytes // 100)
        return TransferProgress(self.eui64, end, size_bytes, self._served_blocks)

    def receive_block_request(
        self, frame: zcl.ZclFrame, request: ota.ImageBlockRequest, now: float
    ) -> list[Output]:
        return self.refusal(frame, request) or self.serve(frame.tsn, request, now)

    def serve(self, tsn: int, request: ota.ImageBlockRequest, now: float) -> list[Output]:
        """A block asked for by a request that there is nothing to say against."""
        outputs: list[Output] = []
        size_bytes = self.image.size_bytes
        if self.state is not State.TRANSFERRING:
            self.state = State.TRANSFERRING
            self._notify_due_s = None
            self._next_mark_bytes = -(-size_bytes // 100)
            outputs.append(TransferStarted(self.eui64, self._ids[2], size_bytes))
        return outputs + self._serve(tsn, request.file_offset, request.maximum_data_size, now)

    def refusal(self, frame: zcl.ZclFrame, request: ota.ImageBlockRequest) -> list[Output]:
        """What there is to say against a request for octets; nothing when they are to be had."""
        if not self.is_open or self._must_query:
            if self.response_code is ResponseCode.SUCCESS:
                return [self._answer(frame, Status.NO_IMAGE_AVAILABLE)]
            return [self._respond(frame, ota.IMAGE_BLOCK_RESPONSE, ota.ImageBlockRefused())]
        if request[:3] != self._ids:
            return [self._answer(frame, Status.NO_IMAGE_AVAILABLE)]
        if request.maximum_data_size == 0:
            return [self._answer(frame, Status.MALFORMED_COMMAND)]
        size_bytes = len(self.image.data)
        if request.file_offset >= size_bytes:
            detail = f"block at {request.file_offset} of {size_bytes} bytes"
            anomaly = Anomaly(self.eui64, "wrong-offset", detail)
            return [self._answer(frame, Status.INVALID_FIELD), anomaly]
        return []

    # Queries and ends.

    def receive_query(
        self, frame: zcl.ZclFrame, query: ota.QueryNextImageRequest, now: float
    ) -> list[Output]:
        self._notify_due_s = None
        misfit = self._misfit(query) if self.is_open else (None, "there is no offer any more")
        if misfit is not None:
            code, reason = misfit
            none = ota.QueryNextImageResponse(Status.NO_IMAGE_AVAILABLE)
            response = self._respond(frame, ota.QUERY_NEXT_IMAGE_RESPONSE, none)
            return [response] if code is None else [response, self.end(code, reason)]
        self._asked(query.current_file_version, now)
        found = ota.QueryNextImageResponse(Status.SUCCESS, *self._ids, self.image.size_bytes)
        return [self._respond(frame, ota.QUERY_NEXT_IMAGE_RESPONSE, found)]

    def receive_file_query(
        self, frame: zcl.ZclFrame, query: ota.QueryDeviceSpecificFileRequest, now: float
    ) -> list[Output]:
        """A query for the file that is for one device only, which has to be this one."""
        destination = self.image.header.upgrade_file_destination
        versions = self._ids[2], ota.ANY_FILE_VERSION
        command = ota.QUERY_DEVICE_SPECIFIC_FILE_RESPONSE
        if (
            not self.is_open
            or destination != self.eui64
            or query.request_node_address != self.eui64
            or (query.manufacturer_code, query.image_type) != self._ids[:2]
            or query.file_version not in versions
        ):
            none = ota.QueryDeviceSpecificFileResponse(Status.NO_IMAGE_AVAILABLE)
            return [self._respond(frame, command, none)]
        self._asked(None, now)
        size_bytes = self.image.size_bytes
        found = ota.QueryDeviceSpecificFileResponse(Status.SUCCESS, *self._ids, size_bytes)
        return [self._respond(frame, command, found)]

    def _asked(self, version: int | None, now: float) -> None:
        """The device is about to load the image, and runs this version, where it says so."""
        self._notify_due_s = None
        if self.state is State.OFFERED:
            self._progress_s = now
        self.is_changed |= self._must_query or version != self._asked_version
        self.state = State.ASKED
        self._must_query = False
        self._asked_version = version
        self._served_bytes = self._served_blocks = 0  # who queries again may begin again

    def _misfit(self, query: ota.QueryNextImageRequest) -> tuple[ResponseCode | None, str] | None:
        """Why this image is not for who asks, and what becomes of the offer; None when it is."""
        header = self.image.header
        asked = query.manufacturer_code, query.image_type
        if asked != self._ids[:2]:
            if not self._parameters.ids_mismatch_ends_offer:
                return None, "another image type was asked for"
            reason = f"the device asks for manufacturer {asked[0]:04X} type {asked[1]:04X}"
            return ResponseCode.HARDWARE_VERSION_MISMATCH, reason
        hardware = query.hardware_version
        if hardware is not None and not header.fits_hardware(hardware):
            reason = f"hardware {hardware:04X} is outside the range of the image"
            return ResponseCode.HARDWARE_VERSION_MISMATCH, reason
        version, current = self._ids[2], query.current_file_version
        if current != version:
            return self._unwanted(current)
        if self._asked_version not in (None, version):
            reason = "the device asked for the image, and now runs the version"
            return ResponseCode.SUCCESS, reason
        if self._served_bytes == self.image.size_bytes:
            reason = "every octet was served and the device now runs the version"
            return ResponseCode.SUCCESS, reason
        return ResponseCode.FILE_TRANSFER_FAILURE, "the device runs this version already"

    def _unwanted(self, current: int) -> tuple[ResponseCode, str] | None:
        """What the policy has against this version for a device that runs another."""
        version, policy = self._ids[2], self._parameters.version_policy
        if policy == "different" or current == ota.ANY_FILE_VERSION:
            return None
        if (version > current) == (policy == "newer"):
            return None
        reason = f"version {version:08X} is not {policy} than {current:08X}, which runs"
        return ResponseCode.FILE_TRANSFER_FAILURE, reason

    def receive_upgrade_end(
        self, frame: zcl.ZclFrame, request: ota.UpgradeEndRequest, clock_s: int = 0
    ) -> list[Output]:
        """`clock_s` is the hub's own time, 0 when it has none."""
        if request.manufacturer_code is not None and request[1:] != self._ids:
            detail = f"Upgrade End for version {request.file_version:08X}"
            anomaly = Anomaly(self.eui64, "wrong-image", detail)
            return [self._answer(frame, Status.NO_IMAGE_AVAILABLE), anomaly]
        if request.status != Status.SUCCESS:
            return self._receive_failed_end(frame, request.status)
        if self.response_code is ResponseCode.SUCCESS:
            return [self.upgrade(frame.tsn, clock_s)]
        if not self.is_open or self._must_query:
            return [self._answer(frame, Status.ABORT)]
        outputs: list[Output] = []
        reason = f"{self.image.size_bytes} bytes, verified by the device"
        if self._served_bytes < self.image.size_bytes:
            detail = f"the device is done after {self._served_bytes} bytes served"
            outputs.append(Anomaly(self.eui64, "early-end", detail))
            reason = (
                f"{self._served_bytes} of {self.image.size_bytes} bytes served, "
                "and the device says that it has all"
            )
        outputs.append(self.end(ResponseCode.SUCCESS, reason))
        return [self.upgrade(frame.tsn, clock_s), *outputs]

    def _receive_failed_end(self, frame: zcl.ZclFrame, status: int) -> list[Output]:
        answer = self._answer(frame, Status.SUCCESS)
        name = zcl.status_name(status)
        if not self.is_open:
            return [answer]
        if self.state is State.OFFERED:
            return [answer, Anomaly(self.eui64, "early-end", f"{name} before any query")]
        if status == Status.REQUIRE_MORE_IMAGE:
            reason = "verified by the device, which needs another file to go with it"
            return [answer, self.end(ResponseCode.SUCCESS, reason)]
        reason = f"the device ended the upgrade with {name}"
        return [answer, self.end(ResponseCode.FILE_TRANSFER_FAILURE, reason)]

    def receive_refusal(self, status: int) -> list[Output]:
        """A default response, other than SUCCESS, to a query response."""
        name = zcl.status_name(status)
        if self.state is not State.ASKED or status not in _REFUSALS:
            return [Anomaly(self.eui64, "refused", f"{name} to a query response")]
        reason = f"the device refused the image with {name}"
        return [self.end(ResponseCode.FILE_TRANSFER_FAILURE, reason)]

    def release(self) -> None:
        """From now on the device may activate the image at once, whatever the parameters say."""
        self.is_changed |= not self.is_released
        self.is_released = True

    def upgrade(self, tsn: int, clock_s: int) -> SendZcl:
        """Tell the device when to activate the image."""
        parameters = self._parameters
        current_s = clock_s + parameters.current_time_s
        upgrade_s = parameters.upgrade_time_s
        if self.is_released:
            upgrade_s = current_s
        elif upgrade_s != ota.WAIT_FOR_UPGRADE_COMMAND:
            upgrade_s += clock_s
        response = ota.UpgradeEndResponse(*self._ids, current_s, upgrade_s)
        head = bytes((zcl.RESPONSE, tsn, ota.UPGRADE_END_RESPONSE))
        return SendZcl(self.eui64, head + ota.build(response))

    def _answer(self, frame: zcl.ZclFrame, status: Status) -> SendZcl:
        return SendZcl(self.eui64, zcl.default_response_to(frame, status))

    def _respond(self, frame: zcl.ZclFrame, command: int, response: ota.OtaCommand) -> SendZcl:
        head = bytes((zcl.RESPONSE, frame.tsn, command))
        return SendZcl(self.eui64, head + ota.build(response))
