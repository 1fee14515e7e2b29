"""The published request templates, set to fit a home, signed by somebody else's signer, accepted.

Source of the templates: RTDS and duis-templates (Smart DCC Limited), read from outside the
repository; what is changed in them is ids, versions, metering points and the signature.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from command_rig import ESME, HUB, OTHER_HUB, PPMID, Bench, endpoint
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import load_der_x509_certificate
from dsp_rig import STRANGER, organisation, smi_device
from lxml import etree
from test_device_services import told_log

from dsp_stub import xml_signature
from dsp_stub.cpl import CplEntry, image_hash
from dsp_stub.fields import eui64_to_xml
from dsp_stub.firmware_requests import UpdateFirmware, UpdatePpmidFirmware
from dsp_stub.requests import parse_request, service_path
from dsp_stub.responses import parse_response
from dsp_stub.safe_xml import DS, SR, children, local_name, parse_xml
from dsp_stub.schema import SchemaProfile
from dsp_stub.smi import DeviceStatus, DeviceType
from firmware_images.image import read_image
from gbcs.certificates import parse_pem_certificate
from gbcs.protection import KeyUse
from gbcs.smki import ACB_EUI64, SUPPLIER_EUI64

XMLSEC = shutil.which("xmlsec1")
NEW_ESME = STRANGER + 1
# What is set in a template of each service: the child of the body's element, and its text.
LEAVING, UNWANTED = 0x00DB1234567890E1, 0x00DB1234567890E2  # for 8.3 and 8.4
SET: dict[str, dict[str, str]] = {
    "JoinServiceCritical": {"OtherDeviceID": eui64_to_xml(ESME)},
    "JoinServiceNonCritical": {"OtherDeviceID": eui64_to_xml(ESME)},
    "UnjoinServiceNonCritical": {"OtherDeviceID": eui64_to_xml(ESME)},
    "RestoreHANDeviceLog": {"OldCHFID": eui64_to_xml(HUB)},
    "UpdateFirmware": {"FirmwareVersion": "ACDCACDC"},
    "UpdatePPMIDFirmware": {"FirmwareVersion": "ACDCACDC"},
    "DevicePrenotification": {"DeviceID": eui64_to_xml(NEW_ESME)},
    "DecommissionDevice": {"DeviceID": eui64_to_xml(LEAVING)},
    "UpdateInventory": {"DeviceID": eui64_to_xml(UNWANTED)},
}
TARGETS = {"RestoreHANDeviceLog": OTHER_HUB}
EXPECTED = {"8.2": "I0"}


@pytest.fixture
def bench(vectors: Path) -> Bench:
    """A home in which the templates make sense."""
    bench = Bench()
    path = vectors / "keys" / f"{SUPPLIER_EUI64:016x}-ds.pem"
    bench.keys.add(parse_pem_certificate(path.read_bytes()))
    told_log(bench, endpoint(HUB, counter=4000))
    bench.store.connection.execute(
        "UPDATE devices SET manufacturer = '121D', model = '00001111' WHERE device_id = ?",
        (f"{ESME:016X}",),
    )
    bench.desk.inventory.set_status(
        PPMID, DeviceStatus.COMMISSIONED, date_commissioned="2026-01-01"
    )
    bench.store.connection.execute(
        "UPDATE premises SET secondary_import_mpan = '1312345678222' WHERE id = 1"
    )
    # Added with a secondary MPAN, which only a twin element meter has.
    bench.desk.inventory.add(
        smi_device(
            STRANGER, device_type=DeviceType.ESME, status=DeviceStatus.PENDING, chf=None,
            premises=None, ppmid_variant=None, esme_variant="BD",
        )
    )  # fmt: skip
    for device, status, since in (
        (LEAVING, DeviceStatus.COMMISSIONED, "2026-01-01"),
        (UNWANTED, DeviceStatus.PENDING, None),
    ):
        bench.desk.inventory.add(
            smi_device(
                device, device_type=DeviceType.ESME, status=status, chf=None, premises=None,
                ppmid_variant=None, esme_variant="AD", prenotified_by=SUPPLIER_EUI64,
                date_commissioned=since,
            )
        )  # fmt: skip
    entries = [(DeviceType.ESME, "AB01", "010A030B", "0002012F", "SMETS V1.58", None)]
    for name, kind, model in (
        ("11.1_UPDATE_FIRMWARE_SAMPLE.ota", DeviceType.ESME, "00001111"),
        ("11.4_UPDATE_PPMID_FIRMWARE_SAMPLE.ota", DeviceType.PPMID, "00841111"),
    ):
        image = read_image((vectors / "duis" / name).read_bytes())
        entries.append((kind, "121D", model, "ACDCACDC", "any", image_hash(image)))
    for kind, manufacturer, model, version, smets, digest in entries:
        bench.desk.cpl.add(
            CplEntry(
                device_type=kind, manufacturer=manufacturer, model=model,
                firmware_version=version, smets_chts_version=smets, gbcs_version="4.1",
                image_hash=digest,
            )
        )  # fmt: skip
    return bench


def fitted(octets: bytes, counter: int) -> bytes:
    """A template with ids and versions of this home, its signature waiting to be filled in."""
    root = etree.fromstring(octets, etree.XMLParser(remove_comments=True))
    element = next(children(root.find(f"{{{SR}}}Body")))
    name = local_name(element)
    for child, text in SET.get(name, {}).items():
        element.find(f"{{{SR}}}{child}").text = text
    if (
        name == "UpdateHANDeviceLog"
        and element.find(f"{{{SR}}}AddDeviceToCHFWhitelist") is not None
    ):
        element.find(f"{{{SR}}}DeviceID").text = eui64_to_xml(STRANGER)
    request_id = root.find(f"{{{SR}}}Header/{{{SR}}}RequestID")
    target = request_id.text.split(":")[1]
    if name in TARGETS:
        target = eui64_to_xml(TARGETS[name])
    request_id.text = f"{eui64_to_xml(SUPPLIER_EUI64)}:{target}:{counter}"
    serial = organisation(SUPPLIER_EUI64, KeyUse.XML_SIGNATURE)[0].serial
    root.find(f".//{{{DS}}}X509SerialNumber").text = str(serial)
    for value in ("DigestValue", "SignatureValue"):
        root.find(f".//{{{DS}}}{value}").text = None
    written: bytes = etree.tostring(root, xml_declaration=True, encoding="UTF-8")
    return written


def all_fitted(templates: dict[str, bytes]) -> dict[str, bytes]:
    return {
        name: fitted(octets, 1000 + number)
        for number, (name, octets) in enumerate(sorted(templates.items()))
    }


def test_a_template_set_to_fit_and_freshly_signed_is_accepted(
    bench: Bench, templates: dict[str, bytes]
) -> None:
    certificate, key = organisation(SUPPLIER_EUI64, KeyUse.XML_SIGNATURE)
    for name, octets in all_fitted(templates).items():
        post(bench, name, xml_signature.sign(octets, key, certificate))


@pytest.mark.real_clock
@pytest.mark.skipif(XMLSEC is None, reason="xmlsec1 is not installed")
def test_one_that_xmlsec_signed_is_accepted_and_xmlsec_verifies_the_answer(
    bench: Bench, templates: dict[str, bytes], tmp_path: Path
) -> None:
    key, pem, xml, out = (tmp_path / name for name in ("key", "pem", "in.xml", "out.xml"))
    private = organisation(SUPPLIER_EUI64, KeyUse.XML_SIGNATURE)[1]
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    dsp = load_der_x509_certificate(organisation(ACB_EUI64, KeyUse.XML_SIGNATURE)[0].der)
    pem.write_bytes(dsp.public_bytes(Encoding.PEM))
    for name, octets in all_fitted(templates).items():
        xml.write_bytes(octets)
        xmlsec("--sign", "--privkey-pem", key, "--output", out, xml)
        answer = post(bench, name, out.read_bytes())
        xml.write_bytes(answer)
        xmlsec("--verify", "--pubkey-cert-pem", pem, xml)


def xmlsec(*arguments: str | Path) -> None:
    assert XMLSEC is not None
    done = subprocess.run(
        [XMLSEC, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr


def post(bench: Bench, name: str, octets: bytes) -> bytes:
    request = parse_request(parse_xml(octets), SchemaProfile.MP170)
    reply = bench.door.post(service_path(request), octets)
    response = parse_response(parse_xml(reply))
    service = request.service_reference_variant
    is_transform = request.command_variant == 4
    expected = EXPECTED.get(service, "I0" if is_transform else "I99")
    assert response.response_code == expected, (name, response)
    return reply


def test_a_template_as_it_was_published_is_flagged_for_its_version(
    bench: Bench, templates: dict[str, bytes]
) -> None:
    """The element says 00000000, the header of the file ACDCACDC."""
    for prefix, kind, code in (
        ("11.1_", UpdateFirmware, "E110102"),
        ("11.4_", UpdatePpmidFirmware, "E110402"),
    ):
        (octets,) = [octets for name, octets in templates.items() if name.startswith(prefix)]
        body = parse_request(parse_xml(octets), SchemaProfile.MP170).body
        assert isinstance(body, kind)
        assert bench.code(body, ACB_EUI64, 8) == code
