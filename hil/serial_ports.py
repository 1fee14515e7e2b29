"""The serial ports of this machine, for whoever has to choose one.

Source: pyserial's list of ports; udev's names below /dev/serial/by-id, which stay the same when a
stick is plugged in elsewhere.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

BY_ID = Path("/dev/serial/by-id")


class SerialPort(NamedTuple):
    """One port: the name that lasts, and what the stick calls itself."""

    path: str
    what: str


def serial_ports(by_id: Path = BY_ID) -> list[SerialPort]:
    """All there are, in the order of their names."""
    from serial.tools.list_ports import comports

    lasting = {link.resolve(): str(link) for link in sorted(by_id.glob("*"))}
    return [
        SerialPort(lasting.get(Path(port.device).resolve(), port.device), _what(port))
        for port in sorted(comports(), key=lambda port: str(port.device))
    ]


def _what(port: object) -> str:
    words = (getattr(port, name, None) for name in ("manufacturer", "product", "serial_number"))
    return " ".join(str(word) for word in words if word) or "no name"
