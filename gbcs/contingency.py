"""The contingency key: what is left when every other key is lost, the root's among them.

Source: RFC 5934 (TAMP), extension wrappedApexContinKey of a root's certificate; RFC 5649 (AES key
wrap with padding); GBCS use case CS02b, mode anyByContingency, whose control brings the symmetric
key. How the SMKI wraps it is not public: an option of this test SMKI (docs/open-points.md).

    ApexContingencyKey  SEQUENCE { wrapAlgorithm SEQUENCE { id-aes256-wrap-pad },
                                   wrappedContinPubKey OCTET STRING }
    what is wrapped     SubjectPublicKeyInfo of a P-256 key, 91 octets; wrapped, 104

Nobody can know the public key before the symmetric key is sent in clear, once.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.keywrap import (
    InvalidUnwrap,
    aes_key_unwrap_with_padding,
    aes_key_wrap_with_padding,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)
from cryptography.x509.oid import ObjectIdentifier

from gbcs.certificates import Certificate
from gbcs.protection import PrivateKey, PublicKey

WRAPPED_CONTINGENCY_KEY = ObjectIdentifier("1.3.6.1.5.5.7.1.20")
SYMMETRIC_KEY_OCTETS = 32
_WRAPPED_OCTETS = 104
# Lengths are always the same, so the whole of what stands before the wrapped key is.
_HEAD = bytes.fromhex("3077 300B 0609 608648016503040130 0468")


@dataclass(frozen=True, slots=True, repr=False)
class Contingency:
    """What is kept in the safe: the private key, and the key that shows the public one."""

    private_key: PrivateKey
    symmetric_key: bytes

    def extension(self) -> x509.UnrecognizedExtension:
        """The extension of a root's certificate."""
        public = self.private_key.public_key()
        info = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        wrapped = aes_key_wrap_with_padding(self.symmetric_key, info)
        return x509.UnrecognizedExtension(WRAPPED_CONTINGENCY_KEY, _HEAD + wrapped)


def contingency_key(root: Certificate, symmetric_key: bytes) -> PublicKey | None:
    """The contingency key of a root; None when it has none, or another key shows it."""
    extensions = x509.load_der_x509_certificate(root.der).extensions
    try:
        found = extensions.get_extension_for_oid(WRAPPED_CONTINGENCY_KEY).value
    except x509.ExtensionNotFound:
        return None
    assert isinstance(found, x509.UnrecognizedExtension)
    if len(found.value) != len(_HEAD) + _WRAPPED_OCTETS or not found.value.startswith(_HEAD):
        return None
    if len(symmetric_key) != SYMMETRIC_KEY_OCTETS:
        return None
    try:
        key = load_der_public_key(
            aes_key_unwrap_with_padding(symmetric_key, found.value[len(_HEAD) :])
        )
    except (InvalidUnwrap, ValueError):
        return None
    return key if isinstance(key, ec.EllipticCurvePublicKey) else None
