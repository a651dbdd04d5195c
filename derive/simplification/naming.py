"""Short names for what an expression computes, after the tensors that it is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sympy import Add, Basic, Eq, Ge, Gt, Integer, Le, Lt, Mul, Ne, Pow, S, Symbol
from sympy.core.relational import Relational
from sympy.logic.boolalg import Boolean

from derive.language.expressions import (
    Element,
    Index,
    Parameter,
    Sum,
    Where,
    free_indices,
    is_scalar,
)

_LONGEST = 40
_SHORT = {
    Boolean: "mask",
    Where: "chosen",
    Sum: "sum",
    Add: "total",
    Mul: "product",
    Pow: "power",
}
_RAISED: dict[Basic, str] = {Integer(2): "squared", Integer(3): "cubed", Integer(4): "to_the_4"}
_INSTEAD: dict[Basic, str] = {S.Zero: "masked", S.One: "or_one"}
_ASKED: dict[type[Basic], dict[Basic | None, str]] = {
    Eq: {S.Zero: "is_zero", S.One: "is_one"},
    Ne: {S.Zero: "not_zero", S.One: "not_one"},
    Gt: {S.Zero: "positive", None: "high"},
    Ge: {S.Zero: "not_negative", None: "high"},
    Lt: {S.Zero: "negative", None: "low"},
    Le: {S.Zero: "not_positive", None: "low"},
}
"""What is so of the left side of a relation to a number; to any other under None."""


def word(expr: Basic) -> str:
    """A name: `off_sum`, `x_minus_target`, `log_x`; only its last word, where it would be long."""
    name = _word(expr)
    if len(name) <= _LONGEST:
        return name
    return next((short for kind, short in _SHORT.items() if isinstance(expr, kind)), "part")


def _word(expr: Basic) -> str:
    for kind, called in _CALLED.items():
        if isinstance(expr, kind):
            return called(expr)
    return applied(expr)


def applied(expr: Basic) -> str:
    """A name for a function of something: `exp_x`, and `exp_neg_x` where that is of `-x`, or of a
    negative number times x."""
    argument = expr.args[0]
    number, rest = argument.as_coeff_Mul()
    sign = "neg_" if number.is_negative and isinstance(rest, Element | Symbol) else ""
    of = argument.name if isinstance(argument, Symbol) else stem(argument)
    return f"{type(expr).__name__.lower()}_{sign}{of}"


def _of_condition(condition: Boolean) -> str:
    """`x_is_zero`, `near_positive`, `log_x_low`: what is so of what stands beside a number."""
    if isinstance(condition, Eq) and all(isinstance(side, Index) for side in condition.args):
        return "diagonal"
    if not condition.atoms(Element):
        return "mask"
    if isinstance(condition, Relational):
        sided = condition.reversed if condition.lhs.is_number else condition
        asked = _ASKED.get(type(sided), {}) if sided.rhs.is_number else {}
        if how := asked.get(sided.rhs, asked.get(None)):
            return f"{_word(sided.lhs)}_{how}"
    return f"{stem(condition)}_mask"


def _of_choice(choice: Where) -> str:
    """`x_masked` where what is chosen elsewhere is 0 or an exponent's -inf, `x_or_one` for 1."""
    if S.NegativeInfinity in choice.branches:
        return f"{stem(choice)}_masked"
    for constant, kept in (choice.branches, choice.branches[::-1]):
        instead = _INSTEAD.get(constant)
        if instead and not kept.is_number:
            return f"{_word(kept)}_{instead}"
    return f"{stem(choice)}_chosen"


