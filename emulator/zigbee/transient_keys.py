"""The link keys of joiners that are expected: a table that forgets by itself.

Source: Silicon Labs UG100, CONFIG_TRANSIENT_KEY_TIMEOUT_S (0x36): a key that is not used for a
join in time is gone; one that was given again lives from then on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping

from emulator.medium.timing import Cancellable, Scheduler

TRANSIENT_KEY_TIMEOUT_S = 300  # EmberZNet's default


class TransientKeys(MutableMapping[int, bytes]):
    """Keys by EUI-64. `on_expiry()` is called after some have gone by themselves.

    A changed `timeout_s` counts for keys given after it.
    """

    def __init__(self, clock: Scheduler, on_expiry: Callable[[], object]) -> None:
        self._clock = clock
        self._on_expiry = on_expiry
        self._keys: dict[int, tuple[bytes, int]] = {}
        self._timer: Cancellable | None = None
        self.timeout_s = TRANSIENT_KEY_TIMEOUT_S

    def __getitem__(self, eui64: int) -> bytes:
        return self._keys[eui64][0]

    def __setitem__(self, eui64: int, key: bytes) -> None:
        self._keys[eui64] = key, self._clock.now_us() + self.timeout_s * 1_000_000
        if self._timer is None:
            self._watch()

    def __delitem__(self, eui64: int) -> None:
        del self._keys[eui64]

    def __iter__(self) -> Iterator[int]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __repr__(self) -> str:  # keys never reach a log
        return f"TransientKeys({len(self)})"

    def remaining_s(self, eui64: int) -> int:
        """How long the key of `eui64` will still be there."""
        return max(self._keys[eui64][1] - self._clock.now_us(), 0) // 1_000_000

    def close(self) -> None:
        """Power off."""
        self._keys.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _watch(self) -> None:
        due_us = min(until_us for _, until_us in self._keys.values())
        self._timer = self._clock.call_at_us(due_us, self._expire)

    def _expire(self) -> None:
        now_us = self._clock.now_us()
        old = [eui64 for eui64, (_, until_us) in self._keys.items() if until_us <= now_us]
        for eui64 in old:
            del self._keys[eui64]
        self._timer = None
        if self._keys:
            self._watch()
        if old:
            self._on_expiry()
