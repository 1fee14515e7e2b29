"""When things happen on a 2.4 GHz IEEE 802.15.4 channel, in microseconds.

Source: IEEE 802.15.4-2006, 6.5 (O-QPSK, 62.5 ksymbol/s, 250 kbit/s) and 7.5.1.4 (CSMA-CA).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

SYMBOL_US = 16
OCTET_US = 2 * SYMBOL_US
PHY_HEADER_OCTETS = 6  # preamble 4, start of frame 1, length 1 (6.3)
MAX_PSDU_OCTETS = 127  # aMaxPHYPacketSize

TURNAROUND_US = 12 * SYMBOL_US  # aTurnaroundTime
CCA_US = 8 * SYMBOL_US
UNIT_BACKOFF_US = 20 * SYMBOL_US  # aUnitBackoffPeriod
ACK_WAIT_US = 54 * SYMBOL_US  # macAckWaitDuration
SIFS_US = 12 * SYMBOL_US  # macMinSIFSPeriod
LIFS_US = 40 * SYMBOL_US  # macMinLIFSPeriod
SIFS_MAX_OCTETS = 18  # aMaxSIFSFrameSize

MIN_BE = 3  # macMinBE
MAX_BE = 5  # macMaxBE
MAX_CSMA_BACKOFFS = 4  # macMaxCSMABackoffs
MAX_FRAME_RETRIES = 3  # macMaxFrameRetries
# macMaxFrameTotalWaitTime: back-offs of 8, 16 and twice 31 unit periods, and the longest frame
MAX_FRAME_TOTAL_WAIT_US = (8 + 16 + 31 + 31) * UNIT_BACKOFF_US + 266 * SYMBOL_US

ACK_OCTETS = 5  # frame control 2, sequence 1, FCS 2


def air_us(psdu_octets: int) -> int:
    """How long a frame of `psdu_octets` (FCS included) occupies the air."""
    return (PHY_HEADER_OCTETS + psdu_octets) * OCTET_US


def hop_us(psdu_octets: int, *, mean_backoff: bool = True) -> float:
    """R-real cost of one acknowledged hop: back-off, CCA, turnaround, frame, ACK, LIFS.

    With `mean_backoff` the mean of macMinBE back-off is used (3.5 unit periods), else none.
    """
    backoff_us = (2**MIN_BE - 1) / 2 * UNIT_BACKOFF_US if mean_backoff else 0.0
    ack_us = TURNAROUND_US + air_us(ACK_OCTETS)
    return backoff_us + CCA_US + TURNAROUND_US + air_us(psdu_octets) + ack_us + LIFS_US


class Cancellable(Protocol):
    """What `Scheduler.call_at_us` returns."""

    def cancel(self) -> None:
        """The call will not be made; cancelling twice, or after it was made, is harmless."""


class Scheduler(Protocol):
    """The clock as the air and the stack see it. `hil.clock` implements it.

    While a call made by the scheduler runs, `now_us()` is the time it was *scheduled* for, so that
    lateness never adds up: on the real clock a late wake-up runs several steps at their own times.
    """

    def now_us(self) -> int:
        """Microseconds since the run began."""

    def call_at_us(self, when_us: int, call: Callable[..., object], *args: object) -> Cancellable:
        """Call `call(*args)` at `when_us`; calls for one time are made in the order asked."""


RandomBits = Callable[[int], int]
"""`getrandbits` of a seeded generator: all chance in cores is drawn through one of these."""
