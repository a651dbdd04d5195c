"""Values that a delta changes at one place of a loop: computed without it, then corrected there.

`p[n,k] - delta(k, target[n])` is `p[n,k]` but at one k. A comparison in every iteration of the loop
would cost more than the rest of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from sympy import Dummy, Expr, KroneckerDelta, S

from codegen.c.nests import Statement
from derive.language.expressions import Element, Index, Parameter


@dataclass(frozen=True)
class Spike:
    """A value that is `elsewhere` along an index; at one place, `more` is added to it."""

    index: Index
    place: Expr
    elsewhere: Expr
    more: Expr


def spike_of(one: Statement, index: Index) -> Spike | None:
    """What a delta does to a statement along an index, where all that it does is to add."""
    deltas = [d for d in one.value.atoms(KroneckerDelta) if d.has(index)]
    if len(deltas) != 1 or index not in one.at:
        return None
    others = [a for a in deltas[0].args if a != index]
    if len(others) != 1 or others[0].has(index) or not _is_element(others[0]):
        return None
    (place,) = others
    here = Dummy(real=True)
    value = one.value.xreplace({deltas[0]: here})
    more = value.diff(here)
    if more.has(here) or more.has(index):
        return None
    return Spike(index, place, value.xreplace({here: S.Zero}), more)


def _is_element(place: Expr) -> bool:
    """Whether a place is an element of an integer tensor: those are known to be in range."""
    return isinstance(place, Element) or (
        place.is_Symbol and not isinstance(place, Index | Parameter)
    )
