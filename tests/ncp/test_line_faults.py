"""Every fault of the line through real bellows: what the host does, how long it takes, what then.

The expected reactions are those measured with a throwaway NCP (ezsp-ncp, section 2), in virtual
seconds: ASH's timers are 1.6 s in the stick, 0.4 s in bellows on a quiet line.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest
from air_support import HeapClock
from bellows.ash import NcpFailure, NotAcked
from bellows.exception import InvalidCommandError
from bellows.ezsp import EZSP
from bellows.types import NcpResetCode
from bench_support import Bench, bench

from emulator.medium.air import Medium
from emulator.ncp.ash import FLAG, build_data, build_frame, randomise, unstuff
from emulator.ncp.line_faults import LineFault, LineFaultError, LineFaultKind
from emulator.ncp.ncp import Ncp
from emulator.ncp.tcp import serve_tcp
from emulator.zigbee.state import StackState
from hil.clock import RealClock
from hil.fault_wiring import line_fault
from hil.faults import parse_fault

EUI64 = 0x02484E4200000001
NOT_JOINED = [0xFFFE]  # what getNodeId of a blank stick answers
versions = pytest.mark.parametrize("ezsp", [4, 7, 13, 19])


class Application:
    """What bellows tells its application."""

    def __init__(self) -> None:
        self.lost: list[int | None] = []

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.append(int(error.code) if isinstance(error, NcpFailure) else None)


class Host:
    """bellows on a stick."""

    def __init__(self, made: Bench, url: str, ezsp: EZSP, application: Application) -> None:
        self.made = made
        self.url = url
        self.stick = made.sticks["hub"]
        self.ezsp = ezsp
        self.application = application

    def fault(self, *words: str) -> None:
        self.stick.set_faults(tuple(line_fault(parse_fault(one)) for one in words))

    @property
    def struck(self) -> dict[str, int]:
        assert self.stick.line_faults is not None
        return {one.kind.value: count for one, count in self.stick.line_faults.struck.items()}

    async def ask(self) -> Any:
        """The answer to a command, or the error it ended with."""
        try:
            return await self.ezsp.getNodeId()
        except Exception as error:
            return error


@asynccontextmanager
async def host(ezsp: int) -> AsyncIterator[Host]:
    async with bench(ezsp=ezsp) as made:
        url = made.stick("hub", EUI64)
        one = await connected(made, url)
        for _ in range(15):  # by then bellows knows a fast line: its ACK timeout is 0.4 s
            await one.ezsp.nop()
        yield one
        await one.ezsp.disconnect()


async def connected(made: Bench, url: str) -> Host:
    application = Application()
    ezsp = EZSP(config(url), application)
    await ezsp.connect(use_thread=False)
    return Host(made, url, ezsp, application)


def config(url: str) -> dict[str, Any]:
    return {"path": url, "baudrate": 115200, "flow_control": None}


class Row(NamedTuple):
    """One line of the sheet's table."""

    words: str
    answer: Any  # the answer, or the type of the error
    cost_s: float
    lost: tuple[int | None, ...] = ()  # what `connection_lost` is told
    stays_lost: bool = False  # until disconnect and a new start


