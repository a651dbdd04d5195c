"""Formulas as they are set, in any language that sets formulas.

What stands where - bars of fractions, parentheses, the order of factors, broken rows - is the same
in LaTeX and in MathML, and is said here once. How a language writes a fraction, or an accent, is a
method of its `Notation`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import sympy
from sympy import Add, Basic, Expr, KroneckerDelta, Mul, Pow, Rational, Symbol
from sympy.core.relational import Relational
from sympy.logic.boolalg import And, BooleanAtom, Not, Or

from derive.language.cotangents import FIRST_ORDER, is_cotangent, primal_name
from derive.language.expressions import Affine, Binder, Element, Index, StopGradient, Where
from derive.language.functions import as_extreme
from derive.printing.arrange import (
    ADD,
    ATOM,
    GREEK,
    MUL,
    POW,
    Arrangement,
    decimal,
    delta_sides,
    letters_in_order,
    number_right,
    place_terms,
)
from derive.printing.marks import Marked
from derive.printing.measure import rows_of

Written = tuple[str, int]
"""A formula, and how tightly it binds."""

ACCENTS = frozenset({"hat", "tilde", "dot"})
"""What a name may end in, as `x_hat`, for its stem to carry an accent. A bar is a cotangent's."""


class Notation(ABC):
    """A language that formulas are set in."""

    minus: ClassVar[str]
    """The sign before a negative formula."""
    space: ClassVar[str]
    """What stands between terms."""
    thin: ClassVar[str]
    """What stands between factors."""
    times: ClassVar[str]
    """The sign before factors that stand in a row of their own."""
    slash: ClassVar[str]
    comma: ClassVar[str]
    index_comma: ClassVar[str]
    binders: ClassVar[Mapping[type[Any], str]]
    brackets: ClassVar[Mapping[type[Any], tuple[str, str]]]
    functions: ClassVar[Mapping[type[Any], str]]
    """Functions that are not called as SymPy calls them."""
    relations: ClassVar[Mapping[str, str]]
    logic: ClassVar[Mapping[type[Any], str]]

    # --- what a language says in its own way ---

    @abstractmethod
    def word(self, name: str) -> str: ...

    @abstractmethod
    def letter(self, name: str) -> str: ...

    @abstractmethod
    def greek(self, name: str) -> str: ...

    @abstractmethod
    def digits(self, number: str) -> str:
        """A number as Python writes it, `0.5` or `1.2e-38`."""

    @abstractmethod
    def constant(self, expr: Basic) -> str: ...

    @abstractmethod
    def barred(self, inside: str) -> str: ...

    @abstractmethod
    def accented(self, accent: str, inside: str) -> str: ...

    @abstractmethod
    def numbered(self, base: str, number: str) -> str:
        """A name with a number in parentheses above it."""

    @abstractmethod
    def subscript(self, base: str, below: str) -> str: ...

    @abstractmethod
    def power(self, base: str, exponent: str, named: bool) -> str:
        """`named` says that the base is a name alone, which may have something above it already."""

    @abstractmethod
    def root(self, inside: str) -> str: ...

    @abstractmethod
    def fraction(self, above: str, below: str) -> str: ...

    @abstractmethod
    def parenthesised(self, inside: str) -> str: ...

    @abstractmethod
    def bracketed(self, opening: str, inside: str, closing: str) -> str: ...

    @abstractmethod
    def applied(self, function: str, inside: str) -> str: ...

    @abstractmethod
    def bound(self, sign: str, letters: str, body: str) -> str: ...

    @abstractmethod
    def cases(self, condition: str, yes: str, no: str) -> str: ...

    @abstractmethod
    def infix(self, sign: str) -> str:
        """A relation or a conjunction between its two sides."""

    @abstractmethod
    def prefix(self, sign: str) -> str: ...

    @abstractmethod
    def between(self, sign: str, term: str) -> str:
        """A term of a sum that is not its first, behind its sign, which is + or -."""

    @abstractmethod
    def rows(self, parts: Sequence[str]) -> str:
        """Parts one below another."""

    @abstractmethod
    def marked(self, mark: str, inside: str) -> str: ...

    # --- what is the same in all of them ---

    def formula(self, expr: Basic, arrangement: Arrangement | None = None) -> str:
        """An expression as a formula."""
        return self.written(expr, arrangement or Arrangement())[0]

    def written(self, expr: Any, arrangement: Arrangement) -> Written:
        """The formula of an expression, and how tightly it binds."""
        for cls, writer in _WRITERS.items():
            if isinstance(expr, cls):
                return writer(self, expr, arrangement)
        if type(expr) in self.brackets:
            opening, closing = self.brackets[type(expr)]
            return self.bracketed(opening, self.listed(expr.args, arrangement), closing), ATOM
        if isinstance(expr, sympy.Function):
            name = self.functions.get(type(expr), type(expr).__name__)
            return self.applied(name, self.listed(expr.args, arrangement)), ATOM
        return self.constant(expr), ATOM

    def within(self, expr: Any, arrangement: Arrangement, level: int) -> str:
        """The formula of a part, in parentheses where it binds less tightly than its place asks."""
        written, tightness = self.written(expr, arrangement)
        return self.parenthesised(written) if tightness < level else written

    def listed(self, exprs: Iterable[Any], arrangement: Arrangement) -> str:
        return self.comma.join(self.formula(e, arrangement) for e in exprs)

    def indices(self, exprs: Iterable[Any], arrangement: Arrangement) -> str:
        return self.index_comma.join(self.formula(e, arrangement) for e in exprs)

    def signed(self, terms: Iterable[Expr], arrangement: Arrangement) -> list[str]:
        """The terms of a sum, each with the sign before it."""
        parts: list[str] = []
        for term in terms:
            written, _ = self.written(term, arrangement)
            if not parts:
                parts.append(written)
            elif written.startswith(self.minus):
                parts.append(self.between("-", written.removeprefix(self.minus)))
            else:
                parts.append(self.between("+", written))
        return parts

    def name(self, name: str) -> str:
        """A tensor's or an option's name: `x_hat` with a hat, `eps` and `gamma` in Greek.

        A cotangent has a bar, as is usual, and one of the first order that is differentiated itself
        a (1) besides.
        """
        if is_cotangent(name):
            return self.barred(self.name(primal_name(name)))
        if name.startswith(FIRST_ORDER):
            return self.numbered(self.name(name.removeprefix("first_")), "1")
        stem, _, accent = name.rpartition("_")
        if accent in ACCENTS and stem:
            return self.accented(accent, self.name(stem))
        if name in GREEK or name in ("eps", "epsilon"):
            return self.greek("epsilon" if name == "eps" else name)
        if numbered := re.fullmatch(r"([A-Za-z])_?(\d+)", name):
            return self.numbered(self.word(numbered[1]), numbered[2])
        return self.word(name)


