"""What a hub has to say to its DSP, numbered, until the DSP took it: kept over a restart.

Source: ours; `gbcs.wan_link` has the numbers. A number is never used twice in a session, and the
session goes on with the state: by both the DSP tells what it has already.

    kept under        what
    ----------------  ---------------------------------------------
    wan session       the last number, 8 octets, and the session's
    wan 000…number    a message that the DSP has not taken
"""

from __future__ import annotations

import secrets
from collections import deque

from gbcs.wan_link import Numbered
from hil.kept import Changes, Kept

MAX_QUEUED = 1000
_SESSION, _MESSAGE = "wan session", "wan message "
_NUMBER_OCTETS = 8


class WanQueue:
    """Of one hub; what it takes is kept when it has taken it."""

    def __init__(self, power: Kept) -> None:
        self._power = power
        self._messages: deque[Numbered] = deque()
        self._changes: dict[str, bytes | None] = {}
        self.session = secrets.token_hex(8)
        self._last = 0
        for name, octets in power.adopt("wan ", self):
            if name == _SESSION:
                self._last = int.from_bytes(octets[:_NUMBER_OCTETS], "big")
                self.session = octets[_NUMBER_OCTETS:].decode()
            else:
                self._messages.append(Numbered(int(name.removeprefix(_MESSAGE)), octets))

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def oldest(self) -> Numbered | None:
        return self._messages[0] if self._messages else None

    def put(self, message: bytes) -> bool:
        """Take a message; False when there are too many. Raises PowerCut."""
        if len(self._messages) >= MAX_QUEUED:
            return False

        def do() -> None:
            self._last += 1
            self._messages.append(Numbered(self._last, message))
            word = self._last.to_bytes(_NUMBER_OCTETS, "big") + self.session.encode()
            self._changes[_SESSION] = word
            self._changes[_name(self._last)] = message

        self._power.operate("wan: message", do, do)
        return True

    def taken(self, number: int) -> bool:
        """The DSP has this message; False when it is not the oldest. Raises PowerCut."""
        if not self._messages or self._messages[0].number != number:
            return False

        def do() -> None:
            self._messages.popleft()
            self._changes[_name(number)] = None

        self._power.operate("wan: taken", do, do)
        return True

    def changes(self) -> Changes:
        """What the folder does not have yet."""
        changes, self._changes = self._changes, {}
        return changes


def _name(number: int) -> str:
    return f"{_MESSAGE}{number:020}"
