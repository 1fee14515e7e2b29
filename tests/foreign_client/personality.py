"""How the clients of three stacks go about a download.

Source: the public OTA clients of Silicon Labs' Gecko SDK, TI's Z-Stack and NXP's JN516x SDK; what
they have in common is in ota.py.

| | block asked | waits for a reply | tries | between two requests | after a power cut |
|---|---|---|---|---|---|
| ember | 63 | 3 s, again after 2 s | 10, then Upgrade End ABORT | nothing | goes on |
| ti | 32 | 5 s | 10, then Upgrade End ABORT | the period it carries, in ms | begins again |
| nxp | 48 | 5 s, again after 5 s | 10 | 10 to 20 s where it is sold | goes on |
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Personality:
    """What is different from stack to stack."""

    max_data: int
    reply_timeout_s: float
    back_off_s: float
    tries: int = 10
    end_tries: int = 10
    end_interval_s: float = 600.0
    sends_period: bool = False
    period_unit_s: float = 0.001
    resumes: bool = True


PERSONALITIES = {
    "ember": Personality(63, 3.0, 2.0),
    "ti": Personality(
        32, 5.0, 0.0, end_tries=2, end_interval_s=5.0, sends_period=True, resumes=False
    ),
    "nxp": Personality(48, 5.0, 5.0, period_unit_s=1.0),
}
