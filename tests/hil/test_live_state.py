"""What a screen says of a run: what each device does, what has struck, and nothing that plays with
the terminal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from event_strategies import EVENTS, HOSTILE
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from hil.live_layout import run_lines
from hil.live_state import MAX_LINES, MAX_ROWS, Premises, RunState
from hil.verdict import Clock

Event = dict[str, Any]


def state(*events: Event, clock: Clock = "virtual", faults: Sequence[str] = ()) -> RunState:
    premises = Premises(clock, "lab.toml", 7, "evidence/1", faults, {"twin": "00010100"})
    made = RunState(premises, began_s=100.0)
    for event in events:
        made.take({"time_s": 1.0, **event}, 101.0)
    return made


def duis(kind: str, service: str | None = None, code: str | None = None, **fields: Any) -> Event:
    return {
        "type": "duis",
        "kind": kind,
        "service": service,
        "code": code,
        "request_id": "1",
        "device_ids": ["twin"],
        "detail": "",
        **fields,
    }


def of_twin(kind: str, /, **fields: Any) -> Event:
    return {"type": kind, "device_id": "twin", **fields}


STARTED = {"type": "run-started", "seed": 7, "devices": [{"device_id": "twin", "kind": "ppmid"}]}
ASKED = duis("request", "8.11")
IN_THE_LOG = (
    duis("acknowledgement", "12.2", "I0"),
    ASKED,
    duis("response", "8.11", "I0", device_ids=["hub"]),
)
LOADING = of_twin("transfer-started", version="00010200", size_bytes=1000)


# -- what a device does ---------------------------------------------------------------------------

COURSE: list[tuple[Event, str]] = [
    (STARTED, "not yet on"),
    (duis("acknowledgement", "12.2", "I0"), "pre-notified"),
    (ASKED, "pre-notified"),
    (duis("response", "8.11", "I0", device_ids=["hub"]), "in the log, joining"),
    (of_twin("joined", node_id="1A2B"), "joined as 1A2B"),
    (of_twin("tunnel", state="open"), "joined, tunnel up"),
    (of_twin("image-offered", version="00010200"), "offered 00010200"),
    (LOADING, "loading"),
    (of_twin("progress", offset_bytes=500, size_bytes=1000, blocks=9), "loading"),
    (of_twin("progress", offset_bytes=1000, size_bytes=1000, blocks=18), "verifying"),
    (of_twin("transfer-done", bytes=1000, blocks=18), "activating"),
    (of_twin("tunnel", state="closed"), "activating"),
    (of_twin("restarted", version="00010200"), "restarted, 00010200"),
    (of_twin("tunnel", state="open"), "restarted, 00010200"),
    (duis("alert", code="N39"), "activation told"),
    (of_twin("outcome", outcome="activated", version_after="00010200"), "activated"),
    (of_twin("tunnel", state="open"), "activated"),
]


def test_each_thing_a_device_does_is_named_while_it_does_it() -> None:
    made = state()
    said = []
    for event, _ in COURSE:
        made.take({"time_s": 1.0, **event}, 101.0)
        said.append(made.devices["twin"].doing)
    assert said == [doing for _, doing in COURSE]


@pytest.mark.parametrize(
    ("events", "doing"),
    [
        ((duis("acknowledgement", "12.2", "E120203"),), "not yet on"),
        ((duis("acknowledgement", "11.4", "I99"),), "not yet on"),
        ((*IN_THE_LOG[:1], duis("response", "8.11", "I0", device_ids=["hub"])), "pre-notified"),
        ((LOADING, of_twin("anomaly", kind="power cut", detail="")), "no power"),
        ((LOADING, of_twin("anomaly", kind="power back", detail="")), "power is back"),
        ((LOADING, of_twin("anomaly", kind="device lost", detail="")), "lost"),
        ((LOADING, of_twin("anomaly", kind="stray", detail="")), "loading"),
    ],
)
def test_what_is_refused_or_goes_wrong_is_not_shown_as_progress(
    events: tuple[Event, ...], doing: str
) -> None:
    assert state(STARTED, *events).devices["twin"].doing == doing


def test_alerts_are_counted_by_their_codes_in_the_order_they_came() -> None:
    made = state(
        STARTED,
        duis("alert", code="N60"),
        duis("alert", code="N62", detail="hub alert 8F8A, FileTransferSuccess"),
        of_twin("gbcs", cra="alert", use_case="CS09"),
        of_twin("gbcs", cra="response", use_case="CS08"),
        duis("alert", code="N39"),
        duis("alert", code="N39"),
    )
    assert made.devices["twin"].alert_words == "N60 N62 8F8A 8F8B N39x2"


def test_the_hub_says_whom_it_serves_and_then_what_is_in_its_slot() -> None:
    made = state(STARTED)
    assert made.serving == "no network yet"
    made.take({"type": "network-formed", "pan_id": "B18B", "channel": 15}, 101.0)
    assert (made.network, made.serving) == ("PAN id B18B, channel 15", "its slot is empty")
    for event in (of_twin("image-offered", version="00010200"), LOADING):
        made.take(event, 101.0)
    assert made.serving == "serves 00010200 to twin"
    made.take(of_twin("transfer-done", bytes=1000, blocks=18), 101.0)
    assert made.serving == "00010200 in its slot"


# -- faults ---------------------------------------------------------------------------------------


def test_a_fault_says_how_often_it_has_struck_as_far_as_anybody_counts() -> None:
    faults = ["loss 5 %", "power loss at 100 s on twin", "low battery on twin"]
    made = state(STARTED, faults=faults)
    made.struck({"loss 5 %": 0})
    assert [fault.struck for fault in made.faults] == ["not yet", "not yet", ""]
    made.struck({"loss 5 %": 12_345})
    made.take(of_twin("anomaly", kind="power cut", detail="off"), 101.0)
    assert [fault.struck for fault in made.faults] == ["struck 12 345 times", "power cut once", ""]


def test_the_power_of_the_hub_is_the_hubs() -> None:
    made = state(STARTED, faults=["power loss at 100 s on hub"])
    made.take({"type": "anomaly", "kind": "power cut", "detail": "hub: off for 30 s"}, 101.0)
    assert made.faults[0].struck == "power cut once"
    assert made.serving == "no power"


# -- last events ----------------------------------------------------------------------------------


def test_alerts_refusals_and_anomalies_are_told_and_what_goes_well_is_not() -> None:
    made = state(
        STARTED,
        *IN_THE_LOG,
        of_twin("joined", node_id="1A2B"),
        duis("acknowledgement", "11.4", "E110403", detail="a second one"),
        {"type": "wan", "kind": "ImageOffer", "device_ids": ["twin"]},
        duis("alert", code="N39", detail="ActivationSuccess"),
        {"type": "gbcs-discarded", "device_id": None, "where": "dsp", "reason": "WAN"},
        of_twin("anomaly", kind="download failed", detail="a\nb"),
        of_twin("tunnel", state="refused", detail="no key"),
    )
    assert [(line.device_id, line.words, line.is_bad) for line in made.lines] == [
        ("twin", "11.4 refused, E110403: a second one", True),
        ("twin", "alert N39: ActivationSuccess", False),
        ("", "dsp discards a frame, WAN", True),
        ("twin", "anomaly, download failed: a\ufffdb", True),
        ("twin", "tunnel refused: no key", False),
    ]


def test_time_stands_still_when_the_run_is_over() -> None:
    made = state(STARTED)
    assert made.here_s(105.5) == 5.5
    made.take({"type": "run-ended", "verdict": "pass", "wall_s": 4.5, "virtual_s": 331}, 104.5)
    assert made.here_s(190.0) == 4.5


def test_nothing_a_run_tells_grows_without_end() -> None:
    made = state()
    for number in range(3 * MAX_ROWS):
        name = f"device-{number}"
        made.take({"type": "anomaly", "device_id": name, "kind": "stray", "detail": ""}, 1.0)
        made.take(duis("request", "8.11", request_id=str(number)), 1.0)
        made.take(duis("alert", code=f"N{number}"), 1.0)
    assert len(made.devices) == MAX_ROWS
    assert len(made.lines) == MAX_LINES
    assert len(made.devices["device-0"].alert_words.split()) == 0
    made = state(*(duis("alert", code=f"N{number}") for number in range(100)))
    assert len(made.devices["twin"].alert_words.split()) == 12


# -- hostile events -------------------------------------------------------------------------------


@given(
    st.lists(EVENTS, max_size=12),
    st.sampled_from(["virtual", "real"]),
    st.integers(0, 200),
    st.integers(0, 60),
    st.lists(HOSTILE, max_size=3),
)
def test_no_event_breaks_the_screen_or_sends_it_a_control_character(
    events: list[Event], clock: Clock, width: int, height: int, faults: list[str]
) -> None:
    made = RunState(Premises(clock, "\x1b]0;x\x07.toml", 7, "\x1b[2J", faults), 0.0)
    for number, event in enumerate(events):
        made.take(event, float(number))
    lines = run_lines(made, 9.0, width, height)
    assert len(lines) <= height
    for line in lines:
        assert line.plain.isprintable()
        assert cell_len(line.plain) <= width
