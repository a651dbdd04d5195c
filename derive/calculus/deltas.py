"""Contract deltas without multiplying out: differences stay whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sympy import Add, Expr, KroneckerDelta, Mul, Pow

from derive.calculus.normal import normalise
from derive.language.definition import Let, Tensor
from derive.language.expressions import Sum, free_indices, is_scalar
from derive.language.substitute import substitute


def contract(expr: Expr) -> Expr:
    """The normal form of an expression in which every delta-free sum of terms is one factor."""
    return keeping_sums_whole(expr, normalise)


def keeping_sums_whole(expr: Expr, rewrite: Callable[[Expr], Expr]) -> Expr:
    """Rewrite an expression as if each delta-free sum of terms inside a product were a tensor."""
    hidden: dict[Expr, Let] = {}

    def hide(e: Any, inside: bool, summed: bool = False) -> Any:
        if not isinstance(e, Expr) or not e.args or is_scalar(e):
            return e
        if isinstance(e, Add) and inside and not e.has(KroneckerDelta):
            content, rest = e.primitive()  # SymPy writes 2*(x - m) as 2*x - 2*m
            if summed and -rest in hidden:
                content, rest = -content, -rest
            if rest not in hidden:
                letters = tuple(sorted(free_indices(rest), key=str))
                hidden[rest] = Let(Tensor(f"__{len(hidden)}", letters), rest)
            return content * hidden[rest].tensor.element
        if not e.has(Add):
            return e
        inside, summed = inside or isinstance(e, Mul | Pow), summed or isinstance(e, Sum)
        return e.func(*(hide(a, inside, summed) for a in e.args))

    return substitute(rewrite(hide(expr, False)), hidden.values())
