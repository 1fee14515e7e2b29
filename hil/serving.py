"""What commands that serve until they are interrupted have in common.

Source: DESIGN, "What it promises to the outside": loopback only unless told otherwise, a clean stop
on SIGINT and SIGTERM.
"""

from __future__ import annotations

import asyncio
import re
import signal
from ipaddress import ip_address

from hil.errors import RequestError

_HOST_AND_PORT = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+)):([0-9]{1,5})")


def host_and_port(text: str) -> tuple[str, int]:
    """`127.0.0.1:8079` or `[::1]:8079`."""
    found = _HOST_AND_PORT.fullmatch(text)
    if found is None or int(found[3]) > 0xFFFF:
        raise RequestError(f"{text!r} is not how to listen: say HOST:PORT, such as 127.0.0.1:8079")
    return found[1] or found[2], int(found[3])


def require_loopback(host: str, allow_remote: bool) -> None:
    """Refuse to listen beyond this machine unless that was asked for."""
    if allow_remote or host == "localhost":
        return
    try:
        if ip_address(host).is_loopback:
            return
    except ValueError:
        pass
    raise RequestError(f"{host} is not this machine: say --allow-remote if anybody may reach it")


def interruption() -> asyncio.Event:
    """Set by SIGINT or SIGTERM."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    return ended
