"""Key agreement: two devices with certificates of one authority come to a new link key.

Source: SEC 1 version 2.0, 3.4 (the associate value function) and 6.2 (ECMQV with cofactor); Smart
Energy profile 07-5356, annex C (key derivation, confirmation; worked examples in C.5 and C.6).

Each side has a static key d and an ephemeral one e, and learns of the other the certificate, which
gives Q', and the ephemeral point QE'. With h the cofactor and avf(P) the lower half of P's x under
a leading one:

    s        = e + avf(QE) d                          modulo the order
    Z        = x of h s (QE' + avf(QE') Q')
    MAC key  = MMO(Z, 00000001)                       the octets of all parts one behind the other
    link key = MMO(Z, 00000002)
    MACU     = HMAC-MMO(MAC key, 02, U, V, QEU, QEV)  of U, the initiator: sent to V
    MACV     = HMAC-MMO(MAC key, 03, V, U, QEV, QEU)  of V, the responder: sent to U

U and V in them are the EUI-64s of the certificates, most significant octet first. EZSP calls the
MACs SMACs (secured message authentication codes).
"""

from __future__ import annotations

from dataclasses import dataclass

from emulator.zigbee.cbke.binary_curve import KoblitzCurve, Point
from emulator.zigbee.cbke.ecqv import Identity, parse_certificate, reconstruct_point
from emulator.zigbee.cbke.errors import CbkeError
from emulator.zigbee.cbke.suites import KeyPair
from emulator.zigbee.security import hmac_mmo, mmo_hash

_MAC_KEY = b"\x00\x00\x00\x01"
_LINK_KEY = b"\x00\x00\x00\x02"
_FROM_INITIATOR = b"\x02"
_FROM_RESPONDER = b"\x03"


@dataclass(frozen=True, slots=True)
class Agreement:
    """What both sides know in the end; either sends its own MAC and compares the other's."""

    mac_key: bytes
    link_key: bytes
    initiator_smac: bytes
    responder_smac: bytes

    def __repr__(self) -> str:  # keys never reach a log
        return "Agreement(…)"


def agree(
    identity: Identity,
    ephemeral: KeyPair,
    partner_certificate: bytes,
    partner_ephemeral_key: bytes,
    *,
    am_initiator: bool,
) -> Agreement:
    """Everything of one side once the partner's octets are there, as calculateSmacs does it.

    Raises CbkeError for octets that are no certificate or no point.
    """
    secret = shared_secret(identity, ephemeral, partner_certificate, partner_ephemeral_key)
    own = identity.fields.subject
    partner = parse_certificate(identity.suite, partner_certificate).subject
    if am_initiator:
        u, v, qeu, qev = own, partner, ephemeral.public_key, partner_ephemeral_key
    else:
        u, v, qeu, qev = partner, own, partner_ephemeral_key, ephemeral.public_key
    return derive(secret, u, v, qeu, qev)


def shared_secret(
    identity: Identity,
    ephemeral: KeyPair,
    partner_certificate: bytes,
    partner_ephemeral_key: bytes,
) -> bytes:
    """Z. Raises CbkeError for a partner's octets that are no certificate or no point."""
    curve = identity.suite.curve
    partner_ephemeral = curve.decompress(partner_ephemeral_key, "partner's ephemeral key")
    partner_static = reconstruct_point(
        identity.suite, partner_certificate, identity.ca_public_key, "partner's certificate"
    )
    return ecmqv(
        curve,
        curve.scalar(identity.private_key),
        curve.scalar(ephemeral.private_key, "ephemeral private key"),
        curve.decompress(ephemeral.public_key, "ephemeral public key"),
        partner_static,
        partner_ephemeral,
    )


def ecmqv(
    curve: KoblitzCurve,
    static_secret: int,
    ephemeral_secret: int,
    ephemeral: Point,
    partner_static: Point,
    partner_ephemeral: Point,
) -> bytes:
    """Z from the keys themselves, all points of the subgroup.

    Raises CbkeError where there is none, which a partner can bring about on purpose only.
    """
    n = curve.order
    s = (ephemeral_secret + associate_value(curve, ephemeral) * static_secret) % n
    # As the points are of order n, the cofactor may go into the scalars.
    s = s * curve.cofactor % n
    agreed = curve.multiply_sum(
        (
            (s, partner_ephemeral),
            (s * associate_value(curve, partner_ephemeral) % n, partner_static),
        )
    )
    if agreed is None:
        raise CbkeError("partner's ephemeral key", "point", "cancels the static key")
    return agreed.x.to_bytes(curve.element_octets, "big")


def associate_value(curve: KoblitzCurve, point: Point) -> int:
    """avf(P): the lower half of x, as many bits as half the order has, under a leading one."""
    half = 1 << (curve.order.bit_length() + 1) // 2
    return point.x & half - 1 | half


def derive(secret: bytes, u: int, v: int, qeu: bytes, qev: bytes) -> Agreement:
    """Keys and MACs of the shared secret between initiator `u` and responder `v`."""
    mac_key = mmo_hash(secret + _MAC_KEY)
    u_octets, v_octets = u.to_bytes(8, "big"), v.to_bytes(8, "big")
    return Agreement(
        mac_key=mac_key,
        link_key=mmo_hash(secret + _LINK_KEY),
        initiator_smac=hmac_mmo(mac_key, _FROM_INITIATOR + u_octets + v_octets + qeu + qev),
        responder_smac=hmac_mmo(mac_key, _FROM_RESPONDER + v_octets + u_octets + qev + qeu),
    )
