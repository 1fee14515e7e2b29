"""A Smart Energy port that tells of every message its host sends and hears.

Source: ours. The tap is on the line, below bellows: what zigpy says by itself is told too. A port
without one is a `SmartEnergyEzsp`, which knows nothing of this.
"""

from __future__ import annotations

from typing import Any

from emulator.devices.host_messages import HostMessages, OnHostMessage
from emulator.devices.smart_energy_ezsp import SmartEnergyEzsp


class TappedEzsp(SmartEnergyEzsp):
    """`on_host_message` is called as messages are sent and heard."""

    def __init__(
        self,
        device_config: dict[str, Any],
        application: Any = None,
        *,
        on_host_message: OnHostMessage,
        **options: Any,
    ) -> None:
        super().__init__(device_config, application, **options)
        self._on_host_message = on_host_message
        self._messages_of_line: HostMessages | None = None

    async def connect(self, *, use_thread: bool = False) -> None:
        await super().connect(use_thread=use_thread)
        self._messages_of_line = messages = HostMessages(self._ezsp_version)
        self._ash = self._gw._obj._transport = _Told(self._ash, messages)

    def frame_received(self, data: bytes) -> None:
        if self._messages_of_line is not None:
            message = self._messages_of_line.heard(data)
            if message is not None:
                if message.eui64 is None:
                    message = message._replace(eui64=self._peer_of(message.nwk, None))
                self._on_host_message(message)
        super().frame_received(data)


class _Told:
    """bellows' ASH, with an ear on what it is given to send, by either of its ways."""

    def __init__(self, ash: Any, messages: HostMessages) -> None:
        self._ash = ash
        self._messages = messages

    async def send_data(self, data: bytes) -> None:
        self._messages.told(data)
        await self._ash.send_data(data)

    async def _send_data_frame(self, frame: Any) -> None:
        self._messages.told(frame.ezsp_frame)
        await self._ash._send_data_frame(frame)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ash, name)
