"""The evidence folder: written as it happens, kept when interrupted, never over anything."""

from __future__ import annotations

import errno
import json
from datetime import UTC, datetime, timedelta, timezone
from importlib import resources
from pathlib import Path
from typing import Any, get_args

import pytest

from gbcs.envelope import Cra
from gbcs.protection import Verdict as Protection
from gbcs.wan import WanMessage
from hil.errors import BenchBroke, RequestError
from hil.evidence import Evidence, EvidenceError
from hil.verdict import Kind, Outcome, Verdict

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
SCHEMA = json.loads(resources.files("hil").joinpath("schemas/events.schema.json").read_text())

SHA = "0" * 64
EVENTS: list[dict[str, Any]] = [
    {
        "type": "run-started",
        "seed": 1,
        "clock": "virtual",
        "ezsp": 14,
        "faults": ["loss 10 %"],
        "devices": [{"device_id": "ppmid", "kind": "ppmid", "size_bytes": 65_536}],
    },
    {
        "type": "radio",
        "device_id": "hub",
        "url": "/dev/ttyUSB0",
        "detail": "02484E42C4A48A30, EZSP 14",
    },
    {
        "type": "step",
        "test": "test_update.py::test_an_image_is_deployed",
        "number": 1,
        "text": "the device joins",
        "outcome": "passed",
        "detail": "",
    },
    {"type": "action", "device_id": "dut", "what": "switch it on", "answer": "done"},
    {"type": "test", "test": "test_update.py::test_it", "outcome": "failed", "detail": "no N39"},
    {"type": "channel-chosen", "channel": 20, "energy_dbm": {"20": -95, "25": -80}},
    {
        "type": "network-formed",
        "pan_id": "B18B",
        "extended_pan_id": "18262CD292AD61D7",
        "channel": 11,
    },
    {"type": "joined", "device_id": "ppmid", "eui64": "00DB1234567890A0", "node_id": "1A2B"},
    {"type": "tunnel", "device_id": "ppmid", "state": "open"},
    {"type": "tunnel", "device_id": "ppmid", "state": "closed", "detail": "by the device"},
    {
        "type": "duis",
        "kind": "request",
        "service": "11.4",
        "request_id": "90-B3-D5-1F-30-01-00-00:90-B3-D5-1F-30-00-00-02:3",
        "code": None,
        "element": None,
        "device_ids": ["ppmid"],
        "file": "duis/0001-11.4-request.xml",
        "detail": "",
    },
    {
        "type": "duis",
        "kind": "alert",
        "service": None,
        "request_id": None,
        "code": "N39",
        "element": "PPMIDAlert",
        "device_ids": ["ppmid"],
        "file": "duis/0004-N39-alert.xml",
        "detail": "ActivationSuccess",
    },
    {
        "type": "wan",
        "kind": "ImageOffer",
        "direction": "to-hub",
        "device_ids": ["ppmid"],
        "file": "wan/0001-ImageOffer.bin",
        "octets": 65_580,
        "detail": "65536 bytes for 1 device(s)",
    },
    {
        "type": "gbcs",
        "use_case": "CS09",
        "cra": "alert",
        "message_code": "012B",
        "originator": "00DB1234567890A4",
        "recipient": "90B3D51F30000002",
        "originator_counter": 5000,
        "device_id": "ppmid",
        "direction": "to-dsp",
        "file": "gbcs/0001-CS09-alert.HEX",
        "octets": 132,
        "signature": "valid",
        "mac": "absent",
        "detail": "",
    },
    {
        "type": "gbcs-discarded",
        "where": "device",
        "device_id": "ppmid",
        "reason": "MAC",
        "detail": "the MAC does not match",
    },
    {
        "type": "gbcs-discarded",
        "where": "dsp",
        "device_id": None,
        "reason": "SYNTAX",
        "detail": "cut short",
    },
    {
        "type": "image-offered",
        "device_id": "ppmid",
        "version": "00000002",
        "size_bytes": 65_536,
        "sha256": SHA,
    },
    {
        "type": "transfer-started",
        "device_id": "ppmid",
        "version": "00000002",
        "size_bytes": 65_536,
    },
    {
        "type": "progress",
        "device_id": "ppmid",
        "offset_bytes": 656,
        "size_bytes": 65_536,
        "percent": 1,
        "blocks": 12,
    },
    {
        "type": "transfer-done",
        "device_id": "ppmid",
        "blocks": 1_171,
        "bytes": 65_536,
        "sha256": SHA,
    },
    {"type": "restarted", "device_id": "ppmid", "version": "00000002"},
    {
        "type": "outcome",
        "device_id": "ppmid",
        "outcome": "activated",
        "version_before": "00000001",
        "version_after": None,
        "detail": "verified",
    },
    {"type": "anomaly", "kind": "unsecured frame", "detail": "dropped", "device_id": "ppmid"},
    {"type": "anomaly", "kind": "short frame", "detail": "dropped"},
    {"type": "run-ended", "verdict": "pass", "wall_s": 1.5, "virtual_s": 300},
]

