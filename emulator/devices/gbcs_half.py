"""The GBCS application of a device or of a hub, and what it must not forget over a restart.

Source: GBCS use cases CS08 "Read PPMID/HCALCS Firmware Version", CS09 "PPMID Firmware Activation
Alert" and CS02a to CS02e about credentials; what is judged of a frame, and in which order, is in
`gbcs.endpoint`. That an alert is kept until the radio says it was delivered is ours
(docs/open-points.md, "GBCS and test SMKI").

`GbcsHalf` is what hub and device have in common. A device's, `DeviceHalf`, besides:

    event                          effect
    -----------------------------  ---------------------------------------------------------------
    activating                     the version is noted; the boot loader is told, and restarts
    start, a version was noted     CS09 alert, signed once: success if that version runs, else
                                   failure; it goes into the outbox
    start, noted but never tried   none: the power went before the boot loader was told
    start, there was a tunnel      the hub is told that it is no more
    start, timeout                 alerts of the outbox that are not under way are sent
    alert delivered                it leaves the outbox
    alert not delivered, refused   it is due again after 60 s
    timeout, no tunnel yet         the hub is told once more, as long as the outbox holds something
    a command's time has come      carried out, also when it came while the power was off; the alert
                                   about it goes into the outbox

A hub's, `HubHalf`, besides:

    transfer ended                 CCS08 alert, signed once; it goes into the outbox, unless it went
                                   there before the hub was restarted
    the device log has changed     CS14 alert, in the same way
    a command's time has come      as on a device
    alert taken by the WAN         it leaves the outbox

Everything is in `GbcsMemory` before the message it is about is handed out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import NamedTuple

from emulator.devices import endpoint_record
from emulator.devices.nonvolatile import STEADY, Power, Record
from gbcs.axdr import build_date_time, invoke_id
from gbcs.certificates import Certificate
from gbcs.codes import (
    CCS08_FIRMWARE_TRANSFER,
    CS09_FIRMWARE_ACTIVATION,
    CS14_LOG_CHANGED,
)
from gbcs.device_credentials import credential_use_cases
from gbcs.endpoint import (
    DeviceKeys,
    Discarded,
    Endpoint,
    EndpointState,
    Reason,
    TrustCells,
    UseCase,
    read_firmware_version,
)
from gbcs.firmware import (
    ActivateImageResult,
    FirmwareActivation,
    TransferResult,
    build_firmware_activation,
    build_firmware_transfer,
    transfer_alert,
)
from gbcs.hub_log import (
    DEVICE_LOG_CHANGED,
    DEVICE_LOG_CHANGED_ALERT,
    DeviceLogChanged,
    LogBackup,
)
from gbcs.protection import RandomBits
from gbcs.use_cases import CredentialUseCase

RESEND_S = 60.0

UtcNow = Callable[[], datetime]


def machine_utc() -> datetime:
    """Civil time of this machine, for whoever is handed no other."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class GbcsIdentity:
    """What makes a device one that GBCS knows: its private keys, whom it trusts, the certificates
    of its keys, and the source its new keys are drawn from."""

    keys: DeviceKeys
    trust: TrustCells
    certificates: tuple[Certificate, ...]
    random_bits: RandomBits


Identify = Callable[[int], GbcsIdentity]
"""From an EUI-64, which is known when the radio has answered, to the identity that goes with it."""


class KnownTunnel(NamedTuple):
    """A tunnel the hub believes in: its id, and the endpoint on which the hub uses it."""

    tunnel_id: int
    hub_endpoint: int


@dataclass(slots=True)
class GbcsMemory:
    """Everything of GBCS that outlives a restart; only the halves change it, by `keep`.

    `record` is where it is stored: `restarted` makes of it what a restart finds.
    """

    endpoint: EndpointState = field(default_factory=EndpointState)
    activating: int | None = None  # the version the boot loader was left with
    outbox: tuple[bytes, ...] = ()  # alerts not known to be delivered, the oldest first
    tunnel: KnownTunnel | None = None
    reported: int = 0  # the number of the last transfer that there is an alert about
    logged: int = 0  # and of the last change of the device log
    record: Record = field(default_factory=Record, compare=False, repr=False)
    power: Power = field(default=STEADY, compare=False, repr=False)

    def keep(self, name: str, **changes: object) -> None:
        """Change some of it in one operation."""
        kept = replace(self, **changes)  # type: ignore[arg-type]
        self.record.write(self.power, name, kept._octets())
        for attribute, value in changes.items():
            setattr(self, attribute, value)

    def _octets(self) -> bytes:
        outbox = [frame.hex() for frame in self.outbox]
        fields = (
            endpoint_record.pack(self.endpoint),
            self.activating,
            outbox,
            self.tunnel,
            self.reported,
            self.logged,
        )
        return json.dumps(fields).encode()

    @classmethod
    def restarted(cls, record: Record, power: Power = STEADY) -> GbcsMemory:
        """What is in a record, or that of a new device when nothing is."""
        octets = record.read()
        if octets is None:
            return cls(record=record, power=power)
        endpoint, activating, outbox, tunnel, reported, logged = json.loads(octets)
        return cls(
            endpoint_record.unpack(endpoint),
            activating,
            tuple(map(bytes.fromhex, outbox)),
            None if tunnel is None else KnownTunnel(*tunnel),
            reported,
            logged,
            record,
            power,
        )


