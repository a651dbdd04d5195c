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
    return any(e.has(*small, LogSoftmax, *LOG_SUMS) and not is_mean(e) for e in taken) or any(
        e.has(*small) and not is_mean(e) for e in below
    )


def is_mean(total: Basic) -> bool:
    """Whether a sum is a mean of weights, by all parts of a whole: some are not small."""
    exponents = {power.args[0] for power in total.atoms(exp)}
    wholes = {-term for e in exponents for term in Add.make_args(e) if isinstance(-term, LogAddExp)}
    return isinstance(total, Add) and any(
        {Add(e, whole) for e in exponents} == {*_parts(whole)} for whole in wholes
    )


def bare_exponentials(expr: Basic) -> int:
    """How many exponentials are left that no safe form protects."""
    return sum(not is_a_part(power.args[0]) for power in expr.atoms(exp))


LOG_SUMS = (LogAddExp, LogSumExp)
"""Logarithms of what exponentials are parts of."""


def is_a_part(exponent: Expr) -> bool:
    """Whether an exponential is divided by a sum that it is a term of, as it is or with a weight:
    `exp(a - log(exp(a) + ...))` is at most 1, and `exp(a - log(w exp(a) + ...))` at most 1/w."""
    log_sums = [-term for term in Add.make_args(exponent) if isinstance(-term, LOG_SUMS)]
    return any(
        _is_among(Add(exponent, log_sum), part) for log_sum in log_sums for part in _parts(log_sum)
    )


def is_below_two(exponent: Expr) -> bool:
    """Whether an exponential is no larger than either of two that it is a product of, for it is
    divided by their sum: `exp(a + b - log(exp(a) + exp(b)))`."""
    terms = Add.make_args(exponent)
    return exponent.has(*LOG_SUMS) and sum(is_a_part(exponent - term) for term in terms) > 1


def balanced_exponents(expr: Basic) -> list[Expr]:
    """The exponents in which a logarithm of a sum keeps low what it is no sum of."""
    exponents = sorted((power.args[0] for power in expr.atoms(exp)), key=default_sort_key)
    return [e for e in exponents if e.has(*LOG_SUMS) and not is_a_part(e)]


def _is_among(exponent: Expr, part: Expr) -> bool:
    """Whether an exponent is a part of a whole, or one of those that the part sums up, or some; a
    weight that the part has may be missing."""
    if not isinstance(part, LogSumExp):
        return _is_weighted(part, exponent)
    exponent = exponent.body if isinstance(exponent, LogSumExp) else exponent
    letters = [*sorted(free_indices(exponent), key=default_sort_key), *chosen_places(exponent)]
    placed = (
        dict(zip(part.indices, some, strict=True))
        for some in permutations(letters, len(part.indices))
    )
    return any(
        _is_weighted(part.body.xreplace(place), exponent)
        for place in placed
        if all(bound.axis == getattr(i, "axis", bound.axis) for bound, i in place.items())
    )


def _is_weighted(part: Expr, exponent: Expr) -> bool:
    """Whether a part is an exponent, or one beside logarithms of weights."""
    return all(w == 0 or isinstance(w, log) for w in Add.make_args(part - exponent))


def _parts(expr: Expr) -> list[Expr]:
    """What exponentials are added up of."""
    if not isinstance(expr, LogAddExp):
        return [expr]
    return [part for arg in expr.args for part in _parts(arg)]