def _of_terms(expr: Add) -> str:
    if mixes_sizes(expr):
        return shift(expr)
    terms = [a for a in expr.args if not is_scalar(a)]
    plain = [a for a in terms if isinstance(a, Element)]
    taken = [-a for a in terms if isinstance(-a, Element)]
    if len(terms) == len(expr.args) == 2:
        if len(plain) == len(taken) == 1:
            return f"{base_stem(plain[0])}_minus_{base_stem(taken[0])}"
        if len(plain) == 2:
            return "_plus_".join(sorted(map(base_stem, plain)))
    if len(terms) == 1 and 1 in expr.args:
        (term,) = terms
        if term in plain:
            return f"{base_stem(term)}_plus_one"
        if isinstance(-term, Element) or (isinstance(-term, Pow) and (-term).exp == 2):
            return f"one_minus_{stem(-term)}"
    return f"{stem(expr)}_total"


def shift(expr: Add) -> str:
    """A name for a full tensor that one which lacks an axis is subtracted from, or added to."""
    smaller = next(
        a for a in expr.args if free_indices(a) < free_indices(expr) and not is_scalar(a)
    )
    return f"{stem(expr)}_{'centred' if smaller.could_extract_minus_sign() else 'shifted'}"


def _of_factors(expr: Mul) -> str:
    tensors = [f for f in expr.args if not is_scalar(f)]
    if len(tensors) == len(expr.args) == 2 and all(isinstance(f, Element) for f in tensors):
        parts = sorted(map(base_stem, tensors))
        if not any("_times_" in part for part in parts):
            return "_times_".join(parts)
    if isinstance(-expr, Element):
        return f"neg_{stem(expr)}"
    return f"{stem(expr)}_{'product' if len(tensors) > 1 else 'scaled'}"


def _of_power(expr: Pow) -> str:
    if expr.exp == -1:
        return f"inverse_{_word(expr.base)}"
    return f"{stem(expr.base)}_{_RAISED.get(expr.exp, 'power')}"


_CALLED: Mapping[type[Basic], Callable[[Any], str]] = {
    Symbol: lambda symbol: symbol.name,  # before a condition, which SymPy holds it for, too
    Boolean: _of_condition,
    Sum: lambda total: f"{stem(total.body)}_sum",
    Pow: _of_power,
    Add: _of_terms,
    Mul: _of_factors,
    Where: _of_choice,
    Element: lambda element: "_".join([*names(element), *_places(element)]),
}
"""What an expression is called, by its kind; any other is a function of something."""


def names(expr: Basic) -> list[str]:
    """The names of the tensors in an expression, in order."""
    found: dict[str, None] = {}
    for element in sorted(expr.atoms(Element), key=str):
        found.setdefault(element.tensor_name)
    return list(found)


def stem(expr: Basic) -> str:
    """A short name for an expression, after the first tensor over all its letters."""
    if isinstance(expr, Pow) and expr.exp in _RAISED:
        return f"{stem(expr.base)}_{_RAISED[expr.exp]}"
    letters = free_indices(expr)
    branches = [b for b in expr.branches if b.atoms(Element)] if isinstance(expr, Where) else []
    elements = sorted(set().union(*(b.atoms(Element) for b in branches or [expr])), key=str)
    for element in elements:
        if free_indices(element) == letters:
            return base_stem(element)
    if elements:
        return base_stem(elements[0])
    symbols = (s for s in expr.free_symbols if not isinstance(s, Index | Parameter))
    return min((s.name for s in symbols), default="u")


def base_stem(element: Basic) -> str:
    if not isinstance(element, Element):
        return str(element)
    name = (
        element.tensor_name.removesuffix("_centred").removesuffix("_shifted").removesuffix("_hat")
    )
    return "_".join([name, *_places(element)])


def _places(element: Element) -> list[str]:
    """The literal indices of an element: `x_0` is `x[n, 0]`."""
    return [str(i) for i in element.indices if isinstance(i, Integer)]


def mixes_sizes(expr: Basic) -> bool:
    """Whether a sum joins a full tensor with one that lacks an axis: a shift."""
    if not isinstance(expr, Add):
        return False
    letters = free_indices(expr)
    nonscalar = [a for a in expr.args if not is_scalar(a)]
    return (
        len(nonscalar) == 2
        and any(free_indices(a) == letters for a in nonscalar)
        and any(free_indices(a) < letters for a in nonscalar)
    )
