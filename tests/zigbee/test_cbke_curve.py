"""The two curves: group laws, multiples, points as octets, and points nobody may use."""

from __future__ import annotations

import subprocess
from itertools import pairwise
from pathlib import Path
from random import Random

import openssl_witness
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from emulator.zigbee.cbke.binary_curve import SECT163K1, SECT283K1, KoblitzCurve, Point
from emulator.zigbee.cbke.errors import CbkeError, CbkeValueError
from emulator.zigbee.cbke.tau_adic import TauAdic

CURVES = (SECT163K1, SECT283K1)
both_curves = pytest.mark.parametrize("curve", CURVES, ids=lambda curve: curve.name)
SCALARS = {curve: st.integers(1, curve.order - 1) for curve in CURVES}
SMALL_ORDER = {  # by the order of the point
    SECT163K1: {2: Point(0, 1)},
    SECT283K1: {2: Point(0, 1), 4: Point(1, 0)},
}


def slow_multiple(curve: KoblitzCurve, scalar: int, point: Point | None) -> Point | None:
    """Double and add, by the affine formulas alone."""
    total = None
    while scalar:
        if scalar & 1:
            total = curve.add(total, point)
        point = curve.add(point, point)
        scalar >>= 1
    return total


def any_point(curve: KoblitzCurve, x: int) -> Point | None:
    """A point of the whole curve at `x`, in the subgroup or not."""
    if not x:
        return Point(0, 1)
    field = curve.field
    z = field.solve_quadratic(x ^ curve.a ^ field.square(field.inverse(x)))
    return None if z is None else Point(x, field.multiply(x, z))


def draw_point(curve: KoblitzCurve, data: st.DataObject) -> Point:
    """A point of the whole curve, in the subgroup or not."""
    x = data.draw(st.integers(0, (1 << curve.field.degree) - 1))
    while (point := any_point(curve, x)) is None:
        x = (x + 1) % (1 << curve.field.degree)
    return point


def subgroup_point(curve: KoblitzCurve, data: st.DataObject) -> Point:
    return curve.multiply_generator(data.draw(SCALARS[curve]))


@both_curves
def test_the_generator_has_the_order_that_is_printed(curve: KoblitzCurve) -> None:
    assert curve.contains(curve.generator)
    assert slow_multiple(curve, curve.order, curve.generator) is None
    assert slow_multiple(curve, curve.order - 1, curve.generator) == curve.negate(curve.generator)
    # Hasse: there is one multiple of the order as large as the curve, and the cofactor names it.
    size = 1 << curve.field.degree
    assert abs(curve.cofactor * curve.order - size - 1) <= 2 << (curve.field.degree + 1) // 2


@both_curves
@given(data=st.data())
@settings(max_examples=40)
def test_points_of_the_whole_curve_obey_the_laws_of_a_group(
    curve: KoblitzCurve, data: st.DataObject
) -> None:
    p, q, r = (draw_point(curve, data) for _ in range(3))
    add = curve.add
    total = add(p, q)
    assert total is None or curve.contains(total)
    assert total == add(q, p)
    assert add(total, r) == add(p, add(q, r))
    assert add(p, None) == add(None, p) == p
    assert add(p, curve.negate(p)) is None
    assert add(add(p, q), curve.negate(q)) == p
    double = add(p, p)
    assert add(double, curve.negate(p)) == p


@both_curves
@given(data=st.data())
@settings(max_examples=25)
def test_a_multiple_is_that_of_doubling_and_adding(
    curve: KoblitzCurve, data: st.DataObject
) -> None:
    point = subgroup_point(curve, data)
    scalar = data.draw(st.integers(0, 2 * curve.order))
    assert curve.multiply(scalar, point) == slow_multiple(curve, scalar, point)


