"""bellows as the host of a stick that has no serial line: octets in, octets out."""

from __future__ import annotations

from typing import Any

import bellows.types as t
from air_support import Air, StackHost, form
from bellows.ezsp import EZSP

from emulator.ncp.ezsp import Ezsp
from emulator.ncp.ezsp_tables import SUPPORTED_VERSIONS, Tables
from emulator.zigbee.events import Event

TABLES = {version: Tables(version) for version in SUPPORTED_VERSIONS}
EUI64 = 0x02484E4200000001


def octets(text: str) -> bytes:
    return bytes.fromhex(text)


class Host:
    """bellows' protocol of one version, talking to an `Ezsp` without a line between them."""

    def __init__(self, version: int, *, formed: bool = False) -> None:
        self.version = version
        self.air = Air()
        self.stick = form(self.air) if formed else StackHost(self.air, "stick", EUI64)
        self.stack = self.stick.stack
        self.ezsp = Ezsp(TABLES[version], self.stack)
        self.stack.on_event = self.tell
        self.protocol = EZSP._BY_VERSION[version](lambda *_: None, None)

    def tell(self, event: Event) -> None:
        self.ezsp.keep_callback(self.ezsp.callback(event))

    def ask(self, name: str, **fields: Any) -> dict[str, Any]:
        return self.answer_to(name, self.protocol._ezsp_frame(name, **fields))

    def answer_to(self, name: str, request: bytes) -> dict[str, Any]:
        """What bellows makes of the answer; nothing of it may be left over."""
        response = self.ezsp.receive(request)
        assert response is not None
        sequence, frame_id, body = self.protocol._ezsp_frame_rx(response)
        assert sequence == request[0]
        command, _, schema = self.protocol.COMMANDS[name]
        assert frame_id == command, f"{name} was not answered: {response.hex(' ')}"
        if isinstance(schema, dict):
            fields, rest = t.deserialize_dict(body, schema)
        else:
            value, rest = schema.deserialize(body)
            fields = {"value": value}
        assert rest == b""
        return dict(fields)

    def callbacks(self) -> list[bytes]:
        return self.ezsp.take_callbacks(64)

    def callback(self) -> tuple[str, dict[str, Any], bytes]:
        """The one callback that waits: its name, its fields as bellows reads them, its octets."""
        (frame,) = self.callbacks()
        _, frame_id, body = self.protocol._ezsp_frame_rx(frame)
        name, _, schema = self.protocol.COMMANDS_BY_ID[frame_id]
        fields, rest = t.deserialize_dict(body, schema)
        assert rest == b""
        return name, dict(fields), frame
