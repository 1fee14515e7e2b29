"""The two fields: the axioms, and the slow definitions beside the quick ways."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.zigbee.cbke.binary_field import (
    GF_2_163,
    GF_2_283,
    BinaryField,
    narrow,
    widen,
)

FIELDS = (GF_2_163, GF_2_283)
both_fields = pytest.mark.parametrize("field", FIELDS, ids=lambda field: f"m={field.degree}")
ELEMENTS = {field: st.integers(0, (1 << field.degree) - 1) for field in FIELDS}


def schoolbook(field: BinaryField, a: int, b: int) -> int:
    """The product as it is defined, bit by bit."""
    product = 0
    for bit in range(field.degree):
        if b >> bit & 1:
            product ^= a << bit
    for bit in range(2 * field.degree, field.degree - 1, -1):
        if product >> bit & 1:
            product ^= field.modulus << (bit - field.degree)
    return product


@both_fields
@given(data=st.data())
def test_a_product_is_that_of_the_schoolbook(field: BinaryField, data: st.DataObject) -> None:
    a, b = data.draw(ELEMENTS[field]), data.draw(ELEMENTS[field])
    assert field.multiply(a, b) == schoolbook(field, a, b)
    assert field.square(a) == schoolbook(field, a, a)


@both_fields
def test_a_product_with_the_fullest_slots_does_not_run_into_its_neighbours(
    field: BinaryField,
) -> None:
    full = (1 << field.degree) - 1
    assert field.multiply(full, full) == schoolbook(field, full, full) == field.square(full)
    top = 1 << (field.degree - 1)
    assert field.multiply(top, top) == schoolbook(field, top, top) == field.square(top)


@both_fields
@given(data=st.data())
def test_products_and_sums_obey_the_laws_of_a_field(
    field: BinaryField, data: st.DataObject
) -> None:
    a, b, c = (data.draw(ELEMENTS[field]) for _ in range(3))
    multiply = field.multiply
    assert field.holds(multiply(a, b))
    assert multiply(a, b) == multiply(b, a)
    assert multiply(multiply(a, b), c) == multiply(a, multiply(b, c))
    assert multiply(a, b ^ c) == multiply(a, b) ^ multiply(a, c)
    assert multiply(a, 1) == a
    assert multiply(a, 0) == 0
    if a:
        assert multiply(a, field.inverse(a)) == 1


@both_fields
def test_nothing_is_divided_by_zero(field: BinaryField) -> None:
    with pytest.raises(ZeroDivisionError):
        field.inverse(0)
    assert field.inverse(1) == 1


@both_fields
def test_the_modulus_is_irreducible(field: BinaryField) -> None:
    # The degree is prime: x^(2^m) = x, and no root, are enough.
    power = x = 2
    for _ in range(field.degree):
        power = field.square(power)
    assert power == x
    assert field.modulus & 1
    assert field.modulus.bit_count() & 1


@both_fields
@given(data=st.data())
def test_the_wide_form_is_the_same_element(field: BinaryField, data: st.DataObject) -> None:
    a, b = data.draw(ELEMENTS[field]), data.draw(ELEMENTS[field])
    assert narrow(widen(a)) == a
    assert widen(a) ^ widen(b) == widen(a ^ b)
    assert narrow(field.multiply_wide(widen(a), widen(b))) == field.multiply(a, b)


@both_fields
def test_the_trace_is_the_sum_of_the_conjugates(field: BinaryField) -> None:
    for power in range(field.degree):
        conjugate = 1 << power
        total = 0
        for _ in range(field.degree):
            total ^= conjugate
            conjugate = field.square(conjugate)
        assert total == field.trace(1 << power)


@both_fields
@given(data=st.data())
def test_a_quadratic_is_solved_where_its_trace_is_zero_and_nowhere_else(
    field: BinaryField, data: st.DataObject
) -> None:
    a = data.draw(ELEMENTS[field])
    c = field.square(a) ^ a
    assert field.solve_quadratic(c) in (a, a ^ 1)
    assert field.solve_quadratic(c ^ 1) is None  # the trace of 1 is 1 in a field of odd degree


@both_fields
def test_what_is_no_element_is_not_held(field: BinaryField) -> None:
    assert field.holds((1 << field.degree) - 1)
    assert not field.holds(1 << field.degree)
    assert not field.holds(-1)


def test_a_field_that_would_overflow_its_slots_is_refused() -> None:
    with pytest.raises(ValueError, match="slot"):
        BinaryField(571, taps=(10, 5, 2, 0), trace_bits=(0,))
    with pytest.raises(ValueError, match="lower half"):
        BinaryField(163, taps=(100, 0), trace_bits=(0,))
