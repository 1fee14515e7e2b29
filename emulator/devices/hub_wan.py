"""The hub's end of the SM WAN: what the DSP asks for, and what it is told.

Source: GBCS use case CCS08 "Firmware Transfer Alert"; the messages are those of `gbcs.wan`, the
outcomes ours. MP170: a bridge is a PPMID to a hub, and one that it takes for a Type 2 device has no
firmware from it. Commands for the hub itself are carried out by `hub_commands`.

    from the DSP                            effect                                 outcome
    --------------------------------------  -------------------------------------  ---------------
    no message, or not one for this hub     FrameDiscarded, nothing else           none
    device log entry                        the type is kept for a CCS01           none
    command for the hub                     a reply, once the radio took its part  DELIVERED
    command for a device not in the log     none                                   UNKNOWN_DEVICE
    command behind too many others          none                                   REFUSED
    command, no tunnel or not acknowledged  none, nor of those that wait for it    UNREACHABLE
    command, acknowledged by the device     through the tunnel                     DELIVERED
    offer of a file that came damaged       none                                   REFUSED each
    offer of a file wrong or too large      none                                   REFUSED each
    offer                                   stored, offered to those in the log    DELIVERED each,
                                                                                   UNKNOWN_DEVICE
    offer to a Type 2 device                CCS08, transfer failed                 DELIVERED
    offer taken before                      none                                   the same again

A device has one command under way; the next leaves when it is known what became of that.
What waits for a device that is struck off is unreachable.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol

from emulator.devices import ota_server
from emulator.devices.device_log import DeviceLog
from emulator.devices.gbcs_half import (
    FrameDiscarded,
    GbcsIdentity,
    GbcsMemory,
    UtcNow,
)
from emulator.devices.hub_commands import HanOfHub, HubCommands, HubFacts
from emulator.devices.image_store import Image
from emulator.devices.ota_server import TransferOutcome
from emulator.zigbee.tunnelling import MAX_TRANSFER_BYTES
from firmware_images.checks import MAX_LIMIT_KB, SizeLimit, require_acceptable
from firmware_images.errors import ImageError
from gbcs.endpoint import Reason
from gbcs.errors import GbcsError, GbcsValueError
from gbcs.firmware import TransferResult
from gbcs.wan import (
    CommandForDevice,
    DeliveryOutcome,
    DeliveryResult,
    DeviceLogEntry,
    DeviceType,
    ImageOffer,
    MessageFromDevice,
    WanMessage,
    parse_message,
    serialise,
)

# Devices named to the hub and not let in yet; the DSP names one just before its CCS01.
MAX_NAMED = 32
MAX_WAITING_COMMANDS = 16


class Han(HanOfHub, Protocol):
    """What the DSP may ask of the HAN's side of a hub."""

    def carry(self, eui64: int, message: bytes, handle: int) -> None:
        """Send through the tunnel; `HubWan.settle` hears what became of it."""

    def takes(self, octets: int) -> bool:
        """Whether an image of this size fits."""

    def update(self, image: Image, devices: list[int], request: int) -> None:
        """Store an image and offer it to devices of the log, unless that was done."""


