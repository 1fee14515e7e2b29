"""The Key Establishment cluster's commands: golden octets, round trips, tshark's reading."""

from __future__ import annotations

from pathlib import Path

import pytest
import zcl_witness
from cbke_vectors import EXAMPLES
from hypothesis import given
from hypothesis import strategies as st

from emulator.zigbee import zcl
from emulator.zigbee.cbke import commands
from emulator.zigbee.cbke.commands import (
    COMMAND_IDS,
    ConfirmKeyData,
    EphemeralData,
    InitiateKeyEstablishment,
    KeyEstablishmentCommand,
    TerminateKeyEstablishment,
    TerminateStatus,
    build,
)
from emulator.zigbee.cbke.ecqv import KEY_AGREEMENT, Certificate283k1
from emulator.zigbee.zcl import ZclError, ZclFrame, ZclValueError

PARSERS = {
    InitiateKeyEstablishment: commands.parse_initiate,
    EphemeralData: commands.parse_ephemeral_data,
    ConfirmKeyData: commands.parse_confirm_key_data,
    TerminateKeyEstablishment: commands.parse_terminate,
}
U16 = st.integers(0, 0xFFFF)
U8 = st.integers(0, 0xFF)


def octets(*lengths: int) -> st.SearchStrategy[bytes]:
    return st.sampled_from(lengths).flatmap(lambda n: st.binary(min_size=n, max_size=n))


COMMANDS: st.SearchStrategy[KeyEstablishmentCommand] = st.one_of(
    st.builds(InitiateKeyEstablishment, U16, U8, U8, octets(48, 74)),
    st.builds(EphemeralData, octets(22, 37)),
    st.builds(ConfirmKeyData, octets(16)),
    st.builds(TerminateKeyEstablishment, U8, U8, U16),
)


@given(command=COMMANDS)
def test_a_command_is_read_as_it_was_written(command: KeyEstablishmentCommand) -> None:
    assert PARSERS[type(command)](build(command)) == command


@pytest.mark.parametrize("parse", PARSERS.values())
@given(payload=st.binary(max_size=90))
def test_any_payload_at_all_is_a_command_or_a_zcl_error(parse: object, payload: bytes) -> None:
    assert callable(parse)
    try:
        command = parse(payload)
    except ZclError as error:
        refused = error
    else:
        assert build(command) == payload
        return
    assert 0 <= refused.offset <= len(payload)


def test_the_initiate_of_the_worked_example_is_built_octet_for_octet() -> None:
    certificate = EXAMPLES[0].u.certificate
    assert certificate is not None
    # C.5.2.1: suite 1, 3 s to make ephemeral data, 6 s to make the keys
    payload = build(InitiateKeyEstablishment(0x0001, 3, 6, certificate))
    assert payload == bytes.fromhex("01000306") + certificate
    assert len(payload) == 52


def test_the_lengths_of_suite_2_are_those_of_the_frame_budget() -> None:
    frame = ZclFrame(zcl.REQUEST, 1, 0, build(InitiateKeyEstablishment(0x0002, 11, 16, bytes(74))))
    assert len(zcl.build(frame)) == 81
    assert len(build(EphemeralData(bytes(37)))) == 37
    assert len(build(TerminateKeyEstablishment(4, 30, 2))) == 4


@pytest.mark.parametrize(
    "command",
    [
        InitiateKeyEstablishment(0x10000, 1, 1, bytes(48)),
        InitiateKeyEstablishment(1, 256, 1, bytes(48)),
        InitiateKeyEstablishment(1, 1, 1, bytes(49)),
        EphemeralData(bytes(36)),
        ConfirmKeyData(bytes(15)),
        TerminateKeyEstablishment(256, 0, 0),
    ],
)
def test_a_command_that_cannot_be_is_not_built(command: KeyEstablishmentCommand) -> None:
    with pytest.raises(ZclValueError):
        build(command)


def test_tshark_names_the_cluster_and_reads_every_field(tmp_path: Path) -> None:
    u, v = EXAMPLES[0].u, EXAMPLES[1].v
    assert u.certificate is not None
    # Certificates of suite 2 are valid for a time that begins at another: 60 s from 10 s on.
    limited = Certificate283k1(v.static.public_key, 1, 2, 3, 10, 60, KEY_AGREEMENT).octets
    expected: list[tuple[KeyEstablishmentCommand, tuple[str, ...]]] = [
        (
            InitiateKeyEstablishment(0x0001, 3, 6, u.certificate),
            (
                "Command: Initiate Key Establishment Re",
                "Key Establishment Suite: Crypto Suite 1 (CBKE K163) (0x0001)",
                "Ephemeral Data Generate Time: 3",
                "Confirm Key Generate Time: 6",
                "Public Key: 020615e07d30eca2dad58002e667d94bc1b422398307",
                "Subject: 0000000000000002",
                "Issuer: 5445535453454341",
                "Profile Attribute Data: 01090006000000000000",
            ),
        ),
        (
            InitiateKeyEstablishment(0x0002, 11, 16, v.certificate or b""),
            (
                "Command: Initiate Key Establishment Re",
                "Key Establishment Suite: Crypto Suite 2 (CBKE K283) (0x0002)",
                "Ephemeral Data Generate Time: 11",
                "Confirm Key Generate Time: 16",
                "Serial No: 0x2622a505e8938f27",
                "Curve: sect283k1 (0x0d)",
                "Hash: AES MMO (0x08)",
                "Issuer: 1112131415161718",
                "Valid From: Nov 25, 2013 01:09:47",
                "Valid To: does not expire (0xFFFFFFFF)",
                "Subject: 0a0b0c0d0e0f1011",
                "Key Agreement: Enabled",
                "Digital Signature: Enabled",
                "Public Key: 0303b4e9dc543a64333c982308022b54e67e2f15f532551b",
            ),
        ),
        (
            InitiateKeyEstablishment(0x0002, 0, 255, limited),
            (
                "Valid From: Jan  1, 1970 00:00:10",
                "Valid To: Jan  1, 1970 00:01:10",
                "Key Agreement: Enabled",
                "Digital Signature: Disabled",
            ),
        ),
        (
            EphemeralData(u.ephemeral.public_key),
            ("Command: Ephemeral Data Re", "0300e117c86d0e7cd128b2f34e9076cff24af46d7288"),
        ),
        (
            EphemeralData(v.ephemeral.public_key),
            ("Command: Ephemeral Data Re", "03009a5131cf5b92a016378c0f7f284ecd47f94010f875d4"),
        ),
        (
            ConfirmKeyData(bytes(range(16))),
            ("Command: Confirm Key Data Re", "000102030405060708090a0b0c0d0e0f"),
        ),
        (
            TerminateKeyEstablishment(TerminateStatus.NO_RESOURCES, 30, 0x0002),
            (
                "Command: Terminate Key Establishment",
                "Status: No Resources (0x04)",
                "Wait Time: 30",
                "Key Establishment Suite: Crypto Suite 2 (CBKE K283) (0x0002)",
            ),
        ),
    ]
    for control in (zcl.REQUEST, zcl.RESPONSE):
        frames = [
            zcl.build(ZclFrame(control, 7, COMMAND_IDS[type(command)], build(command)))
            for command, _ in expected
        ]
        trees = zcl_witness.decode(commands.CLUSTER_ID, frames, tmp_path)
        for tree, (_, words) in zip(trees, expected, strict=True):
            for word in words:
                assert word in tree
