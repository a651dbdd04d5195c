"""Places on axes that integer tensors hold, and which numbers those may be.

`x[n, target[n]]` reads `target[n]` in `[0, C)`; `im[row[n] + 1]` reads `row[n]` in `[-1, H - 1)`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from sympy import Add, Basic, Expr, KroneckerDelta, Max, Min, default_sort_key

from derive.language.definition import Tensor
from derive.language.expressions import Affine, Axis, Element, Guarded, Index, tensor_name
from derive.language.windows import Window


def held_in(value: Basic, tensors: Mapping[str, Tensor]) -> Iterator[Window]:
    """Every index in a value that is an element of a tensor, alone or with something added, and
    where such a place is compared with a letter: not what one says oneself that is none, as in
    `delta(t, at[n] + 1)`."""
    for element in sorted(value.atoms(Element), key=default_sort_key):
        axes = tensors[element.tensor_name].axes
        for axis, index in zip(axes, element.indices, strict=True):
            yield from _held(index, axis)
    for delta in sorted(value.atoms(KroneckerDelta), key=default_sort_key):
        for letter, index in (delta.args, delta.args[::-1]):
            if isinstance(letter, Index) and not isinstance(index, Add):
                yield from _held(index, letter.axis)


def _held(index: Expr, axis: Axis) -> Iterator[Window]:
    place = index.place if isinstance(index, Affine) else index
    window = Window("", axis, place, isinstance(index, Guarded))
    if tensor_name(window.held):
        yield window


def numbers(windows: Iterable[Window]) -> dict[str, list[tuple[Expr, Expr]]]:
    """From what and up to what, exclusive, the numbers of each tensor have to be, by its name, for
    all that is read whatever is chosen; as few ranges as are known to say it."""
    by_axis: dict[tuple[str, Axis], list[tuple[Expr, Expr]]] = {}
    for window in (w for w in windows if not w.guarded):
        by_axis.setdefault((tensor_name(window.held), window.axis), []).append(window.allowed)
    found: dict[str, list[tuple[Expr, Expr]]] = {}
    for (name, _), ranges in by_axis.items():
        first, end = Max(*(low for low, _ in ranges)), Min(*(high for _, high in ranges))
        decided = not (first.has(Max) or end.has(Min))
        found.setdefault(name, []).extend([(first, end)] if decided else dict.fromkeys(ranges))
    return found
