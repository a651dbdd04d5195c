"""Elementary functions where they overflow, or come near one or zero:

    Expm1(a) * Sigmoid(-a)   ->  tanh(a/2)
    exp(-a) * Expm1(a)       ->  -Expm1(-a), and so exp(a)/Expm1(a)
    log(Expm1(a))            ->  a + log(-Expm1(-a))
    sinh(a) / cosh(a)        ->  tanh(a)
    sign(a) / abs(a)         ->  1/a
    log(b * sinh(a))         ->  log(b * tanh(a)) + log(cosh(a))
    log(abs(sinh(a)))        ->  abs(a) + log(-Expm1(-2*abs(a))) - log(2)
    log(erfc(a))             ->  LogNormal(-sqrt(2)*a) + log(2), and so for 1 - erf(a)
    exp(-a**2) / erfc(a)     ->  1/Erfcx(a), and so for 1 - erf(a)
    erfc(a) * erfc(-a)       ->  erfc(abs(a)) * erfc(-abs(a)), of which the first alone vanishes
    (1 + a)**b               ->  exp(b*Log1p(a))

The last for a tensor b, which may be large where a is small.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeGuard

from sympy import Abs, Add, Basic, Expr, Mul, Pow, S, cosh, erf, exp, log, sign, sinh, sqrt, tanh

from codegen.lowering.forms import Erfcx, Expm1, Log1p, LogNormal, Sigmoid
from derive.language.expressions import is_scalar
from derive.language.functions import erfc


def logarithm(inside: Expr) -> Expr | None:
    """The logarithm of what is as large as an exponential."""
    if isinstance(inside, Expm1):
        (a,) = inside.args
        return a + log(-Expm1(-a))
    if isinstance(inside, Abs) and isinstance(inside.args[0], sinh):
        size = Abs(inside.args[0].args[0])
        return size + log(-Expm1(-2 * size)) - log(2)
    return None


def logarithm_of_tail(inside: Expr) -> Expr | None:
    """The logarithm of the tail of an integral."""
    if (found := tail(inside)) is None:
        return None
    number, integral = found.as_coeff_Mul()
    return LogNormal(-sqrt(2) * integral.args[0]) + log(2 * number) if number > 0 else None


def grown(product: Expr) -> tuple[Expr, Expr] | None:
    """A product with a power of `sinh(a)` as one with that of `tanh(a)`, which has the sign, and
    the power of `cosh(a)` that is left, which has what is large."""
    for factor in Mul.make_args(product):
        base, power = factor.as_base_exp()
        if isinstance(base, sinh) and power.is_Integer:
            return product / factor * tanh(*base.args) ** power, cosh(*base.args) ** power
    return None


def powers(expr: Any) -> Any:
    """An expression with the last form in it: last, as exponentials that are met are one."""
    return expr.replace(_is_power_near_one, lambda e: exp(e.exp * Log1p(e.base - 1)))


def _is_power_near_one(expr: Basic) -> bool:
    return (
        isinstance(expr, Pow)
        and isinstance(expr.base, Add)
        and S.One in expr.base.args
        and not (is_scalar(expr.exp) or is_scalar(expr.base))
    )


def tail(total: Expr) -> Expr | None:
    """`b*erfc(a)`, also where a sum is `b - b*erf(a)`."""
    if isinstance(total.as_coeff_Mul()[1], erfc):
        return total
    if not (isinstance(total, Add) and len(total.args) == 2):
        return None
    number, rest = total.as_coeff_Add()
    scale, integral = rest.as_coeff_Mul()
    if not isinstance(integral, erf) or number not in (scale, -scale):
        return None
    (a,) = integral.args
    return number * erfc(-a if number == scale else a)


def met(exponent: Expr, factors: list[Expr]) -> Expr:
    """What an exponent comes to where it meets the other `factors` of a product, which change."""
    _vanish_in_one(factors)
    for place, factor in enumerate(factors):
        base, power = factor.as_base_exp()
        if not (type(base) in _APART and power.is_Integer):
            continue
        grown, rest = _APART[type(base)](*base.args)
        unit = S.One if power.is_positive else S.NegativeOne
        step, taken = unit * grown, 0
        while taken < abs(power) and shorter(exponent + step, exponent):
            exponent, taken = exponent + step, taken + 1
        factors[place] = Pow(base, power - unit * taken) * Pow(rest, unit * taken)
    return exponent


def _vanish_in_one(factors: list[Expr]) -> None:
    """Let both tails of an integral, where a product is divided by both, be told by their size."""
    tails = {f.base.args[0]: place for place, f in enumerate(factors) if _divides_by_tail(f)}
    for a, place in tails.items():
        other = tails.get(-a)
        if other is not None and place < other and factors[place].exp == factors[other].exp:
            for at, size in ((place, Abs(a)), (other, -Abs(a))):
                factors[at] = Pow(erfc(size), factors[at].exp)


def _divides_by_tail(factor: Expr) -> TypeGuard[Pow]:
    return isinstance(factor, Pow) and isinstance(factor.base, erfc) and bool(factor.exp < 0)


_APART: dict[type, Callable[[Expr], tuple[Expr, Expr]]] = {
    Expm1: lambda a: (a, -Expm1(-a)),
    erfc: lambda a: (-(a**2), Erfcx(a)),
}
"""The exponents of what functions grow or fall like, and what is left of them."""


def shorter(after: Expr, before: Expr) -> bool:
    return after == 0 or after.count_ops() < before.count_ops()


def together(product: Expr) -> Expr:
    """A product in which two functions of one argument are another one."""
    for factor in product.args if isinstance(product, Mul) else ():
        for other in product.args:
            for pair in _PAIRS:
                if factor is not other and (found := pair(factor, other)) is not None:
                    rest = (f for f in product.args if f not in (factor, other))
                    return together(Mul(found, *rest))
    return product


def _half_tangent(one: Expr, other: Expr) -> Expr | None:
    if isinstance(one, Expm1) and isinstance(other, Sigmoid) and one.args[0] == -other.args[0]:
        return tanh(one.args[0] / 2)
    return None


def _tangent(one: Expr, other: Expr) -> Expr | None:
    """`sinh**m / cosh**n`, or the other way round, for as many powers as both have."""
    (a, m), (b, n) = one.as_base_exp(), other.as_base_exp()
    if not (isinstance(a, sinh) and isinstance(b, cosh) and a.args == b.args):
        return None
    if not (m.is_Integer and n.is_Integer and m * n < 0):
        return None
    both = min(abs(m), abs(n)) * sign(m)
    return tanh(*a.args) ** both * a ** (m - both) * b ** (n + both)


def _direction(one: Expr, other: Expr) -> Expr | None:
    base, power = other.as_base_exp()
    if isinstance(one, sign) and isinstance(base, Abs) and power.is_Integer and power < 0:
        return base ** (power + 1) / one.args[0] if one.args == base.args else None
    return None


_PAIRS: tuple[Callable[[Expr, Expr], Expr | None], ...] = (_half_tangent, _tangent, _direction)
