"""What is not safe in an expression, and which exponentials are: those of parts of a whole."""

from __future__ import annotations

from itertools import permutations

from sympy import Add, Basic, Expr, Pow, default_sort_key, exp, log

from codegen.lowering.forms import LogAddExp, LogSoftmax, LogSumExp, Sigmoid, Softmax
from codegen.lowering.others import chosen_places
from derive.language.expressions import free_indices


def underflows(expr: Basic) -> bool:
    """Whether a logarithm is taken of what may be rounded to zero, or something divided by it."""
    taken = (e.args[0] for e in expr.atoms(log))
    below = (e.base for e in expr.atoms(Pow) if e.exp.could_extract_minus_sign())
    small = (exp, Softmax, Sigmoid)
    return any(e.has(*small, LogSoftmax, *LOG_SUMS) for e in taken) or any(
        e.has(*small) for e in below
    )


def bare_exponentials(expr: Basic) -> int:
    """How many exponentials are left that no safe form protects."""
    return sum(not is_a_part(power.args[0]) for power in expr.atoms(exp))


LOG_SUMS = (LogAddExp, LogSumExp)
"""Logarithms of what exponentials are parts of."""


def is_a_part(exponent: Expr) -> bool:
    """Whether an exponential is divided by a sum that it is a term of, as it is or with a weight:
    `exp(a - log(exp(a) + ...))` is at most 1, and `exp(a - log(w exp(a) + ...))` at most 1/w."""
    terms = Add.make_args(exponent)
    log_sums = [-term for term in terms if isinstance(-term, LOG_SUMS)]
    if len(log_sums) != 1:
        return False
    (log_sum,) = log_sums
    rest = Add(*(t for t in terms if t != -log_sum))
    return any(_is_among(rest, part) for part in _parts(log_sum))


def _is_among(exponent: Expr, part: Expr) -> bool:
    """Whether an exponent is a part of a whole, or one of those that the part sums up, or some."""
    if exponent == part or not isinstance(part, LogSumExp):
        return exponent == part
    exponent = exponent.body if isinstance(exponent, LogSumExp) else exponent
    letters = [*sorted(free_indices(exponent), key=default_sort_key), *chosen_places(exponent)]
    placed = (
        dict(zip(part.indices, some, strict=True))
        for some in permutations(letters, len(part.indices))
    )
    weights = (
        Add.make_args(part.body.xreplace(place) - exponent)
        for place in placed
        if all(bound.axis == getattr(i, "axis", bound.axis) for bound, i in place.items())
    )
    return any(all(w == 0 or isinstance(w, log) for w in found) for found in weights)


def _parts(expr: Expr) -> list[Expr]:
    """What exponentials are added up of."""
    if not isinstance(expr, LogAddExp):
        return [expr]
    return [part for arg in expr.args for part in _parts(arg)]
