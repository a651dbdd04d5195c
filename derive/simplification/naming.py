"""Short names for what an expression computes, after the tensors that it is made of.

Where no exact name is short enough, a name says no more than is so: `x_terms` of a sum that has
more than x, `x_adjusted` of x and more than one thing beside it, `x_scaled` of x times something
else, `tanh_inner` of what is computed inside. What is made of a cotangent is called a gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from sympy import Add, Basic, Expr, Function, Mul, Pow, Symbol
from sympy.logic.boolalg import Boolean

from derive.language.cotangents import PREFIX
from derive.language.expressions import Binder, Element, Where, free_indices, is_scalar
from derive.simplification.exact_names import (
    GRADIENT,
    LONGEST,
    apart,
    closed,
    divides,
    exact,
    gradients,
    in_order,
    kept,
    mean_of,
    mixes_sizes,
    of_element,
    of_kind,
    shifted,
    tensors,
)

_ENDING = 12
"""How much of the longest name is left for what is said of a part."""

_KINDS: Mapping[type[Basic], str] = {
    Boolean: "mask",
    Where: "chosen",
    Add: "terms",
    Mul: "scaled",
    Pow: "power",
}


def word(expr: Basic) -> str:
    """A name for an expression: the most exact of those that are not too long."""
    found = (make(expr) for make in (exact, _loose, _by_kind, _bare))
    return next(name for name in found if name and _fits(name, expr))


def _fits(name: str, expr: Basic) -> bool:
    return len(name) <= LONGEST and (name.startswith(GRADIENT) or not gradients(expr))


def _loose(expr: Basic) -> str | None:
    made = of_kind(_LOOSE, expr)
    return made(expr) if made is not None else None


def _short(expr: Basic) -> str:
    """The name of a part, which something is said of."""
    found = (make(expr) for make in (exact, _loose))
    return next((n for n in found if n and len(n) <= LONGEST - _ENDING), _by_kind(expr))


def _loose_product(expr: Mul) -> str | None:
    if (body := mean_of(expr)) is not None:
        return f"{_short(body)}_mean"
    lead = _lead(Mul.make_args(apart(expr)[1]), expr)
    return f"{lead}_scaled" if lead else None


def _loose_terms(expr: Add) -> str | None:
    """`x_adjusted` of x with something else added or taken away."""
    if mixes_sizes(expr):
        return f"{stem(expr)}_{shifted(expr)}"
    lead = _lead([a for a in expr.args if isinstance(a, Element | Symbol)], expr)
    return f"{lead}_adjusted" if lead else None


def _lead(parts: Iterable[Expr], whole: Expr) -> str | None:
    """The part that a whole is named after: a gradient, else what has all its letters."""
    letters = free_indices(whole)
    named = [p for p in in_order(parts) if not is_scalar(p) and closed(p)]

    def rank(part: Expr) -> tuple[bool, bool, bool]:
        return not gradients(part), divides(part), free_indices(part) != letters

    return closed(min(named, key=rank)) if named else None


def _loose_choice(choice: Where) -> str | None:
    found = kept(choice)
    return f"{_short(found[0])}_{found[1]}" if found is not None else None


_LOOSE: Mapping[type[Basic], Callable[[Any], str | None]] = {
    Boolean: lambda condition: None,
    Binder: lambda binder: f"{_short(binder.body)}_{binder.ending}",
    Function: lambda function: f"{type(function).__name__.lower()}_inner",
    Pow: lambda power: f"{_short(power.base)}_power",
    Add: _loose_terms,
    Mul: _loose_product,
    Where: _loose_choice,
}


def _by_kind(expr: Basic) -> str:
    if isinstance(expr, Element | Symbol):
        return stem(expr)
    of = _by_kind(expr.body) if isinstance(expr, Binder) else stem(expr)
    return f"{of}_{_kind(expr)}"


def _bare(expr: Basic) -> str:
    return f"{PREFIX if gradients(expr) else 'long_'}{_kind(expr)}"


def _kind(expr: Basic) -> str:
    return expr.ending if isinstance(expr, Binder) else of_kind(_KINDS, expr) or "part"


def stem(expr: Basic) -> str:
    """A short name for an expression, after the first tensor over all its letters; after the first
    gradient, where it is made of some."""
    if found := gradients(expr):
        whole = (e.tensor_name for e in _elements(expr) if free_indices(e) == free_indices(expr))
        return next((name for name in whole if name in found), found[0])
    if isinstance(expr, Pow) and expr.exp == 2:
        return f"{stem(expr.base)}_squared"
    letters = free_indices(expr)
    elements = _elements(expr)
    if elements:
        return of_element(min(elements, key=lambda e: free_indices(e) != letters))
    return min(tensors(expr), default="u")


def _elements(expr: Basic) -> list[Element]:
    """The elements in an expression, in order; those of conditions where there are no others."""
    return sorted({*_unconditioned(expr)} or expr.atoms(Element), key=str)


def _unconditioned(expr: Basic) -> Iterator[Element]:
    if isinstance(expr, Element):
        yield expr
    for part in expr.branches if isinstance(expr, Where) else expr.args:
        yield from _unconditioned(part)
