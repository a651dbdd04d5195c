"""Solve a let for a tensor it hides, by peeling invertible operations one at a time."""

from __future__ import annotations

from sympy import Add, Expr, Indexed, Integer, Mul, Pow, Rational, S, exp, log

from derive.expressions import Binder, Index
from derive.facts import is_nonnegative, is_nonzero, is_positive
from derive.language import Let, Tensor


def kernels(
    let: Let, tensors: dict[str, Tensor], divisors: frozenset[str]
) -> list[tuple[Tensor, Expr]]:
    """Each tensor that a let can be solved for, with the solution at that tensor's own letters.

    A kernel stands once in the let's value, over the same indices as the let itself, under
    operations that can be undone everywhere: sums, products with what is never zero, powers,
    exponentials and logarithms.
    """
    found = []
    elements = [e for e in let.value.atoms(Indexed) if e.base.label.name in tensors]
    for element in sorted(elements, key=str):
        name = element.base.label.name
        if sum(1 for e in elements if e.base.label.name == name) != 1:
            continue
        if not all(isinstance(i, Index) for i in element.indices):
            continue
        if set(element.indices) != set(let.tensor.indices) or len(set(element.indices)) != len(
            element.indices
        ):
            continue
        solution = solve(let, element, divisors)
        if solution is not None:
            tensor = tensors[name]
            letters = dict(zip(element.indices, tensor.indices, strict=True))
            found.append((tensor, solution.xreplace(letters)))
    return found


def solve(let: Let, kernel: Expr, divisors: frozenset[str] = frozenset()) -> Expr | None:
    """The kernel in terms of the let's element, or None where an operation cannot be undone."""
    left: Expr = let.tensor.element
    right = let.value
    while right != kernel:
        peeled = _peel(left, right, kernel, divisors)
        if peeled is None:
            return None
        left, right = peeled
    return left


def _peel(
    left: Expr, right: Expr, kernel: Expr, divisors: frozenset[str]
) -> tuple[Expr, Expr] | None:
    """Undo the operation at the top of `right`, or None."""
    if isinstance(right, Binder):
        return None
    inside = [a for a in right.args if a.has(kernel)]
    if len(inside) != 1:
        return None
    (argument,) = inside
    others = [a for a in right.args if a is not argument]
    if isinstance(right, Add):
        return left - Add(*others), argument
    if isinstance(right, Mul):
        factor = Mul(*others)
        return (left / factor, argument) if is_nonzero(factor, divisors) else None
    if isinstance(right, Pow) and argument is right.base:
        return _undo_power(left, right.base, right.exp)
    if isinstance(right, exp):
        return log(left), argument
    if isinstance(right, log):
        return exp(left), argument
    return None


def _undo_power(left: Expr, base: Expr, exponent: Expr) -> tuple[Expr, Expr] | None:
    if exponent == S.NegativeOne:
        return 1 / left, base
    invertible = isinstance(exponent, Rational) and (
        (not isinstance(exponent, Integer) and exponent.q % 2 == 0)
        or is_positive(base)
        or (exponent.is_positive and is_nonnegative(base))
    )
    return (left ** (1 / exponent), base) if invertible else None
