"""How long an end device goes on looking for a parent, once the one it had does not answer; and how
any device looks for a hub that does not.

Source: ZigBee specification 05-3474, 3.6.1.4.2 (rejoining with the network key, and without should
the one it has be an old one); the waits are ours, as a battery device spares its battery. Smart
Energy profile 07-5356, 5.4.2.2.3 (the trust centre was swapped: a rejoin without the key).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

WAITS_S = (0.0, 5.0, 15.0, 60.0, 120.0, 300.0)  # before each attempt

_Outcome = TypeVar("_Outcome")


async def find_parent(rejoin: Callable[[bool], Awaitable[_Outcome]], found: _Outcome) -> _Outcome:
    """Attempt after attempt until one is `found`; how the last one ended.

    `rejoin(has_key)` is one attempt, with the network key or without.
    """
    for wait_s in WAITS_S:
        await asyncio.sleep(wait_s)
        for has_key in (True, False):
            outcome = await rejoin(has_key)
            if outcome == found:
                return outcome
    return outcome


async def find_hub(rejoin: Callable[[bool], Awaitable[_Outcome]], found: _Outcome) -> bool:
    """One search. Without the network key first: with it, a router of the old network would do, and
    its hub is what is lost. Then with it, since the old hub may be back, which asks for it."""
    for has_key in (False, True):
        if await rejoin(has_key) == found:
            return True
    return False
