"""Quantities are exact and have one canonical text."""

from decimal import Decimal

import pytest
from hypothesis import given, strategies as st

from cluster.machinery import quantity
from cluster.machinery.quantity import Quantity, QuantityError

SUFFIXES = ["", "n", "u", "m", "k", "M", "G", "Ki", "Mi", "Gi", "e3", "E-2"]


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("100m", "100m"), ("0.5", "500m"), ("1000m", "1"), ("1024Mi", "1Gi"), ("1.5Gi", "1536Mi"), ("1000", "1k"),
        ("1e3", "1e3"), ("12e-1", "1200e-3"), ("0.1n", "1n"), ("-1.5", "-1500m"), (".5", "500m"), ("5.", "5"),
        ("1.1Ki", "1126400m"), ("1023Ki", "1023Ki"), ("0", "0"), ("0Gi", "0"), ("2E", "2E"), ("1Ei", "1Ei"),
    ],
)  # fmt: skip
def test_quantity_is_written_canonically(text: str, canonical: str) -> None:
    assert quantity.canonical(text) == canonical


@pytest.mark.parametrize("text", ["", ".", "1x", "1 Gi", "Gi", "1e", "--1", "1.2.3", "٣", "0x1", "1e99999"])
def test_malformed_quantity_is_refused(text: str) -> None:
    with pytest.raises(QuantityError):
        Quantity.parse(text)


@given(st.integers(-(10**12), 10**12), st.integers(0, 999), st.sampled_from(SUFFIXES))
def test_canonical_text_means_the_same_amount(whole: int, fraction: int, suffix: str) -> None:
    parsed = Quantity.parse(f"{whole}.{fraction:03d}{suffix}")

    assert Quantity.parse(str(parsed)) == parsed
    assert str(Quantity.parse(str(parsed))) == str(parsed)


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_arithmetic_is_that_of_the_amounts(left: int, right: int) -> None:
    a, b = Quantity.parse(f"{left}m"), Quantity.parse(f"{right}m")

    assert (a + b).milli == left + right
    assert (a - b) + b == a
    assert (a < b) == (left < right)


def test_sum_keeps_the_form_of_the_left_side() -> None:
    assert str(Quantity.parse("0") + Quantity.parse("512Mi") + Quantity.parse("512Mi")) == "1Gi"


def test_whole_units_are_rounded_up() -> None:
    assert Quantity.parse("1.2").value == 2
    assert Quantity.parse("1001u").milli == 2


def test_decimal_round_trip() -> None:
    assert quantity.parse_quantity("250m") == Decimal("0.25")
    assert quantity.format_quantity(Decimal("0.25")) == "250m"
