"""Places on axes that integer tensors hold, and which numbers those may be.

`x[n, target[n]]` reads `target[n]` in `[0, C)`; `im[row[n] + 1]` reads `row[n]` in `[-1, H - 1)`.
In `where(at[n] > 0, x[at[n] - 1], 0)` a choice sees to the one side, and `at[n]` is at most `T`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from sympy import (
    Add,
    And,
    Basic,
    Expr,
    Ge,
    Gt,
    KroneckerDelta,
    Le,
    Lt,
    Max,
    Min,
    Not,
    default_sort_key,
    expand,
)
from sympy.logic.boolalg import Boolean

from derive.language.definition import Let, Tensor
from derive.language.expressions import Affine, Axis, Element, Guarded, Index, Where, tensor_name
from derive.language.substitute import substitute
from derive.language.windows import Window

Numbers = tuple[Expr | None, Expr | None]
"""From what and up to what, exclusive, numbers have to be; None where a choice sees to that."""


def held(lets: Iterable[Let], tensors: Mapping[str, Tensor]) -> Iterator[tuple[Basic, Window]]:
    """Every index in some lets that is an element of a tensor, alone or with something added, with
    the element that is read there; and where such a place is compared with a letter, the delta.

    Not what one says oneself that is no index, as in `delta(t, at[n] + 1)`.
    """
    lets = list(lets)
    masks = [let for let in lets if not isinstance(let.value, Expr)]
    for value in (substitute(let.value, masks) for let in lets):
        for read, conditions in _read(value, ()):
            if isinstance(read, Element):
                pairs = zip(tensors[read.tensor_name].axes, read.indices, strict=True)
            else:
                sides = (read.args, read.args[::-1])
                pairs = ((i.axis, at) for i, at in sides if isinstance(i, Index))
            for axis, index in pairs:
                if not isinstance(index, Add) and (window := _window(index, axis, conditions)):
                    yield read, window


def _read(
    expr: Any, conditions: tuple[Boolean, ...]
) -> Iterator[tuple[Element | KroneckerDelta, tuple[Boolean, ...]]]:
    """The elements and deltas in an expression, and under which conditions they are read."""
    if isinstance(expr, Element | KroneckerDelta):
        yield expr, conditions
    if isinstance(expr, Where):
        yield from _read(expr.condition, conditions)
        yes, no = expr.branches
        yield from _read(yes, (*conditions, expr.condition))
        yield from _read(no, (*conditions, Not(expr.condition)))
        return
    for arg in sorted(expr.args, key=default_sort_key) if expr.has(Element, KroneckerDelta) else ():
        yield from _read(arg, conditions)


def _window(index: Any, axis: Axis, conditions: Iterable[Boolean]) -> Window | None:
    """A place that is made of what a tensor holds; None where an index is not."""
    place = index.place if isinstance(index, Affine) else index
    window = Window("", axis, place, isinstance(index, Guarded))
    if not tensor_name(window.held):
        return None
    return replace(window, seen_to=_seen_to(window, conditions)) if window.guarded else window


def _seen_to(window: Window, conditions: Iterable[Boolean]) -> tuple[bool, bool]:
    """Whether conditions keep a place from lying before its axis, and behind it."""
    before = behind = False
    for condition in (part for whole in conditions for part in _parts(whole)):
        if not isinstance(condition, Ge | Gt | Le | Lt):
            continue
        strict = int(isinstance(condition, Gt | Lt))
        room = expand(condition.gts - condition.lts - strict)  # at least 0, in whole numbers
        times = room.coeff(window.held)
        if times == 1:
            least = Window("", window.axis, window.place - room)
            before |= least.held == 0 and bool(least.least.is_nonnegative)
        elif times == -1:
            most = Window("", window.axis, window.place + room)
            behind |= most.held == 0 and bool(most.room_behind.is_nonnegative)
    return before, behind


def _parts(condition: Boolean) -> tuple[Basic, ...]:
    return condition.args if isinstance(condition, And) else (condition,)


def numbers(windows: Iterable[Window]) -> dict[str, list[Numbers]]:
    """What the numbers of each tensor have to be, by its name; as few ranges as say it."""
    by_axis: dict[tuple[str, Axis], list[Numbers]] = {}
    for window in windows:
        ends = zip(window.allowed, window.seen_to, strict=True)
        first, end = (None if seen_to else bound for bound, seen_to in ends)
        by_axis.setdefault((tensor_name(window.held), window.axis), []).append((first, end))
    found: dict[str, list[Numbers]] = {}
    for (name, _), ranges in by_axis.items():
        firsts, ends = (
            [bound for bound in bounds if bound is not None]
            for bounds in ([low for low, _ in ranges], [high for _, high in ranges])
        )
        first, end = Max(*firsts) if firsts else None, Min(*ends) if ends else None
        decided = not any(b is not None and b.has(Max, Min) for b in (first, end))
        several = [(first, end)] if decided else [*dict.fromkeys(ranges)]
        found.setdefault(name, []).extend(r for r in several if r != (None, None))
    return found
