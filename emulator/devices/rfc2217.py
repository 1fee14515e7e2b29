"""Serial ports behind ser2net: `rfc2217://HOST:PORT`, where the far end answers less than asked.

Source: RFC 2217, 3 (SET-MODEMSTATE-MASK, SET-LINESTATE-MASK); serialx' extension point
`register_uri_handler`. serialx waits for both masks to be acknowledged and gives up; ser2net sets
them and says nothing (gensio 2.6 of Debian 12). Nobody here reads modem or line states, so that the
masks are sent and not waited for. serialx drains a port that is closed, and hands on what comes
meanwhile; bellows has closed its side by then and takes it for a failure, so it hears nothing any
more. All else of the port is serialx' own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import cache
from typing import Any

from serialx import register_uri_handler
from serialx.platforms.serial_rfc2217 import RFC2217Serial, RFC2217SerialTransport
from serialx.platforms.serial_rfc2217.types import SetLinestateMaskCmd, SetModemstateMaskCmd

SCHEME = "rfc2217://"
_OWN_SCHEME = "hanbench-rfc2217://"
_WEIGHT = 10  # serialx' own has less


class _Deaf(asyncio.Protocol):
    """Whoever has closed its port: told when the port is gone, and of nothing before."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        self._protocol = protocol

    def connection_lost(self, exc: Exception | None) -> None:
        self._protocol.connection_lost(exc)


class PatientTransport(RFC2217SerialTransport):
    """A port whose masks need no answer, and that is silent once it is closed."""

    _protocol: asyncio.Protocol

    def close(self) -> None:
        if not self.is_closing():
            self._protocol = _Deaf(self._protocol)
        super().close()

    async def _send_and_wait(self, cmd: Any) -> Any:
        if isinstance(cmd, SetModemstateMaskCmd | SetLinestateMaskCmd):
            self._send_command(cmd)
            return cmd
        return await super()._send_and_wait(cmd)


@cache
def register() -> Callable[[], None]:
    """Have serialx open such ports with this class, once per process."""
    unregister: Callable[[], None] = register_uri_handler(
        scheme=SCHEME,
        unique_scheme=_OWN_SCHEME,
        sync_cls=RFC2217Serial,
        async_transport_cls=PatientTransport,
        weight=_WEIGHT,
        connect_kwargs=frozenset({"connect_timeout", "receive_buffer_size"}),
    )
    return unregister