@both_curves
def test_multiples_near_the_order_and_near_zero_are_right(curve: KoblitzCurve) -> None:
    n, g = curve.order, curve.generator
    for scalar in (0, 1, 2, 3, 4, 5, n // 2, n // 2 + 1, n - 2, n - 1, n, n + 1, 2 * n, 2 * n + 3):
        assert curve.multiply(scalar, g) == slow_multiple(curve, scalar, g), scalar
    assert curve.multiply(-1, g) == curve.negate(g)
    assert curve.multiply(5, None) is None
    assert curve.multiply_generator(1) == g
    with pytest.raises(CbkeValueError):
        curve.multiply_generator(n)


@both_curves
def test_a_scalar_with_more_digits_than_the_field_has_bits_is_multiplied_right(
    curve: KoblitzCurve,
) -> None:
    tau_adic = TauAdic(curve.a, curve.field.degree, curve.order)
    random = Random(7)
    found = 0
    while found < 3:
        scalar = curve.random_scalar(random.getrandbits)
        if len(tau_adic.digits(scalar)) > curve.field.degree:
            found += 1
            expected = slow_multiple(curve, scalar, curve.generator)
            assert curve.multiply(scalar, curve.generator) == expected


@both_curves
@given(data=st.data())
@settings(max_examples=25)
def test_a_sum_of_multiples_is_the_multiples_summed(
    curve: KoblitzCurve, data: st.DataObject
) -> None:
    p, q = subgroup_point(curve, data), subgroup_point(curve, data)
    a, b = data.draw(SCALARS[curve]), data.draw(SCALARS[curve])
    one_by_one = curve.add(curve.multiply(a, p), curve.multiply(b, q))
    assert curve.multiply_sum(((a, p), (b, q))) == one_by_one
    assert curve.multiply_sum(((a, p), (b, p))) == curve.multiply(a + b, p)
    assert curve.multiply_sum(((a, p), (a, p))) == curve.multiply(2 * a, p)
    assert curve.multiply_sum(((a, p), (a, curve.negate(p)))) is None
    assert curve.multiply_sum(()) is None


@given(scalar=st.integers(-SECT283K1.order, 2 * SECT283K1.order))
@pytest.mark.parametrize("curve", CURVES, ids=lambda curve: curve.name)
def test_digits_are_sparse_and_not_many_more_than_the_field_has_bits(
    curve: KoblitzCurve, scalar: int
) -> None:
    digits = TauAdic(curve.a, curve.field.degree, curve.order).digits(scalar)
    assert set(digits) <= {-1, 0, 1}
    assert not any(a and b for a, b in pairwise(digits))
    assert len(digits) <= curve.field.degree + 4


def test_an_order_of_another_curve_is_refused() -> None:
    with pytest.raises(ValueError, match="order"):
        TauAdic(1, 163, SECT163K1.order + 2)
    with pytest.raises(ValueError, match="order"):
        TauAdic(0, 163, SECT163K1.order)


@both_curves
@given(data=st.data())
@settings(max_examples=40)
def test_a_point_is_read_as_it_was_written(curve: KoblitzCurve, data: st.DataObject) -> None:
    point = subgroup_point(curve, data)
    octets = curve.compress(point)
    assert len(octets) == curve.point_octets
    assert curve.decompress(octets) == point
    other = curve.negate(point)
    assert other is not None
    assert curve.compress(other) == bytes((octets[0] ^ 1,)) + octets[1:]


@both_curves
@given(data=st.data())
@settings(max_examples=30)
def test_octets_are_taken_for_a_point_only_if_it_has_the_prime_order(
    curve: KoblitzCurve, data: st.DataObject
) -> None:
    x = data.draw(st.integers(0, (1 << curve.field.degree) - 1))
    form = data.draw(st.sampled_from([2, 3]))
    octets = bytes((form,)) + x.to_bytes(curve.element_octets, "big")
    point = any_point(curve, x)
    usable = point is not None and slow_multiple(curve, curve.order, point) is None
    if usable:
        taken = curve.decompress(octets)
        assert curve.contains(taken)
        assert curve.compress(taken) == octets
    else:
        with pytest.raises(CbkeError):
            curve.decompress(octets)


@both_curves
def test_no_coset_of_the_subgroup_is_taken_for_it(curve: KoblitzCurve) -> None:
    torsion = SMALL_ORDER[curve][curve.cofactor]
    for scalar in range(1, 30):
        inside = curve.multiply_generator(scalar)
        assert curve.in_subgroup(inside)
        outside = curve.add(inside, torsion)
        for _ in range(curve.cofactor - 1):
            assert outside is not None
            assert curve.contains(outside)
            assert not curve.in_subgroup(outside)
            with pytest.raises(CbkeError, match="subgroup"):
                curve.point(*outside)
            with pytest.raises(CbkeError, match="subgroup"):
                curve.decompress(curve.compress(outside))
            outside = curve.add(outside, torsion)
        assert outside == inside  # once round


@both_curves
def test_points_of_small_order_are_refused(curve: KoblitzCurve) -> None:
    for order, point in SMALL_ORDER[curve].items():
        assert curve.contains(point)
        assert slow_multiple(curve, order, point) is None
        with pytest.raises(CbkeError):
            curve.point(*point)
        for form in (2, 3):
            with pytest.raises(CbkeError):
                curve.decompress(bytes((form,)) + point.x.to_bytes(curve.element_octets, "big"))


@both_curves
def test_a_point_off_the_curve_or_out_of_the_field_is_refused(curve: KoblitzCurve) -> None:
    x, y = curve.generator
    for point in (
        (x, y ^ 1),
        (x ^ 1, y),
        (y, x),
        (0, 0),
        (x | 1 << curve.field.degree, y),
        (x, y | 1 << curve.field.degree),
        (-1, y),
    ):
        with pytest.raises(CbkeError, match=r"point: x, y is not on sect"):
            curve.point(*point)


@both_curves
@pytest.mark.parametrize(
    ("form", "sentence"), [(0, "form is 00"), (1, "form is 01"), (4, "form is 04"), (255, "FF")]
)
def test_a_point_of_another_form_is_refused(curve: KoblitzCurve, form: int, sentence: str) -> None:
    octets = bytes((form,)) + curve.compress(curve.generator)[1:]
    with pytest.raises(CbkeError, match=sentence):
        curve.decompress(octets, "ephemeral key")


@both_curves
@example(octets=bytes(22))
@example(octets=bytes(37))
@given(octets=st.binary(max_size=40))
def test_octets_that_are_no_point_raise_nothing_but_the_error_that_names_them(
    curve: KoblitzCurve, octets: bytes
) -> None:
    try:
        point = curve.decompress(octets, "thing")
    except CbkeError as error:
        refused = error
    else:
        assert curve.compress(point) == octets
        return
    assert str(refused).startswith(f"thing: {refused.field} ")


@both_curves
def test_an_x_with_a_bit_beyond_the_field_is_not_reduced_but_refused(curve: KoblitzCurve) -> None:
    octets = bytearray(curve.compress(curve.generator))
    octets[1] |= 0x80
    with pytest.raises(CbkeError, match="more than"):
        curve.decompress(bytes(octets))


@both_curves
@given(data=st.data())
def test_a_private_key_is_read_as_it_was_written(curve: KoblitzCurve, data: st.DataObject) -> None:
    scalar = data.draw(SCALARS[curve])
    assert curve.scalar(curve.scalar_bytes(scalar)) == scalar


@both_curves
def test_a_private_key_of_no_public_one_is_refused(curve: KoblitzCurve) -> None:
    octets = curve.scalar_octets
    for number in (0, curve.order, 2 * curve.order):
        with pytest.raises(CbkeError, match="private key: value"):
            curve.scalar(number.to_bytes(octets, "big"))
        with pytest.raises(CbkeValueError):
            curve.scalar_bytes(number)
    with pytest.raises(CbkeValueError):
        curve.scalar_bytes(curve.order + 1)
    for length in (0, octets - 1, octets + 1):
        with pytest.raises(CbkeError, match=f"length is {length}"):
            curve.scalar(bytes(length))


@both_curves
def test_a_private_key_above_the_order_is_the_one_below_it(curve: KoblitzCurve) -> None:
    assert curve.scalar((curve.order + 5).to_bytes(curve.scalar_octets, "big")) == 5


@both_curves
def test_random_keys_come_of_the_stream_and_never_fall_out_of_range(curve: KoblitzCurve) -> None:
    bits = curve.order.bit_length()
    drawn = iter([0, curve.order, (1 << bits) - 1, 5])

    def getrandbits(count: int) -> int:
        assert count == bits
        return next(drawn)

    assert curve.random_scalar(getrandbits) == 5
    first, again = Random(3), Random(3)
    assert curve.random_scalar(first.getrandbits) == curve.random_scalar(again.getrandbits)


@both_curves
def test_openssl_has_the_same_public_key_for_a_private_one(
    curve: KoblitzCurve, tmp_path: Path
) -> None:
    openssl_witness.require(curve)
    for number in range(3):
        pair = openssl_witness.generate(curve, tmp_path / f"{number}.pem")
        public = curve.multiply_generator(curve.scalar(pair.private_key))
        assert curve.compress(public) == pair.public_key
        assert curve.decompress(pair.public_key) == public


@both_curves
def test_openssl_comes_to_the_same_product_of_two_keys(curve: KoblitzCurve, tmp_path: Path) -> None:
    openssl_witness.require(curve)
    ours, theirs, public = (tmp_path / name for name in ("a.pem", "b.pem", "b.pub"))
    own = openssl_witness.generate(curve, ours)
    partner = openssl_witness.generate(curve, theirs)
    subprocess.run(
        ["openssl", "ec", "-in", theirs, "-pubout", "-out", public], check=True, capture_output=True
    )
    derived = openssl_witness.run("pkeyutl", "-derive", "-inkey", ours, "-peerkey", public)
    shared = curve.multiply(curve.scalar(own.private_key), curve.decompress(partner.public_key))
    assert shared is not None
    # openssl multiplies by the cofactor only where it is told to.
    assert shared.x.to_bytes(curve.element_octets, "big") == derived
