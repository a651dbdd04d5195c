"""Recognise the primal: find known tensors in an expression.

A `Rewriter` holds equations "expression = what it is called", for expressions at the top
of which stands a function, a power, a sum or a choice. Free letters of an equation stand
for any index, so `exp(z[n, k]) = e[n, k]` also finds `exp(z[m, target[m]])`. Of a tensor that
equals its transpose, it writes both elements `r[i, j]` and `r[j, i]` as one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from sympy import Add, Basic, Eq, Expr, KroneckerDelta, Mul, Ne, Pow, S, exp
from sympy.logic.boolalg import And, Or

from derive.calculus.both_ways import letters_in_order
from derive.calculus.bound_indices import canonical_binder
from derive.calculus.normal import normalise
from derive.language.definition import Tensor
from derive.language.expressions import Binder, Element, Index, free_indices, is_scalar, with_args

Pattern = Expr
"""An expression whose free letters were replaced by numbered places, one list an axis."""


@dataclass(frozen=True)
class Mirror:
    """Two places in a tensor's elements that may be exchanged: it equals its own transpose.

    The tensor has `letters` there where it is declared.
    """

    first: int
    second: int
    letters: tuple[Index, Index]

    def in_order(self, element: Element) -> Element:
        """The one that is written of two elements that are equal."""
        indices = list(element.indices)
        one, other = indices[self.first], indices[self.second]
        if not (isinstance(one, Index) and isinstance(other, Index)):
            return element
        if self._place(one) < self._place(other):
            return element
        indices[self.first], indices[self.second] = other, one
        return Element(element.base, *indices)

    def _place(self, letter: Index) -> tuple[int, str]:
        own = letter in self.letters
        return self.letters.index(letter) if own else len(self.letters), letter.name


@dataclass
class Rewriter:
    """Equations, found by the shape of their left side."""

    table: dict[Pattern, list[tuple[tuple[Index, ...], Expr, Expr]]] = field(default_factory=dict)
    mirrored: Mapping[str, Mirror] = field(default_factory=dict)
    quotients: dict[Pattern, list[tuple[tuple[Index, ...], Expr, Expr]]] = field(
        default_factory=dict
    )
    """By what is divided by: its letters, what stands above it, and what the quotient is."""
    _seen: dict[Any, Any] = field(default_factory=dict, repr=False)

    def add(self, left: Expr, right: Expr) -> None:
        """Rewrite `left` as `right`; the first equation wins.

        Where `right` has a letter that `left` has not, as a let that repeats a value along an
        axis does, nothing says what that letter is, and the equation is not used.
        """
        if free_indices(right) - free_indices(left):
            return
        base, exponent = _as_power(left)
        pattern, letters = abstract(base)
        self.table.setdefault(pattern, []).append((letters, right, exponent))
        self._seen.clear()

    def add_quotient(self, above: Expr, below: Expr, right: Expr) -> None:
        """Rewrite `above/below` as `right`, in a product of more factors too."""
        pattern, letters = abstract(normalise(below))
        self.quotients.setdefault(pattern, []).append((letters, above, right))
        self._seen.clear()

    def lookup(self, expr: Expr) -> Expr | None:
        """What an expression is called: also a whole power of what an equation names, and what
        it names at a chosen place, as `target[n]`."""
        found = self._found(expr)
        if found is not None:
            return found
        chosen = {i for e in expr.atoms(Element) for i in e.indices if isinstance(i, Element)}
        return self._found_at(chosen.pop(), expr) if len(chosen) == 1 else None

    def _found_at(self, place: Element, expr: Expr) -> Expr | None:
        rows = (row for rows in self.table.values() for row in rows)
        for axis in sorted({letter.axis for letters, _, _ in rows for letter in letters}):
            letter = Index("_chosen", axis)
            found = self._found(expr.xreplace({place: letter}))
            if found is not None and letter in found.free_symbols:
                return found.xreplace({letter: place})
        return None

    def _found(self, expr: Expr) -> Expr | None:
        base, exponent = _as_power(expr)
        pattern, letters = abstract(base)
        for own, right, unit in self.table.get(pattern, ()):
            if (exponent / unit).is_Integer:
                return Pow(right.xreplace(dict(zip(own, letters, strict=True))), exponent / unit)
        return None

    def apply(self, expr: Expr) -> Expr:
        """The expression with every known part, largest first, replaced by its name."""
        if not self.table and not self.mirrored and not self.quotients:
            return expr
        return self._walk(expr)

    def in_order(self, element: Element) -> Element:
        """The element, or its mirror image where that is the one that is written."""
        mirror = self.mirrored.get(element.tensor_name)
        return mirror.in_order(element) if mirror else element

    def _walk(self, expr: Any) -> Any:
        if is_atomic(expr):
            return self.in_order(expr) if isinstance(expr, Element) else expr
        if expr not in self._seen:
            self._seen[expr] = self._rewritten(expr)
        return self._seen[expr]

    def _rewritten(self, expr: Any) -> Any:
        if is_scalar(expr):
            return expr
        if isinstance(expr, Mul):
            expr = self._with_quotients(expr)
        if isinstance(expr, Expr) and not isinstance(expr, Add | Mul):
            found = self.lookup(expr)
            if found is not None:
                return found
        return with_args(expr, [self._walk(a) for a in expr.args])

    def _with_quotients(self, product: Mul) -> Expr:
        powers = [f for f in product.args if isinstance(f, Pow)] if self.quotients else []
        for below in powers:
            if not (below.exp.is_Integer and below.exp.is_negative):
                continue
            pattern, letters = abstract(normalise(below.base))
            for own, above, right in self.quotients.get(pattern, ()):
                here = dict(zip(own, letters, strict=True))
                base, unit = above.xreplace(here).as_base_exp()
                for factor in product.args:
                    known, exponent = self._walk(factor).as_base_exp()
                    count = min(exponent / unit, -below.exp) if known == base else S.Zero
                    if count.is_Integer and count > 0:
                        others = [f for f in product.args if f not in (factor, below)]
                        left = base ** (exponent - count * unit) * below.base ** (below.exp + count)
                        return Mul(*others, left, right.xreplace(here) ** count)
        return product


@dataclass(frozen=True)
class Named:
    """A tensor that has the value of a pattern, whose letters stand for the tensor's `letters`."""

    tensor: Tensor
    letters: tuple[Index, ...]

    def at(self, letters: Sequence[Index]) -> Expr:
        """The tensor's element where the pattern has these letters."""
        return self.tensor.element.xreplace(dict(zip(self.letters, letters, strict=True)))


