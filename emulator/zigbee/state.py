"""What a stick remembers when its power is cut: network, keys, counters, the devices it knows.

Source: ZigBee specification 05-3474, 3.5 and 4.3.1.2 (persistent data, frame counters). Outgoing
counters are reserved in steps before they are used, so that none is ever used twice, however the
power goes; the unused rest of a step is skipped after a restart.

A field added here is in the document by itself (state_document.py): its annotation says its range,
its default is what an older document means.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from emulator.zigbee.cbke.ecqv import Identity
from emulator.zigbee.cbke.errors import CbkeError
from emulator.zigbee.cbke.suites import SUITES
from emulator.zigbee.events import NodeType
from emulator.zigbee.state_document import (
    U8,
    U16,
    U32,
    U64,
    DocumentError,
    Key,
    build_document,
    parse_document,
)

SCHEMA = "hanbench-stick-1"
COUNTER_STEP = 1024
COUNTER_LIMIT = 0xFFFFFFFF
UNKNOWN_EUI64 = 0xFFFFFFFFFFFFFFFF


class StateError(Exception):
    """Stored state that does not read."""


class CounterExhausted(Exception):
    """A frame counter reached its end; its key must never be used again."""


@dataclass(slots=True)
class Network:
    """The network a node is part of."""

    pan_id: U16
    extended_pan_id: U64
    channel: U8
    node_type: NodeType
    short_address: U16
    key: Key
    key_sequence: U8 = 0
    trust_center_eui64: U64 = UNKNOWN_EUI64
    parent: U16 = 0xFFFF
    tx_power_dbm: int = 8
    manager: U16 = 0
    update_id: U8 = 0
    channels: U32 = 0x07FFF800
    next_key: Key | None = None  # given out, and not yet switched to
    next_key_sequence: U8 = 0

    def _check(self) -> None:
        if self.channel not in range(11, 27):
            raise DocumentError("network.channel", f"{self.channel} is not in 11..26")
        if not -128 <= self.tx_power_dbm <= 127:
            raise DocumentError("network.tx_power_dbm", f"{self.tx_power_dbm} is no signed octet")


@dataclass(slots=True)
class LinkKey:
    """A key shared with one partner; `incoming_counter` is the next one accepted from it."""

    eui64: U64
    key: Key
    incoming_counter: int = 0

    def _check(self) -> None:
        if not 0 <= self.incoming_counter <= COUNTER_LIMIT + 1:
            raise DocumentError("link_keys", f"{self.incoming_counter} is no frame counter")


@dataclass(slots=True)
class Child:
    """An end device that has this node as its parent; the parent forgets it `timeout_s` after it
    heard it last.
    """

    eui64: U64
    short_address: U16
    node_type: NodeType
    timeout_s: U32


@dataclass(slots=True)
class StoredIdentity:
    """What savePreinstalledCbkeData keeps for one suite of key establishment, as octets."""

    suite: int
    certificate: bytes
    private_key: bytes
    ca_public_key: bytes

    def __repr__(self) -> str:  # private keys never reach a log
        return f"StoredIdentity(suite {self.suite})"

    def _check(self, place: str) -> None:
        """Nothing that is no identity is found only when it is needed."""
        suite = SUITES.get(self.suite)
        if suite is None:
            raise DocumentError(f"{place}.suite", f"{self.suite} is none")
        try:
            Identity(suite, self.certificate, self.private_key, self.ca_public_key)
        except CbkeError as error:
            raise DocumentError(place, str(error)) from error


@dataclass(slots=True)
class StackState:
    """Everything durable of one node. `save` is called after each change that must last."""

    eui64: U64
    network: Network | None = None
    preconfigured_key: Key | None = None
    security_bitmask: U16 = 0
    link_keys: list[LinkKey | None] = field(default_factory=list)
    devices: dict[U16, U64] = field(default_factory=dict)  # short address -> EUI-64
    nwk_counter: U32 = 0  # no counter at or above this was ever used
    aps_counter: U32 = 0
    children: list[Child | None] = field(default_factory=list)  # the index is the host's too
    trust_center_counter: int = 0  # the next one accepted under the preconfigured key
    identities: list[StoredIdentity] = field(default_factory=list)
    custom_eui64: U64 | None = None  # burnt once; the address from the next start on

    def to_json(self) -> str:
        """One JSON document; keys are in it, so it is as secret as the stick itself."""
        return build_document(self, SCHEMA)

    @classmethod
    def from_json(cls, text: str) -> StackState:
        """The state `to_json` wrote. Raises StateError, which names the field."""
        try:
            state = parse_document(cls, text, SCHEMA)
            state._check()
        except DocumentError as error:
            raise StateError(f"the stored state of a stick does not read: {error}") from error
        return state

    def _check(self) -> None:
        """What the annotations do not say."""
        if not 0 <= self.trust_center_counter <= COUNTER_LIMIT + 1:
            raise DocumentError(
                "trust_center_counter", f"{self.trust_center_counter} is no frame counter"
            )
        if self.network is not None:
            self.network._check()
        for entry in self.link_keys:
            if entry is not None:
                entry._check()
        for index, identity in enumerate(self.identities):
            identity._check(f"identities[{index}]")

    def link_key_of(self, eui64: int) -> LinkKey | None:
        """The key table's entry for `eui64`."""
        for entry in self.link_keys:
            if entry is not None and entry.eui64 == eui64:
                return entry
        return None

    def put_link_key(self, eui64: int, key: bytes) -> bool:
        """Write the key table: over the entry for `eui64`, else where there is room; whether."""
        free = None
        for index, entry in enumerate(self.link_keys):
            if entry is None:
                free = index if free is None else free
            elif entry.eui64 == eui64:
                if entry.key != key:  # of the same key, what was received stays received
                    self.link_keys[index] = LinkKey(eui64, key)
                return True
        if free is None:
            return False
        self.link_keys[free] = LinkKey(eui64, key)
        return True

    def drop_link_key(self, eui64: int) -> None:
        """Erase the key table's entry for `eui64`."""
        self.link_keys = [
            None if entry is not None and entry.eui64 == eui64 else entry
            for entry in self.link_keys
        ]


class ReservedCounter:
    """An outgoing frame counter, handed out one by one, reserved durably in steps."""

    __slots__ = ("_next", "_reserve", "_reserved")

    def __init__(self, start: int, reserve: Callable[[int], object]) -> None:
        self._next = start
        self._reserved = start
        self._reserve = reserve

    @property
    def next_value(self) -> int:
        """The counter the next frame will carry."""
        return self._next

    def restart(self, start: int) -> None:
        """Go on from `start`, durably."""
        self._next = self._reserved = start
        self._reserve(start)

    def take(self) -> int:
        """The counter for one frame. Raises CounterExhausted."""
        value = self._next
        if value >= self._reserved:
            if value + COUNTER_STEP > COUNTER_LIMIT:
                raise CounterExhausted("the outgoing frame counter is used up")
            self._reserved = value + COUNTER_STEP
            self._reserve(self._reserved)
        self._next = value + 1
        return value
