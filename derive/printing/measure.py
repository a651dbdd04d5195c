"""How wide a formula is when it is set, and where to break one that is too wide.

The unit is a letter, half the size of the type. A sum at the top of a formula is broken between
its terms by whoever sets it; here are those in brackets, whose terms are then set in several rows,
and products, whose last factors then stand below the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import sympy
from sympy import Add, Basic, Expr, KroneckerDelta, Mul, Pow, Rational, Symbol
from sympy.core.relational import Relational
from sympy.logic.boolalg import And, Not, Or

from derive.language.cotangents import FIRST_ORDER, primal_name
from derive.language.expressions import Affine, ArgMax, Binder, Element, Index, StopGradient, Where
from derive.language.functions import as_extreme
from derive.printing.arrange import (
    GREEK,
    Arrangement,
    delta_sides,
    is_sum_or_difference,
    place_terms,
)
from derive.printing.marks import Marked

_SMALL = 0.7
"""The size of what stands below or above a line of type, as a part of that of the line."""

_OPERATOR, _BRACKETS, _LEAST_GAIN = 2.6, 1.4, 1.0


def fitted(expr: Expr, arrangement: Arrangement, most: float) -> Arrangement:
    """The arrangement in which an expression is at most so wide, or as narrow as it gets.

    What is broken is, each time, a sum that makes it fit, or a product, or what gains the most.
    """
    while (here := width(expr, arrangement)) > most:
        options = list(_options(expr, most, arrangement))
        widths = [width(expr, option) for option, _ in options]
        best = min(
            zip(widths, options, strict=True),
            key=lambda one: (max(one[0], most), one[1][1]),
            default=None,
        )
        if best is None or best[0] > here - _LEAST_GAIN:
            break
        arrangement = best[1][0]
    return arrangement


def _options(
    expr: Expr, most: float, arrangement: Arrangement
) -> Iterator[tuple[Arrangement, bool]]:
    """What may be broken next, and whether it is a product.

    A part is broken into one row more; the terms of a broken sum, which are wide together,
    are broken together.
    """
    rows = dict(arrangement.rows)
    parts = dict.fromkeys(_breakable(expr))
    wide = [part for part in parts if width(part, arrangement) > most / 3]
    for part in wide:
        several = 2 if isinstance(part, Mul) else len(part.args)
        if (now := rows.get(part, 1)) < several:
            yield _broken(arrangement, {part: now + 1}), isinstance(part, Mul)
        if now > 1 and (terms := [t for t in part.args if t in wide and t not in rows]):
            yield _broken(arrangement, dict.fromkeys(terms, 2)), True


def _broken(arrangement: Arrangement, more: Mapping[Expr, int]) -> Arrangement:
    return replace(arrangement, rows=frozenset({**dict(arrangement.rows), **more}.items()))


def _breakable(expr: Basic) -> Iterator[Expr]:
    """The sums and products of an expression, but for those in an index, a power or a condition."""
    if isinstance(expr, Element | KroneckerDelta | Relational | And | Or | Not | Pow):
        return
    if isinstance(expr, Add | Mul):
        yield expr
    for part in expr.args:
        yield from _breakable(part)


def rows_of(expr: Add, arrangement: Arrangement) -> list[list[Expr]]:
    """The terms of a sum, row by row: rows as many as the arrangement says, equally wide."""
    terms = arrangement.terms(expr)
    count = dict(arrangement.rows).get(expr, 1)
    if count == 1:
        return [terms]
    widths = [width(term, arrangement) + _OPERATOR for term in terms]
    ends = range(1, len(terms) + 1)
    for most in sorted(sum(widths[start:end]) for end in ends for start in range(end)):
        rows = _filled(terms, widths, most)
        if len(rows) <= count and max(widths) <= most:
            return rows
    return [terms]


def _filled(terms: Sequence[Expr], widths: Sequence[float], most: float) -> list[list[Expr]]:
    rows: list[list[Expr]] = []
    left = 0.0
    for term, wide in zip(terms, widths, strict=True):
        if not rows or wide > left + 1e-9:
            rows.append([])
            left = most
        rows[-1].append(term)
        left -= wide
    return rows


@lru_cache(maxsize=50_000)
def width(expr: Basic, arrangement: Arrangement) -> float:
    """How wide an expression is, in letters."""
    for cls, measure in _MEASURES.items():
        if isinstance(expr, cls):
            return measure(expr, arrangement)
    if isinstance(expr, sympy.Function):
        return len(type(expr).__name__) + _BRACKETS + _listed(expr.args, arrangement)
    return 1.0


def name_width(name: str) -> float:
    """How wide a tensor's or an option's name is."""
    name = primal_name(name).removeprefix(FIRST_ORDER)
    for accent in ("_hat", "_tilde", "_dot"):
        name = name.removesuffix(accent) or name
    return 1.0 if name in GREEK or name in ("eps", "epsilon") else float(len(name))


def _listed(exprs: Iterable[Any], arrangement: Arrangement) -> float:
    widths = [width(e, arrangement) for e in exprs]
    return sum(widths) + max(0, len(widths) - 1)


def _symbol(expr: Any, _: Arrangement) -> float:
    return float(len(expr.name)) if isinstance(expr, Index) else name_width(expr.name)


def _element(expr: Any, arrangement: Arrangement) -> float:
    return name_width(expr.tensor_name) + _SMALL * _listed(expr.indices, arrangement)


def _number(expr: Any, _: Arrangement) -> float:
    return len(f"{float(expr):.6g}") if expr.is_Float else max(len(str(expr.p)), len(str(expr.q)))


def _add(expr: Add, arrangement: Arrangement) -> float:
    rows = rows_of(expr, arrangement)
    widths = [sum(width(term, arrangement) + _OPERATOR for term in row) for row in rows]
    return max(widths) - (_OPERATOR if len(rows) == 1 else 0)


def _mul(expr: Expr, arrangement: Arrangement) -> float:
    fraction = arrangement.fraction(expr)
    broken = expr in dict(arrangement.rows)
    above, after = fraction.rows if broken else fraction.sides
    bar = max(_factors(above, arrangement), _factors(fraction.below, arrangement))
    behind = _factors(after, arrangement)
    return fraction.negative + (max(bar, behind + _OPERATOR) if broken else bar + behind)


def _factors(factors: Sequence[Expr], arrangement: Arrangement) -> float:
    """Factors side by side, each a little apart, sums and choices in brackets."""
    bracketed = (
        is_sum_or_difference(f) or (isinstance(f, Where) and not as_extreme(f)) for f in factors
    )
    return sum(
        width(f, arrangement) + 0.4 + _BRACKETS * within
        for f, within in zip(factors, bracketed, strict=True)
    )


def _power(expr: Pow, arrangement: Arrangement) -> float:
    if expr.exp.is_Number and expr.exp.is_negative:
        return _mul(expr, arrangement)
    base = width(expr.base, arrangement)
    if expr.exp == sympy.S.Half:
        return base + 1.8
    return base + _BRACKETS * isinstance(expr.base, Add) + _SMALL * width(expr.exp, arrangement)


def _binder(expr: Binder, arrangement: Arrangement) -> float:
    sign = 7.0 if isinstance(expr, ArgMax) else 3.0
    letters = _SMALL * _listed(expr.indices, arrangement)
    brackets = _BRACKETS * isinstance(expr.body, Add)
    return max(sign, letters) + brackets + width(expr.body, arrangement)


def _where(expr: Where, arrangement: Arrangement) -> float:
    extreme = as_extreme(expr)
    if extreme is not None:
        return 3 + _BRACKETS + _listed(extreme[1], arrangement)
    condition, yes, no = (width(arg, arrangement) for arg in expr.args)
    return 3.5 + max(yes, no) + max(condition + 2, 9)


def _joined(expr: Any, arrangement: Arrangement) -> float:
    return sum(width(arg, arrangement) + _OPERATOR for arg in expr.args)


_MEASURES: Mapping[type[Any], Callable[[Any, Arrangement], float]] = {
    Marked: lambda expr, arrangement: width(expr.part, arrangement),
    Rational: _number,
    sympy.Float: _number,
    Symbol: _symbol,
    Element: _element,
    Affine: lambda expr, arrangement: sum(
        width(term, arrangement) + _OPERATOR for term in place_terms(expr.place)
    ),
    Add: _add,
    Mul: _mul,
    Pow: _power,
    Binder: _binder,
    Where: _where,
    StopGradient: lambda expr, arrangement: 5.4 + _listed(expr.args, arrangement),
    KroneckerDelta: lambda expr, arrangement: 1 + _SMALL * _listed(delta_sides(expr), arrangement),
    Relational: _joined,
    And: _joined,
    Or: _joined,
    Not: _joined,
}