def _symbol(to: Notation, expr: Any, _: Arrangement) -> Written:
    if not isinstance(expr, Index):
        return to.name(expr.name), ATOM
    stem, _, below = expr.name.partition("_")
    letter = to.letter(stem)
    if not below:
        return letter, ATOM
    return to.subscript(letter, to.digits(below) if below.isdecimal() else to.word(below)), ATOM


def _element(to: Notation, expr: Any, arrangement: Arrangement) -> Written:
    name = to.name(expr.tensor_name)
    return to.subscript(name, to.indices(expr.indices, arrangement)), ATOM


def _affine(to: Notation, expr: Affine, arrangement: Arrangement) -> Written:
    return to.space.join(to.signed(place_terms(expr.place), arrangement)), ADD


def _number(to: Notation, expr: Any, _: Arrangement) -> Written:
    size = abs(expr)
    if expr.is_Float:
        written = to.digits(f"{float(size):.15g}")
    elif decimal(size) or size.is_Integer:
        written = to.digits(decimal(size) or str(size))
    else:
        written = to.fraction(to.digits(str(size.p)), to.digits(str(size.q)))
    return (f"{to.minus}{written}", ADD) if expr < 0 else (written, ATOM)


def _add(to: Notation, expr: Add, arrangement: Arrangement) -> Written:
    terms = iter(to.signed(arrangement.terms(expr), arrangement))
    rows = [to.space.join(next(terms) for _ in row) for row in rows_of(expr, arrangement)]
    return (to.rows(rows) if len(rows) > 1 else rows[0]), ADD


