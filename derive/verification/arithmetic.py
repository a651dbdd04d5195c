"""The functions of the language on integers and on real numbers of 60 digits, or more.

One row a function. Those that the decimal module lacks are mpmath's. What takes long at so many
digits is remembered: the steps of a derivation ask for the same values again and again.
"""

from __future__ import annotations

import decimal
import operator
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from functools import lru_cache
from typing import Any

import sympy
from mpmath import MPContext
from sympy import KroneckerDelta
from sympy.logic.boolalg import And, Not, Or

from derive.language.functions import erfc

DIGITS = 60

Value = Decimal | int
"""An element: a real number, or an integer where the tensor holds indices."""


class Undefined(ArithmeticError):
    """An expression has no real value at a point: a division by zero, a root of a negative."""


_MP = MPContext()
_MP.dps = DIGITS + 5


def _digits() -> int:
    return _MP.dps - 5


@contextmanager
def exact_arithmetic() -> Iterator[None]:
    """Decimal arithmetic as the evaluator does it, for callers that compare what it returns."""
    traps = [decimal.InvalidOperation, decimal.DivisionByZero, decimal.Overflow]
    with decimal.localcontext(decimal.Context(prec=_digits(), traps=traps)):
        yield


@contextmanager
def with_digits(digits: int) -> Iterator[None]:
    """Another number of digits: more, for what so much cancels in that `DIGITS` are not enough, or
    as few as a machine has."""
    usual = _MP.dps
    _MP.dps = digits + 5
    try:
        yield
    finally:
        _MP.dps = usual


def _remembered(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that remembers its values, each for the number of digits that it has."""

    @lru_cache(maxsize=1 << 14)
    def with_as_many(digits: int, *args: Value) -> Any:
        return function(*args)

    return lambda *args: with_as_many(_MP.dps, *args)


def _from_mp(x: Any) -> Decimal:
    if not _MP.isfinite(x) or isinstance(x, _MP.mpc):
        raise Undefined(f"{x} is not a real number")
    return Decimal(str(_MP.nstr(x, _digits())))


def _by_mpmath(name: str) -> Callable[..., Decimal]:
    function = getattr(_MP, name)

    def call(*args: Value) -> Decimal:
        try:
            return _from_mp(
                function(*(int(a) if isinstance(a, int) else _MP.mpf(str(a)) for a in args))
            )
        except (ValueError, ZeroDivisionError, OverflowError) as error:
            raise Undefined(f"{name}{args} is undefined") from error

    return _remembered(call)


def divide(above: Value, below: Value) -> Decimal:
    """A quotient; Undefined where it divides by zero."""
    if below == 0:
        raise Undefined("division by zero")
    return Decimal(above) / below


def power(base: Value, exponent: Value) -> Value:
    if exponent == int(exponent):
        exponent = int(exponent)
        if exponent >= 0:
            return base**exponent if exponent else 1  # 0**0 is 1, as everywhere in index notation
        if base == 0:
            raise Undefined(f"division by zero: {base}**{exponent}")
        return 1 / Decimal(base) ** -exponent
    if base < 0 or (base == 0 and exponent < 0):
        raise Undefined(f"{base}**{exponent} is not a real number")
    return _real_power(Decimal(base), Decimal(exponent))


@_remembered
def _real_power(base: Decimal, exponent: Decimal) -> Decimal:
    return base**exponent


@_remembered
def root(x: Value) -> Decimal:
    """The square root; Undefined where x is negative."""
    if x < 0:
        raise Undefined(f"sqrt({x}) is not a real number")
    return Decimal(x).sqrt()


@_remembered
def _exp(x: Value) -> Decimal:
    return Decimal(x).exp()


@_remembered
def _log(x: Value) -> Decimal:
    if x <= 0:
        raise Undefined(f"log({x}) is not a real number")
    return Decimal(x).ln()


@_remembered
def _tanh(x: Value) -> Decimal:
    t = (-2 * abs(Decimal(x))).exp()
    return ((1 - t) / (1 + t)).copy_sign(Decimal(x))


def first_largest(values: list[Value]) -> int:
    return values.index(max(values))


FUNCTIONS: Mapping[type[Any], Callable[..., Any]] = {
    KroneckerDelta: lambda i, j: int(i == j),
    sympy.exp: _exp,
    sympy.log: _log,
    sympy.tanh: _tanh,
    sympy.Abs: abs,
    sympy.sign: lambda x: (x > 0) - (x < 0),
    sympy.floor: lambda x: int(Decimal(x).to_integral_value(decimal.ROUND_FLOOR)),
    sympy.ceiling: lambda x: int(Decimal(x).to_integral_value(decimal.ROUND_CEILING)),
    **{
        function: _by_mpmath(name)
        for function, name in (
            (sympy.sin, "sin"),
            (sympy.cos, "cos"),
            (sympy.tan, "tan"),
            (sympy.asin, "asin"),
            (sympy.acos, "acos"),
            (sympy.atan, "atan"),
            (sympy.sinh, "sinh"),
            (sympy.cosh, "cosh"),
            (sympy.asinh, "asinh"),
            (sympy.acosh, "acosh"),
            (sympy.atanh, "atanh"),
            (sympy.erf, "erf"),
            (erfc, "erfc"),
            (sympy.loggamma, "loggamma"),
            (sympy.polygamma, "psi"),
        )
    },
    sympy.Eq: operator.eq,
    sympy.Ne: operator.ne,
    sympy.Lt: operator.lt,
    sympy.Le: operator.le,
    sympy.Gt: operator.gt,
    sympy.Ge: operator.ge,
    And: lambda *parts: all(parts),
    Or: lambda *parts: any(parts),
    Not: operator.not_,
}


def number(expr: Any) -> Value:
    """A SymPy number: integers exact, a float as the binary number it is, pi to all digits."""
    if isinstance(expr, sympy.Rational):
        p, q = int(expr.p), int(expr.q)
        return p if q == 1 else Decimal(p) / Decimal(q)
    if isinstance(expr, sympy.Float):
        return Decimal(float(expr))
    return _from_mp(_MP.mpf(str(sympy.N(expr, _MP.dps))))
