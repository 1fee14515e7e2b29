"""`hanbench hub` on a stick of `hanbench radio`, its WAN a link to `hanbench dsp`: three processes,
and the supplier's requests from a fourth."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from process_support import Process, hanbench, running

from dsp_stub.cpl import Cpl, CplEntry
from dsp_stub.options import DATABASE_FILE
from dsp_stub.smi import DeviceType
from dsp_stub.store import Store
from emulator.devices.gbcs_half import GbcsMemory
from gbcs.smki import CHF_EUI64
from hil.errors import RequestError
from hil.kept import Kept
from hil.state_folder import StateFolder

SUPPLIER = "90-B3-D5-1F-30-01-00-00"
CHF = "00-DB-12-34-56-78-90-A2"
PPMID = "00-DB-12-34-56-78-90-A4"

DSP_TOML = """
[[user]]
eui64 = "90-B3-D5-1F-30-01-00-00"
role = "IS"

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
status = "Pending"
manufacturer = "121D"
model = "00841111"
firmware_version = "00010100"
ppmid_variant = "PPMID"

[options]
check_certificate_times = false
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("hub") / "data"
    data.mkdir()
    assert hanbench("pki", "create", data / "pki").exit_code == 0
    (data / "dsp.toml").write_text(DSP_TOML)
    with Store(data / DATABASE_FILE) as store:
        Cpl(store).add(
            CplEntry(
                device_type=DeviceType.PPMID,
                manufacturer="121D",
                model="00841111",
                firmware_version="00010100",
                smets_chts_version="PPMIDTS V4.4",
                gbcs_version="4.1",
            )
        )
    return data


def send(folder: Path, url: str, request: bytes) -> str:
    sent = hanbench("duis", "send", "-", "--url", url, "--keys", folder / "pki", input=request)
    return sent.output


def addition(counter: int) -> bytes:
    """8.11: let the PPMID in."""
    return (
        '<sr:Request xmlns:sr="http://www.dccinterface.co.uk/ServiceUserGateway" '
        'schemaVersion="5.4"><sr:Header>'
        f"<sr:RequestID>{SUPPLIER}:{CHF}:{counter}</sr:RequestID>"
        "<sr:CommandVariant>1</sr:CommandVariant><sr:ServiceReference>8.11</sr:ServiceReference>"
        "<sr:ServiceReferenceVariant>8.11</sr:ServiceReferenceVariant></sr:Header><sr:Body>"
        f"<sr:UpdateHANDeviceLog><sr:DeviceID>{PPMID}</sr:DeviceID>"
        "<sr:RequestType>Add</sr:RequestType><sr:AddDeviceToCHFWhitelist>"
        "<sr:JoinTimePeriod>60</sr:JoinTimePeriod>"
        "<sr:InstallCode>83FED3407A939723A5C639B26916D505</sr:InstallCode>"
        "</sr:AddDeviceToCHFWhitelist></sr:UpdateHANDeviceLog></sr:Body></sr:Request>"
    ).encode()


def smi_status(folder: Path) -> str:
    with sqlite3.connect(folder / "dsp.sqlite") as connection:
        (status,) = connection.execute(
            "SELECT status FROM devices WHERE device_id = ?", (PPMID.replace("-", ""),)
        ).fetchone()
    connection.close()
    return str(status)


@pytest.mark.requirement("MP170-R2", "good")
def test_a_hub_in_a_process_of_its_own_does_what_a_dsp_in_another_says(
    folder: Path, tmp_path: Path
) -> None:
    state = tmp_path / "hub"
    with ExitStack() as stack:

        def started(*words: object) -> Process:
            return stack.enter_context(running(*words))

        radio = started(
            "radio", "--listen", "tcp://127.0.0.1:0", "--eui64", f"{CHF_EUI64:016X}", "--json"
        )
        stick = json.loads(radio.line_with(r"\{.*\}")[0])["url"]
        dsp = started("dsp", "--listen", "127.0.0.1:0", "--data", folder)
        url = dsp.line_with(r"http://[0-9.:]+")[0]
        signed = hanbench(
            "duis", "sign", "-", "--keys", folder / "pki", input=addition(1)
        ).stdout_bytes
        said = send(folder, url, signed)
        assert "I99" in said, said
        assert smi_status(folder) == "Pending", "there is no hub yet"

        words = ("hub", "--radio", stick, "--wan", url, "--keys", folder / "pki")
        hub = started(*words, "--state", state)
        hub.line_with(f"hub  {CHF_EUI64:016X}")
        hub.line_with("wan  connected")
        _until(lambda: smi_status(folder) == "Whitelisted")
        assert hub.stop() == 0
        held = StateFolder(state, "hub")
        memory = GbcsMemory.restarted(Kept(held, str).record("gbcs"))
        assert memory.endpoint.accepted, "the ACB's counter is not accepted again"
        ((device, *_),) = json.loads(held.read("device log") or b"")["devices"]
        assert device == int(PPMID.replace("-", ""), 16)
        held.close()
        assert dsp.stop() == 0


def _until(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until something another process does is to be seen."""
    end_s = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end_s
        time.sleep(0.05)


def keep(folder: Path, kind: str, changes: dict[str, bytes | None]) -> None:
    held = StateFolder(folder, kind)
    held.write(changes)
    held.close()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"--wan": "ftp://127.0.0.1:1"}, "is no DSP: say ws://HOST:PORT"),
        ({"--wan": "ws://192.0.2.1:1"}, "is not this machine: say --allow-remote"),
        ({"--keys": "empty"}, "no certificates of an Access Control Broker"),
        ({"--state": "other"}, "is the state of a ppmid, not of a hub"),
        ({"--state": "unread"}, "what --state has is no state of a hub"),
        ({"--state": "seed-2"}, "the network of --state is 0000000000000002"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(
    folder: Path, tmp_path: Path, changes: dict[str, str], says: str
) -> None:
    keep(tmp_path / "other", "ppmid", {})
    keep(tmp_path / "unread", "hub", {"device log": b"[1]"})
    keep(tmp_path / "seed-2", "hub", {"network": bytes(7) + b"\2"})
    (tmp_path / "empty").mkdir()
    words = {
        "--radio": "tcp://127.0.0.1:1",
        "--wan": "ws://127.0.0.1:1",
        "--keys": str(folder / "pki"),
    }
    for option, value in changes.items():
        words[option] = value if "/" in value else str(tmp_path / value)
    options = [word for pair in words.items() for word in pair]
    told = hanbench("hub", *options)
    assert isinstance(told.exception, RequestError)
    assert says in str(told.exception)
