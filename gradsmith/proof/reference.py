"""A plain interpreter of definitions in torch: the forward pass that gradsmith did not emit.

It is slow and simple on purpose. An expression is evaluated at a list of points, each
letter holding one integer a point, so its value is a vector; a sum multiplies the points by
the values of its bound letters and adds them up again. No broadcasting, no matmul, no
simplification: what is written is what is computed, and autograd differentiates it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from math import prod

import sympy
import torch
from sympy import Add, Basic, Expr, KroneckerDelta, Mul, Pow, Symbol
from sympy.core.relational import Eq, Ge, Gt, Le, Lt, Ne, Relational
from sympy.logic.boolalg import And, BooleanAtom, Not, Or
from torch import Tensor

from derive.language import definition as language
from derive.language.definition import Definition, Let
from derive.language.expressions import (
    Affine,
    ArgMax,
    Axis,
    Binder,
    Element,
    Index,
    Product,
    StopGradient,
    Sum,
    Where,
)
from derive.language.functions import erfc

Values = Mapping[str, Tensor]
Options = Mapping[str, float]
Sizes = Mapping[Axis, int]

FUNCTIONS: dict[type[Basic], Callable[[Tensor], Tensor]] = {
    sympy.exp: torch.exp,
    sympy.log: torch.log,
    sympy.sin: torch.sin,
    sympy.cos: torch.cos,
    sympy.tan: torch.tan,
    sympy.asin: torch.asin,
    sympy.acos: torch.acos,
    sympy.atan: torch.atan,
    sympy.sinh: torch.sinh,
    sympy.cosh: torch.cosh,
    sympy.tanh: torch.tanh,
    sympy.asinh: torch.asinh,
    sympy.acosh: torch.acosh,
    sympy.atanh: torch.atanh,
    sympy.erf: torch.erf,
    erfc: torch.erfc,
    sympy.loggamma: torch.lgamma,
    sympy.Abs: torch.abs,
    sympy.sign: torch.sign,
    sympy.floor: torch.floor,
    sympy.ceiling: torch.ceil,
    StopGradient: Tensor.detach,
}
_RELATIONS: dict[type[Basic], Callable[[Tensor, Tensor], Tensor]] = {
    Eq: torch.eq,
    Ne: torch.ne,
    Lt: torch.lt,
    Le: torch.le,
    Gt: torch.gt,
    Ge: torch.ge,
}
_REDUCTIONS: dict[type[Basic], Callable[[Tensor], Tensor]] = {
    Sum: lambda body: body.sum(1),
    Product: lambda body: body.prod(1),
    ArgMax: lambda body: body.argmax(1),
}


def forward(
    definition: Definition,
    inputs: Values,
    options: Options,
    sizes: Sizes,
) -> dict[str, Tensor]:
    """Every input and let of a definition, by name, in stored shapes; part of autograd's graph."""
    return follow(definition.lets, definition.tensors, inputs, options, sizes)


def follow(
    lets: Iterable[Let],
    tensors: Mapping[str, language.Tensor],
    values: Values,
    options: Options,
    sizes: Sizes,
) -> dict[str, Tensor]:
    """The values and what lets make of them, one after another; `tensors` tells what names mean."""
    known = dict(values)
    for let in lets:
        known[let.name] = evaluate(let, tensors, known, options, sizes)
    return known


def gradients(
    definition: Definition, values: Values, cotangents: Sequence[Tensor]
) -> dict[str, Tensor]:
    """The gradient of each name in `wrt`, by autograd through what `forward` returned."""
    outputs = [values[name] for name in definition.outputs]
    return autograd(outputs, {name: values[name] for name in definition.wrt}, cotangents)


def autograd(
    outputs: Sequence[Tensor],
    wanted: Values,
    cotangents: Sequence[Tensor],
    create_graph: bool = False,
) -> dict[str, Tensor]:
    """Autograd's gradients by name; zeros where an output does not depend on a tensor."""
    pairs = [(o, c) for o, c in zip(outputs, cotangents, strict=True) if o.requires_grad]
    if not pairs:
        return {name: torch.zeros_like(value) for name, value in wanted.items()}
    found = torch.autograd.grad(
        [o for o, _ in pairs],
        list(wanted.values()),
        [c for _, c in pairs],
        create_graph=create_graph,
        allow_unused=True,
    )
    return {
        name: torch.zeros_like(value) if gradient is None else gradient
        for (name, value), gradient in zip(wanted.items(), found, strict=True)
    }


def evaluate(
    let: Let,
    tensors: Mapping[str, language.Tensor],
    values: Values,
    options: Options,
    sizes: Sizes,
) -> Tensor:
    """One let's value over its tensor's letters, in its stored shape, from the values of others."""
    points, many = _every_point(let.tensor.indices, sizes)
    evaluator = _Evaluator(tensors, values, options, sizes)
    flat = evaluator.at(let.value, points, many)
    return flat.reshape(stored_shape(let.tensor, sizes))


