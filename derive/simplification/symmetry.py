"""Lets that equal their own transposes, as the distances of points from each other do.

The gradient of what reads such a let has it both ways round, `r[n, m]` and `r[m, n]`. Written in
one way, their terms join.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations

from derive.calculus.normal import normalise
from derive.calculus.recognise import Mirror, Rewriter
from derive.language.definition import Let


def mirrored(lets: Iterable[Let]) -> dict[str, Mirror]:
    """By name, those of some lets that equal their own transposes."""
    known: dict[str, Mirror] = {}
    for let in lets:
        if (mirror := _exchangeable(let, known)) is not None:
            known[let.name] = mirror
    return known


def joined(backward: Iterable[Let], known: Mapping[str, Mirror]) -> list[Let]:
    """The lets of a backward pass, in which what is `known` to equal its own transpose, and each
    let that then does, is written in one way."""
    found, lets = dict(known), []
    for let in backward:
        value = Rewriter(mirrored=found).apply(let.value)
        lets.append(Let(let.tensor, value))
        if (mirror := _exchangeable(lets[-1], found)) is not None:
            found[let.name] = mirror
    return lets


def _exchangeable(let: Let, known: Mapping[str, Mirror]) -> Mirror | None:
    """The first two places in a let's elements whose exchange changes no value, by what is `known`
    of the lets that it reads."""
    rewriter = Rewriter(mirrored=known)
    for (first, one), (second, other) in combinations(enumerate(let.tensor.indices), 2):
        if one.axis == other.axis:
            exchanged = let.value.xreplace({one: other, other: one})
            if normalise(rewriter.apply(let.value)) == normalise(rewriter.apply(exchanged)):
                return Mirror(first, second, (one, other))
    return None
