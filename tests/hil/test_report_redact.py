"""`hanbench report --redact`: of who was there, nothing is left in any file, in any form."""

from __future__ import annotations

import base64
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from report_support import ACB, DEVICES, HUB, INSTALL_CODE, KEYS, passed_run

from emulator.devices.host_messages import HostMessage
from emulator.medium.pcapng import PcapngWriter, read_pcapng
from emulator.zigbee import mac, ota, zcl
from emulator.zigbee.events import OPTION_FRAGMENT, Aps, MessageKind
from hil.cli import cli
from hil.environment import ENVIRONMENT
from hil.errors import RequestError
from hil.host_capture import reconstructed
from hil.pointers import Resolver
from hil.redact_table import Table
from hil.report import write_report
from hil.report_rows import read_events
from hil.verdict import SuiteStep, SuiteTest

URL = "rfc2217://lab3.example.org:4001"
PATH = "/dev/serial/by-id/usb-Maker_Stick_A1B2C3-if00"
EVERYBODY = (*DEVICES.values(), HUB, ACB)
SECRET = bytes(range(0x81, 0x81 + 40))
SECRETS = ("lab3", "example.org", "A1B2C3", "alice", "usb-Maker")


def forms(eui64: int) -> Iterator[bytes]:
    """As octets and as text, in both orders."""
    octets = eui64.to_bytes(8, "big")
    for each in (octets, octets[::-1]):
        yield each
        for separator in ("", "-", ":", " "):
            text = separator.join(f"{octet:02x}" for octet in each)
            yield text.encode()
            yield text.upper().encode()


def opened(octets: bytes) -> bytes:
    """A file with whatever is base64 or hexadecimal in it beside it."""
    parts = [octets]
    for token in re.findall(rb"[A-Za-z0-9+/]{16,}={0,2}", octets):
        if len(token) % 4 == 0:
            parts.append(base64.b64decode(token))
        if re.fullmatch(rb"(?:[0-9A-Fa-f]{2})+", token):
            parts.append(bytes.fromhex(token.decode()))
    return b"\n".join(parts)


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Evidence with everything in it that names somebody, and its redacted copy."""
    folder = tmp_path_factory.mktemp("evidence") / "run"
    verdict = passed_run(folder)[1]
    (folder / "verdict.json").write_text(
        json.dumps(
            json.loads(verdict.to_json())
            | {"radios": [{"name": "hub", "url": URL, "eui64": f"{HUB:016x}", "board": PATH}]}
        )
    )
    (folder / "junit.xml").write_text(f"<testsuite name='{HUB:016X} at lab3.example.org'/>")
    (folder / ENVIRONMENT).write_text(
        json.dumps({"repeat": f"hanbench run /home/alice/bench.toml --radio {URL}"})
    )
    frame = next(folder.glob("gbcs/*CS09-alert.HEX")).read_text()
    dashed = HUB.to_bytes(8, "big").hex("-").upper()
    (folder / "duis" / "9999-response.xml").write_text(
        f"<r xmlns='http://www.w3.org/2000/09/xmldsig#'><DeviceID>{dashed}</DeviceID><GBCSPayload>"
        f"{base64.b64encode(bytes.fromhex(frame)).decode()}</GBCSPayload><SignatureValue>abcd+/=="
        f"</SignatureValue><InstallCode>{INSTALL_CODE.hex()}</InstallCode></r>"
    )
    (folder / "certificates").mkdir()
    (folder / "certificates" / f"{HUB:016x}-ds.pem").write_text("-----BEGIN CERTIFICATE-----")
    (folder / "air.keys").write_text(
        f'{KEYS.network_key.hex()},"Normal",network\n'
        + "".join(f'{key.hex()},"Normal",link {name}\n' for name, key in KEYS.link_keys.items())
    )
    write_report(folder, verdict, KEYS, repeat="")
    out = folder.parent / "redacted"
    done = redacted(folder, out)
    assert done.exit_code == 0, done
    return folder, out


def redacted(folder: Path, out: Path) -> Result:
    return CliRunner().invoke(cli, ["report", "--redact", str(folder), "--out", str(out)])


@pytest.fixture(scope="module")
def benches(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Evidence of two benches of tests below that of all, as `verify` writes it, and its copy."""
    folder = tmp_path_factory.mktemp("suites") / "verify"
    test = SuiteTest(
        "test_one.py::test_one", "one", ["MP170-R7"], [],
        [SuiteStep("a step", "passed", 0.5, ["tests/one/air.pcapng#3"])], "passed", "",
        "hanbench verify /srv/acme-labs/night.toml -k one", folder="tests/one",
    )  # fmt: skip
    verdict = passed_run(folder / "tests" / "one")[1]
    for name in ("one", "two"):
        bench = folder / "tests" / name
        if name == "two":
            passed_run(bench)
        (bench / "certificates").mkdir()
        (bench / "certificates" / f"{HUB:016x}-ds.pem").write_text("-----BEGIN CERTIFICATE-----")
        (bench / "air.keys").write_text(f'{KEYS.network_key.hex()},"Normal",network\n')
        write_report(bench, verdict, KEYS, repeat="")
    (folder / "events.jsonl").write_text("")
    whole = replace(verdict, devices=(), suites=[test], under_test=[], requirements=[])
    (folder / "verdict.json").write_text(whole.to_json())
    write_report(folder, whole, None, repeat="")
    out = folder.parent / "copy"
    done = redacted(folder, out)
    assert done.exit_code == 0, done
    return folder, out


