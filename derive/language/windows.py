"""Indices that are computed from letters: `x[n, t + k]`, `x[2*t + k]`, `x[i + 1] - x[i]`.

What is read so lies on its axis. An axis that no input has is as long as what is read along it
allows: in `sum_k(w[k]*x[t + k])`, of inputs `w` and `x[s]`, `T = S - K + 1`. What may lie outside,
such as `x[t - 1]`, is read in a choice that leaves it out there: `where(t > 0, x[t - 1], 0)`. In
`x[start[n] + k]` an integer tensor holds where a window begins, and has to keep it on the axis.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sympy import (
    Add,
    And,
    Basic,
    Expr,
    Ge,
    Gt,
    Lt,
    S,
    Symbol,
    default_sort_key,
    expand,
    floor,
)
from sympy.logic.boolalg import Boolean

from derive.language.expressions import (
    Affine,
    ArgMax,
    Axis,
    Element,
    Guarded,
    Index,
    Parameter,
    Where,
    free_indices,
    is_scalar,
    tensor_name,
    with_args,
)


@dataclass(frozen=True)
class Window:
    """A computed index on an axis. What its letters add up to runs from `least` to `most`, in sizes
    of axes; `held` is an element of an integer tensor that is added to it, or 0.

    `guarded` says that a choice decides where it is read, and `seen_to` whether that keeps the
    place from lying before its axis, and behind it.
    """

    tensor: str
    axis: Axis
    place: Expr
    guarded: bool = False
    seen_to: tuple[bool, bool] = (False, False)

    @classmethod
    def of(
        cls, index: Affine, tensor: str, axis: Axis, largest: Mapping[str, Expr] | None = None
    ) -> Window:
        """That of an index of a tensor. The place at which something is largest along a letter is
        one of the letter's; `largest` has such places by the names of the tensors that hold them.
        """
        held = largest or {}
        read = [e for e in index.atoms(Element, Symbol) if tensor_name(e) in held]
        place = index.place.xreplace({e: held[tensor_name(e)] for e in read})
        place = place.xreplace({a: a.indices[0] for a in place.atoms(ArgMax)})
        return cls(tensor, axis, place, isinstance(index, Guarded))

    @cached_property
    def held(self) -> Expr:
        return Add(*(term for term in Add.make_args(expand(self.place)) if _elements(term)))

    @cached_property
    def _moving(self) -> Expr:
        return expand(self.place - self.held)

    @cached_property
    def scales(self) -> dict[Index, Expr]:
        """What each letter is multiplied by."""
        moving = self._moving
        return {i: moving.coeff(i) for i in sorted(free_indices(moving), key=str)}

    @cached_property
    def _fixed(self) -> Expr:
        return expand(self._moving - sum((c * i for i, c in self.scales.items()), S.Zero))

    @property
    def is_affine(self) -> bool:
        """Whether letters are multiplied by whole numbers, and added up with sizes, numbers and at
        most one element of a tensor."""
        sizes = all(s.is_integer for s in self._fixed.free_symbols)
        return (
            (self.held == 0 or self.held in _elements(self.held))
            and all(c.is_Integer for c in self.scales.values())
            and is_scalar(self._fixed)
            and bool(self._fixed.is_integer)
            and sizes
        )

    def _extreme(self, sign: int) -> Expr:
        ends = (c * (i.size - 1) for i, c in self.scales.items() if (c > 0) == (sign > 0))
        return expand(self._fixed + sum(ends, S.Zero))

    @property
    def least(self) -> Expr:
        return self._extreme(-1)

    @property
    def most(self) -> Expr:
        return self._extreme(1)

    @property
    def span(self) -> Expr:
        """How long the axis has to be, at least."""
        return expand(self.most + 1 - (self.least if self.held != 0 else 0))

    @property
    def room_behind(self) -> Expr:
        """How far the place is from the last one of its axis, at least."""
        return expand(self.axis.size - 1 - self.most)

    @property
    def allowed(self) -> tuple[Expr, Expr]:
        """From what and up to what, exclusive, the number has to be that is held."""
        return -self.least, self.room_behind + 1

    @cached_property
    def inside(self) -> Boolean:
        """The condition that the place lies on its axis, as one writes it: `t > 0`, `k + n < N`."""
        conditions: list[Boolean] = []
        if self.held != 0 or not self.least.is_nonnegative:
            above, below = _apart(self.place)
            conditions.append(Gt(above, 0) if below == 1 else Ge(above, below))
        if self.held != 0 or not self.room_behind.is_nonnegative:
            conditions.append(Lt(*_apart(self.place - self.axis.size)))
        return And(*conditions)

    def room(self, letter: Index) -> Expr:
        """How far the place can be moved along a letter, beginning where that is zero."""
        return expand(self.room_behind + self.scales[letter] * (letter.size - 1))

    def longest(self, letter: Index) -> Expr:
        """How long a letter's axis can be, at most, for the place to stay on its own."""
        room, scale = self.room(letter), self.scales[letter]
        return room + 1 if scale == 1 else floor(room / scale) + 1


