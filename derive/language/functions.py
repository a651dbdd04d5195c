"""The elementwise functions of the language, one row each.

Another function needs a row here; one in `derive.verification.arithmetic` and one in
`gradsmith.proof.reference`, by which it is evaluated; and one for each way it is printed: in
`codegen.torch.functions`, in `codegen.torch.scalars` for numbers, and in `codegen.c.functions`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sympy
from sympy import Add, Basic, Expr, KroneckerDelta, Mul, Number, NumberSymbol, Pow
from sympy.core.relational import Ge, Le, Relational
from sympy.logic.boolalg import And, BooleanAtom, Not, Or

from derive.language.expressions import Binder, StopGradient, Where, with_args


class erfc(sympy.erfc):
    """`1 - erf(x)`. SymPy writes that of `-x` as `2 - erfc(x)`, whose small values are lost."""

    @classmethod
    def eval(cls, arg: Expr) -> Expr | None:
        return sympy.erfc(arg) if arg.is_number else None

    def _eval_is_positive(self) -> bool | None:
        return self.args[0].is_real


@dataclass(frozen=True)
class Elementwise:
    """An elementwise function: its name and SymPy's class, which knows its derivative.

    `flat` marks a function whose derivative is zero wherever it exists (sign, floor).
    """

    name: str
    function: type[Basic]
    flat: bool = False


FUNCTIONS = (
    Elementwise("exp", sympy.exp),
    Elementwise("log", sympy.log),
    Elementwise("sin", sympy.sin),
    Elementwise("cos", sympy.cos),
    Elementwise("tan", sympy.tan),
    Elementwise("asin", sympy.asin),
    Elementwise("acos", sympy.acos),
    Elementwise("atan", sympy.atan),
    Elementwise("sinh", sympy.sinh),
    Elementwise("cosh", sympy.cosh),
    Elementwise("tanh", sympy.tanh),
    Elementwise("asinh", sympy.asinh),
    Elementwise("acosh", sympy.acosh),
    Elementwise("atanh", sympy.atanh),
    Elementwise("erf", sympy.erf),
    Elementwise("erfc", erfc),
    Elementwise("loggamma", sympy.loggamma),
    Elementwise("Abs", sympy.Abs),
    Elementwise("sign", sympy.sign, flat=True),
    Elementwise("floor", sympy.floor, flat=True),
    Elementwise("ceiling", sympy.ceiling, flat=True),
)

BY_CLASS = {row.function: row for row in FUNCTIONS}

DERIVED: dict[type[Basic], Elementwise] = {
    sympy.polygamma: Elementwise("polygamma", sympy.polygamma)
}
"""Functions that nobody writes, but that derivatives lead to and that have one themselves."""

_STRUCTURE = (
    Add,
    Mul,
    Pow,
    Number,
    NumberSymbol,
    KroneckerDelta,
    Binder,
    Where,
    StopGradient,
    Relational,
    And,
    Or,
    Not,
    BooleanAtom,
)


def is_supported(expr: Basic) -> bool:
    """Whether the language has the node at the top of an expression."""
    return isinstance(expr, _STRUCTURE) or type(expr) in BY_CLASS


def supported_names() -> list[str]:
    """What a formula may be written with, by name."""
    return [row.name for row in FUNCTIONS] + [
        "sqrt",
        "Sum",
        "Mean",
        "Product",
        "Maximum",
        "Minimum",
        "ArgMax",
        "delta",
        "Where",
        "StopGradient",
    ]


def as_where(expr: Expr) -> Expr:
    """Spell SymPy's Piecewise, Max and Min with `Where`, its erfc as the one above, and a power
    such as `x**2.0` with the fraction that its exponent is.

    So is a delta of a letter's neighbour, which may lie outside: no element is what
    `sum_u(delta(u, t - 1)*x[u])` is at the first t.

    The branch that is taken at a kink fixes the subgradient there.

    To SymPy the arguments of Max and Min have no order. Where some are equal, the first in its
    sorting is taken, a number before a tensor: of Max(x, 0) at zero it is 0, whose gradient is 0.
    """

    def walk(e: Any) -> Any:
        if not e.args:
            return e
        args = [walk(a) for a in e.args]
        if type(e) is sympy.erfc:
            return erfc(*args)
        if isinstance(e, KroneckerDelta) and any(isinstance(a, Add | Mul) for a in args):
            return Where(sympy.Eq(*args), 1, 0)
        if isinstance(e, sympy.Pow) and isinstance(e.exp, sympy.Float) and (2 * e.exp) % 1 == 0:
            return args[0] ** sympy.Rational(int(2 * e.exp), 2)
        if isinstance(e, sympy.Piecewise):
            return _piecewise([(a.args[0], a.args[1]) for a in args])
        if isinstance(e, sympy.Max | sympy.Min):
            ordered = sorted(args, key=sympy.default_sort_key)
            chosen = ordered[0]
            for other in ordered[1:]:
                better = chosen >= other if isinstance(e, sympy.Max) else chosen <= other
                chosen = Where(better, chosen, other)
            return chosen
        return with_args(e, args)

    return walk(expr)


def as_extreme(choice: Where) -> tuple[str, tuple[Expr, ...]] | None:
    """`max` or `min` and its arguments, a number last, where `as_where` spells them like this.

    A choice that takes another branch where both are equal is none: its gradient is another.
    """
    condition, branches = choice.condition, choice.branches
    spelled = isinstance(condition, Ge | Le) and condition.args == branches
    if not spelled or sorted(branches, key=sympy.default_sort_key) != list(branches):
        return None
    name = "max" if isinstance(condition, Ge) else "min"
    return name, tuple(sorted(branches, key=lambda b: b.is_number is True))


def _piecewise(pairs: list[tuple[Any, Any]]) -> Any:
    (value, condition), rest = pairs[0], pairs[1:]
    if condition == sympy.true or not rest:
        return value
    return Where(condition, value, _piecewise(rest))
