"""Reverse mode over the lets of a definition: the chain rule, one cotangent a line.

The cotangent of a let is the sum, over the lets that use it, of their cotangent times
the local partial, contracted over their axes. Elementary derivatives are SymPy's own
(`fdiff`); the structural ones are the rows below.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

from sympy import Add, Basic, Expr, KroneckerDelta, Mul, Pow, S, Symbol, log

from derive.calculus.deltas import contract
from derive.calculus.recognise import Rewriter
from derive.calculus.trace import Backward
from derive.language.cotangents import cotangent_name
from derive.language.definition import Definition, Let, Tensor, needed, varying
from derive.language.expressions import (
    ArgMax,
    Element,
    Product,
    StopGradient,
    Sum,
    Where,
    fresh_indices,
    fresh_names,
    is_scalar,
    names_in,
)
from derive.language.functions import BY_CLASS, DERIVED

Indices = tuple[Expr, ...]


def partial(expr: Expr, tensor: Tensor, at: Indices) -> Expr:
    """The derivative of an expression with respect to one element of a tensor.

    The element's indices `at` must not occur in the expression. Where an element of the tensor
    stands in the expression, the derivative is a product of deltas, one an axis.

    Raises:
        NotImplementedError: there is no rule for a node; the message says what to add where.
    """
    if tensor.name not in names_in(expr):
        return S.Zero
    for kind, rule in _RULES.items():
        if isinstance(expr, kind):
            return rule(expr, tensor, at)
    return _of_function(expr, tensor, at)


# --- one rule a kind of node, for those that read the tensor ---


def _zero(expr: Expr, tensor: Tensor, at: Indices) -> Expr:
    return S.Zero


def _of_symbol(expr: Symbol, tensor: Tensor, at: Indices) -> Expr:
    return S.One


def _of_element(expr: Element, tensor: Tensor, at: Indices) -> Expr:
    if expr.tensor_name != tensor.name:  # the tensor says where another one is read
        return S.Zero
    return Mul(*(KroneckerDelta(i, j) for i, j in zip(expr.indices, at, strict=True)))


def _of_add(expr: Add, tensor: Tensor, at: Indices) -> Expr:
    return Add(*(partial(a, tensor, at) for a in expr.args))


def _of_mul(expr: Mul, tensor: Tensor, at: Indices) -> Expr:
    return Add(
        *(
            Mul(*expr.args[:i], partial(a, tensor, at), *expr.args[i + 1 :])
            for i, a in enumerate(expr.args)
        )
    )


def _of_pow(expr: Pow, tensor: Tensor, at: Indices) -> Expr:
    base, exponent = expr.args
    if isinstance(base, Where) and is_scalar(exponent) and not exponent.is_number:
        # whatever the exponent is: `0**(p - 1)` may be infinite where nothing depends on it
        yes, no = (Pow(branch, exponent) for branch in base.branches)
        return partial(Where(base.condition, yes, no), tensor, at)
    inner = exponent * Pow(base, exponent - 1) * partial(base, tensor, at)
    if tensor.name in names_in(exponent):
        inner += expr * log(base) * partial(exponent, tensor, at)
    return inner


def _of_sum(expr: Sum, tensor: Tensor, at: Indices) -> Expr:
    expr = expr.rename(_letters(at))
    return Sum(partial(expr.body, tensor, at), *expr.indices)


def _of_product(expr: Product, tensor: Tensor, at: Indices) -> Expr:
    """The product of all factors but one, times that one's derivative: no division by a factor."""
    expr = expr.rename(_letters(at))
    chosen = fresh_indices(expr.indices, names_in(expr) | _letters(at))
    here = dict(zip(expr.indices, chosen, strict=True))
    same = Mul(*(KroneckerDelta(i, here[i]) for i in expr.indices))
    others = Product(Where(same > 0, S.One, expr.body), *expr.indices)
    return Sum(others * partial(expr.body.xreplace(here), tensor, at), *chosen)


def _of_where(expr: Where, tensor: Tensor, at: Indices) -> Expr:
    yes, no = expr.branches
    return Where(expr.condition, partial(yes, tensor, at), partial(no, tensor, at))


