"""When a hub lets a device wait before its next block.

Source: ZigBee Cluster Library 07-5123-06, chapter 11 (OTA Upgrade): Image Block Response with
WAIT_FOR_DATA, MinimumBlockPeriod; how to find out whether a client takes the period for seconds or
for milliseconds is after the Ember server. Numbers are ours (docs/open-points.md, "OTA server").

    block request                                   answer
    ----------------------------------------------  -------------------------------------------
    while the hub serves nobody                     WAIT_FOR_DATA for as long as that is to last
    of one device more than are served at a time    WAIT_FOR_DATA, `busy_wait_s`
    says a period that is not the hub's             WAIT_FOR_DATA with the hub's
    the same again                                  the block: the client has a limit of its own
    says a period, its unit is to be found out      WAIT_FOR_DATA with the test period, 60
    after the test period                           as above; the unit is the one that fits
    says no period                                  the block: it cannot be given one
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from emulator.zigbee.ota import ImageBlockRequest, ImageBlockWait

BlockPeriodUnit = Literal["ms", "s", "discover"]

# A client that takes it for seconds comes back after a minute, or after its own limit of some
# seconds; any other at once.
TEST_PERIOD = 60
TEST_DECIDES_S = 4.0
MAX_TESTS = 5
TEST_FORGOTTEN_S = 120.0
# A device that asked for no block for so long is not being served.
ACTIVE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PacingParameters:
    minimum_block_period_ms: int = 0
    block_period_unit: BlockPeriodUnit = "ms"
    max_transfers: int | None = None
    busy_wait_s: int = 60


class Pacing:
    """Of one hub. With nothing to pace, `is_idle`, it need not be asked."""

    def __init__(self, parameters: PacingParameters) -> None:
        self._parameters = parameters
        self._suspended_until_s: float | None = None
        self._active_s: dict[int, float] = {}
        self._told: dict[int, int] = {}
        self._units: dict[int, BlockPeriodUnit] = {}
        self._tests_s: dict[int, float] = {}

    @property
    def is_idle(self) -> bool:
        parameters = self._parameters
        return not (
            self._suspended_until_s is not None
            or parameters.minimum_block_period_ms
            or parameters.max_transfers is not None
        )

    def suspend(self, until_s: float) -> None:
        """Serve no blocks before this loop time."""
        self._suspended_until_s = until_s

    def forget(self, eui64: int) -> None:
        """A device that left, or begins anew."""
        for known in (self._active_s, self._told, self._units, self._tests_s):
            known.pop(eui64, None)

    def wait(self, eui64: int, request: ImageBlockRequest, now: float) -> ImageBlockWait | None:
        """What to answer a block request with; None when the block is due."""
        if self._suspended_until_s is not None:
            left_s = math.ceil(self._suspended_until_s - now)
            if left_s > 0:
                return ImageBlockWait(0, left_s)
            self._suspended_until_s = None
        if self._is_one_too_many(eui64, now):
            return ImageBlockWait(0, self._parameters.busy_wait_s)
        period = request.minimum_block_period
        if period is None or not self._parameters.minimum_block_period_ms:
            return None
        wanted = self._period_for(eui64, now)
        if wanted is None or wanted == period or self._told.get(eui64) == wanted:
            return None
        self._told[eui64] = wanted
        return ImageBlockWait(0, 0, wanted)

    def _is_one_too_many(self, eui64: int, now: float) -> bool:
        most = self._parameters.max_transfers
        if most is None:
            return False
        active_s = self._active_s
        for device in [device for device, at_s in active_s.items() if now - at_s > ACTIVE_S]:
            del active_s[device]
        if eui64 not in active_s and len(active_s) >= most:
            return True
        active_s[eui64] = now
        return False

    def _period_for(self, eui64: int, now: float) -> int | None:
        """The hub's period in the client's unit; None when that is not to be found out now."""
        unit = self._parameters.block_period_unit
        if unit == "discover":
            if eui64 not in self._units:
                return self._test(eui64, now)
            unit = self._units[eui64]
        period_ms = self._parameters.minimum_block_period_ms
        return period_ms if unit == "ms" else -(-period_ms // 1000)

    def _test(self, eui64: int, now: float) -> int | None:
        tests_s = self._tests_s
        if eui64 in tests_s:
            came_s = now - tests_s.pop(eui64)
            self._units[eui64] = "s" if came_s >= TEST_DECIDES_S else "ms"
            return self._period_for(eui64, now)
        for device in [one for one, at_s in tests_s.items() if now - at_s > TEST_FORGOTTEN_S]:
            del tests_s[device]
        if len(tests_s) >= MAX_TESTS:
            return None
        tests_s[eui64] = now
        return TEST_PERIOD
