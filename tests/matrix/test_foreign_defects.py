"""What can be wrong with a device, each shown by the difference it makes where the bench listens.

A case is a course of things, what the good device does in it (`good`), and what only the defective
one does (`bad`). Where a defect is that something never comes, there is no `bad`: the good device
does it, and the other has not done it long after. Nothing is read from the device itself.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
from foreign_client.defects import DEFECTS
from foreign_rig import NEW, NEWER, OFF_S, OLD, ForeignRig, foreign_rig, make_image

from emulator.zigbee import ota, zcl
from gbcs.envelope import Cra, Frame
from gbcs.firmware import FirmwareVersion
from gbcs.protection import Verdict

pytestmark = [pytest.mark.matrix, pytest.mark.real_clock]

SIZE_BYTES = 1024
WRONG = 0x00010400
FLOOD = 50
NEVER_S = OFF_S + 8.0  # the good device takes less than 2 more
PACE = ("--pace-s", "0.1")
ABORT, INVALID_IMAGE = zcl.Status.ABORT, zcl.Status.INVALID_IMAGE

Course = Callable[[ForeignRig], Awaitable[None]]
Fact = Callable[[ForeignRig], object]


class Case(NamedTuple):
    course: Course
    good: Fact
    bad: Fact | None = None


# -- what can be seen ------------------------------------------------------------------------------


def offsets(rig: ForeignRig) -> list[int]:
    return [one.file_offset for one in rig.sent(ota.ImageBlockRequest)]


def gaps_s(rig: ForeignRig) -> list[float]:
    """Between one block request and the next."""
    times = [one.time_s for one in rig.tap.heard if type(one.body) is ota.ImageBlockRequest]
    return [after - before for before, after in pairwise(times)]


def ends(rig: ForeignRig) -> list[int]:
    return [one.status for one in rig.sent(ota.UpgradeEndRequest)]


def served(rig: ForeignRig) -> int:
    """How far into the file the hub has answered."""
    blocks = [one.body for one in rig.tap.heard if isinstance(one.body, ota.ImageBlockResponse)]
    return max((one.file_offset + len(one.data) for one in blocks), default=0)


def queries_after_end(rig: ForeignRig) -> list[int]:
    """The versions that queries after an Upgrade End have named."""
    kinds = [type(one.body) for one in rig.tap.heard]
    if ota.UpgradeEndRequest not in kinds:
        return []
    later = rig.tap.heard[kinds.index(ota.UpgradeEndRequest) :]
    bodies = [one.body for one in later]
    return [b.current_file_version for b in bodies if isinstance(b, ota.QueryNextImageRequest)]


def responses(rig: ForeignRig) -> list[Frame]:
    return rig.gbcs(Cra.RESPONSE)


def commanded(rig: ForeignRig) -> set[int]:
    """The counters of what the DSP has sent the device."""
    frames = [seen.received.frame for seen in rig.frames]
    return {one.originator_counter for one in frames if one.recipient == rig.eui64}


def versions_read(rig: ForeignRig) -> list[int]:
    read = [seen.payload for seen in rig.frames]
    return [one.firmware_version for one in read if isinstance(one, FirmwareVersion)]


def counters(rig: ForeignRig) -> list[int]:
    return [frame.originator_counter for frame in rig.gbcs(Cra.ALERT)]


def invalid(rig: ForeignRig, cra: Cra, which: str) -> list[object]:
    mine = [seen for seen in rig.frames if seen.received.frame.originator == rig.eui64]
    verdicts = [seen.verdicts for seen in mine if seen.received.frame.cra is cra]
    return [one for one in verdicts if getattr(one, which) is Verdict.INVALID]


def is_read(version: int) -> Fact:
    return lambda rig: versions_read(rig)[-1:] == [version]


def activated(rig: ForeignRig) -> bool:
    return rig.succeeded == [True]


# -- what happens ----------------------------------------------------------------------------------


async def begin(rig: ForeignRig) -> None:
    await rig.admit()
    await rig.power_on()
    await rig.until(lambda: rig.tunnel_openings and rig.sent(ota.QueryNextImageRequest))


async def update(rig: ForeignRig) -> None:
    """11.4, and nothing goes wrong."""
    await begin(rig)
    await rig.update(rig.images[0])


async def update_slowly(rig: ForeignRig) -> None:
    """Time for things to happen while it loads."""
    rig.arguments += PACE
    await begin(rig)
    await rig.update(rig.images[0])
    await rig.until(lambda: len(offsets(rig)) > 5)


async def update_and_read(rig: ForeignRig) -> None:
    """11.4, and 11.2 when the device is back."""
    await update(rig)
    await rig.until(lambda: rig.tunnel_openings > 1)
    before = len(responses(rig))
    await rig.request_version()
    await rig.until(lambda: len(responses(rig)) > before)


async def update_and_cut(rig: ForeignRig) -> None:
    """11.4, and the power is cut once it is all over."""
    await update_and_read(rig)
    await rig.cut_power()
    await rig.until(lambda: rig.tunnel_openings > 2)
    before = len(responses(rig))
    await rig.request_version()
    await rig.until(lambda: len(responses(rig)) > before)


async def update_twice(rig: ForeignRig) -> None:
    for number, image in enumerate(rig.images[:2], 1):
        await (rig.update(image) if number > 1 else update(rig))
        await rig.until(lambda number=number: len(rig.alerts) == number)  # type: ignore[misc]


async def cut(rig: ForeignRig) -> None:
    """The power is cut in mid-transfer."""
    await update_slowly(rig)
    await rig.cut_power()


async def notify_again(rig: ForeignRig) -> None:
    """An Image Notify comes in mid-transfer."""
    await update_slowly(rig)
    rig.notify()


async def notify_unprotected(rig: ForeignRig) -> None:
    """An Image Notify without the link key, then one with it, then a command to wait for."""
    await begin(rig)
    before = len(rig.sent(ota.QueryNextImageRequest))
    rig.notify(encrypted=False)
    await rig.request_version()
    await rig.until(lambda: responses(rig))
    rig.notify()
    await rig.until(lambda: len(rig.sent(ota.QueryNextImageRequest)) > before)


def offered_as(**fields: int) -> Course:
    """The first offer is one for another device; then it is notified of the right one."""

    async def course(rig: ForeignRig) -> None:
        told: list[ota.OtaCommand] = []

        def tamper(command: ota.OtaCommand) -> ota.OtaCommand | None:
            if told or not isinstance(command, ota.QueryNextImageResponse) or command.status:
                return None
            told.append(command._replace(**fields))
            return told[0]

        rig.tap.tamper = tamper
        await update(rig)
        await rig.until(lambda: told)
        rig.notify()

    return course


def third_block_is(change: Callable[[ota.ImageBlockResponse], ota.OtaCommand]) -> Course:
    """The answer to the third block request is not what it should be."""

    async def course(rig: ForeignRig) -> None:
        blocks: list[ota.OtaCommand] = []

        def tamper(command: ota.OtaCommand) -> ota.OtaCommand | None:
            if not isinstance(command, ota.ImageBlockResponse):
                return None
            blocks.append(command)
            return change(command) if len(blocks) == 3 else None

        rig.tap.tamper = tamper
        await update(rig)

    return course


async def abort(rig: ForeignRig) -> None:
    """Every block is refused from the third on; later the refusals end, and it is notified."""
    refused: list[ota.OtaCommand] = []

    def tamper(command: ota.OtaCommand) -> ota.OtaCommand | None:
        if not isinstance(command, ota.ImageBlockResponse) or command.file_offset < 100:
            return None
        refused.append(ota.ImageBlockRefused(ABORT))
        return refused[-1]

    rig.tap.tamper = tamper
    await update(rig)
    await rig.until(lambda: refused)
    if "--defect" in rig.arguments:
        return
    rig.tap.tamper = lambda _command: None
    rig.notify()


async def waits_with_a_period(rig: ForeignRig) -> None:
    """TI's client carries a period, and is given another with the order to wait."""
    rig.personality = "ti"
    await third_block_is(lambda _: ota.ImageBlockWait(0, 0, 400))(rig)


