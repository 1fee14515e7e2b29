"""What a hub does with the commands of the DSP that are for the hub itself.

Source: GBCS use cases CCS01 to CCS03 (the device log), CCS05/CCS04, CCS06 and CCS07 (what the hub
knows), ECS52 (its version) and CS02a to CS02e (its credentials); which of them an originator may
order, and how a frame is judged, is in `gbcs.endpoint`.

    command      changes, before it is answered         the radio's part, before it is answered
    -----------  -------------------------------------  ------------------------------------------
    CCS01        the log                                the device may join
    CCS02        both logs; its update is discarded     the device is told to leave
    CCS03        the log is that of another hub         a network with that extended PAN id, if
                                                        it has another; the hashes are link keys
    CCS04, 06    -                                      -
    CCS07        -                                      -
    ECS52        -                                      -
    CS02a to e   credentials                            -

CCS01 lets in who was named by a device log entry before, or is in the log already; its install code
counts only the first time. CCS02 strikes off who is in the log: it is told to leave under its link
key, which is then forgotten; the reply follows, whether it heard or not. CCS03 is for a hub that
loses no device by it, and gives the same answer when it is sent again. All else gets a result other
than success, and nothing changes. Once the log has changed a CS14 alert follows.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple, Protocol

from emulator.devices.civil_timer import CivilTimer
from emulator.devices.device_log import DeviceLog, Peer
from emulator.devices.gbcs_half import (
    FrameDiscarded,
    GbcsIdentity,
    GbcsMemory,
    HubHalf,
    UtcNow,
)
from emulator.devices.node import NodeError
from emulator.devices.ota_server import Anomaly
from emulator.devices.signal_counts import Heard, Span
from emulator.zigbee.security import InstallCodeError, install_code_key
from gbcs.axdr import DATE_TIME_OCTETS, build_date_time
from gbcs.codes import (
    CCS03_RESTORE_LOG,
    CCS05_CCS04_READ_LOG,
    CCS06_READ_LOG,
    CCS07_READ_LOGS,
    ECS52_READ_METER_VERSION,
)
from gbcs.device_credentials import credential_use_cases
from gbcs.device_log import (
    INSTALL_CODE,
    AddDevice,
    AddDeviceResult,
    DlmsResult,
    LinkKeyHash,
    RemoveDevice,
    RemoveDeviceResult,
    RestoreLog,
    RestoreLogResult,
)
from gbcs.endpoint import UseCase, add_device, answering, remove_device
from gbcs.hub_log import (
    ActiveDevice,
    DeviceLogs,
    HanStatus,
    LogBackup,
    ReadDeviceLogs,
    ReadHanStatus,
)
from gbcs.meter_versions import MeterVersion, ReadMeterVersion
from gbcs.use_cases import CredentialUseCase
from gbcs.wan import DeviceType

JOIN_TIMEOUTS_S = range(1, 3601)
# An extended PAN id of all zeros or all ones stands for none (ZigBee 05-3474, 3.5.2).
NO_NETWORKS = (0, 0xFFFFFFFFFFFFFFFF)
# Bits of the status of an active device, the first one of the bit string first.
ON_THE_NETWORK, REPORTING = 0x80, 0x40
_MOST = 0xFF  # an octet counts no further
_NEVER = b"\xff" * (DATE_TIME_OCTETS - 3) + b"\x80\x00\xff"  # a date-time that leaves all open
_UNHEARD = Heard(Span(-128, -128, -128), Span(0, 0, 0))


class HanOfHub(Protocol):
    """What a command may ask of the HAN's side of a hub."""

    @property
    def extended_pan_id(self) -> int:
        """Of the network."""

    async def permit(self, eui64: int, duration_s: int) -> None:
        """Let a device of the log join. Raises NodeError."""

    def remove(self, eui64: int) -> None:
        """Take a device out of the log; its update is discarded."""

    async def dismiss(self, eui64: int) -> None:
        """Tell a device to leave, and forget its key. Raises NodeError."""

    async def take_over(self) -> None:
        """Be the hub of the network that was restored into the log. Raises NodeError."""

    def heard(self, eui64: int) -> Heard | None:
        """How a device was heard."""


