"""APS commands about keys: golden octets, round trips, sealed frames, hostile octets."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESCCM
from hypothesis import given
from hypothesis import strategies as st

from emulator.zigbee import aps, aps_commands
from emulator.zigbee.aps import ApsError, TransportKey
from emulator.zigbee.aps_commands import (
    ConfirmKey,
    KeyCommand,
    RemoveDevice,
    RequestKey,
    SwitchKey,
    TransportApplicationKey,
    TransportTrustCenterKey,
    VerifyKey,
)
from emulator.zigbee.security import (
    KEY_ID_DATA,
    KEY_ID_KEY_LOAD,
    KEY_ID_KEY_TRANSPORT,
    FrameKey,
    SecurityError,
    mmo_blocks,
    mmo_hash,
    mmo_padding,
)

OCTETS = bytes.fromhex("AA4689C70BE0FAF0C9BE534ABD9F4CDC")
KEY = FrameKey(OCTETS)
HUB, DEVICE = 0x00DB1234567890A2, 0x0011223344556677
HUB_OCTETS, DEVICE_OCTETS = "A2 90 78 56 34 12 DB 00", "77 66 55 44 33 22 11 00"
NEW = bytes(range(16))

# By hand from ZigBee 05-3474 (R21), figures 4.4.10.1 to 4.4.10.8.
GOLDEN: list[tuple[KeyCommand, str]] = [
    (TransportKey(NEW, 7, DEVICE, HUB), f"05 01 {NEW.hex()} 07 {DEVICE_OCTETS} {HUB_OCTETS}"),
    (TransportApplicationKey(NEW, DEVICE, True), f"05 03 {NEW.hex()} {DEVICE_OCTETS} 01"),
    (
        TransportTrustCenterKey(NEW, DEVICE, HUB),
        f"05 04 {NEW.hex()} {DEVICE_OCTETS} {HUB_OCTETS}",
    ),
    (RemoveDevice(DEVICE), f"07 {DEVICE_OCTETS}"),
    (RequestKey(2, DEVICE), f"08 02 {DEVICE_OCTETS}"),
    (RequestKey(4), "08 04"),
    (SwitchKey(7), "09 07"),
    (VerifyKey(4, DEVICE, NEW), f"0F 04 {DEVICE_OCTETS} {NEW.hex()}"),
    (ConfirmKey(0xAD, 4, DEVICE), f"10 AD 04 {DEVICE_OCTETS}"),
]

keys = st.binary(min_size=16, max_size=16)
eui64s = st.integers(0, 2**64 - 1)
octet = st.integers(0, 255)
commands: st.SearchStrategy[KeyCommand] = st.one_of(
    st.builds(TransportKey, keys, octet, eui64s, eui64s),
    st.builds(TransportApplicationKey, keys, eui64s, st.booleans()),
    st.builds(TransportTrustCenterKey, keys, eui64s, eui64s),
    st.builds(RemoveDevice, eui64s),
    st.builds(RequestKey, st.just(2), eui64s),
    st.builds(RequestKey, octet.filter(lambda kind: kind != 2), st.none()),
    st.builds(SwitchKey, octet),
    st.builds(VerifyKey, octet, eui64s, keys),
    st.builds(ConfirmKey, octet, octet, eui64s),
)


@pytest.mark.parametrize(("command", "octets"), GOLDEN)
def test_commands_are_laid_out_as_the_standard_says(command: KeyCommand, octets: str) -> None:
    assert aps_commands.build(command) == bytes.fromhex(octets)
    assert aps_commands.parse(bytes.fromhex(octets)) == command


@given(command=commands)
def test_a_command_that_was_built_is_read_back(command: KeyCommand) -> None:
    assert aps_commands.parse(aps_commands.build(command)) == command


@given(
    octets=st.binary(max_size=60)
    | st.tuples(st.sampled_from([5, 7, 8, 9, 15, 16]), st.binary(max_size=60)).map(
        lambda parts: bytes(parts[:1]) + parts[1]
    )
)
def test_hostile_commands_raise_our_error_or_read(octets: bytes) -> None:
    try:
        command = aps_commands.parse(octets)
    except ApsError:
        return
    if not isinstance(command, TransportApplicationKey):  # its flag has 255 ways to say yes
        assert aps_commands.build(command) == octets


@pytest.mark.parametrize("octets", [octets for _, octets in GOLDEN])
def test_a_command_that_is_cut_off_or_too_long_is_refused(octets: str) -> None:
    whole = bytes.fromhex(octets)
    for wrong in (whole[:-1], whole + b"\0", whole[:1]):
        with pytest.raises(ApsError):
            aps_commands.parse(wrong)


# -- sealed ----------------------------------------------------------------------------------


def test_a_command_under_a_key_is_laid_out_as_the_standard_says() -> None:
    hub = bytes.fromhex(HUB_OCTETS)
    frame = aps.seal_command(KEY, KEY_ID_KEY_LOAD, b"\x08\x04", 9, 8198, hub)
    # command, secured; counter 9; key-load key, extended nonce, no level; 8198; the EUI-64
    assert frame[:15] == bytes.fromhex(f"21 09 38 06 20 00 00 {HUB_OCTETS}")
    authenticated = bytes.fromhex(f"21 09 3D 06 20 00 00 {HUB_OCTETS}")
    nonce = hub + bytes.fromhex("06 20 00 00 3D")
    cipher = AESCCM(OCTETS, tag_length=4)
    assert frame[15:] == cipher.encrypt(nonce, b"\x08\x04", authenticated)


@given(
    key_id=st.sampled_from([KEY_ID_DATA, KEY_ID_KEY_TRANSPORT, KEY_ID_KEY_LOAD]),
    command=st.binary(min_size=1, max_size=60),
    counter=st.integers(0, 2**32 - 1),
    data=st.data(),
)
def test_a_sealed_command_opens_and_a_changed_one_does_not(
    key_id: int, command: bytes, counter: int, data: st.DataObject
) -> None:
    source = bytes.fromhex(HUB_OCTETS)
    frame = aps.seal_command(KEY, key_id, command, 1, counter, source)
    header = aps.parse_command(frame)
    assert (header.key_id, header.counter, header.source_eui64) == (key_id, counter, source)
    assert aps.open_command(KEY, frame, header, source) == command
    bit = data.draw(st.integers(8, 8 * len(frame) - 1))
    changed = bytearray(frame)
    changed[bit // 8] ^= 1 << bit % 8
    if bit // 8 == 2 and bit % 8 < 3:
        return  # the level on the air means nothing: it is put back before the MIC is checked
    try:
        header = aps.parse_command(bytes(changed))
    except ApsError:
        return
    with pytest.raises(SecurityError):
        aps.open_command(KEY, bytes(changed), header, header.source_eui64 or source)


@given(frame=st.binary(max_size=80))
def test_hostile_command_frames_raise_our_error_or_read(frame: bytes) -> None:
    for octets in (frame, b"\x21" + frame, b"\x01" + frame):
        try:
            header = aps.parse_command(octets)
        except ApsError:
            continue
        assert header.octets <= len(octets)
        if header.key_id is not None:
            with pytest.raises(SecurityError):
                aps.open_command(KEY, octets, header, bytes(8))


def test_a_nonce_that_is_not_extended_opens_by_the_sender_that_is_known() -> None:
    source = bytes.fromhex(DEVICE_OCTETS)
    nonce = source + bytes.fromhex("05 00 00 00 05")
    sealed = KEY.seal(nonce, b"\x08\x04", bytes.fromhex("21 09 05 05 00 00 00"))
    frame = bytes.fromhex("21 09 00 05 00 00 00") + sealed
    header = aps.parse_command(frame)
    assert header == aps.CommandHeader(KEY_ID_DATA, 5, None, 7)
    assert aps.open_command(KEY, frame, header, source) == b"\x08\x04"


# -- what else is hashed ---------------------------------------------------------------------


@given(message=st.binary(max_size=200), cut=st.integers(0, 12))
def test_a_message_hashed_block_by_block_has_the_same_hash(message: bytes, cut: int) -> None:
    at = min(16 * cut, len(message) // 16 * 16)
    digest = mmo_blocks(bytes(16), message[:at])
    rest = message[at:] + mmo_padding(len(message))
    assert mmo_blocks(digest, rest) == mmo_hash(message)