class HubWan:
    """The WAN side of one hub that runs."""

    def __init__(
        self,
        eui64: int,
        identity: GbcsIdentity | None,
        memory: GbcsMemory,
        log: DeviceLog,
        han: Han,
        firmware_version: int,
        *,
        send: Callable[[bytes], object] | None,
        on_discarded: Callable[[int, FrameDiscarded], object],
        on_anomaly: Callable[[ota_server.Anomaly], object],
        utc_now: UtcNow,
    ) -> None:
        self._eui64 = eui64
        self._log = log
        self._han = han
        self._send_octets = send
        self._on_discarded = on_discarded
        self._on_anomaly = on_anomaly
        self._utc_now = utc_now
        self._named: dict[int, DeviceType] = {}
        self.commands: HubCommands | None = None
        if identity is not None:
            self.commands = HubCommands(
                eui64,
                identity,
                memory,
                log,
                han,
                HubFacts(firmware_version, self._named),
                send=partial(self.forward, eui64),
                on_removed=self._removed,
                on_anomaly=on_anomaly,
                utc_now=utc_now,
            )
        self._handles = 0
        self._carried: dict[int, tuple[int, int]] = {}  # handle -> device, reference
        # Of each device with a command under way, those behind it. In fragments one could overtake
        # another, and the device would take the one that comes late for a replay.
        self._waiting: dict[int, deque[CommandForDevice]] = {}
        self._held: list[WanMessage] | None = None

    def stop(self) -> None:
        """Nothing is answered any more."""
        if self.commands is not None:
            self.commands.stop()

    # -- from the DSP --------------------------------------------------------------------------

    def deliver(self, octets: bytes) -> None:
        """One serialised message; whatever it is, nothing is raised."""
        try:
            message = parse_message(octets)
        except GbcsError as error:
            self._discard(Reason.SYNTAX, str(error))
            return
        if message.hub != self._eui64:
            self._discard(Reason.RECIPIENT, f"a WAN message for the hub {message.hub:016X}")
            return
        match message:
            case CommandForDevice() if message.device == self._eui64:
                self._command(message)
            case CommandForDevice():
                self._carry(message)
            case ImageOffer():
                self._offer(message)
            case DeviceLogEntry():
                self._named[message.device] = message.device_type
                if len(self._named) > MAX_NAMED:
                    del self._named[next(iter(self._named))]
            case _:
                name = type(message).__name__
                self._discard(Reason.MESSAGE_CODE, f"a hub sends {name}, and takes none")

    def _discard(self, reason: Reason, detail: str) -> None:
        self._on_discarded(self._eui64, FrameDiscarded(reason, detail))

    def _carry(self, command: CommandForDevice) -> None:
        device, reference = command.device, command.reference
        if device not in self._log:
            self._end(device, reference, DeliveryResult.UNKNOWN_DEVICE)
        elif len(command.frame) > MAX_TRANSFER_BYTES:
            self._end(device, reference, DeliveryResult.REFUSED)
        else:
            waiting = self._waiting.get(device)
            if waiting is None:
                self._waiting[device] = deque()
                self._send_command(command)
            elif len(waiting) < MAX_WAITING_COMMANDS:
                waiting.append(command)
            else:
                self._end(device, reference, DeliveryResult.REFUSED)

    def _send_command(self, command: CommandForDevice) -> None:
        self._handles += 1
        self._carried[self._handles] = command.device, command.reference
        self._han.carry(command.device, command.frame, self._handles)

    def settle(self, handle: int, result: DeliveryResult) -> None:
        """What became of a message to a device; the first word counts."""
        carried = self._carried.pop(handle, None)
        if carried is None:
            return
        device, reference = carried
        waiting = self._waiting[device]
        ended = [reference]
        if result is DeliveryResult.UNREACHABLE:
            ended += [command.reference for command in waiting]
            waiting.clear()
        following = waiting.popleft() if waiting else None
        if following is None:
            del self._waiting[device]
        for each in ended:
            self._end(device, each, result)
        if following is not None:
            self._send_command(following)

    def _offer(self, offer: ImageOffer) -> None:
        if not self._han.takes(len(offer.image)):
            self._refuse_offer(offer, f"an image of {len(offer.image)} bytes does not fit")
            return
        if not offer.is_whole:
            self._refuse_offer(offer, "the file is not the one that was sent")
            return
        try:
            # How large a file may be is the slot's to say.
            image = require_acceptable(offer.image, limit=SizeLimit(MAX_LIMIT_KB))
        except ImageError as error:
            self._refuse_offer(offer, str(error))
            return
        known = [device for device in offer.devices if device in self._log]
        # The DSP hears that the image arrived before it hears what that did to anybody.
        held: list[WanMessage] = []
        self._held = held
        try:
            self._han.update(image, known, offer.reference)
        except ota_server.OtaServerError as error:
            self._held = None
            self._refuse_offer(offer, str(error))
        else:
            self._held = None
            for device in offer.devices:
                there = device in known
                result = DeliveryResult.DELIVERED if there else DeliveryResult.UNKNOWN_DEVICE
                self._end(device, offer.reference, result)
        for message in held:
            self._send(message)

    def _refuse_offer(self, offer: ImageOffer, why: str) -> None:
        for device in offer.devices:
            self._on_anomaly(ota_server.Anomaly(device, "image refused", why))
            self._end(device, offer.reference, DeliveryResult.REFUSED)

    # -- commands for the hub itself -----------------------------------------------------------

    def _command(self, command: CommandForDevice) -> None:
        commands = self.commands
        if commands is None:
            self._end(self._eui64, command.reference, DeliveryResult.REFUSED)
            return
        reply, radio_part = commands.take(command.frame)
        self._end(self._eui64, command.reference, DeliveryResult.DELIVERED)
        if isinstance(reply, FrameDiscarded):
            self._on_discarded(self._eui64, reply)
        else:
            commands.answer(reply, radio_part)

    def _removed(self, device: int) -> None:
        for handle in [handle for handle, (who, _) in self._carried.items() if who == device]:
            self.settle(handle, DeliveryResult.UNREACHABLE)

    # -- to the DSP ----------------------------------------------------------------------------

    def forward(self, device: int, frame: bytes) -> None:
        """What a device sent, as it is: the DSP judges it."""
        try:
            message = MessageFromDevice(self._eui64, device, frame)
        except GbcsValueError as error:
            self._on_discarded(device, FrameDiscarded(Reason.SYNTAX, str(error)))
        else:
            self._send(message)

    def start(self) -> None:
        """The hub runs: what it had to say before it was restarted is said."""
        if self.commands is not None:
            self.commands.start()

    def log_changed(self) -> None:
        """The device log is not the one that was told of last."""
        if self.commands is not None:
            self.commands.tell_log()

    def transfer_ended(self, outcome: TransferOutcome) -> None:
        """What became of an offer: one CCS08 alert."""
        if self.commands is None:
            return
        frame = self.commands.half.transfer_ended(
            outcome.number,
            outcome.eui64,
            outcome.file_version,
            TransferResult(outcome.response_code),
            self._utc_now(),
        )
        if frame is not None:
            self.commands.tell(frame)

    def _end(self, device: int, reference: int, result: DeliveryResult) -> None:
        self._send(DeliveryOutcome(self._eui64, device, reference, result))

    def _send(self, message: WanMessage) -> None:
        if self._held is not None:
            self._held.append(message)
        elif self._send_octets is not None:
            self._send_octets(serialise(message))