@dataclass(slots=True)
class HubFacts:
    """What a hub tells of itself, and whom the DSP named to it."""

    firmware_version: int
    named: dict[int, DeviceType]


class Done(NamedTuple):
    """A command was carried out but for the radio's part, or it was not one."""

    reply: bytes | FrameDiscarded
    radio_part: Callable[[], Awaitable[None]] | None


class HubCommands:
    """The commands for one hub that runs, and its alerts. `send` takes a frame for the DSP,
    `on_removed` hears who is struck off."""

    def __init__(
        self,
        eui64: int,
        identity: GbcsIdentity,
        memory: GbcsMemory,
        log: DeviceLog,
        han: HanOfHub,
        facts: HubFacts,
        *,
        send: Callable[[bytes], object],
        on_removed: Callable[[int], object],
        on_anomaly: Callable[[Anomaly], object],
        utc_now: UtcNow,
    ) -> None:
        self._log = log
        self._han = han
        self._facts = facts
        self._send = send
        self._on_removed = on_removed
        self._on_anomaly = on_anomaly
        self._utc_now = utc_now
        self._loop = asyncio.get_running_loop()
        self._radio_part: Callable[[], Awaitable[None]] | None = None  # of the command under way
        self._tasks: set[asyncio.Task[None]] = set()
        use_cases: list[UseCase | CredentialUseCase] = [*self._use_cases()]
        use_cases += credential_use_cases(identity.random_bits)
        self.half = HubHalf(eui64, identity, memory, use_cases)
        self._calendar = CivilTimer(self._loop, self.half.next_due, self._execute_due, utc_now)

    def _use_cases(self) -> tuple[UseCase, ...]:
        return (
            add_device(self._register),
            remove_device(self._unregister),
            answering(CCS03_RESTORE_LOG, self._restore),
            answering(CCS05_CCS04_READ_LOG, self._read_status),
            answering(CCS06_READ_LOG, self._read_status),
            answering(CCS07_READ_LOGS, self._read_logs),
            answering(ECS52_READ_METER_VERSION, self._read_version),
        )

    def start(self) -> None:
        """The hub runs: what it had to say before it was restarted is said."""
        for frame in self.half.memory.outbox:
            self.tell(frame)
        self.tell_log()
        self._calendar.settle()

    def stop(self) -> None:
        """Nothing is answered any more."""
        self._calendar.stop()
        for task in self._tasks:
            task.cancel()

    def take(self, frame: bytes) -> Done:
        """A command; nobody is told anything yet."""
        self._radio_part = None
        reply = self.half.take(frame, self._utc_now())
        # Before anything is told: the DSP may answer with another.
        return Done(reply, self._radio_part)

    def answer(self, reply: bytes, radio_part: Callable[[], Awaitable[None]] | None) -> None:
        """Reply, once the radio has done its part."""
        if radio_part is None:
            self._send(reply)
            self.tell_log()
            self._calendar.settle()
            return
        task = self._loop.create_task(
            self._answer_after(radio_part(), reply), name="hub carries out a command"
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer_after(self, radio_part: Awaitable[None], reply: bytes) -> None:
        """A reply says what is so by then; a radio that did not take its part leaves none."""
        with contextlib.suppress(NodeError):
            await radio_part
            self._send(reply)
        self.tell_log()

    def tell(self, frame: bytes) -> None:
        """An alert."""
        self._send(frame)
        self.half.taken(frame)

    def tell_log(self) -> None:
        """CS14, if the log is not the one that was told of last."""
        if self._log.changes:
            frame = self.half.log_changed(self._log.changes, self._backup, self._utc_now())
            if frame is not None:
                self.tell(frame)

    def _execute_due(self) -> None:
        for frame in self.half.execute_due(self._utc_now()):
            self.tell(frame)

    # -- the device log ------------------------------------------------------------------------

    def _register(self, command: AddDevice) -> AddDeviceResult:
        """CCS01."""
        device = command.device
        refused = AddDeviceResult(command.invoke_id, register_device=DlmsResult.OTHER_REASON)
        if command.enable_joining and command.join_timeout_s not in JOIN_TIMEOUTS_S:
            other = DlmsResult.OTHER_REASON
            return AddDeviceResult(command.invoke_id, register_device=other, join_timeout=other)
        if device not in self._log:
            device_type = self._facts.named.get(device)
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
        """CCS02."""
        device = command.device
        if device not in self._log:
            return RemoveDeviceResult(command.invoke_id, DlmsResult.OTHER_REASON)
        self._facts.named.pop(device, None)
        self._han.remove(device)
        self._on_removed(device)
        self._radio_part = partial(self._put_out, device)
        return RemoveDeviceResult(command.invoke_id)

    def _restore(self, command: RestoreLog) -> RestoreLogResult:
        """CCS03."""
        network, devices = command.extended_pan_id, command.devices
        if network in NO_NETWORKS or not self._log.can_restore(network, devices):
            return RestoreLogResult(command.invoke_id, DlmsResult.OTHER_REASON)
        self._log.restore(network, devices)
        self._radio_part = self._take_over
        return RestoreLogResult(command.invoke_id)

    async def _let_in(self, device: int, duration_s: int) -> None:
        try:
            await self._han.permit(device, duration_s)
        except NodeError as error:
            self._on_anomaly(Anomaly(device, "not let in", str(error)))
            raise

    async def _put_out(self, device: int) -> None:
        """It is out of the log, whatever the radio does about it."""
        try:
            await self._han.dismiss(device)
        except NodeError as error:
            self._on_anomaly(Anomaly(device, "not put out", str(error)))

    async def _take_over(self) -> None:
        try:
            await self._han.take_over()
        except NodeError as error:
            self._on_anomaly(Anomaly(self.half.eui64, "not taken over", str(error)))
            raise

    # -- what it knows -------------------------------------------------------------------------

    def _read_status(self, command: ReadHanStatus) -> HanStatus:
        """CCS05/CCS04 and CCS06."""
        devices = tuple(self._active(eui64, peer) for eui64, peer in self._log.items())
        return HanStatus(command.invoke_id, devices)

    def _active(self, eui64: int, peer: Peer) -> ActiveDevice:
        signal = self._han.heard(eui64) or _UNHEARD
        status, last = 0, _NEVER
        if peer.endpoint is not None or peer.ota_endpoint is not None:
            status |= ON_THE_NETWORK
        if peer.heard_s is not None:
            status |= REPORTING
            last = build_date_time(self._civil(peer.heard_s))
        return ActiveDevice(
            eui64,
            status,
            *signal.rssi_dbm,
            *signal.lqi,
            last,
            peer.hops,
            min(peer.unsent, _MOST),
            min(peer.sent, _MOST),
            0,
            0,
        )

    def _civil(self, loop_time_s: float) -> datetime:
        return self._utc_now() - timedelta(seconds=self._loop.time() - loop_time_s)

    def _read_logs(self, command: ReadDeviceLogs) -> DeviceLogs:
        """CCS07."""
        time = build_date_time(self._utc_now())
        historic = self._backup_of(time, tuple(self._log.historic))
        return DeviceLogs(command.invoke_id, self._backup(time), historic)

    def _backup(self, time: bytes) -> LogBackup:
        return self._backup_of(time, self._log.hashes())

    def _backup_of(self, time: bytes, devices: tuple[LinkKeyHash, ...]) -> LogBackup:
        return LogBackup(time, self._han.extended_pan_id, devices)

    def _read_version(self, command: ReadMeterVersion) -> MeterVersion:
        """ECS52."""
        return MeterVersion(command.invoke_id, self._facts.firmware_version)
