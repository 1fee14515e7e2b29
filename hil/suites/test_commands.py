"""What a device answers, and to whom: CS08 as it was sent, forged, and once more.

Source: MP170, requirement 7; GBCS use case CS08, 4.3.1.4 (originator counters), 6.2 (MACs).
"""

from __future__ import annotations

from typing import Any

from gbcs.envelope import Cra
from hil.bench_device import BenchDevice
from hil.bench_up import BenchUp
from hil.conformance import conformance
from hil.verdict import version_text

GENERAL_CIPHERING = bytes((0xDF, 0x09, 0x01))  # of the transaction id, whose counter follows
FAR_AHEAD = 1000


@conformance(
    "MP170-R7",
    "CPL-MISMATCH",
    title="a device answers a command once, and one that is forged never",
    needs=("device",),
    steps=(
        "11.2 is answered with the version it runs, under a MAC that holds",
        "the response has the counter of the command",
        "the same command with another counter is not answered: its MAC does not hold",
        "the same command once more is not answered",
        "11.2 is answered as before, and nothing is held against the device",
    ),
)
async def test_only_what_holds_is_answered(bench: BenchUp, device: BenchDevice, step: Any) -> None:
    await device.admit()
    hub = bench.session.wiring.hub
    with step(1):
        assert await device.read_version() == version_text(device.running)
    with step(2):
        command = device.commands()[-1]
        answered = [one.received.frame.originator_counter for one in device.frames(Cra.RESPONSE)]
        assert answered[-1] == command.received.frame.originator_counter
    octets = command.received.octets
    counter = command.received.frame.originator_counter
    place = octets.index(GENERAL_CIPHERING) + len(GENERAL_CIPHERING)
    before = len(answered)
    with step(3):
        forged = (counter + FAR_AHEAD).to_bytes(8, "big")
        hub.send_through_tunnel(device.eui64, octets[:place] + forged + octets[place + 8 :])
        await bench.never(
            lambda: len(device.frames(Cra.RESPONSE)) > before, "it is answered", bench.brief_s
        )
    with step(4):
        hub.send_through_tunnel(device.eui64, octets)
        await bench.never(
            lambda: len(device.frames(Cra.RESPONSE)) > before, "it is answered", bench.brief_s
        )
    with step(5):
        assert await device.read_version() == version_text(device.running)
        assert not device.complaints, ", ".join(device.complaints)