def files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def test_nobody_is_left_in_any_file_in_any_form(copies: tuple[Path, Path]) -> None:
    folder, out = copies
    originals = b"\n".join(opened(path.read_bytes()) for path in files(folder))
    for eui64 in EVERYBODY:  # or this test could not fail
        assert any(form in originals for form in forms(eui64))
    for path in files(out):
        octets = opened(path.read_bytes())
        for eui64 in EVERYBODY:
            assert not [form for form in forms(eui64) if form in octets], path
        for secret in SECRETS:
            assert secret.encode() not in octets, path
        for key in (KEYS.network_key, INSTALL_CODE, *KEYS.link_keys.values()):
            assert key not in octets, path
            assert key.hex().encode() not in octets.lower(), path
        assert f"{HUB:016x}" not in path.name


def test_what_names_its_owner_is_left_out_and_said_to_be(copies: tuple[Path, Path]) -> None:
    _, out = copies
    assert not (out / "certificates").exists()
    assert not (out / "air.keys").exists()
    assert "Redacted" in (out / "report.html").read_text()
    assert json.loads((out / "redacted.json").read_text())["left_out"] == [
        "air.keys",
        "certificates/",
    ]


def test_the_folders_of_tests_are_redacted_like_the_one_above_them(
    benches: tuple[Path, Path],
) -> None:
    folder, out = benches
    here, there = ({path.relative_to(each).as_posix() for path in files(each)} for each in benches)
    assert here - there == {
        f"tests/{name}/{left}"
        for name in ("one", "two")
        for left in ("air.keys", f"certificates/{HUB:016x}-ds.pem")
    }
    for path in files(out):
        octets = opened(path.read_bytes())
        for eui64 in EVERYBODY:
            assert not [form for form in forms(eui64) if form in octets], path
        assert KEYS.network_key.hex().encode() not in octets, path
        assert b"acme-labs" not in octets, path
    for page in ("report.html", "tests/one/report.html", "tests/two/report.html"):
        assert "Redacted" in (out / page).read_text(), page
    assert 'href="tests/one/report.html' in (out / "report.html").read_text()
    assert "verify night.toml -k one" in (out / "verdict.json").read_text()
    a_frame = 'href="tests/one/report.html#f3'
    assert (a_frame in (folder / "report.html").read_text()) == (
        a_frame in (out / "report.html").read_text()
    )


