"""What labgrid's client prints of a place, and the serial port that is in it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from hil.bench_file import load_bench
from hil.errors import RequestError
from hil.labgrid_place import read_show, serial_url

SHOWN = """\
Place 'bench-1':
  matches:
    lab3/stick-1/NetworkSerialPort
    lab3/stick-1/NetworkPowerPort
  acquired: lab/alice
  acquired resources:
    lab3/stick-1/NetworkSerialPort/USBSerialPort
  created: 2026-01-01 00:00:00
Acquired resource 'NetworkSerialPort' (lab3/stick-1/NetworkSerialPort[/USBSerialPort]):
  {'acquired': 'bench-1',
   'avail': True,
   'cls': 'NetworkSerialPort',
   'params': {'extra': {'path': '/dev/ttyUSB0', 'proxy': 'lab3'},
              'host': 'lab3',
              'port': 41231,
              'protocol': 'rfc2217',
              'speed': 115200}}
Acquired resource 'NetworkPowerPort' (lab3/stick-1/NetworkPowerPort):
  {'acquired': 'bench-1',
   'avail': True,
   'cls': 'NetworkPowerPort',
   'params': {'host': 'power', 'index': 3, 'port': 80}}
"""
PLACE = "labgrid://bench-1"


def test_the_serial_port_of_a_place_is_found_among_its_resources() -> None:
    assert read_show(PLACE, SHOWN) == "rfc2217://lab3:41231"
    assert read_show(PLACE, SHOWN.replace("'rfc2217'", "'raw'")) == "tcp://lab3:41231"
    assert read_show(PLACE, SHOWN.replace("'protocol': 'rfc2217',", "")) == "rfc2217://lab3:41231"


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ("acquired: lab/alice", "acquired: None", "labgrid-client -p bench-1 acquire"),
        ("'NetworkSerialPort' (", "'USBVideo' (", "not one NetworkSerialPort but none"),
        ("'port': 41231,", "", "not one NetworkSerialPort but none"),
        (
            "'NetworkPowerPort' (",
            "'NetworkSerialPort' (",
            "rfc2217://lab3:41231, rfc2217://power:80",
        ),
    ],
)
def test_a_place_that_is_no_radio_is_told_in_a_sentence(old: str, new: str, wanted: str) -> None:
    with pytest.raises(RequestError, match="labgrid://bench-1") as told:
        read_show(PLACE, SHOWN.replace(old, new))
    assert wanted in str(told.value)


def test_any_other_radio_is_what_it_is() -> None:
    assert serial_url("/dev/ttyUSB0") == "/dev/ttyUSB0"


def test_labgrids_own_client_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RequestError, match="there is no labgrid-client here"):
        serial_url(PLACE)
    (tmp_path / "shown").write_text(SHOWN)
    client = tmp_path / "labgrid-client"
    client.write_text(
        f'#!/bin/sh\n[ "$*" = "-p bench-1 show" ] && exec /bin/cat {tmp_path}/shown\n'
    )
    client.chmod(client.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.defpath}")
    assert serial_url(PLACE) == "rfc2217://lab3:41231"
    with pytest.raises(RequestError, match="labgrid-client -p other show failed: it says nothing"):
        serial_url("labgrid://other")


def test_a_bench_of_which_only_the_sniffer_is_a_place_opens_its_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shown").write_text(SHOWN)
    client = tmp_path / "labgrid-client"
    client.write_text(f"#!/bin/sh\nexec /bin/cat {tmp_path}/shown\n")
    client.chmod(client.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.defpath}")
    path = tmp_path / "bench.toml"
    path.write_text(
        '[hub]\nradio = "/dev/ttyUSB0"\n[[device]]\nid = "ppmid"\nkind = "ppmid"\n'
        f'radio = "/dev/ttyUSB1"\n[radios]\ntransmit = true\nchannels = [20]\nsniffer = "{PLACE}"\n'
    )
    bench = load_bench(path).with_serial_urls()
    assert bench.real_radios.sniffer == "rfc2217://lab3:41231"
    assert bench.real_radios.channels == (20,)
    assert bench.radios == {"hub": "/dev/ttyUSB0", "ppmid": "/dev/ttyUSB1"}
    hub_too = path.read_text().replace("/dev/ttyUSB0", PLACE)
    path.write_text(hub_too)
    bench = load_bench(path).with_serial_urls()
    assert bench.hub.radio == bench.real_radios.sniffer == "rfc2217://lab3:41231"
