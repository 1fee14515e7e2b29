"""The curves sect163k1 and sect283k1: points, their sums and multiples, and how they are written.

Source: SEC 2 version 2.0, 3.2.1 and 3.5.1 (the curves); SEC 1 version 2.0, 2.3.3 and 2.3.4 (points
as octets); J. López and R. Dahab, "Improved algorithms for elliptic curve arithmetic in GF(2^n)"
(1998), and E. Al-Daoud et al., IEEE Transactions on Computers 51 (2002), for the sums.

Both are y² + xy = x³ + a x² + 1. `Point` is affine, None the point at infinity. A point from
outside enters by `decompress` or `point`, which take points of the subgroup of prime order alone;
multiplication relies on that. None of it runs in constant time: the keys are a bench's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import cycle, islice
from typing import NamedTuple

from emulator.zigbee.cbke.binary_field import GF_2_163, GF_2_283, BinaryField, narrow, widen
from emulator.zigbee.cbke.errors import CbkeError, CbkeValueError
from emulator.zigbee.cbke.tau_adic import TauAdic

GetRandBits = Callable[[int], int]

_EVEN = 0x02  # the first octet of a compressed point, plus the bit that tells y from x + y


class Point(NamedTuple):
    """An affine point, as two elements of the field."""

    x: int
    y: int


_Projective = tuple[int, int, int]  # López-Dahab, wide: x = X / Z, y = Y / Z²


class KoblitzCurve:
    """One curve: `field`, `a`, prime `order` and `cofactor` of its subgroup, and `generator`."""

    def __init__(
        self,
        name: str,
        field: BinaryField,
        *,
        a: int,
        order: int,
        cofactor: int,
        generator: Point,
    ) -> None:
        self.name = name
        self.field = field
        self.a = a
        self.order = order
        self.cofactor = cofactor
        self.element_octets = (field.degree + 7) // 8
        self.point_octets = 1 + self.element_octets
        self.scalar_octets = (order.bit_length() + 7) // 8
        self._tau_adic = TauAdic(a, field.degree, order)
        self.generator = self.point(generator.x, generator.y, "generator")
        # As many as differ: squared m times an element is itself again.
        self._generator_powers = tuple(islice(self._frobenius_powers(self.generator), field.degree))

    def __repr__(self) -> str:
        return f"KoblitzCurve({self.name})"

    # -- which points there are ----------------------------------------------------------------

    def contains(self, point: Point) -> bool:
        """Whether `point` lies on the curve."""
        field = self.field
        x, y = point
        if not (field.holds(x) and field.holds(y)):
            return False
        # y² + xy = x³ + a x² + 1
        left = field.square(y) ^ field.multiply(x, y)
        right = field.multiply(field.square(x), x ^ self.a) ^ 1
        return left == right

    def in_subgroup(self, point: Point) -> bool:
        """Whether a point of the curve has prime order.

        As often as the cofactor is even the point must be the double of another one, and points
        are doubles exactly where the trace of x is that of a (Knudsen 1999; Seroussi 1998). The
        trace does not see the square root that halving ends with, so none is taken.
        """
        field = self.field
        x, y = point
        if not x or field.trace(x) != self.a:
            return False  # at x = 0 is the point of order 2
        if self.cofactor == 2:
            return True
        slope = field.solve_quadratic(x ^ self.a)
        assert slope is not None  # its trace was looked at
        # The half's x², for one of the two halves; they are doubles both, or neither.
        return field.trace(y ^ field.multiply(x, slope)) == self.a

    def point(self, x: int, y: int, thing: str = "point") -> Point:
        """The point at these coordinates. Raises CbkeError for one that must not be used."""
        point = Point(x, y)
        if not self.contains(point):
            raise CbkeError(thing, "x, y", f"is not on {self.name}")
        return self._in_subgroup(point, thing)

    def _in_subgroup(self, point: Point, thing: str) -> Point:
        if not self.in_subgroup(point):
            raise CbkeError(thing, "x, y", f"is outside the subgroup of prime order of {self.name}")
        return point

    # -- as octets -----------------------------------------------------------------------------

    def compress(self, point: Point) -> bytes:
        """`point` as 02 or 03 and x."""
        x, y = point
        bit = self.field.multiply(y, self.field.inverse(x)) & 1
        return bytes((_EVEN | bit,)) + x.to_bytes(self.element_octets, "big")

    def decompress(self, octets: bytes, thing: str = "point") -> Point:
        """The point that `compress` wrote so.

        Raises CbkeError for octets that are none, and for a point off the curve, at infinity, or
        outside the subgroup of prime order.
        """
        if len(octets) != self.point_octets:
            raise CbkeError(
                thing, "length", f"is {len(octets)}, a point has {self.point_octets} octets"
            )
        if octets[0] & ~1 != _EVEN:
            raise CbkeError(thing, "form", f"is {octets[0]:02X}, a compressed point has 02 or 03")
        field = self.field
        x = int.from_bytes(octets[1:], "big")
        if not field.holds(x):
            raise CbkeError(thing, "x", f"has more than {field.degree} bits")
        if not x:
            raise CbkeError(thing, "x", "is 0: that point has order 2")
        # With y = xz the curve becomes z² + z = x + a + 1/x².
        z = field.solve_quadratic(x ^ self.a ^ field.square(field.inverse(x)))
        if z is None:
            raise CbkeError(thing, "x", f"is not that of any point on {self.name}")
        z ^= (z ^ octets[0]) & 1
        return self._in_subgroup(Point(x, field.multiply(x, z)), thing)

    def scalar(self, octets: bytes, thing: str = "private key") -> int:
        """A private key from its octets, modulo the order: the profile's own example C.6 has one
        that is larger. Raises CbkeError for another length, or a multiple of the order."""
        if len(octets) != self.scalar_octets:
            raise CbkeError(
                thing, "length", f"is {len(octets)}, it has {self.scalar_octets} octets"
            )
        number = int.from_bytes(octets, "big") % self.order
        if not number:
            raise CbkeError(thing, "value", f"is a multiple of the order of {self.name}")
        return number

    def scalar_bytes(self, scalar: int) -> bytes:
        if not 0 < scalar < self.order:
            raise CbkeValueError(f"{self.name} has no private key {scalar:#x}")
        return scalar.to_bytes(self.scalar_octets, "big")

    def random_scalar(self, getrandbits: GetRandBits) -> int:
        """A private key from a stream of random bits, each as likely as any other."""
        bits = self.order.bit_length()
        while True:
            number = getrandbits(bits)
            if 0 < number < self.order:
                return number

    # -- sums and multiples --------------------------------------------------------------------

    def negate(self, point: Point | None) -> Point | None:
        return None if point is None else Point(point.x, point.x ^ point.y)

    def add(self, p: Point | None, q: Point | None) -> Point | None:
        """P + Q, for any points of the curve."""
        if p is None or q is None:
            return p if q is None else q
        field = self.field
        if p.x != q.x:
            dx = p.x ^ q.x
            slope = field.multiply(p.y ^ q.y, field.inverse(dx))
            x = field.square(slope) ^ slope ^ dx ^ self.a
        elif p.y != q.y or not p.x:
            return None  # Q = -P; the point at x = 0 is its own negative
        else:
            slope = p.x ^ field.multiply(p.y, field.inverse(p.x))
            x = field.square(slope) ^ slope ^ self.a
        return Point(x, field.multiply(slope, p.x ^ x) ^ x ^ p.y)

    def multiply(self, scalar: int, point: Point | None) -> Point | None:
        """`scalar` times a point of the subgroup."""
        return self.multiply_sum(((scalar, point),))

    def multiply_generator(self, scalar: int) -> Point:
        """The public key of the private key `scalar`."""
        public = self.multiply(scalar, self.generator)
        if public is None:
            raise CbkeValueError(f"{scalar:#x} is a multiple of the order of {self.name}")
        return public

    def multiply_sum(self, terms: Iterable[tuple[int, Point | None]]) -> Point | None:
        """The sum of scalar times point over `terms`, all of the subgroup, in one pass."""
        total: _Projective | None = None
        for scalar, point in terms:
            if point is None:
                continue
            powers: Iterable[tuple[int, int]]
            if point == self.generator:
                powers = cycle(self._generator_powers)
            else:
                powers = self._frobenius_powers(point)
            for digit, (x, y) in zip(self._tau_adic.digits(scalar), powers, strict=False):
                if digit:
                    x, y = widen(x), widen(y)
                    total = self._add_mixed(total, x, y if digit > 0 else x ^ y)
        return self._affine(total)

    def _frobenius_powers(self, point: Point) -> Iterator[tuple[int, int]]:
        """`point`, and ever again the squares of its coordinates: to square narrow is quick."""
        square = self.field.square
        x, y = point
        while True:
            yield x, y
            x, y = square(x), square(y)

    def _add_mixed(self, p: _Projective | None, x2: int, y2: int) -> _Projective | None:
        if p is None:
            return x2, y2, 1
        multiply = self.field.multiply_wide
        x1, y1, z1 = p
        a = y1 ^ multiply(y2, multiply(z1, z1))
        b = x1 ^ multiply(x2, z1)
        if not b:
            return None if a else self._double_affine(x2, y2)
        c = multiply(b, z1)
        z3 = multiply(c, c)
        d = multiply(x2, z3)
        e = multiply(a, c)
        f = a ^ multiply(b, b)
        if self.a:
            f ^= c
        x3 = multiply(a, a) ^ multiply(c, f)
        y3 = multiply(d ^ x3, e ^ z3) ^ multiply(x2 ^ y2, multiply(z3, z3))
        return x3, y3, z3

    def _double_affine(self, x: int, y: int) -> _Projective | None:
        if not x:
            return None
        multiply = self.field.multiply_wide
        z3 = multiply(x, x)
        x3 = multiply(z3, z3) ^ 1
        f = multiply(y, y) ^ 1
        if self.a:
            f ^= z3
        return x3, z3 ^ multiply(x3, f), z3

    def _affine(self, p: _Projective | None) -> Point | None:
        if p is None:
            return None
        x, y, z = (narrow(coordinate) for coordinate in p)
        field = self.field
        inverse = field.inverse(z)
        return Point(field.multiply(x, inverse), field.multiply(y, field.square(inverse)))


SECT163K1 = KoblitzCurve(
    "sect163k1",
    GF_2_163,
    a=1,
    order=0x04000000000000000000020108A2E0CC0D99F8A5EF,
    cofactor=2,
    generator=Point(
        0x02FE13C0537BBC11ACAA07D793DE4E6D5E5C94EEE8,
        0x0289070FB05D38FF58321F2E800536D538CCDAA3D9,
    ),
)
SECT283K1 = KoblitzCurve(
    "sect283k1",
    GF_2_283,
    a=0,
    order=0x01FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFE9AE2ED07577265DFF7F94451E061E163C61,
    cofactor=4,
    generator=Point(
        0x0503213F78CA44883F1A3B8162F188E553CD265F23C1567A16876913B0C2AC2458492836,
        0x01CCDA380F1C9E318D90F95D07E5426FE87E45C0E8184698E45962364E34116177DD2259,
    ),
)
