"""The keys of a bridge and those of the ACB are replaced in the course of a run, whose verdict and
evidence go on with the new ones."""

from __future__ import annotations

import asyncio

import pytest
from run_support import BRIDGE, Event, Told, bench, desk_of, judged

from emulator.devices.device import Device
from gbcs.protection import KeyUse
from hil.scenario import Scenario

SIGN, AGREE = KeyUse.DIGITAL_SIGNATURE, KeyUse.KEY_AGREEMENT
ACB_CELLS = tuple(f"ACCESS_CONTROL_BROKER {use}" for use in ("DIGITAL_SIGNATURE", "KEY_AGREEMENT"))


@pytest.mark.requirement("MP170-R8", "good")
async def test_an_update_is_told_read_back_and_judged_by_keys_replaced_on_the_way(
    told: Told,
) -> None:
    held: dict[str, object] = {}
    verdicts: list[tuple[str, str, str, str]] = []

    loop = asyncio.get_running_loop()

    def meddle(scenario: Scenario, event: Event) -> None:
        bridge: Device = scenario.wiring.devices["bridge-1"]
        if event["type"] == "tunnel" and not held:
            held["began"] = True
            scenario.dcc.replace_acb_cells(bridge.eui64)
        elif event["type"] == "outcome":
            held.update(desk_of(scenario).key_ring.held(bridge.eui64))
        elif event["type"] == "gbcs" and event["device_id"] == "bridge-1":
            name = f"{event['use_case']} {event['cra']}"
            verdicts.append((name, event["direction"], event["signature"], event["mac"]))
            if name == "CS02b response":  # which the DSP has not heard itself yet
                loop.call_soon(scenario.dcc.renew_key, bridge.eui64, SIGN)

    verdict = await told.run(bench(BRIDGE), meddle)
    assert verdict.verdict == "pass", judged(verdict)
    assert judged(verdict)["R6"] == judged(verdict)["R7"] == "pass"
    assert set(held) == {"began", SIGN, *ACB_CELLS}
    assert verdicts == [
        ("CS02b command", "to-device", "absent", "valid"),
        ("CS02b response", "to-dsp", "valid", "absent"),
        ("CS02c command", "to-device", "valid", "valid"),
        ("CS02c response", "to-dsp", "valid", "absent"),
        ("CS02d command", "to-device", "valid", "valid"),
        ("CS02d response", "to-dsp", "valid", "absent"),
        ("CS02e command", "to-device", "valid", "valid"),
        ("CS02e response", "to-dsp", "valid", "absent"),
        ("CS09 alert", "to-dsp", "valid", "absent"),
        ("CS08 command", "to-device", "absent", "valid"),
        ("CS08 response", "to-dsp", "absent", "valid"),
    ]
    newer = [path.name for path in (told.folder / "certificates").glob(f"*-{'?' * 16}.pem")]
    assert len(newer) == 3
    assert told.events("gbcs-discarded") == []
    for path in told.folder.rglob("*"):
        assert not path.is_file() or b"PRIVATE KEY" not in path.read_bytes()