async def damaged(rig: ForeignRig) -> None:
    """The file on the CPL has not the hash its maker promised."""
    rig.images = rig.images[-1:]
    await update(rig)


async def reads(rig: ForeignRig) -> None:
    """11.2; the command once more, forged with a new counter, and as it was; 11.2."""
    await begin(rig)
    await rig.request_version()
    await rig.until(lambda: responses(rig))
    (command,) = [s.received.octets for s in rig.frames if s.received.frame.recipient == rig.eui64]
    at = command.index(b"\xdf\x09\x01") + 3
    counter = int.from_bytes(command[at : at + 8], "big") + 1000
    rig.hub.send_through_tunnel(
        rig.eui64, command[:at] + counter.to_bytes(8, "big") + command[at + 8 :]
    )
    rig.hub.send_through_tunnel(rig.eui64, command)
    await rig.request_version()
    await rig.until(lambda: len(responses(rig)) > 1)


CASES = {
    "wrong-manufacturer-in-query": Case(
        update,
        activated,
        lambda rig: {q.manufacturer_code for q in rig.sent(ota.QueryNextImageRequest)} != {0x121D},
    ),
    "never-downloads": Case(update, offsets),
    "takes-foreign-image": Case(
        offered_as(image_type=0x0085),
        activated,
        lambda rig: any(one.image_type != 0x0084 for one in rig.sent(ota.ImageBlockRequest)),
    ),
    "takes-older-image": Case(
        offered_as(file_version=OLD - 1),
        lambda rig: ends(rig) == [INVALID_IMAGE],
        lambda rig: any(one.file_version < OLD for one in rig.sent(ota.ImageBlockRequest)),
    ),
    "takes-large-image": Case(
        offered_as(image_size_bytes=750 * 1024 + 1),
        activated,
        lambda rig: INVALID_IMAGE in ends(rig),  # what it got is another file than that
    ),
    "upgrade-end-without-image": Case(
        update, activated, lambda rig: ends(rig) == [0] and not offsets(rig)
    ),
    "oversize-block-request": Case(
        update,
        activated,
        lambda rig: any(b.maximum_data_size > 64 for b in rig.sent(ota.ImageBlockRequest)),
    ),
    "wrong-offset-accepted": Case(
        third_block_is(lambda block: block._replace(file_offset=block.file_offset + 48)),
        lambda rig: activated(rig) and offsets(rig)[3] == offsets(rig)[2],
        lambda rig: len(offsets(rig)) > 3 and offsets(rig)[3] > offsets(rig)[2],
    ),
    "resumes-at-zero": Case(cut, activated, lambda rig: offsets(rig).count(0) > 1),
    "restarts-on-notify": Case(notify_again, activated, lambda rig: offsets(rig).count(0) > 1),
    "ignores-wait-for-data": Case(
        third_block_is(lambda _: ota.ImageBlockWait(0, 4)),
        lambda rig: activated(rig) and gaps_s(rig)[2] > 3,
        lambda rig: len(offsets(rig)) > 3 and gaps_s(rig)[2] < 3,
    ),
    "ignores-block-period": Case(
        waits_with_a_period,
        activated,
        lambda rig: min(gaps_s(rig)[2:], default=1.0) < 0.3,
    ),
    "spins-on-abort": Case(
        abort, activated, lambda rig: max(Counter(offsets(rig)).values(), default=0) > 4
    ),
    "unprotected-requests": Case(
        update, activated, lambda rig: any(h.from_device and not h.encrypted for h in rig.tap.heard)
    ),
    "takes-unprotected-notify": Case(
        notify_unprotected,
        lambda rig: len(rig.sent(ota.QueryNextImageRequest)) == 2,
        lambda rig: len(rig.sent(ota.QueryNextImageRequest)) > 2,
    ),
    "skips-last-block": Case(
        update, activated, lambda rig: ends(rig) == [0] and served(rig) < SIZE_BYTES
    ),
    "never-ends-upgrade": Case(update, ends),
    "activates-before-verification": Case(
        damaged, lambda rig: ends(rig) == [INVALID_IMAGE], lambda rig: ends(rig) == [0]
    ),
    "never-activates": Case(update, activated),
    "forgets-version-on-restart": Case(
        update,
        lambda rig: activated(rig) and queries_after_end(rig) == [NEW],
        lambda rig: OLD in queries_after_end(rig),
    ),
    "no-alert": Case(update_and_read, lambda rig: is_read(NEW)(rig) and rig.alerts),
    "alert-before-upgrade-end": Case(
        update, activated, lambda rig: "alert-out-of-turn" in rig.complaints
    ),
    "alert-twice": Case(update_and_read, activated, lambda rig: len(set(counters(rig))) > 1),
    "alert-bad-signature": Case(
        update, activated, lambda rig: invalid(rig, Cra.ALERT, "signature") and rig.complaints
    ),
    "alert-wrong-version": Case(
        update, activated, lambda rig: "alert-of-another-version" in rig.complaints
    ),
    "alert-result-inverted": Case(update, activated, lambda rig: rig.succeeded == [False]),
    "counter-goes-back": Case(
        update_twice,
        lambda rig: rig.succeeded == [True, True],
        lambda rig: len(counters(rig)) > 1 and counters(rig)[1] <= counters(rig)[0],
    ),
    "replays-alert": Case(
        update_and_cut,
        activated,
        lambda rig: len(counters(rig)) > len(set(counters(rig))) and "REPLAY" in rig.complaints,
    ),
    "wrong-version-in-cs08": Case(
        reads, is_read(OLD), lambda rig: {*versions_read(rig)} - {OLD, NEW}
    ),
    "answers-cs08-with-bad-mac": Case(
        reads, is_read(OLD), lambda rig: invalid(rig, Cra.RESPONSE, "mac") and rig.complaints
    ),
    "answers-with-another-counter": Case(reads, is_read(OLD), lambda rig: rig.complaints),
    "accepts-forged-cs08": Case(
        reads,
        is_read(OLD),
        lambda rig: {one.originator_counter for one in responses(rig)} - commanded(rig),
    ),
    "accepts-replayed-cs08": Case(
        reads,
        is_read(OLD),
        lambda rig: len(responses(rig)) > len({r.originator_counter for r in responses(rig)}),
    ),
    "sends-broken-frames": Case(
        reads, is_read(OLD), lambda rig: rig.anomalies >= {"malformed", "unsupported", "unexpected"}
    ),
    "asks-for-absurd-blocks": Case(
        update, activated, lambda rig: {at for at in offsets(rig) if at > SIZE_BYTES}
    ),
    "abuses-tunnel": Case(
        reads, is_read(OLD), lambda rig: rig.anomalies >= {"refused-data", "refused", "unexpected"}
    ),
    "sends-broken-gbcs": Case(
        update, activated, lambda rig: {*rig.complaints} >= {"SYNTAX", "FOREIGN"}
    ),
    "floods-queries": Case(
        reads, is_read(OLD), lambda rig: len(rig.sent(ota.QueryNextImageRequest)) > FLOOD
    ),
    "babbles-beside": Case(reads, is_read(OLD), lambda rig: rig.strays),
}

