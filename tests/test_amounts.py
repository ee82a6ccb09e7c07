"""Amounts of money as people read them."""

from __future__ import annotations

import sys
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanledger.service.runs.amounts import money, usd


@pytest.mark.parametrize(
    ("pico", "said"),
    [
        (None, "-"),
        (0, "$0"),
        (1, "$0.000000000001"),
        (125_000_000, "$0.000125"),
        (9_994_999_999, "$0.00999"),
        (9_995_000_000, "$0.0100"),
        (999_600_000_000, "$1.00"),
        (1_125_000_000_000, "$1.13"),
        (-2_675_000_000_000, "-$2.68"),
        (9_994_999_999_999, "$9.99"),
        (9_995_000_000_000, "$10.00"),
        (1_234_565_000_000_000, "$1,234.57"),
        (10**28 + 5 * 10**9, "$10,000,000,000,000,000.01"),
    ],
)
def test_amounts_are_exact_and_halves_are_rounded_up(pico: int | None, said: str) -> None:
    """$1.125 is no float, and $1.13 on a bill."""
    assert usd(pico) == said


@given(st.integers(1, 10**24))
def test_what_is_said_is_within_half_a_unit(pico: int) -> None:
    """Of its last digit, and it has three that count."""
    said = usd(pico).replace("$", "").replace(",", "")
    digits = len(said.partition(".")[2])
    assert abs(Decimal(said) - Decimal(pico).scaleb(-12)) <= Decimal("0.5").scaleb(-digits)
    assert digits == 2 or 100 <= int(said.replace(".", "")) <= 999 or digits == 12


def test_any_number_of_a_document_can_be_said() -> None:
    """However large."""
    assert usd(int(sys.float_info.max) * 10**12).endswith(".00")


def test_another_currency_has_the_same_digits() -> None:
    """By the rate of the configuration."""
    assert money(1_125_000_000_000, "EUR", Decimal("0.9")) == "1.01 EUR"
