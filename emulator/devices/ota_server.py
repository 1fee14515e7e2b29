"""The hub's half of a firmware update: offers the image in its slot, and answers every device.

Source: ZigBee Cluster Library 07-5123-06, chapter 11 (OTA Upgrade).

Each device that was ever offered an image has an `Offer`, whose states are in `ota_offer`. What
does not depend on one is answered here:

    from            what                              answer
    --------------  --------------------------------  --------------------------------------------
    never offered   query, also for a device's file   NOT_AUTHORIZED, NO_IMAGE_AVAILABLE
    never offered   block request, Upgrade End        default response NO_IMAGE_AVAILABLE
    any             block request, to be paced        WAIT_FOR_DATA, as `ota_pacing` has it
    any             page request, not served here     default response UNSUP_CLUSTER_COMMAND
    any             page request during another's     WAIT_FOR_DATA
    any             page request                      the page, unless another request comes
    any             unknown command                   default response UNSUP_CLUSTER_COMMAND
    any             malformed command                 default response MALFORMED_COMMAND
    any             read attributes                   UNSUPPORTED_ATTRIBUTE each
    any             unsecured, command of a server    none

An image for one other device, or offered to one that asked for another product's before, ends as
hardware mismatch at once, and one for a device that takes none from this hub as a failed transfer;
when nobody it is offered to can have it, it is not stored. Everything that is to outlive a restart
is one record, written before what was said because of it leaves: the offers, which product each
device asked for, the request that was last taken for it, and the outcomes not known to be reported.
`start` goes on from it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence

from emulator.devices.image_store import Image, ImageStore, StoredImage
from emulator.devices.nonvolatile import STEADY, Power, Record
from emulator.devices.ota_ledger import Ledger, Product
from emulator.devices.ota_offer import Offer, OfferRecord, OtaServerParameters, State
from emulator.devices.ota_pacing import Pacing
from emulator.devices.ota_pages import PageUnderWay
from emulator.devices.ota_server_outputs import (
    Anomaly,
    Output,
    QuerySeen,
    ResponseCode,
    SendZcl,
    TransferOutcome,
    TransferProgress,
    TransferStarted,
)
from emulator.zigbee import ota, zcl
from emulator.zigbee.zcl import Status
from firmware_images.header import OtaHeader

__all__ = [
    "Anomaly",
    "OtaServer",
    "OtaServerError",
    "OtaServerParameters",
    "Output",
    "QuerySeen",
    "ResponseCode",
    "SendZcl",
    "State",
    "TransferOutcome",
    "TransferProgress",
    "TransferStarted",
]

_LARGEST_DATA_SIZE = 0xFF

_Refusal = tuple[ResponseCode, str]
_UNFIT: _Refusal = (ResponseCode.FILE_TRANSFER_FAILURE, "to this hub it is a Type 2 device")


class OtaServerError(ValueError):
    """The caller asked the server for what it cannot do; nothing changed."""


class OtaServer:
    """The server of one hub. `clock` tells the time of its Time cluster, in seconds; without it
    the times in its messages are counted from the message."""

    def __init__(
        self,
        store: ImageStore,
        parameters: OtaServerParameters | None = None,
        *,
        record: Record | None = None,
        power: Power = STEADY,
        clock: Callable[[], int] | None = None,
    ) -> None:
        self._store = store
        self._parameters = parameters or OtaServerParameters()
        self._ledger = Ledger(Record() if record is None else record, power)
        self._clock = clock
        self._offers: dict[int, Offer] = {}
        self._max_data_size: dict[int, int] = {}
        self._pacing = Pacing(self._parameters)
        self._is_paced = not self._pacing.is_idle
        self._page: PageUnderWay | None = None
        self._tsn = 0
        # Never later than what is due first; blocks served move an offer's own time, not this.
        self._due_s: float | None = None

    # -- over a restart ------------------------------------------------------------------------

    def start(self, now: float) -> list[Output]:
        """Go on from the record of before a restart; nothing to do in a new hub.

        Outcomes nobody is known to have reported are told again, with their numbers.
        """
        records = self._ledger.restore()
        outputs: list[Output] = [*self._ledger.unreported]
        for record in records:
            offer = self._new_offer(record.eui64, self._image_of(record), now, None)
            offer.restore(record)
            self._offers[record.eui64] = offer
        outputs += self._sweep()
        for offer in self._offers.values():
            outputs += self._run_timers(offer, now)
        return self._kept(outputs)

    def _image_of(self, record: OfferRecord) -> StoredImage:
        """The image of an offer as far as it is still there: no other will be taken for it."""
        held = self._store.slot
        if held is not None and held.sha256 == record.sha256:
            return held
        maker, kind, version = record.ids
        header = OtaHeader(manufacturer_code=maker, image_type=kind, file_version=version)
        return StoredImage(b"", header, record.sha256)

    def reported(self, number: int) -> None:
        """The outcomes up to this number are told to whoever wants to know, for good."""
        self._ledger.reported(number)

    def _kept(self, outputs: list[Output]) -> list[Output]:
        """Store what has changed; then `outputs` may be acted on."""
        self._ledger.keep(self._offers.values(), outputs)
        return outputs

    # -- what the hub wants --------------------------------------------------------------------

    def set_max_data(self, eui64: int, octets: int) -> None:
        """Serve a device at most this much a block: its route or its make may need less."""
        if not 1 <= octets <= _LARGEST_DATA_SIZE:
            raise OtaServerError(f"a block has 1 to {_LARGEST_DATA_SIZE} octets, not {octets}")
        if eui64 not in self._max_data_size:
            self._require_room(len(self._max_data_size))
        self._max_data_size[eui64] = octets
        if eui64 in self._offers:
            self._offers[eui64].set_max_data_size(octets)

    def state(self, eui64: int) -> State | None:
        """How far the last offer to a device has come; None when there was none."""
        offer = self._offers.get(eui64)
        return None if offer is None else offer.state

    def offer(
        self, eui64: int, image: Image, now: float, request: int | None = None
    ) -> list[Output]:
        """Store the image unless the slot holds it, and offer it to one device.

        The same file offered again while it is open is the same offer, and a `request` for a file
        that was taken before changes nothing, open or not. Raises ImageStoreError when the image
        does not fit the slot.
        """
        return self.offer_to((eui64,), image, now, request)

    def offer_to(
        self,
        devices: Sequence[int],
        image: Image,
        now: float,
        request: int | None = None,
        *,
        unfit: Collection[int] = (),
    ) -> list[Output]:
        """The same for several devices: one write of the record for all of them. Those that are
        `unfit` take no firmware from this hub, whatever it is: the transfer to them has failed."""
        taken = None if request is None else (request, image.sha256)
        wanted = [
            eui64 for eui64 in devices if taken is None or not self._ledger.has_taken(eui64, taken)
        ]
        self._require_room(len({*self._offers, *wanted}) - 1)
        refusals = {
            eui64: _UNFIT if eui64 in unfit else self._known_misfit(eui64, image)
            for eui64 in wanted
        }
        outputs: list[Output] = []
        if any(refusal is None for refusal in refusals.values()):
            self._store.put(image)
            outputs += self._sweep()
        for eui64, refusal in refusals.items():
            if taken is not None:
                self._ledger.take(eui64, taken)
            if refusal is not None:
                version, number = image.header.file_version, self._ledger.numbers.next()
                outputs.append(TransferOutcome(eui64, version, *refusal, number))
            else:
                outputs += self._open(eui64, now)
        return self._kept(outputs)

    def _known_misfit(self, eui64: int, image: Image) -> _Refusal | None:
        """Why an image is none for this device, as far as the hub can tell; None when it may be."""
        destination = image.header.upgrade_file_destination
        reason = None
        product = self._ledger.products.get(eui64)
        if destination is not None and destination != eui64:
            reason = f"the file is for the device {destination:016X} only"
        # Who asks for several types in turn is not known by the last.
        elif product is not None and self._parameters.ids_mismatch_ends_offer:
            reason = product.misfit(image.header)
        return None if reason is None else (ResponseCode.HARDWARE_VERSION_MISMATCH, reason)

    def _open(self, eui64: int, now: float) -> list[Output]:
        """Offer what the slot holds, unless that is under way."""
        previous = self._offers.get(eui64)
        stored = self._store.slot
        if stored is None or (previous is not None and previous.is_open):
            return []
        offer = self._new_offer(eui64, stored, now, previous)
        self._offers[eui64] = offer
        self._pacing.forget(eui64)
        return self._run_timers(offer, now)

    def _new_offer(
        self, eui64: int, image: StoredImage, now: float, previous: Offer | None
    ) -> Offer:
        return Offer(
            eui64,
            image,
            self._store,
            self._parameters,
            max_data_size=self._max_data_size.get(eui64, self._parameters.max_data_size),
            now=now,
            numbers=self._ledger.numbers,
            previous=previous,
        )

    def sweep(self) -> list[Output]:
        """End the offers whose image is no longer in the slot, for a hub that fills it itself.

        Otherwise each of them ends at the next call that concerns it.
        """
        return self._kept(self._sweep())

    def _sweep(self) -> list[Output]:
        return [
            output for offer in self._offers.values() for output in offer.discard_if_displaced()
        ]

    def suspend(self, until_s: float) -> None:
        """Have every device wait for its next block until this loop time."""
        self._pacing.suspend(until_s)
        self._is_paced = True

    def release(self, eui64: int) -> list[Output]:
        """Tell a device that waits for the word to activate what it loaded; again when it asks."""
        offer = self._offers.get(eui64)
        if offer is None or offer.response_code is not ResponseCode.SUCCESS:
            raise OtaServerError(f"the device {eui64:016X} has loaded nothing it could activate")
        self._tsn = self._tsn + 1 & 0xFF
        offer.release()
        return self._kept([offer.upgrade(self._tsn, self._clock_s())])

    def _clock_s(self) -> int:
        return 0 if self._clock is None else self._clock()

    def remove_device(self, eui64: int) -> list[Output]:
        """Forget a device that left the hub's device log; not which request was taken for it, since
        that may come once more."""
        self._max_data_size.pop(eui64, None)
        self._ledger.forget_product(eui64)
        self._pacing.forget(eui64)
        offer = self._offers.pop(eui64, None)
        outputs: list[Output] = []
        if offer is not None and offer.is_open:
            reason = "the device was removed from the hub"
            outputs.append(offer.end(ResponseCode.IMAGE_DISCARDED, reason))
        return self._kept(outputs)

    def _require_room(self, devices: int) -> None:
        if devices >= self._parameters.max_devices:
            raise OtaServerError(f"{devices} devices are known already, no more fit")

    def next_timeout(self) -> float | None:
        """When to call `handle_timeout`; it may then find that nothing is due yet."""
        return self._due_s

    def handle_timeout(self, now: float) -> list[Output]:
        if self._due_s is None or now < self._due_s:
            return []
        outputs = self._send_page(now) if self._page is not None else []
        outputs += self._discard_unused(now)
        outputs += self._sweep()
        for offer in self._offers.values():
            outputs += self._run_timers(offer, now)
        dues = [offer.next_timeout() for offer in self._offers.values()]
        dues += [self._discard_due_s(), None if self._page is None else self._page.due_s]
        self._due_s = min((due for due in dues if due is not None), default=None)
        return self._kept(outputs)

    def _run_timers(self, offer: Offer, now: float) -> list[Output]:
        self._tsn = self._tsn + 1 & 0xFF
        outputs = offer.handle_timeout(now, self._tsn)
        self._wake_by(offer.next_timeout())
        self._wake_by(self._discard_due_s())
        return outputs

    def _wake_by(self, due_s: float | None) -> None:
        if due_s is not None and (self._due_s is None or due_s < self._due_s):
            self._due_s = due_s

    def _discard_due_s(self) -> float | None:
        """When the file in the slot has been of no use for too long."""
        after_s, held = self._parameters.discard_after_s, self._store.slot
        users = [offer for offer in self._offers.values() if offer.image is held]
        if after_s is None or held is None or not users:
            return None
        return max(offer.progress_s for offer in users) + after_s

    def _discard_unused(self, now: float) -> list[Output]:
        due_s = self._discard_due_s()
        if due_s is None or now < due_s:
            return []
        held = self._store.clear()
        reason = f"nobody was served a block for {self._parameters.discard_after_s:.0f} s"
        return [
            offer.end(ResponseCode.IMAGE_DISCARDED, reason)
            for offer in self._offers.values()
            if offer.image is held and offer.is_open
        ]

    # -- what the devices say ------------------------------------------------------------------

    def receive(self, eui64: int, payload: bytes, now: float, secured: bool = True) -> list[Output]:
        """A ZCL frame from a device; `secured` says that APS security protected it."""
        offer = self._offers.get(eui64)
        if offer is not None and secured and not self._is_paced:
            outputs = offer.receive_plain_request(payload, now)
            if outputs is not None:
                return outputs
        if not secured:
            return [Anomaly(eui64, "unsecured", f"{len(payload)} octets without APS security")]
        try:
            frame = zcl.parse(payload)
        except zcl.ZclError as error:
            return [Anomaly(eui64, "malformed", str(error))]
        if frame.is_from_server:
            return [Anomaly(eui64, "unexpected", f"command 0x{frame.command:02X} of a server")]
        displaced = offer.discard_if_displaced() if offer is not None else []
        return self._kept(displaced + self._receive_frame(eui64, offer, frame, now))

    def _receive_frame(
        self, eui64: int, offer: Offer | None, frame: zcl.ZclFrame, now: float
    ) -> list[Output]:
        try:
            handled = self._handle(eui64, offer, frame, now)
        except zcl.ZclError as error:
            anomaly = Anomaly(eui64, "malformed", str(error))
            status = Status.MALFORMED_COMMAND
        else:
            if handled is not None:
                return handled
            anomaly = Anomaly(eui64, "unsupported", f"command 0x{frame.command:02X}")
            status = zcl.unsupported(frame)
        if frame.is_default_response:
            return [anomaly]
        return [SendZcl(eui64, zcl.default_response_to(frame, status)), anomaly]

    def _handle(
        self, eui64: int, offer: Offer | None, frame: zcl.ZclFrame, now: float
    ) -> list[Output] | None:
        """Take a frame by its command; None for one that a server does not know."""
        if frame.manufacturer_code is not None:
            return None
        if not frame.is_cluster_command:
            return self._handle_general(eui64, offer, frame)
        match frame.command:
            case ota.QUERY_NEXT_IMAGE_REQUEST:
                query = ota.parse_query_next_image_request(frame.payload)
                return self._receive_query(eui64, offer, frame, query, now)
            case ota.IMAGE_BLOCK_REQUEST:
                request = ota.parse_image_block_request(frame.payload)
                if offer is not None:
                    return self._receive_block_request(offer, frame, request, now)
            case ota.IMAGE_PAGE_REQUEST if self._parameters.serve_pages:
                page = ota.parse_image_page_request(frame.payload)
                if offer is not None:
                    return self._receive_page_request(offer, frame, page, now)
            case ota.UPGRADE_END_REQUEST:
                end = ota.parse_upgrade_end_request(frame.payload)
                if offer is not None:
                    return offer.receive_upgrade_end(frame, end, self._clock_s())
            case ota.QUERY_DEVICE_SPECIFIC_FILE_REQUEST:
                file_query = ota.parse_query_device_specific_file_request(frame.payload)
                if offer is not None:
                    return offer.receive_file_query(frame, file_query, now)
                none = ota.QueryDeviceSpecificFileResponse(Status.NO_IMAGE_AVAILABLE)
                command = ota.QUERY_DEVICE_SPECIFIC_FILE_RESPONSE
                return [_respond(eui64, frame, command, none)]
            case _:
                return None
        return [SendZcl(eui64, zcl.default_response_to(frame, Status.NO_IMAGE_AVAILABLE))]

    def _receive_query(
        self,
        eui64: int,
        offer: Offer | None,
        frame: zcl.ZclFrame,
        query: ota.QueryNextImageRequest,
        now: float,
    ) -> list[Output]:
        seen = QuerySeen(eui64, query.current_file_version)
        self._learn(eui64, query)
        if offer is not None:
            return [seen, *offer.receive_query(frame, query, now)]
        none = ota.QueryNextImageResponse(Status.NOT_AUTHORIZED)
        return [seen, _respond(eui64, frame, ota.QUERY_NEXT_IMAGE_RESPONSE, none)]

    def _learn(self, eui64: int, query: ota.QueryNextImageRequest) -> None:
        product = Product(query.manufacturer_code, query.image_type, query.hardware_version)
        self._ledger.learn(eui64, product, self._parameters.max_devices)

    def _receive_block_request(
        self, offer: Offer, frame: zcl.ZclFrame, request: ota.ImageBlockRequest, now: float
    ) -> list[Output]:
        self._give_up_page_of(offer.eui64)
        refusal = offer.refusal(frame, request)
        if refusal:
            return refusal
        wait = self._pacing.wait(offer.eui64, request, now)
        self._is_paced = not self._pacing.is_idle or self._page is not None
        if wait is not None:
            return [_respond(offer.eui64, frame, ota.IMAGE_BLOCK_RESPONSE, wait)]
        return offer.serve(frame.tsn, request, now)

    def _receive_page_request(
        self, offer: Offer, frame: zcl.ZclFrame, page: ota.ImagePageRequest, now: float
    ) -> list[Output]:
        self._give_up_page_of(offer.eui64)
        request = ota.ImageBlockRequest(*page[:5], page.request_node_address)
        refusal = offer.refusal(frame, request)
        if refusal:
            return refusal
        if not page.page_size:
            return [SendZcl(offer.eui64, zcl.default_response_to(frame, Status.MALFORMED_COMMAND))]
        wait = self._pacing.wait(offer.eui64, request, now)
        if wait is None and self._page is not None:
            wait = ota.ImageBlockWait(0, math.ceil(self._page.left_s))
        if wait is not None:
            return [_respond(offer.eui64, frame, ota.IMAGE_BLOCK_RESPONSE, wait)]
        size_bytes = len(offer.image.data)
        self._page = PageUnderWay(offer.eui64, frame.tsn, page, size_bytes, now)
        self._is_paced = True  # another request of this device ends it
        return self._send_page(now)

    def _give_up_page_of(self, eui64: int) -> None:
        """Who asks for something else does not wait for the rest of a page."""
        if self._page is not None and self._page.eui64 == eui64:
            self._page = None

    def _send_page(self, now: float) -> list[Output]:
        """The block of the page that is due, if one is."""
        page = self._page
        if page is None or now < page.due_s:
            return []
        offer = self._offers.get(page.eui64)
        displaced = [] if offer is None else offer.discard_if_displaced()
        if offer is None or not offer.is_open:
            self._page = None
            return displaced
        outputs = offer.serve(page.tsn, page.block_request(), now)
        page.sent(offer.octets_a_block(page.block_request().maximum_data_size))
        if page.is_sent:
            self._page = None
        else:
            self._wake_by(page.due_s)
        return outputs

    def _handle_general(
        self, eui64: int, offer: Offer | None, frame: zcl.ZclFrame
    ) -> list[Output] | None:
        """Commands that every cluster has."""
        if frame.command == zcl.READ_ATTRIBUTES:
            return [SendZcl(eui64, zcl.read_attributes_response_to(frame, {}))]
        if frame.command != zcl.DEFAULT_RESPONSE:
            return None
        command, status = zcl.parse_default_response(frame.payload)
        # A device that is busy refuses a notification: the image stays on offer.
        if status == Status.SUCCESS or command == ota.IMAGE_NOTIFY:
            return []
        if command == ota.QUERY_NEXT_IMAGE_RESPONSE and offer is not None:
            return offer.receive_refusal(status)
        detail = f"{zcl.status_name(status)} to command 0x{command:02X}"
        return [Anomaly(eui64, "refused", detail)]


def _respond(eui64: int, frame: zcl.ZclFrame, command: int, response: ota.OtaCommand) -> SendZcl:
    return SendZcl(eui64, bytes((zcl.RESPONSE, frame.tsn, command)) + ota.build(response))
