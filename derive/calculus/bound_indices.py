"""Bound indices: the letters of sums, what they bind, and what they are called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import permutations, product
from typing import Any

from sympy import Basic, Expr, Mul, default_sort_key

from derive.language.expressions import (
    Axis,
    Binder,
    Element,
    Index,
    Sum,
    free_indices,
    fresh_indices,
    names_in,
    with_args,
)

_PERMUTE_UP_TO = 5


@lru_cache(maxsize=50_000)
def canonical_binder(expr: Expr) -> Expr:
    """The same expression with bound indices named after their axes, in one chosen way."""
    if not isinstance(expr, Binder):
        return expr
    outside = {i.name for i in free_indices(expr)}
    letters = list(expr.indices)
    if len(letters) > _PERMUTE_UP_TO:
        return expr
    best: Expr | None = None
    best_key = None
    seen_axes = sorted({i.axis.name for i in letters})
    groups = [[i for i in letters if i.axis.name == axis] for axis in seen_axes]
    for orders in product(*(permutations(group) for group in groups)):
        old = [i for order in orders for i in order]
        new = fresh_indices(old, outside)
        renamed = expr.func(expr.body.xreplace(dict(zip(old, new, strict=True))), *new)
        if all(len(g) == 1 for g in groups):
            return renamed
        key = default_sort_key(renamed)
        if best_key is None or key < best_key:
            best, best_key = renamed, key
    return best if best is not None else expr


def in_own_letters(expr: Any, letters: Mapping[Axis, Sequence[Index]]) -> Any:
    """The same expression, whose sums run over a second letter that the definition has for an axis
    where they would run over one that is made up: `j` for `i_1`."""
    if not isinstance(expr, Basic) or not expr.args or isinstance(expr, Element):
        return expr
    expr = with_args(expr, [in_own_letters(a, letters) for a in expr.args])
    if not isinstance(expr, Binder):
        return expr
    taken = names_in(expr.body) | {i.name for i in expr.indices}
    renamed: dict[Index, Index] = {}
    for index in expr.indices:
        own = letters.get(index.axis, ())
        if index.name == index.axis.name or index in own:
            continue
        if (free := next((i for i in own if i.name not in taken), None)) is not None:
            renamed[index] = free
            taken |= {free.name}
    return expr.func(expr.body.xreplace(renamed), *(renamed.get(i, i) for i in expr.indices))


def flattened(monomial: Expr, indices: tuple[Index, ...]) -> tuple[list[Expr], list[Index]]:
    """The factors under a sum and its letters, with those of the sums inside that depend on it."""
    bound = list(indices)
    factors: list[Expr] = []
    pending = list(Mul.make_args(monomial))
    taken = names_in(monomial) | {i.name for i in bound}
    while pending:
        factor = pending.pop()
        if isinstance(factor, Sum) and free_indices(factor) & set(bound):
            fresh = fresh_indices(factor.indices, taken)
            taken |= {i.name for i in fresh}
            bound.extend(fresh)
            body = factor.body.xreplace(dict(zip(factor.indices, fresh, strict=True)))
            pending.extend(Mul.make_args(body))
        else:
            factors.append(factor)
    return factors, bound


def components(factors: list[Expr], bound: list[Index]) -> list[tuple[list[Expr], list[Index]]]:
    """Groups of factors that share bound indices, directly or through others."""
    groups: list[tuple[list[Expr], set[Index]]] = []
    for factor in factors:
        letters = {i for i in bound if i in factor.free_symbols}
        touching = [g for g in groups if g[1] & letters]
        groups = [g for g in groups if not g[1] & letters]
        merged = [factor], set(letters)
        for members, used in touching:
            merged[0].extend(members)
            merged[1].update(used)
        groups.append(merged)
    return [(members, sorted(used, key=lambda i: i.name)) for members, used in groups]
