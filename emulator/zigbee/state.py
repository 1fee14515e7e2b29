"""What a stick remembers when its power is cut: network, keys, counters, the devices it knows.

Source: ZigBee specification 05-3474, 3.5 and 4.3.1.2 (persistent data, frame counters). Outgoing
counters are reserved in steps before they are used, so that none is ever used twice, however the
power goes; the unused rest of a step is skipped after a restart.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from emulator.zigbee.events import NodeType

KEY_OCTETS = 16
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

    pan_id: int
    extended_pan_id: int
    channel: int
    node_type: NodeType
    short_address: int
    key: bytes
    key_sequence: int = 0
    trust_center_eui64: int = UNKNOWN_EUI64
    parent: int = 0xFFFF
    tx_power_dbm: int = 8
    manager: int = 0
    update_id: int = 0
    channels: int = 0x07FFF800

    def _check(self) -> None:
        for name in ("pan_id", "short_address", "parent", "manager"):
            _check_range(name, getattr(self, name), 0xFFFF)
        for name in ("extended_pan_id", "trust_center_eui64"):
            _check_range(name, getattr(self, name), UNKNOWN_EUI64)
        for name in ("key_sequence", "update_id"):
            _check_range(name, getattr(self, name), 0xFF)
        if self.channel not in range(11, 27):
            raise ValueError(f"channel: {self.channel!r} is not in 11..26")


@dataclass(slots=True)
class LinkKey:
    """A key shared with one partner; `incoming_counter` is the next one accepted from it."""

    eui64: int
    key: bytes
    incoming_counter: int = 0


@dataclass(slots=True)
class StackState:
    """Everything durable of one node. `save` is called after each change that must last."""

    eui64: int
    network: Network | None = None
    preconfigured_key: bytes | None = None
    security_bitmask: int = 0
    link_keys: list[LinkKey | None] = field(default_factory=list)
    devices: dict[int, int] = field(default_factory=dict)  # short address -> EUI-64
    nwk_counter: int = 0  # no counter at or above this was ever used
    aps_counter: int = 0
    custom_eui64: int | None = None  # burnt once; the address from the next start on

    def to_json(self) -> str:
        """One JSON document; keys are in it, so it is as secret as the stick itself."""
        return json.dumps(asdict(self), default=_plain)

    @classmethod
    def from_json(cls, text: str) -> StackState:
        """The state `to_json` wrote. Raises StateError."""
        try:
            values = json.loads(text)
            network = values["network"]
            if network is not None:
                network["node_type"] = NodeType(network["node_type"])
                network["key"] = bytes.fromhex(network["key"])
                values["network"] = Network(**network)
            if values["preconfigured_key"] is not None:
                values["preconfigured_key"] = bytes.fromhex(values["preconfigured_key"])
            values["link_keys"] = [
                None
                if entry is None
                else LinkKey(entry["eui64"], bytes.fromhex(entry["key"]), entry["incoming_counter"])
                for entry in values["link_keys"]
            ]
            values["devices"] = {int(at): eui64 for at, eui64 in values["devices"].items()}
            state = cls(**values)
            state._check()
            return state
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise StateError(f"the stored state of a stick does not read: {error}") from error

    def _check(self) -> None:
        _check_range("eui64", self.eui64, UNKNOWN_EUI64)
        if self.custom_eui64 is not None:
            _check_range("custom_eui64", self.custom_eui64, UNKNOWN_EUI64)
        _check_range("nwk_counter", self.nwk_counter, COUNTER_LIMIT)
        _check_range("aps_counter", self.aps_counter, COUNTER_LIMIT)
        _check_range("security_bitmask", self.security_bitmask, 0xFFFF)
        for short_address, eui64 in self.devices.items():
            _check_range("devices", short_address, 0xFFFF)
            _check_range("devices", eui64, UNKNOWN_EUI64)
        keys = [] if self.preconfigured_key is None else [self.preconfigured_key]
        for entry in self.link_keys:
            if entry is not None:
                _check_range("link_keys", entry.eui64, UNKNOWN_EUI64)
                _check_range("link_keys", entry.incoming_counter, COUNTER_LIMIT + 1)
                keys.append(entry.key)
        if self.network is not None:
            self.network._check()
            keys.append(self.network.key)
        if any(len(key) != KEY_OCTETS for key in keys):
            raise ValueError(f"a key has not {KEY_OCTETS} octets")

    def link_key_of(self, eui64: int) -> LinkKey | None:
        """The key table's entry for `eui64`."""
        for entry in self.link_keys:
            if entry is not None and entry.eui64 == eui64:
                return entry
        return None


def _check_range(name: str, value: object, limit: int) -> None:
    if not isinstance(value, int) or not 0 <= value <= limit:
        raise ValueError(f"{name}: {value!r} is no number in 0..{limit}")


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, NodeType):
        return value.value
    raise TypeError(f"cannot store {type(value).__name__}")


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
