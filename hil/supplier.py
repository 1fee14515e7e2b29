"""The supplier of a run: signs its DUIS requests, posts them, and keeps what comes back.

Source: DESIGN, "There and back". It knows of a device what its own messages and the DSP's signed
answers say, and nothing else: no look into the DSP, the hub or the air.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import aiohttp

from dsp_stub.requests import Body, Request, RequestId, SignedPreCommand, service_reference
from dsp_stub.responses import (
    DccAlertMessage,
    DeviceAlertMessage,
    Response,
    ResponseMessage,
)
from gbcs.envelope import parse_frame
from gbcs.protection import PrivateKey, complete_pre_command
from gbcs.user_commands import pre_command
from hil.alert_words import alert_devices, alert_words, warning_words
from hil.duis_client import CallbackListener, DuisUser, new_session, send
from hil.duis_lines import alert_element
from hil.records import Records

DCC_ONLY, SEND_OVER_WAN = 8, 1

Hold = Callable[[], AbstractContextManager[None]]


class Supplier:
    """One user of the DSP. `on_callback` is called with each verified response or alert and the id
    of the event that records it."""

    def __init__(
        self,
        user: DuisUser,
        signing_key: PrivateKey,
        dcc: int,
        records: Records,
        on_callback: Callable[[Response, int], object],
        on_refused: Callable[[str], object],
        hold: Hold,
    ) -> None:
        self.responses: dict[str, tuple[Response, int]] = {}
        self._user = user
        self._signing_key = signing_key
        self._dcc = dcc
        self._records = records
        self._on_callback = on_callback
        self._hold = hold
        self._counter = 0
        self._dsp_url = ""
        self._session: aiohttp.ClientSession | None = None
        self._listener = CallbackListener(user, self._receive, on_refused)

    async def listen(self) -> str:
        """Open the port for callbacks; its URL."""
        self._session = new_session()
        return await self._listener.start()

    def reach(self, dsp_url: str) -> None:
        """Where requests go from now on."""
        self._dsp_url = dsp_url

    async def stop(self) -> None:
        await self._listener.stop()
        if self._session is not None:
            await self._session.close()

    async def ask(
        self,
        service: str,
        body: Body,
        *,
        target: int | None = None,
        about: tuple[int, ...],
        variant: int | None = None,
        user: DuisUser | None = None,
        note: str = "",
    ) -> tuple[Response, str, int]:
        """Send a request; the answer, the RequestID, and the id of the answer's event.

        `target` is the device a command is for, None for a service of the DCC; `about` are the
        devices the request is about; `variant` is the command variant, where it is none of the
        usual two; `user` signs it where that is somebody else. `note` is what a reader should know
        of it.
        """
        assert self._session is not None
        self._counter += 1
        user = user or self._user
        if variant is None:
            variant = DCC_ONLY if target is None else SEND_OVER_WAN
        request_id = RequestId(user.eui64, self._dcc if target is None else target, self._counter)
        reference = service_reference(service)
        signed = user.sign(Request(request_id, variant, reference, service, body))
        text = str(request_id)
        self._records.duis(
            "request", signed, what=service, service=service, request_id=text, devices=about
        )
        with self._hold():
            octets = await send(self._session, self._dsp_url, signed)
        response = user.open_reply(octets)
        event_id = self._records.duis(
            "acknowledgement",
            octets,
            what=service,
            service=service,
            request_id=text,
            code=response.response_code,
            devices=about,
            detail="; ".join(filter(None, (note, warning_words(response)))),
        )
        return response, text, event_id

    def signed_command(self, code: int, target: int, payload: bytes) -> SignedPreCommand:
        """The command of a critical service, signed for the request that is sent next."""
        octets = pre_command(code, self._user.eui64, self._counter + 1, target, payload)
        return SignedPreCommand(complete_pre_command(parse_frame(octets), self._signing_key))

    def _receive(self, octets: bytes, response: Response) -> None:
        """A callback whose signature has been verified."""
        message = response.message
        match message:
            case DccAlertMessage():
                element = alert_element(message.alert)
                event_id = self._records.duis(
                    "alert",
                    octets,
                    what=message.dcc_alert_code,
                    code=message.dcc_alert_code,
                    element=element,
                    devices=alert_devices(message),
                    detail=alert_words(message),
                )
            case DeviceAlertMessage():
                event_id = self._records.duis(
                    "alert",
                    octets,
                    what=f"{message.alert_code:04X}",
                    code=f"{message.alert_code:04X}",
                    element="DeviceAlertMessage",
                )
            case ResponseMessage():
                request_id = None if response.request_id is None else str(response.request_id)
                target = () if response.request_id is None else (response.request_id.target,)
                event_id = self._records.duis(
                    "response",
                    octets,
                    what=message.service_reference,
                    service=message.service_reference,
                    request_id=request_id,
                    code=response.response_code,
                    devices=target,
                )
                if request_id is not None:
                    self.responses[request_id] = (response, event_id)
        self._on_callback(response, event_id)
