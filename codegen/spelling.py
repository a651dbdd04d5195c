"""What the emitted languages have in common: comparisons, exact integers, the terms of sums, the
roots of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sympy
from sympy import Add, Basic, Expr, Mul, Pow, Rational, S, default_sort_key, fraction

from derive.printing.arrange import in_steps

EXACT = 2**53
"""No larger integers are all numbers of double precision."""

RELATIONS: dict[type[Basic], str] = {
    sympy.Gt: ">",
    sympy.Ge: ">=",
    sympy.Lt: "<",
    sympy.Le: "<=",
    sympy.Eq: "==",
    sympy.Ne: "!=",
}


def terms_of(total: Add) -> list[Any]:
    """The terms of a sum as they are written: what is added before what is taken away, the numbers
    last of each, and last of all what these would swallow."""

    def place(term: Any) -> tuple[bool, bool, Any]:
        return term.could_extract_minus_sign(), term.is_number, default_sort_key(term)

    terms, small = in_steps(total)
    return [*sorted(terms, key=place), *small]


def roots_joined(coefficient: Expr, factors: Sequence[Any]) -> tuple[Expr, list[Any]]:
    """A product with one root for those of its numbers, `(2/pi)**0.5` for `2**0.5/pi**0.5`, which
    SymPy takes apart; it takes in the coefficient that leaves nothing above: `1/(2*pi)**0.5`."""
    roots = [f for f in factors if isinstance(f, Pow) and f.base.is_number and abs(f.exp) == S.Half]
    if len(roots) < 2:
        return coefficient, [*factors]
    under = Mul(*(root**2 for root in roots))
    if coefficient.is_Rational and is_one_over(whole := under * coefficient**2):
        coefficient, under = Rational(1 if coefficient > 0 else -1), whole
    root = Pow(1 / under, -S.Half, evaluate=False) if is_one_over(under) else _root(under)
    return coefficient, [root, *(f for f in factors if f not in roots)]


def is_one_over(number: Expr) -> bool:
    return fraction(number)[0] == 1


def inverse(power: Any) -> Any:
    """One over a power; a root stays one root."""
    return _root(power.base) if power.exp == -S.Half else 1 / power


def _root(number: Expr) -> Expr:
    return Pow(number, S.Half, evaluate=False)
