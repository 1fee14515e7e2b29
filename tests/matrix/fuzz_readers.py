"""Fuzz subjects behind the radio: the OTA and tunnel cores, and the files a user may hand in.

Source: ours; the frames are those that the two halves of each core exchange.
"""

from __future__ import annotations

import contextlib
import os
import random
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, cast

from fuzz_mutation import Wrap

from bench.pair import make_image
from emulator.devices import ota_client, ota_server, tunnel
from emulator.devices.flash import Flash, FlashContents, PagePool, Slot
from emulator.devices.image_store import ImageStore
from emulator.devices.ota_client import OtaClient, OtaClientIdentity, OtaClientParameters
from emulator.devices.ota_server import OtaServer
from emulator.devices.tunnel import TunnelClient, TunnelServer
from emulator.medium.pcapng import PcapngError, PcapngWriter, read_pcapng
from emulator.zigbee import ota, zcl
from firmware_images.checks import check_image, require_acceptable
from firmware_images.errors import ImageError
from firmware_images.header import build_header, parse_header
from firmware_images.image import build_image, join_elements, read_image
from firmware_images.samples import identity, maker_key, verify_maker
from hil.bench_file import load_bench
from hil.errors import RequestError


def _as_it_is(octets: bytes) -> bytes:
    return octets


_DEVICE = 0x00DB1234567890A4


class OtaSubject:
    """The hub's server and a device's client, anywhere in an update."""

    def __init__(self, rng: random.Random) -> None:
        self.rng, self.now = rng, 0.0
        image = self.image = _small_image()
        product = identity("bridge-1")
        ids = (product.manufacturer_code, product.image_type, product.hardware_version, 1)
        self.flash = Flash(FlashContents.factory(1), PagePool())
        parameters = OtaClientParameters(
            announce_block_period=bool(rng.getrandbits(1)), verify_s=float(rng.getrandbits(1))
        )
        who = OtaClientIdentity(*ids, _DEVICE)
        self.client = OtaClient(who, self.flash, parameters, verify=self._verify)
        self.server = OtaServer(ImageStore())
        query = ota.QueryNextImageRequest(ids[0], ids[1], 1, ids[2])
        self.query = b"\x01\x01" + bytes((ota.QUERY_NEXT_IMAGE_REQUEST,)) + ota.build(query)
        self.frames: list[bytes] = [self.query]
        self.pending: list[tuple[bool, bytes]] = []
        self.tsn = 0
        self._note(self.server.offer(_DEVICE, image, 0.0))
        self._note(self.client.start(0.0))
        is_to_the_last = not rng.randrange(4)
        for _ in range(100 if is_to_the_last else rng.randrange(40)):
            if is_to_the_last and self._is_at_last_block():
                break
            self._go_on()

    def _is_at_last_block(self) -> bool:
        """Whether the answer that ends the file is under way."""
        left = len(self.image.data) - self.flash.written_bytes
        return 0 < left <= 56 and self.frames[-1][2] == ota.IMAGE_BLOCK_RESPONSE

    def _verify(self, flash: Flash) -> str | None:
        return None if flash.read(Slot.SPARE) == self.image.data else "not the image"

    def _note(self, outputs: list[Any]) -> None:
        for output in outputs:
            if isinstance(output, ota_client.SendZcl):
                self.tsn = output.payload[1]
            if isinstance(output, ota_client.SendZcl | ota_server.SendZcl):
                is_to_server = isinstance(output, ota_client.SendZcl)
                self.pending.append((is_to_server, output.payload))
                self.frames.append(output.payload)
            elif isinstance(output, ota_client.Activate):
                assert self.flash.read(Slot.SPARE) == self.image.data

    def _go_on(self) -> None:
        """Deliver what is under way, or let the next timer run out."""
        pending, self.pending = self.pending, []
        for is_to_server, payload in pending:
            self._deliver(is_to_server, payload)
        if not pending:
            dues = (self.server.next_timeout(), self.client.next_timeout())
            self.now = min((due for due in dues if due is not None), default=self.now)
            self._note(self.server.handle_timeout(self.now))
            self._note(self.client.handle_timeout(self.now))

    def _deliver(self, is_to_server: bool, payload: bytes) -> None:
        if is_to_server:
            self._note(self.server.receive(_DEVICE, payload, self.now))
        else:
            self._note(self.client.receive(payload, self.now))

    def pick(self) -> tuple[bytes, Wrap]:
        frame = self.rng.choice(self.frames[-20:])
        return frame[:1] + frame[2:], self._as_answer

    def _as_answer(self, body: bytes) -> bytes:
        """With the sequence number that is waited for; of a block, with its size too."""
        frame = body[:1] + bytes((self.tsn,)) + body[1:]
        head = ota.BLOCK_FRAME.size
        if len(frame) > head and frame[2:4] == bytes((ota.IMAGE_BLOCK_RESPONSE, 0)):
            frame = frame[: head - 1] + bytes((len(frame) - head & 0xFF,)) + frame[head:]
        return frame

    def feed(self, octets: bytes) -> None:
        self._deliver(bool(self.rng.getrandbits(1)), octets)
        if self.rng.getrandbits(1):
            self._go_on()
        else:
            self.pending.clear()

    def check(self) -> None:
        read = b"\x08\x11\x00\x06\x00"  # Read Attributes, Image Upgrade Status
        asked = self.client.receive(read, self.now)
        kinds = [zcl.parse(out.payload).command for out in asked if hasattr(out, "payload")]
        assert kinds == [zcl.READ_ATTRIBUTES_RESPONSE]
        answer = self.server.receive(_DEVICE, self.query, self.now)
        answers = [zcl.parse(out.payload).command for out in answer if hasattr(out, "payload")]
        assert answers == [ota.QUERY_NEXT_IMAGE_RESPONSE]
        assert self.flash.running.file_version == 1


