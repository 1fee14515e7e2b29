"""The device's half of a firmware update: asks, downloads, verifies, activates.

Source: ZigBee Cluster Library 07-5123-06, chapter 11 (OTA Upgrade); timers after the Ember client
where the library leaves them open (docs/open-points.md, "OTA client").

    state        event                                   next         effect
    -----------  --------------------------------------  -----------  ----------------------------
    OFF          start                                   WAITING      query due after a given delay
    OFF          start, spare slot holds a part          DOWNLOADING  ask for the next block
    OFF          start, spare slot holds all             VERIFYING    none
    WAITING      timeout, Image Notify                   QUERYING     Query Next Image Request
    WAITING      timeout, Image Notify, battery low      WAITING      query due after the interval
    QUERYING     timeout of the tenth in a row           WAITING      FindServer
    QUERYING     Image Notify                            QUERYING     if no image, ask again
    QUERYING     timeout, no image, refused softly       WAITING      query due after the interval
    QUERYING     older image                             REPORTING    Upgrade End INVALID
    QUERYING     image that is wanted                    DOWNLOADING  begin the slot, ask
    DOWNLOADING  as the table of `ota_download` has it   DOWNLOADING  as there
    DOWNLOADING  ended, all stored                       VERIFYING    none
    DOWNLOADING  ended, to be reported                   REPORTING    erase, Upgrade End
    DOWNLOADING  ended otherwise                         WAITING      erase
    VERIFYING    timeout, good                           ENDING       Upgrade End SUCCESS
    VERIFYING    timeout, good, not the last of several  ASKING_MORE  Upgrade End REQUIRE_MORE_IMAGE
    VERIFYING    timeout, bad                            REPORTING    erase, Upgrade End INVALID
    ASKING_MORE  timeout                                 ASKING_MORE  Upgrade End again
    ASKING_MORE  default response, timeout of the last   QUERYING     Query Next Image Request for
                                                                      the next, or go on with it
    REPORTING    timeout                                 REPORTING    Upgrade End again
    REPORTING    default response, timeout of the last   WAITING      none
    ENDING       timeout                                 ENDING       Upgrade End again
    ENDING       timeout of the last, by policy          COUNTDOWN    activate without an answer
    ENDING       default response other than SUCCESS     WAITING      erase
    ENDING       Upgrade End Response with a time        COUNTDOWN    none
    ENDING       Upgrade End Response, wait              HOLDING      none
    HOLDING      timeout                                 HOLDING      Upgrade End again
    HOLDING      Upgrade End Response, default response  as ENDING    as ENDING
    COUNTDOWN    Upgrade End Response                    as ENDING    as ENDING
    COUNTDOWN    timeout                                 ACTIVATING   Activate
    any          stop                                    OFF          what is stored stays stored

Image Notify from DOWNLOADING on is refused and changes nothing. What is unsecured, malformed or
not asked for changes nothing and becomes an `Anomaly`. Finding the server is the shell's task, and
so are dropping what comes from any other node and marking the slot when it is told to activate. A
notification by broadcast cannot be under the link key, so it is dropped as unsecured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Any

from emulator.devices.flash import Flash, Slot
from emulator.devices.ota_attributes import client_attributes
from emulator.devices.ota_download import Download, Exchange, RandomBits, resume
from emulator.devices.ota_outputs import (
    Activate,
    Anomaly,
    DownloadDone,
    DownloadFailed,
    DownloadProgress,
    DownloadStarted,
    FindServer,
    Output,
    SendZcl,
)
from emulator.devices.ota_parts import Part, Parts
from emulator.devices.ota_rules import (
    OtaClientIdentity,
    OtaClientParameters,
    body_problem,
    offer_refusal,
)
from emulator.zigbee import ota, zcl
from emulator.zigbee.ota import ImageUpgradeStatus
from emulator.zigbee.zcl import Status

__all__ = [
    "Activate",
    "Anomaly",
    "DownloadDone",
    "DownloadFailed",
    "DownloadProgress",
    "DownloadStarted",
    "FindServer",
    "OtaClient",
    "OtaClientIdentity",
    "OtaClientParameters",
    "Output",
    "SendZcl",
    "State",
]

Verify = Callable[[Flash], str | None]


class State(Enum):
    OFF = auto()
    WAITING = auto()
    QUERYING = auto()
    DOWNLOADING = auto()
    VERIFYING = auto()
    REPORTING = auto()
    ASKING_MORE = auto()
    ENDING = auto()
    HOLDING = auto()
    COUNTDOWN = auto()
    ACTIVATING = auto()


_PARSERS: dict[int, Callable[[bytes], Any]] = {
    ota.IMAGE_NOTIFY: ota.parse_image_notify,
    ota.QUERY_NEXT_IMAGE_RESPONSE: ota.parse_query_next_image_response,
    ota.IMAGE_BLOCK_RESPONSE: ota.parse_image_block_response,
    ota.UPGRADE_END_RESPONSE: ota.parse_upgrade_end_response,
}
_ASKED = {
    State.QUERYING: ota.QUERY_NEXT_IMAGE_REQUEST,
    State.DOWNLOADING: ota.IMAGE_BLOCK_REQUEST,
    State.REPORTING: ota.UPGRADE_END_REQUEST,
    State.ASKING_MORE: ota.UPGRADE_END_REQUEST,
    State.ENDING: ota.UPGRADE_END_REQUEST,
    State.HOLDING: ota.UPGRADE_END_REQUEST,
}
_UPGRADE_STATUS = {
    State.DOWNLOADING: ImageUpgradeStatus.DOWNLOAD_IN_PROGRESS,
    State.VERIFYING: ImageUpgradeStatus.DOWNLOAD_COMPLETE,
    State.ASKING_MORE: ImageUpgradeStatus.WAIT_FOR_MORE,
    State.ENDING: ImageUpgradeStatus.DOWNLOAD_COMPLETE,
    State.COUNTDOWN: ImageUpgradeStatus.COUNT_DOWN,
    State.ACTIVATING: ImageUpgradeStatus.COUNT_DOWN,
}


class OtaClient:
    """One device's client. `verify` judges the complete spare slot: None when good, or why not.

    `random_bits` is for a make that paces itself at random, `is_battery_low` for one that has a
    battery; `further` are the files that the one of `identity` is of no use without.
    """

    def __init__(
        self,
        identity: OtaClientIdentity,
        flash: Flash,
        parameters: OtaClientParameters,
        *,
        verify: Verify,
        server_eui64: int = ota.UNKNOWN_EUI64,
        random_bits: RandomBits | None = None,
        is_battery_low: Callable[[], bool] | None = None,
        further: Sequence[Part] = (),
    ) -> None:
        self.state = State.OFF
        self.server_eui64 = server_eui64
        self._parts = Parts(identity, flash, further)
        self._parameters = parameters
        self._verify = verify
        self._random_bits = random_bits
        self._is_battery_low = is_battery_low
        self._deadline: float | None = None
        self._exchange = Exchange()
        self._download: Download | None = None
        self._silent_queries = 0
        self._is_notified = False  # since the query whose answer is awaited
        self._end_status: int = Status.SUCCESS
        self._end_version = self._first_version = identity.file_version
        self._end_requests = 0
        self._is_held_by_policy = False

    def know_eui64(self, eui64: int) -> None:
        """The radio has told whose client this is."""
        self._parts.know_eui64(eui64)

    def next_timeout(self) -> float | None:
        """Loop time at which `handle_timeout` has something to do."""
        if self.state is State.DOWNLOADING and self._download is not None:
            return self._download.deadline
        return self._deadline

    def start(self, now: float, first_query_delay_s: float = 0.0) -> list[Output]:
        """The network is up and the server known."""
        if self.state is not State.OFF:
            return []
        self._parts.begin_again()
        return self._go_on(now) or self._wait(now, first_query_delay_s)

    def _go_on(self, now: float) -> list[Output]:
        """Go on with what is stored of the file that is wanted; nothing when that is of no use."""
        flash = self._parts.flash
        download = resume(
            self._parts.identity,
            flash,
            self._parameters,
            self._exchange,
            random_bits=self._random_bits,
            is_battery_low=self._is_battery_low,
        )
        if download is None:
            if flash.is_filling:
                flash.erase()
            return []
        self._download = download
        self.state = State.DOWNLOADING
        started = DownloadStarted(download.file_version, flash.size_bytes, flash.written_bytes)
        return [started, *self._follow(download, download.go_on(now), now)]

    def stop(self) -> None:
        """The network is gone, or the device is about to restart."""
        self.state = State.OFF
        self._deadline = None

    def receive(self, payload: bytes, now: float, secured: bool = True) -> list[Output]:
        """A ZCL frame from the server; `secured` says that APS security protected it."""
        if secured and self.state is State.DOWNLOADING:
            download = self._download
            if download is not None:
                outputs = download.receive_wanted(payload, now)
                if outputs is not None:
                    return self._follow(download, outputs, now) if download.ended else outputs
        return self._receive_other(payload, now, secured)

    def handle_timeout(self, now: float) -> list[Output]:
        deadline = self.next_timeout()
        if deadline is None or now < deadline:
            return []
        parameters = self._parameters
        match self.state:
            case State.WAITING:
                return self._query(now)
            case State.QUERYING:
                return self._query_unanswered(now)
            case State.DOWNLOADING if self._download is not None:
                outputs = self._download.handle_timeout(now)
                return self._follow(self._download, outputs, now)
            case State.VERIFYING:
                return self._end_verification(now)
            case State.REPORTING if self._end_requests == parameters.max_errors:
                return self._wait(now, parameters.query_interval_s)
            case State.ASKING_MORE if self._end_requests == parameters.max_errors:
                return self._want_next(now)
            case State.ENDING if self._end_requests == parameters.max_end_requests:
                return self._end_unanswered(now)
            case State.REPORTING | State.ASKING_MORE | State.ENDING | State.HOLDING:
                return [self._request_end(now)]
            case State.COUNTDOWN:
                self.state, self._deadline = State.ACTIVATING, None
                return [Activate(self._first_version)]
        return []  # pragma: no cover - the other states have no deadline

    def _follow(self, download: Download, outputs: list[Output], now: float) -> list[Output]:
        """Go on to what comes after the download, if it ended."""
        ended = download.ended
        if ended is None:
            return outputs
        self._end_version = download.file_version
        if ended.status == Status.SUCCESS:
            return [*outputs, *self._begin_verification(now)]
        failure = self._fail(ended.status, ended.reason, now, reported=ended.reported)
        return [*outputs, *failure]

    def _wait(self, now: float, delay_s: float) -> list[Output]:
        self.state, self._deadline = State.WAITING, now + delay_s
        return []

    def _query(self, now: float) -> list[Output]:
        identity = self._parts.identity
        is_low = self._is_battery_low
        if self._parameters.spares_battery and is_low is not None and is_low():
            self._wait(now, self._parameters.query_interval_s)
            return [Anomaly("battery-low", "no image is asked for")]
        self.state, self._deadline = State.QUERYING, now + self._parameters.block_timeout_s
        self._is_notified = False
        request = ota.QueryNextImageRequest(
            identity.manufacturer_code,
            identity.image_type,
            identity.file_version,
            identity.hardware_version,
        )
        tsn = self._exchange.ask()
        return [_command(tsn, ota.QUERY_NEXT_IMAGE_REQUEST, ota.build(request))]

    def _no_image(self, now: float) -> list[Output]:
        """Nothing came of a query: ask again later, or at once if notified since."""
        if self._is_notified:
            return self._query(now)
        return self._wait(now, self._parameters.query_interval_s)

    def _query_unanswered(self, now: float) -> list[Output]:
        self._silent_queries += 1
        if self._silent_queries % self._parameters.max_errors:
            return self._no_image(now)
        self._wait(now, self._parameters.query_interval_s)
        silent = Anomaly("server-silent", f"{self._silent_queries} queries without an answer")
        return [silent, FindServer()]

    def _begin_verification(self, now: float) -> list[Output]:
        self.state, self._deadline = State.VERIFYING, now + self._parameters.verify_s
        return [] if self._parameters.verify_s else self._end_verification(now)

    def _end_verification(self, now: float) -> list[Output]:
        problem = self._verify(self._parts.flash)
        if problem is None and self._parameters.strict_elements:
            problem = body_problem(self._parts.flash.read(Slot.SPARE), self._parameters)
        if problem is not None:
            return self._fail(Status.INVALID_IMAGE, problem, now)
        done = DownloadDone(self._parts.flash.sha256())
        if self._parts.is_first:
            self._first_version = self._end_version
        if not self._parts.is_last:
            self.state = State.ASKING_MORE
            return [done, self._begin_end(Status.REQUIRE_MORE_IMAGE, now)]
        self.state = State.ENDING
        return [done, self._begin_end(Status.SUCCESS, now)]

    def _want_next(self, now: float) -> list[Output]:
        """The server knows that another file is needed, or does not answer."""
        self._parts.next()
        return self._go_on(now) or self._query(now)

    def _fail(self, status: int, reason: str, now: float, *, reported: bool = True) -> list[Output]:
        """Give the file up, and tell the server where it does not know already."""
        self._parts.flash.erase()
        failed = DownloadFailed(status, reason)
        if not reported:
            return [failed, *self._wait(now, self._parameters.query_interval_s)]
        self.state, self._is_notified = State.REPORTING, False
        return [failed, self._begin_end(status, now)]

    def _begin_end(self, status: int, now: float) -> SendZcl:
        self._end_status = status
        self._end_requests = 0
        return self._request_end(now)

    def _request_end(self, now: float) -> SendZcl:
        parameters, identity = self._parameters, self._parts.identity
        is_first = self._end_requests == 0
        tsn = self._exchange.ask() if is_first else self._exchange.ask_again()
        self._end_requests += 1
        retry_s = parameters.end_request_retry_s
        if self.state in (State.REPORTING, State.ASKING_MORE):
            retry_s = parameters.block_timeout_s + parameters.retry_backoff_s
        elif self.state is State.HOLDING:
            retry_s = parameters.hold_retry_s
        self._deadline = now + retry_s
        ids = identity.manufacturer_code, identity.image_type, self._end_version
        request = ota.UpgradeEndRequest(self._end_status, *ids)
        return _command(tsn, ota.UPGRADE_END_REQUEST, ota.build(request))

    def _end_unanswered(self, now: float) -> list[Output]:
        silent = Anomaly("server-silent", f"{self._end_requests} Upgrade Ends without an answer")
        if self._parameters.activate_without_answer:
            self._count_down(now, 0)
            return [silent]
        return [silent, self._begin_end(Status.SUCCESS, now)]

    def _receive_other(self, payload: bytes, now: float, secured: bool) -> list[Output]:
        if not secured:
            return [Anomaly("unsecured", f"{len(payload)} octets without APS security")]
        try:
            frame = zcl.parse(payload)
        except zcl.ZclError as error:
            return [Anomaly("malformed", str(error))]
        if self.state is State.OFF:
            return [Anomaly("unexpected", f"command 0x{frame.command:02X} before the start")]
        if not frame.is_from_server:
            return [Anomaly("unexpected", f"command 0x{frame.command:02X} of a client")]
        return self._receive_frame(frame, now)

    def _receive_frame(self, frame: zcl.ZclFrame, now: float) -> list[Output]:
        try:
            handled = self._handle(frame, now)
        except zcl.ZclError as error:
            anomaly, status = Anomaly("malformed", str(error)), Status.MALFORMED_COMMAND
            if frame.is_cluster_command and frame.command == ota.IMAGE_NOTIFY:
                return [anomaly]
        else:
            if handled is not None:
                return handled
            anomaly = Anomaly("unsupported", f"command 0x{frame.command:02X}")
            status = zcl.unsupported(frame)
        return [anomaly] if frame.is_default_response else [_refuse(frame, status), anomaly]

    def _handle(self, frame: zcl.ZclFrame, now: float) -> list[Output] | None:
        """Take a frame by its command; None for one that a client does not know."""
        if frame.manufacturer_code is not None:
            return None
        if frame.is_cluster_command:
            parse = _PARSERS.get(frame.command)
            if parse is None:
                return None
            return self._receive_command(frame, parse(frame.payload), now)
        if frame.command == zcl.READ_ATTRIBUTES:
            return [SendZcl(zcl.read_attributes_response_to(frame, self._attributes()))]
        if frame.command == zcl.DEFAULT_RESPONSE:
            response = zcl.parse_default_response(frame.payload)
            return self._receive_default_response(frame.tsn, response, now)
        return None

    def _receive_command(self, frame: zcl.ZclFrame, command: Any, now: float) -> list[Output]:
        match command:
            case ota.ImageNotify():
                return self._notified(frame, now)
            case ota.QueryNextImageResponse() if (
                self.state is State.QUERYING and self._exchange.is_answer(frame.tsn)
            ):
                self._silent_queries = 0
                return self._receive_query_response(frame, command, now)
            case ota.UpgradeEndResponse() if self._is_end_of_ours(command):
                return self._schedule_upgrade(frame, command, now)
            case ota.ImageBlockResponse() | ota.ImageBlockWait() | ota.ImageBlockRefused() if (
                self.state is State.DOWNLOADING and self._download is not None
            ):
                outputs = self._download.receive_answer(frame, command, now)
                return self._follow(self._download, outputs, now)
        name = type(command).__name__
        return [Anomaly("unexpected", f"{name} {frame.tsn:02X} as {self.state.name}")]

    def _is_end_of_ours(self, response: ota.UpgradeEndResponse) -> bool:
        identity = self._parts.identity
        return (
            self.state in (State.ENDING, State.HOLDING, State.COUNTDOWN)
            and response.manufacturer_code in (identity.manufacturer_code, ota.ANY_MANUFACTURER)
            and response.image_type in (identity.image_type, ota.ANY_IMAGE_TYPE)
            and response.file_version in (self._end_version, ota.ANY_FILE_VERSION)
        )

    def _notified(self, frame: zcl.ZclFrame, now: float) -> list[Output]:
        if self.state not in (State.WAITING, State.QUERYING):
            return [_refuse(frame, Status.FAILURE)]
        outputs: list[Output] = []
        if not frame.frame_control & zcl.DISABLE_DEFAULT_RESPONSE:
            outputs.append(_refuse(frame, Status.SUCCESS))
        if self.state is State.WAITING:
            return outputs + self._query(now)
        self._is_notified = True  # the answer on its way may have left before there was an image
        return outputs

    def _receive_query_response(
        self, frame: zcl.ZclFrame, response: ota.QueryNextImageResponse, now: float
    ) -> list[Output]:
        parameters = self._parameters
        if response.status != Status.SUCCESS:
            return self._no_image(now)
        version, size_bytes = response.file_version or 0, response.image_size_bytes or 0
        refusal = offer_refusal(
            response,
            self._parts.identity,
            slot_size_bytes=self._parts.flash.slot_size_bytes,
            allow_downgrade=parameters.allow_downgrade,
        )
        if refusal is None:
            self._parts.flash.begin(size_bytes)
            self.state = State.DOWNLOADING
            download = Download(
                self._parts.identity,
                self._parts.flash,
                parameters,
                self._exchange,
                version,
                random_bits=self._random_bits,
                is_battery_low=self._is_battery_low,
            )
            self._download = download
            return [DownloadStarted(version, size_bytes), *download.begin(now)]
        if refusal.reported:
            self._end_version = version
            return self._fail(refusal.status, refusal.reason, now)
        self._wait(now, parameters.query_interval_s)
        if refusal.status == Status.SUCCESS:
            return []
        return [_refuse(frame, refusal.status), DownloadFailed(refusal.status, refusal.reason)]

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
        asked = _ASKED.get(self.state)
        is_asked = response.command == asked or (
            asked == ota.IMAGE_BLOCK_REQUEST and response.command == ota.IMAGE_PAGE_REQUEST
        )
        is_answer = is_asked and self._exchange.is_answer(tsn)
        if not is_answer:
            if response.status == Status.SUCCESS:
                return []
            detail = f"{zcl.status_name(response.status)} to command 0x{response.command:02X}"
            return [Anomaly("unexpected", f"{detail} as {self.state.name}")]
        if self.state is State.ASKING_MORE:
            return self._want_next(now)
        if self.state in (State.QUERYING, State.REPORTING):
            self._silent_queries = 0
            return self._no_image(now)
        if response.status == Status.SUCCESS:
            return []
        if self.state is State.DOWNLOADING and self._download is not None:
            outputs = self._download.refused(response.status, now)
            return self._follow(self._download, outputs, now)
        reason = f"the server answered {zcl.status_name(response.status)} to the complete file"
        return self._fail(response.status, reason, now, reported=False)

    def _attributes(self) -> dict[int, zcl.AttributeValue]:
        idle = ImageUpgradeStatus.NORMAL
        if not self._parts.is_first:
            idle = ImageUpgradeStatus.WAIT_FOR_MORE
        upgrade_status = _UPGRADE_STATUS.get(self.state, idle)
        if self.state is State.HOLDING:
            upgrade_status = ImageUpgradeStatus.WAITING_TO_UPGRADE
            if self._is_held_by_policy:
                upgrade_status = ImageUpgradeStatus.WAITING_TO_UPGRADE_VIA_EXTERNAL_EVENT
        download, parameters = self._download, self._parameters
        return client_attributes(
            self._parts.identity,
            self._parts.flash,
            parameters,
            server_eui64=self.server_eui64,
            upgrade_status=upgrade_status,
            offered_version=self._end_version,
            block_period=parameters.min_block_period if download is None else download.block_period,
        )


def _command(tsn: int, command: int, payload: bytes) -> SendZcl:
    return SendZcl(bytes((zcl.REQUEST, tsn, command)) + payload)


def _refuse(frame: zcl.ZclFrame, status: int) -> SendZcl:
    return SendZcl(zcl.default_response_to(frame, status))
