"""Exponentials that weigh: a softmax, a mixture and a sigmoid, in forms that overflow nowhere."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

from sympy import Expr, Mul, Pow, exp, log

from derive.calculus.bound_indices import canonical_binder
from derive.language.definition import Definition, Let
from derive.language.expressions import Sum, Where, free_indices, names_used
from derive.language.facts import is_nonnegative
from derive.language.substitute import substitute


def weights(definition: Definition) -> dict[str, Let]:
    """The exponentials that are nothing but weights, and the sums that they make: a gradient is to
    be written in their softmax, which overflows nowhere."""
    wanted = {*definition.outputs, *definition.wrt}
    found: dict[str, Let] = {}
    for let in definition.lets:
        if let.name in wanted or not is_exponential(let.value):
            continue
        meant = {let.name: let}
        for other in definition.lets:
            value = substitute(other.value, meant.values())
            if isinstance(value, Sum) and value != other.value and _weighs(value):
                meant[other.name] = replace(other, value=value)
        readers = [r for r in definition.lets if r.name not in meant]
        values = [r.value for r in readers if names_used(r.value) & meant.keys()]
        spelt = [substitute(value, meant.values()) for value in values]
        if (
            not wanted & meant.keys()
            and spelt
            and all(
                as_softmax_sums(value) != value
                or (not let.value.has(Sum) and _is_likelihood(value))
                for value in spelt
            )
        ):
            found |= meant
    return found


def _is_likelihood(value: Expr) -> bool:
    """Whether a value is made of logarithms of sums of exponentials, as that of a mixture is."""
    sums = (logarithm.args[0] for logarithm in value.atoms(log))
    return any(isinstance(total, Sum) and _weighs(total) for total in sums)


def _weighs(total: Sum) -> bool:
    return any(map(is_exponential, (total.body, *Mul.make_args(total.body))))


def is_exponential(expr: Expr) -> bool:
    """Whether an expression is an exponential, be it masked or given a weight that is not negative:
    what weighs the terms of a softmax."""
    if isinstance(expr, Where):
        return all(b == 0 or is_exponential(b) for b in expr.branches)
    if isinstance(expr, Mul):
        others = [f for f in expr.args if not is_exponential(f)]
        return len(others) < len(expr.args) and all(map(is_nonnegative, others))
    return isinstance(expr, exp)


def as_quotients(expr: Expr) -> Expr:
    """Quotients of exponentials in forms that do not overflow."""
    return as_sigmoids(as_softmax_sums(expr))


def as_sigmoids(expr: Expr) -> Expr:
    """`exp(x)/(1 + exp(x))` as `1/(1 + exp(-x))`."""

    def turned(product: Mul) -> Expr:
        for power in product.args:
            if isinstance(power, exp) and 1 / (1 + power) in product.args:
                others = (f for f in product.args if f not in (power, 1 / (1 + power)))
                return Mul(*others, 1 / (1 + 1 / power))
        return product

    return expr.replace(lambda e: isinstance(e, Mul) and e.has(exp), turned)


def as_softmax_sums(expr: Expr) -> Expr:
    """Sums of exponentials with weights, over the sum of the same exponentials, as softmax sums.

    `sum_k exp(z) v / sum_k exp(z)` is `sum_k (exp(z) / sum_k exp(z)) v`: neither sum overflows.
    """

    def joined(product: Mul) -> Expr:
        for divisor in product.args:
            if not (isinstance(divisor, Pow) and isinstance(divisor.base, Sum)):
                continue
            total = divisor.base
            if not is_exponential(total.body) or divisor.exp != -1:
                continue
            for other in product.args:
                if not isinstance(other, Sum) or set(other.indices) & free_indices(divisor):
                    continue
                if _is_summed(total, other):
                    inner = Sum(other.body * divisor, *other.indices)
                    return Mul(*(a for a in product.args if a not in (divisor, other)), inner)
        return product

    return expr.replace(lambda e: isinstance(e, Mul), joined)


def _is_summed(total: Sum, weighing: Sum) -> bool:
    """Whether one sum adds up, with weights, what the other one does without."""
    factors = Mul.make_args(weighing.body)
    count = len(Mul.make_args(total.body))
    return len(factors) > count and any(
        canonical_binder(Sum(Mul(*some), *weighing.indices)) == canonical_binder(total)
        for some in combinations(factors, count)
    )
