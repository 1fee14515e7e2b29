"""GF(2^m), the field under the two curves of key establishment: numbers that add by XOR.

Source: SEC 1 version 2.0, 2.1.2 (polynomial basis); FIPS 186-4, D.1.3 (the two moduli).

An element is an int whose bit i is the coefficient of x^i. Python has no product without carries,
so multiplication takes a *wide* form: coefficient i sits alone in 9 bits from bit 9 i on. The
ordinary product of two wide numbers then counts, in each of its slots, how many pairs met there,
at most m < 512, and the lowest bit of each count is the coefficient over GF(2). Long runs of
multiplications stay wide; all else is quicker narrow.
"""

from __future__ import annotations

from collections.abc import Callable

SLOT_BITS = 9
# Octal has 3 bits a digit, so a slot is three digits of which the last tells all.
_SLOT_DIGITS = SLOT_BITS // 3

WideMultiply = Callable[[int, int], int]


def widen(element: int) -> int:
    """The wide form of an element: its binary digits read as octal ones spread it threefold."""
    return int(f"{int(f'{element:b}', 8):b}", 8)


def narrow(wide: int) -> int:
    """The element of a wide form."""
    return int(f"{wide:o}"[::-_SLOT_DIGITS][::-1], 2)


class BinaryField:
    """GF(2^`degree`) modulo x^`degree` plus x to each of the `taps`.

    `trace_bits` are the powers of x whose trace is 1. `multiply_wide(a, b)` is the product of two
    wide elements, wide.
    """

    def __init__(self, degree: int, taps: tuple[int, ...], trace_bits: tuple[int, ...]) -> None:
        if not degree < 1 << SLOT_BITS:
            raise ValueError(f"{degree} terms do not fit in a slot of {SLOT_BITS} bits")
        if not 0 < 2 * max(taps) < degree:
            raise ValueError("reduction is two folds, so that the taps lie in the lower half")
        self.degree = degree
        self.modulus = 1 << degree | sum(1 << tap for tap in taps)
        self.multiply_wide = _multiply_wide(degree, taps)
        self._low = (1 << degree) - 1
        self._taps = taps
        self._trace_mask = sum(1 << bit for bit in trace_bits)

    def holds(self, number: int) -> bool:
        """Whether `number` is an element."""
        return 0 <= number <= self._low

    def multiply(self, a: int, b: int) -> int:
        return narrow(self.multiply_wide(widen(a), widen(b)))

    def square(self, a: int) -> int:
        """a², which only spreads the bits: a's binary digits read in base 4."""
        product = int(f"{a:b}", 4)
        for _ in range(2):
            high = product >> self.degree
            product &= self._low
            for tap in self._taps:
                product ^= high << tap
        return product

    def inverse(self, a: int) -> int:
        """1/a, by Euclid's algorithm. Raises ZeroDivisionError for 0."""
        if not a:
            raise ZeroDivisionError("0 has no inverse")
        u, v = a, self.modulus
        g, h = 1, 0  # a g = u and a h = v, modulo the modulus
        while u != 1:
            shift = u.bit_length() - v.bit_length()
            if shift < 0:
                u, v, g, h = v, u, h, g
                shift = -shift
            u ^= v << shift
            g ^= h << shift
        return g

    def trace(self, a: int) -> int:
        """0 or 1: the sum of a, a², a⁴, … as far as they differ."""
        return (a & self._trace_mask).bit_count() & 1

    def solve_quadratic(self, c: int) -> int | None:
        """A z with z² + z = c, None where there is none; the other one is z + 1.

        It is the half-trace, c + c⁴ + c¹⁶ + …, which serves in a field of odd degree.
        """
        if self.trace(c):
            return None
        z = c
        for _ in range(self.degree // 2):
            z = self.square(self.square(z)) ^ c
        return z


def _multiply_wide(degree: int, taps: tuple[int, ...]) -> WideMultiply:
    shift = SLOT_BITS * degree
    low = (1 << shift) - 1
    product_mask = widen((1 << (2 * degree - 1)) - 1)
    mask = widen((1 << degree) - 1)
    fold = sum(1 << SLOT_BITS * tap for tap in taps)

    def multiply(a: int, b: int) -> int:
        # Two folds bring the upper half down. They add instead of XORing, for no slot overflows:
        # after the first it counts 1 + len(taps) at most, after the second that squared.
        product = a * b & product_mask
        product = (product & low) + (product >> shift) * fold
        return (product & low) + (product >> shift) * fold & mask

    return multiply


GF_2_163 = BinaryField(163, taps=(7, 6, 3, 0), trace_bits=(0, 157))
GF_2_283 = BinaryField(283, taps=(12, 7, 5, 0), trace_bits=(0, 271))
