"""Contractions, such as matrix products: where a cotangent keeps its name."""

from __future__ import annotations

from sympy import Add, Expr, KroneckerDelta, Mul

from derive.language.expressions import Element, Sum, Where, free_indices, is_scalar


def is_contraction(expr: Expr) -> bool:
    """Whether a sum is of a product in which two factors each have a letter of their own.

    Such a sum does more arithmetic than its result or its factors have elements, so it is never
    distributed over a difference, nor done twice. A delta is no factor: it says where values go.
    """
    if not isinstance(expr, Sum):
        return False
    bound = set(expr.indices)
    factors = [f for f in Mul.make_args(expr.body) if not isinstance(f, KroneckerDelta)]
    found = [free_indices(f) for f in factors if not is_scalar(f) and f.has(Element)]
    joined = [letters for letters in found if letters & bound]
    return any(a - b - bound and b - a - bound for a in joined for b in joined)


def has_contraction(expr: Expr) -> bool:
    """Whether a contraction stands among the addends of an expression, a coefficient aside, or is
    chosen there."""
    return any(
        is_contraction(factor)
        or (isinstance(factor, Where) and any(map(has_contraction, factor.branches)))
        for addend in Add.make_args(expr)
        for factor in Mul.make_args(addend)
    )
