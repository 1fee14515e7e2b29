"""Frames that must not be acted on: every bit of the four that matter flipped, and each stimulus
that the fact sheet of this project lists for frames and their cryptography."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from gbcs_rig import EPOCH, VERSION, activation, broker, device, issued, own_key, smki, trust_cells

from gbcs.acb import Alert, BrokerState, Rejected, Rejection, User
from gbcs.ber import KeyUsage
from gbcs.codes import (
    CS03A2_JOIN,
    CS03C_JOIN,
    CS04AC_UNJOIN,
    build_payload,
)
from gbcs.credentials import (
    Cell,
    RemotePartyRole,
    Replacement,
    ReplacementControl,
    ReplacementMode,
    UpdateCredentials,
)
from gbcs.device_credentials import credential_use_cases
from gbcs.device_log import AddDevice, AddDeviceResult
from gbcs.endpoint import Discarded, Endpoint, EndpointState, Reason, Reply
from gbcs.envelope import (
    Cra,
    Frame,
    OtherInformation,
    build_frame,
    maced_octets,
    parse_frame,
    signature_input,
)
from gbcs.errors import GbcsError
from gbcs.firmware import TransferResult, build_firmware_transfer, transfer_alert
from gbcs.joining import JoinDevice, JoinMethod, JoinResult, UnjoinResult
from gbcs.protection import (
    KeyUse,
    Mode,
    Verdict,
    compute_mac,
    derive_key,
    frame_mac,
    protect,
    shared_secret,
    sign,
    verify,
)
from gbcs.smki import ACB_EUI64, CHF_EUI64, PPMID_EUI64, RECOVERY_EUI64, SUPPLIER_EUI64
from gbcs.use_cases import add_device, join_device, refuse_join, unjoin_device
from gbcs.wan import DeviceType
from hil.key_folder import load_keys
from hil.seeds import Seeds

USER = User(SUPPLIER_EUI64, 1000)


@cache
def secret(eui64: int = PPMID_EUI64) -> bytes:
    """Z of the ACB and a device."""
    public = issued().public_key(eui64, KeyUse.KEY_AGREEMENT)
    assert public is not None
    return shared_secret(own_key(ACB_EUI64, KeyUse.KEY_AGREEMENT), public)


def cs08() -> bytes:
    return broker().read_firmware_version(PPMID_EUI64, USER)


def ppmid() -> Endpoint:
    return device(None, *credential_use_cases(Seeds(3).stream("keys").getrandbits))


def hub() -> Endpoint:
    def register(command: AddDevice) -> AddDeviceResult:
        return AddDeviceResult(command.invoke_id)

    return device(None, add_device(register), eui64=CHF_EUI64)


def signing_replacement() -> tuple[tuple[Replacement, ...], tuple[bytes, ...]]:
    cell = Cell(RemotePartyRole.ACCESS_CONTROL_BROKER, KeyUsage.DIGITAL_SIGNATURE)
    certificate = trust_cells().acb_digital_signature.der
    return (Replacement(certificate, cell),), (smki().issuing_authority.certificate.der,)


def cs02b_by_recovery() -> bytes:
    mode = ReplacementMode.ANY_EXCEPT_ABNORMAL_ROOT_BY_RECOVERY
    replacements, path = signing_replacement()
    command = UpdateCredentials(ReplacementControl(mode, 7000), replacements, path)
    frame = Frame(
        cra=Cra.COMMAND,
        originator_counter=7000,
        originator=RECOVERY_EUI64,
        recipient=PPMID_EUI64,
        other_information=OtherInformation(0x0100 + mode),
        payload=build_payload(command),
    )
    key = own_key(RECOVERY_EUI64, KeyUse.DIGITAL_SIGNATURE)
    return build_frame(protect(frame, signing_key=key))


COMMANDS: dict[str, tuple[Callable[[], Endpoint], Callable[[], bytes]]] = {
    "CS08": (device, cs08),
    "CCS01": (
        hub,
        lambda: broker().add_device(CHF_EUI64, PPMID_EUI64, b"0123456789ABCDEF", 90, USER),
    ),
    "CS02b by the ACB": (
        ppmid,
        lambda: broker().update_own_credentials(PPMID_EUI64, *signing_replacement()),
    ),
    "CS02b by recovery": (ppmid, cs02b_by_recovery),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_with_any_bit_flipped_is_not_acted_on(name: str) -> None:
    make_endpoint, make_command = COMMANDS[name]
    endpoint, command = make_endpoint(), make_command()
    before = endpoint.state
    for bit in range(8 * len(command)):
        octets = bytearray(command)
        octets[bit // 8] ^= 1 << bit % 8
        (output,) = endpoint.receive(bytes(octets), EPOCH)
        assert isinstance(output, Discarded), bit
        assert endpoint.state is before
    (output,) = endpoint.receive(command, EPOCH)
    assert isinstance(output, Reply)


def test_an_alert_with_any_bit_flipped_is_not_taken() -> None:
    dsp, octets = broker(), device(EndpointState(4999)).alert(0x012B, activation())
    for bit in range(8 * len(octets)):
        forged = bytearray(octets)
        forged[bit // 8] ^= 1 << bit % 8
        assert isinstance(dsp.receive(bytes(forged)), Rejected), bit
        assert dsp.state == BrokerState(1299)
    assert isinstance(dsp.receive(octets), Alert)


def test_a_published_frame_with_any_bit_flipped_is_not_judged_as_before(
    published: dict[str, bytes], key_folder: Path
) -> None:
    """Four frames of RTDS, each with one protection, under the published keys."""
    keys = load_keys(key_folder)
    for name in (
        "CS08_11.2_SUCCESS_COMMAND_GBCS.HEX",
        "CS09_NA_8F8B_ALERT_GBCS.HEX",
        "CCS01_8.11_SUCCESS_COMMAND_GBCS.HEX",
        "CS02c_6.17_SUCCESS_RESPONSE_GBCS.HEX",
    ):
        octets = published[name]
        assert Verdict.VALID in verify(parse_frame(octets), keys)
        for bit in range(8 * len(octets)):
            altered = bytearray(octets)
            altered[bit // 8] ^= 1 << bit % 8
            try:
                received = parse_frame(bytes(altered))
            except GbcsError:
                continue
            assert Verdict.VALID not in verify(received, keys), (name, bit)


def discarded(octets: bytes, endpoint: Endpoint | None = None) -> Reason:
    endpoint = endpoint or device()
    before = endpoint.state
    (output,) = endpoint.receive(octets, EPOCH)
    assert isinstance(output, Discarded)
    assert endpoint.state is before
    return output.reason


# -- MACs made in another way ------------------------------------------------------------------


@pytest.mark.parametrize("mode", [Mode.RESPONSE, Mode.ALERT, Mode.ATTRIBUTE_ENCRYPTION])
def test_a_mac_under_the_key_of_another_mode_is_refused(mode: Mode) -> None:
    received = parse_frame(cs08())
    key = derive_key(secret(), originator=ACB_EUI64, recipient=PPMID_EUI64,
                     originator_counter=1300, mode=mode)  # fmt: skip
    mac = compute_mac(key, ACB_EUI64, received.grouping)
    assert discarded(build_frame(replace(received.frame, mac=mac))) is Reason.MAC


def test_a_mac_without_the_empty_fields_of_its_header_is_refused() -> None:
    received = parse_frame(cs08())
    key = derive_key(secret(), originator=ACB_EUI64, recipient=PPMID_EUI64,
                     originator_counter=1300, mode=Mode.COMMAND)  # fmt: skip
    iv = ACB_EUI64.to_bytes(8, "big") + bytes(4)
    mac = AESGCM(key).encrypt(iv, b"", b"\x11" + received.grouping)[:12]
    assert discarded(build_frame(replace(received.frame, mac=mac))) is Reason.MAC


def test_a_tag_that_is_zero_or_not_cut_to_twelve_octets_is_refused() -> None:
    received = parse_frame(cs08())
    assert discarded(build_frame(replace(received.frame, mac=bytes(12)))) is Reason.MAC
    key = derive_key(secret(), originator=ACB_EUI64, recipient=PPMID_EUI64,
                     originator_counter=1300, mode=Mode.COMMAND)  # fmt: skip
    iv = ACB_EUI64.to_bytes(8, "big") + bytes(4)
    tag = AESGCM(key).encrypt(iv, b"", b"\x11" + bytes(5) + received.grouping)
    assert tag[:12] == received.frame.mac
    assert discarded(maced_octets(received.grouping, tag)) is Reason.SYNTAX


# -- signatures --------------------------------------------------------------------------------

SIGNED_CODES = {
    CS03A2_JOIN: (
        join_device(CS03A2_JOIN, refuse_join),
        JoinDevice(JoinMethod.A_RESPONDER, 1, DeviceType.ESME),
    ),
    CS03C_JOIN: (
        join_device(CS03C_JOIN, lambda _: JoinResult.SUCCESS),
        JoinDevice(JoinMethod.C, 1, DeviceType.ESME, b"\x30\x00"),
    ),
    CS04AC_UNJOIN: (unjoin_device(CS04AC_UNJOIN, lambda _: UnjoinResult.SUCCESS), None),
}


@pytest.mark.parametrize("code", SIGNED_CODES)
def test_a_code_that_needs_a_signature_gets_no_answer_without_one(code: int) -> None:
    use_case, command = SIGNED_CODES[code]
    payload = bytes.fromhex("04080102030405060708") if command is None else build_payload(command)
    endpoint = device(None, use_case)
    octets = broker().command(code, PPMID_EUI64, payload, USER)
    frame = parse_frame(octets).frame
    unsigned = build_frame(protect(replace(frame, signature=b"", mac=None), secret=secret()))
    assert discarded(unsigned, endpoint) is Reason.SIGNATURE
    # Over one octet too many: DF is not signed.
    key = own_key(ACB_EUI64, KeyUse.DIGITAL_SIGNATURE)
    wrong = replace(frame, signature=sign(b"\xdf" + signature_input(frame), key), mac=None)
    grouping = build_frame(wrong)
    maced = maced_octets(grouping, frame_mac(secret(), wrong, grouping))
    assert discarded(maced, endpoint) is Reason.SIGNATURE
    (output,) = endpoint.receive(octets, EPOCH)
    assert isinstance(output, Reply)


# -- syntax ------------------------------------------------------------------------------------


def maced(grouping: bytes) -> bytes:
    """A grouping structure, whatever its lengths say, under a good MAC of the CS08 command."""
    return maced_octets(grouping, frame_mac(secret(), parse_frame(cs08()).frame, grouping))


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ("03 050100", Reason.PAYLOAD),  # a NULL with content
        ("03 050000", Reason.PAYLOAD),  # an octet behind it
        ("02 0580", Reason.PAYLOAD),  # indefinite length
        ("02 0501", Reason.PAYLOAD),  # a length beyond the payload
        ("06 058400000000", Reason.PAYLOAD),
        ("80 0500", Reason.SYNTAX),
        ("84 00000002 0500", Reason.SYNTAX),
        ("7F 0500", Reason.SYNTAX),  # beyond the frame
    ],
)
def test_lengths_that_are_none_are_refused_under_a_good_mac(payload: str, reason: Reason) -> None:
    grouping = parse_frame(cs08()).grouping
    assert grouping.endswith(bytes.fromhex("02 0500 00"))
    assert discarded(maced(grouping[:-4] + bytes.fromhex(payload) + b"\0")) is reason


@pytest.mark.parametrize("payload", ["820002 0500", "8102 0500", "04 05820000", "03 058100"])
def test_a_length_in_long_form_is_taken(payload: str) -> None:
    grouping = parse_frame(cs08()).grouping
    octets = maced(grouping[:-4] + bytes.fromhex(payload) + b"\0")
    (output,) = device().receive(octets, EPOCH)
    assert isinstance(output, Reply)


def test_a_meter_has_no_use_case_for_the_version_of_a_ppmid() -> None:
    keys, meter = device(), Endpoint  # the same keys, other use cases
    credentials = keys.credentials
    esme = meter(PPMID_EUI64, credentials.keys, credentials.trust, EndpointState(), ())
    assert discarded(cs08(), esme) is Reason.MESSAGE_CODE


# -- alerts whose content is wrong -------------------------------------------------------------

ACTIVATION = activation().hex().upper()
TRANSFER = build_firmware_transfer(
    transfer_alert(PPMID_EUI64, VERSION, TransferResult.FILE_TRANSFER_SUCCESS, EPOCH)
).hex().upper()  # fmt: skip


@pytest.mark.parametrize(
    ("code", "content", "old", "new"),
    [
        (0x012B, ACTIVATION, "008F8B", "008F8A"),
        (0x0128, TRANSFER, "008F8A", "008F8B"),
        (0x012B, "301E" + ACTIVATION[4:], "04040123ABCD", "040323ABCD"),
        (0x012B, ACTIVATION, "5A0404", "300404"),  # no Z
        (0x012B, ACTIVATION, "32303236", "32303A36"),
        (0x012B, ACTIVATION, "180F", "170F"),
        (0x0128, TRANSFER, "5A0408", "5B0408"),
        (0x012B, ACTIVATION, "020100", "020107"),
    ],
)
def test_a_signed_alert_with_wrong_content_is_told_and_is_no_error(
    code: int, content: str, old: str, new: str
) -> None:
    altered = bytes.fromhex(content.replace(old, new, 1))
    assert altered.hex().upper() != content
    eui64 = CHF_EUI64 if code == 0x0128 else PPMID_EUI64
    octets = device(EndpointState(4999), eui64=eui64).alert(code, altered)
    outcome = broker().receive(octets)
    assert isinstance(outcome, Rejected)
    assert outcome.reason is Rejection.PAYLOAD
    assert "at offset" in outcome.detail
