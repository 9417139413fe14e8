"""Numbers that decide: exact fractions inside, decimal strings on the wire. Pure.

A float is read by its shortest decimal form, so `0.1` in a record is one tenth and a comparison
with the threshold "0.1" holds exactly.
"""

from __future__ import annotations

import re
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction

_DECIMAL = re.compile(r"-?\d{1,40}(\.\d{1,40})?([eE][+-]?\d{1,3})?", re.ASCII)
_VALUE_DIGITS = Context(prec=15, rounding=ROUND_HALF_EVEN)
_BOUND_DIGITS = 9  # coarser than the last bits of a platform's libm, so a bound is reproducible


def is_decimal(text: object) -> bool:
    """Whether `text` is a decimal string such as "0.05", "-3" or "1e-3"."""
    return isinstance(text, str) and _DECIMAL.fullmatch(text) is not None


def parse_decimal(text: str) -> Fraction:
    """The exact value of a decimal string.

    Raises:
        ValueError: not a decimal string (NaN, infinities, spaces and hexadecimal are none).
    """
    if not is_decimal(text):
        raise ValueError(f'{text[:40]!r} is not a decimal string such as "0.05"')
    return Fraction(Decimal(text))


def read_number(value: object) -> Fraction | None:
    """The exact value of a number as a record holds it, None where it is absent (null).

    Raises:
        ValueError: neither a finite number nor a decimal string.
    """
    if value is None:
        return None
    if isinstance(value, bool):
        return Fraction(int(value))
    if isinstance(value, int):
        return Fraction(value)
    if isinstance(value, float):
        return parse_decimal(repr(value))
    if isinstance(value, str):
        return parse_decimal(value)
    raise ValueError(f"{type(value).__name__} is not a number")


def format_value(value: Fraction) -> str:
    """`value` as a decimal string of at most 15 significant digits."""
    quotient = _VALUE_DIGITS.divide(Decimal(value.numerator), Decimal(value.denominator))
    return _plain(quotient)


def format_bound(value: float) -> str:
    """A computed bound as a decimal string of 9 significant digits."""
    return _plain(Decimal(f"{value:.{_BOUND_DIGITS}g}"))


def format_coordinate(value: object) -> str:
    """A coordinate (a seed, a rung, an arm) as the text it is compared by: 70 and "70" agree."""
    if isinstance(value, float):
        return format_value(parse_decimal(repr(value)))
    return str(value)


def _plain(number: Decimal) -> str:
    text = format(number.normalize(), "f") if abs(number.adjusted()) < 16 else str(number)
    return "0" if text in ("-0", "0E+0") else text