MAX_TIMEOUTS = int(NcpResetCode.ERROR_EXCEEDED_MAXIMUM_ACK_TIMEOUT_COUNT)
GIVEN_UP = (MAX_TIMEOUTS,)
TABLE = [
    Row("bad CRC at the 1st frame", NOT_JOINED, 0.0),
    Row("lost response at the 1st frame", NOT_JOINED, 1.6),
    Row("lost host DATA at the 1st frame", NOT_JOINED, 0.4),
    Row("lost host ACK at the 1st frame", NOT_JOINED, 0.0),
    Row("NAK at the 1st frame", NOT_JOINED, 0.0),
    Row("NAK", NotAcked, 0.0, GIVEN_UP, True),
    Row("dead UART", TimeoutError, 9.2, GIVEN_UP, True),
    Row("dead UART at the 1st getNodeId for 2 s", NOT_JOINED, 2.8),
    Row("ERROR frame", NcpFailure, 0.0, GIVEN_UP, True),
    Row("ERROR frame at 0 s", NcpFailure, 0.0, GIVEN_UP, True),
    Row("ERROR frame with code 0x06", NcpFailure, 0.0, (6,), True),
    Row("unsolicited RSTACK", NcpFailure, 0.02, (3,)),
    Row("unsolicited RSTACK with code 0x09", NcpFailure, 0.02, (9,)),
    Row("no answer", TimeoutError, 10.0),
    Row("XOFF before a frame", NOT_JOINED, 0.0),
    Row("XOFF inside a frame", NOT_JOINED, 0.0),
    Row("CANCEL before a frame", NOT_JOINED, 0.0),
    Row("repeated FLAGs", NOT_JOINED, 0.0),
    Row("SUBSTITUTE inside a frame at the 1st frame", NOT_JOINED, 1.6),
    Row("truncated payload", TimeoutError, 10.0),
    Row("invalidCommand", InvalidCommandError, 0.0),
    Row("closed line", RuntimeError, 0.0, (None,), True),
    # what the sheet has no row for
    Row("bad CRC", TimeoutError, 10.4, GIVEN_UP, True),  # the stick gives up after five
    Row("lost host DATA", TimeoutError, 9.2, GIVEN_UP, True),
    Row("lost response", TimeoutError, 10.4, GIVEN_UP, True),
    Row("SUBSTITUTE inside a frame", TimeoutError, 10.4, GIVEN_UP, True),
    Row("power cut for 1 s", NcpFailure, 1.0, (2,)),
    Row("power cut at getNodeId", TimeoutError, 9.2, GIVEN_UP),
]


@versions
@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.words)
async def test_bellows_reacts_as_the_sheet_says_and_can_go_on(row: Row, ezsp: int) -> None:
    async with host(ezsp) as made:
        loop = asyncio.get_running_loop()
        made.fault(row.words)
        began_s = loop.time()
        answer = await made.ask()
        cost_s = loop.time() - began_s
        if isinstance(row.answer, list):
            assert answer == row.answer
        else:
            assert isinstance(answer, row.answer)
        assert cost_s == pytest.approx(row.cost_s, abs=0.05)
        await asyncio.sleep(0.1)
        assert tuple(made.application.lost) == row.lost
        assert made.struck[parse_fault(row.words).kind] >= 1

        made.fault()
        if row.words == "power cut at getNodeId":  # without an end: somebody plugs it in again
            made.stick.restart(0x02)
        await asyncio.sleep(0.1)
        if row.stays_lost:
            assert not isinstance(await made.ask(), list)
            await made.ezsp.disconnect()
            again = await connected(made.made, made.url)
            assert await again.ask() == NOT_JOINED
            await again.ezsp.disconnect()
        else:
            assert await made.ask() == NOT_JOINED
        assert loop.time() - began_s < 60


@versions
@pytest.mark.parametrize("seed", range(12))
async def test_garbage_before_a_frame_costs_at_most_a_timeout(seed: int, ezsp: int) -> None:
    # It is asked for again at once when it looks like DATA, else after the stick's 1.6 s.
    async with host(ezsp) as made:
        made.made.random.seed(seed)
        loop = asyncio.get_running_loop()
        made.fault("garbage before a frame at the 1st frame")
        began_s = loop.time()
        assert await made.ask() == NOT_JOINED
        assert loop.time() - began_s < 1.65
        assert made.struck == {"garbage before a frame": 1}
        assert made.application.lost == []


@versions
async def test_an_error_while_nobody_asks_is_told_at_once(ezsp: int) -> None:
    async with host(ezsp) as made:
        due_s = asyncio.get_running_loop().time() + 5
        made.fault(f"ERROR frame at {due_s:.3f} s")
        await asyncio.sleep(4.9)
        assert made.application.lost == []
        await asyncio.sleep(0.2)
        assert made.application.lost[0] == MAX_TIMEOUTS
        assert isinstance(await made.ask(), NcpFailure)


async def test_a_fault_at_a_name_spares_every_other_frame() -> None:
    async with host(14) as made:
        made.fault("no answer at getEui64")
        for _ in range(3):
            assert await made.ask() == NOT_JOINED
        assert made.struck == {}
        with pytest.raises(TimeoutError):
            await made.ezsp.getEui64()
        assert made.struck == {"no answer": 1}


async def test_a_fault_at_a_number_strikes_that_frame_alone() -> None:
    async with host(14) as made:
        loop = asyncio.get_running_loop()
        made.fault("lost host DATA at the 3rd getNodeId")
        costs = []
        for _ in range(5):
            began_s = loop.time()
            await made.ezsp.nop()
            assert await made.ask() == NOT_JOINED
            costs.append(round(loop.time() - began_s, 1))
        assert costs == [0, 0, 0.4, 0, 0]


