"""`hanbench dsp`, `duis` and `cpl` as a supplier's adaptor would use them: processes and files."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HANBENCH = (sys.executable, "-m", "hil.cli")
SUPPLIER, ACB = "90-B3-D5-1F-30-01-00-00", "90-B3-D5-1F-30-00-00-02"
PPMID = "00-DB-12-34-56-78-90-A4"

DSP_TOML = """
[[user]]
eui64 = "90-B3-D5-1F-30-01-00-00"
role = "IS"
callback = "{callback}"

[[premises]]
id = 1
uprn = "100000000001"
responsible = ["90-B3-D5-1F-30-01-00-00"]

[[premises.device]]
eui64 = "00-DB-12-34-56-78-90-A2"
type = "CHF"
manufacturer = "106C"
model = "433100AC"
firmware_version = "00009001"

[[premises.device]]
eui64 = "00-DB-12-34-56-78-90-A4"
type = "PPMID"
status = "Whitelisted"
manufacturer = "121D"
model = "00841111"
firmware_version = "00010100"
ppmid_variant = "PPMID"
chf = "00-DB-12-34-56-78-90-A2"

[options]
check_certificate_times = false
"""


def hanbench(*words: object, input: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*HANBENCH, *map(str, words)], input=input, capture_output=True, timeout=120, check=False
    )


class Served:
    """A `hanbench` that serves until it is told to stop."""

    def __init__(self, *words: object) -> None:
        environment = os.environ | {"PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(
            [*HANBENCH, *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            text=True,
        )
        assert self.process.stdout is not None
        self.first_line = self.process.stdout.readline()
        found = re.search(r"http://[0-9.:]+", self.first_line)
        assert found is not None, self.first_line + (self.process.communicate()[1])
        self.url = found[0]

    def line_with(self, text: str) -> str:
        """The next line that has this text; the test's own time limit ends the waiting."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if text in line:
                return line
        raise AssertionError(f"{text!r} never came")

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=30)
        assert "Traceback" not in errors
        return self.process.returncode


@pytest.fixture
def folder(tmp_path: Path, vectors: Path) -> Path:
    """A DSP's folder with a test SMKI, one home, and the published PPMID sample on the CPL."""
    data = tmp_path / "data"
    data.mkdir()
    assert hanbench("pki", "create", data / "pki").returncode == 0
    (data / "dsp.toml").write_text(DSP_TOML.format(callback="http://127.0.0.1:9/"))
    sample = vectors / "duis" / "11.4_UPDATE_PPMID_FIRMWARE_SAMPLE.ota"
    added = hanbench("cpl", "add", "--data", data, "--from-image", sample)
    assert added.returncode == 0, added.stderr
    return data


@pytest.fixture
def dsp(folder: Path) -> Iterator[Served]:
    served = Served("dsp", "--listen", "127.0.0.1:0", "--data", folder)
    yield served
    assert served.stop() == 0


def sign(folder: Path, octets: bytes, *options: object) -> bytes:
    signed = hanbench("duis", "sign", "-", "--keys", folder / "pki", *options, input=octets)
    assert signed.returncode == 0, signed.stderr
    return signed.stdout


def send(folder: Path, url: str, octets: bytes) -> tuple[int, str]:
    sent = hanbench("duis", "send", "-", "--url", url, "--keys", folder / "pki", input=octets)
    return sent.returncode, sent.stdout.decode() + sent.stderr.decode()


def template(vectors: Path, name: str) -> bytes:
    return (vectors / "duis" / name).read_bytes()


UPDATE = "11.4_UPDATE_PPMID_FIRMWARE_REQUEST_DUIS.XML"
READ = "CS08_11.2_SUCCESS_REQUEST_DUIS.XML"


def test_the_published_templates_are_accepted_when_they_fit(
    folder: Path, dsp: Served, vectors: Path
) -> None:
    fitted = template(vectors, UPDATE).replace(b">00000000<", b">ACDCACDC<")
    code, said = send(folder, dsp.url, sign(folder, fitted, "--counter", 2000))
    assert (code, "I99" in said) == (0, True), said
    fitted = template(vectors, READ).replace(
        f"<sr:RequestID>{ACB}".encode(), f"<sr:RequestID>{SUPPLIER}".encode()
    )
    code, said = send(folder, dsp.url, sign(folder, fitted))
    assert (code, "I99" in said) == (0, True), said


def test_the_published_11_4_as_it_is_is_refused_for_its_version(
    folder: Path, dsp: Served, vectors: Path
) -> None:
    code, said = send(folder, dsp.url, sign(folder, template(vectors, UPDATE)))
    assert (code, "E110402" in said) == (1, True), said
    assert "header says ACDCACDC" in dsp.line_with("E110402")


@pytest.mark.parametrize("signer", [(), ("--as", SUPPLIER)])
def test_the_published_11_2_as_it_is_is_refused_for_its_originator(
    folder: Path, dsp: Served, vectors: Path, signer: tuple[str, ...]
) -> None:
    code, said = send(folder, dsp.url, sign(folder, template(vectors, READ), *signer))
    assert (code, "E1" in said.split()) == (1, True), said


