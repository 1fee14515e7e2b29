"""How much a user may ask for, how often a device may load, and how long that may take.

Source: MP170 (service level as for a PPMID; at most two downloads a device and year; one threshold
of anomaly detection for 11.4, bridges included). No public text gives figures: they are options.
"""

from __future__ import annotations

from typing import Any

from dsp_stub.campaigns import CampaignState
from dsp_stub.responses import QuarantinedRequest
from dsp_stub.service_level import ServiceLevel, service_level
from hil.bench_device import BenchDevice
from hil.bench_up import BenchUp
from hil.conformance import conformance
from hil.session import Session
from hil.suites.test_home import emulated
from hil.suites.test_requests import offers

SHORT_S = 1
THRESHOLD = 1
VERSIONS_APART = 0x100
TOO_OFTEN = "downloads-of-a-year"


def level_of(bench: BenchUp) -> ServiceLevel:
    dsp = bench.session.dcc.desk
    return service_level(dsp.store, dsp.options.service_level_s, bench.session.utc_now())


def quarantined(dsp: Session) -> list[str]:
    """The requests of which the user was told that they wait for an operator."""
    alerts = [one.alert for one in dsp.witness.alerts]
    return [str(one.request_id) for one in alerts if isinstance(one, QuarantinedRequest)]


@conformance(
    "MP170-SLA",
    title="the time from 11.4 to N39 is known of each device, and held against a target",
    needs=("device", "emulated"),
    steps=(
        "every device is updated, bridges and PPMID",
        "each has its time from 11.4 to N39, and the percentiles are of these",
        "none is later than the target",
    ),
)
async def test_the_service_level_is_known(bench: BenchUp, step: Any) -> None:
    devices = list(emulated(bench).values())
    took: list[float] = []
    with step(1):
        for device in devices:
            await device.admit()
            began = bench.session.utc_now()
            assert await device.update() == "activated", device.track.detail
            took.append((bench.session.utc_now() - began).total_seconds())
    with step(2):
        level = level_of(bench)
        assert level.devices == level.told == len(devices)
        slowest = level.percentiles_s[100]
        assert 0 < level.percentiles_s[50] <= level.percentiles_s[95] <= slowest <= max(took)
    with step(3):
        assert level.late == 0
        assert not [reason for device in devices for reason in device.complaints]


@conformance(
    "MP170-SLA",
    title="a target that is missed is flagged, once, and the update goes on",
    needs=("device", "emulated"),
    bench={"dsp": {"service_level_s": SHORT_S}},
    steps=(
        f"the target is {SHORT_S} s: before N39 the DSP flags the device",
        "the device is activated all the same, and counted as late",
    ),
)
async def test_a_missed_target_is_flagged(bench: BenchUp, step: Any) -> None:
    device = bench.device
    with step(1):
        await device.ask_update()
        await bench.until(lambda: device.complaints, "the DSP flags it")
        assert not device.activations, "it had its N39 before"
    with step(2):
        await device.settled()
        assert [one.succeeded for one in device.activations] == [True]
        assert device.complaints == ["service-level-missed"]
        assert level_of(bench).late == 1


@conformance(
    "MP170-NF1",
    title="the third download of a year is flagged, and goes ahead",
    needs=("device", "emulated"),
    steps=(
        "a bridge is updated twice, and nothing is said of it",
        "a third update within the year is flagged as one too many",
        "it is activated all the same",
    ),
)
async def test_the_third_download_is_flagged(
    bench: BenchUp,  # noqa: ARG001 - it is what the test runs on
    bridge: BenchDevice,
    step: Any,
) -> None:
    first = bridge.image.header.file_version
    with step(1):
        assert await bridge.update() == "activated", bridge.track.detail
        second = bridge.further_image(first + VERSIONS_APART)
        assert await bridge.update(second) == "activated", bridge.track.detail
        assert bridge.complaints == []
    with step(2):
        await bridge.ask_update(bridge.further_image(first + 2 * VERSIONS_APART))
        assert bridge.complaints == [TOO_OFTEN]
    with step(3):
        await bridge.settled()
        assert [one.succeeded for one in bridge.activations] == [True, True, True]


@conformance(
    "MP170-ADT",
    title="above the threshold a request waits for an operator, of a bridge as of a PPMID",
    needs=("device", "emulated"),
    bench={"dsp": {"anomaly_threshold": THRESHOLD}},
    steps=(
        f"the threshold is {THRESHOLD}: the first device's 11.4 goes to the hub",
        "that of the second is taken, and put into quarantine",
        "the user is told so, and nothing of it has left for the hub",
        "the operator lets it go: the second device is activated",
    ),
)
async def test_above_the_threshold_it_waits(bench: BenchUp, dsp: Session, step: Any) -> None:
    first, second = list(emulated(bench).values())[:2]
    await first.admit()
    await second.admit()
    campaigns = dsp.dcc.desk.campaigns
    with step(1):
        assert await first.update() == "activated", first.track.detail
        assert [one.state for one in campaigns.all()] == [CampaignState.STARTED]
    with step(2):
        before = offers(bench)
        await second.ask_update()
        held = campaigns.all()[-1]
        assert held.state is CampaignState.QUARANTINED
    with step(3):
        await bench.until(lambda: quarantined(dsp), "the user is told of the quarantine")
        assert quarantined(dsp) == [held.request_id]
        await bench.never(
            lambda: offers(bench) > before or second.track.started, "it is sent", bench.brief_s
        )
    with step(4):
        dsp.dcc.release(held.request_id)
        await second.settled()
        assert [one.succeeded for one in second.activations] == [True]
