"""All chance of a run, derived from one number.

Source: DESIGN, "Time and chance" (repeatable): a seed is SHA-256(root, stream name), one stream per
medium, fault and device; draws use `getrandbits` alone.

    seed of a stream = SHA-256( root as unsigned 64-bit little-endian | stream name in UTF-8 )

read as one little-endian integer, which seeds a Mersenne Twister. `getrandbits` is the one draw
whose result every CPython has kept since 3.2; the others were changed, and may be again.
"""

from __future__ import annotations

from hashlib import sha256
from random import Random

ROOT_MAX = 2**64 - 1

# The first and last PAN ids a network may have: 0xFFFF is broadcast, 0xFFFE "no short address".
_PAN_IDS = (0x0001, 0xFFFD)


class SeedError(ValueError):
    """The caller asked for a root, a stream or a draw that cannot be."""


class Seeds:
    """The streams of one run, by name. Streams of different names have nothing to do with each
    other, and asking for a name twice gives the same stream from its start."""

    def __init__(self, root: int) -> None:
        if not 0 <= root <= ROOT_MAX:
            raise SeedError(f"seed {root} is not a number from 0 to {ROOT_MAX}")
        self.root = root
        self._prefix = root.to_bytes(8, "little")

    def stream(self, name: str) -> Random:
        """A generator of its own; draw from it with `getrandbits` only."""
        if not name:
            raise SeedError("a stream needs a name")
        digest = sha256(self._prefix + name.encode()).digest()
        return Random(int.from_bytes(digest, "little"))

    def derive(self, name: str, octets: int) -> bytes:
        """The first octets of a stream: a key, a serial number."""
        if octets < 1:
            raise SeedError(f"stream {name!r} was asked for {octets} octets")
        return self.stream(name).getrandbits(8 * octets).to_bytes(octets, "little")

    def integer(self, name: str, low: int, high: int) -> int:
        """A number from `low` to `high`, both included, none likelier than another."""
        if high < low:
            raise SeedError(f"stream {name!r} was asked for a number from {low} to {high}")
        getrandbits = self.stream(name).getrandbits
        span = high - low
        while (draw := getrandbits(span.bit_length())) > span:
            pass
        return low + draw

    # -- what a network is formed with -----------------------------------------------------

    def network_key(self, network: str = "han") -> bytes:
        return self.derive(f"network key {network}", 16)

    def pan_id(self, network: str = "han") -> int:
        return self.integer(f"PAN id {network}", *_PAN_IDS)

    def extended_pan_id(self, network: str = "han") -> bytes:
        """8 octets, most significant first; neither all zeros nor all ones (both are reserved)."""
        return self.integer(f"extended PAN id {network}", 1, 2**64 - 2).to_bytes(8, "big")

    def install_code(self, eui64: int) -> bytes:
        """The 16 octets of a device's install code, without the CRC that follows them."""
        return self.derive(f"install code {eui64:016X}", 16)
