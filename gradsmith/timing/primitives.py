"""A definition's forward pass as one writes it by hand in PyTorch's arithmetic primitives.

`exp`, `+`, `*`, `sum`, `where` and their like on whole tensors that broadcast, `einsum` where a
sum of products would need a tensor larger than each factor, and nothing fused: no activation,
loss or normalisation. What occurs twice is computed once. Autograd of this is what a derived
backward's kernels are counted against; `gradsmith.proof.reference` is what proves its numbers.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import sympy
import torch
from sympy import Add, Basic, Expr, KroneckerDelta, Mul, Number, Pow, Symbol
from sympy.core.relational import Eq, Ge, Gt, Le, Lt, Ne
from sympy.logic.boolalg import And, Not, Or
from torch import Tensor

from derive.language.definition import Definition
from derive.language.expressions import (
    Affine,
    ArgMax,
    Axis,
    Binder,
    Element,
    Index,
    Parameter,
    Product,
    Sum,
    Where,
)
from gradsmith.proof.reference import FUNCTIONS, stored_shape


def _tanh(x: Tensor) -> Tensor:
    """By exponentials: PyTorch's own is an activation, whose backward is fused."""
    return 1 - 2 / (torch.exp(2 * x) + 1)


_OPERATORS: dict[type[Basic], Callable[..., Any]] = {
    **FUNCTIONS,
    sympy.tanh: _tanh,
    Where: torch.where,
    KroneckerDelta: operator.eq,
    Eq: operator.eq,
    Ne: operator.ne,
    Lt: operator.lt,
    Le: operator.le,
    Gt: operator.gt,
    Ge: operator.ge,
    And: lambda *given: reduce(operator.and_, given),
    Or: lambda *given: reduce(operator.or_, given),
    Not: torch.logical_not,
}


def forward(
    definition: Definition,
    inputs: Mapping[str, Tensor],
    options: Mapping[str, float],
    sizes: Mapping[Axis, int],
) -> dict[str, Tensor]:
    """Every input and let by name, in stored shapes; part of autograd's graph."""
    evaluator = _Evaluator(definition, options, sizes, dict(inputs))
    for let in definition.lets:
        value = evaluator.at(let.value)
        whole = value.over(let.tensor.indices)
        whole = whole if isinstance(whole, Tensor) else torch.tensor(whole)
        shape = [sizes[axis] for axis in let.tensor.axes]
        evaluator.values[let.name] = whole.expand(shape).reshape(stored_shape(let.tensor, sizes))
    return evaluator.values


@dataclass(frozen=True)
class _Value:
    """A number, or a tensor and the letter of each of its dimensions."""

    data: Any
    letters: tuple[Index, ...] = ()

    @property
    def is_number(self) -> bool:
        return not isinstance(self.data, Tensor)

    def over(self, letters: Sequence[Index]) -> Any:
        """Seen so that it broadcasts over these letters, which include its own."""
        if self.is_number or self.letters == tuple(letters):
            return self.data
        data = self.data.permute([self.letters.index(i) for i in letters if i in self.letters])
        for place, letter in enumerate(letters):
            if letter not in self.letters:
                data = data.unsqueeze(place)
        return data


def _over_all(values: Sequence[_Value]) -> tuple[Index, ...]:
    """The letters of all values together, in the order of the one that has most."""
    ordered = sorted(values, key=lambda v: -len(v.letters))
    return tuple(dict.fromkeys(i for v in ordered for i in v.letters))


def _apply(function: Callable[..., Any], *values: _Value) -> _Value:
    letters = _over_all(values)
    return _Value(function(*(v.over(letters) for v in values)), letters)


def _times(values: Iterable[_Value]) -> _Value:
    """A product, numbers first."""
    ordered = sorted(values, key=lambda v: not v.is_number)
    ordered = [v for v in ordered if not (v.is_number and v.data == 1)]
    return reduce(lambda a, b: _apply(operator.mul, a, b), ordered) if ordered else _Value(1)


