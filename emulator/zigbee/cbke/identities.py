"""Identities of devices: made by an authority of the bench's own, kept in a stick's state.

Source: Smart Energy profile 07-5356, annex C; Silicon Labs UG100 (savePreinstalledCbkeData and
setPreinstalledCbkeData, which do the same from a host). TEST ONLY: whoever knows the seed knows
every key.
"""

from __future__ import annotations

from collections.abc import Callable

from emulator.zigbee.cbke.binary_curve import GetRandBits
from emulator.zigbee.cbke.ecqv import CertificateAuthority, Identity, create_authority
from emulator.zigbee.cbke.suites import SUITES, Suite
from emulator.zigbee.state import StackState, StoredIdentity

TEST_ISSUER = 0x48414E42454E4348
"""The name of the bench's authorities: "HANBENCH"."""

Stream = Callable[[str], GetRandBits]
"""A seeded stream of random bits by its name."""


class TestAuthorities:
    """One authority for each suite, and as many devices as are wanted; the same from each seed."""

    __test__ = False  # it is no test of pytest's

    def __init__(self, stream: Stream, *, issuer: int = TEST_ISSUER) -> None:
        self._stream = stream
        self.by_suite: dict[int, CertificateAuthority] = {
            bit: create_authority(suite, issuer, stream(f"ZSE authority {suite.name}"))
            for bit, suite in SUITES.items()
        }

    def issue(self, suite: Suite, eui64: int, *, valid_from_s: int = 0) -> Identity:
        """The identity of one device; asking again gives the same one."""
        stream = self._stream(f"ZSE identity {suite.name} {eui64:016X}")
        return self.by_suite[suite.bit].issue(eui64, stream, valid_from_s=valid_from_s)

    def install(self, state: StackState, *, valid_from_s: int = 0) -> None:
        """Give a stick an identity of each suite, in its own name."""
        for suite in SUITES.values():
            install_identity(state, self.issue(suite, state.eui64, valid_from_s=valid_from_s))


def install_identity(state: StackState, identity: Identity) -> None:
    """Put an identity into a stick's state, over the one it had of that suite; the caller saves."""
    bit = identity.suite.bit
    state.identities = [kept for kept in state.identities if kept.suite != bit]
    state.identities.append(
        StoredIdentity(bit, identity.certificate, identity.private_key, identity.ca_public_key)
    )


def identity_of(state: StackState, suite: Suite) -> Identity | None:
    """The identity of one suite in a stick's state, None if there is none."""
    for kept in state.identities:
        if kept.suite == suite.bit:
            return Identity(suite, kept.certificate, kept.private_key, kept.ca_public_key)
    return None
