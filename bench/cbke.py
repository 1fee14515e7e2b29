"""`cbke_agreement`: what a stick computes for one key establishment, on both curves.

Source: ours. One side of it: an ephemeral key pair is drawn, then, from the partner's certificate
and ephemeral key, the link key and both MACs come out, as generateCbkeKeys and calculateSmacs have
them; partners change, so that nothing is remembered from the one before. CPU time is what is
judged, against the 50 ms that a stick may take; the unit of the ratio is an ECDH over P-256, key
pair and exchange, by OpenSSL in the same process. Both sides' MACs are compared before anything is
measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from time import process_time

from cryptography.hazmat.primitives.asymmetric import ec

from bench.judge import Benchmark, BenchmarkError, Line, Measure
from emulator.zigbee.cbke.ecmqv import Agreement, agree
from emulator.zigbee.cbke.ecqv import Identity
from emulator.zigbee.cbke.identities import TestAuthorities
from emulator.zigbee.cbke.suites import SUITES, KeyPair, Suite, generate_key_pair

_PARTNERS = 10
_TOY_PARTNERS = 1
_EXCHANGES = 20
_LIMIT_MS = 50.0


class _Side:
    """A stick and those it has to agree with, one after the other."""

    def __init__(self, suite: Suite, partners: int) -> None:
        authorities = TestAuthorities(lambda name: Random(name).getrandbits)
        self._suite = suite
        self._random = Random(1)
        self._identity = authorities.issue(suite, 1)
        self._partners: list[tuple[Identity, KeyPair]] = [
            (authorities.issue(suite, 2 + number), self._draw()) for number in range(partners)
        ]
        identity, pair = self._partners[0]
        own = self._draw()
        theirs = agree(
            identity, pair, self._identity.certificate, own.public_key, am_initiator=False
        )
        if self._agree(own, identity, pair) != theirs:
            raise BenchmarkError(f"{suite.name}: the two sides do not agree")

    def _draw(self) -> KeyPair:
        return generate_key_pair(self._suite, self._random.getrandbits)

    def _agree(self, own: KeyPair, partner: Identity, pair: KeyPair) -> Agreement:
        certificate, point = partner.certificate, pair.public_key
        return agree(self._identity, own, certificate, point, am_initiator=True)

    def agree_with_all(self) -> None:
        for partner, pair in self._partners:
            self._agree(self._draw(), partner, pair)


def _exchange(peer: ec.EllipticCurvePublicKey) -> None:
    ec.generate_private_key(ec.SECP256R1()).exchange(ec.ECDH(), peer)


def _cpu_ms(call: Callable[[], object], times: int) -> float:
    """What one of the `times` things that `call` does costs."""
    began_s = process_time()
    call()
    return 1e3 * (process_time() - began_s) / times


def _prepare(toy: bool) -> Measure:
    partners = _TOY_PARTNERS if toy else _PARTNERS
    sides = {bit: _Side(suite, partners) for bit, suite in SUITES.items()}
    peer = ec.generate_private_key(ec.SECP256R1()).public_key()

    def exchanges() -> None:
        for _ in range(_EXCHANGES):
            _exchange(peer)

    def measure() -> Mapping[str, float]:
        unit_ms = _cpu_ms(exchanges, _EXCHANGES)
        figures = {"unit": unit_ms}
        for bit, side in sides.items():
            figures[f"ms {bit}"] = cost_ms = _cpu_ms(side.agree_with_all, partners)
            figures[f"ratio {bit}"] = cost_ms / unit_ms
        return figures

    return measure


def _lines(bit: int, suite: Suite) -> tuple[Line, Line]:
    return (
        Line(f"ms {bit}", f"ms of CPU: {suite.name}", at_most=_LIMIT_MS),
        Line(f"ratio {bit}", f"{suite.name} / ECDH over P-256"),
    )


CBKE_AGREEMENT = Benchmark(
    "cbke_agreement",
    "one side of a key establishment",
    (
        *(line for bit, suite in SUITES.items() for line in _lines(bit, suite)),
        Line("unit", "ms of CPU: ECDH over P-256"),
    ),
    _prepare,
)
