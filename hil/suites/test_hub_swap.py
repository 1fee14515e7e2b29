"""A hub is swapped for another: who serves a tunnel stays what it is, who serves none is lost.

Source: MP170, annex A (a hub that takes over knows devices by their clusters: without the
Tunnelling cluster one is a Type 2 device, which takes no firmware from it); DUIS, 8.12.1. The bench
is the test's own: a bridge, and another one without that cluster.
"""

from __future__ import annotations

from typing import Any

from dsp_stub.requests import RestoreHanDeviceLog, UpdateHanDeviceLog
from gbcs.device_log import DlmsResult, RestoreLogResult
from hil.bench_up import BenchUp
from hil.conformance import conformance
from hil.judging import judge_device
from hil.session import Session, is_settled, payload_of
from hil.suite_bench import SMALL_BYTES
from hil.track import Track

AT_ONCE_S = 60.0
BRIDGE = {"kind": "bridge-1", "image_size_bytes": SMALL_BYTES}


async def answered(dsp: Session, service: str, body: Any) -> Any:
    """What the hub that is there now says to a request."""
    hub = dsp.wiring.hub.node.eui64
    answer = await dsp.ask(service, body, target=hub)
    assert answer.is_accepted, f"{service} was answered with {answer.code}"
    response, _ = await dsp.response(answer.request_id)
    assert response is not None, f"{service} has no response"
    return payload_of(response)


async def let_in(bench: BenchUp, track: Track) -> None:
    """8.11 Add, and it is in the network; of its tunnel nothing is said."""
    answer, is_in = await bench.session.add_to_log(track, bench.patience_s)
    assert answer.is_accepted, f"8.11 for {track.device_id} was answered with {answer.code}"
    assert is_in, f"the hub did not take {track.device_id} into its device log"
    bench.session.let_join(track)
    await bench.until(lambda: track.joined, f"{track.device_id} joins the network")


@conformance(
    "MP170-TCSO",
    title="after a hub swap who serves no tunnel is named and not updated, and the others are",
    needs=("device", "emulated"),
    bench={"device": [BRIDGE | {"id": "kept"}, BRIDGE | {"id": "lost", "tunnel": False}]},
    steps=(
        "two bridges are in the network: the one without a tunnel is named before anything is done",
        "another hub is in the place of the first, and 8.12.1 gives it the log",
        "both come back: one is a PPMID as before, the other a Type 2 device, and is named",
        "an 11.4 to the one without a tunnel ends at once as not updatable",
        "the other one is updated",
        "struck off and added again, the first is a PPMID once more",
    ),
)
async def test_who_serves_no_tunnel_is_lost_in_a_swap(
    bench: BenchUp, dsp: Session, step: Any
) -> None:
    kept, lost = bench.devices["kept"], bench.devices["lost"].track
    wiring, anomalies = dsp.wiring, dsp.witness.anomalies
    with step(1):
        await kept.admit()
        await dsp.switch_on(lost)
        assert (await dsp.prenotify(lost)).is_accepted
        await let_in(bench, lost)
        await bench.until(
            lambda: wiring.hub.without_tunnel() == [lost.eui64], "the one without is named"
        )
        log = wiring.hub.device_log
        await bench.until(
            lambda: all(peer.hashed_key for _, peer in log.items()), "the DSP knows their keys"
        )
    old = wiring.hub.node.eui64
    with step(2):
        await dsp.swap_hub()
        payload = await answered(dsp, "8.12.1", RestoreHanDeviceLog(old))
        assert isinstance(payload, RestoreLogResult)
        assert payload.restore_pan is DlmsResult.SUCCESS
    with step(3):
        await bench.until(lambda: kept.track.tunnel_up, "the one with a tunnel has it again")
        await bench.until(lambda: anomalies[lost.device_id, "type 2"], "the one without is named")
        assert (kept.track.type_at_hub, lost.type_at_hub) == ("PPMID", "TYPE_2")
        assert not anomalies[kept.id, "type 2"]
    with step(4):
        began_s = dsp.witness.time_s()
        assert (await dsp.ask_update(lost.image.image, (lost.eui64,))).is_accepted
        await bench.until(lambda: is_settled(lost), "the hub says what becomes of it")
        assert judge_device(lost).outcome == "not-updatable"
        assert dsp.witness.time_s() - began_s < AT_ONCE_S, "somebody waited for a transfer"
    with step(5):
        assert await kept.update() == "activated", kept.track.detail
    with step(6):
        await answered(dsp, "8.11", UpdateHanDeviceLog(lost.eui64, "Remove"))
        lost.joined = False
        await let_in(bench, lost)
        assert lost.type_at_hub == "PPMID"
