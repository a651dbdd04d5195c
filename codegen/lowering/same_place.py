"""Sums over what lies at one place, carried out once for every place and looked up there.

    y[m] = sum_n(delta(j[m], j[n])*f[n])    ->    f_sum[q] = sum_n(delta(q, j[n])*f[n])
                                                  y[m]     = f_sum[j[m]]

So the gradient of a softmax over the edges that meet in a node takes time for its edges, where a
comparison of each with each would take it for their pairs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sympy import Add, Basic, Expr, KroneckerDelta, Mul, log

from codegen.lowering.forms import LogSumExp
from derive.calculus.recognise import Named, abstract
from derive.language.definition import Let, Tensor
from derive.language.expressions import (
    Axis,
    Element,
    Index,
    Sum,
    free_indices,
    fresh_indices,
    fresh_names,
    names_in,
    names_used,
    tensor_name,
    with_args,
)
from derive.language.windows import Window
from derive.simplification.naming import word

Held = Mapping[str, frozenset[Axis]]


def axes_held(read: Iterable[tuple[Basic, Window]]) -> Held:
    """The axes of which each integer tensor holds places, by the tensor's name, after what is read
    where they say; see `derive.language.places.held`."""
    found: dict[str, frozenset[Axis]] = {}
    for _, window in read:
        if window.place == window.held and not window.guarded:
            name = tensor_name(window.held)
            found[name] = found.get(name, frozenset()) | {window.axis}
    return found


def summed_by_place(
    lets: Sequence[Let], axes: Held, besides: Iterable[str] = ()
) -> tuple[Let, ...]:
    """The lets, with a new one before each that has such a sum, where the tensors that hold places
    hold those of `axes`. `besides` are names that no new let takes."""
    taken = names_used(*(let.value for let in lets)) | {let.name for let in lets} | {*besides}
    tables: dict[Expr, Let] = {}
    result: list[Let] = []

    def looked_up(expr: Any) -> Any:
        if not expr.has(Sum, LogSumExp):
            return expr
        expr = with_args(expr, [looked_up(a) for a in expr.args])
        found = _by_place(expr, axes) if isinstance(expr, Sum | LogSumExp) else None
        if found is None:
            return expr
        total, place, at = found
        pattern, letters = abstract(total)
        if pattern not in tables:
            (name,) = fresh_names([word(expr)], taken)
            taken.add(name)
            tables[pattern] = Let(Tensor(name, letters), total)
            result.append(tables[pattern])
        named = Named(tables[pattern].tensor, tables[pattern].tensor.indices)
        return named.at(letters).xreplace({place: at})

    for let in lets:
        value = looked_up(let.value) if axes else let.value
        result.append(replace(let, value=value))
    return tuple(result)


def _by_place(expr: Sum | LogSumExp, axes: Held) -> tuple[Expr, Index, Any] | None:
    """The sum for every place, the letter of places, and the place that is looked up."""
    bound = {*expr.indices}
    parts = Mul.make_args(expr.body) if isinstance(expr, Sum) else Add.make_args(expr.body)
    for part in parts:
        delta = part.args[0] if isinstance(part, log) else part
        if not isinstance(delta, KroneckerDelta):
            continue
        read = frozenset[Index]().union(*(free_indices(p) for p in parts if p is not part))
        for at, there in (delta.args, delta.args[::-1]):
            both = (axes.get(tensor_name(e), frozenset()) for e in (at, there))
            axis = min(frozenset.intersection(*both), default=None)
            alone = free_indices(at) - free_indices(there)
            if axis is None or alone & (bound | read) or not free_indices(there) & bound:
                continue
            (place,) = fresh_indices([Index(axis.name, axis)], names_in(expr))
            body = expr.body.xreplace({delta: KroneckerDelta(place, there)})
            own = _letters(there, at)
            letters = (own.get(i, i) for i in expr.indices)
            return expr.func(body.xreplace(own), *letters), place, at
    return None


def _letters(there: Expr, at: Expr) -> dict[Any, Any]:
    """The letters of one place by those of another one in the same tensor, which nothing else has:
    a sum over `m_1` is one over `m`."""
    alike = isinstance(there, Element) and isinstance(at, Element) and there.base == at.base
    own = dict(zip(there.indices, at.indices, strict=True)) if alike else {}
    return own if there.xreplace(own) == at else {}
