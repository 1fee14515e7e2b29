"""Evidence pointers: what they name is there, or the sentence says what is not."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.medium.pcapng import PcapngWriter
from emulator.zigbee import mac
from hil.evidence import Evidence
from hil.pointers import Resolver, resolve, split_pointer

EVENTS = 3
FRAMES = 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evidence folder while it is still open, as the verdict finds it."""
    path = tmp_path_factory.mktemp("pointers")
    (path / "beside.txt").write_text("not evidence")
    evidence = Evidence(path / "run", epoch=datetime(2026, 1, 1, tzinfo=UTC))
    writer = PcapngWriter(evidence.open_binary("air.pcapng").write)
    for number in range(FRAMES):
        writer.frame(number, mac.ACKS[number], channel=15)
    evidence.write("duis/0001-11.4-request.xml", b"<sr:Request/>")
    evidence.write("wan/0001-ImageOffer.bin", bytes(32))
    evidence.write("gbcs/empty.HEX", b"")
    (evidence.folder / "link.bin").symlink_to(path / "beside.txt")
    for number in range(EVENTS):
        evidence.record({"type": "joined", "time_s": number})
    return evidence.folder


@pytest.mark.parametrize(
    "pointer",
    [
        "events.jsonl#1",
        f"events.jsonl#{EVENTS}",
        "air.pcapng#1",
        f"air.pcapng#{FRAMES}",
        "air.pcapng",
        "duis/0001-11.4-request.xml",
        "duis/0001-11.4-request.xml#0",
        "wan/0001-ImageOffer.bin#0x10",
        "wan/0001-ImageOffer.bin#0X1F",
        "wan/0001-ImageOffer.bin#31",
    ],
)
def test_what_is_there_does_not_dangle(folder: Path, pointer: str) -> None:
    assert resolve(folder, pointer) is None


@pytest.mark.parametrize(
    ("pointer", "problem"),
    [
        ("events.jsonl#0", "there are 3 events, from 1"),
        ("events.jsonl#4", "there are 3 events, from 1"),
        ("events.jsonl#-1", "'-1' is not a number"),
        ("events.jsonl#0x1", "'0x1' is not a number"),
        ("events.jsonl#", "'' is not a number"),
        ("events.jsonl#" + "9" * 5000, "is not a number"),
        ("air.pcapng#0", "there are 5 frames, from 1"),
        ("air.pcapng#6", "there are 5 frames, from 1"),
        ("air.pcapng#one", "'one' is not a number"),
        ("host.pcapng#1", "the evidence has no such file"),
        ("duis/0002-11.4-request.xml", "the evidence has no such file"),
        ("duis", "the evidence has no such file"),
        ("gbcs/empty.HEX", "the file is empty"),
        ("wan/0001-ImageOffer.bin#0x20", "the file has 32 octets"),
        ("wan/0001-ImageOffer.bin#32", "the file has 32 octets"),
        ("wan/0001-ImageOffer.bin#ten", "'ten' is not an offset"),
        ("wan/0001-ImageOffer.bin#0x", "'0x' is not an offset"),
        ("../beside.txt", "not the name of a file in the evidence"),
        ("duis/../../beside.txt", "not the name of a file in the evidence"),
        ("/etc/passwd", "not the name of a file in the evidence"),
        ("", "not the name of a file in the evidence"),
        ("#1", "not the name of a file in the evidence"),
        ("duis/\0", "not the name of a file in the evidence"),
        ("link.bin", "the evidence has no such file"),
        ("a" * 5000, "the file cannot be read: File name too long"),
    ],
)
def test_what_is_not_there_is_told_with_its_reason(
    folder: Path, pointer: str, problem: str
) -> None:
    told = resolve(folder, pointer)
    assert told is not None
    assert told.startswith(f"{pointer}: ")
    assert problem in told


def test_a_damaged_capture_proves_nothing(folder: Path, tmp_path: Path) -> None:
    octets = (folder / "air.pcapng").read_bytes()
    (tmp_path / "air.pcapng").write_bytes(octets[:-3])
    told = resolve(tmp_path, "air.pcapng#1")
    assert told is not None
    assert "the capture cannot be read: octet" in told


def test_an_event_still_being_written_is_none_yet(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_bytes(b'{"id": 1}\n{"id": 2')
    assert resolve(tmp_path, "events.jsonl#1") is None
    assert resolve(tmp_path, "events.jsonl#2") is not None


def test_a_resolver_counts_a_file_once(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "air.pcapng"
    copy.write_bytes((folder / "air.pcapng").read_bytes())
    resolver = Resolver(tmp_path)
    assert resolver.resolve("air.pcapng#5") is None
    copy.write_bytes(b"no longer a capture")
    assert resolver.resolve("air.pcapng#4") is None
    assert resolver.resolve("air.pcapng#6") is not None


@given(st.text(max_size=60) | st.text("airpcng.0123#xevtsjol/", max_size=30))
def test_no_text_gets_out_of_the_folder_or_breaks_the_resolver(text: str) -> None:
    resolver = Resolver(Path(__file__).parent / "no such folder")
    told = resolver.resolve(text)
    assert told is not None
    assert told.startswith(text)


@given(st.text(), st.none() | st.text().filter(lambda text: "#" not in text))
def test_a_pointer_is_file_and_place(file: str, at: str | None) -> None:
    text = file if at is None else f"{file}#{at}"
    if at is not None or "#" not in file:
        assert split_pointer(text) == (file, at)