@cache
def _small_image() -> Any:
    return make_image(700)


class TunnelSubject:
    """Both halves of a tunnel, before, in and after it."""

    def __init__(self, rng: random.Random) -> None:
        self.rng, self.now = rng, 0.0
        self.hub, self.device = TunnelClient(), TunnelServer()
        self.frames = [b"\x01\x00\x06\x00", b"\x01\x00\x01\x00\x00"]
        self.pending: list[tuple[Any, bytes]] = []
        self.up: list[Any] = []
        for _ in range(rng.randrange(6)):
            self._act(rng.randrange(5))

    def _act(self, kind: int) -> None:
        if kind == 0:
            self._note(self.device, self.hub.open(self.now))
        elif kind == 1:
            self._note(self.device, self.hub.send(b"from the hub", self.now))
        elif kind == 2:
            self._note(self.hub, self.device.send(b"from the device", self.now))
        elif kind == 3:
            self._note(self.hub, self.device.close())
        else:
            self.now += self.rng.choice((1.0, 20.0, 200.0))
            self._note(self.device, self.hub.handle_timeout(self.now))
        self._deliver()

    def _note(self, receiver: Any, outputs: list[Any]) -> None:
        for output in outputs:
            if isinstance(output, tunnel.SendZcl):
                self.pending.append((receiver, output.payload))
                self.frames.append(output.payload)
            elif isinstance(output, tunnel.TunnelUp) and receiver is self.device:
                self.up.append(output)

    def _deliver(self) -> None:
        for _ in range(100):  # two halves never keep each other busy for ever
            if not self.pending:
                return
            receiver, payload = self.pending.pop(0)
            self._receive(receiver, payload)
        raise AssertionError("the halves go on and on without anybody sending")

    def _receive(self, receiver: Any, payload: bytes) -> None:
        peer = self.hub if receiver is self.device else self.device
        self._note(peer, receiver.receive(payload, self.now))

    def pick(self) -> tuple[bytes, Wrap]:
        return self.rng.choice(self.frames[-20:]), _as_it_is

    def feed(self, octets: bytes) -> None:
        self._receive(self.rng.choice((self.hub, self.device)), octets)
        self._deliver()
        self._act(self.rng.randrange(5))

    def check(self) -> None:
        self.up.clear()
        self._note(self.device, self.hub.open(self.now))
        self._deliver()
        assert self.up, "no tunnel opens any more"
        [sent] = self.hub.send(b"x", self.now)
        assert self.device.receive(cast(Any, sent).payload, self.now) == [
            tunnel.MessageReceived(b"x")
        ]


