"""A device under test as the bench knows it: who it is, whose certificates it has, its power.

Source: DESIGN (device manufacturers: the device under test is theirs, real). Everything else of it
is learnt from what it sends: on the HAN, through the tunnel, and on the WAN.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from gbcs.certificates import Certificate
from gbcs.protection import KeyUse
from hil.bench_file import Bench, Device
from hil.dut_power import Power, power_of
from hil.errors import RequestError
from hil.key_folder import load_keys

PATIENCE_S = 600.0


def patience_of(bench: Bench, asked_s: float | None) -> float | None:
    """How long a run waits for what must come: as long as one says, and no hour for a device under
    test that has nothing more to say; None for what is usual."""
    if asked_s is None and any(device.dut for device in bench.devices):
        return PATIENCE_S
    return asked_s


def with_civil_time(bench: Bench) -> Bench:
    """Where a device under test is on the bench, civil time is the machine's, since it is the
    device's; unless the file says otherwise."""
    if any(device.dut for device in bench.devices) and "epoch" not in bench.model_fields_set:
        return bench.model_copy(update={"epoch": datetime.now(UTC)})
    return bench


class DeviceUnderTest:
    """One of a bench. `on_action(what, answer)` is told of every switching."""

    def __init__(self, entry: Device, on_action: Callable[[str, str], object]) -> None:
        assert entry.eui64 is not None  # the bench file was checked
        self.entry = entry
        self.eui64 = entry.eui64
        self.power: Power = power_of(entry.id, entry.power, on_action)
        self.is_on = False

    async def switch(self, is_on: bool) -> None:
        """Give it power, or take it away, unless that is so already."""
        if is_on is self.is_on:
            return
        await (self.power.on() if is_on else self.power.off())
        self.is_on = is_on

    def certificates(self) -> list[Certificate]:
        """Those of its folder; none where its keys are the run's own.

        Raises RequestError for a folder in which one of the two is missing.
        """
        folder = self.entry.certificates
        if folder is None:
            return []
        store = load_keys(folder)
        found = []
        for use in (KeyUse.DIGITAL_SIGNATURE, KeyUse.KEY_AGREEMENT):
            certificate = store.certificate(self.eui64, use)
            if certificate is None:
                raise RequestError(
                    f"{folder} has no certificate {self.eui64:016x}-{use}.pem of {self.entry.id}: "
                    "hanbench pki issue makes it"
                )
            found.append(certificate)
        return found
