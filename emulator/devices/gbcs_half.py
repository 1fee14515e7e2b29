"""The GBCS application of a device or of a hub, and what it must not forget over a restart.

Source: GBCS use cases CS08 "Read PPMID/HCALCS Firmware Version" and CS09 "PPMID Firmware Activation
Alert"; what is judged of a frame, and in which order, is in `gbcs.endpoint`. That an alert is kept
until the radio says it was delivered is ours (docs/open-points.md, "GBCS and test SMKI").

`GbcsHalf` is what hub and device have in common. A device's, `DeviceHalf`, besides:

    event                          effect
    -----------------------------  ---------------------------------------------------------------
    activating                     the version is noted; the restart follows
    start, a version was noted     CS09 alert, signed once: success if that version runs, else
                                   failure; it goes into the outbox
    start, there was a tunnel      the hub is told that it is no more
    start, timeout                 alerts of the outbox that are not under way are sent
    alert delivered                it leaves the outbox
    alert not delivered, refused   it is due again after 60 s
    timeout, no tunnel yet         the hub is told once more, as long as the outbox holds something

Everything is in `GbcsMemory` before the message it is about is handed out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from gbcs.codes import CS09_FIRMWARE_ACTIVATION
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
    build_firmware_activation,
)

RESEND_S = 60.0

UtcNow = Callable[[], datetime]


def machine_utc() -> datetime:
    """Civil time of this machine, for whoever is handed no other."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class GbcsIdentity:
    """What makes a device one that GBCS knows: its private keys, and whom it trusts."""

    keys: DeviceKeys
    trust: TrustCells


Identify = Callable[[int], GbcsIdentity]
"""From an EUI-64, which is known when the radio has answered, to the identity that goes with it."""


class KnownTunnel(NamedTuple):
    """A tunnel the hub believes in: its id, and the endpoint on which the hub uses it."""

    tunnel_id: int
    hub_endpoint: int


@dataclass(slots=True)
class GbcsMemory:
    """Everything of GBCS that outlives a restart; only `GbcsHalf` and `DeviceHalf` change it."""

    endpoint: EndpointState = field(default_factory=EndpointState)
    activating: int | None = None  # the version the boot loader was left with
    outbox: tuple[bytes, ...] = ()  # alerts not known to be delivered, the oldest first
    tunnel: KnownTunnel | None = None


@dataclass(frozen=True, slots=True)
class FrameDiscarded:
    """A message that came in was not acted on; nothing changed, nothing was answered."""

    reason: Reason
    detail: str


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
        use_cases: Iterable[UseCase],
    ) -> None:
        self.memory = memory
        self._endpoint = Endpoint(eui64, identity.keys, identity.trust, memory.endpoint, use_cases)

    def take(self, frame: bytes, now_utc: datetime) -> bytes | FrameDiscarded:
        """The reply to a command, or why there is none."""
        (output,) = self._endpoint.receive(frame, now_utc)
        if isinstance(output, Discarded):
            return FrameDiscarded(output.reason, output.detail)
        self.memory.endpoint = self._endpoint.state
        return output.frame

    def alert(self, message_code: int, payload: bytes) -> bytes:
        """A signed alert to the ACB, which uses up a counter."""
        frame = self._endpoint.alert(message_code, payload)
        self.memory.endpoint = self._endpoint.state
        return frame


class DeviceHalf(GbcsHalf):
    """A PPMID's or a bridge's, between two restarts. A core: it is handed `now`, and says when it
    wants to be woken."""

    def __init__(
        self, eui64: int, identity: GbcsIdentity, memory: GbcsMemory, version: Callable[[], int]
    ) -> None:
        super().__init__(eui64, identity, memory, (read_firmware_version(version),))
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

    # -- activation ----------------------------------------------------------------------------

    def activating(self, version: int) -> None:
        """The boot loader is about to be left with this version."""
        self.memory.activating = version

    def start(self, now: float, now_utc: datetime) -> list[Output]:
        """The firmware runs, in the network."""
        memory = self.memory
        if memory.activating is not None:
            frame = self._activation_alert(memory.activating, now_utc)
            memory.outbox = (*memory.outbox, frame)
            memory.activating = None
        return self._send_all(now)

    def _activation_alert(self, version: int, now_utc: datetime) -> bytes:
        result = ActivateImageResult.ACTIVATION_SUCCESS
        if self._version() != version:
            result = ActivateImageResult.ACTIVATION_FAILURE
        activation = FirmwareActivation(whole_second(now_utc), version, result)
        return self.alert(CS09_FIRMWARE_ACTIVATION, build_firmware_activation(activation))

    # -- the way to the hub --------------------------------------------------------------------

    def tunnel_up(self, tunnel: KnownTunnel) -> None:
        """The hub has opened a tunnel."""
        self.memory.tunnel = tunnel
        self._has_tunnel = True

    def tunnel_down(self) -> None:
        """The hub has no tunnel to this device any more, and knows it."""
        self.memory.tunnel = None
        self._has_tunnel = False

    def sent(self, handle: int, delivered: bool, now: float) -> None:
        """What became of an alert."""
        frame = self._under_way.pop(handle, None)
        if frame is None:
            return
        if delivered:
            self.memory.outbox = tuple(one for one in self.memory.outbox if one != frame)
        self._due_s = now + RESEND_S if self.memory.outbox else None

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
