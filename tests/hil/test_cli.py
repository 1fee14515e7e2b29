"""The command line: what is wrong is one sentence, its exit code, and nothing left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bench_support import SMALL_BENCH, Done, hanbench, make_image, start_hanbench


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bench.toml").write_text(SMALL_BENCH)

    def call(*arguments: object) -> Done:
        return hanbench(capsys, monkeypatch, *arguments)

    return call


def refused(done: Done, *says: str, code: int = 2) -> None:
    """One sentence on standard error, nothing on standard output."""
    assert done.exit_code == code, done
    assert done.out == ""
    assert done.err.count("\n") == 1, done.err
    assert done.err.startswith("hanbench: ")
    assert "Traceback" not in done.err
    for words in says:
        assert words in done.err


def test_a_file_one_byte_over_the_limit_is_refused(run: Any, tmp_path: Path) -> None:
    (tmp_path / "large.ota").write_bytes(make_image(768_001).data)
    done = run("run", "bench.toml", "--image", "large.ota", "--evidence", "ev")
    refused(done, "large.ota", "768", "001")
    assert not (tmp_path / "ev").exists()


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("text.ota", b"[hub]\n" * 40, "file identifier"),
        ("cut.ota", make_image(600).data[:-1], "cut.ota"),
        ("empty.ota", b"", "empty.ota"),
    ],
)
def test_a_file_that_is_no_whole_image_is_refused(
    run: Any, tmp_path: Path, name: str, data: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(data)
    refused(run("run", "bench.toml", "--image", name, "--evidence", "ev"), name, says)
    assert not (tmp_path / "ev").exists()


def test_a_file_that_fits_no_device_is_refused(run: Any, tmp_path: Path) -> None:
    (tmp_path / "only.toml").write_text('[[device]]\nid = "bridge-1"\nkind = "bridge-1"\n')
    (tmp_path / "ppmid.ota").write_bytes(make_image(600).data)
    done = run("run", "only.toml", "--image", "ppmid.ota", "--evidence", "ev")
    refused(done, "ppmid.ota", "0x121D", "bridge-1")
    assert not (tmp_path / "ev").exists()


def test_two_files_of_one_version_for_one_kind_are_refused(run: Any, tmp_path: Path) -> None:
    """The CPL has one hash for a model and version: a second file can never be sent."""
    device = '[[device]]\nid = "{}"\nkind = "ppmid"\n{}\n'
    opaque = 'image = "{}"\nimage_policy = "opaque"'
    for name, salt in (("one.ota", 1), ("other.ota", 2)):
        (tmp_path / name).write_bytes(make_image(600, salt=salt).data)
    details = {
        "files.toml": [opaque.format("one.ota"), opaque.format("other.ota")],
        "sizes.toml": ["image_size_bytes = 600", "image_size_bytes = 700"],
    }
    for name, (one, other) in details.items():
        text = device.format("first", one) + device.format("second", other)
        (tmp_path / name).write_text(text)
        done = run("run", name, "--evidence", "ev")
        refused(done, "first and second are both ppmid", "version 00010200")
        assert not (tmp_path / "ev").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere.toml"], ["nowhere.toml", "No such file"]),
        (["bench.toml", "--image", "nowhere.ota"], ["nowhere.ota", "No such file"]),
        (["bench.toml", "--image", "."], ["Is a directory"]),
        (["bench.toml", "--fault", "rain"], ["'rain' names no fault"]),
        (["bench.toml", "--fault", "loss 101 %"], ["101"]),
        (["bench.toml", "--fault", "loss 10 % on nobody"], ["nobody", "ppmid, bridge-1"]),
        (["bench.toml", "--ezsp", "15"], ["'15'", "There is no EZSP 15"]),
        (["bench.toml", "--seed", "-1"], ["seed -1"]),
        (["bench.toml", "--seed", "many"], ["many"]),
        (["bench.toml", "--clock", "sundial"], ["sundial"]),
        (["bench.toml", "--nonsense"], ["--nonsense"]),
        (["bench.toml", "extra"], ["extra"]),
        (["key.toml"], ["key.toml", "frequency", "line 3"]),
        (["syntax.toml"], ["syntax.toml", "line 2"]),
        (["serial.toml", "--clock", "virtual"], ["/dev/ttyUSB0", "virtual"]),
        (["tcp.toml", "--clock", "virtual"], ["tcp://lab3:4001", "virtual"]),
        (["bridge-3.toml"], ["bridge-3", "not emulated yet"]),
        (["two.toml"], ["ppmid", "taken already"]),
        (["tunnel.toml"], ["tunnel.toml", "line 1", "tunnel is not a key"]),
        (["profile.toml"], ["profile.toml", "line 2", '"mp170" or "duis-5.4"']),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_run_is_refused_before_there_is_any_evidence(
    run: Any, tmp_path: Path, arguments: list[str], says: list[str]
) -> None:
    device = '[[device]]\nid = "ppmid"\nkind = "ppmid"\n'
    files = {
        "key.toml": "seed = 1\n[hub]\nfrequency = 868\n" + device,
        "syntax.toml": "seed = 1\nezsp = = 14\n",
        "serial.toml": '[hub]\nradio = "/dev/ttyUSB0"\n' + device + 'radio = "/dev/ttyUSB1"\n',
        "tcp.toml": '[hub]\nradio = "tcp://lab3:4001"\n' + device + 'radio = "tcp://lab3:4002"\n',
        "bridge-3.toml": '[[device]]\nid = "bridge-3"\nkind = "bridge-3"\n',
        "two.toml": device + device,
        "tunnel.toml": "[tunnel]\noctets = [132]\n" + device,
        "profile.toml": '[dsp]\nprofile = "duis-9"\n' + device,
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    refused(run("run", *arguments, "--evidence", "ev"), *says)
    assert not (tmp_path / "ev").exists()


def test_evidence_is_never_written_over_anything(run: Any, tmp_path: Path) -> None:
    (tmp_path / "ev").mkdir()
    (tmp_path / "ev" / "mine.txt").write_text("mine")
    refused(run("run", "bench.toml", "--evidence", "ev"), "ev is not empty")
    assert [path.name for path in (tmp_path / "ev").iterdir()] == ["mine.txt"]
    (tmp_path / "file").write_text("")
    refused(run("run", "bench.toml", "--evidence", "file"), "it is a file")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["frobnicate"], ["frobnicate"]),
        (["radio"], ["--listen"]),
        (["radio", "--listen", "nonsense"], ["'nonsense'", "tcp://HOST:PORT"]),
        (["radio", "--listen", "tcp://127.0.0.1:99999"], ["99999", "0 to 65535"]),
        (["radio", "--listen", "tcp://192.0.2.1:0"], ["192.0.2.1", "--allow-remote"]),
        (["radio", "--listen", "tcp://127.0.0.1:0", "--ezsp", "15"], ["'15'"]),
        (["radio", "--listen", "tcp://127.0.0.1:0", "--fault", "loss 5 % on hub"], ["stick-1"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_other_commands_refuse_in_one_sentence_too(
    run: Any, arguments: list[str], says: list[str]
) -> None:
    refused(run(*arguments), *says)


def test_without_a_command_there_is_help(run: Any) -> None:
    done = run()
    assert done.exit_code == 2
    assert "run" in done.err
    assert "radio" in done.err
    help_ = run("--help")
    assert (help_.exit_code, help_.err) == (0, "")
    version = run("--version")
    assert version.exit_code == 0
    assert version.out.startswith("hanbench, version ")


@pytest.mark.real_clock
def test_a_reader_that_goes_away_gets_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "bench.toml").write_text(SMALL_BENCH)
    process = start_hanbench("run", "bench.toml", "--evidence", "ev", cwd=tmp_path)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    process.wait(60)
    assert "Traceback" not in process.stderr.read()