VERDICT = Verdict(seed=1, clock="real", trace_hash=None, wall_s=1, virtual_s=1, devices=())


@pytest.fixture
def evidence(tmp_path: Path) -> Evidence:
    return Evidence(tmp_path / "runs" / "1", epoch=EPOCH)


def lines(evidence: Evidence) -> list[dict[str, Any]]:
    text = (evidence.folder / "events.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


# -- events --------------------------------------------------------------------------------


def test_an_event_can_be_read_the_moment_it_happened(evidence: Evidence) -> None:
    assert evidence.record({"type": "joined", "time_s": 1.5, "device_id": "ppmid é"}) == 1
    assert evidence.record({"type": "joined", "time_s": 86_400, "device_id": "bridge-1"}) == 2
    assert lines(evidence) == [
        {
            "id": 1,
            "time_s": 1.5,
            "utc": "2026-01-01T00:00:01.500000Z",
            "type": "joined",
            "device_id": "ppmid é",
        },
        {
            "id": 2,
            "time_s": 86_400,
            "utc": "2026-01-02T00:00:00.000000Z",
            "type": "joined",
            "device_id": "bridge-1",
        },
    ]


def test_civil_time_is_utc_wherever_the_epoch_was_written(tmp_path: Path) -> None:
    epoch = datetime(2026, 6, 1, 1, tzinfo=timezone(timedelta(hours=2)))
    assert Evidence(tmp_path, epoch=epoch).utc(0) == "2026-05-31T23:00:00.000000Z"


def test_the_capture_is_never_behind_the_events(evidence: Evidence) -> None:
    air = evidence.open_binary("air.pcapng")
    air.write(b"frame")
    evidence.record({"type": "joined", "time_s": 1})
    assert (evidence.folder / "air.pcapng").read_bytes() == b"frame"
    air.close()
    assert evidence.record({"type": "joined", "time_s": 2}) == 2


@pytest.mark.parametrize(
    "event",
    [
        {"time_s": 1},
        {"type": "joined"},
        {"type": 3, "time_s": 1},
        {"type": "joined", "time_s": "1"},
        {"type": "joined", "time_s": 1, "key": b"octets"},
        {"type": "joined", "time_s": 1, "rate": float("nan")},
    ],
)
def test_what_is_no_event_is_refused_and_leaves_no_line(
    evidence: Evidence, event: dict[str, object]
) -> None:
    with pytest.raises(EvidenceError):
        evidence.record(event)
    assert lines(evidence) == []
    assert evidence.record({"type": "joined", "time_s": 1}) == 1


def test_every_kind_of_event_has_its_form_in_the_schema(evidence: Evidence) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(SCHEMA)
    validator.check_schema(SCHEMA)
    for event in EVENTS:
        evidence.record({"time_s": 1.0, **event})
    for line in lines(evidence):
        validator.validate(line)
        for name in line:
            assert not validator.is_valid({**line, name: [None]}), (line["type"], name)
        assert not validator.is_valid({**line, "unknown": 1}), line["type"]
        assert not validator.is_valid({key: line[key] for key in line if key != "utc"})
    assert {event["type"] for event in EVENTS} == set(SCHEMA["properties"]["type"]["enum"])
    assert not validator.is_valid({"id": 1, "time_s": 0, "utc": "2026-01-01T00:00:00Z"})


def test_events_and_verdict_speak_of_the_same_kinds_and_outcomes() -> None:
    kinds = SCHEMA["$defs"]["run-started"]["properties"]["devices"]["items"]["properties"]["kind"]
    assert tuple(kinds["enum"]) == get_args(Kind)
    assert tuple(SCHEMA["$defs"]["outcome"]["properties"]["outcome"]["enum"]) == get_args(Outcome)


@pytest.mark.parametrize(
    ("event_type", "name", "kinds"),
    [
        ("wan", "kind", [kind.__name__ for kind in get_args(WanMessage)]),
        ("gbcs", "cra", [cra.name.lower() for cra in Cra]),
        ("gbcs", "signature", [str(verdict) for verdict in Protection]),
        ("gbcs", "mac", [str(verdict) for verdict in Protection]),
    ],
)
def test_the_schema_knows_every_message_and_frame_there_is(
    event_type: str, name: str, kinds: list[str]
) -> None:
    assert SCHEMA["$defs"][event_type]["properties"][name]["enum"] == kinds


@pytest.mark.parametrize(
    ("event_type", "name", "value"),
    [
        ("duis", "file", "../secret.xml"),
        ("duis", "file", "wan/0001.bin"),
        ("duis", "service", "eleven"),
        ("duis", "device_ids", [""]),
        ("wan", "octets", 0),
        ("gbcs", "message_code", "12B"),
        ("gbcs", "originator", "00-DB-12-34-56-78-90-A4"),
        ("gbcs", "originator_counter", 2**64),
        ("gbcs", "signature", "good"),
        ("gbcs-discarded", "where", "air"),
        ("tunnel", "octets", 132),
    ],
)
def test_a_wrong_value_does_not_get_past_the_schema(
    evidence: Evidence, event_type: str, name: str, value: object
) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(SCHEMA)
    event = next(event for event in EVENTS if event["type"] == event_type)
    evidence.record({"time_s": 1.0, **event})
    (line,) = lines(evidence)
    assert validator.is_valid(line)
    assert not validator.is_valid({**line, name: value})


# -- the folder ----------------------------------------------------------------------------


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RequestError, match="is not empty: empty it, or name another") as caught:
        Evidence(tmp_path, epoch=EPOCH)
    assert caught.value.exit_code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_an_empty_folder_will_do(tmp_path: Path) -> None:
    Evidence(tmp_path, epoch=EPOCH).close()
    assert [path.name for path in tmp_path.iterdir()] == ["events.jsonl"]


