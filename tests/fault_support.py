"""A transfer with a fault on one end's stick, and the word that ends it."""

from __future__ import annotations

from bench_support import Bench, House, house, make_image

from emulator.devices import tunnel
from emulator.devices.device import DeviceLost, DeviceUp
from emulator.devices.hub import DeviceTunnel, HubLost
from emulator.devices.ota_outputs import DownloadProgress
from emulator.devices.ota_server import QuerySeen
from emulator.ncp.ncp import Ncp
from hil.fault_wiring import line_fault
from hil.faults import parse_fault

EUI64 = 0x02484E4200000010
IMAGE_BYTES = 4096
WORD_WITHIN_S = 60.0


def laid_on(stick: Ncp, words: str) -> None:
    stick.set_faults((line_fault(parse_fault(words)),))


def has_struck(stick: Ncp) -> bool:
    assert stick.line_faults is not None
    return bool(stick.line_faults.struck)


def told_of(home: House) -> list[object]:
    """The end of the transfer, or the word that there will be none."""
    up = [one for one in home.told_by(EUI64, DeviceUp) if one.restarted]
    return [*up, *home.told(HubLost), *home.told_by(EUI64, DeviceLost)]


async def transfer(
    made: Bench, words: str, end: str, *, limit_s: float = WORD_WITHIN_S
) -> tuple[House, float]:
    """A transfer with the fault on one end's stick; how long after it struck a word came.

    The fault is laid on it when blocks flow: what is lost before that is asked for again only
    after the query interval, 300 s.
    """
    home = await house(made)
    await home.add(EUI64)
    await made.until(
        lambda: (
            home.told(QuerySeen)
            and any(isinstance(one.output, tunnel.TunnelUp) for one in home.told(DeviceTunnel))
        ),
        1800,
    )
    home.hub.update(make_image(IMAGE_BYTES), [EUI64])
    await made.until(lambda: home.told_by(EUI64, DownloadProgress), 60)
    stick = made.sticks["hub" if end == "hub" else f"device-{EUI64:X}"]
    laid_on(stick, words)
    await made.until(lambda: has_struck(stick), 60)
    struck_s = made.loop.time()
    await made.until(lambda: told_of(home), limit_s)
    return home, made.loop.time() - struck_s
