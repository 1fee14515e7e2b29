"""One file on its way into a device, block by block.

Source: ZigBee Cluster Library 07-5123-06, chapter 11 (OTA Upgrade): Image Block Request and
Response, file header.

    state       event                                 next        effect
    ----------  ------------------------------------  ----------  --------------------------------
    REQUESTING  block wanted                          REQUESTING  store it, ask for the next
    REQUESTING  block wanted within a page            REQUESTING  store it, the next comes unasked
    REQUESTING  block wanted, pause between blocks    PAUSED      store it
    REQUESTING  block that fills a sector             PAUSED      store it, erase the next
    REQUESTING  page refused as unknown               REQUESTING  ask for single blocks from now on
    REQUESTING  timeout within a page                 REQUESTING  ask for the block that is missing
    REQUESTING  last block                            ENDED       store it, SUCCESS
    REQUESTING  block that completes a wrong header   ENDED       INVALID_IMAGE, to be reported
    REQUESTING  WAIT_FOR_DATA                         PAUSED      the run of errors is over
    REQUESTING  WAIT_FOR_DATA, not honoured           PAUSED      one error more, back off
    any         battery low at a whole percent        ENDED       ABORT, to be reported
    REQUESTING  timeout, passing refusal              PAUSED      one error more, back off
    REQUESTING  the last error allowed                ENDED       ABORT, to be reported
    REQUESTING  ABORT, final refusal                  ENDED       its status, the server knows
    PAUSED      timeout                               REQUESTING  ask for the block again
    PAUSED      late answer other than a passing one  as above    as above
    any         block not wanted, or of a wrong size  same        Anomaly; the timeout asks again

Every try has a fresh sequence number, since some servers drop a repeated one for seconds; an
answer counts when it has the number of any try for the same block.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from struct import Struct
from typing import NamedTuple

from emulator.devices.flash import Flash
from emulator.devices.ota_outputs import Anomaly, DownloadProgress, Output, SendZcl
from emulator.devices.ota_rules import OtaClientIdentity, OtaClientParameters, header_problem
from emulator.zigbee import ota, zcl
from emulator.zigbee.zcl import Status
from firmware_images.errors import ImageError
from firmware_images.header import (
    FILE_IDENTIFIER_OCTETS,
    HEADER_VERSION,
    MAX_HEADER_OCTETS,
    MIN_HEADER_OCTETS,
    parse_header,
)

# The first 16 octets of the answer wanted to a block request: all of its head but the data size.
_WANTED = Struct("<BBBBHHII")
_HEAD_OCTETS = ota.BLOCK_FRAME.size
_SIZE_AT = _HEAD_OCTETS - 1
# Refusals after which asking again has no sense; any other may pass.
_FINAL_STATUSES = frozenset(
    {Status.NO_IMAGE_AVAILABLE, Status.ABORT, Status.NOT_AUTHORIZED, Status.NOT_FOUND}
)
# Answers to a page request by which a server says that it serves none.
_NO_PAGES = frozenset(
    {Status.UNSUP_CLUSTER_COMMAND, Status.UNSUP_GENERAL_COMMAND, Status.MALFORMED_COMMAND}
)
RandomBits = Callable[[int], int]
# Where a file header has its version and its length.
_HEADER_VERSION = slice(4, 6)
_HEADER_LENGTH = slice(6, 8)


class State(Enum):
    REQUESTING = auto()
    PAUSED = auto()
    ENDED = auto()


class Ended(NamedTuple):
    """SUCCESS: every octet is stored. Otherwise why not, and whether the server is to be told."""

    status: int
    reason: str = ""
    reported: bool = False


class Exchange:
    """The sequence numbers of one client: those of the tries for what it asks for now."""

    __slots__ = ("_first", "tsn")

    def __init__(self) -> None:
        self._first = self.tsn = 0

    def ask(self) -> int:
        """The number of the first try for something else."""
        self._first = self.tsn = self.tsn + 1 & 0xFF
        return self.tsn

    def ask_again(self) -> int:
        self.tsn = self.tsn + 1 & 0xFF
        return self.tsn

    def is_answer(self, tsn: int) -> bool:
        return (tsn - self._first & 0xFF) <= (self.tsn - self._first & 0xFF)


class Download:
    """A file of known version on its way into the spare slot, which was begun with its size."""

    __slots__ = (
        "_errors",
        "_exchange",
        "_flash",
        "_has_plain_requests",
        "_header_bytes",
        "_identity",
        "_is_battery_low",
        "_is_header_good",
        "_is_plain",
        "_next_percent",
        "_next_sector_bytes",
        "_page_bytes",
        "_page_end",
        "_page_start",
        "_parameters",
        "_random_bits",
        "_wanted",
        "_watch_bytes",
        "block_period",
        "deadline",
        "ended",
        "file_version",
        "state",
    )

    def __init__(
        self,
        identity: OtaClientIdentity,
        flash: Flash,
        parameters: OtaClientParameters,
        exchange: Exchange,
        file_version: int,
        *,
        random_bits: RandomBits | None = None,
        is_battery_low: Callable[[], bool] | None = None,
    ) -> None:
        self._identity = identity
        self._flash = flash
        self._parameters = parameters
        self._exchange = exchange
        self._has_plain_requests = not (
            parameters.announce_block_period or parameters.announce_eui64
        )
        self._random_bits = random_bits
        self._is_battery_low = is_battery_low
        self._page_bytes = parameters.page_bytes
        # The page under way; -1 and 0 when the last request was for one block.
        self._page_start, self._page_end = -1, 0
        self.state = State.PAUSED
        self.file_version = file_version
        self.block_period = parameters.min_block_period
        self._is_plain = self._has_no_pauses()
        self._next_sector_bytes = self._sector_after(flash.written_bytes)
        self.deadline = 0.0
        self.ended: Ended | None = None
        self._errors = 0
        self._wanted = b""
        self._is_header_good = False
        # Something other than a request is due once this many octets are stored.
        self._header_bytes = self._watch_bytes = min(MIN_HEADER_OCTETS, flash.size_bytes)
        self._next_percent = 1

    def _has_no_pauses(self) -> bool:
        """Whether nothing is due between two blocks but the next request."""
        return not (self.block_period or self._page_bytes or self._parameters.pace_maximum_s)

    def _sector_after(self, offset: int) -> int:
        """Where the sector ends that has to be erased next; past the file when erasing is free."""
        parameters = self._parameters
        if not parameters.erase_s:
            return self._flash.size_bytes
        return (offset // parameters.sector_bytes + 1) * parameters.sector_bytes

    def begin(self, now: float) -> list[Output]:
        """Ask for the first block, when the first sector is erased."""
        if not self._parameters.erase_s:
            return [self.request(now)]
        self._exchange.ask()
        self._pause(now, self._parameters.erase_s)
        return []

    def receive_wanted(self, payload: bytes, now: float) -> list[Output] | None:
        """Take a frame if it is the answer wanted to the last request; None when it is not."""
        if self.state is not State.REQUESTING or not payload.startswith(self._wanted):
            return None
        data = payload[_HEAD_OCTETS:]
        size = len(data)
        flash = self._flash
        offset = flash.written_bytes
        if (
            not 0 < size <= self._parameters.max_data_size
            or size != payload[_SIZE_AT]
            or offset + size > flash.size_bytes
        ):
            return None
        return self._store(offset, data, now)

    def _store(self, offset: int, data: bytes, now: float) -> list[Output]:
        self._flash.write(offset, data)
        self._errors = 0
        if offset + len(data) >= self._watch_bytes:
            return self._pass_mark(now)
        if self._is_plain:
            return [self.request(now)]
        return self._next(now)

    def _next(self, now: float, erase_s: float = 0.0) -> list[Output]:
        """After a block: the next of the page, or the next request, at once or after a pause."""
        parameters, written_bytes = self._parameters, self._flash.written_bytes
        if written_bytes < self._page_end:
            self._expect(self._exchange.tsn, written_bytes)
            self.deadline = now + parameters.page_timeout_s
            return []
        pause_s = max(erase_s, self.block_period * parameters.block_period_unit_s, self._pace_s())
        if pause_s:
            return self._pause_between(now, pause_s)
        return [self.request(now)]

    def _pace_s(self) -> float:
        parameters = self._parameters
        low_s, high_s = parameters.pace_minimum_s, parameters.pace_maximum_s
        if not high_s or self._random_bits is None:
            return low_s
        return low_s + (high_s - low_s) * self._random_bits(16) / 0x10000

    def _expect(self, tsn: int, offset: int) -> None:
        identity = self._identity
        ids = identity.manufacturer_code, identity.image_type, self.file_version
        self._wanted = _WANTED.pack(
            zcl.RESPONSE, tsn, ota.IMAGE_BLOCK_RESPONSE, Status.SUCCESS, *ids, offset
        )

    def _request_page(self, now: float) -> SendZcl:
        tsn = self._exchange.ask()
        self.state = State.REQUESTING
        parameters, identity = self._parameters, self._identity
        offset = self._flash.written_bytes
        size_bytes = min(self._page_bytes, self._flash.size_bytes - offset)
        self._page_start, self._page_end = offset, offset + size_bytes
        self.deadline = now + parameters.page_timeout_s
        self._expect(tsn, offset)
        request = ota.ImagePageRequest(
            identity.manufacturer_code,
            identity.image_type,
            self.file_version,
            offset,
            parameters.max_data_size,
            size_bytes,
            parameters.page_spacing_ms,
            identity.eui64 if parameters.announce_eui64 else None,
        )
        head = bytes((zcl.REQUEST, tsn, ota.IMAGE_PAGE_REQUEST))
        return SendZcl(head + ota.build(request))

    def request(self, now: float, *, is_retry: bool = False) -> SendZcl:
        """Ask for the octets behind those stored; again for one block, even after a page."""
        if self._page_bytes and not is_retry:
            return self._request_page(now)
        self._page_start, self._page_end = -1, 0
        tsn = self._exchange.ask_again() if is_retry else self._exchange.ask()
        self.state = State.REQUESTING
        parameters, identity = self._parameters, self._identity
        self.deadline = now + parameters.block_timeout_s
        ids = identity.manufacturer_code, identity.image_type, self.file_version
        offset, most = self._flash.written_bytes, parameters.max_data_size
        # As in `_expect`, which a call a block is too dear for.
        self._wanted = _WANTED.pack(
            zcl.RESPONSE, tsn, ota.IMAGE_BLOCK_RESPONSE, Status.SUCCESS, *ids, offset
        )
        if self._has_plain_requests:
            return SendZcl(
                ota.BLOCK_FRAME.pack(
                    zcl.REQUEST, tsn, ota.IMAGE_BLOCK_REQUEST, 0, *ids, offset, most
                )
            )
        node = identity.eui64 if parameters.announce_eui64 else None
        period = self.block_period if parameters.announce_block_period else None
        request = ota.ImageBlockRequest(*ids, offset, most, node, period)
        head = bytes((zcl.REQUEST, tsn, ota.IMAGE_BLOCK_REQUEST))
        return SendZcl(head + ota.build(request))

    def _pass_mark(self, now: float) -> list[Output]:
        """After a block that completes the header, a percent or the file."""
        flash = self._flash
        if not self._is_header_good:
            problem = self.judge_header()
            if problem is not None:
                self._end(Ended(Status.INVALID_IMAGE, problem, reported=True))
                return []
        outputs: list[Output] = []
        erase_s = 0.0
        if flash.written_bytes >= self._next_sector_bytes and not flash.is_complete:
            erase_s = self._parameters.erase_s
            self._next_sector_bytes = self._sector_after(flash.written_bytes)
        if self._passes_percent():
            outputs.append(DownloadProgress(flash.written_bytes, flash.size_bytes))
        if flash.is_complete:
            self._end(Ended(Status.SUCCESS))
        elif outputs and self._must_spare_battery():
            self._end(Ended(Status.ABORT, "the battery is low", reported=True))
        else:
            outputs += self._next(now, erase_s)
        return outputs

    def _must_spare_battery(self) -> bool:
        is_low = self._is_battery_low
        return self._parameters.spares_battery and is_low is not None and is_low()

    def judge_header(self) -> str | None:
        """Judge the file header once all of it is stored: None when good, or the sentence."""
        flash = self._flash
        self._header_bytes = needed = self._octets_to_judge(flash.head(MIN_HEADER_OCTETS))
        start = flash.head(needed)
        if len(start) < needed:
            return None
        try:
            header = parse_header(start, "file")
        except ImageError as error:
            return str(error)
        problem = header_problem(header, self._identity, self.file_version, flash.size_bytes)
        self._is_header_good = problem is None
        self._header_bytes = flash.size_bytes
        return problem

    def _octets_to_judge(self, start: bytes) -> int:
        """How many octets show whether a header is good: its own length, if it is one at all."""
        if len(start) < MIN_HEADER_OCTETS:
            return min(MIN_HEADER_OCTETS, self._flash.size_bytes)
        version = int.from_bytes(start[_HEADER_VERSION], "little")
        length = int.from_bytes(start[_HEADER_LENGTH], "little")
        is_header = start.startswith(FILE_IDENTIFIER_OCTETS) and version == HEADER_VERSION
        if is_header and MIN_HEADER_OCTETS <= length <= self._flash.size_bytes:
            return length
        return MIN_HEADER_OCTETS

    def _passes_percent(self) -> bool:
        """Whether a whole percent was passed since this was last asked."""
        size_bytes = self._flash.size_bytes
        percent = self._flash.written_bytes * 100 // size_bytes
        is_passed = percent >= self._next_percent
        if is_passed:
            self._next_percent = percent + 1
        percent_bytes = -(-self._next_percent * size_bytes // 100)
        self._watch_bytes = min(percent_bytes, self._header_bytes, self._next_sector_bytes)
        return is_passed

    def go_on(self, now: float) -> list[Output]:
        """After a restart: ask for what is missing, if anything is."""
        self._passes_percent()
        if self._flash.is_complete:
            self._end(Ended(Status.SUCCESS))
            return []
        return [self.request(now)]

    def handle_timeout(self, now: float) -> list[Output]:
        if self.state is State.PAUSED:
            return [self.request(now, is_retry=not self._page_bytes or self._errors > 0)]
        if self._flash.written_bytes > self._page_start >= 0:  # a block of the page is missing
            return [self.request(now, is_retry=True)]
        self._count_error("no answer", now)
        return []

    def _end(self, ended: Ended) -> None:
        self.state = State.ENDED
        self.ended = ended

    def _pause(self, now: float, delay_s: float) -> None:
        self.state = State.PAUSED
        self.deadline = now + delay_s

    def _pause_between(self, now: float, pause_s: float) -> list[Output]:
        self._exchange.ask()  # an answer from before the pause is none to the request after it
        self._pause(now, pause_s)
        return []

    def _count_error(self, why: str, now: float) -> None:
        self._errors += 1
        if self._errors < self._parameters.max_errors:
            self._pause(now, self._parameters.retry_backoff_s)
            return
        offset = self._flash.written_bytes
        reason = f"{self._errors} requests in a row for offset {offset}, the last: {why}"
        self._end(Ended(Status.ABORT, reason, reported=True))

    def receive_answer(
        self, frame: zcl.ZclFrame, answer: ota.ImageBlockAnswer, now: float
    ) -> list[Output]:
        """Any answer to a block request that `receive_wanted` did not take."""
        match answer:
            case _ if not self._exchange.is_answer(frame.tsn):
                name = type(answer).__name__
                return [Anomaly("unexpected", f"{name} with sequence number {frame.tsn:02X}")]
            case ota.ImageBlockResponse():
                return self._receive_block(frame, answer, now)
            case ota.ImageBlockWait():
                self._wait_for_data(answer, now)
                return []
            case ota.ImageBlockRefused(status):
                return self.refused(status, now)

    def _receive_block(
        self, frame: zcl.ZclFrame, block: ota.ImageBlockResponse, now: float
    ) -> list[Output]:
        identity, offset = self._identity, self._flash.written_bytes
        wanted = (identity.manufacturer_code, identity.image_type, self.file_version, offset)
        if block[:4] != wanted:
            if block[:3] == wanted[:3] and offset < block.file_offset < self._page_end:
                return []  # of the page, behind a block that was lost
            detail = f"block {block.file_version:08X} at {block.file_offset}, wanted at {offset}"
            return [Anomaly("wrong-block", detail)]
        size, remaining = len(block.data), self._flash.size_bytes - offset
        detail = f"{size} octets at {offset}, {remaining} remain"
        if size > self._parameters.max_data_size:
            return [_refuse(frame, Status.INVALID_VALUE), Anomaly("wrong-size", detail)]
        if not 0 < size <= remaining:
            return [_refuse(frame, Status.MALFORMED_COMMAND), Anomaly("wrong-size", detail)]
        return self._store(offset, block.data, now)

    def _wait_for_data(self, wait: ota.ImageBlockWait, now: float) -> None:
        parameters = self._parameters
        if not parameters.honours_wait:
            self._count_error("WAIT_FOR_DATA", now)
            return
        self._errors = 0
        delay_s: float = wait.request_time_s - wait.current_time_s
        if delay_s < 0:
            delay_s = parameters.wait_without_sense_s
        if wait.minimum_block_period is not None:
            self.block_period = wait.minimum_block_period
            if parameters.max_block_period is not None:
                self.block_period = min(self.block_period, parameters.max_block_period)
            self._is_plain = self._has_no_pauses()
        period_s = self.block_period * parameters.block_period_unit_s
        delay_s = max(delay_s, period_s or parameters.wait_minimum_s)
        self._pause(now, min(delay_s, parameters.wait_maximum_s))

    def refused(self, status: int, now: float) -> list[Output]:
        """The server answered with a status alone."""
        name = zcl.status_name(status)
        if self._page_end and status in _NO_PAGES:
            self._page_bytes = 0
            self._is_plain = self._has_no_pauses()
            return [self.request(now)]
        if status in _FINAL_STATUSES:
            reason = f"the server answered {name} at offset {self._flash.written_bytes}"
            self._end(Ended(status, reason))
            return []
        if self.state is State.PAUSED:
            return [Anomaly("unexpected", f"{name} during a pause")]
        self._count_error(name, now)
        return []


def resume(
    identity: OtaClientIdentity,
    flash: Flash,
    parameters: OtaClientParameters,
    exchange: Exchange,
    *,
    random_bits: RandomBits | None = None,
    is_battery_low: Callable[[], bool] | None = None,
) -> Download | None:
    """The download that a stored part of a file belongs to; None when the part is of no use."""
    if not parameters.resume or not flash.is_filling:
        return None
    start = flash.head(MAX_HEADER_OCTETS)
    try:
        version = parse_header(start).file_version
    except ImageError:
        return None
    download = Download(
        identity,
        flash,
        parameters,
        exchange,
        version,
        random_bits=random_bits,
        is_battery_low=is_battery_low,
    )
    if version == identity.file_version or download.judge_header() is not None:
        return None
    return download


def _refuse(frame: zcl.ZclFrame, status: Status) -> SendZcl:
    return SendZcl(zcl.default_response_to(frame, status))
