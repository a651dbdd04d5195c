"""A let of a backward pass taken apart: what varies with the cotangents, and what does not.

    grad_x = grad_y * Where(x > 0, 1, 0)   ->   x_positive = x > 0
                                                grad_x = Where(x_positive, grad_y, 0)

The condition has a name of its own, so that the forward pass can make it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sympy import Add, And, Basic, Expr, KroneckerDelta, Mul, Or, S, Symbol
from sympy.logic.boolalg import Boolean

from codegen.program import is_number
from derive.calculus.recognise import is_atomic
from derive.language.cotangents import is_cotangent, primal_name
from derive.language.definition import Dim, Let, Tensor
from derive.language.expressions import (
    ArgMax,
    Element,
    Index,
    Parameter,
    Where,
    free_indices,
    fresh_names,
    names_used,
    tensor_name,
)
from derive.language.facts import is_total
from derive.simplification.naming import word


def _elements(expr: Basic) -> set[Any]:
    """The elements of tensors in an expression, those without axes too."""
    inside = {e.base.label for e in expr.atoms(Element)}
    symbols = {s for s in expr.atoms(Symbol) if not isinstance(s, Index | Parameter)} - inside
    return expr.atoms(Element) | symbols


@dataclass
class Parts:
    """Takes a let apart, a gradient by one of the `primal` tensors or what is made on the way.

    `made` collects the lets of what does not vary with the cotangents, under names that are not
    `taken`: of parts that are as large as can be, or that read one tensor `alone`.
    """

    let: Let
    varying: frozenset[str]
    seeds: tuple[str, ...]
    primal: frozenset[str]
    taken: set[str]
    alone: bool = False
    made: list[Let] = field(default_factory=list)

    def value(self) -> Any:
        """The let's value, which reads what is made in place of its parts."""
        value = self.let.value
        varying = [e for e in _elements(value) if tensor_name(e) in self.varying]
        if not self.alone and len(varying) == 1 and not value.has(KroneckerDelta):
            (cotangent,) = varying
            factor = self.factor(value, cotangent)
            if factor is not None and (zero := _zero(factor)) is not None:
                passed, condition = zero
                mask = self.named(condition)
                return Where(mask, cotangent, 0) if passed else Where(mask, 0, cotangent)
            if factor is not None:
                return cotangent * self.named(factor, self.derivative(cotangent))
        return self.walk(value)

    def derivative(self, cotangent: Expr) -> str:
        """The name for the factor of an output's cotangent in an input's gradient, "" for that of
        another cotangent or in another let."""
        of, by = map(primal_name, (tensor_name(cotangent), self.let.name))
        named = is_cotangent(self.let.name) and by in self.primal
        return f"d{of}_d{by}" if named and tensor_name(cotangent) in self.seeds else ""

    def varies(self, expr: Any) -> bool:
        return bool(names_used(expr) & self.varying)

    def factor(self, expr: Expr, cotangent: Expr) -> Expr | None:
        """What multiplies a cotangent in an expression that is linear in it; None where that cannot
        be told."""
        if expr == cotangent:
            return S.One
        if isinstance(expr, Mul):
            ((first, *more), rest) = _apart(expr.args, self.varies)
            inner = None if more else self.factor(first, cotangent)
            return None if inner is None else inner * Mul(*rest)
        if isinstance(expr, Add):
            terms = [self.factor(term, cotangent) for term in expr.args]
            return None if None in terms else Add(*terms)
        if isinstance(expr, Where) and not self.varies(expr.condition):
            yes, no = (S.Zero if b == 0 else self.factor(b, cotangent) for b in expr.branches)
            return None if yes is None or no is None else Where(expr.condition, yes, no)
        return None

    def walk(self, expr: Any, chosen: bool = False) -> Any:
        """An expression in which the parts that do not vary are named; of what is `chosen`, those
        that have a value where it is not. A condition is one part."""
        plain = not self.varies(expr) and not (self.alone and len(_elements(expr)) > 1)
        if plain and (not chosen or is_total(expr)):
            return self.named(expr)
        if is_atomic(expr) or isinstance(expr, Boolean):
            return expr
        if isinstance(expr, Where):
            branches = [self.walk(branch, chosen=True) for branch in expr.branches]
            return Where(self.walk(expr.condition, chosen), *branches)
        if isinstance(expr, Mul | Add):
            varying, rest = _apart(expr.args, self.varies)
            hits, rest = _apart(rest, lambda e: e.has(KroneckerDelta))
            whole = rest and varying and not self.alone
            parts = [expr.func(*rest)] if whole else rest
            return expr.func(*(self.walk(part, chosen) for part in (*varying, *parts)), *hits)
        args = [a if isinstance(a, Index) else self.walk(a, chosen) for a in expr.args]
        return expr.func(*args)

    def named(self, expr: Any, name: str = "") -> Any:
        """The element that a part is read by, a let added for it; the part itself where naming it
        would save no work."""
        if is_atomic(expr) or is_number(expr) or expr.has(KroneckerDelta, ArgMax):
            return expr
        if not _elements(expr):
            return expr
        (name,) = fresh_names([name or word(expr)], self.taken)
        self.taken.add(name)
        tensor = Tensor(name, self.dims(expr))
        self.made.append(Let(tensor, expr))
        return tensor.element

    def dims(self, expr: Any) -> tuple[Dim, ...]:
        """The let's own dimensions, where a part has them; else its letters as they stand in it,
        so that a condition which the forward pass has, too, is the same tensor."""
        letters, own = free_indices(expr), self.let.tensor
        if letters <= set(own.indices) and not isinstance(expr, Boolean):
            within = tuple(i for i in own.indices if i in letters)
            return own.dims if letters == set(own.indices) else within
        found = sorted(_elements(expr), key=lambda e: (-len(free_indices(e)), str(e)))
        inside = [i for e in found for i in e.args if i in letters]
        return tuple(dict.fromkeys((*inside, *sorted(letters, key=str))))


def _apart(args: Iterable[Any], holds: Any) -> tuple[list[Any], list[Any]]:
    args = list(args)
    return [a for a in args if holds(a)], [a for a in args if not holds(a)]


def _zero(factor: Any) -> tuple[bool, Any] | None:
    """Of a factor that is 1 or 0, whether it is 1 under a condition, or 0, and that condition; None
    of any other.

    A condition is not negated: for what is not a number, that would not be its opposite.
    """
    for passed in (True, False):
        condition = _condition(factor, passed)
        if condition is not None and condition not in (S.true, S.false):
            return passed, condition
    return None


def _condition(factor: Any, passed: bool) -> Any:
    """The condition under which a factor is 1, where that is to be `passed`, else under which it is
    0; None where it may be another number."""
    if factor in (0, 1):
        return S.true if bool(factor) == passed else S.false
    if not isinstance(factor, Where):
        return None
    yes, no = (_condition(branch, passed) for branch in factor.branches)
    if (yes, no) == (S.true, S.false):
        return factor.condition
    if not all(isinstance(c, Boolean) for c in (factor.condition, yes, no)):
        return None  # a condition that has a name already takes no part in another
    if yes == S.true:
        return Or(factor.condition, no)
    return And(factor.condition, yes) if no == S.false else None
