"""The air as a live stream of ZEP datagrams, for a Wireshark that listens.

Source: emulator/medium/zep.py (the datagram). Nobody need be there to listen: what a closed port
answers is ignored, and what the kernel has no room for is lost, as frames on the air are.
"""

from __future__ import annotations

import contextlib
import socket

from emulator.medium import zep
from hil.errors import RequestError


class ZepStream:
    """Sends every frame of an air to one UDP port."""

    def __init__(self, host: str, port: int) -> None:
        """Raises RequestError for a host that has no address."""
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
            family, kind, protocol, _, address = found[0]
            self._socket = socket.socket(family, kind, protocol)
        except OSError as error:
            raise RequestError(f"--zep {host}:{port} cannot be: {error.strerror}") from None
        self._socket.setblocking(False)
        self._address = address
        self._sequence = 0

    def frame(self, time_us: int, channel: int, psdu: bytes) -> None:
        """Send one frame that began at `time_us`, Unix time."""
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        datagram = zep.build(zep.ZepFrame(time_us, channel, self._sequence, psdu))
        with contextlib.suppress(OSError):
            self._socket.sendto(datagram, self._address)

    def close(self) -> None:
        self._socket.close()
