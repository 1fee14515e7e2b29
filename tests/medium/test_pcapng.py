"""Captures of the air, as Wireshark and anyone who recomputes the trace hash sees them."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.medium.pcapng import (
    CaptureUsageError,
    PcapngError,
    PcapngWriter,
    TraceHash,
    read_pcapng,
)

EPOCH_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
ACK_7 = bytes.fromhex("02 00 07 07 C1")  # MAC acknowledgement; tshark calls its FCS correct
# The head of a file and a frame, worked out by hand from the pcapng draft, 4.1 to 4.3, and the TAP
# specification: two blocks, then one packet with FCS type 16 bit, channel 15 page 0.
HEAD = bytes.fromhex(
    "0A0D0D0A 2C000000 4D3C2B1A 0100 0000 FFFFFFFFFFFFFFFF"
    "0400 0800 68616E62656E6368 0000 0000 2C000000"
    "01000000 28000000 1B01 0000 00000000"
    "0900 0100 06000000 0200 0300 68616E00 0000 0000 28000000"
)
PACKET = bytes.fromhex(
    "06000000 3C000000 00000000 48470600 05402046 19000000 19000000"
    "00 00 1400 0000 0100 01000000 0300 0300 0F00 00 00"
    "0200 07 07C1 000000 3C000000"
)


class File(bytearray):
    """A file in memory."""

    def write(self, data: bytes) -> None:
        self.extend(data)


def test_a_capture_is_the_octets_the_format_prescribes() -> None:
    file = File()
    writer = PcapngWriter(file.write)
    assert file.hex(" ") == HEAD.hex(" ")
    writer.frame(5, ACK_7, channel=15, epoch_us=EPOCH_US)
    assert file[len(HEAD) :].hex(" ") == PACKET.hex(" ")


def test_a_comment_is_an_option_behind_the_frame() -> None:
    # The same packet; then opt_comment (1) of 7 octets, padded, and the end of options.
    file = File()
    writer = PcapngWriter(file.write)
    writer.frame(5, ACK_7, channel=15, epoch_us=EPOCH_US, comment="lost: x")
    longer = PACKET.replace(b"\x3c\0\0\0", b"\x4c\0\0\0")
    options = bytes.fromhex("0100 0700 6C6F73743A2078 00 0000 0000")
    assert file[len(HEAD) :].hex(" ") == (longer[:-4] + options + longer[-4:]).hex(" ")
    assert list(read_pcapng(bytes(file))) == [(EPOCH_US + 5, ACK_7)]


frames = st.lists(
    st.tuples(
        st.integers(0, 2**40),
        st.binary(min_size=1, max_size=127),
        st.integers(11, 26),
        st.none() | st.integers(-128, 127),
        st.none() | st.integers(0, 255),
        st.integers(0, 1),
    ),
    max_size=8,
)


@given(frames=frames, epoch_us=st.integers(0, 2**62))
def test_what_was_captured_is_read_back_and_has_the_same_trace_hash(
    frames: list[tuple[int, bytes, int, int | None, int | None, int]], epoch_us: int
) -> None:
    file = File()
    writer = PcapngWriter(file.write, interfaces=("han", "alt-han"))
    live, recomputed = TraceHash(), TraceHash()
    for time_us, psdu, channel, rssi_dbm, lqi, interface in frames:
        writer.frame(
            time_us,
            psdu,
            channel=channel,
            rssi_dbm=rssi_dbm,
            lqi=lqi,
            epoch_us=epoch_us,
            interface=interface,
        )
        live.update(time_us, psdu)
    back = list(read_pcapng(bytes(file)))
    assert back == [(epoch_us + frame[0], frame[1]) for frame in frames]
    for time_us, psdu in back:
        recomputed.update(time_us - epoch_us, psdu)
    assert recomputed.hexdigest() == live.hexdigest()


def test_anyone_can_recompute_the_trace_hash() -> None:
    trace = TraceHash()
    trace.update(1, ACK_7)
    trace.update(0x0102030405060708, b"\xff")
    octets = b"\1\0\0\0\0\0\0\0" + b"\5\0" + ACK_7 + bytes((8, 7, 6, 5, 4, 3, 2, 1)) + b"\1\0\xff"
    assert trace.hexdigest() == sha256(octets).hexdigest()


@pytest.mark.parametrize("change", ["time", "octet", "order", "boundary"])
def test_two_runs_that_differ_have_different_trace_hashes(change: str) -> None:
    frames = {
        "": [(1, b"ab"), (1, b"c")],
        "time": [(1, b"ab"), (2, b"c")],
        "octet": [(1, b"ab"), (1, b"d")],
        "order": [(1, b"c"), (1, b"ab")],
        "boundary": [(1, b"a"), (1, b"bc")],
    }
    traces = []
    for name in ("", change):
        trace = TraceHash()
        for time_us, psdu in frames[name]:
            trace.update(time_us, psdu)
        traces.append(trace.hexdigest())
    assert traces[0] != traces[1]


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        ({"psdu": b""}, "psdu"),
        ({"psdu": bytes(128)}, "psdu"),
        ({"channel": -1}, "channel"),
        ({"channel": 0x10000}, "channel"),
        ({"rssi_dbm": -129}, "rssi_dbm"),
        ({"lqi": 256}, "lqi"),
        ({"interface": 1}, "interface"),
        ({"interface": -1}, "interface"),
        ({"time_us": -1}, "time_us"),
        ({"time_us": 2**64}, "time_us"),
    ],
)
def test_a_frame_that_cannot_be_is_refused_and_nothing_written(
    wrong: dict[str, Any], place: str
) -> None:
    file = File()
    writer = PcapngWriter(file.write)
    head = bytes(file)
    values: dict[str, Any] = {"time_us": 0, "psdu": ACK_7, "channel": 15} | wrong
    with pytest.raises(CaptureUsageError, match=place):
        writer.frame(values.pop("time_us"), values.pop("psdu"), **values)
    assert bytes(file) == head


def test_a_trace_hash_takes_no_time_before_the_run() -> None:
    trace = TraceHash()
    empty = trace.hexdigest()
    with pytest.raises(CaptureUsageError, match="time_us"):
        trace.update(-1, ACK_7)
    assert trace.hexdigest() == empty


def test_many_kinds_of_reception_do_not_pile_up() -> None:
    file = File()
    writer = PcapngWriter(file.write)
    for index in range(3000):
        writer.frame(index, ACK_7, channel=11, rssi_dbm=-index % 128, lqi=index // 128)
    assert len(writer._taps) <= 1024
    assert len(list(read_pcapng(bytes(file)))) == 3000


def capture() -> bytes:
    file = File()
    writer = PcapngWriter(file.write)
    writer.frame(5, ACK_7, channel=15, rssi_dbm=-40, lqi=200, epoch_us=EPOCH_US)
    return bytes(file)


@pytest.mark.parametrize(
    ("at", "octets", "message"),
    [
        (0, b"\x01\0\0\0", "octet 0: no section header"),
        (8, b"\x1a\x2b\x3c\x4d", "octet 8: not a little-endian"),
        (4, b"\0\0", "octet 4: a block of 0 "),
        (4, b"\x2d", "octet 4: a block of 45 "),
        (4, b"\xfc\xff", "octet 4: a block of 65532 "),
        (40, b"\x30", "octet 40: the lengths"),
        (52, b"\xc3\x00", "octet 52: link type 195"),
        (64, b"\x09", "octet 60: times"),
        (92, b"\x01", "octet 92: interface 1"),
        (104, b"\xff", "octet 104: 255 captured"),
        (104, b"\x03", "octet 104: 3 captured"),
        (112, b"\x01", "octet 112: no TAP"),
        (114, b"\xff", "octet 112: no TAP"),
        (114, b"\x03", "octet 112: no TAP"),
    ],
)
def test_a_spoilt_capture_is_refused_with_the_place(at: int, octets: bytes, message: str) -> None:
    good = capture()
    spoilt = good[:at] + octets + good[at + len(octets) :]
    with pytest.raises(PcapngError, match=message):
        list(read_pcapng(spoilt))


def test_captures_one_after_the_other_are_one_file() -> None:
    both = list(read_pcapng(capture() + capture()))
    assert both == 2 * [(EPOCH_US + 5, ACK_7)]


SECTION, PACKET_BLOCK = HEAD[:44], PACKET


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (capture() + SECTION + PACKET_BLOCK, "interface 0 is not described"),
        (SECTION + bytes.fromhex("01000000 0C000000 0C000000"), "octet 52: interface desc"),
        (HEAD + bytes.fromhex("06000000 0C000000 0C000000"), "octet 92: packet block cut short"),
        (HEAD + PACKET[:-1], "octet 88: a block of 60 "),
        (HEAD + PACKET[:7], "octet 84: cut short"),
    ],
)
def test_a_capture_with_a_part_missing_is_refused_with_the_place(data: bytes, message: str) -> None:
    with pytest.raises(PcapngError, match=message):
        list(read_pcapng(data))


@given(data=st.binary(max_size=200))
def test_octets_that_are_no_capture_raise_our_error_only(data: bytes) -> None:
    try:
        list(read_pcapng(data))
    except PcapngError:
        return
    assert data == b""


@given(cut=st.integers(0, 168), at=st.integers(0, 167), octet=st.integers(0, 255))
def test_a_damaged_capture_raises_our_error_only(cut: int, at: int, octet: int) -> None:
    good = bytearray(capture())
    good[at % len(good)] = octet
    for data in (bytes(good), bytes(good[:cut])):
        with contextlib.suppress(PcapngError):
            list(read_pcapng(data))


@pytest.mark.real_clock
@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
def test_wireshark_shows_channel_strength_time_and_a_good_fcs(tmp_path: Path) -> None:
    path = tmp_path / "air.pcapng"
    with path.open("wb") as file:
        writer = PcapngWriter(file.write, interfaces=("han", "alt-han"))
        writer.frame(5, ACK_7, channel=15, epoch_us=EPOCH_US)
        writer.frame(
            1_000_009,
            ACK_7,
            channel=26,
            rssi_dbm=-40,
            lqi=200,
            epoch_us=EPOCH_US,
            interface=1,
        )
        writer.frame(1_000_010, ACK_7[:3] + b"\0\0", channel=15, epoch_us=EPOCH_US, comment="Ü")
    fields = [
        "frame.encap_type",
        "frame.interface_name",
        "frame.time_epoch",
        "wpan-tap.fcs_type",
        "wpan-tap.ch_num",
        "wpan-tap.ch_page",
        "wpan-tap.rss",
        "wpan-tap.lqi",
        "wpan.seq_no",
        "wpan.fcs_ok",
        "_ws.malformed",
        "frame.comment",
    ]
    command = ["tshark", "-r", str(path), "-T", "json"]
    for field in fields:
        command += ["-e", field]
    done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    layers = [packet["_source"]["layers"] for packet in json.loads(done.stdout)]
    rows = [tuple(layer.get(field, [""])[0] for field in fields) for layer in layers]
    tap = "206"  # wiretap's number for DLT 283
    assert rows == [
        (tap, "han", "1767225600.000005000", "1", "15", "0", "", "", "7", "1", "", ""),
        (tap, "alt-han", "1767225601.000009000", "1", "26", "0", "-40", "200", "7", "1", "", ""),
        (tap, "han", "1767225601.000010000", "1", "15", "0", "", "", "7", "0", "", "Ü"),
    ]