def test_a_user_that_dsp_toml_suspends_is_refused(folder: Path, vectors: Path) -> None:
    toml = folder / "dsp.toml"
    toml.write_text(toml.read_text().replace('role = "IS"', 'role = "IS"\nsuspended = true'))
    served = Served("dsp", "--listen", "127.0.0.1:0", "--data", folder)
    code, said = send(folder, served.url, sign(folder, template(vectors, UPDATE)))
    assert (code, "E3" in said.split()) == (1, True), said
    assert served.stop() == 0


def test_a_template_as_it_was_published_is_not_signed(
    folder: Path, dsp: Served, vectors: Path
) -> None:
    code, said = send(folder, dsp.url, template(vectors, UPDATE))
    assert (code, "E40" in said) == (1, True), said


def test_what_was_accepted_outlives_the_process(folder: Path, vectors: Path) -> None:
    fitted = template(vectors, UPDATE).replace(b">00000000<", b">ACDCACDC<")
    signed = sign(folder, fitted)
    first = Served("dsp", "--listen", "127.0.0.1:0", "--data", folder)
    assert send(folder, first.url, signed)[0] == 0
    first.process.kill()
    first.process.wait(timeout=30)
    second = Served("dsp", "--listen", "127.0.0.1:0", "--data", folder)
    code, said = send(folder, second.url, signed)
    assert (code, "E42" in said) == (1, True), "the RequestID is used up"
    code, said = send(folder, second.url, sign(folder, fitted, "--counter", 1001))
    assert (code, "E110403" in said) == (1, True), "the update is in progress"
    assert second.stop(signal.SIGINT) == 0


def test_an_answer_nobody_gives_is_told_to_the_callback(
    folder: Path, vectors: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    listener = Served(
        "duis", "listen", "--listen", "127.0.0.1:0", "--keys", folder / "pki", "--out", kept
    )
    options = "[options]\nresponse_timeout_s = 1"
    toml = DSP_TOML.format(callback=f"{listener.url}/").replace("[options]", options)
    (folder / "dsp.toml").write_text(toml)
    dsp = Served("dsp", "--listen", "127.0.0.1:0", "--data", folder)
    fitted = template(vectors, READ).replace(
        f"<sr:RequestID>{ACB}".encode(), f"<sr:RequestID>{SUPPLIER}".encode()
    )
    assert send(folder, dsp.url, sign(folder, fitted))[0] == 0
    assert "E21" in listener.line_with("E21")
    assert dsp.stop() == 0
    assert listener.stop() == 0
    (message,) = kept.iterdir()
    assert hanbench("duis", "verify", message, "--keys", folder / "pki").returncode == 0


def test_a_folder_without_keys_says_how_to_make_them(tmp_path: Path) -> None:
    refused = hanbench("dsp", "--data", tmp_path)
    assert refused.returncode == 2
    assert b"hanbench pki create" in refused.stderr
    assert refused.stderr.count(b"\n") == 1


def test_another_machine_is_not_listened_to_unless_asked(folder: Path) -> None:
    refused = hanbench("dsp", "--data", folder, "--listen", "0.0.0.0:0")
    assert refused.returncode == 2
    assert b"--allow-remote" in refused.stderr


def test_a_port_that_is_taken_is_told_in_one_sentence(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        broke = hanbench("dsp", "--data", folder, "--listen", f"127.0.0.1:{port}")
    assert broke.returncode == 3
    assert broke.stderr.count(b"\n") == 1
    assert f"127.0.0.1:{port} cannot be listened on".encode() in broke.stderr


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('role = "IS"', 'role = "XX"'), "user[0].role"),
        (('type = "CHF"', 'type = "CHF"\nkind = "CHF"'), "premises[0].device[0].kind"),
        (('ppmid_variant = "PPMID"', 'ppmid_variant = "Bridge"'), "ppmid_variant 'Bridge'"),
        (('manufacturer = "121D"', 'manufacturer = "12"'), "manufacturer"),
        (("callback = ", "certificate = 'nowhere.pem'\ncallback = "), "nowhere.pem"),
    ],
)
def test_a_wrong_dsp_toml_is_refused_with_its_place(
    folder: Path, change: tuple[str, str], said: str
) -> None:
    path = folder / "dsp.toml"
    path.write_text(path.read_text().replace(*change))
    refused = hanbench("dsp", "--data", folder, "--listen", "127.0.0.1:0")
    assert refused.returncode == 2
    assert said in refused.stderr.decode()
    assert refused.stderr.count(b"\n") == 1


def test_a_damaged_database_is_told_in_one_sentence(folder: Path) -> None:
    shutil.copy(folder / "dsp.toml", folder / "dsp.sqlite")
    refused = hanbench("dsp", "--data", folder, "--listen", "127.0.0.1:0")
    assert refused.returncode == 2
    assert b"dsp.sqlite" in refused.stderr
    assert refused.stderr.count(b"\n") == 1