async def test_a_fault_with_a_chance_strikes_as_often_and_equally_for_equal_seeds() -> None:
    async def strikes(seed: int) -> int:
        async with host(14) as made:
            made.made.random.seed(seed)
            made.fault("bad CRC 10 %")
            for _ in range(400):
                assert await made.ask() == NOT_JOINED
            assert made.application.lost == []
            return made.struck["bad CRC"]

    counts = [await strikes(seed) for seed in (1, 1, 2)]
    assert counts[0] == counts[1]
    for count in counts:  # each strike is one more frame: 400 * 0.1 / 0.9
        assert abs(count - 44) < 30


async def test_a_fault_in_a_window_strikes_only_there() -> None:
    async with host(14) as made:
        now_s = asyncio.get_running_loop().time()
        made.fault(f"NAK from {now_s + 5:.3f} s for 5 s")
        assert await made.ask() == NOT_JOINED
        await asyncio.sleep(6)
        assert isinstance(await made.ask(), NotAcked)
        await asyncio.sleep(5)
        await made.ezsp.disconnect()
        again = await connected(made.made, made.url)
        assert await again.ask() == NOT_JOINED
        await again.ezsp.disconnect()


async def test_the_first_fault_that_matches_acts() -> None:
    async with host(14) as made:
        made.fault("invalidCommand at getNodeId", "no answer")
        assert isinstance(await made.ask(), InvalidCommandError)
        assert made.struck == {"invalidCommand": 1}


async def test_a_frame_no_version_has_is_refused_and_nothing_changes() -> None:
    async with host(13) as made:
        made.fault("NAK at nop")
        before = made.stick.line_faults
        with pytest.raises(LineFaultError, match="'getKey' is no frame"):
            made.fault("NAK at getKey")
        assert made.stick.line_faults is before


# -- a stick by itself -------------------------------------------------------------------------


class Line:
    """A stick after its reset, and every octet it writes."""

    def __init__(self, version: int = 14) -> None:
        self.clock = HeapClock()
        random_bits = random.Random(1).getrandbits
        self.stick = Ncp(
            "stick",
            StackState(EUI64).to_json(),
            Medium(self.clock, random_bits),
            self.clock,
            random_bits,
            ezsp_version=version,
        )
        self.out = bytearray()
        self.hung_up = 0
        self.stick.host_connected(self.out.extend, self._hang_up)
        self.stick.data_received(build_frame(b"\xc0"))
        self.clock.run_for(1)
        self.out.clear()

    def _hang_up(self) -> None:
        self.hung_up += 1

    def fault(self, kind: LineFaultKind, **options: Any) -> None:
        self.stick.set_faults((LineFault(kind, **options),))

    def say(self, payload: bytes, number: int = 0, *, cut: int | None = None) -> bytes:
        """What the stick writes to one DATA frame, perhaps in two portions."""
        self.out.clear()
        frame = build_data(number << 4, payload)
        for portion in (frame[:cut], frame[cut:]) if cut else (frame,):
            self.stick.data_received(portion)
        return bytes(self.out)


NODE_ID = bytes.fromhex("00 00 01 27 00")


def payloads(octets: bytes) -> list[bytes]:
    plain = [unstuff(frame) for frame in octets.split(FLAG) if frame]
    return [randomise(one[1:-2]) for one in plain if one[0] < 0x80]


@pytest.mark.parametrize("cut", [None, 1, 5, -1])
def test_a_command_in_portions_is_struck_like_one_in_one_piece(cut: int | None) -> None:
    line = Line()
    line.fault(LineFaultKind.NAK, number=1)
    assert line.say(NODE_ID, cut=cut) == build_frame(b"\xa0")
    assert payloads(line.say(NODE_ID, cut=cut)) == [bytes.fromhex("00 80 01 27 00 FE FF")]


def test_without_faults_octets_go_straight_to_the_link() -> None:
    line = Line()
    line.fault(LineFaultKind.NAK)
    line.stick.set_faults(())
    assert line.stick._receive == line.stick.ash.receive_data
    assert line.stick._answer == line.stick.ezsp.receive
    assert line.stick._write == line.out.extend


