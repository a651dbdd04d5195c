"""Expressions as C, and how tightly what they print as binds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import sympy
from sympy import (
    Add,
    Basic,
    Expr,
    Float,
    Integer,
    KroneckerDelta,
    Mul,
    Pow,
    Rational,
    S,
    Symbol,
)
from sympy.core.relational import Relational
from sympy.logic.boolalg import And, BooleanAtom, Not, Or

from codegen.c.functions import FUNCTIONS
from codegen.c.windows import Within
from codegen.lowering.forms import Divisor
from codegen.program import CodegenError
from codegen.spelling import EXACT, RELATIONS, inverse, roots_joined, terms_of
from derive.language.expressions import (
    Affine,
    Element,
    Index,
    Parameter,
    StopGradient,
    Where,
    free_indices,
)
from derive.printing.arrange import number_right, place_terms

CHOICE, EITHER, BOTH, EQUALITY, RELATION, PLUS, TIMES, UNARY, ATOM = range(9)
"""From loosest to tightest, as C has them."""


@dataclass(frozen=True)
class Text:
    """C source, and how tightly it binds. `integer` marks one, whose quotients C rounds down."""

    code: str
    binds: int = ATOM
    integer: bool = False

    def at(self, binds: int) -> str:
        return self.code if self.binds >= binds else f"({self.code})"


@dataclass(frozen=True)
class Printer:
    """Prints expressions; `element` says how an element of a tensor is read.

    `inner` is the index of an innermost loop: what does not depend on it is put together, so that
    a compiler computes it once. Elsewhere there is none: a division there rounds once, and costs
    nothing beside the loops inside.
    """

    element: Callable[[str, tuple[Expr, ...]], Text]
    inner: Index | None = None

    def __call__(self, expr: Any) -> str:
        return self.text(expr).code

    def text(self, expr: Any) -> Text:
        """An expression as C.

        Raises:
            CodegenError: a function that the C target does not have.
        """
        for kind, rule in _RULES:
            if isinstance(expr, kind):
                return rule(self, expr)
        if type(expr) in FUNCTIONS:
            arguments = ", ".join(self(a) for a in expr.args)
            return Text(f"{FUNCTIONS[type(expr)]}({arguments})")
        raise CodegenError(f"{expr}: the C target has no {type(expr).__name__}")

    def position(self, indices: Sequence[Expr], sizes: Sequence[str]) -> str:
        """Where an element lies in memory: `(n * K + k) * L + l`, for the sizes from the second."""
        first, *rest = indices
        text = self.text(first)
        for index, size in zip(rest, sizes, strict=True):
            if index == 0:
                text = Text(f"{text.at(TIMES)} * {size}", TIMES)
            elif first == 0 and text.code == "0":
                text = self.text(index)
            else:
                code = f"{text.at(TIMES)} * {size} + {self.text(index).at(PLUS)}"
                text = Text(code, PLUS)
        return text.code

    # --- the rules ---

    def _symbol(self, expr: Any) -> Text:
        if isinstance(expr, Index):
            return Text(expr.name, integer=True)
        if isinstance(expr, Parameter):
            return Text(expr.name, integer=expr.is_integer is True)
        return self.element(expr.name, ())

    def _indexed(self, expr: Any) -> Text:
        return self.element(expr.tensor_name, tuple(expr.indices))

    def _integer(self, expr: Any) -> Text:
        if abs(expr) > EXACT:
            return self._number(expr)
        return Text(str(int(expr)), ATOM if expr >= 0 else UNARY, integer=True)

    def _number(self, expr: Any) -> Text:
        if expr in (sympy.oo, -sympy.oo):
            return Text("INFINITY") if expr == sympy.oo else Text("-INFINITY", UNARY)
        return Text(f"(real){float(expr)!r}", UNARY) if expr >= 0 else self._negated(expr)

    def _rational(self, expr: Any) -> Text:
        if expr < 0:
            return self._negated(expr)
        if expr.q & (expr.q - 1) == 0 or max(expr.p, expr.q) > EXACT:
            return self._number(expr)
        return Text(f"(real){expr.p} / {expr.q}", TIMES)

    def _negated(self, expr: Any) -> Text:
        return Text(f"-{self.text(-expr).at(UNARY)}", UNARY)

    def _within(self, expr: Within) -> Text:
        place = self._terms(place_terms(expr.place))
        return Text(f"within({place.code}, {self(expr.size)})", integer=True)

    def _add(self, expr: Any) -> Text:
        return self._terms(terms_of(expr))

    def _terms(self, terms: Sequence[Expr]) -> Text:
        first, *rest = terms
        text = self.text(first)
        code, integer, binds = text.at(PLUS), text.integer, PLUS if rest else text.binds
        for term in rest:
            negative = term.could_extract_minus_sign()
            text = self.text(-term if negative else term)
            code += f" {'-' if negative else '+'} {text.at(TIMES)}"
            integer = integer and text.integer
        return Text(code, binds, integer)

    def _mul(self, expr: Any) -> Text:
        coefficient, rest = expr.as_coeff_Mul()
        factors = list(Mul.make_args(rest))
        if coefficient < 0:
            text = self.text(-expr)
            return Text(f"-{text.at(TIMES)}", UNARY, text.integer)
        steady = [f for f in factors if self.inner not in free_indices(f)]
        moving = [f for f in factors if f not in steady]
        if not moving or self.inner is None:
            return self._quotient(coefficient, factors)
        if coefficient == 1 and not any(map(_is_below, steady)) and len(steady) < 2:
            return self._quotient(S.One, [*steady, *moving])
        if coefficient == 1 and not steady:
            return self._quotient(S.One, moving)
        constant = self._quotient(coefficient, steady)
        if all(map(_is_below, moving)):
            divisor = self._quotient(S.One, [1 / f for f in moving])
            cast = "(real)" if constant.integer and divisor.integer else ""
            return Text(f"{constant.at(UNARY)} / {cast}{divisor.at(UNARY)}", TIMES)
        quotient = self._quotient(S.One, moving)
        return Text(f"{constant.at(UNARY)} * {quotient.at(TIMES)}", TIMES)

    def _quotient(self, coefficient: Any, factors: Sequence[Any]) -> Text:
        """Factors over those that are divided by."""
        coefficient, factors = roots_joined(coefficient, factors)
        above = [f for f in factors if not _is_below(f)]
        below = [inverse(f) for f in factors if _is_below(f)]
        if isinstance(coefficient, Rational) and coefficient.p == 1 and (above or coefficient == 1):
            below = [Integer(coefficient.q), *below] if coefficient.q != 1 else below
        elif coefficient != 1 or not above:
            above = [coefficient, *above]
        texts = [self.text(f) for f in above] or [Text("1", integer=True)]
        integer = all(t.integer for t in texts)
        over = texts[0]
        if len(texts) > 1:
            factors_of = (t.at(UNARY if place else TIMES) for place, t in enumerate(texts))
            over = Text(" * ".join(factors_of), TIMES, integer)
        if not below:
            return over
        under = [self.text(f) for f in below]
        if len(under) == 1:
            divisor = under[0].at(UNARY)
        else:
            divisor = f"({' * '.join(t.at(UNARY) for t in under)})"
        if integer and all(t.integer for t in under):
            divisor = f"(real){divisor}"
        return Text(f"{over.at(TIMES)} / {divisor}", TIMES)

    def _pow(self, expr: Any) -> Text:
        base, exponent = expr.args
        if exponent == S.Half:
            return Text(f"R(sqrt)({self(base)})")
        if exponent.is_number and exponent.is_negative:
            return self._quotient(S.One, [expr])
        text = self.text(base)
        if exponent.is_Integer and exponent <= 4 and not text.integer:
            if exponent == 3:
                return Text(f"cube({text.code})")
            return (
                Text(f"square({text.code})")
                if exponent == 2
                else Text(f"square(square({text.code}))")
            )
        return Text(f"R(pow)({text.code}, {self(exponent)})")

    def _polygamma(self, expr: Any) -> Text:
        order, at = expr.args
        if order != 0:
            raise CodegenError(f"{expr}: the C target has the polygamma of order 0 alone")
        return Text(f"{FUNCTIONS[sympy.polygamma]}({self(at)})")

    def _divisor(self, expr: Any) -> Text:
        size = self(expr.args[0])
        return Text(f"({size} ? {size} : 1)", integer=True)

    def _delta(self, expr: Any) -> Text:
        left, right = (self.text(a) for a in expr.args)
        return Text(f"{left.at(RELATION)} == {right.at(RELATION)}", EQUALITY, integer=True)

    def _where(self, expr: Any) -> Text:
        condition, (yes, no) = self.text(expr.condition), map(self.text, expr.branches)
        integer = yes.integer and no.integer
        if _is_nested(expr) and not integer:
            return Text(f"choose({condition.code}, {yes.code}, {no.code})")
        code = f"{condition.at(EITHER)} ? {yes.at(EITHER)} : {no.at(CHOICE)}"
        return Text(code, CHOICE, integer)

    def _relation(self, expr: Any) -> Text:
        expr = number_right(expr)
        left, right, sign = *map(self.text, expr.args), RELATIONS[type(expr)]
        binds = EQUALITY if sign in ("==", "!=") else RELATION
        return Text(f"{left.at(PLUS)} {sign} {right.at(PLUS)}", binds, integer=True)

    def _both(self, expr: Any) -> Text:
        return Text(" && ".join(self.text(a).at(EQUALITY) for a in expr.args), BOTH, integer=True)

    def _either(self, expr: Any) -> Text:
        return Text(" || ".join(self.text(a).at(EQUALITY) for a in expr.args), EITHER, integer=True)

    def _not(self, expr: Any) -> Text:
        return Text(f"!{self.text(expr.args[0]).at(ATOM)}", UNARY, integer=True)

    def _truth(self, expr: Any) -> Text:
        return Text("1" if expr == sympy.true else "0", integer=True)


def _is_nested(choice: Where) -> bool:
    """Whether both branches are to be computed, since compilers make no vectors of a choice inside
    a branch of another; not where one reads what may not be there: the place is another tensor's.
    """
    gathers = any(not isinstance(i, Index) for e in choice.atoms(Element) for i in e.indices)
    return not gathers and any(branch.has(Where) for branch in choice.branches)


def _is_below(factor: Basic) -> bool:
    return isinstance(factor, Pow) and factor.exp.is_number and factor.exp.is_negative is True


_RULES: tuple[tuple[type[Basic], Any], ...] = (
    (Integer, Printer._integer),
    (Rational, Printer._rational),
    (Float, Printer._number),
    (Symbol, Printer._symbol),
    (Element, Printer._indexed),
    (Affine, lambda self, e: self._terms(place_terms(e.place))),
    (Within, Printer._within),
    (Add, Printer._add),
    (Mul, Printer._mul),
    (Pow, Printer._pow),
    (sympy.polygamma, Printer._polygamma),
    (Divisor, Printer._divisor),
    (KroneckerDelta, Printer._delta),
    (Where, Printer._where),
    (StopGradient, lambda self, e: self.text(e.args[0])),
    (Relational, Printer._relation),
    (And, Printer._both),
    (Or, Printer._either),
    (Not, Printer._not),
    (BooleanAtom, Printer._truth),
    (sympy.core.numbers.NumberSymbol, Printer._number),
    (sympy.core.numbers.Infinity, Printer._number),
    (sympy.core.numbers.NegativeInfinity, Printer._number),
)