@dataclass(frozen=True)
class _Evaluator:
    """Evaluates expressions on whole tensors; holds what names and expressions stand for."""

    definition: Definition
    options: Mapping[str, float]
    sizes: Mapping[Axis, int]
    values: dict[str, Tensor]
    known: dict[Basic, _Value] = field(default_factory=dict)

    def at(self, expr: Basic) -> _Value:
        if expr not in self.known:
            self.known[expr] = self._walk(expr)
        return self.known[expr]

    def _walk(self, expr: Basic) -> _Value:
        if isinstance(expr, Index):
            return _Value(torch.arange(self.sizes[expr.axis]), (expr,))
        if isinstance(expr, Affine):
            return self.at(expr.place)
        if isinstance(expr, Binder):
            return self._reduce(expr)
        if isinstance(expr, Element):
            return self._element(expr.tensor_name, expr.indices)
        if isinstance(expr, Expr) and all(isinstance(s, Parameter) for s in expr.free_symbols):
            return _Value(self._number(expr))
        if isinstance(expr, Symbol):
            return _Value(self.values[expr.name])
        if isinstance(expr, Add):
            return self._add(expr)
        if isinstance(expr, Mul | Pow):
            return self._multiply(expr)
        return _apply(_OPERATORS[type(expr)], *map(self.at, expr.args))

    def _number(self, expr: Expr) -> float:
        known = {axis.size: size for axis, size in self.sizes.items()}
        known |= {o.symbol: self.options[o.name] for o in self.definition.options}
        return float(expr.xreplace(known))

    def _element(self, name: str, indices: Sequence[Basic]) -> _Value:
        """A tensor as it is, or its elements at tensors of integers, the looked up axes first."""
        tensor = self.values[name].reshape(
            [self.sizes[axis] for axis in self.definition.tensors[name].axes]
        )
        plain = [
            i
            for i in indices
            if isinstance(i, Index) and sum(other.has(i) for other in indices) == 1
        ]
        places = [indices.index(i) for i in plain]
        others = [place for place in range(len(indices)) if place not in places]
        if not others:
            return _Value(tensor, tuple(plain))
        at = [self.at(indices[place]) for place in others]
        letters = _over_all(at)
        found = tensor.permute(*others, *places)[tuple(v.over(letters) for v in at)]
        return _Value(found, (*letters, *plain))

    def _reduce(self, expr: Binder) -> _Value:
        if isinstance(expr, Sum) and isinstance(expr.body, Mul):
            factors = [self.at(f) for f in expr.body.args]
            if all(set(f.letters) < set(_over_all(factors)) for f in factors):
                return _contract(factors, expr.indices)
        body = self.at(expr.body)
        dims = [body.letters.index(i) for i in expr.indices]
        kept = tuple(i for i in body.letters if i not in expr.indices)
        if isinstance(expr, Sum):
            return _Value(body.data.sum(dims), kept)
        reduction = {Product: torch.prod, ArgMax: torch.argmax}[type(expr)]
        return _Value(reduction(body.data, *dims), kept)

    def _add(self, expr: Add) -> _Value:
        """Terms added, those with a minus sign subtracted, after the others."""
        first, *terms = sorted(expr.args, key=_is_negative)
        total = self.at(first)
        for term in terms:
            if _is_negative(term):
                total = _apply(operator.sub, total, self.at(-term))
            else:
                total = _apply(operator.add, total, self.at(term))
        return total

    def _multiply(self, expr: Mul | Pow) -> _Value:
        """A product, a quotient or a power."""
        above, below = expr.as_numer_denom()
        if below != 1:
            return _apply(operator.truediv, self.at(above), self.at(below))
        if isinstance(expr, Mul):
            return _times(map(self.at, expr.args))
        if expr.exp == Number(1) / 2:
            return _apply(torch.sqrt, self.at(expr.base))
        return _apply(operator.pow, self.at(expr.base), self.at(expr.exp))


def _contract(factors: Sequence[_Value], bound: Sequence[Index]) -> _Value:
    """A sum of products that is never formed element by element."""
    number = _times(v for v in factors if v.is_number)
    tensors = [v for v in factors if not v.is_number]
    letters = _over_all(tensors)
    places = {letter: place for place, letter in enumerate(letters)}
    kept = [i for i in letters if i not in bound]
    operands = [part for v in tensors for part in (v.data, [places[i] for i in v.letters])]
    product = _Value(torch.einsum(*operands, [places[i] for i in kept]), tuple(kept))
    return _times([number, product])


def _is_negative(expr: Basic) -> bool:
    return isinstance(expr, Expr) and expr.could_extract_minus_sign()