class ImageSubject:
    """The OTA file: header, sub-elements, checks, the maker's trailer."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.maker = maker_key(random.Random(1).getrandbits).public_key()
        body = join_elements(((0x0000, bytes(40)), (0x0003, bytes(16)), (0xF000, b"")))
        self.elements = build_image(_small_image().header, body).data

    def pick(self) -> tuple[bytes, Wrap]:
        return self.rng.choice((_small_image().data, self.elements)), self._sized

    @staticmethod
    def _sized(data: bytes) -> bytes:
        return data[:52] + len(data).to_bytes(4, "little") + data[56:] if len(data) >= 56 else data

    def feed(self, octets: bytes) -> None:
        findings = check_image(octets, identity=identity("bridge-1"), strict=True)
        assert all(finding.sentence for finding in findings)
        verify_maker(octets, self.maker)
        try:
            image = read_image(octets)
        except ImageError:
            assert findings, "a file that does not read was found good"
            return
        header = parse_header(octets)
        assert build_header(header) == octets[: header.header_length]
        for read in (image.elements, lambda: require_acceptable(octets)):
            try:
                read()
            except ImageError as error:
                offset = error.offset
            else:
                offset = 0
            assert 0 <= offset <= len(octets)

    def check(self) -> None:
        assert require_acceptable(_small_image().data, identity=identity("bridge-1"))


_BENCH_FILE = b"""\
seed = 7
epoch = "2026-01-01T00:00:00Z"
ezsp = 14
faults = ["loss 10 %", "loss 30 % on bridge-1"]
[hub]
radio = "emulated"
[limits]
image_kb = 750
unit = "kib"
scope = "file"
[dsp]
profile = "mp170"
commissioned = "relaxed"
[dsp.codes]
replay = "E42"
ppmid_alert = "N39"
[[device]]
id = "bridge-1"
kind = "bridge-1"
image_size_bytes = 768000
[[device]]
id = "ppmid"
kind = "ppmid"
radio = "emulated"
[[fault]]
kind = "loss"
percent = 10.5
on = "ppmid"
"""


class BenchFileSubject:
    """A bench file, by octets and, in half of the inputs, as text that is UTF-8 at least."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.path = Path(tempfile.gettempdir()) / f"hanbench-fuzz-{os.getpid()}.toml"

    def pick(self) -> tuple[bytes, Wrap]:
        return _BENCH_FILE, lambda octets: octets.decode(errors="replace").encode()

    def feed(self, octets: bytes) -> None:
        self.path.write_bytes(octets)
        try:
            load_bench(self.path).resolve_clock()
        except RequestError as error:
            sentence = str(error)
        else:
            sentence = "good"
        finally:
            self.path.unlink()
        assert sentence
        assert "\n" not in sentence

    def check(self) -> None:
        self.path.write_bytes(_BENCH_FILE)
        assert load_bench(self.path).seed == 7
        self.path.unlink()


class PcapngSubject:
    """A capture; in half of the inputs the block that was mutated has its right lengths."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.blocks: list[bytes] = []
        writer = PcapngWriter(self.blocks.append)
        for number in range(4):
            writer.frame(1000 * number, bytes(20 + number), channel=15, rssi_dbm=-40, lqi=255)
        self.file = b"".join(self.blocks)

    def pick(self) -> tuple[bytes, Wrap]:
        at = self.rng.randrange(1, len(self.blocks))
        before, after = b"".join(self.blocks[:at]), b"".join(self.blocks[at + 1 :])

        def wrap(body: bytes) -> bytes:
            body += bytes(-len(body) & 3)
            length = (len(body) + 12).to_bytes(4, "little")
            return before + b"\x06\0\0\0" + length + body + length + after

        return self.blocks[at][8:-4], wrap

    def feed(self, octets: bytes) -> None:
        with contextlib.suppress(PcapngError):
            for _, psdu in read_pcapng(octets):
                assert len(psdu) <= len(octets)

    def check(self) -> None:
        assert len(list(read_pcapng(self.file))) == 4