@dataclass(frozen=True, slots=True)
class FrameDiscarded:
    """A message that came in was not acted on; nothing changed, nothing was answered."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class AlertDelivered:
    """The hub has an alert of this device's."""

    frame: bytes = field(repr=False)


class SendMessage(NamedTuple):
    """Send through the tunnel. `handle` names an alert to `sent`; a reply has none."""

    frame: bytes
    handle: int | None = None


class DisownTunnel(NamedTuple):
    """Tell the hub that this tunnel is no more."""

    tunnel: KnownTunnel


Output = SendMessage | DisownTunnel | FrameDiscarded


class GbcsHalf:
    """An endpoint, with its state where a restart leaves it."""

    def __init__(
        self,
        eui64: int,
        identity: GbcsIdentity,
        memory: GbcsMemory,
        use_cases: Iterable[UseCase | CredentialUseCase],
    ) -> None:
        self.eui64 = eui64
        self.memory = memory
        self._endpoint = Endpoint(
            eui64,
            identity.keys,
            identity.trust,
            memory.endpoint,
            use_cases,
            identity.certificates,
        )

    def take(self, frame: bytes, now_utc: datetime) -> bytes | FrameDiscarded:
        """The reply to a command, or why there is none."""
        (output,) = self._endpoint.receive(frame, now_utc)
        if isinstance(output, Discarded):
            return FrameDiscarded(output.reason, output.detail)
        self.memory.keep("gbcs: command", endpoint=self._endpoint.state)
        return output.frame

    def next_due(self) -> datetime | None:
        """The civil time a command waits for."""
        return self._endpoint.next_due

    def _carry_out_due(self, now_utc: datetime) -> list[bytes]:
        """Carry out what waited for this time or an earlier one; the alerts about it, which are in
        the outbox."""
        due = self._endpoint.next_due
        if due is None or due > now_utc:
            return []
        alerts = self._endpoint.execute_due(now_utc)
        outbox = (*self.memory.outbox, *alerts)
        self.memory.keep("gbcs: command due", endpoint=self._endpoint.state, outbox=outbox)
        return alerts

    def _keep_alert(self, name: str, message_code: int, payload: bytes, **changes: object) -> bytes:
        """A signed alert to the ACB, which uses up a counter and goes into the outbox."""
        frame = self._endpoint.alert(message_code, payload)
        outbox = (*self.memory.outbox, frame)
        self.memory.keep(name, endpoint=self._endpoint.state, outbox=outbox, **changes)
        return frame

    def _drop_alert(self, frame: bytes) -> None:
        outbox = tuple(one for one in self.memory.outbox if one != frame)
        self.memory.keep("gbcs: alert delivered", outbox=outbox)


class HubHalf(GbcsHalf):
    """A hub's: it tells the DSP what became of each transfer, and who is in its device log."""

    def transfer_ended(
        self, number: int, device: int, version: int, result: TransferResult, now_utc: datetime
    ) -> bytes | None:
        """The alert about one outcome; None for one there is an alert about already.

        `number` tells outcomes apart and grows from each to the next.
        """
        if number <= self.memory.reported:
            return None
        transfer = transfer_alert(device, version, result, whole_second(now_utc))
        payload = build_firmware_transfer(transfer)
        return self._keep_alert(
            "gbcs: transfer alert", CCS08_FIRMWARE_TRANSFER, payload, reported=number
        )

    def log_changed(
        self, number: int, backup: Callable[[bytes], LogBackup], now_utc: datetime
    ) -> bytes | None:
        """The alert about the device log as it is now; None where there is one already about this
        change of it, or a later one. `backup` is given the time."""
        if number <= self.memory.logged:
            return None
        time = build_date_time(now_utc)
        counter = self.memory.endpoint.originator_counter + 1
        changed = DeviceLogChanged(invoke_id(counter), DEVICE_LOG_CHANGED, time, backup(time))
        payload = DEVICE_LOG_CHANGED_ALERT.build(changed)
        return self._keep_alert("gbcs: log alert", CS14_LOG_CHANGED, payload, logged=number)

    def execute_due(self, now_utc: datetime) -> list[bytes]:
        """The alerts about what waited for this time or an earlier one, and was carried out."""
        return self._carry_out_due(now_utc)

    def taken(self, frame: bytes) -> None:
        """The WAN has an alert, and will not lose it."""
        self._drop_alert(frame)