def test_a_folder_that_cannot_be_made_is_told_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RequestError, match="cannot be made: it is a file"):
        Evidence(tmp_path / "file", epoch=EPOCH)
    with pytest.raises(RequestError, match="cannot be made: Not a directory"):
        Evidence(tmp_path / "file" / "run", epoch=EPOCH)


def test_files_go_where_their_names_say_and_nowhere_else(evidence: Evidence) -> None:
    path = evidence.write("wan/0001.bin", b"\x01\x02")
    assert path == evidence.folder / "wan" / "0001.bin"
    assert path.read_bytes() == b"\x01\x02"
    for name in ("", ".", "/etc/x", "../x", "wan/../../x", "a\0b"):
        with pytest.raises(EvidenceError, match="is not the name of a file"):
            evidence.write(name, b"")


def test_evidence_is_never_written_over(evidence: Evidence) -> None:
    evidence.write("wan/0001.bin", b"first")
    with pytest.raises(BenchBroke, match=r"0001\.bin cannot be written: File exists"):
        evidence.write("wan/0001.bin", b"second")
    with pytest.raises(BenchBroke, match="File exists"):
        evidence.open_binary("events.jsonl")
    assert (evidence.folder / "wan" / "0001.bin").read_bytes() == b"first"


def test_a_full_disk_breaks_the_bench_in_one_sentence(
    evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    class FullDisk:
        closed = False
        write = staticmethod(full)

    monkeypatch.setattr(evidence, "_events", FullDisk())
    with pytest.raises(BenchBroke, match=r"events\.jsonl cannot be written: No space left") as told:
        evidence.record({"type": "joined", "time_s": 1})
    assert told.value.exit_code == 3


# -- keys ----------------------------------------------------------------------------------


def test_keys_are_there_only_when_asked_for_and_for_the_owner_only(evidence: Evidence) -> None:
    assert not (evidence.folder / "air.keys").exists()
    path = evidence.write_keys('"00112233","Normal","network"\n')
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text() == '"00112233","Normal","network"\n'


# -- the end -------------------------------------------------------------------------------


def test_the_verdict_comes_last_and_whole(evidence: Evidence) -> None:
    air = evidence.open_binary("air.pcapng")
    air.write(b"frame")
    path = evidence.write_verdict(VERDICT)
    assert json.loads(path.read_text()) == json.loads(VERDICT.to_json())
    assert (evidence.folder / "air.pcapng").read_bytes() == b"frame"
    assert sorted(path.name for path in evidence.folder.iterdir()) == [
        "air.pcapng",
        "events.jsonl",
        "verdict.json",
    ]
    for late in (
        lambda: evidence.record({"type": "joined", "time_s": 1}),
        lambda: evidence.write("late", b""),
        lambda: evidence.write_verdict(VERDICT),
    ):
        with pytest.raises(EvidenceError, match="comes too late"):
            late()


def test_an_interrupted_run_keeps_its_evidence_and_has_no_verdict(tmp_path: Path) -> None:
    def interrupted() -> None:
        with Evidence(tmp_path / "run", epoch=EPOCH) as evidence:
            evidence.record({"type": "joined", "time_s": 1})
            evidence.open_binary("air.pcapng").write(b"frame")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (tmp_path / "run" / "air.pcapng").read_bytes() == b"frame"
    assert len((tmp_path / "run" / "events.jsonl").read_text().splitlines()) == 1
    assert not (tmp_path / "run" / "verdict.json").exists()


def test_a_verdict_that_could_not_be_written_leaves_none_behind(
    evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("hil.evidence.os.fsync", broken)
    with pytest.raises(BenchBroke, match="Input/output error"):
        evidence.write_verdict(VERDICT)
    assert not (evidence.folder / "verdict.json").exists()