def _mul(to: Notation, expr: Expr, arrangement: Arrangement) -> Written:
    """A product: coefficients and tensors above and below a bar, sums and differences after it."""
    fraction = arrangement.fraction(expr)
    broken = expr in dict(arrangement.rows) and all(fraction.rows)
    above, after = fraction.rows if broken else fraction.sides
    written = _factors(to, above, arrangement, bar=not fraction.below)
    if fraction.below:
        written = to.fraction(written, _factors(to, fraction.below, arrangement))
    behind = _factors(to, after, arrangement, bar=True)
    if broken:
        written = to.rows([written, f"{to.times}{behind}"])
    elif after:
        written += f"{to.thin}{behind}"
    return (f"{to.minus}{written}", ADD) if fraction.negative else (written, MUL)


def _factors(
    to: Notation, factors: Sequence[Expr], arrangement: Arrangement, bar: bool = False
) -> str:
    """Factors side by side. A sum swallows what follows it: only the last goes without parentheses.

    `bar` says that something may stand before them, so that a difference always needs some.
    """
    last = len(factors) - 1
    alone = ADD if not last and not bar else MUL
    levels = [alone if place == last else POW for place in range(len(factors))]
    parts = [to.within(f, arrangement, level) for f, level in zip(factors, levels, strict=True)]
    return to.thin.join(parts) or to.digits("1")


def _power(to: Notation, expr: Pow, arrangement: Arrangement) -> Written:
    if expr.exp.is_Number and expr.exp.is_negative:
        return _mul(to, expr, arrangement)
    if expr.exp == sympy.S.Half:
        return to.root(to.formula(expr.base, arrangement)), ATOM
    base = to.within(expr.base, arrangement, ATOM)
    if isinstance(expr.exp, Rational) and not expr.exp.is_Integer:
        exponent = f"{to.digits(str(expr.exp.p))}{to.slash}{to.digits(str(expr.exp.q))}"
    else:
        exponent = to.formula(expr.exp, arrangement)
    return to.power(base, exponent, isinstance(expr.base, Element | Symbol)), POW


def _binder(to: Notation, expr: Binder, arrangement: Arrangement) -> Written:
    letters = to.indices(letters_in_order(expr), arrangement)
    # a difference under a sum needs parentheses; a sum itself binds like a product
    body = to.within(expr.body, arrangement, MUL)
    return to.bound(to.binders[type(expr)], letters, body), MUL


def _where(to: Notation, expr: Where, arrangement: Arrangement) -> Written:
    extreme = as_extreme(expr)
    if extreme is not None:
        name, args = extreme
        return to.applied(name, to.listed(args, arrangement)), ATOM
    condition, yes, no = (to.formula(arg, arrangement) for arg in expr.args)
    return to.cases(condition, yes, no), MUL


def _stop(to: Notation, expr: StopGradient, arrangement: Arrangement) -> Written:
    return to.applied("stop", to.listed(expr.args, arrangement)), ATOM


def _delta(to: Notation, expr: KroneckerDelta, arrangement: Arrangement) -> Written:
    return to.subscript(to.greek("delta"), to.listed(delta_sides(expr), arrangement)), ATOM


def _relation(to: Notation, expr: Any, arrangement: Arrangement) -> Written:
    expr = number_right(expr)
    sign = to.infix(to.relations[expr.rel_op])
    return sign.join(to.formula(side, arrangement) for side in expr.args), MUL


def _connected(to: Notation, expr: Any, arrangement: Arrangement) -> Written:
    sign = to.logic[type(expr)]
    parts = sorted(to.within(a, arrangement, MUL) for a in expr.args)
    return (to.infix(sign).join(parts) if len(parts) > 1 else to.prefix(sign) + parts[0]), ADD


def _marked(to: Notation, expr: Marked, arrangement: Arrangement) -> Written:
    written, tightness = to.written(expr.part, arrangement)
    return to.marked(expr.mark, written), tightness


_WRITERS: Mapping[type[Any], Callable[[Notation, Any, Arrangement], Written]] = {
    Marked: _marked,
    Rational: _number,
    sympy.Float: _number,
    Symbol: _symbol,
    Element: _element,
    Affine: _affine,
    Add: _add,
    Mul: _mul,
    Pow: _power,
    Binder: _binder,
    Where: _where,
    StopGradient: _stop,
    KroneckerDelta: _delta,
    Relational: _relation,
    And: _connected,
    Or: _connected,
    Not: _connected,
    BooleanAtom: lambda to, expr, _: (to.constant(expr), ATOM),
}