def stored_shape(tensor: language.Tensor, sizes: Sizes) -> list[int]:
    """A tensor's shape as it is stored: a composite dimension counts as one."""
    return [
        prod(sizes[i.axis] for i in dim) if isinstance(dim, tuple) else sizes[dim.axis]
        for dim in tensor.dims
    ]


Points = Mapping[Index, Tensor]


def _every_point(letters: Iterable[Index], sizes: Sizes) -> tuple[dict[Index, Tensor], int]:
    """All values of some letters together, the last letter fastest, and how many there are."""
    shape = {letter: sizes[letter.axis] for letter in letters}
    many = prod(shape.values())
    points, rest = {}, torch.arange(many)
    for letter, size in reversed(shape.items()):
        points[letter], rest = rest % size, rest // size
    return points, many


class _Evaluator:
    """Evaluates expressions at points; holds what names stand for."""

    def __init__(
        self,
        tensors: Mapping[str, language.Tensor],
        values: Values,
        options: Options,
        sizes: Sizes,
    ) -> None:
        self.tensors, self.values, self.sizes = tensors, values, sizes
        self.numbers = dict(options) | {axis.size.name: size for axis, size in sizes.items()}
        real = [v for v in values.values() if v.is_floating_point()]
        self.dtype = real[0].dtype if real else torch.get_default_dtype()

    def at(self, expr: Expr, points: Points, count: int) -> Tensor:
        """A real expression's values, a vector of `count`."""
        return self._walk(expr, points, count).to(self.dtype)

    def _walk(self, expr: Basic, points: Points, count: int) -> Tensor:
        if isinstance(expr, Element):
            return self._element(expr, points, count)
        if isinstance(expr, Index):
            return points[expr]
        if isinstance(expr, Affine):
            return self._walk(expr.place, points, count)
        if isinstance(expr, BooleanAtom):
            return torch.full((count,), bool(expr))
        if isinstance(expr, Symbol):
            return self._scalar(expr.name, count)
        if isinstance(expr, Expr) and not expr.free_symbols and not expr.has(Binder):
            return torch.full((count,), float(expr), dtype=self.dtype)
        if isinstance(expr, Binder):
            return self._reduce(expr, points, count)
        if isinstance(expr, Where):
            return self._choose(expr, points, count)
        args = [self._walk(a, points, count) for a in expr.args]
        if isinstance(expr, Relational):
            return _RELATIONS[type(expr)](*args)
        if isinstance(expr, KroneckerDelta):
            return (args[0] == args[1]).to(self.dtype)
        if isinstance(expr, And | Or):
            return reduce(torch.logical_and if isinstance(expr, And) else torch.logical_or, args)
        if isinstance(expr, Not):
            return ~args[0]
        args = [a.to(self.dtype) for a in args]
        if isinstance(expr, Add):
            return reduce(torch.add, args)
        if isinstance(expr, Mul):
            return reduce(torch.mul, args)
        if isinstance(expr, Pow):
            return self._power(expr, args)
        if type(expr) in FUNCTIONS:
            return FUNCTIONS[type(expr)](args[0])
        raise NotImplementedError(
            f"{type(expr).__name__} has no row in gradsmith/proof/reference.py"
        )

    def _scalar(self, name: str, count: int) -> Tensor:
        if name in self.numbers:
            return torch.full((count,), self.numbers[name], dtype=self.dtype)
        return self.values[name].reshape(1).expand(count)

    def _element(self, expr: Element, points: Points, count: int) -> Tensor:
        name = expr.tensor_name
        shape = [self.sizes[axis] for axis in self.tensors[name].axes]
        where = [self._walk(i, points, count).long() for i in expr.indices]
        return self.values[name].reshape(shape)[tuple(where)]

    def _reduce(self, expr: Binder, points: Points, count: int) -> Tensor:
        bound, many = _every_point(expr.indices, self.sizes)
        inner = {letter: at.repeat_interleave(many) for letter, at in points.items()}
        inner |= {letter: values.repeat(count) for letter, values in bound.items()}
        body = self.at(expr.body, inner, count * many)
        return _REDUCTIONS[type(expr)](body.reshape(count, many))

    def _choose(self, expr: Where, points: Points, count: int) -> Tensor:
        """Each branch is evaluated only where it is taken: neither spoils the gradient."""
        condition = self._walk(expr.condition, points, count)
        result = torch.zeros(count, dtype=self.dtype)
        for taken, branch in zip((condition, ~condition), expr.branches, strict=True):
            (where,) = taken.nonzero(as_tuple=True)
            chosen = {letter: at[where] for letter, at in points.items()}
            result = result.index_put((where,), self.at(branch, chosen, len(where)))
        return result

    def _power(self, expr: Pow, args: Iterable[Tensor]) -> Tensor:
        base, exponent = args
        return base ** float(expr.exp) if expr.exp.is_number else base**exponent