SLICE = list(CASES)[:: 1 if os.environ.get("HANBENCH_MATRIX") != "quick" else 5]


def test_every_defect_has_a_case() -> None:
    assert list(CASES) == list(DEFECTS)


@pytest.fixture(scope="module")
def good_runs() -> dict[Course, ForeignRig]:
    """What the good device did in each course, once for all defects that show in it."""
    return {}


@asynccontextmanager
async def run(course: Course, folder: Path, *arguments: str) -> AsyncIterator[ForeignRig]:
    folder.mkdir()
    images = make_image(SIZE_BYTES, NEW), make_image(SIZE_BYTES, NEWER)
    async with foreign_rig(folder, *images, make_image(SIZE_BYTES, WRONG, damaged=True)) as rig:
        rig.arguments = arguments
        await course(rig)
        yield rig


async def good_run(course: Course, runs: dict[Course, ForeignRig], folder: Path) -> ForeignRig:
    """The good device has been through this course and has done all that it should."""
    if course not in runs:
        wanted = [case.good for case in CASES.values() if case.course is course]
        async with run(course, folder) as rig:
            await rig.until(lambda: all(fact(rig) for fact in wanted))
        runs[course] = rig
    return runs[course]


@pytest.mark.parametrize("defect", SLICE)
async def test_a_defect_makes_the_difference_its_row_says(
    defect: str, good_runs: dict[Course, ForeignRig], tmp_path: Path
) -> None:
    course, good, bad = CASES[defect]
    # Side by side, each in a home of its own: most of the time nothing happens in either.
    async with asyncio.TaskGroup() as tasks:
        reference = tasks.create_task(good_run(course, good_runs, tmp_path / "good"))
        async with run(course, tmp_path / "bad", "--defect", defect) as rig:
            if bad is not None:
                await rig.until(lambda: bad(rig))
            else:
                assert not await rig.journal.until(lambda: bool(good(rig)), NEVER_S)
    device = reference.result()
    assert good(device)
    assert bad is None or not bad(device)
