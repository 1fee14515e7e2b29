"""The XML signature of DUIS messages: one enveloped signature of one profile, made and checked.

Source: XML Signature Syntax and Processing (second edition) with the profile of DUIS, after the
signed sample responses of the DCC:

    CanonicalizationMethod    exclusive C14N 1.0, of SignedInfo
    SignatureMethod           ECDSA on P-256 with SHA-256, r || s in base64
    Reference                 one, URI "", with the single transform enveloped-signature
    DigestMethod              SHA-256
    KeyInfo                   X509Data with X509IssuerSerial: who signed, by serial number

The reference has no canonicalisation among its transforms, so that the octets digested are those of
*inclusive* C14N 1.0 (XML Signature 4.4.3.2): namespaces the root declares and nobody uses count.
Comments are left out of both forms. A signature says what is in the document, so there may be one
only, it must be a child of the root, and nothing may be in it that the profile does not have.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from copy import deepcopy
from hashlib import sha256
from hmac import compare_digest

from cryptography import x509
from lxml import etree

from dsp_stub.errors import DspValueError, DuisError, SignatureError, SignatureReason
from dsp_stub.fields import octets_from_xml, octets_to_xml
from dsp_stub.safe_xml import (
    DS,
    children,
    local_name,
    parse_xml,
    place_of,
    shorten,
    text_of,
    token,
)
from gbcs import protection
from gbcs.certificates import Certificate, Role
from gbcs.protection import KeyUse, PrivateKey

EXCLUSIVE_C14N = "http://www.w3.org/2001/10/xml-exc-c14n#"
ECDSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"
ENVELOPED_SIGNATURE = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
SHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"

THING = "XML signature"
_SIGNATURE = f"{{{DS}}}Signature"
_SERIAL = re.compile(r"[0-9]{1,60}")

# Every element of a signature: name, attributes, and what is in it in order. A leaf has text, one
# with an Algorithm nothing at all.
_Shape = tuple[str, dict[str, str], tuple["_Shape", ...]]
_PROFILE: _Shape = (
    "Signature",
    {},
    (
        (
            "SignedInfo",
            {},
            (
                ("CanonicalizationMethod", {"Algorithm": EXCLUSIVE_C14N}, ()),
                ("SignatureMethod", {"Algorithm": ECDSA_SHA256}, ()),
                (
                    "Reference",
                    {"URI": ""},
                    (
                        (
                            "Transforms",
                            {},
                            (("Transform", {"Algorithm": ENVELOPED_SIGNATURE}, ()),),
                        ),
                        ("DigestMethod", {"Algorithm": SHA256}, ()),
                        ("DigestValue", {}, ()),
                    ),
                ),
            ),
        ),
        ("SignatureValue", {}, ()),
        (
            "KeyInfo",
            {},
            (
                (
                    "X509Data",
                    {},
                    (
                        (
                            "X509IssuerSerial",
                            {},
                            (("X509IssuerName", {}, ()), ("X509SerialNumber", {}, ())),
                        ),
                    ),
                ),
            ),
        ),
    ),
)


# -- making ------------------------------------------------------------------------------------


def sign(document: bytes, key: PrivateKey, certificate: Certificate) -> bytes:
    """The document with a signature as the last child of its root, in the place of one it had.

    The same document and key give the same octets. Raises DuisError for what is no XML or has a
    signature where none may be.
    """
    if key.public_key().public_numbers() != certificate.public_key.public_numbers():
        raise DspValueError("the private key is not that of the certificate")
    if not signs_xml(certificate):
        raise DspValueError("the certificate is none that signs XML")
    root = parse_xml(document)
    signatures = list(root.iter(_SIGNATURE))
    if signatures:
        _detach(_only(root, signatures))
    tree = root.getroottree()
    digest = sha256(_canonical(tree)).digest()
    signature = _build(root, _PROFILE)
    leaves = {local_name(leaf): leaf for leaf in signature.iter()}
    leaves["DigestValue"].text = octets_to_xml(digest)
    issuer = x509.load_der_x509_certificate(certificate.der).issuer
    leaves["X509IssuerName"].text = issuer.rfc4514_string()
    leaves["X509SerialNumber"].text = str(certificate.serial)
    value = protection.sign(_canonical_signed_info(leaves["SignedInfo"]), key)
    leaves["SignatureValue"].text = octets_to_xml(value)
    octets: bytes = etree.tostring(
        tree, encoding="UTF-8", xml_declaration=True, standalone=tree.docinfo.standalone
    )
    return octets


def _build(parent: etree._Element, shape: _Shape) -> etree._Element:
    name, attributes, inner = shape
    element = etree.SubElement(parent, f"{{{DS}}}{name}", attributes, nsmap={"ds": DS})
    for each in inner:
        _build(element, each)
    return element


# -- checking ----------------------------------------------------------------------------------


def verify(root: etree._Element, find: Callable[[int], Certificate | None]) -> Certificate:
    """The certificate a document is signed with. `find` knows certificates by serial number.

    Raises SignatureError. The tree is not changed.
    """
    if root.getparent() is not None:
        raise _refused(root, "is not the root of its document", SignatureReason.PROFILE)
    signature = _only(root, list(root.iter(_SIGNATURE)))
    _require_profile(signature, _PROFILE)
    leaves = {local_name(leaf): leaf for leaf in signature.iter(f"{{{DS}}}*")}
    certificate = _certificate(leaves["X509SerialNumber"], find)
    digest, value = (
        _octets(leaves["DigestValue"], SignatureReason.DIGEST),
        _octets(leaves["SignatureValue"], SignatureReason.VALUE),
    )
    if not compare_digest(digest, sha256(_canonical(_without_signature(root))).digest()):
        raise _refused(
            leaves["DigestValue"], "is not the digest of the document", SignatureReason.DIGEST
        )
    signed = _canonical_signed_info(leaves["SignedInfo"])
    if not protection.is_signed(value, signed, certificate.public_key):
        problem = f"is no signature of the certificate with serial number {certificate.serial}"
        raise _refused(leaves["SignatureValue"], problem, SignatureReason.VALUE)
    return certificate


def xml_role(certificate: Certificate) -> Role | None:
    """For whom a certificate signs XML: a user, or the DSP. None when it is for something else."""
    return certificate.role if certificate.use is KeyUse.XML_SIGNATURE else None


def signs_xml(certificate: Certificate) -> bool:
    return xml_role(certificate) is not None


def _only(root: etree._Element, signatures: list[etree._Element]) -> etree._Element:
    """The one signature of a document, which is a child of its root."""
    if not signatures:
        problem = "has no signature"
        raise SignatureError(THING, "the document", problem, SignatureReason.NO_SIGNATURE)
    signature = signatures[0]
    if len(signatures) > 1:
        problem = f"is one of {len(signatures)} signatures, there may be one"
        raise _refused(signatures[1], problem, SignatureReason.TWO_SIGNATURES)
    if signature.getparent() is not root:
        raise _refused(signature, "is not a child of the root", SignatureReason.PROFILE)
    return signature


def _require_profile(element: etree._Element, shape: _Shape) -> None:
    name, attributes, inner = shape
    if element.tag != f"{{{DS}}}{name}":
        raise _refused(element, f"is where the profile has {name}", SignatureReason.PROFILE)
    if dict(element.attrib) != attributes:
        wanted = ", ".join(f"{key} {value!r}" for key, value in attributes.items()) or "none"
        raise _refused(element, f"has other attributes than {wanted}", SignatureReason.PROFILE)
    there = list(children(element))
    if len(there) != len(inner):
        names = ", ".join(each[0] for each in inner) or "nothing"
        problem = f"has {len(there)} elements, the profile has {names}"
        raise _refused(element, problem, SignatureReason.PROFILE)
    is_leaf = not inner and "Algorithm" not in attributes
    if not is_leaf and token(element):
        raise _refused(element, "has text between its elements", SignatureReason.PROFILE)
    for one, expected in zip(there, inner, strict=True):
        _require_profile(one, expected)


def _certificate(element: etree._Element, find: Callable[[int], Certificate | None]) -> Certificate:
    text = token(element)
    if not _SERIAL.fullmatch(text):
        problem = f"is {shorten(text)!r}, not a serial number"
        raise _refused(element, problem, SignatureReason.NO_CERTIFICATE)
    certificate = find(int(text))
    if certificate is None:
        problem = f"{text} is of no certificate that is known"
        raise _refused(element, problem, SignatureReason.NO_CERTIFICATE)
    if not signs_xml(certificate):
        problem = f"{text} is of a certificate that signs no XML"
        raise _refused(element, problem, SignatureReason.NO_CERTIFICATE)
    return certificate


def _octets(element: etree._Element, reason: SignatureReason) -> bytes:
    try:
        return octets_from_xml(text_of(element))
    except DuisError:
        raise _refused(element, "is not base64", reason) from None


def _refused(element: etree._Element, problem: str, reason: SignatureReason) -> SignatureError:
    return SignatureError(THING, place_of(element), problem, reason)


def certificates_by_serial(
    certificates: Iterable[Certificate],
) -> Callable[[int], Certificate | None]:
    """A `find` for `verify` that knows these certificates."""
    known = {certificate.serial: certificate for certificate in certificates}
    return known.get


# -- canonical forms ---------------------------------------------------------------------------


def _without_signature(root: etree._Element) -> etree._ElementTree:
    """A copy of the whole document as the enveloped-signature transform leaves it."""
    tree = deepcopy(root.getroottree())
    _detach(tree.getroot().find(_SIGNATURE))
    return tree


def _detach(element: etree._Element) -> None:
    """Take an element out of its parent and leave the text that follows it there."""
    parent, before = element.getparent(), element.getprevious()
    if element.tail:
        if before is None:
            parent.text = (parent.text or "") + element.tail
        else:
            before.tail = (before.tail or "") + element.tail
    parent.remove(element)


def _canonical(tree: etree._ElementTree) -> bytes:
    """Inclusive C14N 1.0 of a document, processing instructions beside its root too."""
    return _c14n(tree, exclusive=False)


def _canonical_signed_info(element: etree._Element) -> bytes:
    return _c14n(element, exclusive=True)


def _c14n(what: etree._Element | etree._ElementTree, *, exclusive: bool) -> bytes:
    try:
        octets: bytes = etree.tostring(
            what, method="c14n", exclusive=exclusive, with_comments=False
        )
    except etree.LxmlError:
        # Canonical XML 1.0, 1.3: a document with a relative namespace URI has none.
        problem = "has no canonical form: a namespace in it is no absolute URI"
        raise SignatureError(THING, "the document", problem, SignatureReason.PROFILE) from None
    return octets
