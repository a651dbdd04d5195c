"""Numbers of the emitted source: literals, options and axis sizes, as Python arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sympy
from sympy import Add, Basic, Float, Mul, Pow, Rational, S, default_sort_key
from sympy.core.relational import Ge, Le
from sympy.logic.boolalg import And, Not, Or

from codegen.lowering.forms import (
    Divisor,
    Erfcx,
    Expm1,
    Log1p,
    LogAddExp,
    LogNormal,
    Sigmoid,
    spelled_out,
)
from codegen.program import CodegenError
from codegen.spelling import EXACT, RELATIONS, inverse, roots_joined, terms_of
from codegen.torch.values import ATOM, PLUS, POWER, TIMES, UNARY, Value
from derive.language.expressions import Affine, Parameter, Where
from derive.language.functions import erfc
from derive.printing.arrange import decimal, place_terms

_MATH = {
    sympy.exp: "math.exp",
    sympy.log: "math.log",
    sympy.sin: "math.sin",
    sympy.cos: "math.cos",
    sympy.tan: "math.tan",
    sympy.asin: "math.asin",
    sympy.acos: "math.acos",
    sympy.atan: "math.atan",
    sympy.sinh: "math.sinh",
    sympy.cosh: "math.cosh",
    sympy.tanh: "math.tanh",
    sympy.asinh: "math.asinh",
    sympy.acosh: "math.acosh",
    sympy.atanh: "math.atanh",
    sympy.erf: "math.erf",
    erfc: "math.erfc",
    sympy.loggamma: "math.lgamma",
    sympy.Abs: "abs",
    sympy.floor: "math.floor",
    sympy.ceiling: "math.ceil",
    Log1p: "math.log1p",
    Expm1: "math.expm1",
}
_HALVES = (2, 4, 8, 16)  # decimals that are exact and short
_CONSTANTS = {
    sympy.pi: ("torch.pi", ATOM),
    sympy.E: ("torch.e", ATOM),
    sympy.oo: ("torch.inf", ATOM),
    -sympy.oo: ("-torch.inf", UNARY),
}


def scalar(expr: Any) -> Value:
    """A number as source text.

    Raises:
        CodegenError: a function that Python's `math` does not have.
    """
    code, binds = _scalar(expr)
    return Value(code, binds=binds, scalar=True)


Written = tuple[str, int]
"""Source text, and how tightly it binds."""


def _scalar(expr: Any) -> Written:
    if expr in _CONSTANTS:
        return _CONSTANTS[expr]
    for kind, written in _WRITTEN.items():
        if isinstance(expr, kind):
            return written(expr)
    return _number(expr) if expr.is_number else _function(expr)


def _number(expr: Any) -> Written:
    return repr(float(expr)), ATOM if expr >= 0 else UNARY


def _rational(expr: Rational) -> Written:
    if max(abs(expr.p), expr.q) > EXACT or expr.q in _HALVES:
        return _number(expr)
    if expr.q == 1:
        return str(expr.p), ATOM if expr >= 0 else UNARY
    written = decimal(abs(expr))
    if written is not None:
        return (written, ATOM) if expr >= 0 else (f"-{written}", UNARY)
    return f"{expr.p} / {expr.q}", TIMES


def _function(expr: Any) -> Written:
    if isinstance(expr, Where):
        return _choice(expr), ATOM
    if isinstance(expr, Affine):
        return _scalar(expr.place)
    if isinstance(expr, sympy.sign):
        code = _within(expr.args[0], PLUS)
        return f"(({code} > 0) - ({code} < 0))", ATOM
    if isinstance(expr, Sigmoid | LogAddExp | LogNormal | Erfcx):
        return _scalar(spelled_out(expr))
    if isinstance(expr, sympy.log) and any(map(_is_size, expr.free_symbols)):
        size = _scalar(expr.args[0])[0]  # Python refuses the logarithm of an empty axis' size
        return f"(math.log({size}) if {size} > 0 else -torch.inf)", ATOM
    if type(expr) in _MATH:
        return f"{_MATH[type(expr)]}({', '.join(_scalar(a)[0] for a in expr.args)})", ATOM
    raise CodegenError(f"{expr}: there is no number {type(expr).__name__} in Python's math")


def _choice(expr: Where) -> str:
    """The larger of two numbers, the smaller one, or one of them by a condition."""
    yes, no = (_scalar(b)[0] for b in expr.branches)
    condition = expr.condition
    if condition.args == expr.branches and isinstance(condition, Ge | Le):
        return f"{'max' if isinstance(condition, Ge) else 'min'}({no}, {yes})"
    return f"({yes} if {_condition(condition)} else {no})"


def _condition(condition: Any) -> str:
    if isinstance(condition, And | Or):
        joined = " and " if isinstance(condition, And) else " or "
        parts = sorted(condition.args, key=default_sort_key)
        return f"({joined.join(map(_condition, parts))})"
    if isinstance(condition, Not):
        return f"not {_condition(condition.args[0])}"
    left, right = (_within(a, PLUS) for a in condition.args)
    return f"{left} {RELATIONS[type(condition)]} {right}"


def _within(expr: Any, binds: int) -> str:
    code, own = _scalar(expr)
    return code if own >= binds else f"({code})"


def _add(expr: Add) -> Written:
    first, *rest = place_terms(expr) if is_count(expr) else terms_of(expr)
    code = _within(first, PLUS)
    for term in rest:
        if term.could_extract_minus_sign():
            code += f" - {_within(-term, TIMES)}"
        else:
            code += f" + {_within(term, PLUS)}"
    return code, PLUS


def _mul(expr: Mul) -> Written:
    coefficient, rest = expr.as_coeff_Mul()
    coefficient, factors = roots_joined(coefficient, Mul.make_args(rest))
    over = [S(coefficient.p)] if isinstance(coefficient, Rational) else [coefficient]
    under = [S(coefficient.q)] if isinstance(coefficient, Rational) else []
    for factor in factors:
        negative = isinstance(factor, Pow) and factor.exp.is_number and factor.exp.is_negative
        (under if negative else over).append(inverse(factor) if negative else factor)
    under = [f for f in under if f != 1]
    negated = over[0] == -1 and len(over) > 1
    over = [f for f in over if f not in (1, -1)] if negated or over[0] == 1 else over
    code = " * ".join(_within(f, TIMES) for f in over) or "1"
    if negated:
        code = f"-{code}"
    if not under:
        return code, TIMES if len(over) > 1 else UNARY
    return f"{code} / {_below(under)}", TIMES


def _below(under: Sequence[Any]) -> str:
    """What a number is divided by. Python refuses the zero that sizes of an empty batch give."""
    product = " * ".join(_within(f, TIMES if len(under) > 1 else POWER) for f in under)
    if any(_is_size(s) for f in under if not f.has(Divisor) for s in f.free_symbols):
        alone = _scalar(under[0])[0] if len(under) == 1 else product
        return f"({alone} or torch.nan)"
    return f"({product})" if len(under) > 1 else product


def is_count(expr: Any) -> bool:
    """Whether a number is made of sizes of axes, as `N - 1` is, which a sum is divided by."""
    return all(map(_is_size, expr.free_symbols)) and bool(expr.is_polynomial(*expr.free_symbols))


def _is_size(symbol: Any) -> bool:
    return bool(symbol.is_integer and symbol.is_positive and symbol.name.isupper())


def _floor(expr: Any) -> Written:
    """The whole quotient of whole numbers; of others what is not above them."""
    above, below = sympy.together(expr.args[0]).as_numer_denom()
    if above.is_integer and below.is_Integer:
        return f"{_within(above, TIMES)} // {below}", TIMES
    return _function(expr)


def _smallest(expr: sympy.Min) -> Written:
    return f"min({', '.join(sorted(_scalar(a)[0] for a in expr.args))})", ATOM


def _pow(expr: Pow) -> Written:
    base, exponent = expr.args
    if exponent == S.Half:
        return f"{_within(base, ATOM)} ** 0.5", POWER
    if exponent.is_number and exponent.is_negative:
        return f"1 / {_below([1 / expr])}", TIMES
    return f"{_within(base, ATOM)} ** {_within(exponent, POWER)}", POWER


_WRITTEN: Mapping[type[Basic], Callable[[Any], Written]] = {
    Rational: _rational,
    Float: _number,
    Parameter: lambda expr: (expr.name, ATOM),
    Divisor: lambda expr: (f"({expr.args[0]} or 1)", ATOM),
    Add: _add,
    Mul: _mul,
    Pow: _pow,
    sympy.floor: _floor,
    sympy.Min: _smallest,
}
"""Arithmetic, by kind of node; what of the rest has a value is written as that number."""
