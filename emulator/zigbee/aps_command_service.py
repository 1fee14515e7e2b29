"""APS commands of one stack: sealed, sent, opened, handed to whom they are for.

Source: ZigBee specification 05-3474, 4.4.1 (security), 4.4.10 (commands). They are sent once, and
again only where the radio gave up: what matters is asked for anew by who waits for it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from emulator.zigbee import aps
from emulator.zigbee.events import Status
from emulator.zigbee.security import FrameKey, SecurityError
from emulator.zigbee.state import CounterExhausted

if TYPE_CHECKING:
    from emulator.zigbee.key_ring import KeyRing
    from emulator.zigbee.stack import Stack

CommandHandler = Callable[[bytes, int, bool], object]
"""Takes an APS command (identifier first), its sender's short address, and whether it came under a
key of the two."""


class ApsCommands:
    """Sends commands, and hands those that came in to `handlers`, by their identifier."""

    def __init__(self, stack: Stack, keys: KeyRing) -> None:
        self._stack = stack
        self._keys = keys
        self._counter = 0
        self.handlers: dict[int, CommandHandler] = {}

    def send(
        self,
        destination: int,
        command: bytes,
        *,
        key_id: int | None = None,
        link_key: bytes | None = None,
    ) -> Status:
        """Send a command (its identifier first), under a key if `key_id` names one: that of
        `link_key`, else of the key shared with `destination`. It is not acknowledged.
        """
        stack = self._stack
        if not stack.is_up:
            return Status.NOT_JOINED
        if destination == stack.mac.short_address:
            return Status.INVALID_PARAMETER
        key = None
        if key_id is not None:
            if link_key is None:
                partner = self._keys.partner(destination)
                if partner is None:
                    return Status.KEY_NOT_FOUND
                link_key = partner.link_key.key
            key = self._keys.command_key(link_key, key_id)
        self._counter = counter = (self._counter + 1) & 0xFF
        again = partial(self._frame, command, counter, key, key_id or 0)
        frame = again()
        if frame is None:
            return Status.DELIVERY_FAILED
        stack.send_nwk(destination, frame, None, again)
        return Status.OK

    def _frame(
        self, command: bytes, counter: int, key: FrameKey | None, key_id: int
    ) -> bytes | None:
        """The frame of a command, None when the frame counter is used up."""
        if key is None:
            return aps.build_command(command, counter)
        stack = self._stack
        try:
            frame_counter = stack.aps_counter.take()
        except CounterExhausted:
            return None
        return aps.seal_command(key, key_id, command, counter, frame_counter, stack.eui64_octets)

    def receive(self, frame: bytes, source: int) -> None:
        """A command came in under the network key. Raises ApsError, SecurityError."""
        header = aps.parse_command(frame)
        command: bytes | None
        if header.key_id is None:
            command = frame[header.octets :]
        else:
            command = self._open(frame, header, header.key_id, source)
        handler = self.handlers.get(command[0]) if command else None
        if handler is not None and command is not None:
            handler(command, source, header.key_id is not None)

    def _open(
        self, frame: bytes, header: aps.CommandHeader, key_id: int, source: int
    ) -> bytes | None:
        stack = self._stack
        partner = self._keys.partner(source)
        if partner is None:
            stack.undecodable += 1
            return None
        link_key = partner.link_key
        if header.counter < link_key.incoming_counter:
            stack.replays_rejected += 1
            return None
        try:
            key = self._keys.command_key(link_key.key, key_id)
            command = aps.open_command(key, frame, header, partner.eui64)
        except SecurityError:
            unconfirmed = self._keys.unconfirmed
            if unconfirmed is None or unconfirmed.eui64 != link_key.eui64:
                raise
            key = self._keys.command_key(unconfirmed.key, key_id)
            command = aps.open_command(key, frame, header, partner.eui64)
        self._keys.heard(link_key, header.counter)
        return command
