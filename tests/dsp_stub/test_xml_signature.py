"""XML signatures: what the DCC signed, what we sign, and what nobody may get past them."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from hashlib import sha256
from pathlib import Path
from xml.etree import ElementTree

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import load_der_x509_certificate
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree
from xml_rig import credential, document, find, request

from dsp_stub.errors import DspValueError, DuisError, SignatureError, SignatureReason
from dsp_stub.requests import parse_request
from dsp_stub.safe_xml import DS, SR, parse_xml
from dsp_stub.schema import SchemaProfile
from dsp_stub.xml_signature import certificates_by_serial, sign, verify, xml_role
from gbcs.certificates import Certificate, Role
from gbcs.protection import KeyUse, is_signed
from gbcs.smki import ACB_EUI64, SUPPLIER_EUI64

XMLSEC = shutil.which("xmlsec1")
SIGNED_SAMPLES = ("read-inventory-response-5.4.xml", "readfw-response.xml")


def signed(octets: bytes | None = None, eui64: int = SUPPLIER_EUI64) -> bytes:
    by = credential(eui64)
    return sign(document() if octets is None else octets, by.private_key, by.certificate)


def refused(
    octets: bytes,
    reason: SignatureReason,
    lookup: Callable[[int], Certificate | None] = find,
) -> SignatureError:
    with pytest.raises(SignatureError) as caught:
        verify(parse_xml(octets), lookup)
    assert caught.value.reason is reason, caught.value
    return caught.value


def changed(old: bytes, new: bytes, octets: bytes | None = None) -> bytes:
    octets = signed() if octets is None else octets
    assert octets.count(old) == 1
    return octets.replace(old, new)


# -- what the DCC signed -----------------------------------------------------------------------


@pytest.mark.parametrize("name", SIGNED_SAMPLES)
def test_a_published_response_verifies(
    name: str, samples: dict[str, bytes], published_signers: tuple[Certificate, ...]
) -> None:
    lookup = certificates_by_serial(published_signers)
    root = parse_xml(samples[name])
    before = etree.tostring(root.getroottree())
    assert verify(root, lookup).eui64 == ACB_EUI64
    assert etree.tostring(root.getroottree()) == before


def test_an_early_certificate_with_its_role_in_decimal_signs_xml(
    published_signers: tuple[Certificate, ...],
) -> None:
    assert published_signers[2].use is KeyUse.XML_SIGNATURE, "it must never verify a frame"
    roles = [xml_role(certificate) for certificate in published_signers]
    assert roles == [Role.DSP_XML_SIGN] * 3 + [Role.XML_SIGN]
    assert xml_role(credential(use=KeyUse.DIGITAL_SIGNATURE).certificate) is None
    assert xml_role(credential(use=KeyUse.KEY_AGREEMENT).certificate) is None


CHANGES = {
    "value": (rb"<sr:ResponseCode>I0<", rb"<sr:ResponseCode>I1<", SignatureReason.DIGEST),
    "white space": (rb"</sr:Header>", rb"</sr:Header> ", SignatureReason.DIGEST),
    "namespace": (rb" xmlns:ns3=", rb" xmlns:ns4=", SignatureReason.DIGEST),
    "attribute": (rb'schemaVersion="5', rb'schemaVersion="6', SignatureReason.DIGEST),
    "sibling": (rb"</sr:Body>", rb"</sr:Body><sr:Body/>", SignatureReason.DIGEST),
    "digest": (rb"<ds:DigestValue>.", rb"<ds:DigestValue>A", SignatureReason.DIGEST),
    "serial": (rb"SerialNumber>\d", rb"SerialNumber>9", SignatureReason.NO_CERTIFICATE),
    "signature value": (rb"SignatureValue>..", rb"SignatureValue>AA", SignatureReason.VALUE),
    "moved root": (
        rb"(<sr:Response .*</sr:Response>)",
        rb"<a>\1</a>",
        SignatureReason.PROFILE,
    ),
}


@pytest.mark.parametrize("name", SIGNED_SAMPLES)
@pytest.mark.parametrize("change", CHANGES)
def test_a_published_response_with_one_change_does_not_verify(
    change: str,
    name: str,
    samples: dict[str, bytes],
    published_signers: tuple[Certificate, ...],
) -> None:
    pattern, replacement, reason = CHANGES[change]
    octets, count = re.subn(pattern, replacement, samples[name], count=1, flags=re.DOTALL)
    assert count == 1
    assert octets != samples[name]
    refused(octets, reason, certificates_by_serial(published_signers))


def test_a_comment_is_no_change(
    samples: dict[str, bytes], published_signers: tuple[Certificate, ...]
) -> None:
    octets = samples[SIGNED_SAMPLES[0]].replace(b"<sr:Body>", b"<!-- a --><sr:Body><!-- b -->")
    verify(parse_xml(octets), certificates_by_serial(published_signers))


def test_a_template_with_placeholders_does_not_verify(templates: dict[str, bytes]) -> None:
    certificate = credential().certificate
    for octets in templates.values():
        refused(octets, SignatureReason.NO_CERTIFICATE)
        refused(octets, SignatureReason.DIGEST, lambda _serial: certificate)


def test_an_unsigned_rejection_has_no_signature(samples: dict[str, bytes]) -> None:
    refused(samples["acknowledgement-error.xml"], SignatureReason.NO_SIGNATURE)


# -- what we sign ------------------------------------------------------------------------------


def test_what_we_sign_verifies_and_says_the_same() -> None:
    octets = signed()
    root = parse_xml(octets)
    assert verify(root, find) == credential().certificate
    assert parse_request(root, SchemaProfile.MP170) == request()
    assert local_names(root)[-1] == "Signature"


def local_names(root: etree._Element) -> list[str]:
    return [etree.QName(one).localname for one in root]


def test_the_same_document_and_key_give_the_same_octets() -> None:
    assert signed() == signed()
    assert signed() != signed(eui64=ACB_EUI64)


def test_signing_again_replaces_the_signature() -> None:
    once = signed()
    assert signed(once) == once
    other = parse_xml(signed(once, ACB_EUI64))
    assert verify(other, find).eui64 == ACB_EUI64


def test_a_signed_template_is_otherwise_as_it_was_written(templates: dict[str, bytes]) -> None:
    for octets in templates.values():
        root = parse_xml(signed(octets))
        verify(root, find)
        before = parse_xml(octets)
        for tree in (root, before):
            tree.remove(tree.find(f"{{{DS}}}Signature"))
        assert etree.tostring(root).split() == etree.tostring(before).split()
        assert dict(root.nsmap) == dict(before.nsmap)


def test_comments_instructions_and_cdata_are_kept_and_the_latter_two_signed() -> None:
    octets = document().replace(b"?>\n", b"?>\n<?before a?><!-- b -->", 1)
    octets = octets.replace(b"<sr:Body>", b"<!-- c --><sr:Body>").replace(
        b"8.2</sr:ServiceReference>", b"8.<![CDATA[2]]></sr:ServiceReference>"
    )
    once = signed(octets + b"<?after d?>\n")
    for kept in (b"<?before a?>", b"<!-- b -->", b"<!-- c -->", b"<![CDATA[2]]>", b"<?after d?>"):
        assert kept in once
    verify(parse_xml(once), find)
    verify(parse_xml(once.replace(b"<!-- c -->", b"")), find)
    for instruction in (b"<?before a?>", b"<?after d?>"):
        refused(once.replace(instruction, b""), SignatureReason.DIGEST)


def test_a_signature_value_wrapped_in_lines_verifies() -> None:
    root = parse_xml(signed())
    value = root.find(f".//{{{DS}}}SignatureValue")
    value.text = f"\r\n{value.text[:76]}\r\n{value.text[76:]}\r\n"
    octets = etree.tostring(root)
    assert b"&#13;" in octets
    verify(parse_xml(octets), find)


def test_only_a_certificate_for_xml_signs() -> None:
    frames = credential(use=KeyUse.DIGITAL_SIGNATURE)
    with pytest.raises(DspValueError, match="none that signs XML"):
        sign(document(), frames.private_key, frames.certificate)
    with pytest.raises(DspValueError, match="not that of the certificate"):
        sign(document(), frames.private_key, credential().certificate)
    refused(signed(), SignatureReason.NO_CERTIFICATE, lambda _serial: frames.certificate)


def test_another_certificate_under_the_serial_number_does_not_verify() -> None:
    refused(signed(), SignatureReason.VALUE, lambda _serial: credential(ACB_EUI64).certificate)


# -- witnesses that are not our code -----------------------------------------------------------


def independently_verified(octets: bytes, certificate: Certificate) -> bool:
    """With the standard library's C14N, which is the exclusive form: for the digest, what the root
    declares and nobody uses is put back."""
    text = octets.decode().partition("?>")[2].strip()
    match = re.search(r"<ds:Signature.*</ds:Signature>", text, re.DOTALL)
    assert match is not None
    info, digest, value = (
        re.search(pattern, match[0], re.DOTALL)
        for pattern in (
            r"<ds:SignedInfo.*</ds:SignedInfo>",
            r"<ds:DigestValue>(.*)</",
            r"<ds:SignatureValue>(.*)</",
        )
    )
    assert info is not None
    assert digest is not None
    assert value is not None
    signed_info = info[0].replace("<ds:SignedInfo", f'<ds:SignedInfo xmlns:ds="{DS}"')
    content = ElementTree.canonicalize(text.replace(match[0], ""))
    root = re.match(r"<sr:\w+[^>]*>", text)
    assert root is not None
    declared = sorted(re.findall(r'(xmlns:\w+)="([^"]*)"', root[0]))
    spaces = "".join(f' {name}="{uri}"' for name, uri in declared)
    content = content.replace(f' xmlns:sr="{SR}"', spaces, 1)
    return base64.b64decode(digest[1]) == sha256(content.encode()).digest() and is_signed(
        base64.b64decode(value[1].replace("&#13;", "")),
        ElementTree.canonicalize(signed_info).encode(),
        certificate.public_key,
    )


def test_the_standard_library_agrees() -> None:
    unused = b'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:sr='
    for octets in (document(), document().replace(b"xmlns:sr=", unused)):
        ours = signed(octets)
        assert independently_verified(ours, credential().certificate)
        assert not independently_verified(ours, credential(ACB_EUI64).certificate)
        altered = ours.replace(b">8.2<", b">8.3<")
        assert not independently_verified(altered, credential().certificate)


def test_the_standard_library_agrees_on_what_the_dcc_signed(
    samples: dict[str, bytes], published_signers: tuple[Certificate, ...]
) -> None:
    lookup = certificates_by_serial(published_signers)
    for name in SIGNED_SAMPLES:
        certificate = verify(parse_xml(samples[name]), lookup)
        assert independently_verified(samples[name], certificate)


def xmlsec(*arguments: str, xml: Path) -> subprocess.CompletedProcess[str]:
    assert XMLSEC is not None
    return subprocess.run(
        [XMLSEC, *arguments, str(xml)], capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.real_clock
@pytest.mark.skipif(XMLSEC is None, reason="xmlsec1 is not installed")
def test_xmlsec_verifies_what_we_sign(templates: dict[str, bytes], tmp_path: Path) -> None:
    pem = tmp_path / "signer.pem"
    certificate = load_der_x509_certificate(credential().certificate.der)
    pem.write_bytes(certificate.public_bytes(Encoding.PEM))
    xml = tmp_path / "signed.xml"
    instruction = document().replace(b"?>\n", b"?>\n<?before a?><!-- b -->", 1) + b"<?after c?>"
    for octets in (document(), instruction, *templates.values()):
        ours = signed(octets)
        xml.write_bytes(ours)
        result = xmlsec("--verify", "--pubkey-cert-pem", str(pem), xml=xml)
        assert result.returncode == 0, result.stderr
        altered = re.sub(rb"(RequestID>)9", rb"\g<1>8", ours, count=1)
        xml.write_bytes(altered)
        assert altered != ours
        assert xmlsec("--verify", "--pubkey-cert-pem", str(pem), xml=xml).returncode != 0


@pytest.mark.real_clock
@pytest.mark.skipif(XMLSEC is None, reason="xmlsec1 is not installed")
def test_we_verify_what_xmlsec_signs(templates: dict[str, bytes], tmp_path: Path) -> None:
    by = credential()
    key, xml, out = (tmp_path / name for name in ("key.pem", "template.xml", "signed.xml"))
    key.write_bytes(by.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    for octets in templates.values():
        octets = octets.replace(b"1234567890</ds:X509S", b"%d</ds:X509S" % by.certificate.serial)
        for value in (b"DigestValue", b"SignatureValue"):
            octets = octets.replace(b"<ds:%s>ZGVmYXVsdA==" % value, b"<ds:%s>" % value)
        xml.write_bytes(octets)
        result = xmlsec("--sign", "--privkey-pem", str(key), "--output", str(out), xml=xml)
        assert result.returncode == 0, result.stderr
        assert verify(parse_xml(out.read_bytes()), find) == by.certificate


# -- what nobody may get past it ---------------------------------------------------------------


def signature_of(root: etree._Element) -> etree._Element:
    return root.find(f"{{{DS}}}Signature")


def rebuilt(change: Callable[[etree._Element], etree._Element | None]) -> bytes:
    """A signed document after a change of its tree."""
    root = parse_xml(signed())
    result = change(root)
    octets: bytes = etree.tostring(root if result is None else result)
    return octets


def test_a_second_signature_is_refused() -> None:
    octets = rebuilt(lambda root: root.append(deepcopy(signature_of(root))))
    assert refused(octets, SignatureReason.TWO_SIGNATURES).place == "Request/Signature (line 1)"
    with pytest.raises(SignatureError, match="one of 2 signatures"):
        signed(octets)


def test_a_signature_that_is_not_a_child_of_the_root_is_refused() -> None:
    octets = rebuilt(lambda root: root[1].append(signature_of(root)))
    refused(octets, SignatureReason.PROFILE)
    with pytest.raises(SignatureError, match="not a child of the root"):
        signed(octets)


def test_the_signed_root_wrapped_in_another_is_refused() -> None:
    def wrap(root: etree._Element) -> etree._Element:
        outer = etree.Element(f"{{{SR}}}Request", schemaVersion="5.4", nsmap={"sr": SR})
        outer.append(root)
        return outer

    refused(rebuilt(wrap), SignatureReason.PROFILE)


def test_the_old_root_beside_a_forged_body_is_refused() -> None:
    def wrap(root: etree._Element) -> etree._Element:
        forged = deepcopy(root)
        forged.remove(signature_of(forged))
        forged.append(signature_of(root))
        forged.append(root)
        return forged

    refused(rebuilt(wrap), SignatureReason.DIGEST)


def test_the_old_root_in_an_object_of_the_signature_is_refused() -> None:
    def hide(root: etree._Element) -> etree._Element:
        forged = deepcopy(root)
        forged.find(f".//{{{SR}}}DeviceID").text = "00-DB-12-34-56-78-90-A5"
        original = deepcopy(root)
        original.remove(signature_of(original))
        etree.SubElement(signature_of(forged), f"{{{DS}}}Object").append(original)
        return forged

    refused(rebuilt(hide), SignatureReason.PROFILE)


def test_an_added_sibling_is_refused() -> None:
    octets = rebuilt(lambda root: root.insert(1, deepcopy(root[1])))
    refused(octets, SignatureReason.DIGEST)


def test_a_part_of_the_document_is_not_verified_as_the_whole() -> None:
    with pytest.raises(SignatureError, match="not the root of its document"):
        verify(parse_xml(signed())[0], find)


PROFILE_BREAKS = {
    "reference to a part": (b'URI=""', b'URI="#a"'),
    "reference to a file": (b'URI=""', b'URI="file:///etc/passwd"'),
    "reference with a type": (b'URI=""', b'URI="" Type="a"'),
    "inclusive signed info": (
        b"http://www.w3.org/2001/10/xml-exc-c14n#",
        b"http://www.w3.org/TR/2001/REC-xml-c14n-20010315",
    ),
    "weaker signature": (b"xmldsig-more#ecdsa-sha256", b"xmldsig-more#ecdsa-sha1"),
    "hmac with the public key": (
        b"http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256",
        b"http://www.w3.org/2000/09/xmldsig#hmac-sha1",
    ),
    "weaker digest": (b"http://www.w3.org/2001/04/xmlenc#sha256", DS.encode() + b"sha1"),
    "another transform": (b"#enveloped-signature", b"#base64"),
    "second transform": (
        b"</ds:Transforms>",
        b'<ds:Transform Algorithm="http://www.w3.org/TR/1999/REC-xpath-19991116"/></ds:Transforms>',
    ),
    "second reference": (b"</ds:SignedInfo>", b'<ds:Reference URI=""/></ds:SignedInfo>'),
    "identified": (b"<ds:SignedInfo>", b'<ds:SignedInfo Id="a">'),
    "key in it": (b"</ds:KeyInfo>", b"<ds:KeyName>a</ds:KeyName></ds:KeyInfo>"),
    "certificate in it": (
        b"</ds:X509Data>",
        b"<ds:X509Certificate>AA==</ds:X509Certificate></ds:X509Data>",
    ),
    "object": (b"</ds:Signature>", b"<ds:Object>a</ds:Object></ds:Signature>"),
    "text between": (b"<ds:SignedInfo>", b"a<ds:SignedInfo>"),
    "no serial number": (rb"<ds:X509SerialNumber>", rb"<ds:X509SerialName>"),
}


@pytest.mark.parametrize("name", PROFILE_BREAKS)
def test_a_signature_of_another_profile_is_refused(name: str) -> None:
    old, new = PROFILE_BREAKS[name]
    octets = changed(old, new)
    if name == "no serial number":
        octets = octets.replace(b"</ds:X509SerialNumber>", b"</ds:X509SerialName>")
    error = refused(octets, SignatureReason.PROFILE)
    assert error.place.startswith("Request/Signature")


@pytest.mark.parametrize("name", ["SignatureMethod", "X509Data", "SignatureValue"])
def test_a_signature_with_a_part_missing_is_refused(name: str) -> None:
    def drop(root: etree._Element) -> None:
        part = root.find(f".//{{{DS}}}{name}")
        part.getparent().remove(part)

    refused(rebuilt(drop), SignatureReason.PROFILE)


@pytest.mark.parametrize("serial", ["", "x", "-1", "1" * 5000, "0x10", "١"])
def test_a_serial_number_that_is_none_is_refused(serial: str) -> None:
    octets = re.sub(rb"(<ds:X509SerialNumber>)\d+", rb"\g<1>" + serial.encode(), signed(), count=1)
    error = refused(octets, SignatureReason.NO_CERTIFICATE)
    assert len(str(error)) < 300


@pytest.mark.parametrize(
    ("name", "reason"),
    [("DigestValue", SignatureReason.DIGEST), ("SignatureValue", SignatureReason.VALUE)],
)
@pytest.mark.parametrize("value", ["", "!", "AAAA", "é"])
def test_a_value_that_is_none_is_refused(name: str, reason: SignatureReason, value: str) -> None:
    octets = re.sub(f"<ds:{name}>[^<]*".encode(), f"<ds:{name}>{value}".encode(), signed())
    refused(octets, reason)


def test_a_text_cut_by_a_comment_is_read_whole_or_not_at_all() -> None:
    """A comment is not signed: what it seems to end must not end there for the reader."""
    octets = changed(b"78-90-A4<", b"78-90-<!-- -->A4<")
    root = parse_xml(octets)
    verify(root, find)
    assert parse_request(root, SchemaProfile.MP170) == request()


def test_a_namespace_without_a_canonical_form_is_refused_in_a_sentence() -> None:
    """The schema has nothing against a namespace that nobody uses."""
    octets = changed(b"<sr:Request ", b'<sr:Request xmlns:x="relative" ')
    parse_request(parse_xml(octets), SchemaProfile.MP170)
    assert "no canonical form" in str(refused(octets, SignatureReason.PROFILE))
    with pytest.raises(SignatureError, match="no canonical form"):
        signed(octets)


@pytest.mark.parametrize("uri", ["relative", "./a", "%zz", "a'b", "http://[", "#"])
@pytest.mark.parametrize("place", [b"<sr:Request ", b"<sr:Body", b"<ds:SignedInfo"])
def test_no_namespace_gets_past_as_anything_but_a_duis_error(uri: str, place: bytes) -> None:
    octets = changed(place, place + f' xmlns:x="{uri}" '.encode())
    with suppress(DuisError):
        verify(parse_xml(octets), find)
    with suppress(DuisError):
        signed(octets)


@given(st.data())
def test_no_changed_octet_of_a_signed_document_verifies_with_another_content(
    data: st.DataObject,
) -> None:
    octets = bytearray(signed())
    at = data.draw(st.integers(0, len(octets) - 1))
    octets[at] = data.draw(st.integers(0, 255))
    try:
        root = parse_xml(bytes(octets))
        verify(root, find)
        read = parse_request(root, SchemaProfile.MP170)
    except DuisError:
        return
    assert read == request()
