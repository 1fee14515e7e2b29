"""A bench that is up for tests: its loop, its session, its evidence.

Source: DESIGN, "What it promises to the outside" (pytest plugin). A test's coroutine runs on the
loop of the bench it uses, virtual where everything is emulated: `run` is where it enters. An
emulated bench lives as long as one test; one with something real on it as long as pytest runs,
since nobody wants to take a device in again for every question.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import pytest

from emulator.zigbee import ota
from hil import dut
from hil.air_words import zcl_words
from hil.bench_device import BenchDevice
from hil.bench_file import HUB, Bench
from hil.clock import RealClock, VirtualLoop
from hil.conformance import Step
from hil.errors import BenchBroke
from hil.evidence import EVENTS, Evidence
from hil.images import device_images
from hil.live import Live, Watcher
from hil.ota_tap import Tap
from hil.radio_guard import borrowed_radios, require_permission
from hil.session import Session
from hil.suite_page import write_suite_page
from hil.verdict import RadioVerdict, SuiteTest, UnderTest, version_text
from hil.wiring import quiet_hosts, require_buildable

PATIENCE_S = {"virtual": 7200.0, "real": dut.PATIENCE_S}
# What must not come is awaited so long. A device that is told nothing new has no reason to speak.
BRIEF_S = {"virtual": 60.0, "real": 5.0}
LAST_SHOWN = 15

_Result = TypeVar("_Result")


class BenchUp:
    """One bench. Made by `bench_up`, closed by `close`."""

    session: Session
    tap: Tap
    radios: list[RadioVerdict]  # the real ones
    tests: list[SuiteTest]  # that were run on it
    began_s: float  # by the clock of the machine

    def __init__(
        self,
        file: Bench,
        folder: Path,
        *,
        patience_s: float | None = None,
        take_over: bool = False,
        watcher: Watcher | None = None,
    ) -> None:
        require_buildable(file)
        require_permission(file)
        quiet_hosts()
        self.file = file = file.with_serial_urls()
        self.folder = folder
        self.seed = file.seed
        self.patience_s = PATIENCE_S[file.resolve_clock()] if patience_s is None else patience_s
        self.brief_s = BRIEF_S[file.resolve_clock()]
        self.tests = []
        self.began_s = time.perf_counter()
        self._number = 0
        self._images = device_images(file)
        self._stack = ExitStack()
        self._radios = AsyncExitStack()
        is_virtual = file.resolve_clock() == "virtual"
        factory = VirtualLoop if is_virtual else asyncio.SelectorEventLoop
        self._runner = self._stack.enter_context(asyncio.Runner(loop_factory=factory))
        try:
            self._evidence = self._stack.enter_context(Evidence(folder, epoch=file.epoch))
            self._watcher = watcher or Live(file.resolve_clock(), silent=True)
            if not is_virtual:
                loop = self._runner.get_loop()
                self._stack.enter_context(self._watcher.each_second(loop))
            self._runner.run(self._start(take_over=take_over))
        except BaseException:
            self._stack.close()
            raise
        self.devices = {
            track.device_id: BenchDevice(self, track) for track in self.session.tracks.values()
        }

    async def _start(self, *, take_over: bool) -> None:
        loop = asyncio.get_running_loop()
        clock = loop if isinstance(loop, VirtualLoop) else RealClock(loop)
        self.tap = Tap(lambda: self.session.journal.tell(), self._stray)
        borrowed = borrowed_radios(self.file, self._evidence, self._tell, take_over=take_over)
        channel, self.radios = await self._radios.enter_async_context(borrowed)
        self.session = Session(
            self.file,
            self._images,
            clock,
            self._evidence,
            self._watcher,
            take_over=bool(self.radios),
            channel=channel,
            tap=self.tap,
        )
        self.session.witness.tell(
            "run-started",
            seed=self.seed,
            clock=self.file.resolve_clock(),
            ezsp=self.file.ezsp,
            faults=[str(fault) for fault in self.file.faults],
            devices=[
                {
                    "device_id": track.device_id,
                    "kind": track.kind,
                    "size_bytes": len(track.image.image.data),
                }
                for track in self.session.tracks.values()
            ],
        )
        try:
            await self.session.form()
        except BaseException:
            await self._stop()
            raise

    def _tell(self, event_type: str, /, **fields: object) -> None:
        """Before there is a session that has a clock."""
        event = {"type": event_type, "time_s": 0.0, **fields}
        self._evidence.record(event)
        self._watcher.show(event)

    def _stray(self, eui64: int, what: str) -> None:
        """A device says something to nobody."""
        witness = self.session.witness
        name = witness.name_of(eui64)
        witness.anomaly(self.session.tracks.get(name), "stray", what)

    async def _stop(self) -> None:
        try:
            await self.session.close()
        finally:
            await self._radios.aclose()

    def run(self, coroutine: Coroutine[Any, Any, _Result]) -> _Result:
        """Run something on the clock of this bench."""
        return self._runner.run(coroutine)

    def close(self, again: str | None = None) -> None:
        """Everything off; the evidence stays, with a page of the tests where `again` is the command
        that runs them again."""
        try:
            self._runner.run(self._stop())
            if again is not None:
                write_suite_page(self, self._evidence, again)
        finally:
            self._stack.close()

    # -- what a test does with it --------------------------------------------------------------

    @property
    def device(self) -> BenchDevice:
        """The first device."""
        return next(iter(self.devices.values()))

    def of_kind(self, *kinds: str) -> BenchDevice | None:
        return next((one for one in self.devices.values() if one.kind in kinds), None)

    async def until(
        self,
        condition: Callable[[], object],
        what: str,
        *,
        moving: BenchDevice | None = None,
    ) -> None:
        """Wait for a fact, with `moving` as long as that device says anything; fails with what was
        awaited, and what was last said on the air."""
        limit = self.patience_s
        while True:
            heard = len(self.tap.heard)
            if await self.session.until(lambda: bool(condition()), limit):
                return
            if moving is None or len(self.tap.heard) == heard:
                self.fail(f"awaited for {limit:g} s, and it has not come: {what}")

    async def quiet(self, for_s: float) -> None:
        """Let this time pass."""
        await self.session.until(lambda: False, for_s)

    def served(self, device: BenchDevice) -> int:
        """How far into the file the hub has answered a device."""
        told = (one for one in self.tap.heard if one.eui64 == device.eui64)
        blocks = (one.body for one in told if isinstance(one.body, ota.ImageBlockResponse))
        return max((one.file_offset + len(one.data) for one in blocks), default=0)

    def skip(self, reason: str) -> NoReturn:
        """The test is none for this bench."""
        pytest.skip(reason)

    async def never(self, condition: Callable[[], object], what: str, for_s: float) -> None:
        """Wait for what must not happen."""
        if await self.session.until(lambda: bool(condition()), for_s):
            self.fail(f"this must not be: {what}")

    def fail(self, sentence: str) -> NoReturn:
        """Fails the test with the sentence and the last frames in words."""
        raise AssertionError("\n".join((sentence, *self.last_words())))

    def last_words(self) -> list[str]:
        """The last messages between hub and devices, in words."""
        lines = []
        for one in list(self.tap.last)[-LAST_SHOWN:]:
            name = self.session.witness.name_of(one.eui64)
            way = f"{name} -> hub" if one.from_device else f"hub -> {name}"
            words = zcl_words(one.cluster, one.payload)
            key = "" if one.encrypted else ", without the link key"
            lines.append(f"  {one.time_s:12.6f} s  {way:<18} {words.layer} {words.what}{key}")
        return ["the last messages on the air:", *lines] if lines else ["nothing was on the air"]

    def forget(self) -> None:
        """What was heard so far is of no interest to who asks from now on."""
        self.tap.heard.clear()

    def restore(self) -> None:
        """The hub speaks for itself again."""
        self.tap.tamper = lambda _command: None
        self.tap.stand_in = lambda _eui64, _command: None

    def next_number(self) -> int:
        """A transaction number that the hub is not likely to use at the same time."""
        self._number = (self._number + 1) % 16
        return 0xE0 + self._number

    def tell_step(self, test: str, number: int, step: Step) -> str:
        """Record a step; the pointer to it, within this bench's own folder."""
        event_id = self.session.witness.tell(
            "step",
            test=test,
            number=number,
            text=step.text,
            outcome=step.outcome,
            detail=step.detail,
        )
        return f"{EVENTS}#{event_id}"

    def under_test(self) -> list[UnderTest]:
        """The devices that were in anybody's hands so far."""
        return [one.described() for one in self.devices.values() if one.eui64]

    def properties(self) -> dict[str, str]:
        """What a reader of JUnit needs to have the same again."""
        images = {
            f"hanbench.image.{track.device_id}": f"{version_text(image.header.file_version)} "
            f"sha256 {image.sha256}"
            for track in self.session.tracks.values()
            for image in (track.image.image,)
        }
        return {
            "hanbench.seed": str(self.seed),
            "hanbench.stick.hub": self.stick(),
            "hanbench.evidence": str(self.folder),
            **images,
        }

    def stick(self) -> str:
        """The firmware of the hub's stick."""
        if self.session.wiring.air is not None:
            return f"emulated, EZSP {self.file.ezsp}"
        (hub,) = [radio for radio in self.radios if radio.name == HUB]
        return f"{hub.url}, EZSP {hub.ezsp}, firmware {hub.firmware or 'not told'}"


def bench_up(
    file: Bench,
    folder: Path,
    *,
    patience_s: float | None = None,
    take_over: bool = False,
    watcher: Watcher | None = None,
) -> BenchUp:
    """Bring a bench up. Raises HanbenchError in one sentence when it cannot be."""
    try:
        return BenchUp(file, folder, patience_s=patience_s, take_over=take_over, watcher=watcher)
    except OSError as error:
        raise BenchBroke(f"the bench does not come up: {error}") from error