def _apart(difference: Expr) -> tuple[Expr, Expr]:
    """A difference as two sides, nothing negative on either: `t - k` as `t` and `k`."""
    terms = Add.make_args(expand(difference))
    below = [t for t in terms if t.could_extract_minus_sign()]
    return Add(*(t for t in terms if t not in below)), -Add(*below)


def with_guards(value: Expr) -> Expr:
    """A value in which places are `Guarded` that are read only in choices by what they are."""
    if not value.has(Affine):
        return value
    everywhere = set(_read_everywhere(value))

    def walk(expr: Any, decided: frozenset[Basic]) -> Any:
        if isinstance(expr, Element) and expr not in everywhere:
            guarded = (isinstance(i, Affine) and _decide(i) & decided for i in expr.indices)
            return Element(
                expr.base,
                *(
                    Guarded(i.place) if guards else walk(i, decided)
                    for i, guards in zip(expr.indices, guarded, strict=True)
                ),
            )
        if not isinstance(expr, Where):
            return with_args(expr, [walk(a, decided) for a in expr.args])
        within = decided | free_indices(expr.condition) | expr.condition.atoms(Element)
        branches = (walk(branch, within) for branch in expr.branches)
        return with_args(expr, [walk(expr.condition, decided), *branches])

    return walk(value, frozenset())


def _elements(place: Expr) -> Set[Basic]:
    """The elements of tensors in a place."""
    return {e for e in place.atoms(Element, Symbol) if not isinstance(e, Index | Parameter)} - {
        e.base.label for e in place.atoms(Element)
    }


def _decide(place: Affine) -> Set[Basic]:
    """What a choice has to ask about for a place to be guarded by it: letters, or the number that
    a tensor holds."""
    return _elements(place) or free_indices(place)


def _read_everywhere(expr: Basic) -> Iterator[Element]:
    """The elements that an expression reads, whatever is chosen."""
    if isinstance(expr, Element):
        yield expr
    for arg in (expr.condition,) if isinstance(expr, Where) else expr.args:
        yield from _read_everywhere(arg)


def windows_in(
    value: Basic, axes: Mapping[str, Sequence[Axis]], largest: Mapping[str, Expr]
) -> Iterator[Window]:
    """Every computed index in a value, of tensors over `axes` by their names; see `Window.of`."""
    for element in sorted(value.atoms(Element), key=default_sort_key) if value.has(Affine) else ():
        for axis, index in zip(axes[element.tensor_name], element.indices, strict=True):
            if isinstance(index, Affine):
                yield Window.of(index, element.tensor_name, axis, largest)


def moved_in(value: Basic) -> Iterator[tuple[str, int, str]]:
    """Where a value reads at an index computed from a letter: the name of the tensor, the place of
    the dimension and the name of the letter. A letter alone may stand there too, whatever axis is
    its own: `x[t]` beside `x[t + 1]`."""
    for element in value.atoms(Element):
        for place, index in enumerate(element.indices):
            if isinstance(index, Affine) and not isinstance(index.place, Index):
                inside = set().union(*map(free_indices, _elements(index.place)))
                for letter in free_indices(index.place) - inside:
                    yield element.tensor_name, place, letter.name
