"""The DSP's shell: its web services, its callbacks to users, its links to hubs, its timer.

Source: DESIGN, "There and back"; the paths are those of DCC Boxed. Everything that happens is one
call of `Dsp`, after which what is due leaves: to hubs at once, to each user one after the other. A
delivery that fails is tried again later and later, until it is taken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector, web

from dsp_stub import wan_server
from dsp_stub.gateway import PATHS
from dsp_stub.outbox import Delivery
from dsp_stub.safe_xml import MAX_DOCUMENT_BYTES
from dsp_stub.service import Dsp, Reply
from dsp_stub.wan_server import WanServer
from gbcs.wan import Wan

XML = "application/xml"
CALLBACK_TIMEOUT_S = 30.0
SHUTDOWN_TIMEOUT_S = 2.0
# Each may be a transaction or two: requests have their turn in between.
MAX_MESSAGES_AT_ONCE = 16
PAUSE_S = 0.002
STEP_S = 0.005  # of one request, before others have their turn
# An answer takes the loop that many turns, from the first octet read to the last written.
PAUSE_TURNS = 5

Hold = Callable[[], AbstractContextManager[None]]


class DspServer:
    """One DSP on a port of its own. `hold` freezes a virtual clock round a socket exchange."""

    def __init__(
        self, dsp: Dsp, utc_now: Callable[[], datetime], *, hold: Hold = nullcontext
    ) -> None:
        self._dsp = dsp
        self._utc_now = utc_now
        self._hold = hold
        self._hubs: dict[int, Wan] = {}
        self._wan = WanServer(dsp, utc_now, self.pump)
        self._runner: web.AppRunner | None = None
        self._session: ClientSession | None = None
        self._senders: dict[int, asyncio.Task[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._pumping = False
        self._pumped_at = datetime.min.replace(tzinfo=UTC)

    async def start(self, host: str, port: int) -> str:
        """Listen; the URL. Port 0 takes any that is free. Raises OSError when it is taken."""
        application = web.Application(client_max_size=MAX_DOCUMENT_BYTES)
        for path in PATHS:
            application.router.add_post(path, self._handle)
        application.router.add_get(wan_server.PATH, self._wan.handle)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=SHUTDOWN_TIMEOUT_S)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        # A connection each: one that was kept would have to outlive hours of virtual time.
        self._session = ClientSession(
            connector=TCPConnector(force_close=True),
            timeout=ClientTimeout(total=CALLBACK_TIMEOUT_S),
        )
        self.pump()
        bound = runner.addresses[0]
        return f"http://{bound[0]}:{bound[1]}"

    async def stop(self) -> None:
        """Close the port; what is undelivered stays in the outbox."""
        if self._timer is not None:
            self._timer.cancel()
        for sender in self._senders.values():
            sender.cancel()
        await asyncio.gather(*self._senders.values(), return_exceptions=True)
        await self._wan.stop()
        if self._session is not None:
            await self._session.close()
        if self._runner is not None:
            await self._runner.cleanup()

    def connect_hub(self, eui64: int, link: Wan) -> None:
        """From now on messages for this hub go over `link`."""
        self._hubs[eui64] = link
        self._dsp.desk.outbox.touched.add(eui64)
        self.pump()

    def carry_out(self, call: Callable[..., None], /, *arguments: Any, **options: Any) -> None:
        """`Dsp.carry_out` now: `call` gets the time as its last argument."""
        self._dsp.carry_out(call, *arguments, self._utc_now(), **options)
        self.pump()

    def deliver(self, message: bytes) -> None:
        """A hub's end of the SM WAN: one serialised message for the DSP."""
        self._dsp.receive(message, self._utc_now())
        self.pump()

    # -- what leaves ---------------------------------------------------------------------------

    def pump(self) -> None:
        """Hand over what is due, and come back when something else is."""
        if self._session is None or self._pumping:
            return
        self._pumping = True  # a hub that answers at once must not start a second round inside
        try:
            now = self._utc_now()
            self._dsp.handle_timeout(now)
            outbox = self._dsp.desk.outbox
            outbox.touched.update(outbox.hubs_due_again(self._pumped_at, now))
            self._pumped_at = now
            more = self._serve_hubs()
        finally:
            self._pumping = False
        for user in self._dsp.users_waiting(self._utc_now()):
            if user not in self._senders:
                task = asyncio.get_running_loop().create_task(
                    self._serve_user(user), name=f"dsp tells {user:016X}"
                )
                self._senders[user] = task
        self._arm(at_once=more)

    def _serve_hubs(self) -> bool:
        """A few messages for hubs that have one due; whether there may be more."""
        touched = self._dsp.desk.outbox.touched
        for _ in range(MAX_MESSAGES_AT_ONCE):
            hub = next((hub for hub in touched if hub in self._hubs or hub in self._wan), None)
            if hub is None:
                return False
            if hub in self._wan:
                touched.discard(hub)
                self._wan.wake(hub)
                continue
            delivery = self._dsp.next_for_hub(hub, self._utc_now())
            if delivery is None:
                touched.discard(hub)
                continue
            # Handed over first: killed in between, the DSP sends it again, and the counter
            # inside tells the receiver.
            self._hubs[hub].deliver(delivery.body)
            self._dsp.delivered(delivery)
        return True

    async def _serve_user(self, user: int) -> None:
        """Post what is due for one user, in order, until nothing is or one is not taken."""
        try:
            while (delivery := self._dsp.next_callback(user, self._utc_now())) is not None:
                if await self._post(user, delivery):
                    self._dsp.delivered(delivery)
                else:
                    self._dsp.not_delivered(delivery, self._utc_now())
        finally:
            del self._senders[user]
        self._arm()

    async def _post(self, user: int, delivery: Delivery) -> bool:
        known = self._dsp.desk.users.get(user)
        if known is None or known.callback is None or self._session is None:
            return False
        try:
            with self._hold():
                async with self._session.post(
                    known.callback, data=delivery.body, headers={"Content-Type": XML}
                ) as answer:
                    return answer.ok
        except (ClientError, TimeoutError, OSError):
            return False

    def _arm(self, *, at_once: bool = False) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self._utc_now()
        due = now if at_once else self._dsp.next_timeout(now)
        if due is not None:
            wait_s = max((due - now).total_seconds(), PAUSE_S)
            self._timer = asyncio.get_running_loop().call_later(wait_s, self.pump)

    # -- what comes in -------------------------------------------------------------------------

    async def _handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        steps = self._dsp.answer_in_steps(request.path, body, self._utc_now())
        loop = asyncio.get_running_loop()
        until_s = loop.time() + STEP_S
        while True:
            try:
                next(steps)
            except StopIteration as end:
                reply: Reply = end.value
                break
            if loop.time() >= until_s:
                for _ in range(PAUSE_TURNS):
                    await asyncio.sleep(0)
                until_s = loop.time() + STEP_S
        # What follows from a request leaves after its answer has: the user knows it first.
        loop.call_soon(self.pump)
        return web.Response(body=reply.body, content_type=XML)
