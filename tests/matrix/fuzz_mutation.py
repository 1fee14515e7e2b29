"""What a fuzz is made of: a subject that reads, and mutants of what it would read.

Source: ours, after Z-Fuzzer (DTRAP 2022): random octets are refused at the first check and reach
little, so every input is a valid one with one to three mutations.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Protocol

Wrap = Callable[[bytes], bytes]


class Subject(Protocol):
    """Something that reads, in some state."""

    def pick(self) -> tuple[bytes, Wrap]:
        """Something valid without what guards it, and how it gets that."""

    def feed(self, octets: bytes) -> None:
        """Read an input. Only what the subject's module promises to raise is caught here."""

    def check(self) -> None:
        """Something valid still has its effect."""


_EDGES = (0x00, 0x01, 0x7E, 0x7F, 0x80, 0xFE, 0xFF)


def mutate(rng: random.Random, octets: bytes) -> bytes:
    data = bytearray(octets)
    for _ in range(rng.randint(1, 3)):
        at = rng.randint(0, len(data))
        end = min(len(data), at + rng.randint(1, 4))
        match rng.randrange(7):
            case 0 if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                data[at:end] = bytes(rng.choice(_EDGES) for _ in range(end - at))
            case 2:
                data[at:end] = rng.randbytes(end - at)
            case 3:
                del data[at:end]
            case 4:
                data[at:at] = rng.randbytes(rng.randint(1, 8))
            case 5:
                data[at:at] = data[at : at + rng.randint(1, 32)]
            case _:
                del data[at:]
    return bytes(data)
