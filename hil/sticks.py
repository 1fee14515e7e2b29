"""Emulated sticks on one air, served to whoever opens their URLs: `hanbench radio` as a library.

Source: DESIGN, "The one seam" and "What it promises to the outside"; docs/emulated-stick.md shows
how another project uses it.

    async with serve_sticks("tcp://127.0.0.1:0", "pty://meter", ezsp=13) as sticks:
        host = await open_a_host(sticks[0].url)

Sticks at `mem://NAME` are for hosts in the same process and work on any event loop, the virtual one
included; sockets and terminals need a real clock.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Literal, Protocol
from urllib.parse import urlsplit

from emulator.medium.air import Capture, Medium
from emulator.medium.pcapng import PcapngWriter
from emulator.medium.timing import Scheduler
from emulator.ncp.ezsp import LQI, RSSI_DBM
from emulator.ncp.memory import MemoryLineError, MemoryLines
from emulator.ncp.ncp import Ncp
from emulator.ncp.pty import PtyLineError, serve_pty
from emulator.ncp.tcp import RemoteHostRefused, serve_tcp
from emulator.zigbee import profiles
from emulator.zigbee.events import NodeType
from emulator.zigbee.security import install_code_key
from emulator.zigbee.state import StackState
from hil.clock import RealClock, VirtualLoop
from hil.errors import BenchBroke, RequestError
from hil.fault_wiring import (
    apply_faults,
    require_frames,
    require_of_sticks,
    require_places,
)
from hil.faults import Fault, parse_fault
from hil.seeds import Seeds
from hil.serving import require_loopback
from hil.state_file import StateFile
from hil.zep_stream import ZepStream

PROFILES = ("blank", "coordinator", "router", "end-device")
Profile = Literal["blank", "coordinator", "router", "end-device"]

CHANNEL = 15  # of a network made from a profile
_EUI64_PREFIX = 0x02484E42 << 32  # locally administered: no manufacturer's devices can have these
_VIRTUAL_EPOCH_US = 1_767_225_600_000_000  # 2026-01-01, as the epoch of a bench file
_NODE_TYPES = {"router": NodeType.ROUTER, "end-device": NodeType.SLEEPY_END_DEVICE}
_TCP = re.compile(r"tcp://[^/]+:\d+")

_runs = itertools.count(1)


class _Line(Protocol):
    @property
    def url(self) -> str: ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class StickOptions:
    """One stick: where hosts reach it, and what it is before they do.

    `state` is the file of its memory: read when it exists, made otherwise, rewritten at every
    change. `profile` says what a stick without such a file is; a router or an end device is in the
    network of the first coordinator among its fellows.
    """

    listen: str
    eui64: int | None = None
    state: Path | None = None
    profile: Profile = "blank"


@dataclass(frozen=True, slots=True)
class ServedStick:
    """A stick that can be opened at `url`."""

    name: str
    url: str
    eui64: int
    ncp: Ncp


class Sticks(Sequence[ServedStick]):
    """The sticks of one air, by number from 0."""

    medium: Medium

    def __init__(self, clock: Scheduler) -> None:
        self.clock = clock
        self.reason = ""
        self._sticks: list[ServedStick] = []
        self._broken = asyncio.Event()

    def __getitem__(self, number: int) -> ServedStick:  # type: ignore[override] # no slices
        return self._sticks[number]

    def __len__(self) -> int:
        return len(self._sticks)

    def __iter__(self) -> Iterator[ServedStick]:
        return iter(self._sticks)

    async def broken(self) -> BenchBroke:
        """Wait until they cannot go on, because a file of theirs could not be written; why."""
        await self._broken.wait()
        return BenchBroke(self.reason)

    def _break(self, reason: str) -> None:
        """A memory that cannot be kept: no stick says a word more, and whoever waits is told."""
        if not self.reason:
            self.reason = reason
            self._broken.set()
        for stick in self._sticks:
            stick.ncp.close()


@asynccontextmanager
async def serve_sticks(
    *sticks: str | StickOptions,
    ezsp: int = 14,
    seed: int = 1,
    strict: bool = False,
    cbke: bool = True,
    faults: Sequence[str | Fault] = (),
    pcap: Path | None = None,
    zep: tuple[str, int] | None = None,
    allow_remote: bool = False,
) -> AsyncIterator[Sticks]:
    """Serve emulated sticks on one air for as long as this is entered.

    Where each listens: `tcp://HOST:PORT` (port 0 for any), `pty://NAME` or `mem://NAME`. `pcap`
    gets every frame of the air as it happens, and so does, in ZEP datagrams, the UDP port `zep`.
    Without `cbke` they are as sticks are sold: key establishment and signatures are a stub.
    They are called stick-1, stick-2, and so on: by that name faults are laid on one of them.

    Raises RequestError for what cannot be asked, BenchBroke for what is taken.
    """
    options = [StickOptions(one) if isinstance(one, str) else one for one in sticks]
    names = [f"stick-{number + 1}" for number in range(len(options))]
    for option in options:
        _require_listen(option.listen)
    if zep is not None:
        require_loopback(zep[0], allow_remote)
    parsed = [parse_fault(one) if isinstance(one, str) else one for one in faults]
    require_of_sticks(parsed)
    require_places(parsed, names)
    require_frames(parsed, ezsp)
    seeds = Seeds(seed)
    async with AsyncExitStack() as stack:
        loop = asyncio.get_running_loop()
        clock: Scheduler
        if isinstance(loop, VirtualLoop):
            _require_memory(options)
            clock, epoch_us = loop, _VIRTUAL_EPOCH_US
        else:
            clock = real = RealClock(loop)
            stack.callback(real.close)
            epoch_us = time.time_ns() // 1000 - real.now_us()
        served = Sticks(clock)
        files = _open_files(options, stack)
        states = _states(options, names, files, seeds)
        served.medium = Medium(
            clock,
            seeds.stream("air").getrandbits,
            capture=_capture(served, stack, epoch_us, pcap, zep),
        )
        stack.callback(served.medium.close)
        lines = MemoryLines(f"sticks-{next(_runs)}")
        stack.callback(lines.close)
        for option, name, file, state in zip(options, names, files, states, strict=True):
            ncp = Ncp(
                name,
                state.to_json(),
                served.medium,
                clock,
                seeds.stream(f"stick {name}").getrandbits,
                ezsp_version=ezsp,
                strict=strict,
                cbke=cbke,
                on_store=None if file is None else _keeper(file, served),
            )
            stack.callback(_switch_off, ncp)
            if file is not None:
                _store_first(file, ncp.stored)
            line = await _listen(option.listen, ncp, lines, allow_remote)
            if not isinstance(line, str):
                stack.push_async_callback(line.close)
            url = line if isinstance(line, str) else line.url
            served._sticks.append(ServedStick(name, url, state.eui64, ncp))
        apply_faults(parsed, served.medium, {stick.name: stick.ncp for stick in served})
        yield served


# -- what a stick is before a host comes -----------------------------------------------------------


def _open_files(options: Sequence[StickOptions], stack: AsyncExitStack) -> list[StateFile | None]:
    files: list[StateFile | None] = []
    for option in options:
        file = None if option.state is None else StateFile(option.state)
        if file is not None:
            stack.callback(file.close)
        files.append(file)
    return files


def _states(
    options: Sequence[StickOptions],
    names: Sequence[str],
    files: Sequence[StateFile | None],
    seeds: Seeds,
) -> list[StackState]:
    """What each stick remembers: from its file, else as its profile says."""
    known = [None if file is None else file.state for file in files]
    eui64s: list[int] = []
    for option, name, state in zip(options, names, known, strict=True):
        if state is not None and option.eui64 not in (None, state.eui64):
            raise RequestError(
                f"{option.state} is the memory of {state.eui64:016X}: "
                f"it cannot be {option.eui64:016X}'s"
            )
        drawn = _EUI64_PREFIX | int.from_bytes(seeds.derive(f"EUI-64 {name}", 4), "big")
        eui64 = (
            state.eui64 if state is not None else drawn if option.eui64 is None else option.eui64
        )
        if eui64 in eui64s:
            raise RequestError(f"{name} and {names[eui64s.index(eui64)]} are both {eui64:016X}")
        eui64s.append(eui64)
    # Coordinators first: who has joined needs one.
    for number, option in enumerate(options):
        if known[number] is None and option.profile == "coordinator":
            known[number] = _coordinator(eui64s[number], seeds)
    coordinator = next((one for one in known if one is not None and _is_coordinator(one)), None)
    for number, option in enumerate(options):
        if known[number] is not None:
            continue
        if option.profile == "blank":
            known[number] = profiles.blank(eui64s[number])
            continue
        if coordinator is None:
            raise RequestError(
                f"{names[number]}: a {option.profile} needs a coordinator among the sticks"
            )
        key = install_code_key(seeds.install_code(eui64s[number]))
        node_type = _NODE_TYPES[option.profile]
        try:
            known[number] = profiles.joined(eui64s[number], coordinator, key, node_type=node_type)
        except profiles.ProfileError as error:
            raise RequestError(f"{names[number]}: {error}") from None
    return [state for state in known if state is not None]


def _coordinator(eui64: int, seeds: Seeds) -> StackState:
    return profiles.formed_coordinator(
        eui64,
        pan_id=seeds.pan_id(),
        extended_pan_id=int.from_bytes(seeds.extended_pan_id(), "big"),
        channel=CHANNEL,
        network_key=seeds.network_key(),
        trust_center_key=seeds.derive("trust centre seed", 16),
    )


def _is_coordinator(state: StackState) -> bool:
    return state.network is not None and state.network.node_type is NodeType.COORDINATOR


# -- what a stick must keep ------------------------------------------------------------------------


def _store_first(file: StateFile, text: str) -> None:
    """What a stick starts with is in its file before a host can make anything of it."""
    try:
        file.write(text)
    except FileExistsError:
        raise BenchBroke(f"{file.path} has just appeared: somebody else made it") from None
    except OSError as error:
        raise RequestError(f"{file.path} cannot be written: {error.strerror}") from None


def _keeper(file: StateFile, served: Sticks) -> Callable[[str], None]:
    def keep(text: str) -> None:
        try:
            file.write(text)
        except OSError as error:
            served._break(f"{file.path} cannot be written: {error.strerror}")

    return keep


def _switch_off(ncp: Ncp) -> None:
    """A clean stop: what is known last is kept."""
    ncp.stack.save()
    ncp.close()


# -- who can reach it, and who can watch -----------------------------------------------------------


def _require_memory(options: Sequence[StickOptions]) -> None:
    for option in options:
        if not option.listen.startswith("mem://"):
            raise RequestError(
                f"{option.listen} needs a real clock: on a virtual one sticks are at mem://NAME"
            )


def _capture(
    served: Sticks,
    stack: AsyncExitStack,
    epoch_us: int,
    pcap: Path | None,
    zep: tuple[str, int] | None,
) -> Capture | None:
    """What is called for every frame of the air, if anybody wants to see them."""
    if pcap is None and zep is None:
        return None
    stream = None if zep is None else ZepStream(*zep)
    if stream is not None:
        stack.callback(stream.close)
    file = None if pcap is None else _open_capture(pcap)
    if file is not None:
        stack.callback(file.close)

    def write(octets: bytes) -> None:
        assert file is not None
        try:
            file.write(octets)
        except OSError as error:
            served._break(f"{pcap} cannot be written: {error.strerror}")

    writer = None if file is None else PcapngWriter(write)

    def capture(start_us: int, channel: int, psdu: bytes, comment: str) -> None:
        if writer is not None:
            writer.frame(
                start_us,
                psdu,
                channel=channel,
                rssi_dbm=RSSI_DBM,
                lqi=LQI,
                epoch_us=epoch_us,
                comment=comment,
            )
        if stream is not None:
            stream.frame(epoch_us + start_us, channel, psdu)

    return capture


def _open_capture(path: Path) -> FileIO:
    """Unbuffered, so that a reader can follow it frame by frame."""
    try:
        return FileIO(path, "w")
    except OSError as error:
        raise RequestError(f"{path} cannot be written: {error.strerror}") from None


async def _listen(url: str, ncp: Ncp, lines: MemoryLines, allow_remote: bool) -> str | _Line:
    scheme, _, place = url.partition("://")
    try:
        if scheme == "mem":
            return lines.add(place, ncp)
        if scheme == "pty":
            return serve_pty(place, ncp)
        host, port = _place(url)
        return await serve_tcp(host, port, ncp, allow_remote=allow_remote)
    except (MemoryLineError, PtyLineError) as error:
        raise RequestError(f"{url}: {error}") from None
    except RemoteHostRefused:
        raise RequestError(
            f"{host} is not this machine: say --allow-remote if anybody may reach the stick"
        ) from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise BenchBroke(f"{url} cannot be listened on: {reason}") from None


def _require_listen(url: str) -> None:
    if url.startswith("tcp://"):
        _place(url)
    elif not url.startswith(("mem://", "pty://")):
        raise RequestError(f"{url!r} is not how to listen: say tcp://HOST:PORT or pty://NAME")


def _place(url: str) -> tuple[str, int]:
    if not _TCP.fullmatch(url):
        raise RequestError(f"{url!r} is not how to listen: say tcp://HOST:PORT")
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    if not parts.hostname or port is None:
        raise RequestError(f"{url!r} has no port from 0 to 65535")
    return parts.hostname, port
