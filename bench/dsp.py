"""`dsp_campaign`: an 11.4 for 50 000 devices with a 768 000-byte image, and what others feel of it.

Source: ours. One DSP over HTTP, its database a file (WAL, FULL). The inventory has a home for each
device: a hub, a GPF, an ESME and the PPMID. The bare cost is that of lxml, hashlib and cryptography
for the same document: parse, canonicalise, SHA-256, ECDSA.

The answer is timed twice: by a DSP that has read its inventory, as `hanbench dsp` does when it
starts, which is judged, and by one that has not, which is told. Meanwhile another connection asks
8.2 without pause, till the campaign has its rows; memory is the peak of the process above what it
had before the request.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import hashlib
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter

import aiohttp
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from lxml import etree

from bench.judge import Benchmark, BenchmarkError, Line, Measure
from dsp_stub import xml_signature
from dsp_stub.cpl import CplEntry, image_hash
from dsp_stub.desk import Desk
from dsp_stub.fields import octets_from_xml
from dsp_stub.http import DspServer
from dsp_stub.options import Options
from dsp_stub.requests import (
    Body,
    ReadInventory,
    Request,
    RequestId,
    UpdatePpmidFirmware,
    build_request,
)
from dsp_stub.safe_xml import DS
from dsp_stub.service import Dsp
from dsp_stub.smi import DeviceStatus, DeviceType, Premises, SmiDevice
from dsp_stub.store import Store
from dsp_stub.users import User, UserRole, Users
from firmware_images.samples import identity, maker_key, seeded_image
from gbcs.protection import KeyUse
from gbcs.smki import ACB_EUI64, BENCH_ORGANISATIONS, SUPPLIER_EUI64, Smki, issue_store
from hil.seeds import Seeds

_DEVICES, _TOY_DEVICES = 50_000, 300
_IMAGE_BYTES, _TOY_IMAGE_BYTES = 768_000, 4_096
_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
_OLD, _NEW = 0x00010100, 0x00010200
_PPMIDS, _HUBS, _GPFS, _ESMES = (0x00DB_0001_0000_0000 + (kind << 40) for kind in range(4))
_PATH = "/api/v1/serviceD"


class _Dcc:
    """The keys, the image, and the signed 11.4 that every repeat sends."""

    def __init__(self, toy: bool) -> None:
        self.count = _TOY_DEVICES if toy else _DEVICES
        seeds = Seeds(1)
        smki = Smki(lambda name: seeds.stream(name).getrandbits, _EPOCH)
        self.keys = issue_store(smki, BENCH_ORGANISATIONS, ())
        self.image = seeded_image(
            identity("ppmid"),
            file_version=_NEW,
            size_bytes=_TOY_IMAGE_BYTES if toy else _IMAGE_BYTES,
            random_bits=seeds.stream("image").getrandbits,
            maker_key=maker_key(seeds.stream("maker").getrandbits),
        )
        devices = tuple(_PPMIDS + number for number in range(self.count))
        self.request = self.signed(
            1, "11.4", UpdatePpmidFirmware(self.image.data, f"{_NEW:08X}", devices)
        )

    def signed(self, counter: int, service: str, body: Body) -> bytes:
        request_id = RequestId(SUPPLIER_EUI64, ACB_EUI64, counter)
        octets = build_request(Request(request_id, 8, service, service, body))
        certificate = self.keys.certificate(SUPPLIER_EUI64, KeyUse.XML_SIGNATURE)
        key = self.keys.private_key(SUPPLIER_EUI64, KeyUse.XML_SIGNATURE)
        assert certificate is not None
        assert key is not None
        return xml_signature.sign(octets, key, certificate)

    def bare_s(self) -> float:
        """What the libraries alone need for the document: the median of some turns."""
        certificate = self.keys.certificate(SUPPLIER_EUI64, KeyUse.XML_SIGNATURE)
        assert certificate is not None
        turns = []
        for _ in range(5):
            began_s = perf_counter()
            root = etree.fromstring(self.request, etree.XMLParser(huge_tree=True))
            signature = root.find(f"{{{DS}}}Signature")
            signed_info = signature.find(f"{{{DS}}}SignedInfo")
            signed = etree.tostring(signed_info, method="c14n", exclusive=True)
            root.remove(signature)
            digest = hashlib.sha256(etree.tostring(root, method="c14n")).digest()
            value = octets_from_xml(signature.findtext(f"{{{DS}}}SignatureValue"))
            halves = [int.from_bytes(half, "big") for half in (value[:32], value[32:])]
            certificate.public_key.verify(encode_dss_signature(*halves), signed, ec.ECDSA(SHA256()))
            if octets_from_xml(signed_info.findtext(f".//{{{DS}}}DigestValue")) != digest:
                raise BenchmarkError("the bare digest is another one")
            turns.append(perf_counter() - began_s)
        return median(turns)

    def desk(self, path: Path) -> Desk:
        """A DSP with everything in its inventory, in a fresh database."""
        certificate = self.keys.certificate(SUPPLIER_EUI64, KeyUse.XML_SIGNATURE)
        assert certificate is not None
        store = Store(path)
        users = Users([User(SUPPLIER_EUI64, UserRole.IMPORT_SUPPLIER, certificate)])
        desk = Desk(store, users, self.keys, ACB_EUI64, Options())
        with store.transaction():
            self._furnish(desk)
        return desk

    def _furnish(self, desk: Desk) -> None:
        product = identity("ppmid")
        manufacturer = f"{product.manufacturer_code:04X}"
        desk.cpl.add(
            CplEntry(
                device_type=DeviceType.PPMID,
                manufacturer=manufacturer,
                model=product.model,
                firmware_version=f"{_NEW:08X}",
                smets_chts_version="PPMIDTS V4.4",
                gbcs_version="4.1",
                image_hash=image_hash(self.image),
            )
        )
        inventory = desk.inventory
        for number in range(self.count):
            home = number + 1
            inventory.add_premises(Premises(id=home, uprn=str(home), responsible=(SUPPLIER_EUI64,)))
            # Hubs are not installed in the order of what hangs on them.
            hub = _HUBS + number * 7919 % self.count
            common = {
                "status": DeviceStatus.COMMISSIONED,
                "manufacturer": manufacturer,
                "model": product.model,
                "firmware_version": f"{_OLD:08X}",
                "gbcs_version": "4.1",
                "premises": home,
                "date_commissioned": "2026-01-01",
            }
            for device, type_, specification, further in (
                (hub, DeviceType.CHF, "CHTS V1.5", {"associated_gpf": _GPFS + number}),
                (_GPFS + number, DeviceType.GPF, "CHTS V1.5", {"chf": hub}),
                (_ESMES + number, DeviceType.ESME, "ESMETS V5.1", {"chf": hub}),
                (_PPMIDS + number, DeviceType.PPMID, "PPMIDTS V4.4", {"chf": hub}),
            ):
                inventory.add(
                    SmiDevice(
                        device_id=device,
                        device_type=type_,
                        smets_chts_version=specification,
                        **common,
                        **further,
                    )
                )


def _prepare(toy: bool) -> Measure:
    dcc = _Dcc(toy)
    folder = tempfile.TemporaryDirectory(prefix="hanbench-bench-")
    furnished = Path(folder.name) / "furnished.sqlite"
    desk = dcc.desk(furnished)
    desk.store.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    desk.store.close()

    def measure() -> Mapping[str, float]:
        _ = folder  # kept till the last repeat
        warm = asyncio.run(_campaign(dcc, furnished, is_warm=True))
        cold = asyncio.run(_campaign(dcc, furnished, is_warm=False))
        return {
            "bare": warm["answer s"] / warm["bare s"],
            "device us": 1e6 * warm["answer s"] / dcc.count,
            "memory MiB": max(warm["memory MiB"], cold["memory MiB"]),
            "others ms": 1e3 * max(warm["others s"], cold["others s"]),
            "warm ms": 1e3 * warm["answer s"],
            "cold ms": 1e3 * cold["answer s"],
            "rows s": warm["rows s"],
        }

    return measure


async def _campaign(dcc: _Dcc, furnished: Path, *, is_warm: bool) -> dict[str, float]:
    path = furnished.with_name("campaign.sqlite")
    path.write_bytes(furnished.read_bytes())
    path.chmod(0o600)
    certificate = dcc.keys.certificate(SUPPLIER_EUI64, KeyUse.XML_SIGNATURE)
    assert certificate is not None
    users = Users([User(SUPPLIER_EUI64, UserRole.IMPORT_SUPPLIER, certificate)])
    with Store(path) as store:
        desk = Desk(store, users, dcc.keys, ACB_EUI64, Options())
        if is_warm:
            for _ in desk.targets.warm():
                pass
        server = DspServer(Dsp(desk), lambda: _EPOCH)
        url = await server.start("127.0.0.1", 0)
        others_s: list[float] = []
        ended = asyncio.Event()
        async with aiohttp.ClientSession() as session:

            async def post(octets: bytes) -> bytes:
                async with session.post(url + _PATH, data=octets) as answer:
                    return await answer.read()

            async def others() -> None:
                asked = dcc.signed(2, "8.2", ReadInventory(device_id=_PPMIDS))
                while not ended.is_set():
                    began_s = perf_counter()
                    body = await post(asked)
                    others_s.append(perf_counter() - began_s)
                    if b"DSPInventory" not in body and b"E42" not in body:
                        raise BenchmarkError("an 8.2 was not answered")

            bare_s = dcc.bare_s()
            other = asyncio.create_task(others())
            await asyncio.sleep(0.05)
            alone = len(others_s)
            before_kib = _peak_kib(reset=True)
            began_s = perf_counter()
            answered = await post(dcc.request)
            answer_s = perf_counter() - began_s
            if b"I99" not in answered:
                raise BenchmarkError(f"the 11.4 was not accepted: {answered[:1000]!r}")
            while desk.campaigns.unfinished() is not None:
                await asyncio.sleep(0.01)
            rows_s = perf_counter() - began_s
            peak_kib = _peak_kib()
            ended.set()
            await other
        await server.stop()
        (rows,) = store.connection.execute("SELECT COUNT(*) FROM updates").fetchone()
        (offers,) = store.connection.execute("SELECT COUNT(*) FROM outbox").fetchone()
        if (rows, offers) != (dcc.count, dcc.count):
            raise BenchmarkError(f"{rows} updates and {offers} offers of {dcc.count}")
    for name in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            Path(f"{path}{name}").unlink()
    return {
        "bare s": bare_s,
        "answer s": answer_s,
        "rows s": rows_s,
        "memory MiB": (peak_kib - before_kib) / 1024,
        "others s": quantiles(others_s[alone:], n=20)[-1],
    }


def _peak_kib(*, reset: bool = False) -> int:
    """The largest this process was since the last reset (Linux, proc(5))."""
    if reset:
        # What is free and not given back would hide what is taken next.
        gc.collect()
        with suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise BenchmarkError("this system does not tell how large a process was")


DSP_CAMPAIGN = Benchmark(
    "dsp_campaign",
    "an 11.4 for 50 000 devices with a 768 000-byte image",
    (
        Line("bare", "answer / bare parse, c14n and verification", at_most=40.0),
        Line("device us", "answer, us a device", at_most=10.0),
        Line("memory MiB", "more memory at the peak, MiB", at_most=200.0),
        Line("others ms", "other requests meanwhile, 95th percentile, ms", at_most=100.0),
        Line("warm ms", "answer, ms"),
        Line("cold ms", "answer of a DSP that has not read its inventory, ms"),
        Line("rows s", "until each device has its row and its offer, s"),
    ),
    _prepare,
)
