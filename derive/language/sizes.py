"""How long axes are, for what is read along them at computed indices.

An axis that an input has is at least as long as what is read there needs: `needs`. One that no
input has is as long as that allows: `extents`. Where it is read along two axes that inputs have,
as `i` in `u[i + 2] - src[i]`, both have to allow the same: `agreements`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

from sympy import Expr, Integer, Min, S, expand

from derive.language.expressions import Axis, Index
from derive.language.windows import Window


@dataclass(frozen=True)
class Extent:
    """How long an axis can be, at most, by what of some tensors is read along one other axis."""

    tensors: tuple[str, ...]
    size: Expr

    @classmethod
    def of(cls, read: Sequence[tuple[Window, Index]]) -> Extent:
        tightest = [*_tightest(read)]
        names = dict.fromkeys(window.tensor for window, _ in tightest)
        return cls(tuple(names), Min(*(window.longest(letter) for window, letter in tightest)))


def extents(windows: Iterable[Window], given: Set[Axis]) -> dict[Axis, Expr]:
    """The sizes of the axes that are not `given`, in terms of others, in the order in which one is
    read along them."""
    return {axis: several[0].size for axis, several in _allowed(windows, given).items()}


def agreements(windows: Iterable[Window], given: Set[Axis]) -> dict[Axis, tuple[Extent, ...]]:
    """The axes that are not `given` and are read along several that do not depend on each other,
    with what each of these allows: none is the axis to be cut down to another one's length."""
    found = _allowed(windows, given)
    return {axis: several for axis, several in found.items() if len(several) > 1}


def _allowed(windows: Iterable[Window], given: Set[Axis]) -> dict[Axis, tuple[Extent, ...]]:
    """What each axis that one is read along allows those that are not `given`; of axes whose sizes
    decide each other's, such as `S` and `T = S - 2`, the least."""
    along: dict[Axis, list[tuple[Window, Index]]] = {}
    for window in windows:
        free = [i for i in window.scales if i.axis not in given]
        if window.guarded or window.held != 0 or window.axis in {i.axis for i in free}:
            continue  # along itself an axis has no other length
        if len(free) == 1 and window.scales[free[0]].is_positive:
            along.setdefault(free[0].axis, []).append((window, free[0]))
    decided_by: dict[Axis, Axis] = {}

    def root(axis: Axis) -> Axis:
        return root(decided_by[axis]) if axis in decided_by else axis

    found: dict[Axis, tuple[Extent, ...]] = {}
    for axis, read in along.items():
        groups: dict[Axis, list[tuple[Window, Index]]] = {}
        for window, letter in read:
            groups.setdefault(root(window.axis), []).append((window, letter))
        found[axis] = tuple(map(Extent.of, groups.values()))
        first, *others = groups
        decided_by |= dict.fromkeys([*others, axis], first)
    return found


def _tightest(read: Sequence[tuple[Window, Index]]) -> Iterator[tuple[Window, Index]]:
    """Of windows along letters over one axis those that another one's room does not decide."""
    for place, (window, letter) in enumerate(read):
        alike = [
            (w, i)
            for w, i in read
            if w.axis == window.axis and w.scales[i] == window.scales[letter]
        ]
        less = [window.room(letter) - w.room(i) for w, i in alike]
        before = [
            (w, i) for w, i in read[:place] if (w, i) in alike and w.room(i) == window.room(letter)
        ]
        if not before and all(not room.is_positive for room in less):
            yield window, letter


def needs(windows: Sequence[Window], given: Set[Axis]) -> dict[Axis, list[Expr]]:
    """What axes have to be as long as, at least, in terms of other sizes: one step along each axis
    that is not `given` is to be possible."""
    found: dict[Axis, list[Expr]] = {}
    free = extents(windows, given)
    for window in windows:
        if window.guarded:
            if _looked_up(window):
                found.setdefault(window.axis, [S.One])
            continue
        own = [i.axis for i in window.scales if i.axis in free]
        least = window.span
        if len(own) == 1:
            least = least.xreplace({own[0].size: S.One})
        if least != 1 and expand(window.axis.size - least).is_nonnegative is not True:
            found.setdefault(window.axis, []).append(least)
    return {axis: [*_largest(leasts)] for axis, leasts in found.items()}


def _looked_up(window: Window) -> int:
    """How many elements have to be there where a choice decides what is read: one is looked up
    where it is not chosen, too. An axis that is read along itself has as many as are asked for."""
    return int(window.axis not in {i.axis for i in window.scales})


def _largest(leasts: Iterable[Expr]) -> Iterator[Expr]:
    """Of sizes that are all needed those that another one does not decide."""
    distinct = [*dict.fromkeys(leasts)]
    for least in distinct:
        if not any(expand(other - least).is_positive for other in distinct):
            yield least


def fitted(
    windows: Sequence[Window], given: Set[Axis], sizes: Mapping[Axis, int]
) -> dict[Axis, int]:
    """Sizes at which what is read at computed indices lies on its axis: the axis is made longer
    where it has to be, and those that are not `given` are as long as they can be."""
    windows = [w for w in windows if {w.axis, *(i.axis for i in w.scales)} <= sizes.keys()]
    allowed = _allowed(windows, given)
    fit = dict(sizes) | {axis: max(sizes[axis], 1) for axis in allowed}
    for _ in range(2 + len(allowed)):  # what has to agree grows to the longest that one allows
        before = dict(fit)
        for window in reversed(windows):
            least = _looked_up(window) if window.guarded else int(_at(window.span, fit))
            fit[window.axis] = max(fit[window.axis], least)
        for axis, several in allowed.items():
            fit[axis] = max(int(_at(extent.size, fit)) for extent in several)
        if fit == before:
            break
    return fit


def _at(size: Expr, sizes: Mapping[Axis, int]) -> Expr:
    return size.xreplace({axis.size: Integer(n) for axis, n in sizes.items()})