def _as_power(expr: Expr) -> tuple[Expr, Expr]:
    """An expression as a base and a rational exponent: `u**(-3/2)` by u, `exp(-2u)` by exp(u).

    The base is in normal form, so that it is found however it is written.
    """
    if isinstance(expr, Pow) and expr.exp.is_Rational:
        return normalise(expr.base), expr.exp
    expr = normalise(expr)
    if isinstance(expr, exp):
        number, rest = expr.args[0].as_coeff_Mul()
        if number.is_Rational and not number.is_zero:
            return exp(rest), number
    return expr, S.One


def is_atomic(expr: Basic) -> bool:
    return not expr.args or isinstance(expr, Element)


def with_signs(expr: Any) -> Iterator[tuple[int, Any]]:
    """An expression and, of a sum, its negative: what differs by a sign is computed once."""
    yield 1, expr
    if isinstance(expr, Add):
        yield -1, -expr


@lru_cache(maxsize=100_000)
def abstract(expr: Expr) -> tuple[Pattern, tuple[Index, ...]]:
    """An expression with its free letters numbered in order of appearance, and those letters.

    `i == j` and `i != j` say nothing of the order: their letters come last.
    """
    letters: dict[Index, None] = {}

    def visit(e: Basic, bound: frozenset[Index], last: bool = False) -> None:
        if isinstance(e, Eq | Ne | KroneckerDelta) and not last:
            return
        if isinstance(e, Index):
            if e not in bound:
                letters.setdefault(e)
            return
        if isinstance(e, Binder):
            visit(e.body, bound | set(e.indices), last)
            return
        for a in _ordered(e):
            visit(a, bound, last)

    visit(expr, frozenset())
    visit(expr, frozenset(), last=True)
    free = tuple(letters)
    places = {i: Index(f"_{number}", i.axis) for number, i in enumerate(free)}
    pattern = expr.xreplace(places)
    if pattern.has(Eq, Ne):
        pattern = pattern.replace(lambda e: isinstance(e, Eq | Ne), letters_in_order)
    return canonical_binder(pattern) if isinstance(pattern, Binder) else pattern, free


def _ordered(expr: Basic) -> list[Basic]:
    """Arguments in an order that does not depend on the letters."""
    if isinstance(expr, Element) or not isinstance(expr, Add | Mul | And | Or):
        return list(expr.args)
    return sorted(expr.args, key=_skeleton)


@lru_cache(maxsize=100_000)
def _skeleton(expr: Basic) -> str:
    """A spelling of an expression with every letter blanked out."""
    if isinstance(expr, Index):
        return f"<{expr.axis.name}>"
    if isinstance(expr, Binder):
        return f"{type(expr).__name__}({_skeleton(expr.body)})"
    if not expr.args:
        return str(expr)
    parts = [_skeleton(a) for a in expr.args]
    if isinstance(expr, Add | Mul | And | Or):
        parts.sort()
    return f"{type(expr).__name__}({','.join(parts)})"
