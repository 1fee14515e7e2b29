"""`hanbench report --redact`: of who was there, nothing is left in any file, in any form."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from report_support import ACB, DEVICES, HUB, INSTALL_CODE, KEYS, passed_run

from emulator.medium.pcapng import read_pcapng
from emulator.zigbee import mac
from hil.cli import cli
from hil.environment import ENVIRONMENT
from hil.errors import RequestError
from hil.pointers import Resolver
from hil.redact_table import Table
from hil.report import write_report
from hil.report_rows import read_events

URL = "rfc2217://lab3.example.org:4001"
PATH = "/dev/serial/by-id/usb-Maker_Stick_A1B2C3-if00"
EVERYBODY = (*DEVICES.values(), HUB, ACB)
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
