"""The cryptographic engine of a stick: key establishment and signatures, one operation at a time.

Source: Silicon Labs UG100, chapter 10 (certificate-based key exchange); Smart Energy profile
07-5356, annex C. The answer to an operation says that it has begun; what came of it is an event,
`delay_us` later.

    temporary data         operation           then                     event
    ---------------------  ------------------  -----------------------  --------------------------
    any                    generate_keys       ephemeral keys           CbkeKeys
    ephemeral keys         calculate_smacs     and an agreement         CbkeSmacs
    any                    clear(store)        none                     the key is stored, or not
    any                    sign, verify        the same                 MessageSigned, …Verified

Identities (certificate, private key, authority's key; one a suite) are durable, the rest is not.
"""

from __future__ import annotations

from emulator.zigbee.cbke import ecdsa
from emulator.zigbee.cbke.ecmqv import Agreement, agree
from emulator.zigbee.cbke.ecqv import Identity, parse_certificate, reconstruct_public_key
from emulator.zigbee.cbke.errors import CbkeError
from emulator.zigbee.cbke.identities import identity_of, install_identity
from emulator.zigbee.cbke.suites import SUITE_163K1, KeyPair, Suite, generate_key_pair
from emulator.zigbee.events import (
    CbkeKeys,
    CbkeSmacs,
    Event,
    MessageSigned,
    SignatureVerified,
    Status,
)
from emulator.zigbee.security import mmo_hash
from emulator.zigbee.stack import Stack

CBKE_DELAY_US = 50_000
"""From an operation to its event. A microcontroller takes up to seconds; no host waits for that."""

SIGNATURE_TYPE_ECDSA = 0x01


class CbkeEngine:
    """What one stick computes, and its temporary data."""

    def __init__(self, stack: Stack, delay_us: int = CBKE_DELAY_US) -> None:
        self._stack = stack
        self._delay_us = delay_us
        self._busy = False
        self._ephemeral: tuple[Suite, KeyPair] | None = None
        self._agreed: tuple[Suite, int, Agreement] | None = None

    # -- identities ----------------------------------------------------------------------------

    def certificate(self, suite: Suite) -> bytes | None:
        """The own certificate of a suite, None if there is none."""
        identity = identity_of(self._stack.state, suite)
        return None if identity is None else identity.certificate

    def save_identity(
        self, suite: Suite, certificate: bytes, private_key: bytes, ca_public_key: bytes
    ) -> Status:
        """Keep an identity for good. Whether its parts belong together a stick does not look."""
        try:
            identity = Identity(suite, certificate, private_key, ca_public_key)
        except CbkeError:
            return Status.SECURITY_DATA_INVALID
        install_identity(self._stack.state, identity)
        self._stack.save()
        return Status.OK

    # -- key establishment ---------------------------------------------------------------------

    def generate_keys(self, suite: Suite) -> Status:
        """Draw an ephemeral key pair; CbkeKeys follows."""
        if self._busy:
            return Status.INVALID_CALL
        if identity_of(self._stack.state, suite) is None:
            return Status.FATAL
        pair = generate_key_pair(suite, self._stack.random_bits)
        self._ephemeral = suite, pair
        self._agreed = None
        return self._begin(CbkeKeys(suite.bit, Status.OK, pair.public_key))

    def calculate_smacs(
        self,
        suite: Suite,
        partner_certificate: bytes,
        partner_ephemeral_key: bytes,
        *,
        am_initiator: bool,
    ) -> Status:
        """Agree on a key with the partner; CbkeSmacs follows, a failure if it sent nonsense."""
        identity = identity_of(self._stack.state, suite)
        ephemeral = self._ephemeral
        if self._busy or ephemeral is None or ephemeral[0] is not suite or identity is None:
            return Status.INVALID_CALL
        try:
            agreement = agree(
                identity,
                ephemeral[1],
                partner_certificate,
                partner_ephemeral_key,
                am_initiator=am_initiator,
            )
        except CbkeError:
            return self._begin(CbkeSmacs(suite.bit, Status.SECURITY_DATA_INVALID, b"", b""))
        partner = parse_certificate(suite, partner_certificate).subject
        self._agreed = suite, partner, agreement
        smacs = agreement.initiator_smac, agreement.responder_smac
        return self._begin(CbkeSmacs(suite.bit, Status.OK, *smacs))

    def clear(self, suite: Suite, *, store: bool) -> Status:
        """Wipe temporary data; with `store` keep the agreed key as the link key of the partner."""
        stack = self._stack
        agreed, self._agreed = self._agreed, None
        self._ephemeral = None
        if not store or agreed is None or agreed[0] is not suite:
            return Status.FATAL  # UG100: always, where no link key is stored
        _, partner, agreement = agreed
        network = stack.state.network
        if (
            network is not None
            and partner == network.trust_center_eui64
            and not stack.is_trust_center
        ):
            stack.trust_center_link.replace_link_key(agreement.link_key)
            return Status.OK
        if not stack.state.put_link_key(partner, agreement.link_key):
            return Status.TABLE_FULL
        stack.aps.transient_keys.pop(partner, None)
        stack.aps.keys_changed()
        stack.save()
        return Status.OK

    # -- signatures ----------------------------------------------------------------------------

    def sign(self, message: bytes) -> Status:
        """Sign `message`, whose last octet tells how many at its beginning are not covered; 01 for
        ECDSA and the signature of suite 1 take its place. MessageSigned follows.
        """
        identity = identity_of(self._stack.state, SUITE_163K1)
        if self._busy or not message:
            return Status.INVALID_CALL
        if identity is None:
            return Status.FATAL
        uncovered = message[-1]
        digest = mmo_hash(message[uncovered:-1])
        signature = ecdsa.sign(SUITE_163K1, identity.private_key, digest)
        signed = message[:-1] + bytes((SIGNATURE_TYPE_ECDSA,)) + signature
        return self._begin(MessageSigned(Status.OK, signed))

    def verify(self, suite: Suite, digest: bytes, certificate: bytes, signature: bytes) -> Status:
        """Whether the subject of `certificate` signed `digest`; SignatureVerified follows."""
        identity = identity_of(self._stack.state, suite)
        if self._busy:
            return Status.INVALID_CALL
        if identity is None:
            return Status.FATAL
        try:
            signer = reconstruct_public_key(suite, certificate, identity.ca_public_key)
            good = ecdsa.verify(suite, signer, digest, signature)
        except CbkeError:
            good = False
        return self._begin(
            SignatureVerified(Status.OK if good else Status.SIGNATURE_VERIFY_FAILURE)
        )

    # -- time ----------------------------------------------------------------------------------

    def _begin(self, event: Event) -> Status:
        self._busy = True
        clock = self._stack.clock
        clock.call_at_us(clock.now_us() + self._delay_us, self._end, event)
        return Status.OPERATION_IN_PROGRESS

    def _end(self, event: Event) -> None:
        self._busy = False
        self._stack.on_event(event)
