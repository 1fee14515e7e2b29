"""The hub's end of the SM WAN: what the DSP asks for, and what it is told.

Source: GBCS use cases CCS01 "Add Device to CHF Device Log", CCS02 "Remove Device from CHF Device
Log" and CCS08 "Firmware Transfer Alert"; the messages
are those of `gbcs.wan`, the outcomes ours. MP170: a bridge is a PPMID to a hub.

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
    offer taken before                      none                                   the same again

A device has one command under way; the next leaves when it is known what became of that.

CCS01 lets in who was named by a device log entry before, or is in the log already; its install code
counts only the first time. CCS02 strikes off who is in the log: its update is discarded, what waits
for it is unreachable, it is told to leave under its link key, which is then forgotten; the reply
follows, whether it heard or not. All else gets a result other than success, and nothing changes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

from emulator.devices import ota_server
from emulator.devices.device_log import DeviceLog
from emulator.devices.gbcs_half import (
    FrameDiscarded,
    GbcsIdentity,
    GbcsMemory,
    HubHalf,
    UtcNow,
)
from emulator.devices.image_store import Image
from emulator.devices.node import NodeError
from emulator.devices.ota_server import TransferOutcome
from emulator.zigbee.security import InstallCodeError, install_code_key
from emulator.zigbee.tunnelling import MAX_TRANSFER_BYTES
from firmware_images.checks import MAX_LIMIT_KB, SizeLimit, require_acceptable
from firmware_images.errors import ImageError
from gbcs.device_log import (
    INSTALL_CODE,
    AddDevice,
    AddDeviceResult,
    DlmsResult,
    RemoveDevice,
    RemoveDeviceResult,
)
from gbcs.endpoint import Reason, add_device, remove_device
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

JOIN_TIMEOUTS_S = range(1, 3601)
# Devices named to the hub and not let in yet; the DSP names one just before its CCS01.
MAX_NAMED = 32
MAX_WAITING_COMMANDS = 16


class Han(Protocol):
    """What the DSP may ask of the HAN's side of a hub."""

    async def permit(self, eui64: int, duration_s: int) -> None:
        """Let a device of the log join. Raises NodeError."""

    def remove(self, eui64: int) -> None:
        """Take a device out of the log; its update is discarded."""

    async def dismiss(self, eui64: int) -> None:
        """Tell a device to leave, and forget its key. Raises NodeError."""

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
        self._half: HubHalf | None = None
        if identity is not None:
            use_cases = (add_device(self._register), remove_device(self._unregister))
            self._half = HubHalf(eui64, identity, memory, use_cases)
        self._named: dict[int, DeviceType] = {}
        self._radio_part: Callable[[], Awaitable[None]] | None = None  # of the command under way
        self._tasks: set[asyncio.Task[None]] = set()
        self._handles = 0
        self._carried: dict[int, tuple[int, int]] = {}  # handle -> device, reference
        # Of each device with a command under way, those behind it. In fragments one could overtake
        # another, and the device would take the one that comes late for a replay.
        self._waiting: dict[int, deque[CommandForDevice]] = {}
        self._held: list[WanMessage] | None = None

    def stop(self) -> None:
        """Nothing is answered any more."""
        for task in self._tasks:
            task.cancel()

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
        half = self._half
        if half is None:
            self._end(self._eui64, command.reference, DeliveryResult.REFUSED)
            return
        self._radio_part = None
        reply = half.take(command.frame, self._utc_now())
        radio_part = self._radio_part  # before anything is told: the DSP may answer with another
        self._end(self._eui64, command.reference, DeliveryResult.DELIVERED)
        if isinstance(reply, FrameDiscarded):
            self._on_discarded(self._eui64, reply)
        elif radio_part is None:
            self.forward(self._eui64, reply)
        else:
            task = asyncio.get_running_loop().create_task(
                self._reply_after(radio_part(), reply), name="hub carries out a command"
            )
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _register(self, command: AddDevice) -> AddDeviceResult:
        """The device log's part of CCS01; the radio's is noted in `_joining`."""
        device = command.device
        refused = AddDeviceResult(command.invoke_id, register_device=DlmsResult.OTHER_REASON)
        if command.enable_joining and command.join_timeout_s not in JOIN_TIMEOUTS_S:
            other = DlmsResult.OTHER_REASON
            return AddDeviceResult(command.invoke_id, register_device=other, join_timeout=other)
        if device not in self._log:
            device_type = self._named.get(device)
            if device_type is None or command.key_type != INSTALL_CODE or self._log.is_full:
                return refused
            try:
                link_key = install_code_key(command.key)
            except InstallCodeError:
                return refused
            self._log.enter(device, link_key, device_type)
        if command.enable_joining:
            self._radio_part = partial(self._let_in, device, command.join_timeout_s)
        return AddDeviceResult(command.invoke_id)

    def _unregister(self, command: RemoveDevice) -> RemoveDeviceResult:
        """The device log's part of CCS02."""
        device = command.device
        if device not in self._log:
            return RemoveDeviceResult(command.invoke_id, DlmsResult.OTHER_REASON)
        self._named.pop(device, None)
        self._han.remove(device)
        for handle in [handle for handle, (who, _) in self._carried.items() if who == device]:
            self.settle(handle, DeliveryResult.UNREACHABLE)
        self._radio_part = partial(self._put_out, device)
        return RemoveDeviceResult(command.invoke_id)

    async def _reply_after(self, radio_part: Awaitable[None], reply: bytes) -> None:
        """A reply says what is so by then; a radio that did not take its part leaves none."""
        with contextlib.suppress(NodeError):
            await radio_part
            self.forward(self._eui64, reply)

    async def _let_in(self, device: int, duration_s: int) -> None:
        try:
            await self._han.permit(device, duration_s)
        except NodeError as error:
            self._on_anomaly(ota_server.Anomaly(device, "not let in", str(error)))
            raise

    async def _put_out(self, device: int) -> None:
        """It is out of the log, whatever the radio does about it."""
        try:
            await self._han.dismiss(device)
        except NodeError as error:
            self._on_anomaly(ota_server.Anomaly(device, "not put out", str(error)))

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
        if self._half is not None:
            for frame in self._half.memory.outbox:
                self._tell(self._half, frame)

    def transfer_ended(self, outcome: TransferOutcome) -> None:
        """What became of an offer: one CCS08 alert."""
        if self._half is None:
            return
        frame = self._half.transfer_ended(
            outcome.number,
            outcome.eui64,
            outcome.file_version,
            TransferResult(outcome.response_code),
            self._utc_now(),
        )
        if frame is not None:
            self._tell(self._half, frame)

    def _tell(self, half: HubHalf, frame: bytes) -> None:
        self.forward(self._eui64, frame)
        half.taken(frame)

    def _end(self, device: int, reference: int, result: DeliveryResult) -> None:
        self._send(DeliveryOutcome(self._eui64, device, reference, result))

    def _send(self, message: WanMessage) -> None:
        if self._held is not None:
            self._held.append(message)
        elif self._send_octets is not None:
            self._send_octets(serialise(message))
