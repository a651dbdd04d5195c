"""Solve a let for a tensor it hides, by peeling invertible operations one at a time."""

from __future__ import annotations

from collections.abc import Sequence

from sympy import (
    Add,
    Expr,
    Integer,
    Mul,
    Pow,
    Rational,
    S,
    Symbol,
    cancel,
    exp,
    log,
    together,
)

from derive.language.definition import Let, Tensor
from derive.language.expressions import Binder, Element, Index, is_scalar
from derive.language.facts import is_nonnegative, is_nonzero, is_positive
from derive.language.substitute import substitute


def solved_for_unknowns(
    let: Let, tensors: dict[str, Tensor], divisors: frozenset[str]
) -> list[tuple[Tensor, Expr]]:
    """Each of the tensors that a let can be solved for, with the solution at its own letters.

    An unknown stands once in the let's value, over the same indices as the let itself, under
    operations that can be undone everywhere: sums, products with what is never zero, powers,
    exponentials and logarithms.
    """
    found = []
    elements = [e for e in let.value.atoms(Element) if e.tensor_name in tensors]
    for element in sorted(elements, key=str):
        name = element.tensor_name
        if sum(1 for e in elements if e.tensor_name == name) != 1:
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


def solve(let: Let, unknown: Expr, divisors: frozenset[str] = frozenset()) -> Expr | None:
    """The unknown in terms of the let's element, or None where an operation cannot be undone."""
    left: Expr = let.tensor.element
    right = let.value
    while right != unknown:
        peeled = _peel(left, right, unknown, divisors)
        if peeled is None:
            return None
        left, right = peeled
    return left


def told_by(let: Let) -> dict[Expr, Expr]:
    """What stands in a let's value and can be told from it, in terms of the let's element: of
    `log(1 + exp(x))` that is `1 + exp(x)`, `exp(x)` and `x`."""
    left: Expr = let.tensor.element
    right = let.value
    found = {right: left}
    while not isinstance(right, Element):
        inside = [a for a in right.args if not is_scalar(a)]
        peeled = _peel(left, right, inside[0], frozenset()) if len(inside) == 1 else None
        if peeled is None:
            break
        left, right = peeled
        found[right] = left
    return found


def difference_of_logarithms(let: Let, other: Let, lets: Sequence[Let]) -> Expr | None:
    """`log(a) - log(b)` where `a/b` is an exponential: `log(1 - s) - log(s)` is `-x` where
    `s = 1/(1 + exp(-x))`. None for other quotients."""
    quotient = let.value.args[0] / other.value.args[0]
    meanings = [one for one in lets if not one.value.has(Binder)]
    for _ in lets:
        quotient = substitute(quotient, meanings)
    names = {e: Symbol(f"_{n}") for n, e in enumerate(sorted(_exponentials(quotient), key=str))}
    plain = quotient.xreplace(names)
    if not names or plain.has(Element):
        return None
    lowest = cancel(together(plain)).xreplace({symbol: e for e, symbol in names.items()})
    powers = [f.as_base_exp() if isinstance(f, Pow) else (f, 1) for f in Mul.make_args(lowest)]
    if not all(isinstance(base, exp) for base, _ in powers):
        return None
    return Add(*(power * base.args[0] for base, power in powers))


def _exponentials(expr: Expr) -> set[Expr]:
    return {e for e in expr.atoms(exp) if e.has(Element)}


def _peel(
    left: Expr, right: Expr, unknown: Expr, divisors: frozenset[str]
) -> tuple[Expr, Expr] | None:
    """Undo the operation at the top of `right`, or None."""
    if isinstance(right, Binder):
        return None
    inside = [a for a in right.args if a.has(unknown)]
    if len(inside) != 1:
        return None
    (argument,) = inside
    others = [a for a in right.args if a is not argument]
    if isinstance(right, Add):
        return None if _cancels(argument, others) else (left - Add(*others), argument)
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


def _cancels(argument: Expr, others: Sequence[Expr]) -> bool:
    """Whether a part of a sum of what is not negative is all that is left when the rest is taken
    away from the sum: where it is small, nothing of it is. Of one there are safe forms."""
    parts = [argument, *(o for o in others if o != 1)]
    return len(parts) > 1 and all(map(is_nonnegative, parts))


def _undo_power(left: Expr, base: Expr, exponent: Expr) -> tuple[Expr, Expr] | None:
    if exponent == S.NegativeOne:
        return 1 / left, base
    invertible = isinstance(exponent, Rational) and (
        (not isinstance(exponent, Integer) and exponent.q % 2 == 0)
        or is_positive(base)
        or (exponent.is_positive and is_nonnegative(base))
    )
    return (left ** (1 / exponent), base) if invertible else None
