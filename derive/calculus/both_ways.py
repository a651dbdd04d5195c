"""What two letters of one axis are compared in: what is the same both ways is written in one.

    (x[j] - x[i])**-2, sign(x[j] - x[i])     (x[i] - x[j])**-2, -sign(x[i] - x[j])
    where(j > i, f, 0)                       where(i < j, f, 0)
    where(i < j, f, 0) + where(j < i, f, 0)  where(i != j, f, 0)

What stands on the left is written as on the right, where a term's normal form is made.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from sympy import Eq, Expr, GreaterThan, LessThan, Mul, Ne, StrictGreaterThan, StrictLessThan

from derive.language.expressions import Index, Sum, Where, free_indices


def is_turned(difference: Expr) -> bool:
    """Whether a difference between elements in two letters of one axis is written as the opposite
    of the other one: `b - a` as `-(a - b)`."""
    letters = free_indices(difference)
    meet = len({letter.axis for letter in letters}) < len(letters)
    return meet and difference.could_extract_minus_sign()


def letters_in_order(condition: Any) -> Any:
    """A condition on two letters in the one way it is written; any other as it is."""
    if not all(isinstance(a, Index) for a in condition.args):
        return condition
    if isinstance(condition, Eq | Ne):
        return condition.func(*sorted(condition.args, key=lambda letter: letter.name))
    if isinstance(condition, StrictGreaterThan):
        return StrictLessThan(*reversed(condition.args))
    if isinstance(condition, GreaterThan):
        return LessThan(*reversed(condition.args))
    return condition


def both_ways(terms: dict[Expr, Expr]) -> dict[Expr, Expr]:
    """A table of monomials and their coefficients, in which two terms that differ in which of two
    letters is the smaller one are a term for all letters that differ."""
    found = dict(terms)
    for monomial, coefficient in terms.items():
        order = _order(monomial)
        if order is None or monomial not in found:
            continue
        opposite = _with(monomial, order, StrictLessThan(*reversed(order.args)))
        if found.get(opposite) == coefficient:
            del found[monomial], found[opposite]
            joined = _with(monomial, order, letters_in_order(Ne(*order.args)))
            found[joined] = found.get(joined, 0) + coefficient
    return {monomial: coefficient for monomial, coefficient in found.items() if coefficient != 0}


@lru_cache(maxsize=100_000)
def _order(monomial: Expr) -> StrictLessThan | None:
    """The order of two letters without which a monomial, or what it sums, is zero."""
    if not monomial.has(StrictLessThan):
        return None
    for factor in Mul.make_args(monomial):
        for inside in Mul.make_args(factor.body if isinstance(factor, Sum) else factor):
            if isinstance(inside, Where) and inside.branches[1] == 0:
                order = inside.condition
                plain = isinstance(order, StrictLessThan) and monomial.count(order) == 1
                if plain and all(isinstance(letter, Index) for letter in order.args):
                    return order
    return None


def _with(monomial: Expr, order: StrictLessThan, other: Any) -> Expr:
    """A monomial with another condition in the place of one that is on bound letters too."""
    factors = Mul.make_args(monomial)
    return Mul(
        *(
            Sum(f.body.xreplace({order: other}), *f.indices)
            if isinstance(f, Sum)
            else f.xreplace({order: other})
            for f in factors
        )
    )
