"""Moments about the mean: `E[x*y] - E[x]*E[y]` is `E[(x - E[x])*(y - E[y])]`.

The first is a difference of large numbers where the means are large, and a variance of that kind
may come out negative. The second is what a careful hand writes (Chan, Golub and LeVeque, Algorithms
for computing the sample variance, 1983).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sympy import Add, Expr, Mul, Pow

from derive.calculus.bound_indices import canonical_binder
from derive.calculus.normal import normalise
from derive.calculus.recognise import Named, abstract
from derive.language.definition import Let
from derive.language.expressions import Sum, count_of, is_scalar


def about_the_mean(lets: Sequence[Let]) -> list[Let]:
    """The lets with each second moment from which the product of the means is taken as one about
    these means, which are lets."""
    means: dict[Expr, Named] = {}
    found = []
    for let in lets:
        value = let.value.replace(
            lambda e: isinstance(e, Add) and e.has(Sum), lambda total: _centred(total, means)
        )
        found.append(replace(let, value=value))
        if _sum_in(let.value) is not None:
            pattern, letters = abstract(normalise(let.value))
            if set(letters) == set(let.tensor.indices):
                means.setdefault(pattern, Named(let.tensor, letters))
    return found


def _centred(total: Expr, means: dict[Expr, Named]) -> Expr:
    """A sum of terms in which a second moment and the product of the means are one term."""
    for term in total.args:
        moment = _sum_in(term)
        sides = _sides(moment) if moment is not None else None
        if moment is None or sides is None:
            continue
        scale, count = term / moment, count_of(moment.indices)
        known = [_mean(side, moment, means) for side in sides]
        if None in known:
            continue
        product = normalise(-scale * count * Mul(*known))
        taken = next((t for t in total.args if normalise(t) == product), None)
        if taken is not None:
            apart = Mul(*(side - mean for side, mean in zip(sides, known, strict=True)))
            rest = [t for t in total.args if t not in (term, taken)]
            return Add(*rest, scale * Sum(apart, *moment.indices))
    return total


def _sum_in(term: Expr) -> Sum | None:
    """The sum that a term is, a coefficient aside."""
    sums = [f for f in Mul.make_args(term) if not is_scalar(f)]
    return sums[0] if len(sums) == 1 and isinstance(sums[0], Sum) else None


def _sides(moment: Sum) -> tuple[Expr, Expr] | None:
    """The two factors of what a sum adds up."""
    body = moment.body
    if isinstance(body, Pow) and body.exp == 2:
        return body.base, body.base
    return body.args if isinstance(body, Mul) and len(body.args) == 2 else None


def _mean(side: Expr, moment: Sum, means: dict[Expr, Named]) -> Expr | None:
    """What the mean of a factor over the letters of a sum is called."""
    if is_scalar(side):
        return None
    total = canonical_binder(Sum(side, *moment.indices))
    pattern, letters = abstract(normalise(total / count_of(moment.indices)))
    return means[pattern].at(letters) if pattern in means else None
