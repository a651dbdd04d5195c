"""What one part leaves of the whole is what the others are together:

    log(1 - p[j])                    ->  LogSumExp(Where(k == j, -oo, z[k]), k) - LogSumExp(z, k)
    (delta(k, j) - p[k])/(1 - p[j])  ->  delta(k, j) - Softmax(Where(k == j, -oo, z[k]), k)

for `p = Softmax(z, k)`. Where the one part is nearly all, the difference is rounded to zero. One
that is chosen, by a number or a tensor, has the others looked through for; for each, that would be
a sum for each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sympy import Add, Basic, Eq, Expr, KroneckerDelta, Mul, Pow, S

from codegen.lowering.forms import Expm1, LogSoftmax, LogSumExp, Softmax
from derive.language.expressions import Element, Index, Where, free_indices


@dataclass(frozen=True)
class Others:
    """The exponents of a softmax along a letter, that of the part which is chosen left out."""

    chosen: Any
    total: LogSumExp
    exponent: Expr

    def logarithm(self) -> Expr:
        return LogSumExp(self.exponent, *self.total.indices) - self.total


def others(difference: Expr) -> Others | None:
    """What is left in `1 - p[j]`, which is `-Expm1(z[j] - LogSumExp(z, k))`."""
    if not isinstance(-difference, Expm1):
        return None
    terms = Add.make_args((-difference).args[0])
    totals = [-t for t in terms if isinstance(-t, LogSumExp) and len((-t).indices) == 1]
    if len(totals) != 1:
        return None
    (total,) = totals
    part, (bound,) = Add(*(t for t in terms if t != -total)), total.indices
    for chosen in chosen_places(part):
        if total.body.xreplace({bound: chosen}) == part:
            left_out = Where(Eq(bound, chosen), S.NegativeInfinity, total.body)
            return Others(chosen, total, left_out)
    return None


def chosen_places(part: Basic) -> set[Any]:
    """The places that are no letters at which tensors are read."""
    return {i for e in part.atoms(Element) for i in e.indices if not isinstance(i, Index)}


def among_others(product: Expr) -> Expr:
    """A product in which a part is told from one, and divided by what is left: the second form."""
    for below in product.args:
        if not (isinstance(below, Pow) and below.exp == -1):
            continue
        for sign in (1, -1):
            if (found := others(sign * below.base)) is None:
                continue
            for factor in product.args:
                if (form := _told_apart(factor, found)) is not None:
                    rest = (f for f in product.args if f not in (below, factor))
                    return Mul(sign, form, *rest)
    return product


def _told_apart(factor: Expr, found: Others) -> Expr | None:
    """`delta(k, j) - p[k]`, or the opposite, as it is among the others."""
    if not (isinstance(factor, Add) and len(factor.args) == 2):
        return None
    (bound,) = found.total.indices
    for sign in (1, -1):
        deltas = [t for t in factor.args if isinstance(sign * t, KroneckerDelta)]
        parts = [-sign * t for t in factor.args if isinstance(-sign * t, Softmax)]
        if not (deltas and parts):
            continue
        delta, part = sign * deltas[0], parts[0]
        letter = part.index
        same = part.body == found.total.body.xreplace({bound: letter})
        if same and {*delta.args} == {letter, found.chosen}:
            masked = found.exponent.xreplace({bound: letter})
            return sign * (delta - Softmax(masked, letter))
    return None


def told_along(score: Expr, letter: Index) -> Expr:
    """A score without what log-softmaxes take from it along a letter: a softmax has that anyway."""
    if isinstance(score, LogSoftmax):
        return score.body if score.index == letter else score
    if isinstance(score, Add):
        return Add(*(told_along(term, letter) for term in score.args))
    if isinstance(score, Mul):
        same = [f for f in score.args if letter not in free_indices(f)]
        rest = [f for f in score.args if f not in same]
        return Mul(*same, told_along(rest[0], letter)) if len(rest) == 1 else score
    if isinstance(score, Where) and S.NegativeInfinity in score.branches:
        branches = (told_along(branch, letter) for branch in score.branches)
        return Where(score.condition, *branches)
    return score
