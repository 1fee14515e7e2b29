"""The link keys of one node: whom it shares one with, and which frames under it are not replays.

Source: ZigBee specification 05-3474, 4.4.1 (APS security), 4.5.3 (derived keys), 4.3.1.2 (frame
counters). Incoming counters are stored when they pass a multiple of `COUNTER_STEP`, and whenever
anything else is: what a power cut makes a node forget are the last of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from emulator.zigbee.security import (
    KEY_ID_DATA,
    KEY_ID_KEY_LOAD,
    KEY_ID_KEY_TRANSPORT,
    FrameKey,
    key_load_key,
    key_transport_key,
)
from emulator.zigbee.state import COUNTER_STEP, LinkKey
from emulator.zigbee.transient_keys import TransientKeys

if TYPE_CHECKING:
    from emulator.zigbee.stack import Stack

MAX_PARTNERS = 64
MAX_FRAME_KEYS = 256

_DERIVED: dict[int, Callable[[bytes], bytes]] = {
    KEY_ID_DATA: lambda link_key: link_key,
    KEY_ID_KEY_TRANSPORT: key_transport_key,
    KEY_ID_KEY_LOAD: key_load_key,
}


class Partner(NamedTuple):
    """A node this one shares a link key with."""

    eui64: bytes  # 8 octets, little-endian
    link_key: LinkKey
    frame_key: FrameKey


class KeyRing:
    """The keys of one stack, from its key table and from what it was given for a while."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._frame_keys: dict[bytes, FrameKey] = {}
        self.transient_keys = TransientKeys(stack.clock, self.keys_changed)
        self.unconfirmed: LinkKey | None = None
        """A new key that its partner has not confirmed: commands may come under it already."""
        self._unlisted: dict[int, LinkKey] = {}
        self._partners: dict[int, Partner | None] = {}

    def partner(self, short_address: int) -> Partner | None:
        """EUI-64 and shared key of a node, None when it has no key here. Asked for every frame,
        so remembered until `keys_changed`.
        """
        try:
            return self._partners[short_address]
        except KeyError:
            pass
        partner = None
        eui64 = self._stack.eui64_of(short_address)
        key = None if eui64 is None else self.link_key(int.from_bytes(eui64, "little"))
        if eui64 is not None and key is not None:
            partner = Partner(eui64, key, self.frame_key(key.key))
        if len(self._partners) >= MAX_PARTNERS:
            self._partners.clear()
        self._partners[short_address] = partner
        return partner

    def keys_changed(self) -> None:
        """An address, the key table, a transient key or the preconfigured key changed."""
        self._partners.clear()

    def link_key(self, eui64: int) -> LinkKey | None:
        """The key shared with `eui64`: from the key table, else a transient one, else, with the
        trust centre, the preconfigured one.
        """
        state = self._stack.state
        entry = state.link_key_of(eui64)
        if entry is not None:
            return entry
        network = state.network
        octets = self.transient_keys.get(eui64)
        counter = 0
        if octets is None and network is not None and eui64 == network.trust_center_eui64:
            octets = state.preconfigured_key
            counter = state.trust_center_counter
        if octets is None:
            return None
        # From its first use on, a key has a counter of its own to be remembered.
        kept = self._unlisted.get(eui64)
        if kept is None or kept.key != octets or kept.incoming_counter < counter:
            if len(self._unlisted) >= MAX_PARTNERS:
                self._unlisted.pop(next(iter(self._unlisted)))
            kept = self._unlisted[eui64] = LinkKey(eui64, octets, counter)
        return kept

    def forget_counters(self) -> None:
        """Keys that stand in no table begin anew, as when a node joins another network."""
        self._unlisted.clear()
        self.keys_changed()

    def heard(self, key: LinkKey, counter: int) -> None:
        """A frame under `key` opened: no older one does any more. That is stored in steps."""
        before = key.incoming_counter
        key.incoming_counter = after = counter + 1
        if (before ^ after) & -COUNTER_STEP:
            self.keep_counter(key)

    def keep_counter(self, key: LinkKey) -> None:
        """Store which frame under `key` is the next that is no replay."""
        stack = self._stack
        network = stack.state.network
        if (
            network is not None
            and self._unlisted.get(key.eui64) is key
            and key.eui64 == network.trust_center_eui64
        ):
            stack.state.trust_center_counter = key.incoming_counter
        stack.save()

    def frame_key(self, octets: bytes) -> FrameKey:
        """The AES key made of `octets`, made once."""
        key = self._frame_keys.get(octets)
        if key is None:
            if len(self._frame_keys) >= MAX_FRAME_KEYS:
                self._frame_keys.clear()
            key = self._frame_keys[octets] = FrameKey(octets)
        return key

    def command_key(self, link_key: bytes, key_id: int) -> FrameKey:
        """The key that protects commands: the link key itself, or one derived from it."""
        return self.frame_key(_DERIVED[key_id](link_key))