def test_a_stick_without_power_says_nothing_and_comes_back_blank_of_its_network() -> None:
    line = Line()
    line.fault(LineFaultKind.POWER_CUT, lasts_us=5_000_000)
    assert line.say(NODE_ID) == b""
    line.stick.data_received(b"\x1a" + build_frame(b"\xc0"))
    line.clock.run_for(4.9)
    assert bytes(line.out) == b""
    line.clock.run_for(0.2)
    assert bytes(line.out) == b"\x1a" + build_frame(b"\xc1\x02\x02")
    assert payloads(line.say(NODE_ID)) != []


def test_a_line_is_closed_from_the_sticks_end_at_the_frame_that_does_it() -> None:
    line = Line()
    line.fault(LineFaultKind.CLOSED_LINE, frame="getNodeId")
    line.say(bytes.fromhex("00 00 01 05 00"))
    assert line.hung_up == 0
    assert line.say(NODE_ID, 1) == b""
    assert line.hung_up == 1


@pytest.mark.parametrize(
    ("version", "command", "answer"),
    [
        (14, "07 00 01 27 00", "07 80 01 58 00 38 00 00 00"),
        (7, "07 00 FF 00 27", "07 80 FF 00 58 38"),
        (4, "07 00 27", "07 80 58 38"),
    ],
)
def test_a_command_is_refused_in_the_form_it_was_sent_in(
    version: int, command: str, answer: str
) -> None:
    line = Line(version)
    line.fault(LineFaultKind.INVALID_COMMAND, frame="getNodeId")
    (told,) = payloads(line.say(bytes.fromhex(command)))
    # the status says which: ERROR_INVALID_ID (0x38 as an EzspStatus is in the tables of bellows)
    assert (
        told[: -4 if version == 14 else -1] == bytes.fromhex(answer)[: -4 if version == 14 else -1]
    )
    assert told == line.stick.ezsp.refuse(bytes.fromhex(command))


@pytest.mark.parametrize(
    ("version", "response", "left"),
    [
        (14, "07 80 01 27 00 FE FF", "07 80 01 27 00 FE"),
        (7, "07 80 FF 00 27 FE FF", "07 80 FF 00 27 FE"),
        (4, "07 80 27 FE FF", "07 80 27 FE"),
    ],
)
def test_a_payload_is_truncated_in_its_fields_and_not_in_its_header(
    version: int, response: str, left: str
) -> None:
    line = Line(version)
    command = bytes.fromhex(response[:-6]).replace(b"\x80", b"\x00", 1)
    assert payloads(line.say(command)) == [bytes.fromhex(response)]
    line.fault(LineFaultKind.TRUNCATED_PAYLOAD)
    assert payloads(line.say(command, 1)) == [bytes.fromhex(left)]


def test_endless_garbage_does_not_pile_up_before_the_link() -> None:
    line = Line()
    line.fault(LineFaultKind.BAD_CRC)
    faults = line.stick.line_faults
    assert faults is not None
    for _ in range(100):
        line.stick.data_received(b"\x99" * 1000)
        assert len(faults._partial) <= 1000
    line.fault(LineFaultKind.NAK, probability=0.0)
    line.stick.data_received(FLAG)
    assert payloads(line.say(NODE_ID)) != []


def test_a_fault_that_is_taken_off_does_not_happen_later() -> None:
    line = Line()
    line.fault(LineFaultKind.POWER_CUT, at_us=5_000_000)
    line.stick.set_faults(())
    line.clock.run_for(10)
    assert payloads(line.say(NODE_ID)) != []


@pytest.mark.real_clock
async def test_a_stick_at_a_port_hangs_up_and_lets_the_host_in_again() -> None:
    clock = RealClock(asyncio.get_running_loop())
    random_bits = random.Random(1).getrandbits
    stored = StackState(EUI64).to_json()
    medium = Medium(clock, random_bits)
    stick = Ncp("hub", stored, medium, clock, random_bits, ezsp_version=14)
    line = await serve_tcp("127.0.0.1", 0, stick)
    application = Application()
    async with asyncio.timeout(20):
        ezsp = EZSP(config(line.url), application)
        await ezsp.connect(use_thread=False)
        stick.set_faults((LineFault(LineFaultKind.CLOSED_LINE, frame="getNodeId"),))
        with pytest.raises(RuntimeError, match="closed"):
            await ezsp.getNodeId()
        assert application.lost == [None]
        await ezsp.disconnect()
        stick.set_faults(())
        again = EZSP(config(line.url), application)
        await again.connect(use_thread=False)
        assert await again.getNodeId() == NOT_JOINED
        await again.disconnect()
        await line.close()
    stick.close()
    clock.close()
