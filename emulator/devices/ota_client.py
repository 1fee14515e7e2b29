"""The device's half of a firmware update: asks, downloads block by block, verifies, activates.

Source: ZigBee Cluster Library 07-5123-06, chapter 11 (OTA Upgrade); timers after the Ember client
where the library leaves them open (docs/open-points.md, "OTA client").

    state       event                                   next        effect
    ----------  --------------------------------------  ----------  ------------------------------
    OFF         start                                   WAITING     query due after the delay given
    OFF         start, spare slot holds a part          REQUESTING  ask for the next block
    OFF         start, spare slot holds all             VERIFYING   none
    WAITING     timeout, Image Notify                   QUERYING    Query Next Image Request
    QUERYING    timeout, no image, refused softly       WAITING     query due after the interval
    QUERYING    older image                             REPORTING   Upgrade End INVALID_IMAGE
    QUERYING    image that is wanted                    REQUESTING  erase spare slot, ask for block
    REQUESTING  block wanted                            REQUESTING  store it, ask for the next
    REQUESTING  block wanted, block period set          PAUSED      store it
    REQUESTING  last block                              VERIFYING   store it
    REQUESTING  block that ends a wrong file header     REPORTING   erase, Upgrade End INVALID_IMAGE
    REQUESTING  WAIT_FOR_DATA                           PAUSED      no error is counted
    REQUESTING  timeout, passing default response       PAUSED      one error more, back off
    REQUESTING  the last error allowed                  REPORTING   erase, Upgrade End ABORT
    REQUESTING  ABORT, final default response           WAITING     erase
    PAUSED      timeout                                 REQUESTING  ask for the block again
    PAUSED      block wanted, late                      REQUESTING  as in REQUESTING
    VERIFYING   timeout, good                           ENDING      Upgrade End SUCCESS
    VERIFYING   timeout, bad                            REPORTING   erase, Upgrade End INVALID_IMAGE
    REPORTING   timeout                                 REPORTING   Upgrade End again
    REPORTING   default response, timeout of the last   WAITING     none
    ENDING      timeout                                 ENDING      Upgrade End again
    ENDING      timeout of the last, by policy          COUNTDOWN   activate without an answer
    ENDING      default response other than SUCCESS     WAITING     erase
    ENDING      Upgrade End Response with a time        COUNTDOWN   none
    ENDING      Upgrade End Response, wait              HOLDING     none
    HOLDING     timeout                                 HOLDING     Upgrade End again
    HOLDING     Upgrade End Response, default response  as ENDING
    COUNTDOWN   Upgrade End Response                    as ENDING
    COUNTDOWN   timeout                                 ACTIVATING  mark the slot, Activate
    any         stop                                    OFF         what is stored stays stored

A request is one of a kind: every retry has a fresh sequence number, since some servers drop a
repeated one for seconds. An answer counts when it has the number of any try for the same thing.
Image Notify during a download is refused and changes nothing. What is unsecured, malformed or not
asked for changes nothing and becomes an `Anomaly`. Finding the server is the shell's task, and so
is dropping what comes from any other node.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from struct import Struct
from typing import Any

from emulator.devices.flash import PAGE_BYTES, Flash
from emulator.devices.ota_download import (
    Download,
    OtaClientIdentity,
    OtaClientParameters,
    offer_refusal,
)
from emulator.devices.ota_outputs import (
    Activate,
    Anomaly,
    DownloadDone,
    DownloadFailed,
    DownloadProgress,
    DownloadStarted,
    Output,
    SendZcl,
)
from emulator.zigbee import ota, zcl
from emulator.zigbee.ota import Attribute, ImageUpgradeStatus
from emulator.zigbee.zcl import DataType, Status
from firmware_images.errors import ImageError
from firmware_images.header import MIN_HEADER_OCTETS, parse_header

__all__ = [
    "Activate",
    "Anomaly",
    "DownloadDone",
    "DownloadFailed",
    "DownloadProgress",
    "DownloadStarted",
    "OtaClient",
    "OtaClientIdentity",
    "OtaClientParameters",
    "Output",
    "SendZcl",
    "State",
]


class State(Enum):
    OFF = auto()
    WAITING = auto()
    QUERYING = auto()
    REQUESTING = auto()
    PAUSED = auto()
    VERIFYING = auto()
    REPORTING = auto()
    ENDING = auto()
    HOLDING = auto()
    COUNTDOWN = auto()
    ACTIVATING = auto()


Verify = Callable[[Flash], str | None]

# The first 16 octets of the answer wanted to a block request: all of its head but the data size.
_WANTED = Struct("<BBBBHHII")
_HEAD_OCTETS = ota.BLOCK_FRAME.size
_FINAL_STATUSES = frozenset(
    {Status.NO_IMAGE_AVAILABLE, Status.ABORT, Status.NOT_AUTHORIZED, Status.NOT_FOUND}
)
_PARSERS: dict[int, Callable[[bytes], Any]] = {
    ota.IMAGE_NOTIFY: ota.parse_image_notify,
    ota.QUERY_NEXT_IMAGE_RESPONSE: ota.parse_query_next_image_response,
    ota.IMAGE_BLOCK_RESPONSE: ota.parse_image_block_response,
    ota.UPGRADE_END_RESPONSE: ota.parse_upgrade_end_response,
}
_ASKED = {
    State.QUERYING: ota.QUERY_NEXT_IMAGE_REQUEST,
    State.REQUESTING: ota.IMAGE_BLOCK_REQUEST,
    State.PAUSED: ota.IMAGE_BLOCK_REQUEST,
    State.REPORTING: ota.UPGRADE_END_REQUEST,
    State.ENDING: ota.UPGRADE_END_REQUEST,
    State.HOLDING: ota.UPGRADE_END_REQUEST,
}
_UPGRADE_STATUS = {
    State.REQUESTING: ImageUpgradeStatus.DOWNLOAD_IN_PROGRESS,
    State.PAUSED: ImageUpgradeStatus.DOWNLOAD_IN_PROGRESS,
    State.VERIFYING: ImageUpgradeStatus.DOWNLOAD_COMPLETE,
    State.ENDING: ImageUpgradeStatus.DOWNLOAD_COMPLETE,
    State.COUNTDOWN: ImageUpgradeStatus.COUNT_DOWN,
    State.ACTIVATING: ImageUpgradeStatus.COUNT_DOWN,
}


class OtaClient:
    """One device's client. `verify` judges the complete spare slot: None when good, or why not."""

    def __init__(
        self,
        identity: OtaClientIdentity,
        flash: Flash,
        parameters: OtaClientParameters,
        *,
        verify: Verify,
        server_eui64: int = ota.UNKNOWN_EUI64,
    ) -> None:
        self.state = State.OFF
        self.server_eui64 = server_eui64
        self._identity = identity
        self._flash = flash
        self._parameters = parameters
        self._verify = verify
        self._deadline: float | None = None
        self._download = Download(identity, identity.file_version, 1)  # none yet
        self._tsn = self._first_tsn = 0
        self._wanted = b""
        self._errors = 0
        self._silent_queries = 0
        self._end_requests = 0
        self._end_status: int = Status.SUCCESS
        self._block_period = parameters.min_block_period
        self._is_held_by_policy = False
        self._has_plain_requests = not (
            parameters.announce_block_period or parameters.announce_eui64
        )

    def next_timeout(self) -> float | None:
        """Loop time at which `handle_timeout` has something to do."""
        return self._deadline

    def start(self, now: float, first_query_delay_s: float = 0.0) -> list[Output]:
        """The network is up and the server known."""
        if self.state is not State.OFF:
            return []
        if self._flash.is_filling:
            resumed = self._resume(now)
            if resumed is not None:
                return resumed
            self._flash.erase()
        self._wait(now, first_query_delay_s)
        return []

    def stop(self) -> None:
        """The network is gone, or the device restarts."""
        self.state = State.OFF
        self._deadline = None

    def _resume(self, now: float) -> list[Output] | None:
        """Go on where a stored part of a file ends; None when that cannot be."""
        flash, identity = self._flash, self._identity
        start = flash.head(flash.written_bytes if flash.is_complete else PAGE_BYTES)
        try:
            version = parse_header(start).file_version
        except ImageError:
            return None
        download = Download(identity, version, flash.size_bytes)
        is_useful = version != identity.file_version and self._parameters.resume
        if not is_useful or download.judge_header(start) is not None:
            return None
        self._download = download
        download.passed_percent(flash.written_bytes)
        self._errors = 0
        started = DownloadStarted(version, flash.size_bytes, flash.written_bytes)
        if flash.is_complete:
            return [started, *self._begin_verification(now)]
        return [started, self._request_block(now)]

    # The path of a block.

    def receive(self, payload: bytes, now: float, secured: bool = True) -> list[Output]:
        """A ZCL frame from the server; `secured` says that APS security protected it."""
        if (
            secured
            and payload.startswith(self._wanted)
            and self.state is State.REQUESTING
            and len(payload) > _HEAD_OCTETS
        ):
            data = payload[_HEAD_OCTETS:]
            if len(data) == payload[_HEAD_OCTETS - 1] and self._is_size_good(len(data)):
                return self._store_block(data, now)
        return self._receive_other(payload, now, secured)

    def _is_size_good(self, octets: int) -> bool:
        remaining = self._download.size_bytes - self._flash.written_bytes
        return octets <= self._parameters.max_data_size and octets <= remaining

    def _store_block(self, data: bytes, now: float) -> list[Output]:
        flash = self._flash
        flash.write(flash.written_bytes, data)
        self._errors = 0
        if flash.written_bytes >= self._download.watch_bytes:
            return self._mark_stone(now)
        return self._next_block(now)

    def _next_block(self, now: float) -> list[Output]:
        if self._block_period:
            self._pause(now, self._block_period * self._parameters.block_period_unit_s)
            return []
        return [self._request_block(now)]

    def _request_block(self, now: float, *, is_retry: bool = False) -> SendZcl:
        self._tsn = tsn = self._tsn + 1 & 0xFF
        if not is_retry:
            self._first_tsn = tsn
        self.state = State.REQUESTING
        identity, parameters = self._identity, self._parameters
        self._deadline = now + parameters.block_timeout_s
        manufacturer, image_type = identity.manufacturer_code, identity.image_type
        version, offset = self._download.file_version, self._flash.written_bytes
        self._wanted = _WANTED.pack(
            zcl.RESPONSE,
            tsn,
            ota.IMAGE_BLOCK_RESPONSE,
            0,
            manufacturer,
            image_type,
            version,
            offset,
        )
        if self._has_plain_requests:
            size = parameters.max_data_size
            ids = (manufacturer, image_type, version, offset, size)
            return SendZcl(ota.BLOCK_FRAME.pack(zcl.REQUEST, tsn, ota.IMAGE_BLOCK_REQUEST, 0, *ids))
        request = ota.ImageBlockRequest(
            manufacturer,
            image_type,
            version,
            offset,
            parameters.max_data_size,
            identity.eui64 if parameters.announce_eui64 else None,
            self._block_period if parameters.announce_block_period else None,
        )
        return _command(tsn, ota.IMAGE_BLOCK_REQUEST, ota.build(request))

    def _mark_stone(self, now: float) -> list[Output]:
        """After a block that completes the header, a percent or the file."""
        flash, download = self._flash, self._download
        if not download.is_header_good:
            needed = download.header_octets(flash.head(MIN_HEADER_OCTETS))
            problem = download.judge_header(flash.head(needed))
            if problem is not None:
                return self._fail(Status.INVALID_IMAGE, problem, now)
        outputs: list[Output] = []
        if download.passed_percent(flash.written_bytes):
            outputs.append(DownloadProgress(flash.written_bytes, flash.size_bytes))
        if flash.is_complete:
            outputs += self._begin_verification(now)
        else:
            outputs += self._next_block(now)
        return outputs

    # Time.

    def handle_timeout(self, now: float) -> list[Output]:
        if self._deadline is None or now < self._deadline:
            return []
        match self.state:
            case State.WAITING:
                return self._query(now)
            case State.QUERYING:
                return self._query_unanswered(now)
            case State.REQUESTING:
                return self._block_failed("no answer", now)
            case State.PAUSED:
                return [self._request_block(now, is_retry=True)]
            case State.VERIFYING:
                return self._end_verification(now)
            case State.REPORTING if self._end_requests == self._parameters.max_errors:
                return self._wait(now, self._parameters.query_interval_s)
            case State.ENDING if self._end_requests == self._parameters.max_end_requests:
                return self._end_unanswered(now)
            case State.REPORTING | State.ENDING | State.HOLDING:
                return [self._request_end(now)]
            case State.COUNTDOWN:
                self.state, self._deadline = State.ACTIVATING, None
                self._flash.mark_bootable()
                return [Activate(self._download.file_version)]
        return []  # pragma: no cover - the other states have no deadline

    def _wait(self, now: float, delay_s: float) -> list[Output]:
        self.state, self._deadline = State.WAITING, now + delay_s
        return []

    def _pause(self, now: float, delay_s: float) -> None:
        self.state, self._deadline = State.PAUSED, now + delay_s

    def _query(self, now: float) -> list[Output]:
        identity = self._identity
        self._tsn = self._first_tsn = self._tsn + 1 & 0xFF
        self.state, self._deadline = State.QUERYING, now + self._parameters.block_timeout_s
        request = ota.QueryNextImageRequest(
            identity.manufacturer_code,
            identity.image_type,
            identity.file_version,
            identity.hardware_version,
        )
        return [_command(self._tsn, ota.QUERY_NEXT_IMAGE_REQUEST, ota.build(request))]

    def _query_unanswered(self, now: float) -> list[Output]:
        self._silent_queries += 1
        self._wait(now, self._parameters.query_interval_s)
        if self._silent_queries % self._parameters.max_errors:
            return []
        return [Anomaly("server-silent", f"{self._silent_queries} queries without an answer")]

    def _block_failed(self, why: str, now: float) -> list[Output]:
        self._errors += 1
        if self._errors < self._parameters.max_errors:
            self._pause(now, self._parameters.retry_backoff_s)
            return []
        reason = f"{self._errors} requests in a row for offset {self._flash.written_bytes}: {why}"
        return self._fail(Status.ABORT, reason, now)

    def _begin_verification(self, now: float) -> list[Output]:
        self.state, self._deadline = State.VERIFYING, now + self._parameters.verify_s
        return [] if self._parameters.verify_s else self._end_verification(now)

    def _end_verification(self, now: float) -> list[Output]:
        problem = self._verify(self._flash)
        if problem is not None:
            return self._fail(Status.INVALID_IMAGE, problem, now)
        self.state = State.ENDING
        done = DownloadDone(self._flash.sha256())
        return [done, self._begin_end(Status.SUCCESS, now)]

    def _fail(self, status: int, reason: str, now: float, *, reported: bool = True) -> list[Output]:
        """Give the file up, and tell the server where it does not know already."""
        self._flash.erase()
        failed = DownloadFailed(status, reason)
        if not reported:
            self._wait(now, self._parameters.query_interval_s)
            return [failed]
        self.state = State.REPORTING
        return [failed, self._begin_end(status, now)]

    def _begin_end(self, status: int, now: float) -> SendZcl:
        self._end_status = status
        self._end_requests = 0
        self._first_tsn = self._tsn + 1 & 0xFF
        return self._request_end(now)

    def _request_end(self, now: float) -> SendZcl:
        parameters, identity = self._parameters, self._identity
        self._tsn = self._tsn + 1 & 0xFF
        self._end_requests += 1
        retry_s = parameters.end_request_retry_s
        if self.state is State.REPORTING:
            retry_s = parameters.block_timeout_s + parameters.retry_backoff_s
        elif self.state is State.HOLDING:
            retry_s = parameters.hold_retry_s
        self._deadline = now + retry_s
        request = ota.UpgradeEndRequest(
            self._end_status,
            identity.manufacturer_code,
            identity.image_type,
            self._download.file_version,
        )
        return _command(self._tsn, ota.UPGRADE_END_REQUEST, ota.build(request))

    def _end_unanswered(self, now: float) -> list[Output]:
        detail = f"{self._end_requests} Upgrade End Requests without an answer"
        if self._parameters.activate_without_answer:
            self._count_down(now, 0)
        else:
            self._end_requests = 0
            return [Anomaly("server-silent", detail), self._request_end(now)]
        return [Anomaly("server-silent", detail)]

    # Everything received but the block wanted.

    def _receive_other(self, payload: bytes, now: float, secured: bool) -> list[Output]:
        if not secured:
            return [Anomaly("unsecured", f"{len(payload)} octets without APS security")]
        try:
            frame = zcl.parse(payload)
        except zcl.ZclError as error:
            return [Anomaly("malformed", str(error))]
        if self.state is State.OFF or not frame.is_from_server:
            return [Anomaly("unexpected", f"command 0x{frame.command:02X} as {self.state.name}")]
        return self._receive_frame(frame, now)

    def _receive_frame(self, frame: zcl.ZclFrame, now: float) -> list[Output]:
        anomaly = Anomaly("unsupported", f"command 0x{frame.command:02X}")
        status: Status = zcl.unsupported(frame)
        try:
            if frame.manufacturer_code is not None:
                pass
            elif not frame.is_cluster_command:
                answered = self._receive_general(frame, now)
                if answered is not None:
                    return answered
            elif frame.command in _PARSERS:
                command = _PARSERS[frame.command](frame.payload)
                return self._receive_command(frame, command, now)
        except zcl.ZclError as error:
            anomaly, status = Anomaly("malformed", str(error)), Status.MALFORMED_COMMAND
            if frame.is_cluster_command and frame.command == ota.IMAGE_NOTIFY:
                return [anomaly]
        return [_refuse(frame, status), anomaly]

    def _receive_general(self, frame: zcl.ZclFrame, now: float) -> list[Output] | None:
        """Commands that every cluster has; None for one that is not supported."""
        if frame.command == zcl.READ_ATTRIBUTES:
            return [SendZcl(zcl.read_attributes_response_to(frame, self._attributes()))]
        if frame.command == zcl.READ_ATTRIBUTES_RESPONSE:
            return [Anomaly("unexpected", "Read Attributes Response to a client that reads none")]
        if frame.command != zcl.DEFAULT_RESPONSE:
            return None
        try:
            response = zcl.parse_default_response(frame.payload)
        except zcl.ZclError as error:
            return [Anomaly("malformed", str(error))]  # a default response is never answered
        return self._receive_default_response(frame.tsn, response, now)

    def _receive_command(self, frame: zcl.ZclFrame, command: Any, now: float) -> list[Output]:
        match command:
            case ota.ImageNotify():
                return self._notified(frame, now)
            case ota.QueryNextImageResponse() if self._is_answer(frame.tsn, State.QUERYING):
                self._silent_queries = 0
                return self._receive_query_response(frame, command, now)
            case ota.UpgradeEndResponse() if self._is_end_of_ours(command):
                return self._schedule_upgrade(frame, command, now)
        if self._is_answer(frame.tsn, State.REQUESTING, State.PAUSED):
            match command:
                case ota.ImageBlockResponse():
                    return self._receive_block(frame, command, now)
                case ota.ImageBlockWait():
                    return self._told_to_wait(command, now)
                case ota.ImageBlockRefused():
                    return self._block_refused(command.status, now)
        name = type(command).__name__
        return [Anomaly("unexpected", f"{name} {frame.tsn:02X} as {self.state.name}")]

    def _is_answer(self, tsn: int, *states: State) -> bool:
        """Whether a sequence number is that of a try for what is being asked for."""
        tries = self._tsn - self._first_tsn & 0xFF
        return self.state in states and (tsn - self._first_tsn & 0xFF) <= tries

    def _is_end_of_ours(self, response: ota.UpgradeEndResponse) -> bool:
        identity = self._identity
        return (
            self.state in (State.ENDING, State.HOLDING, State.COUNTDOWN)
            and response.manufacturer_code in (identity.manufacturer_code, ota.ANY_MANUFACTURER)
            and response.image_type in (identity.image_type, ota.ANY_IMAGE_TYPE)
            and response.file_version in (self._download.file_version, ota.ANY_FILE_VERSION)
        )

    def _notified(self, frame: zcl.ZclFrame, now: float) -> list[Output]:
        if self.state not in (State.WAITING, State.QUERYING):
            return [_refuse(frame, Status.FAILURE)]
        outputs: list[Output] = []
        if not frame.frame_control & zcl.DISABLE_DEFAULT_RESPONSE:
            outputs.append(_refuse(frame, Status.SUCCESS))
        if self.state is State.WAITING:
            outputs += self._query(now)
        return outputs

    def _receive_query_response(
        self, frame: zcl.ZclFrame, response: ota.QueryNextImageResponse, now: float
    ) -> list[Output]:
        parameters = self._parameters
        if response.status != Status.SUCCESS:
            return self._wait(now, parameters.query_interval_s)
        version, size_bytes = response.file_version or 0, response.image_size_bytes or 0
        refusal = offer_refusal(
            response,
            self._identity,
            slot_size_bytes=self._flash.slot_size_bytes,
            allow_downgrade=parameters.allow_downgrade,
        )
        if refusal is None:
            self._flash.begin(size_bytes)
            self._download = Download(self._identity, version, size_bytes)
            self._errors = 0
            return [DownloadStarted(version, size_bytes), self._request_block(now)]
        if refusal.reported:
            self._download = Download(self._identity, version, size_bytes)
            return self._fail(refusal.status, refusal.reason, now)
        self._wait(now, parameters.query_interval_s)
        if refusal.status == Status.SUCCESS:
            return []
        return [_refuse(frame, refusal.status), DownloadFailed(refusal.status, refusal.reason)]

    def _receive_block(
        self, frame: zcl.ZclFrame, block: ota.ImageBlockResponse, now: float
    ) -> list[Output]:
        """A block that is not the common case: an answer to an earlier try, or a wrong one."""
        identity, download, flash = self._identity, self._download, self._flash
        ids = (identity.manufacturer_code, identity.image_type, download.file_version)
        if block[:4] != (*ids, flash.written_bytes):
            detail = f"block {block.file_version:08X} at {block.file_offset}"
            return [Anomaly("wrong-block", f"{detail}, wanted at {flash.written_bytes}")]
        size, remaining = len(block.data), download.size_bytes - flash.written_bytes
        detail = f"{size} octets at {block.file_offset}, {remaining} remain"
        if size > self._parameters.max_data_size:
            return [_refuse(frame, Status.INVALID_VALUE), Anomaly("wrong-size", detail)]
        if not 0 < size <= remaining:
            return [_refuse(frame, Status.MALFORMED_COMMAND), Anomaly("wrong-size", detail)]
        return self._store_block(block.data, now)

    def _told_to_wait(self, wait: ota.ImageBlockWait, now: float) -> list[Output]:
        parameters = self._parameters
        self._errors = 0
        delay_s: float = wait.request_time_s - wait.current_time_s
        if delay_s < 0:
            delay_s = parameters.wait_without_sense_s
        if wait.minimum_block_period is not None:
            self._block_period = wait.minimum_block_period
            delay_s = max(delay_s, self._block_period * parameters.block_period_unit_s)
        else:
            delay_s = max(delay_s, parameters.wait_minimum_s)
        self._pause(now, min(delay_s, parameters.wait_maximum_s))
        return []

    def _block_refused(self, status: int, now: float) -> list[Output]:
        name = zcl.status_name(status)
        if status in _FINAL_STATUSES:
            reason = f"the server answered {name} at offset {self._flash.written_bytes}"
            return self._fail(status, reason, now, reported=False)
        if self.state is State.REQUESTING:
            return self._block_failed(name, now)
        return [Anomaly("unexpected", f"{name} while pausing")]

    def _schedule_upgrade(
        self, frame: zcl.ZclFrame, response: ota.UpgradeEndResponse, now: float
    ) -> list[Output]:
        parameters = self._parameters
        is_wait = response.upgrade_time_s == ota.WAIT_FOR_UPGRADE_COMMAND
        if is_wait or not parameters.activate_by_server:
            self._is_held_by_policy = not is_wait
            self.state, self._deadline = State.HOLDING, now + parameters.hold_retry_s
            return [] if is_wait else [_refuse(frame, Status.NOT_AUTHORIZED)]
        delay_s: float = response.upgrade_time_s - response.current_time_s
        if delay_s < 0:
            delay_s = parameters.countdown_without_sense_s
        self._count_down(now, delay_s)
        return []

    def _count_down(self, now: float, delay_s: float) -> None:
        parameters = self._parameters
        delay_s = min(max(delay_s, parameters.countdown_minimum_s), parameters.countdown_maximum_s)
        self.state, self._deadline = State.COUNTDOWN, now + delay_s

    def _receive_default_response(
        self, tsn: int, response: zcl.DefaultResponse, now: float
    ) -> list[Output]:
        if response.command != _ASKED.get(self.state) or not self._is_answer(tsn, self.state):
            if response.status == Status.SUCCESS:
                return []
            detail = f"{zcl.status_name(response.status)} to command 0x{response.command:02X}"
            return [Anomaly("unexpected", f"{detail} as {self.state.name}")]
        if self.state in (State.QUERYING, State.REPORTING):
            self._silent_queries = 0
            return self._wait(now, self._parameters.query_interval_s)
        if response.status == Status.SUCCESS:
            return []
        if self.state in (State.REQUESTING, State.PAUSED):
            return self._block_refused(response.status, now)
        reason = f"the server answered {zcl.status_name(response.status)} to the complete file"
        return self._fail(response.status, reason, now, reported=False)

    def _attributes(self) -> dict[int, zcl.AttributeValue]:
        identity, flash, parameters = self._identity, self._flash, self._parameters
        upgrade_status = _UPGRADE_STATUS.get(self.state, ImageUpgradeStatus.NORMAL)
        if self.state is State.HOLDING:
            upgrade_status = ImageUpgradeStatus.WAITING_TO_UPGRADE
            if self._is_held_by_policy:
                upgrade_status = ImageUpgradeStatus.WAITING_TO_UPGRADE_VIA_EXTERNAL_EVENT
        is_downloaded = upgrade_status >= ImageUpgradeStatus.DOWNLOAD_COMPLETE
        downloaded = self._download.file_version if is_downloaded else ota.ANY_FILE_VERSION
        offset = flash.written_bytes if flash.is_filling else ota.NO_FILE_OFFSET
        return {
            Attribute.UPGRADE_SERVER_ID: (DataType.EUI64, self.server_eui64),
            Attribute.FILE_OFFSET: (DataType.UINT32, offset),
            Attribute.CURRENT_FILE_VERSION: (DataType.UINT32, identity.file_version),
            Attribute.CURRENT_ZIGBEE_STACK_VERSION: (DataType.UINT16, ota.STACK_VERSION_PRO),
            Attribute.DOWNLOADED_FILE_VERSION: (DataType.UINT32, downloaded),
            Attribute.IMAGE_UPGRADE_STATUS: (DataType.ENUM8, upgrade_status),
            Attribute.MANUFACTURER_ID: (DataType.UINT16, identity.manufacturer_code),
            Attribute.IMAGE_TYPE_ID: (DataType.UINT16, identity.image_type),
            Attribute.MINIMUM_BLOCK_PERIOD: (DataType.UINT16, self._block_period),
            Attribute.UPGRADE_ACTIVATION_POLICY: (
                DataType.ENUM8,
                0 if parameters.activate_by_server else 1,
            ),
            Attribute.UPGRADE_TIMEOUT_POLICY: (
                DataType.ENUM8,
                0 if parameters.activate_without_answer else 1,
            ),
        }


def _command(tsn: int, command: int, payload: bytes) -> SendZcl:
    return SendZcl(bytes((zcl.REQUEST, tsn, command)) + payload)


def _refuse(frame: zcl.ZclFrame, status: int) -> SendZcl:
    return SendZcl(zcl.default_response_to(frame, status))
