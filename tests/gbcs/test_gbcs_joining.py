"""A device told to pair with another, to part from it, and to say with whom it is paired."""

from __future__ import annotations

from typing import Any

import pytest
from gbcs_rig import EPOCH, broker, device, issued

from gbcs.acb import Response, User
from gbcs.codes import (
    CS03A1_JOIN,
    CS03A2_JOIN,
    CS03B_JOIN,
    CS03C_JOIN,
    CS04AC_UNJOIN,
    CS04B_UNJOIN,
    CS07_READ_JOIN_DETAILS,
    build_payload,
)
from gbcs.endpoint import Reply, UseCase
from gbcs.envelope import parse_frame
from gbcs.errors import GbcsValueError
from gbcs.joining import (
    JoinDetails,
    JoinDetailsResult,
    JoinDevice,
    JoinedDevice,
    JoinMethod,
    JoinResult,
    ReadJoinDetails,
    UnjoinDevice,
    UnjoinResult,
)
from gbcs.protection import Verdict, verify
from gbcs.smki import PPMID_EUI64, SUPPLIER_EUI64
from gbcs.use_cases import join_device, read_join_details, refuse_join, unjoin_device
from gbcs.wan import DeviceType

USER = User(SUPPLIER_EUI64, 1000)
METER = 0x00DB123456789093
CERTIFICATE = b"\x30\x03\x02\x01\x00"
CODES = {
    CS03A1_JOIN: JoinMethod.A_INITIATOR,
    CS03A2_JOIN: JoinMethod.A_RESPONDER,
    CS03B_JOIN: JoinMethod.B,
    CS03C_JOIN: JoinMethod.C,
}


def ask(use_case: UseCase, payload: Any) -> tuple[Any, Any]:
    """The payload that came back, and how its frame is protected."""
    dsp = broker()
    octets = dsp.command(use_case.message_code, PPMID_EUI64, build_payload(payload), USER)
    (reply,) = device(None, use_case).receive(octets, EPOCH)
    assert isinstance(reply, Reply)
    response = dsp.receive(reply.frame)
    assert isinstance(response, Response)
    assert response.user == USER
    return response.payload, verify(parse_frame(reply.frame), issued())


def command(method: JoinMethod) -> JoinDevice:
    certificate = CERTIFICATE if method is JoinMethod.C else None
    return JoinDevice(method, METER, DeviceType.ESME, certificate)


@pytest.mark.parametrize("code", CODES)
def test_a_device_pairs_as_the_code_says_and_answers_as_it_was_asked(code: int) -> None:
    asked: list[JoinDevice] = []

    def join(given: JoinDevice) -> JoinResult:
        asked.append(given)
        return JoinResult.DEVICE_LOG_FULL

    payload, verdicts = ask(join_device(code, join), command(CODES[code]))
    assert payload.result is JoinResult.DEVICE_LOG_FULL
    assert asked == [command(CODES[code])]
    is_signed = code != CS03B_JOIN
    assert verdicts.signature is (Verdict.VALID if is_signed else Verdict.ABSENT)
    assert verdicts.mac is (Verdict.ABSENT if is_signed else Verdict.VALID)


@pytest.mark.parametrize("code", CODES)
def test_a_method_under_the_code_of_another_is_refused(code: int) -> None:
    for method in JoinMethod:
        if method is not CODES[code]:
            payload, _ = ask(join_device(code, lambda _: JoinResult.SUCCESS), command(method))
            expected = JoinResult.INVALID_MESSAGE_CODE_FOR_JOIN_METHOD_AND_ROLE
            assert payload.result is expected


def test_a_certificate_comes_with_method_c_and_only_with_it() -> None:
    use_case = join_device(CS03C_JOIN, lambda _: JoinResult.SUCCESS)
    payload, _ = ask(use_case, JoinDevice(JoinMethod.C, METER, DeviceType.GSME))
    assert payload.result is JoinResult.INVALID_OR_MISSING_CERTIFICATE
    use_case = join_device(CS03B_JOIN, lambda _: JoinResult.SUCCESS)
    payload, _ = ask(use_case, JoinDevice(JoinMethod.B, METER, DeviceType.GPF, CERTIFICATE))
    assert payload.result is JoinResult.INVALID_OR_MISSING_CERTIFICATE


def test_a_bridge_is_paired_with_nobody() -> None:
    payload, _ = ask(join_device(CS03A2_JOIN, refuse_join), command(JoinMethod.A_RESPONDER))
    assert payload.result is JoinResult.INVALID_JOIN_METHOD_AND_ROLE


@pytest.mark.parametrize("code", [CS04AC_UNJOIN, CS04B_UNJOIN])
def test_a_device_parts_from_another(code: int) -> None:
    asked: list[int] = []

    def unjoin(other: int) -> UnjoinResult:
        asked.append(other)
        return UnjoinResult.NOT_IN_DEVICE_LOG

    payload, verdicts = ask(unjoin_device(code, unjoin), UnjoinDevice(METER))
    assert payload.result is UnjoinResult.NOT_IN_DEVICE_LOG
    assert asked == [METER]
    assert verdicts.signature is (Verdict.VALID if code == CS04AC_UNJOIN else Verdict.ABSENT)


def test_a_device_lists_whom_it_is_paired_with() -> None:
    details = JoinDetails(JoinDetailsResult.SUCCESS, (JoinedDevice(METER, DeviceType.ESME),))
    payload, _ = ask(read_join_details(lambda: details), ReadJoinDetails())
    assert payload == details
    failed = JoinDetails(JoinDetailsResult.READ_FAILURE)
    payload, _ = ask(read_join_details(lambda: failed), ReadJoinDetails())
    assert payload == failed
    assert read_join_details(lambda: failed).message_code == CS07_READ_JOIN_DETAILS
    with pytest.raises(GbcsValueError):
        JoinDetails(JoinDetailsResult.SUCCESS)
