"""Before a bench sends through a real radio: may it, which sticks are these, where is it quiet?

Source: ours; a stick in a lab hangs in a house with homes around it. In this order, and nothing is
sent before its end:

    the file allows it, and channels        RequestError, before there is an evidence folder
    a labgrid place has a serial port       RequestError
    each stick answers, and tells of itself BenchBroke
    no two URLs lead to one stick           RequestError
    no stick is in somebody's network       RequestError, or it is borrowed (`radio_networks`)
    the hub's stick listens                 the quietest channel of those allowed
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from emulator.devices.node import NodeError
from emulator.devices.stick import StickInfo, ask_stick, scan_energy
from hil.bench_file import EMULATED, HUB, Bench
from hil.errors import BenchBroke, RequestError
from hil.evidence import Evidence
from hil.radio_networks import BorrowedNetworks
from hil.radio_options import CHANNEL
from hil.seeds import Seeds
from hil.sniffer import captured
from hil.verdict import RadioVerdict

SNIFFER = "sniffer"

Tell = Callable[..., object]


def real_radios(bench: Bench) -> dict[str, str]:
    """The radios of a bench that have a URL, by who is on them."""
    return {name: url for name, url in bench.radios.items() if url != EMULATED}


def require_permission(bench: Bench) -> None:
    """Raises RequestError for a bench whose real radios may not send."""
    real = real_radios(bench)
    if not real:
        return
    first = next(iter(real.values()))
    if not bench.real_radios.transmit:
        raise RequestError(
            f"{first} is a real radio and may not send: the bench file has to say "
            "[radios] transmit = true, and which channels"
        )
    if not bench.real_radios.channels:
        raise RequestError(
            f"{first} is a real radio: the bench file has to say on which channels it may send, "
            "such as [radios] channels = [15, 20, 25]"
        )


@asynccontextmanager
async def borrowed_radios(
    bench: Bench, evidence: Evidence, tell: Tell, *, take_over: bool
) -> AsyncIterator[tuple[int, list[RadioVerdict]]]:
    """The channel to use, and what each real stick told of itself, which is told as it answers.
    In the end every stick is as it was, whatever happened.

    Raises BenchBroke for a stick that does not answer, RequestError for one that is there twice,
    or in a network that may not be taken.
    """
    real = real_radios(bench)
    if not real:
        yield CHANNEL, []
        return
    sticks: dict[str, StickInfo] = {}
    networks = BorrowedNetworks(real, evidence.folder, tell)
    try:
        sniffer = bench.real_radios.sniffer
        for name, url in (real | ({} if sniffer is None else {SNIFFER: sniffer})).items():
            stick = await ask_stick(url)
            _require_new(name, stick, sticks)
            sticks[name] = stick
            tell("radio", device_id=name, url=url, detail=str(stick))
        heard = await scan_energy(real[HUB], bench.real_radios.channels)
    except NodeError as error:
        raise BenchBroke(str(error)) from error
    channel = quietest(heard)
    energy = {str(number): rssi for number, rssi in sorted(heard.items())}
    tell("channel-chosen", channel=channel, energy_dbm=energy)
    own = int.from_bytes(Seeds(bench.seed).extended_pan_id(), "big")
    await networks.borrow(own, take_over=take_over)
    try:
        async with AsyncExitStack() as stack:
            if sniffer is not None:
                await stack.enter_async_context(captured(sniffer, channel, evidence))
            yield channel, [_verdict(name, stick, channel) for name, stick in sticks.items()]
    except BaseException as error:
        await networks.put_back()  # what could not be is told; why the run ended comes first
        if isinstance(error, NodeError):
            raise BenchBroke(str(error)) from error
        raise
    if failed := await networks.put_back():
        raise BenchBroke("; ".join(failed))


def quietest(heard: Mapping[int, int]) -> int:
    """The channel with the least power on it; of equals the lowest."""
    if not heard:
        raise BenchBroke("the energy scan of the hub's radio heard no channel at all")
    return min(heard, key=lambda channel: (heard[channel], channel))


def _require_new(name: str, stick: StickInfo, known: Mapping[str, StickInfo]) -> None:
    for other, one in known.items():
        if one.eui64 == stick.eui64:
            raise RequestError(
                f"{one.url} ({other}) and {stick.url} ({name}) are one stick, {stick.eui64:016X}"
            )


def _verdict(name: str, stick: StickInfo, channel: int) -> RadioVerdict:
    return RadioVerdict(
        name,
        stick.url,
        f"{stick.eui64:016X}",
        stick.ezsp,
        stick.firmware,
        " ".join(one for one in (stick.manufacturer, stick.board) if one) or None,
        stick.key_table_size,
        stick.library,
        channel,
    )
