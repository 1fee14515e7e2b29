"""A scalar as signed powers of the Frobenius map, which makes doublings on a Koblitz curve cheap.

Source: J. Solinas, "Efficient arithmetic on Koblitz curves", Designs, Codes and Cryptography 19
(2000).

On y² + xy = x³ + a x² + 1 with a = 0 or 1 the map τ(x, y) = (x², y²) takes points to points, and
τ² + 2 = μτ with μ = 1 for a = 1, -1 for a = 0. So a whole number is also a polynomial in τ with
digits 0, 1, -1, no two neighbours of them not 0 (the τ-adic NAF), and to multiply by it takes
squarings where doublings were. Points of the subgroup of prime order are taken to infinity by
δ = 1 + τ + … + τ^(m-1): a scalar is first reduced modulo δ, or it had twice as many digits.
"""

from __future__ import annotations


class TauAdic:
    """Scalars of the curve with coefficient `a` over GF(2^`degree`), subgroup order `order`."""

    def __init__(self, a: int, degree: int, order: int) -> None:
        self._mu = mu = 1 if a else -1
        self._order = order
        d0 = d1 = 0
        for _ in range(degree):  # δ = d0 + d1 τ, by Horner's rule
            d0, d1 = 1 - 2 * d1, d0 + mu * d1
        if d0 * d0 + mu * d0 * d1 + 2 * d1 * d1 != order:  # the norm of δ
            raise ValueError("this is not the order of the curve's subgroup")
        self._delta = d0, d1

    def reduce(self, scalar: int) -> tuple[int, int]:
        """(r0, r1), small, with r0 + r1 τ the same as `scalar` on every point of the subgroup."""
        d0, d1 = self._delta
        mu, n = self._mu, self._order
        # The quotient is scalar times the conjugate of δ over n, rounded.
        q0 = (2 * scalar * (d0 + mu * d1) + n) // (2 * n)
        q1 = (-2 * scalar * d1 + n) // (2 * n)
        return scalar - q0 * d0 + 2 * q1 * d1, -(q0 * d1 + q1 * d0 + mu * q1 * d1)

    def digits(self, scalar: int) -> list[int]:
        """The τ-adic NAF of the reduced scalar, that of τ⁰ first; nothing for 0."""
        r0, r1 = self.reduce(scalar)
        mu = self._mu
        digits = []
        while r0 or r1:
            digit = 0
            if r0 & 1:
                digit = 2 - ((r0 - 2 * r1) & 3)
                r0 -= digit
            digits.append(digit)
            half = r0 >> 1
            r0, r1 = r1 + mu * half, -half
        return digits
