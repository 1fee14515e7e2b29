"""`hanbench run`: what it prints, what it leaves, and that a seed says everything."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import signal
import stat
import struct
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from bench_support import (
    SMALL_BENCH,
    Done,
    finished_run,
    hanbench,
    published,
    start_hanbench,
)

from emulator.medium.pcapng import PcapngError, read_pcapng
from emulator.zigbee.security import install_code_key
from firmware_images.image import read_image
from firmware_images.samples import MAKER_KEY_BITS, PRODUCTS, maker_key_stream
from gbcs.protection import KeyUse, PrivateKey
from gbcs.smki import BENCH_ORGANISATIONS, Smki
from hil.evidence import Evidence
from hil.seeds import Seeds

jsonschema = pytest.importorskip("jsonschema")

DEVICES = ("ppmid", "bridge-1")
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
EPOCH_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z, the default of a bench file


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bench.toml").write_text(SMALL_BENCH)

    def call(*arguments: object) -> Done:
        return hanbench(capsys, monkeypatch, "run", *arguments)

    return call


def validator(name: str) -> Any:
    schema = json.loads(resources.files("hil").joinpath(f"schemas/{name}.schema.json").read_text())
    return jsonschema.Draft202012Validator(schema)


def trace_hash(capture: bytes) -> str:
    """DESIGN, "Time and chance": SHA-256 over time (u64), length (u16) and octets, in order."""
    digest = hashlib.sha256()
    for time_us, psdu in read_pcapng(capture):
        digest.update(struct.pack("<QH", time_us - EPOCH_US, len(psdu)) + psdu)
    return digest.hexdigest()


def test_a_run_updates_every_device_and_says_so(run: Any, tmp_path: Path) -> None:
    done = run("bench.toml", "--evidence", "ev")
    assert (done.exit_code, done.err) == (0, "")
    assert done.out.endswith("\nPASS\n")
    for device in DEVICES:
        assert f"  {device:<10} activated        00010100 -> 00010200  37 blocks" in done.out
    names = sorted(path.name for path in (tmp_path / "ev").iterdir())
    assert names == [
        "air.json",
        "air.pcapng",
        "certificates",
        "duis",
        "environment.json",
        "events.jsonl",
        "gbcs",
        "junit.xml",
        "report.html",
        "verdict.json",
        "wan",
    ]
    assert "  shown      8 of 8 requirements" in done.out


def test_json_is_one_document_and_the_one_in_the_folder() -> None:
    run = finished_run()
    validator("verdict").validate(run.document)
    assert json.loads((run.folder / "verdict.json").read_text()) == run.document
    assert run.document["verdict"] == "pass"
    assert [one["outcome"] for one in run.document["devices"]] == ["activated"] * 2
    assert [(one["blocks"], one["bytes"]) for one in run.document["devices"]] == [(37, 2048)] * 2
    names = [check["name"] for check in run.document["checks"]]
    assert names == [
        "11.4 refused: unknown-hash",
        "11.4 refused: one-byte-too-large",
        "11.4 refused: busy",
        "commissioned",
    ]
    shown = [one["id"] for one in run.document["requirements"] if one["verdict"] == "pass"]
    assert shown == run.document["scope"]
    for device in run.document["devices"]:
        assert [
            (alert["code"], alert["use_case"], alert["verified"], alert["dcc_alert"])
            for alert in device["alerts"]
        ] == [("8F8A", "CCS08", True, "N62"), ("8F8B", "CS09", True, "N39")]
        assert device["read_back"] == {"version": "00010200", "result": 0, "equals_smi": True}


def test_every_event_is_one_of_the_schema_and_in_the_order_of_time() -> None:
    run = finished_run()
    check = validator("events")
    events = [json.loads(line) for line in (run.folder / "events.jsonl").read_text().splitlines()]
    for event in events:
        check.validate(event)
    assert [event["id"] for event in events] == list(range(1, len(events) + 1))
    times = [event["time_s"] for event in events]
    assert times == sorted(times)
    assert (events[0]["type"], events[-1]["type"]) == ("run-started", "run-ended")
    assert [event["kind"] for event in events if event["type"] == "anomaly"] == []
    done = [event for event in events if event["type"] == "transfer-done"]
    assert [event["device_id"] for event in done] == list(DEVICES)


def test_anyone_can_recompute_the_trace_hash_from_the_capture() -> None:
    run = finished_run()
    assert trace_hash((run.folder / "air.pcapng").read_bytes()) == run.document["trace_hash"]


@pytest.mark.real_clock
def test_a_seed_is_the_same_run_in_any_process_and_another_seed_another_run(
    tmp_path: Path,
) -> None:
    (tmp_path / "bench.toml").write_text(SMALL_BENCH)
    processes = [
        start_hanbench(
            *("run", "bench.toml", "--seed", seed, "--json", "--evidence", f"ev-{number}"),
            cwd=tmp_path,
            env={"PYTHONHASHSEED": hash_seed},
        )
        for number, (seed, hash_seed) in enumerate([(7, "1"), (7, "2"), (8, "1")])
    ]
    documents = []
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert (process.returncode, err) == (0, "")
        documents.append(json.loads(out))
    hashes = [document["trace_hash"] for document in documents]
    assert hashes[0] == hashes[1] == finished_run().document["trace_hash"]
    assert hashes[2] != hashes[0]
    copies = [evidence_of(tmp_path / f"ev-{number}") for number in range(3)]
    assert list(copies[0]) == list(copies[1])
    assert [name for name in copies[0] if copies[0][name] != copies[1][name]] == []
    assert copies[0]["air.pcapng"] != copies[2]["air.pcapng"]
    for document in documents:
        del document["wall_s"]
    assert documents[0] == documents[1]


def evidence_of(folder: Path) -> dict[str, bytes]:
    """Every file that says nothing of how long the run took here."""
    timed = ("environment.json", "junit.xml", "report.html", "verdict.json")
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
    *events, ended = files["events.jsonl"].splitlines()
    assert b'"run-ended"' in ended
    return {name: files[name] for name in files if name not in timed} | {
        "events.jsonl": b"\n".join(events)
    }


@pytest.mark.parametrize("ezsp", ["13", "14"])
def test_a_lossy_air_costs_time_and_changes_nothing_else(ezsp: str) -> None:
    clean = finished_run(SMALL_BENCH, "--ezsp", ezsp)
    lossy = finished_run(SMALL_BENCH, "--ezsp", ezsp, "--fault", "loss 10 %")
    assert lossy.document["verdict"] == clean.document["verdict"] == "pass"
    assert lossy.document["virtual_s"] > clean.document["virtual_s"]
    sent = [[one["sha256"] for one in run.document["devices"]] for run in (clean, lossy)]
    assert sent[0] == sent[1]
    assert trace_hash((lossy.folder / "air.pcapng").read_bytes()) == (lossy.document["trace_hash"])


def test_a_device_nobody_hears_fails_the_run_and_the_others_are_updated(
    run: Any, tmp_path: Path
) -> None:
    done = run("bench.toml", "--evidence", "e v", "--fault", "loss 100 % on ppmid")
    assert done.exit_code == 1
    assert done.out.endswith("\nFAIL\n")
    assert "--seed 7 --ezsp 14 --fault 'loss 100 % on ppmid'" in done.out
    document = json.loads((tmp_path / "e v" / "verdict.json").read_text())
    validator("verdict").validate(document)
    assert [one["outcome"] for one in document["devices"]] == ["not-attempted", "activated"]


def test_the_published_sample_is_sent_as_it_is_and_activated(run: Any, tmp_path: Path) -> None:
    sample = published("11.4_UPDATE_PPMID_FIRMWARE_SAMPLE.ota")
    done = run("bench.toml", "--image", sample, "--evidence", "ev", "--json")
    assert done.exit_code == 0
    document = json.loads(done.out)
    device = document["devices"][0]
    assert (device["image_policy"], device["outcome"]) == ("opaque", "activated")
    assert device["sha256"] == hashlib.sha256(sample.read_bytes()).hexdigest()
    assert device["bytes"] == len(sample.read_bytes())
    version = read_image(sample.read_bytes()).header.file_version
    assert device["version_after"] == device["read_back"]["version"] == f"{version:08X}"
    assert document["verdict"] == "pass"
    requests = sorted((tmp_path / "ev" / "duis").glob("*-11.4-request.xml"))
    octets = base64.b64encode(sample.read_bytes())
    assert sum(octets in path.read_bytes() for path in requests) == 2  # the update, and once busy


def secrets_of(seed: int) -> dict[str, bytes]:
    seeds = Seeds(seed)
    secrets = {
        "network key": seeds.network_key(),
        "trust centre seed": seeds.derive("trust centre seed", 16),
    }
    for device in DEVICES:
        code = seeds.derive(f"install code {device}", 16)
        secrets[f"install code {device}"] = code
        secrets[f"link key {device}"] = install_code_key(code)
        stream = maker_key_stream(PRODUCTS[device].manufacturer_code)
        scalar = seeds.stream(stream).getrandbits(MAKER_KEY_BITS)
        secrets[f"maker's key {device}"] = scalar.to_bytes(MAKER_KEY_BITS // 8, "big")
    smki = Smki(lambda name: seeds.stream(name).getrandbits, EPOCH)
    for party in BENCH_ORGANISATIONS:
        for use in party.uses:
            key = smki.organisation(party.eui64, party.role, use).private_key
            secrets[f"{party.eui64:016X}-{use}"] = scalar_of(key)
    for path in finished_run().folder.glob("certificates/02*.pem"):
        eui64, use = path.stem.split("-", 1)
        key = smki.device(int(eui64, 16), KeyUse(use)).private_key
        secrets[path.stem] = scalar_of(key)
    return secrets


def scalar_of(key: PrivateKey) -> bytes:
    return key.private_numbers().private_value.to_bytes(32, "big")


def forms_of(secret: bytes) -> list[bytes]:
    """Raw, in hexadecimal, and in base64 wherever in a longer value it may begin."""
    forms = [secret, secret.hex().encode(), secret.hex().upper().encode()]
    for before in range(3):
        # Less the characters that its neighbours have a part in.
        encoded = base64.b64encode(bytes(before) + secret)
        forms.append(encoded[-(-8 * before // 6) : len(secret) * 8 // 6 - 2])
    return forms


def test_a_secret_in_a_longer_value_would_be_found_in_each_of_its_forms() -> None:
    secret = bytes(range(200, 216))
    for before in range(3):
        longer = b"x" * before + secret + b"yz"
        assert any(form in base64.b64encode(longer) for form in forms_of(secret)[3:])


def test_no_key_of_the_run_is_in_any_file_but_the_one_for_keys() -> None:
    run = finished_run()
    keys = run.folder / "air.keys"
    assert stat.S_IMODE(keys.stat().st_mode) == 0o600
    paths = [path for path in run.folder.rglob("*") if path.is_file() and path != keys]
    folders = {path.parent.name for path in paths}
    assert folders == {"evidence", "duis", "gbcs", "wan", "certificates"}
    for path in paths:
        octets = path.read_bytes()
        for name, secret in secrets_of(7).items():
            for form in (secret, secret[::-1]):
                for text in forms_of(form):
                    assert text not in octets, f"{name} is in {path.name}"
    listed = keys.read_text()
    assert listed == "".join(
        f'"{secrets_of(7)[name].hex()}","Normal","{label}"\n'
        for name, label in [
            ("network key", "network"),
            *((f"link key {device}", f"link {device}") for device in DEVICES),
        ]
    )


def test_keys_are_not_written_unless_asked_for(run: Any, tmp_path: Path) -> None:
    assert run("bench.toml", "--evidence", "ev").exit_code == 0
    assert not (tmp_path / "ev" / "air.keys").exists()


def whole_frames(capture: bytes) -> int:
    """How many frames of an unfinished capture read to their end."""
    frames = 0
    with contextlib.suppress(PcapngError):
        for _ in read_pcapng(capture):
            frames += 1
    return frames


@pytest.mark.real_clock
def test_ctrl_c_in_the_middle_of_a_transfer_keeps_the_evidence(tmp_path: Path) -> None:
    (tmp_path / "bench.toml").write_text(SMALL_BENCH.replace("2048", "700000"))
    process = start_hanbench("run", "bench.toml", "--evidence", "ev", cwd=tmp_path)
    assert process.stdout is not None
    assert any(" 10 %, " in line for line in process.stdout)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    events = tmp_path / "ev" / "events.jsonl"
    assert err == "interrupted; the evidence so far is in ev\n"
    assert sorted(path.name for path in (tmp_path / "ev").iterdir()) == [
        "air.pcapng",
        "certificates",
        "duis",
        "environment.json",
        "events.jsonl",
        "gbcs",
        "wan",
    ]
    told = [json.loads(line) for line in events.read_text().splitlines()]
    assert told[-1]["type"] != "outcome"
    assert whole_frames((tmp_path / "ev" / "air.pcapng").read_bytes()) > 100


def test_a_disk_that_is_full_breaks_the_bench_in_one_sentence(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Evidence.open_binary

    class Full:
        closed = False
        name = "air.pcapng"

        def write(self, _data: bytes) -> int:
            raise OSError(28, "No space left on device")

        def flush(self) -> None: ...
        def close(self) -> None: ...

    def open_binary(self: Evidence, name: str) -> Any:
        return Full() if name == "air.pcapng" else opened(self, name)

    monkeypatch.setattr(Evidence, "open_binary", open_binary)
    done = run("bench.toml", "--evidence", "ev", "--json")
    assert done.exit_code == 3
    assert done.out == ""
    assert done.err.count("\n") == 1
    assert "No space left on device" in done.err


@pytest.mark.matrix
@pytest.mark.parametrize("loss", ["0 %", "10 %"])
def test_the_largest_image_arrives_whole(loss: str) -> None:
    bench = 'seed = 3\n[[device]]\nid = "bridge-1"\nkind = "bridge-1"\nimage_size_bytes = 768000\n'
    run = finished_run(bench, "--fault", f"loss {loss}")
    (device,) = run.document["devices"]
    assert (device["outcome"], device["bytes"]) == ("activated", 768_000)
    assert device["blocks"] >= 13_715
