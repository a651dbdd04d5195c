"""Numerically safe forms, found in the mathematics.

`exp(z)` overflows where `exp(z) / sum_k exp(z)` does not. `stabilise` finds the forms of
`codegen.lowering.forms` in an expression, from the laws of exponentials alone:

    log(sum_k exp(z))          ->  LogSumExp(z, k)
    log(sum_k w exp(z))        ->  LogSumExp(z + log(w), k), where no w is negative
    exp(a) * exp(b)            ->  exp(a + b)
    (sum_k exp(z))**-p         ->  exp(-p * LogSumExp(z, k))
    z - LogSumExp(z, k)        ->  LogSoftmax(z, k)
    exp(LogSoftmax(z, k))      ->  Softmax(z, k)
    Softmax(LogSoftmax(z, k) + a, k)  ->  Softmax(z + a, k)
    exp(a - LogAddExp(a, 0))   ->  Sigmoid(a)
    (1 + exp(a))**-1           ->  Sigmoid(-a)
    log(exp(a) + exp(b))       ->  LogAddExp(a, b), also where a and b are such logarithms
    log(u*exp(a) + v*exp(b))   ->  c + log(u*exp(a - c) + v*exp(b - c)), c = LogAddExp(a, b)
    log(cosh(a))               ->  LogAddExp(a, -a) - log(2)
    log(Where(c, a, b))        ->  Where(c, log(a), log(b)), where both are safe
    log(1 + a)                 ->  Log1p(a)
    exp(a) - 1                 ->  Expm1(a)
    b - b * Sigmoid(a)         ->  b * Sigmoid(-a)
    b * Expm1(a)               ->  b * exp(a) - b, where that is safe and `exp(a)` alone is not
    Where(c, exp(a), 0)        ->  exp(Where(c, a, -oo))
    Where(c, k*exp(a), 0)      ->  Where(c, k, 0) * exp(Where(c, a, -oo))
    Where(i != j, a, b)        ->  Where(i == j, b, a)

and those of `codegen.lowering.others` and `codegen.lowering.elementary`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import permutations
from typing import Any

from sympy import (
    Add,
    Basic,
    Eq,
    Expr,
    KroneckerDelta,
    Mul,
    Ne,
    Pow,
    S,
    cosh,
    default_sort_key,
    exp,
    log,
)

from codegen.lowering import elementary
from codegen.lowering.forms import (
    Expm1,
    Log1p,
    LogAddExp,
    LogSoftmax,
    LogSumExp,
    Sigmoid,
    Softmax,
)
from codegen.lowering.hazards import LOG_SUMS, bare_exponentials, is_a_part, is_mean, underflows
from codegen.lowering.others import among_others, others, told_along
from derive.language.expressions import (
    Element,
    Index,
    Sum,
    Where,
    free_indices,
    is_scalar,
    with_args,
)
from derive.language.facts import is_nonnegative


def stabilise(expr: Expr) -> Expr:
    """A value with the forms above wherever the expression allows them.

    An exponential that is chosen or left out is that of a masked exponent, where this makes all
    of them safe.
    """
    plain = _walk(expr)
    if not expr.has(Where) or not (bare_exponentials(plain) or underflows(plain)):
        return plain
    masked = _walk(expr.replace(lambda e: isinstance(e, Where), _masked))
    return plain if bare_exponentials(masked) or underflows(masked) else masked


@lru_cache(maxsize=50_000)
def _walk(expr: Any) -> Any:
    if not expr.args or isinstance(expr, KroneckerDelta):
        return expr
    return _rule(with_args(expr, [_walk(a) for a in expr.args]))


def _rule(expr: Expr) -> Expr:
    rule = _RULES.get(type(expr))
    return rule(expr) if rule else expr


def _masked(choice: Where) -> Expr:
    """`Where(c, exp(u), 0)` as `exp(Where(c, u, -oo))`, the other way round too. What multiplies
    the exponential stays a choice of its own, unless it is made of positions and sizes alone,
    which are finite where it is left out."""
    scale, branches = S.One, list(choice.branches)
    if S.Zero in branches:
        place = 1 - branches.index(S.Zero)
        scale, chosen = Add(*branches).as_independent(Element, exp, as_Add=False)
        powers = [f for f in Mul.make_args(chosen) if _pure_exponent(f) is not None]
        others = [f for f in Mul.make_args(chosen) if f not in powers]
        if not powers:
            return choice
        if others or not scale.is_polynomial(*scale.free_symbols):
            kept = [S.Zero, S.Zero]
            kept[place] = scale * Mul(*others)
            scale = Where(choice.condition, *kept)
        branches[place] = Mul(*powers)
    exponents = [S.NegativeInfinity if b == 0 else _pure_exponent(b) for b in branches]
    if None in exponents or exponents == [S.NegativeInfinity] * 2:
        return choice
    return scale * exp(Where(choice.condition, *exponents))


def _log(expr: Expr) -> Expr:
    (inside,) = expr.args
    if isinstance(inside, Softmax):
        return LogSoftmax(*inside.args)
    if (exponent := _logarithm(inside)) is not None:
        return exponent
    if isinstance(inside, Mul):
        safe = [(f, _logarithm(f)) for f in inside.args]
        rest = Mul(*(f for f, found in safe if found is None))
        if not rest.is_negative and any(found is not None for _, found in safe):
            divided = rest.as_base_exp()[1] == -1 and not is_scalar(rest)
            sign, below = (-1, 1 / rest) if divided else (1, rest)
            parts = (found for _, found in safe if found is not None)
            return Add(sign * _rule(log(below)), *parts)
    if (apart := elementary.grown(inside)) is not None:
        rest, large = apart
        return Add(log(rest), _rule(log(large)))
    if (left := others(inside)) is not None:
        return left.logarithm()
    if (found := elementary.logarithm(inside)) is not None:
        return found
    if isinstance(inside, Add) and S.One in inside.args:
        return Log1p(inside - 1)
    if isinstance(inside, Where):
        branches = [
            log(b) if b.is_number else _log(log(b, evaluate=False)) for b in inside.branches
        ]
        if not any(isinstance(b, log) or b.is_infinite for b in branches):
            return Where(inside.condition, *branches)
    return expr


def _logarithm(expr: Expr) -> Expr | None:
    """The safe logarithm of a power, a sum or a product of exponentials; None for anything else."""
    if isinstance(expr, Pow) and is_scalar(expr.exp):
        inner = _logarithm(expr.base)
        return None if inner is None else expr.exp * inner
    if isinstance(expr, exp):
        return expr.args[0]
    if isinstance(expr, Softmax):
        return LogSoftmax(*expr.args)
    if isinstance(expr, Sigmoid):
        return -_add_exponents([-expr.args[0], S.Zero])
    if isinstance(expr, cosh):
        return _add_exponents([expr.args[0], -expr.args[0]]) - log(2)
    if isinstance(expr, Sum) and expr.body.has(exp, Softmax):
        inner = _pure_exponent(expr.body, weighted=True)
        return None if inner is None else LogSumExp(inner, *expr.indices)
    if isinstance(expr, Mul):
        parts = [_logarithm(f) for f in expr.args]
        return None if None in parts else _sum(p for p in parts if p is not None)
    if isinstance(expr, Add) and expr.has(exp):
        exponents = [_pure_exponent(a, weighted=True) for a in expr.args]
        if all(e is not None for e in exponents):
            return _add_exponents(e for e in exponents if e is not None)
        if (found := _mixture(expr)) is not None:
            return found
    return elementary.logarithm_of_tail(expr)


def _mixture(total: Add) -> Expr | None:
    """The logarithm of a sum of exponentials with weights that may have any sign: that of the sum
    without the weights, and that of their mean."""
    weights: dict[Expr, Expr] = {}
    for term in () if is_mean(total) else total.args:
        factors = Mul.make_args(term)
        powers = [f for f in factors if not f.is_number and _pure_exponent(f) is not None]
        exponent = _sum(e for e in map(_pure_exponent, powers) if e is not None)
        weight = Mul(*(f for f in factors if f not in powers))
        if not powers or weight.has(exp, Sum, Softmax, Sigmoid, *LOG_SUMS):
            return None
        weights[exponent] = weights.get(exponent, S.Zero) + weight
    if len(weights) < 2 or any(w.is_number and not w.is_positive for w in weights.values()):
        return None
    whole = _add_exponents(weights)
    return whole + log(Add(*(w * exp(e - whole) for e, w in weights.items())))


def _pure_exponent(expr: Expr, weighted: bool = False) -> Expr | None:
    """u where the expression is exp(u), a sum or a product of such, or a positive number; and,
    where it may be `weighted`, what is known not to be negative."""
    if isinstance(expr, exp):
        return expr.args[0]
    if expr.is_number and expr.is_positive:
        return log(expr)
    if isinstance(expr, Softmax):
        return LogSoftmax(*expr.args)
    if isinstance(expr, Pow) and is_scalar(expr.exp):
        inner = _pure_exponent(expr.base)
        return None if inner is None else expr.exp * inner
    if isinstance(expr, Sigmoid):
        return _logarithm(expr)
    if isinstance(expr, Mul):
        parts = [_pure_exponent(f, weighted) for f in expr.args]
        return None if None in parts else _sum(p for p in parts if p is not None)
    if isinstance(expr, Sum | Add) and expr.has(exp):
        return _logarithm(expr)
    return log(expr) if weighted and _is_weight(expr) else None


def _is_weight(expr: Expr) -> bool:
    """Whether what an exponential is multiplied by may stand as its logarithm beside the exponent:
    it is not negative, and no exponential itself."""
    if isinstance(expr, KroneckerDelta):
        return True
    return not expr.has(exp, Sum, Softmax, *LOG_SUMS) and is_nonnegative(expr)


def _add_exponents(exponents: Iterable[Expr]) -> Expr:
    """log(exp(a) + exp(b) + ...)."""
    first, *rest = sorted(exponents, key=lambda e: (e.is_number, default_sort_key(e)))
    for other in rest:
        first = LogAddExp(first, other)
    return first


def _power(expr: Expr) -> Expr:
    """A negative power of a sum of exponentials."""
    base, exponent = expr.args
    if isinstance(base, Softmax) and is_scalar(exponent) and not exponent.is_number:
        return exp(exponent * LogSoftmax(*base.args))
    if not (exponent.is_number and exponent.is_negative):
        return expr
    if (a := _one_plus_exp(base)) is not None:
        return Pow(Sigmoid(-a), -exponent)
    if (tail := elementary.tail(base)) is not None:
        return Pow(tail, exponent)
    inner = _logarithm(base)
    return expr if inner is None else _exp(exp(exponent * inner))


def _product(expr: Expr) -> Expr:
    """Gather the exponentials of a product, and let each meet its denominator."""
    if (apart := _told_apart(expr)) is not None:
        return apart
    expr = among_others(expr)
    exponents, logistic, rest = _gathered(expr)
    if not exponents:
        return elementary.together(expr)
    total = elementary.met(_sum(_masked_together(exponents)), rest)
    for weight in filter(_is_weight, tuple(rest)):
        weighted = _sum([total, log(weight)])
        met = [weighted, *(_sum([weighted, -a]) for a, _ in logistic)]
        if any(isinstance(exponent, LogSoftmax) for exponent in met):
            total = weighted
            rest.remove(weight)
    for a, power in logistic:
        taken = 0
        while taken < power and _lighter(less := _sum([total, -a]), total):
            total, taken = less, taken + 1
        rest += [Sigmoid(a)] * taken + [Sigmoid(-a)] * (power - taken)
    for share in [f for f in rest if isinstance(f, Sigmoid) and total.has(*LOG_SUMS)]:
        less = _sum([total, *Add.make_args(_log(log(share)))])
        if not _is_safe(total) and _is_safe(less):
            total = less
            rest.remove(share)
    sums = [f for f in rest if isinstance(f, Sum | Add) and f.has(exp)]
    for count, other in enumerate(sums, start=1):
        met = total.has(*LOG_SUMS) or any(e.has(*LOG_SUMS) for e in other.atoms(exp))
        if met and total != 0:
            part = _one_log_sum(total) if count < len(sums) else total
            rest[rest.index(other)] = _push(other, exp(part))
            total = _sum([total, -part])
    return elementary.together(Mul(*rest, _exp(exp(total))))


def _told_apart(product: Expr) -> Expr | None:
    """A product with `exp(a) - 1`, where that overflows and `exp(a)` times the rest does not."""
    factors = Mul.make_args(product)
    for factor in factors:
        if isinstance(factor, Expm1) and not _is_safe(*factor.args):
            rest = Mul(*(f for f in factors if f is not factor))
            if rest.has(Sigmoid, *LOG_SUMS):
                apart = _product(rest * exp(*factor.args)) - _product(rest)
                return None if bare_exponentials(apart) else apart
    return None


def _gathered(expr: Expr) -> tuple[list[Expr], list[tuple[Expr, int]], list[Expr]]:
    """The exponents in a product, each a with the power of 1/(1 + exp(a)), and the other factors.

    A sum of exponentials is one where there is something that it may meet.
    """
    exponents: list[Expr] = []
    logistic: list[tuple[Expr, int]] = []
    others: list[Expr] = []
    for factor in Mul.make_args(expr):
        base, power = factor.as_base_exp() if isinstance(factor, Pow) else (factor, S.One)
        if isinstance(factor, exp):
            exponents.append(factor.args[0])
        elif isinstance(base, Softmax) and power.is_number:
            exponents.append(power * LogSoftmax(*base.args))
        elif isinstance(base, Sigmoid) and power.is_Integer and power.is_positive:
            logistic.append((-base.args[0], int(power)))
        else:
            others.append(factor)
    if logistic or any(e.has(LogSumExp, LogSoftmax) for e in exponents):
        sums = {f: e for f in others if (e := _sum_exponent(f)) is not None}
        others = [f for f in others if f not in sums]
        exponents += sums.values()
    return exponents, logistic, others


def _sum_exponent(factor: Expr) -> Expr | None:
    """u where a factor that is a sum of exponentials, or a power of one, is exp(u)."""
    base, power = factor.as_base_exp()
    if not (isinstance(base, Sum) and power.is_Integer and power.is_positive):
        return None
    inner = _pure_exponent(base)
    return None if inner is None else power * inner


def _one_log_sum(exponent: Expr) -> Expr:
    """The exponent of what one of several sums of exponentials is divided by: one `-log_sum` where
    there are several in the exponent, all of it otherwise."""
    for term in Add.make_args(exponent):
        number, log_sum = term.as_coeff_Mul()
        if isinstance(log_sum, LOG_SUMS) and number.is_Integer and number < -1:
            return -log_sum
    return exponent


def _lighter(after: Expr, before: Expr) -> bool:
    """Whether an exponent is that of something safe, or a shorter one, where it was not before."""
    if after == 0 or before == 0:
        return after == 0
    if _is_safe(before) or _is_safe(after):
        return not _is_safe(before)
    return elementary.shorter(after, before)


def _is_safe(exponent: Expr) -> bool:
    return isinstance(exponent, LogSoftmax) or is_a_part(exponent)


def _push(expr: Expr, factor: Expr) -> Expr:
    """Multiply under a sum, so that each exponential meets its denominator."""
    if isinstance(expr, Sum):
        expr = expr.rename({i.name for i in free_indices(factor)})
        body, bound = _walk(Mul(expr.body, factor)), set(expr.indices)
        inside = [f for f in Mul.make_args(body) if free_indices(f) & bound]
        outside = [f for f in Mul.make_args(body) if f not in inside]
        return Mul(*outside, Sum(Mul(*inside), *expr.indices))
    return Add(*(_walk(Mul(a, factor)) for a in expr.args))


def _one_plus_exp(base: Basic) -> Expr | None:
    """a where the base is 1 + exp(a), unless a sums up what may all be left out: it is 0 then, and
    has no softmax."""
    if isinstance(base, Add) and len(base.args) == 2 and S.One in base.args and base.has(exp):
        exponent = _pure_exponent(base - 1, weighted=True)
        return None if exponent is None or _may_be_empty(exponent) else exponent
    return None


def _may_be_empty(exponent: Expr) -> bool:
    return any(part.has(S.NegativeInfinity) for part in exponent.atoms(LogSumExp))


def _exp(expr: Expr) -> Expr:
    """exp of a log-softmax is a softmax, and of several their product."""
    if not isinstance(expr, exp):
        return expr
    (inside,) = expr.args
    terms = Add.make_args(_sum(Add.make_args(inside)))
    if all(isinstance(term, LogSoftmax) for term in terms):
        return Mul(*(Softmax(told_along(*term.args), term.index) for term in terms))
    for part in (-term for term in terms if isinstance(-term, LogAddExp)):
        if S.Zero in part.args and inside + part == sum(part.args):
            return Sigmoid(inside + part)
    return exp(Add(*terms))


def _sum(terms: Iterable[Expr]) -> Expr:
    """The sum of terms, with z - LogSumExp(z) found in it."""
    return _add(Add(*terms))


def _masked_together(exponents: Iterable[Expr]) -> list[Expr]:
    """Exponents of which one is nothing or minus infinity, as one that is masked itself."""
    terms = [term for exponent in exponents for term in Add.make_args(exponent)]
    masks = [t for t in terms if isinstance(t, Where) and {*t.branches} == {0, S.NegativeInfinity}]
    if len(masks) != 1:
        return terms
    (mask,) = masks
    apart = [t for t in terms if t.has(*LOG_SUMS)]
    inside = Add(*(t for t in terms if t is not mask and t not in apart))
    branches = (inside if branch == 0 else branch for branch in mask.branches)
    return [Where(mask.condition, *branches), *apart]


def _add(expr: Expr) -> Expr:
    terms = list(Add.make_args(expr))
    for term in terms:
        coefficient, node = term.as_coeff_Mul()
        if not isinstance(node, LogSumExp) or len(node.indices) != 1:
            continue
        (bound,) = node.indices
        rest = Add(*(t for t in terms if t is not term))
        if coefficient.is_Integer and abs(coefficient) > 1:  # one of them at a time
            unit = S.One if coefficient > 0 else S.NegativeOne
            rest, coefficient = rest + (coefficient - unit) * node, unit
        for letter in sorted(free_indices(rest), key=default_sort_key):
            if letter.axis != bound.axis or letter in free_indices(node):
                continue
            logit = node.body.xreplace({bound: letter})
            left = rest + coefficient * logit
            if left == 0 or left.count_ops() < rest.count_ops():
                return _add(left - coefficient * LogSoftmax(logit, letter))
    pairs = permutations(terms, 2) if expr.has(Sigmoid) else ()
    for whole, part in pairs:
        if isinstance(share := -part / whole, Sigmoid):
            return _add(Add(expr - part - whole, whole * Sigmoid(-share.args[0])))
    for one in {S.One, S.NegativeOne} & {*terms}:
        for term in terms:
            if isinstance(-term / one, exp):
                return Add(expr - term - one, -one * Expm1(*(-term / one).args))
    return expr


def _off_diagonal(expr: Expr) -> Expr:
    """A choice off a diagonal as one on it: there is one mask for both."""
    assert isinstance(expr, Where)
    condition, branches = expr.condition, expr.branches
    if not (isinstance(condition, Ne) and all(isinstance(side, Index) for side in condition.args)):
        return expr
    return Where(Eq(*condition.args), *reversed(branches))


def _total(expr: Expr) -> Expr:
    """A sum of what a logarithm has left a sign or a factor in front of."""
    assert isinstance(expr, Sum)
    number, body = expr.body.as_coeff_Mul()
    return expr if number == 1 or body == 1 else number * Sum(body, *expr.indices)


_RULES: dict[type, Callable[[Any], Expr]] = {
    log: _log,
    exp: _exp,
    Mul: _product,
    Pow: _power,
    Add: _add,
    Sum: _total,
    Where: _off_diagonal,
}
