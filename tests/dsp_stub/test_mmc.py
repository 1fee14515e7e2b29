"""The parsed form of versions read and of 0x8F8B."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from lxml import etree

from dsp_stub.mmc import parsed_items, parsed_view
from gbcs.axdr import DlmsResult
from gbcs.codes import (
    CS08_READ_FIRMWARE_VERSION,
    ECS52_READ_METER_VERSION,
    GCS38_READ_METER_VERSION,
    Payload,
    build_payload,
)
from gbcs.envelope import Cra, Frame, OtherInformation, build_frame
from gbcs.firmware import ActivateImageResult, FirmwareActivation, FirmwareVersion, ReadResult
from gbcs.meter_versions import GasMeterVersion, MeterVersion, VersionAttribute

NAMESPACES = 'xmlns:ra="http://www.dccinterface.co.uk/ResponseAndAlert"'
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
CS09_FIRMWARE_ACTIVATED = 0x012B


def framed(code: int, payload: Payload, cra: Cra = Cra.RESPONSE) -> bytes:
    return build_frame(
        Frame(
            cra=cra,
            originator_counter=1,
            originator=1,
            recipient=2,
            other_information=OtherInformation(code),
            payload=build_payload(payload),
            mac=bytes(12),
        )
    )


def test_a_published_answer_to_11_2(vectors: Path) -> None:
    path = vectors / "rtds" / "CS08_11.2_SUCCESS_RESPONSE_GBCS.HEX"
    body = parsed_view(bytes.fromhex(path.read_text(encoding="ascii")))
    assert body is not None
    assert etree.tostring(body, method="c14n").decode() == (
        f"<ra:Body {NAMESPACES}><ra:ResponseMessage><ra:SMETSData>"
        '<ra:ReadFirmwareVersionRsp MessageSuccess="true">'
        "<ra:FirmwareVersion>0123ABCD</ra:FirmwareVersion>"
        "</ra:ReadFirmwareVersionRsp></ra:SMETSData></ra:ResponseMessage></ra:Body>"
    )


@pytest.mark.parametrize(
    ("code", "payload", "version"),
    [
        (CS08_READ_FIRMWARE_VERSION, FirmwareVersion(0, ReadResult.READ_FAILURE), None),
        (ECS52_READ_METER_VERSION, MeterVersion(1, 0x00010200), "00010200"),
        (
            ECS52_READ_METER_VERSION,
            MeterVersion(1, result=DlmsResult.TEMPORARY_FAILURE),
            None,
        ),
        (GCS38_READ_METER_VERSION, GasMeterVersion(VersionAttribute(0, 0xABCDEF01)), "ABCDEF01"),
        (GCS38_READ_METER_VERSION, GasMeterVersion(VersionAttribute(0x86)), None),
    ],
)
def test_a_version_stands_with_success_and_only_with_it(
    code: int, payload: Payload, version: str | None
) -> None:
    body = parsed_view(framed(code, payload))
    assert body is not None
    success = ("ReadFirmwareVersionRsp@MessageSuccess", "false" if version is None else "true")
    read = [] if version is None else [("FirmwareVersion", version)]
    assert list(parsed_items(body)) == [success, *read]


@pytest.mark.parametrize(
    ("result", "outcome"),
    [
        (ActivateImageResult.ACTIVATION_SUCCESS, "activated"),
        (ActivateImageResult.ACTIVATION_FAILURE, "not activated"),
    ],
)
def test_8f8b_says_version_and_outcome(result: ActivateImageResult, outcome: str) -> None:
    alert = FirmwareActivation(NEW_YEAR, 0x00010200, result)
    body = parsed_view(framed(CS09_FIRMWARE_ACTIVATED, alert, Cra.ALERT))
    assert body is not None
    assert etree.tostring(body, method="c14n").decode() == (
        f"<ra:Body {NAMESPACES}><ra:DeviceAlertMessage><ra:DeviceAlertContent>"
        "<ra:GBCSHexAlertCode>8F8B</ra:GBCSHexAlertCode>"
        f"<ra:AlertDescription>Firmware 00010200 {outcome}</ra:AlertDescription>"
        "<ra:Timestamp>2026-01-01T00:00:00.000Z</ra:Timestamp>"
        "</ra:DeviceAlertContent></ra:DeviceAlertMessage></ra:Body>"
    )


def test_what_has_no_parsed_form_is_left_as_it_is(vectors: Path) -> None:
    command = vectors / "rtds" / "CS08_11.2_SUCCESS_COMMAND_GBCS.HEX"
    assert parsed_view(bytes.fromhex(command.read_text(encoding="ascii"))) is None
    assert parsed_view(b"\xdf") is None
    broken = framed(CS08_READ_FIRMWARE_VERSION, FirmwareVersion(1)).replace(
        b"\x30\x09", b"\x31\x09"
    )
    assert parsed_view(broken) is None
