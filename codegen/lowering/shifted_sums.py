"""Logarithms of sums of exponentials by place, as sums less the largest exponent of each place.

What does not lie at a place has the logarithm of zero beside it:

    z[q] = LogSumExp(log(delta(q, j[n])) + s[n], n)    ->
    s_shift[q]    = max_n(log(delta(q, j[n])) + s[n]) where that is finite
    s_exp[n]      = exp(s[n] - s_shift[j[n]])
    s_exp_by_j[q] = sum_n(delta(q, j[n])*s_exp[n])
    z[q]          = s_shift[q] + log(s_exp_by_j[q])

A share of such a sum, `exp(s[n] - z[j[n]])`, is `s_exp[n]/s_exp_by_j[j[n]]`: with the logarithm it
would lose as many digits as there are before the point.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sympy import Add, Expr, KroneckerDelta, exp, log

from codegen.lowering.forms import Finite, Largest, LogSumExp
from codegen.program import Program
from derive.calculus.recognise import Named, abstract
from derive.language.definition import Let, Tensor, needed
from derive.language.expressions import (
    Binder,
    Element,
    Index,
    Sum,
    free_indices,
    fresh_names,
    with_args,
)
from derive.simplification.naming import word


def placed(expr: Binder) -> tuple[Index, Element, Expr] | None:
    """The letter of places, the place of each and what is there, where something is taken over
    what lies at one place alone: what else is there has the logarithm of zero beside it."""
    bound = {*expr.indices}
    for mask in (t for t in Add.make_args(expr.body) if isinstance(t, log)):
        rest = expr.body - mask
        sides = mask.args[0].args if isinstance(mask.args[0], KroneckerDelta) else ()
        for letter, at in zip(sides, sides[::-1], strict=True):
            free = isinstance(letter, Index) and letter not in bound | free_indices(rest)
            if free and isinstance(at, Element) and free_indices(at) & bound:
                return letter, at, rest
    return None


def shifted_by_place(program: Program) -> Program:
    """The program, the logarithms of sums by place written out as what they are made of."""
    if not any(placed(e) for let in program.lets for e in let.value.atoms(LogSumExp)):
        return program
    shifted = _Shifted({*program.tensors, *program.option_names, *program.axes})
    for let in program.lets:
        value = shifted.written_out(let.value, let.tensor.indices)
        shifted.lets.append(replace(let, value=value))
        shifted.remember(let)
    return replace(program, lets=needed(shifted.lets, program.handed_on))


@dataclass(frozen=True)
class _Parts:
    """What the logarithm of a sum by place is made of; `power` is what is summed."""

    shift: Expr
    total: Expr
    power: Named
    pattern: Expr


@dataclass
class _Shifted:
    """The lets so far, and what the logarithms of sums by place are made of: those that are
    written out by what they are, those that have a name by that and their letters."""

    taken: set[str]
    lets: list[Let] = field(default_factory=list)
    parts: dict[Expr, _Parts] = field(default_factory=dict)
    named: dict[str, tuple[tuple[Index, ...], _Parts]] = field(default_factory=dict)

    def remember(self, let: Let) -> None:
        """See that a let is such a logarithm."""
        if let.value in self.parts:
            self.named[let.name] = let.tensor.indices, self.parts[let.value]

    def written_out(self, expr: Any, order: Sequence[Index]) -> Any:
        """An expression without such logarithms; `order` is that of the letters around it."""
        if not expr.args or isinstance(expr, Element):
            return expr
        expr = with_args(expr, [self.written_out(a, order) for a in expr.args])
        if isinstance(expr, LogSumExp) and (found := placed(expr)) is not None:
            if expr not in self.parts:
                self.parts[expr] = self._made(expr, *found, order)
            return self.parts[expr].shift + log(self.parts[expr].total)
        share = self._share(expr.args[0]) if isinstance(expr, exp) else None
        return expr if share is None else share

    def _made(
        self, expr: LogSumExp, letter: Index, at: Element, rest: Expr, order: Sequence[Index]
    ) -> _Parts:
        name, largest = word(rest), Largest(expr.body, *expr.indices)
        shift = self._named(f"{name}_shift", Finite(largest), order).element
        value = exp(rest - shift.xreplace({letter: at}))
        power = self._named(f"{name}_exp", value, order)
        total = Sum(KroneckerDelta(letter, at) * power.element, *expr.indices)
        pattern, letters = abstract(value)
        return _Parts(
            shift,
            self._named(f"{name}_exp_by_{at.tensor_name}", total, order).element,
            Named(power, letters),
            pattern,
        )

    def _named(self, name: str, value: Expr, order: Sequence[Index]) -> Tensor:
        (name,) = fresh_names([name], self.taken)
        self.taken.add(name)
        own = [i for i in order if i in free_indices(value)]
        others = sorted(free_indices(value) - {*own}, key=lambda i: i.name)
        self.lets.append(Let(Tensor(name, (*own, *others)), value))
        return self.lets[-1].tensor

    def _share(self, exponent: Expr) -> Expr | None:
        """The exponential of what is less such a logarithm, as one over its sum."""
        for term in Add.make_args(exponent):
            if not (isinstance(-term, Element) and (-term).tensor_name in self.named):
                continue
            letters, parts = self.named[(-term).tensor_name]
            here = dict(zip(letters, (-term).indices, strict=True))
            shift, total = parts.shift.xreplace(here), parts.total.xreplace(here)
            power = exp(exponent - term - shift)
            pattern, own = abstract(power)
            return (parts.power.at(own) if pattern == parts.pattern else power) / total
        return None
