"""Indices that are computed: views where they are regular, and positions where they are not.

x[n, i + 1]      ->  x[:, 1 : 1 + I]
x[n, t + k]      ->  x.unfold(1, K, 1)
x[n, 2*t + k]    ->  x.unfold(1, K, 2)
x[n, t - k]      ->  x[:, (torch.arange(T)[:, None] - torch.arange(K)).clamp(0, S - 1)]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sympy import Add, Expr, expand

from codegen.torch.scalars import scalar
from codegen.torch.scope import Emit, Scope
from codegen.torch.values import ATOM, Value
from derive.language.expressions import (
    Affine,
    ArgMax,
    Element,
    Guarded,
    Index,
    free_indices,
    is_scalar,
)
from derive.language.windows import Window


def windowed(code: str, at: list[Any], own: Sequence[Index], scope: Scope) -> tuple[str, list[Any]]:
    """The source of a tensor, and its indices, with views for what is computed regularly.

    `own` are the letters that the dimensions were declared with.
    """
    for place, letter in enumerate(own):
        window = _window(at[place], letter)
        others = [i for p, i in enumerate(at) if p != place]
        if window is None or any(set(window.scales) & free_indices(i) for i in others):
            continue
        view = _view(code, place, len(at), window, scope)
        if view is not None:
            code, letters = view
            at = [*at[:place], letters[0], *at[place + 1 :], *letters[1:]]
    return code, at


def position(place: Affine, letter: Index, scope: Scope, emit: Emit) -> Value:
    """A computed index as a tensor of integers, on the axis of a letter even where a choice leaves
    out what is not."""
    value = emit(place.place, replace(scope, whole=True, literal=True))
    if not isinstance(place, Guarded):
        return value
    last = scalar(letter.size - 1).text
    return Value(f"{value.at(ATOM)}.clamp(0, {last})", value.dims, fresh=True, integer=True)


def shift_of(index: Any) -> Expr | None:
    """How far a computed index, always on its axis, is from the only letter that it is made of."""
    if not isinstance(index, Affine) or index.has(Guarded, Element, ArgMax):
        return None
    letters = free_indices(index)
    shift = index.place - Add(*letters)
    return shift if len(letters) == 1 and is_scalar(shift) else None


def shifted(value: Value, letter: Index, along: Index, first: Expr, scope: Scope) -> Value:
    """The elements along a letter, put at the places from the `first` one on of a longer axis."""
    place = value.dims.index((letter,))
    last = scalar(along.size - first - letter.size).text
    padding = [*["0"] * (2 * (len(value.dims) - 1 - place)), scalar(first).text, last]
    dims = tuple((along,) if dim == (letter,) else dim for dim in value.dims)
    text = f"torch.nn.functional.pad({value.text}, ({', '.join(padding)}))"
    return Value(text, dims, fresh=True)


def _window(index: Any, letter: Index) -> Window | None:
    """A computed index that is made of letters alone, and always lies on the axis of a letter."""
    if not isinstance(index, Affine) or index.has(Guarded, Element, ArgMax):
        return None
    return Window.of(index, "", letter.axis)


def _view(
    code: str, place: int, rank: int, window: Window, scope: Scope
) -> tuple[str, list[Index]] | None:
    """A view of a tensor along a window, and the letters of its dimensions, the last one behind
    all others; None where there is none."""
    match sorted(window.scales.items(), key=lambda pair: (-pair[1], pair[0] not in _long(scope))):
        case [(letter, step)] if step.is_positive:
            return _sliced(code, place, rank, window, step), [letter]
        case [(letter, step), (inner, scale)] if scale == 1:
            whole = scope.extents.get(letter.axis) == window.longest(letter)
            code = code if whole else _sliced(code, place, rank, window)
            return f"{code}.unfold({place}, {scope.size(inner)}, {step})", [letter, inner]
    return None


def _long(scope: Scope) -> set[Index]:
    """The letters over axes that no input has: windows are as many as those are long."""
    return {Index(axis.name, axis) for axis in scope.extents}


def _sliced(code: str, place: int, rank: int, window: Window, step: Any = 1) -> str:
    first, end = window.least, expand(window.most + 1)
    start = "" if first == 0 else f"{scalar(first).text} "
    by = "" if step == 1 else f" : {step}"
    marks = [*[":"] * place, f"{start}: {scalar(end).text}{by}"]
    return f"{code}[{', '.join(marks)}]"
