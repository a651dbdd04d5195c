"""Elements of tensors: views, diagonals, gathers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sympy import Integer

from codegen.torch.scope import Emit, Scope
from codegen.torch.values import ATOM, Dims, Value, letters_of, line_up, permute, sorted_by
from codegen.torch.windows import position, windowed
from derive.language.expressions import Affine, Element, Index, free_indices, tensor_name


def element(expr: Any, scope: Scope, emit: Emit) -> Value:
    """`x[n, c]`, and with other letters, repeated ones, literal ones, or integer tensors inside."""
    tensor, value = scope.named(tensor_name(expr))
    used = dict(zip(tensor.indices, getattr(expr, "indices", ()), strict=True))
    present = list(value.letters)
    plain = all(isinstance(used[i], Index) for i in present)
    if plain and len({used[i] for i in present}) == len(present):
        return _relabelled(value, tuple(tuple(used[i] for i in dim) for dim in value.dims))
    value = scope.split(value)
    at = [used[i] for i in value.letters]
    own = list(value.letters)
    code, at = windowed(value.at(ATOM), at, own, scope)
    if any(isinstance(i, Integer) for i in at):
        marks = [str(int(i)) if isinstance(i, Integer) else ":" for i in at]
        while marks[-1] == ":":
            marks.pop()
        code = f"{code}[{', '.join(marks)}]"
        own = [i for i, used in zip(own, at, strict=False) if not isinstance(used, Integer)]
        at = [i for i in at if not isinstance(i, Integer)]
    taken = [i for i in at if not isinstance(i, Index)]
    if taken:
        return _gather(_like(value, code, ()), at, own, scope, emit)
    while (twice := next((i for i in at if at.count(i) > 1), None)) is not None:
        first = at.index(twice)
        second = at.index(twice, first + 1)
        where = "" if (first, second, len(at)) == (0, 1, 2) else f"dim1={first}, dim2={second}"
        code = f"{code}.diagonal({where})"
        at = [i for place, i in enumerate(at) if place not in (first, second)] + [twice]
    dims = tuple((i,) for i in at)
    return _like(value, code, dims)


def _relabelled(value: Value, dims: Dims) -> Value:
    return _like(value, value.code, dims, value.binds)


def _like(value: Value, code: str, dims: Dims, binds: int = ATOM) -> Value:
    return Value(
        code,
        dims,
        binds=binds,
        boolean=value.boolean,
        integer=value.integer,
        scalar=value.scalar,
    )


def _copied(value: Value, code: str, dims: Dims) -> Value:
    return replace(_like(value, code, dims), fresh=True)


def _gather(value: Value, at: list[Any], own: list[Index], scope: Scope, emit: Emit) -> Value:
    """Elements at positions that integer tensors hold, or that are computed."""
    inside = scope.ordered(*(i for i in at if isinstance(i, Index)), *scope.order)
    places = {
        p: position(i, own[p], inside, emit) if isinstance(i, Affine) else emit(i, inside)
        for p, i in enumerate(at)
        if not isinstance(i, Index)
    }
    outer = [i for i in at if isinstance(i, Index)]
    inner = letters_of(places.values())
    if len(places) == 1 and len(set(outer)) == len(outer):
        ((place, index),) = places.items()
        if not set(inner) & set(outer):
            dims = (
                tuple((i,) for i in at[:place]) + index.dims + tuple((i,) for i in at[place + 1 :])
            )
            if _are_rows(at):
                return _copied(value, f"torch.embedding({value.code}, {index.text})", dims)
            before = ":, " * place
            return _copied(value, f"{value.code}[{before}{index.text}]", dims)
        if _are_one_each(at):
            layout = tuple((at[p],) if p != place else () for p in range(len(at)))
            index = _in_layout(scope.split(index), layout)
            code = f"{value.code}.gather({place}, {index}).squeeze({place})"
            return _copied(value, code, tuple((i,) for i in outer))
    positions = [places.get(p) or scope.arange(i) for p, i in enumerate(at)]
    lined, layout = line_up(
        [scope.split(p) for p in positions],
        sorted_by(letters_of(positions), scope.order),
        scope.size,
    )
    return _copied(value, f"{value.code}[{', '.join(p.text for p in lined)}]", layout)


def _are_rows(at: Sequence[Any]) -> bool:
    """Whether rows of a matrix are looked up."""
    return len(at) == 2 and not isinstance(at[0], Index) and isinstance(at[1], Index)


def _are_one_each(at: Sequence[Any]) -> bool:
    """Whether along one dimension an element is looked up for each setting of the others."""
    outer = [i for i in at if isinstance(i, Index)]
    (place,) = [i for i in at if not isinstance(i, Index)]
    return free_indices(place) == set(outer)


def may_wrap(element: Element) -> bool:
    """Whether subscripts look it up: they count negative numbers from the end, and all other ways
    of looking up refuse them."""
    at = element.indices
    if sum(not isinstance(i, Index) for i in at) != 1:
        return True
    return not ((_are_rows(at) and not free_indices(at[0]) & {at[1]}) or _are_one_each(at))


def _in_layout(value: Value, layout: Dims) -> str:
    """An index tensor with the layout's dimensions, size one where it lacks them."""
    value = permute(value, tuple(dim for dim in layout if dim))
    if len(value.dims) == len(layout):
        return value.text
    marks = [":" if dim else "None" for dim in layout]
    while marks and marks[-1] == ":":
        marks.pop()
    return f"{value.at(ATOM)}[{', '.join(marks)}]"