def _of_function(expr: Expr, tensor: Tensor, at: Indices) -> Expr:
    """The chain rule, an argument at a time."""
    row = BY_CLASS.get(type(expr)) or DERIVED.get(type(expr))
    if row is None:
        raise NotImplementedError(
            f"no derivative for {type(expr).__name__!r}: "
            "derive/language/functions.py says which tables a function needs a row in"
        )
    if row.flat:
        return S.Zero
    return Add(
        *(
            expr.fdiff(place) * partial(argument, tensor, at)
            for place, argument in enumerate(expr.args, start=1)
            if tensor.name in names_in(argument)
        )
    )


def _letters(at: Indices) -> set[str]:
    return {i.name for i in at if isinstance(i, Symbol)}


_RULES: Mapping[type[Basic], Callable[[Any, Tensor, Indices], Expr]] = {
    Element: _of_element,
    Symbol: _of_symbol,
    Add: _of_add,
    Mul: _of_mul,
    Pow: _of_pow,
    Sum: _of_sum,
    Product: _of_product,
    Where: _of_where,
    StopGradient: _zero,
    ArgMax: _zero,
    KroneckerDelta: _zero,
}


def cotangent_of(tensor: Tensor) -> Tensor:
    """The tensor that holds the cotangent of another: the same dimensions, named `grad_<name>`."""
    return Tensor(cotangent_name(tensor.name), tensor.dims)


def total_of(tensor: Tensor, tensors: Iterable[str]) -> Tensor:
    """The tensor that holds the cotangent of an output which other lets use as well: what arrives
    and what they send. Its name is not that of the cotangent of another of the `tensors`."""
    (name,) = fresh_names([f"{tensor.name}_total"], tensors)
    return Tensor(cotangent_name(name), tensor.dims)


def cotangents_of(tensor: Tensor) -> set[str]:
    """The names that a tensor's cotangents may have: an output that is used has two.

    The second is another one where some tensor is called `<name>_total`; see `total_of`.
    """
    name = cotangent_of(tensor).name
    return {name, f"{name}_total"}


def contribution(let: Let, to: Tensor, cotangent: Expr) -> Expr:
    """What one let sends back to a tensor it uses, at the tensor's own letters.

    `cotangent` is the let's own cotangent at the let's letters.
    """
    letters = to.indices
    taken = names_in(let.value) | {i.name for i in (*letters, *let.tensor.indices)}
    taken |= names_in(cotangent)
    fresh = tuple(fresh_indices(let.tensor.indices, taken))
    here = dict(zip(let.tensor.indices, fresh, strict=True))
    arriving = cotangent.xreplace(here)
    local = partial(let.value.xreplace(here), to, letters)
    return Sum(arriving * local, *fresh) if fresh else arriving * local


def differentiable(definition: Definition) -> list[Tensor]:
    """The tensors on a path from a wanted one to an output, in the order they are made."""
    reaching = {let.name for let in needed(definition.lets, definition.outputs)}
    found = varying(definition.wrt, definition.lets) & {*reaching, *definition.wrt}
    return [t for t in definition.tensors.values() if not t.integer and t.name in found]


@lru_cache(maxsize=64)
def chain_rule(definition: Definition) -> tuple[tuple[Tensor, ...], Backward]:
    """The seeds, and the chunked backward pass: every cotangent a let, by the chain rule alone.

    Differences stay whole, as they are written; a function that a let has computed is that let.
    A let that is an output and is also used by later lets gets `grad_<name>_total`, the
    arriving cotangent plus what its users send.
    """
    tensors = differentiable(definition)
    names = {t.name for t in tensors}
    lets: list[Let] = []
    primals: list[str] = []
    seeds = tuple(cotangent_of(definition.tensors[name]) for name in definition.outputs)
    functions = Rewriter()
    for let in definition.lets:
        if type(let.value) in BY_CLASS:
            functions.add(let.value, let.tensor.element)
    gradients: dict[str, Tensor] = {}
    for tensor in reversed(tensors):
        users = [
            let
            for let in definition.lets
            if let.name in names and tensor.name in names_in(let.value)
        ]
        value = Add(*(contribution(let, tensor, gradients[let.name].element) for let in users))
        cotangent = cotangent_of(tensor)
        if tensor.name in definition.outputs:
            if not users:
                gradients[tensor.name] = cotangent
                continue
            value = cotangent.element + value
            cotangent = total_of(tensor, definition.tensors)
        gradients[tensor.name] = cotangent
        lets.append(Let(cotangent, functions.apply(contract(value))))
        primals.append(tensor.name)
    wanted = tuple((name, gradients[name]) for name in definition.wrt)
    return seeds, Backward(tuple(lets), wanted, tuple(primals))
