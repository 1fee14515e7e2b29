"""A DSP under load that is killed, and the supplier and the hub that go on regardless."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import aiohttp
from aiohttp import web
from dsp_rig import (
    HUB,
    NEW,
    OLD,
    Device,
    device_keys,
    dsp_keys,
    made_image,
    sign,
    smi_device,
)
from kill_history import History
from kill_server import FIRST_DEVICE, desk

from dsp_stub.cpl import CplEntry, image_hash
from dsp_stub.requests import (
    Body,
    DevicePrenotification,
    Request,
    RequestId,
    UpdatePpmidFirmware,
    build_request,
)
from dsp_stub.responses import (
    CspFirmwareDeliveryStatus,
    DccAlertMessage,
    PpmidAlert,
    parse_response,
)
from dsp_stub.safe_xml import parse_xml
from dsp_stub.smi import DeviceType, Premises
from firmware_images.samples import identity
from gbcs.smki import ACB_EUI64, SUPPLIER_EUI64
from gbcs.wan import (
    DeliveryOutcome,
    DeliveryResult,
    ImageOffer,
    MessageFromDevice,
    parse_message,
    serialise,
)
from hil.wan_client import WanClient

PATH = "/api/v1/serviceD"
USERS_AT_ONCE = 3
SETTLE_S = 60.0


class KillRig:
    """One test: a folder, a DSP in a process that forks, a log of what came of it."""

    def __init__(self, folder: Path, count: int, seed: int) -> None:
        self.folder = folder
        self.random = random.Random(seed)
        self.history = History()
        self.idle = [FIRST_DEVICE + number for number in range(count)]
        self.count = count
        self.devices: dict[int, Device] = {}
        self.image = made_image()
        self.unknown: list[tuple[str, bytes]] = []
        self.counter = 0
        self.announced = 0x00DB_7200_0000_0000
        self.child = 0
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    # -- the DSP ---------------------------------------------------------------------------------

    def furnish(self, callback: str) -> None:
        self.callback = callback
        found = desk(self.folder, callback, dsp_keys((HUB,)))
        with found.store.transaction():
            inventory = found.inventory
            inventory.add_premises(Premises(id=1, uprn="1", responsible=(SUPPLIER_EUI64,)))
            inventory.add(smi_device(HUB, device_type=DeviceType.CHF, ppmid_variant=None, chf=None))
            for device in self.idle:
                inventory.add(smi_device(device, premises=None, prenotified_by=SUPPLIER_EUI64))
            product = identity("ppmid")
            for version, image in ((OLD, None), (NEW, self.image)):
                found.cpl.add(
                    CplEntry(
                        device_type=DeviceType.PPMID,
                        manufacturer=f"{product.manufacturer_code:04X}",
                        model=product.model,
                        firmware_version=f"{version:08X}",
                        smets_chts_version="PPMIDTS V4.4",
                        gbcs_version="4.1",
                        image_hash=None if image is None else image_hash(image),
                    )
                )
        found.store.close()
        for device in self.idle:
            device_keys(device)  # made once, before anything is timed
        here = Path(__file__).parent
        self.forker = subprocess.Popen(
            [
                sys.executable,
                str(here / "kill_server.py"),
                str(self.folder),
                str(self.port),
                callback,
                str(self.count),
                str(time.time()),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": f"{here}:{here.parents[1]}"},
        )
        assert self.forker.stdout is not None
        assert self.forker.stdout.readline() == "ready\n"

    def start(self) -> None:
        assert self.forker.stdin is not None
        assert self.forker.stdout is not None
        self.forker.stdin.write("\n")
        self.forker.stdin.flush()
        self.child = int(self.forker.stdout.readline())

    def kill(self) -> None:
        os.kill(self.child, signal.SIGKILL)
        self.history.kills += 1

    def close(self) -> None:
        if self.child:
            with suppress(ProcessLookupError):
                os.kill(self.child, signal.SIGKILL)
        self.forker.communicate()

    # -- the supplier ----------------------------------------------------------------------------

    def _request(self, service: str, body: Body) -> tuple[str, bytes]:
        self.counter += 1
        request_id = RequestId(SUPPLIER_EUI64, ACB_EUI64, self.counter)
        return str(request_id), sign(build_request(Request(request_id, 8, service, service, body)))

    def _next_request(self) -> tuple[str, bytes]:
        if self.idle and self.random.random() < 0.7:
            device = self.idle.pop()
            body = UpdatePpmidFirmware(self.image.data, f"{NEW:08X}", (device,))
            request_id, octets = self._request("11.4", body)
            self.history.updated[request_id] = device
            return request_id, octets
        self.announced += 1
        request_id, octets = self._request("12.2", announcement(self.announced))
        self.history.announced[request_id] = self.announced
        return request_id, octets

    async def ask_on(self) -> None:
        """Ask without pause; what was not answered is asked again, word for word."""
        async with aiohttp.ClientSession() as session:
            while True:
                again = bool(self.unknown)
                request_id, octets = self.unknown.pop() if again else self._next_request()
                try:
                    await self._ask(session, request_id, octets, again=again)
                except (aiohttp.ClientError, OSError):
                    self.history.lost_answers += 1
                    self.unknown.append((request_id, octets))
                    await asyncio.sleep(0.005)  # nobody listens for a moment
                except asyncio.CancelledError:
                    self.unknown.append((request_id, octets))
                    raise

    async def _ask(
        self, session: aiohttp.ClientSession, request_id: str, octets: bytes, *, again: bool
    ) -> None:
        url = f"http://127.0.0.1:{self.port}{PATH}"
        async with session.post(url, data=octets) as answer:
            code = parse_response(parse_xml(await answer.read())).response_code
        if code == "I99" or (again and code == "E42"):
            self.history.accepted.add(request_id)
        else:
            self.history.refused.add(request_id)

    async def take_callback(self, request: web.Request) -> web.Response:
        message = parse_response(parse_xml(await request.read())).message
        assert isinstance(message, DccAlertMessage)
        match message.alert:
            case PpmidAlert() as alert:
                self.history.told["N39", alert.device_id] += 1
            case CspFirmwareDeliveryStatus() as alert:
                self.history.told["N60", alert.target_device_id] += 1
        return web.Response()

    # -- the hub ---------------------------------------------------------------------------------

    def take(self, octets: bytes) -> None:
        """The hub stores every image, and every device activates what it gets, once."""
        offer = parse_message(octets)
        assert isinstance(offer, ImageOffer)
        for device in offer.devices:
            self.history.offers.append((device, offer.reference))
            outcome = DeliveryOutcome(HUB, device, offer.reference, DeliveryResult.DELIVERED)
            self.client.send(serialise(outcome))
            if device not in self.devices:
                self.devices[device] = Device(device)
                frame = self.devices[device].activated()
                self.client.send(serialise(MessageFromDevice(HUB, device, frame)))

    # -- the test --------------------------------------------------------------------------------

    async def run(self, kills: int) -> list[str]:
        """Kill it so often, then let it come to rest; the faults."""
        application = web.Application()
        application.router.add_post("/", self.take_callback)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        self.furnish(f"http://{host}:{port}/")
        self.client = WanClient(
            f"http://127.0.0.1:{self.port}", self.take, lambda _what: None, first_retry_s=0.01
        )
        link = asyncio.create_task(self.client.run(HUB))
        asking = [asyncio.create_task(self.ask_on()) for _ in range(USERS_AT_ONCE)]
        try:
            for _ in range(kills):
                self.start()
                await asyncio.sleep(self.random.uniform(0.03, 0.3))
                self.kill()
            self.start()
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
            await self._settle()
            self.kill()
            found = desk(self.folder, self.callback, dsp_keys((HUB,)))
            faults = self.history.faults(found, SUPPLIER_EUI64)
            found.store.close()
            return faults
        finally:
            link.cancel()
            await asyncio.gather(link, return_exceptions=True)
            self.close()
            await runner.cleanup()

    async def _settle(self) -> None:
        """What was not answered is asked again, and what was accepted comes to its end."""
        end_s = time.monotonic() + SETTLE_S
        async with aiohttp.ClientSession() as session:
            while self.unknown and time.monotonic() < end_s:
                request_id, octets = self.unknown.pop()
                try:
                    await self._ask(session, request_id, octets, again=True)
                except (aiohttp.ClientError, OSError):
                    self.unknown.append((request_id, octets))
                    await asyncio.sleep(0.02)
        wanted = {
            self.history.updated[one] for one in self.history.accepted & {*self.history.updated}
        }
        while time.monotonic() < end_s:
            told = {device for code, device in self.history.told if code == "N39"}
            if told >= wanted and not self.client.waiting:
                break
            await asyncio.sleep(0.02)
        with closing(sqlite3.connect(self.folder / "dsp.sqlite")) as database:
            while time.monotonic() < end_s:
                (left,) = database.execute("SELECT COUNT(*) FROM outbox").fetchone()
                if not left:
                    break
                await asyncio.sleep(0.02)


def announcement(device: int) -> DevicePrenotification:
    return DevicePrenotification(
        device_id=device,
        manufacturer="121D",
        model="00841111",
        device_type="PPMID",
        smets_chts_version="PPMIDTS V4.4",
        firmware_version=f"{OLD:08X}",
        ppmid_variant="PPMID",
    )
