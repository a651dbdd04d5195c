"""Programs in which each reduction has a let of its own.

A loop nest computes either one value for each position or one value from many. Here every
sum, product and largest position is given a name, and the safe forms are
written out as what they are made of:

    LogSumExp(z, k)   ->  shift + log(sum_exp),   shift = max_k z where that is finite
    LogSoftmax(z, k)  ->  z - max - log_sum_exp
    Softmax(z, k)     ->  exp / sum_exp,          exp = exp(z - max)

A let that results is either elementwise or a reduction of something elementwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sympy import Add, Basic, Expr, KroneckerDelta, Mul, S, exp, log

from codegen.c.steady import steady_apart
from codegen.c.windows import read_within
from codegen.lowering.forms import Along, Finite, Largest, LogSoftmax, LogSumExp, Softmax
from codegen.lowering.shifted_sums import shifted_by_place
from codegen.lowering.unused_axes import narrowed
from codegen.program import Program
from derive.calculus.recognise import Named, abstract
from derive.language.definition import Let, Tensor
from derive.language.expressions import (
    ArgMax,
    Binder,
    Element,
    Index,
    Product,
    StopGradient,
    Sum,
    count_of,
    free_indices,
    fresh_names,
    with_args,
)
from derive.simplification.naming import word

REDUCTIONS = (Sum, Product, Largest, ArgMax)


def is_reduction(value: Basic) -> bool:
    return isinstance(value, REDUCTIONS)


def explicit(program: Program, besides: Iterable[str] = ()) -> Program:
    """The same program, its reductions named, but not as those `besides`, and its safe forms
    written out."""
    besides = list(besides)
    program = steady_apart(narrowed(shifted_by_place(program)), besides)
    taken = {*program.tensors, *program.option_names, *program.axes, *besides}
    taken |= {s.name for let in program.lets for s in let.value.atoms(Index)}
    names = _Names(taken)
    for let in program.lets:
        names.bind(let)
    return read_within(replace(program, lets=tuple(names.lets)))


@dataclass
class _Names:
    """The lets so far, and what each named expression is called."""

    taken: set[str]
    lets: list[Let] = field(default_factory=list)
    known: dict[Expr, Named] = field(default_factory=dict)

    def bind(self, let: Let) -> None:
        """Add a let, after those that its value needs."""
        value = let.value
        if isinstance(value, Sum) and (terms := _apart(value)):
            value = Add(*terms)
        # Where the result has other letters as well, it is the same along those.
        whole = set(let.tensor.indices) <= free_indices(value)
        if is_reduction(value) and whole and not _idle(value):
            inside = self.walk(value.body, let.tensor.indices)
            reduced = value.func(inside, *value.indices)
            before = _before(reduced)
            if before != 1:
                rest = Sum(inside / before, *value.indices)
                reduced = before * self.named(rest, f"{let.name}_sum", let.tensor.indices)
            self.lets.append(Let(let.tensor, reduced))
            self._remember(value, let.tensor)
        else:
            self.lets.append(Let(let.tensor, self.walk(value, let.tensor.indices)))

    def walk(self, expr: Any, order: Sequence[Index]) -> Any:
        """An expression without reductions; `order` is that of the letters around it."""
        rule = next((rule for kind, rule in _RULES if isinstance(expr, kind)), None)
        if rule is not None:
            return rule(self, expr, order)
        if not expr.args or isinstance(expr, Index):
            return expr
        return with_args(expr, [self.walk(a, order) for a in expr.args])

    def reduced(self, expr: Any, order: Sequence[Index]) -> Expr:
        if isinstance(expr, Sum) and (terms := _apart(expr)):
            return self.walk(Add(*terms), order)
        if idle := _idle(expr):
            kept = [i for i in expr.indices if i not in idle]
            inner = expr.func(expr.body, *kept) if kept else expr.body
            count = count_of(idle)
            return self.walk(inner**count if isinstance(expr, Product) else inner * count, order)
        return self.named(expr, word(expr), order)

    def named(self, expr: Expr, name: str, order: Sequence[Index]) -> Expr:
        """The element that an expression is called by, its let added where it is new."""
        pattern, letters = abstract(expr)
        if pattern not in self.known:
            dims = _ordered(letters, expr, order)
            name = self.fresh(name)
            tensor = Tensor(name, dims, integer=isinstance(expr, ArgMax))
            self.bind(Let(tensor, expr))
            self._remember(expr, tensor)
        return self.known[pattern].at(letters)

    def fresh(self, name: str) -> str:
        (name,) = fresh_names([name], self.taken)
        self.taken.add(name)
        return name

    def _remember(self, expr: Expr, tensor: Tensor) -> None:
        pattern, letters = abstract(expr)
        if set(letters) == set(tensor.indices):
            self.known.setdefault(pattern, Named(tensor, letters))

    # --- the safe forms ---

    def log_sum_exp(self, expr: LogSumExp, order: Sequence[Index]) -> Expr:
        name = word(expr.body)
        largest = self.named(Largest(expr.body, *expr.indices), f"{name}_max", order)
        shift = self.named(Finite(largest), f"{name}_shift", order)
        total = Sum(exp(expr.body - shift), *expr.indices)
        return shift + log(self.named(total, f"{name}_sum_exp", order))

    def log_softmax(self, expr: LogSoftmax, order: Sequence[Index]) -> Expr:
        name, shifted = self._shifted(expr, order)
        total = self.named(Sum(exp(shifted), expr.index), f"{name}_sum_exp", order)
        return shifted - self.named(log(total), f"{name}_log_sum_exp", order)

    def softmax(self, expr: Softmax, order: Sequence[Index]) -> Expr:
        name, shifted = self._shifted(expr, order)
        element = self.named(exp(shifted), f"{name}_exp", order)
        return element / self.named(Sum(element, expr.index), f"{name}_sum_exp", order)

    def _shifted(self, expr: Along, order: Sequence[Index]) -> tuple[str, Expr]:
        """What to name things after; and the body less its largest value, which has a name so
        that it is subtracted before anything else is."""
        body, name = self.walk(expr.body, order), word(expr.body)
        largest = self.named(Largest(body, expr.index), f"{name}_max", order)
        return name, self.named(body - largest, f"{name}_shifted", order)


def _apart(expr: Sum) -> list[Expr]:
    """The terms of a sum that are summed each by itself: where one puts values in their places."""
    terms = Add.make_args(expr.body)
    if len(terms) == 1 or not any(t.has(KroneckerDelta) for t in terms):
        return []
    return [Sum(term, *expr.indices) for term in terms]


def _before(expr: Expr) -> Expr:
    """What can stand before a sum, as what a softmax in it is divided by: the product of the
    factors of its body that are the same for all of its letters."""
    if not isinstance(expr, Sum):
        return S.One
    same = (f for f in Mul.make_args(expr.body) if not free_indices(f) & set(expr.indices))
    return Mul(*(f for f in same if f.atoms(Element)))


def _idle(expr: Basic) -> list[Index]:
    """Bound letters that the body of a sum or product does not depend on."""
    if not isinstance(expr, Sum | Product):
        return []
    return [i for i in expr.indices if i not in free_indices(expr.body)]


def _ordered(letters: Sequence[Index], expr: Expr, order: Sequence[Index]) -> tuple[Index, ...]:
    """The letters of a new let, in the order of the let around it where that has them all, else
    as the widest element that it reads stores them."""
    if set(letters) <= set(order):
        return tuple(i for i in order if i in letters)
    elements = sorted(expr.atoms(Element), key=str)
    widest = max(elements, key=lambda e: len(set(e.indices) & set(letters)), default=None)
    stored = [i for i in (widest.indices if widest else ()) if i in letters]
    return tuple(dict.fromkeys([*stored, *letters]))


_RULES: tuple[tuple[type[Basic], Any], ...] = (
    (StopGradient, lambda names, e, order: names.walk(e.args[0], order)),
    (LogSumExp, _Names.log_sum_exp),
    (LogSoftmax, _Names.log_softmax),
    (Softmax, _Names.softmax),
    (Binder, _Names.reduced),
)
