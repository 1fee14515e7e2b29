"""How an application meets a radio: the words, and what every kind of node can do.

Source: DESIGN, "The one seam". An application thinks in EUI-64s and Smart Energy messages; which
stick, which protocol version and which short addresses are its node's business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Protocol

from emulator.devices.signal_counts import Heard, Signal

SMART_ENERGY_PROFILE = 0x0109
MAX_QUEUED_FRAMES = 64
MAX_UNDER_WAY = 8  # EmberZNet keeps 10 APS messages; two are left for others
KEY_TABLE_SIZE = 16  # 15 devices of a device log, and one for a key that is being replaced
MAX_PERMIT_S = 3600
MATCH_TIMEOUT_S = 3.0  # of a question for endpoints


class Role(Enum):
    """What a device is in its network."""

    ROUTER = "router"
    END_DEVICE = "end-device"  # its receiver is always on
    SLEEPY = "sleepy"


class NodeError(Exception):
    """The radio did not do what it was asked; the sentence says what and how it answered."""


class JoinError(NodeError):
    """The network did not take the node in, or was not found; joining may be tried again."""


class TakeOverRefused(NodeError):
    """The radio is part of a network already, and nobody said that it may forget it."""


IN_A_NETWORK = "is part of a network already: say --take-over if it may forget it"


class QueueFull(NodeError):
    """More frames wait to be sent than a node keeps; the frame was not taken."""


@contextmanager
def radio_errors(url: str, what: str) -> Iterator[None]:
    """Whatever a host library raises for a radio that does not do its part becomes a NodeError."""
    try:
        yield
    except NodeError:
        raise
    except Exception as error:
        why = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise NodeError(f"the radio {url} {what}: {why}") from error


class Frame(NamedTuple):
    """A Smart Energy message to send. `encrypted`: under the link key shared with `peer`."""

    peer: int  # EUI-64
    cluster: int
    source_endpoint: int
    destination_endpoint: int
    payload: bytes
    encrypted: bool = True


class Received(NamedTuple):
    """A Smart Energy message that came in whole."""

    peer: int
    cluster: int
    source_endpoint: int
    destination_endpoint: int
    payload: bytes
    encrypted: bool


class Sent(NamedTuple):
    """The frame with `tag` was acknowledged end to end, or given up."""

    tag: int
    delivered: bool


class Routed(NamedTuple):
    """Frames for this peer carry a source route from now on, so many octets of it."""

    peer: int
    overhead_bytes: int


class Joined(NamedTuple):
    eui64: int
    node_id: int


class Left(NamedTuple):
    eui64: int


class NetworkUp(NamedTuple):
    pass


class NetworkDown(NamedTuple):
    reason: str


class PutOut(NamedTuple):
    """The node has left its network because it was told to, and the radio has forgotten it."""


NodeEvent = Received | Sent | Routed | Joined | Left | NetworkUp | NetworkDown | PutOut
OnEvent = Callable[[NodeEvent], object]


@dataclass(frozen=True, slots=True)
class SmartEnergyEndpoint:
    """An endpoint of profile 0x0109; clusters served here, and clusters used as a client."""

    endpoint: int
    device_id: int
    server_clusters: tuple[int, ...]
    client_clusters: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """Everything a hub forms a network from; `trust_center_seed` is the hashed link key's seed."""

    channel: int
    pan_id: int
    extended_pan_id: int
    network_key: bytes
    trust_center_seed: bytes

    def __repr__(self) -> str:  # keys never reach a log
        return f"NetworkSettings(channel={self.channel}, pan_id=0x{self.pan_id:04X})"


@dataclass(frozen=True, slots=True)
class HeldNetwork:
    """The network a stick was in before a bench came: zigpy's backup of it as JSON, None where the
    stick is no coordinator, so that nobody but its own hub can take it back."""

    extended_pan_id: int
    backup: str | None

    def __repr__(self) -> str:  # keys never reach a log
        return f"HeldNetwork({self.extended_pan_id:016X})"


class Node(Protocol):
    """An application's radio. Coroutines raise NodeError; events arrive at one callback."""

    eui64: int
    extended_pan_id: int | None  # of the network a hub's node runs

    async def open(self) -> None:
        """Reach the radio, reset it, register the endpoints."""

    async def form(self, settings: NetworkSettings, *, anew: bool = False) -> None:
        """Start a new network as its hub, replacing whatever network the radio knew; `anew`: that
        is its own. Raises TakeOverRefused."""

    async def join(self, channel: int, extended_pan_id: int, link_key: bytes) -> None:
        """Join a network with a preconfigured link key. Raises JoinError."""

    async def resume(self, link_keys: Mapping[int, bytes] | None = None) -> None:
        """Go on in the network the radio remembers. Raises NodeError when it knows none.

        `link_keys` are those of the devices a hub has let in: the radio may have none for one that
        joined when the hub was stopped.
        """

    async def leave(self) -> None:
        """Leave the network; the radio forgets it."""

    async def permit(self, eui64: int, link_key: bytes, duration_s: int) -> None:
        """Let the one device with `eui64` join with `link_key` for `duration_s` seconds."""

    async def dismiss(self, eui64: int) -> None:
        """Tell a device to leave the network, and forget its link key; it may not be there."""

    async def take_back(self, link_keys: Mapping[int, bytes]) -> None:
        """Know the devices of another hub by these keys, and let them come back without the network
        key."""

    async def link_key(self, eui64: int) -> bytes | None:
        """The key that the radio shares with a device, None for one it has no key for."""

    async def look_for_hub(self) -> None:
        """The hub does not answer: look for the network, which may have another by now. Returns
        when the node is in it again."""

    def heard(self, eui64: int) -> Heard | None:
        """How the radio has heard a device since it was opened; None where nobody counts."""

    async def find_endpoint(self, peer: int, cluster: int, *, is_server: bool) -> int | None:
        """The endpoint on which `peer` serves `cluster` (or uses it), None when it tells none."""

    def signal(self) -> Signal | None:
        """How well the radio has heard since it was opened; None where nobody counts."""

    def send(self, frame: Frame) -> int:
        """Queue a frame; the tag by which `Sent` names it. Raises QueueFull."""

    async def close(self) -> None:
        """Let go of the radio, which stays on."""
