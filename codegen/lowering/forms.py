"""The numerically safe forms: what a target evaluates without overflow, and what it stands for.

`codegen.lowering.stable_expressions` finds them in an expression.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sympy import Expr, Function, S, exp, log, sqrt

from derive.language.expressions import Binder, Index, Sum
from derive.language.functions import erfc
from derive.language.masked import without_masks


class LogSumExp(Binder):
    """The logarithm of the sum of exponentials of a body over its bound indices."""

    ending = "log_sum_exp"
    is_real = True

    @property
    def spoken(self) -> tuple[str, Expr]:
        """The name of the function, and what it is taken of."""
        return type(self).__name__.lower(), self.body


class Largest(Binder):
    """The largest value of a body over its bound indices, minus infinity over none."""

    ending = "max"
    is_real = True


class Along(Expr):
    """An expression and one of its free indices, along which something is normalised."""

    is_commutative = True
    is_real = True

    def __new__(cls, body: Any, index: Index) -> Along:
        return Expr.__new__(cls, body, index)

    @property
    def body(self) -> Expr:
        return self.args[0]

    @property
    def index(self) -> Index:
        return self.args[1]

    @property
    def spoken(self) -> tuple[str, Expr]:
        """The name of the function, and what it is taken of."""
        return type(self).__name__.lower(), self.body


class Softmax(Along):
    """`exp(z) / sum_k exp(z)`."""

    is_nonnegative = True


class LogSoftmax(Along):
    """`z - log(sum_k exp(z))`."""


class Elementary(Function):
    """A real function of real arguments, kept as it is."""

    is_real = True


class LogAddExp(Elementary):
    """`log(exp(a) + exp(b))`."""

    nargs = 2

    @property
    def spoken(self) -> tuple[str, Expr] | None:
        """The function that it is beside one, and what that is taken of."""
        return ("softplus", self.args[0]) if self.args[1] == 0 else None


class Sigmoid(Elementary):
    """`1 / (1 + exp(-a))`."""

    nargs = 1


class Log1p(Elementary):
    """`log(1 + a)`."""

    nargs = 1


class Expm1(Elementary):
    """`exp(a) - 1`."""

    nargs = 1


class LogNormal(Elementary):
    """`log(erfc(-a / sqrt(2)) / 2)`, of the normal distribution's share below `a`."""

    nargs = 1


class Erfcx(Elementary):
    """`exp(a**2) * erfc(a)`, which falls no faster than `1/a`."""

    nargs = 1
    is_positive = True


class Clamped(Elementary):
    """A logarithm, and -1e10 for -inf; see `codegen.lowering.vanishing`."""

    nargs = 1


class Finite(Elementary):
    """A number where it is finite, else zero."""

    nargs = 1


class AtLeast(Elementary):
    """The larger of a value and a bound; see `codegen.lowering.bounds`."""

    nargs = 2


class AtMost(Elementary):
    """The smaller of a value and a bound."""

    nargs = 2


class Divisor(Elementary):
    """The size of an axis, or 1 where it has no elements; see `codegen.lowering.empty_sums`."""

    nargs = 1
    is_positive = True


def spelled_out(expr: Any) -> Any:
    """A value without any of the safe forms, as it is differentiated."""
    found = expr.replace(lambda e: type(e) in _MEANINGS, lambda e: _MEANINGS[type(e)](*e.args))
    return without_masks(found)


_MEANINGS: dict[type, Callable[..., Expr]] = {
    LogSumExp: lambda z, letters: log(Sum(exp(z), *letters)),
    Softmax: lambda z, k: exp(z) / Sum(exp(z), k),
    LogSoftmax: lambda z, k: z - log(Sum(exp(z), k)),
    LogAddExp: lambda a, b: log(exp(a) + exp(b)),
    Sigmoid: lambda a: 1 / (1 + exp(-a)),
    Log1p: lambda a: log(1 + a),
    Expm1: lambda a: exp(a) - 1,
    LogNormal: lambda a: log(erfc(-a / sqrt(2)) / 2),
    Erfcx: lambda a: exp(a**2) * erfc(a),
    Divisor: lambda size: size,
    Clamped: lambda logarithm: without_masks(logarithm).xreplace({S.NegativeInfinity: S.Zero}),
}
