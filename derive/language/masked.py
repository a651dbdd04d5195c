"""Minus infinity, for what an exponential leaves out.

    exp(where(c, x, -oo))    ->    where(c, exp(x), 0)

So a mask may be put on the scores, or added to them, as people do, and nothing infinite is left to
be computed with.
"""

from __future__ import annotations

from sympy import Add, Expr, Mul, S, exp

from derive.language.expressions import Where
from derive.language.facts import is_positive


def without_masks(expr: Expr) -> Expr:
    """The same value, in which exponentials of what may be minus infinity are chosen or zero."""
    if not expr.has(S.NegativeInfinity):
        return expr
    return expr.replace(lambda e: isinstance(e, exp), lambda e: _exponential(e.args[0]))


def as_masked(expr: Expr) -> Expr:
    """What is added to a choice of minus infinity, inside it: `x + where(c, 0, -oo)` is
    `where(c, x, -oo)`."""
    for term in Add.make_args(expr) if isinstance(expr, Add) else ():
        choice = _scaled(term)
        if is_masked(choice) and choice.has(S.NegativeInfinity):
            rest = expr - term
            branches = (
                b if b == S.NegativeInfinity else as_masked(b + rest) for b in choice.branches
            )
            return Where(choice.condition, *branches)
    return expr


def is_masked(expr: Expr) -> bool:
    """Whether an expression is a choice, minus infinity or something finite."""
    return isinstance(expr, Where) and all(
        branch == S.NegativeInfinity or is_masked(branch) or not branch.has(S.NegativeInfinity)
        for branch in expr.branches
    )


def _exponential(exponent: Expr) -> Expr:
    for term in Add.make_args(exponent):
        choice = _scaled(term)
        if is_masked(choice) and choice.has(S.NegativeInfinity):
            rest = exponent - term
            branches = (
                S.Zero if branch == S.NegativeInfinity else _exponential(branch + rest)
                for branch in choice.branches
            )
            return Where(choice.condition, *branches)
    return exp(exponent)


def _scaled(term: Expr) -> Expr:
    """A choice times what is positive, as a choice."""
    if not isinstance(term, Mul):
        return term
    choices = [f for f in term.args if isinstance(f, Where) and f.has(S.NegativeInfinity)]
    factor = Mul(*(f for f in term.args if f not in choices))
    if len(choices) != 1 or not is_positive(factor):
        return term
    (choice,) = choices
    branches = (b if b == S.NegativeInfinity else _scaled(factor * b) for b in choice.branches)
    return Where(choice.condition, *branches)
