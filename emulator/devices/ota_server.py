"""The hub's half of a firmware update: offers the image in its slot, and answers every device.

Source: ZigBee Cluster Library 07-5123-06, chapter 11 (OTA Upgrade).

Each device that was ever offered an image has an `Offer`, whose states are in `ota_offer`. What
does not depend on one is answered here:

    from            what                              answer
    --------------  --------------------------------  --------------------------------------------
    never offered   query                             NOT_AUTHORIZED
    never offered   block request, Upgrade End        default response NO_IMAGE_AVAILABLE
    any             query for device-specific file    NO_IMAGE_AVAILABLE (not built yet)
    any             page request, unknown command     default response UNSUP_CLUSTER_COMMAND
    any             malformed command                 default response MALFORMED_COMMAND
    any             read attributes                   UNSUPPORTED_ATTRIBUTE each
    any             unsecured, command of a server    none

Page requests are refused because they are not built yet; clients go on with single blocks.
"""

from __future__ import annotations

from emulator.devices.image_store import Image, ImageStore
from emulator.devices.ota_offer import (
    Anomaly,
    Offer,
    OtaServerParameters,
    Output,
    QuerySeen,
    ResponseCode,
    SendZcl,
    State,
    TransferOutcome,
    TransferProgress,
    TransferStarted,
)
from emulator.zigbee import ota, zcl
from emulator.zigbee.zcl import Status

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


class OtaServerError(ValueError):
    """The caller asked the server for what it cannot do; nothing changed."""


class OtaServer:
    """The server of one hub."""

    def __init__(self, store: ImageStore, parameters: OtaServerParameters | None = None) -> None:
        self._store = store
        self._parameters = parameters or OtaServerParameters()
        self._offers: dict[int, Offer] = {}
        self._max_data_size: dict[int, int] = {}
        self._tsn = 0
        # Never later than what is due first; blocks served move an offer's own time, not this.
        self._due_s: float | None = None

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

    def offer(self, eui64: int, image: Image, now: float) -> list[Output]:
        """Store the image unless the slot holds it, and offer it to one device.

        The same offer again while it is open changes nothing. Raises ImageStoreError when the
        image does not fit the slot.
        """
        previous = self._offers.get(eui64)
        if previous is None:
            self._require_room(len(self._offers))
        self._store.put(image)
        outputs = self.sweep()
        stored = self._store.slot
        if stored is None or (previous is not None and previous.is_open):
            return outputs
        offer = Offer(
            eui64,
            stored,
            self._store,
            self._parameters,
            max_data_size=self._max_data_size.get(eui64, self._parameters.max_data_size),
            now=now,
            previous=previous,
        )
        self._offers[eui64] = offer
        destination = stored.header.upgrade_file_destination
        if destination is not None and destination != eui64:
            reason = f"the file is for the device {destination:016X} only"
            return [*outputs, offer.end(ResponseCode.HARDWARE_VERSION_MISMATCH, reason)]
        return [*outputs, *self._run_timers(offer, now)]

    def sweep(self) -> list[Output]:
        """End the offers whose image is no longer in the slot, for a hub that fills it itself.

        Otherwise each of them ends at the next call that concerns it.
        """
        return [
            output for offer in self._offers.values() for output in offer.discard_if_displaced()
        ]

    def remove_device(self, eui64: int) -> list[Output]:
        """Forget a device that left the hub's device log."""
        self._max_data_size.pop(eui64, None)
        offer = self._offers.pop(eui64, None)
        if offer is None or not offer.is_open:
            return []
        return [offer.end(ResponseCode.IMAGE_DISCARDED, "the device was removed from the hub")]

    def _require_room(self, devices: int) -> None:
        if devices >= self._parameters.max_devices:
            raise OtaServerError(f"{devices} devices are known already, no more fit")

    def next_timeout(self) -> float | None:
        """When to call `handle_timeout`; it may then find that nothing is due yet."""
        return self._due_s

    def handle_timeout(self, now: float) -> list[Output]:
        if self._due_s is None or now < self._due_s:
            return []
        outputs = self.sweep()
        for offer in self._offers.values():
            outputs += self._run_timers(offer, now)
        dues = (offer.next_timeout() for offer in self._offers.values())
        self._due_s = min((due for due in dues if due is not None), default=None)
        return outputs

    def _run_timers(self, offer: Offer, now: float) -> list[Output]:
        self._tsn = self._tsn + 1 & 0xFF
        outputs = offer.handle_timeout(now, self._tsn)
        due = offer.next_timeout()
        if due is not None and (self._due_s is None or due < self._due_s):
            self._due_s = due
        return outputs

    def receive(self, eui64: int, payload: bytes, now: float, secured: bool = True) -> list[Output]:
        """A ZCL frame from a device; `secured` says that APS security protected it."""
        offer = self._offers.get(eui64)
        if offer is not None and secured:
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
        return displaced + self._receive_frame(eui64, offer, frame, now)

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
                    return offer.receive_block_request(frame, request, now)
            case ota.UPGRADE_END_REQUEST:
                end = ota.parse_upgrade_end_request(frame.payload)
                if offer is not None:
                    return offer.receive_upgrade_end(frame, end)
            case ota.QUERY_DEVICE_SPECIFIC_FILE_REQUEST:
                ota.parse_query_device_specific_file_request(frame.payload)
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
        if offer is not None:
            return [seen, *offer.receive_query(frame, query, now)]
        none = ota.QueryNextImageResponse(Status.NOT_AUTHORIZED)
        return [seen, _respond(eui64, frame, ota.QUERY_NEXT_IMAGE_RESPONSE, none)]

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