class DeviceHalf(GbcsHalf):
    """A PPMID's or a bridge's, between two restarts. A core: it is handed `now`, and says when it
    wants to be woken."""

    def __init__(
        self, eui64: int, identity: GbcsIdentity, memory: GbcsMemory, version: Callable[[], int]
    ) -> None:
        use_cases: list[UseCase | CredentialUseCase] = [read_firmware_version(version)]
        use_cases += credential_use_cases(identity.random_bits)
        super().__init__(eui64, identity, memory, use_cases)
        self._version = version
        self._due_s: float | None = None
        self._under_way: dict[int, bytes] = {}
        self._handles = 0
        self._has_tunnel = False

    # -- commands ------------------------------------------------------------------------------

    def receive(self, message: bytes, now_utc: datetime) -> list[Output]:
        """A message out of the tunnel."""
        taken = self.take(message, now_utc)
        return [taken if isinstance(taken, FrameDiscarded) else SendMessage(taken)]

    def execute_due(self, now: float, now_utc: datetime) -> list[Output]:
        """Carry out what waited for this time or an earlier one."""
        return self._send_all(now) if self._carry_out_due(now_utc) else []

    # -- activation ----------------------------------------------------------------------------

    def activating(self, version: int) -> None:
        """The boot loader is about to be left with this version."""
        self.memory.keep("gbcs: activating", activating=version)

    def start(self, now: float, now_utc: datetime, *, was_tried: bool = True) -> list[Output]:
        """The firmware runs, in the network. `was_tried`: the boot loader has no image before it
        that it was not told of yet."""
        version = self.memory.activating
        if version is not None and not was_tried:
            self.memory.keep("gbcs: not tried", activating=None)
        elif version is not None:
            self._report_activation(version, now_utc)
        return self._send_all(now)

    def _report_activation(self, version: int, now_utc: datetime) -> None:
        result = ActivateImageResult.ACTIVATION_SUCCESS
        if self._version() != version:
            result = ActivateImageResult.ACTIVATION_FAILURE
        activation = FirmwareActivation(whole_second(now_utc), version, result)
        payload = build_firmware_activation(activation)
        name = "gbcs: activation alert"
        self._keep_alert(name, CS09_FIRMWARE_ACTIVATION, payload, activating=None)

    # -- the way to the hub --------------------------------------------------------------------

    def tunnel_up(self, tunnel: KnownTunnel) -> None:
        """The hub has opened a tunnel."""
        self.memory.keep("gbcs: tunnel up", tunnel=tunnel)
        self._has_tunnel = True

    def tunnel_down(self) -> None:
        """The hub has no tunnel to this device any more, and knows it."""
        self.memory.keep("gbcs: tunnel down", tunnel=None)
        self._has_tunnel = False

    def sent(self, handle: int, delivered: bool, now: float) -> AlertDelivered | None:
        """What became of an alert; None for one that is not delivered."""
        frame = self._under_way.pop(handle, None)
        if frame is None:
            return None
        if delivered:
            self._drop_alert(frame)
        self._due_s = now + RESEND_S if self.memory.outbox else None
        return AlertDelivered(frame) if delivered else None

    def next_timeout(self) -> float | None:
        return self._due_s

    def handle_timeout(self, now: float) -> list[Output]:
        if self._due_s is None or now < self._due_s:
            return []
        return self._send_all(now)

    def _send_all(self, now: float) -> list[Output]:
        memory = self.memory
        outputs: list[Output] = []
        if memory.tunnel is not None and not self._has_tunnel:
            outputs.append(DisownTunnel(memory.tunnel))
        waiting = set(self._under_way.values())
        for frame in memory.outbox:
            if frame not in waiting:
                self._handles += 1
                self._under_way[self._handles] = frame
                outputs.append(SendMessage(frame, self._handles))
        self._due_s = now + RESEND_S if memory.outbox else None
        return outputs


def whole_second(time: datetime) -> datetime:
    """As a GeneralizedTime says it."""
    return time.astimezone(UTC).replace(microsecond=0)