def test_a_copy_that_cannot_be_finished_is_not_there(
    benches: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "evidence"
    shutil.copytree(benches[0], folder)
    (folder / "tests" / "two" / "verdict.json").write_text("{")
    done = redacted(folder, tmp_path / "out")
    assert isinstance(done.exception, RequestError)
    assert "tests/two" in str(done.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["evidence"]


@pytest.mark.parametrize(
    ("told", "secrets"),
    [
        ("tcp://lab3.acme.example:4001", ["lab3", "acme.example", "LAB3"]),
        ("rfc2217://pi:4001", []),
        ("rfc2217://alice:hunter2@10.1.2.3:4001", ["alice", "hunter2", "10.1.2.3"]),
        ("tcp://[fd00::7]:4001", ["fd00::7"]),
        ("connected from 192.168.7.20", ["192.168.7.20"]),
        ("cannot open /home/alice/x.toml", ["alice", "Alice"]),
        ("cannot open /Users/m\u00fcller/x.toml", ["m\u00fcller", "m\\u00fcller"]),
        ("written by bob@acme.example", ["bob", "bob@acme.example"]),
        ("/dev/serial/by-id/usb-Silicon_Labs_CP2102N_0B9F51-if00-port0", ["0B9F51", "_0b9f51-"]),
        ("/dev/cu.usbserial-A9XK77", ["A9XK77"]),
    ],
)
def test_what_is_told_once_is_hidden_wherever_it_stands(told: str, secrets: list[str]) -> None:
    for written in (told, json.dumps(told)):
        table = Table()
        table.learn(written.encode())
        for secret in (told, *secrets):
            text = f"<b>{secret}</b> and again: ({secret}), {secret}."
            hidden = table.text(text.encode())
            assert secret.encode() not in hidden, (written, hidden)
            assert not table.remains(hidden)


@pytest.mark.parametrize(
    "text",
    [
        "tcp://127.0.0.1:4001 127.0.0.1 localhost",
        "tcp://hub.acme.example:1 the hub of bridge-1",
        "tcp://lab.acme.co.uk:1 http://www.dccinterface.co.uk/ServiceUserGateway",
        "/home/bridge-1/x and bridge-1, firmware 7.4.4.0 of EZSP 13, version 10.2.0",
        "bob@acme.example is not bobbin, bob_2 or kebob",
    ],
)
def test_words_of_the_bench_stay_what_they_are(text: str) -> None:
    first, _, rest = text.partition(" ")
    table = Table(["bridge-1"])
    table.learn(first.encode())
    assert table.text(rest.encode()) == rest.encode()


@given(
    st.binary(max_size=40), st.binary(max_size=40), st.integers(3, 30),
    st.sampled_from(["\n", "\r\n", "\\n", "&#13;\n    ", "&#xA;"]),
    st.text("abzAB019+/", max_size=5),
)  # fmt: skip
def test_base64_in_lines_hides_nobody(
    before: bytes, behind: bytes, width: int, line_end: str, prefix: str
) -> None:
    table = Table()
    table.eui64(HUB)
    octets = HUB.to_bytes(8, "big")
    letters = base64.b64encode(before + octets + behind).decode()
    lines = [letters[at : at + width] for at in range(0, len(letters), width)]
    if len(lines[0]) + len(prefix) < 4:
        return  # too short a line for anybody's base64
    found = table.text((prefix + line_end.join(lines)).encode()).decode()
    assert len(found) == len(prefix) + len(line_end) * (len(lines) - 1) + len(letters)
    new = base64.b64decode(found[len(prefix) :].replace(line_end, ""))
    assert new == table.binary(before + octets + behind)
    assert octets not in new or octets in before + behind
    assert not table.remains(found.encode())


def test_a_capture_in_the_clear_keeps_the_course_and_not_the_words(tmp_path: Path) -> None:
    """Of an image, of what went through a tunnel, of who was asked for, in whatever frame."""
    block, asked = (
        zcl.build(zcl.ZclFrame(control, 7, number, ota.build(command)))
        for control, number, command in (
            (zcl.RESPONSE, 5, ota.ImageBlockResponse(0x10D7, 5, 0x01000000, 192, SECRET)),
            (zcl.REQUEST, 3, ota.ImageBlockRequest(0x10D7, 5, 0x01000000, 192, 48)),
        )
    )
    vendors = bytes((zcl.REQUEST | zcl.MANUFACTURER_SPECIFIC, 0xD7, 0x10, 7, 5)) + SECRET
    tunnelled = bytes((zcl.REQUEST, 7, 2)) + SECRET
    whole = Aps(0x0109, ota.CLUSTER_ID, 1, 1, 0)
    tunnel = whole._replace(cluster=0x0704)
    part = tunnel._replace(options=OPTION_FRAGMENT, group=0x0101)
    messages = [
        (whole, block, block[: -len(SECRET)]),
        (whole, asked, asked),
        (whole, vendors, vendors[:5]),
        (tunnel, tunnelled, tunnelled[:3]),
        (tunnel._replace(options=OPTION_FRAGMENT, group=0x0300), tunnelled, tunnelled[:3]),
        (part, tunnelled, b""),
        (whole._replace(profile=0, cluster=0x0000), bytes((9,)) + SECRET, bytes((9,))),
    ]
    folder = tmp_path / "run"
    passed_run(folder)
    (folder / "air.pcapng").unlink()
    with (folder / "host.pcapng").open("wb") as file:
        writer = PcapngWriter(file.write, interfaces=("hub",))
        for told, payload, _ in messages:
            message = HostMessage("sendUnicast", MessageKind.UNICAST, 0x1234, HUB, told, payload)
            writer.frame(0, reconstructed(message, 1), channel=20, comment="reconstructed at hub")
    assert redacted(folder, tmp_path / "out").exit_code == 0
    octets = (tmp_path / "out" / "host.pcapng").read_bytes()
    assert SECRET not in octets
    read = list(read_pcapng(octets))
    assert len(read) == len(messages)
    for (_, psdu), (_, payload, kept) in zip(read, messages, strict=True):
        assert mac.fcs(psdu[:-2]) == psdu[-2:]
        assert psdu[-2 - len(payload) : -2] == kept.ljust(len(payload), b"\0")


def test_one_name_is_one_name_in_every_file(copies: tuple[Path, Path]) -> None:
    folder, out = copies
    before, after = read_events(folder), read_events(out)
    assert len(before) == len(after)
    ppmid = {event["eui64"] for event in after if event.get("device_id") == "ppmid"
             and event["type"] == "joined"}  # fmt: skip
    (name,) = ppmid
    frame = next(out.glob("gbcs/*CS09-alert.HEX")).read_text()
    assert name in frame
    assert bytes.fromhex(name)[::-1] in (out / "air.pcapng").read_bytes()


def test_no_pointer_dangles_that_did_not_before(copies: tuple[Path, Path]) -> None:
    _, out = copies
    resolver = Resolver(out)
    document = json.loads((out / "verdict.json").read_text())
    pointers = [each for one in document["requirements"] for each in one["evidence"]]
    assert pointers
    assert [resolver.resolve(pointer) for pointer in pointers] == [None] * len(pointers)


def test_the_capture_is_one_still_and_every_frame_has_its_check(
    copies: tuple[Path, Path],
) -> None:
    folder, out = copies
    before = list(read_pcapng((folder / "air.pcapng").read_bytes()))
    after = list(read_pcapng((out / "air.pcapng").read_bytes()))
    assert [time_us for time_us, _ in before] == [time_us for time_us, _ in after]
    assert before != after
    assert all(mac.fcs(psdu[:-2]) == psdu[-2:] for _, psdu in after)


def test_the_evidence_itself_is_never_changed(copies: tuple[Path, Path]) -> None:
    folder, out = copies
    octets = {path: path.read_bytes() for path in files(folder)}
    for words in ([str(folder), "--redact"], [str(folder), "--out", str(out)]):
        done = CliRunner().invoke(cli, ["report", *words])
        assert isinstance(done.exception, RequestError)
    for wrong in (folder, folder / "inside", out):
        done = redacted(folder, wrong)
        assert isinstance(done.exception, RequestError), wrong
    assert octets == {path: path.read_bytes() for path in files(folder)}


@given(
    st.integers(1, (1 << 64) - 2).filter(lambda value: len(set(value.to_bytes(8, "big"))) > 1),
    st.binary(max_size=40),
    st.binary(max_size=40),
)
def test_an_eui64_goes_whatever_stands_round_it(eui64: int, before: bytes, behind: bytes) -> None:
    table = Table()
    table.eui64(eui64)
    for form in forms(eui64):
        inside = base64.b64encode(before + form + behind)
        assert len(table.binary(before + form + behind)) == len(before + form + behind)
        text = b"<a>" + form + b"</a>" if form.isascii() and form.decode().isprintable() else b""
        for changed in (table.text(text), table.text(b" " + inside + b" ")):
            assert not (len(form) > 8 and form in changed)
    octets = eui64.to_bytes(8, "big")
    assert octets not in table.binary(before + octets + behind) or octets in before + behind
