"""How many digits a backward pass loses where a machine rounds, beside the chain rule's.

Both run with a few digits on a forward pass that was rounded once, at a point as it is drawn and
moved to either side, where differences are small beside what they are differences of:
`x[n]*sum_m(w[n,m]) - sum_m(w[n,m]*x[m])` is `sum_m(w[n,m]*(x[n] - x[m]))`, and loses what the
differences would have kept.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property

from derive.calculus.differentiate import chain_rule
from derive.language.definition import Definition, Let, Tensor
from derive.verification.arithmetic import Undefined, exact_arithmetic, with_digits
from derive.verification.evaluate import Array, evaluate
from derive.verification.points import Point, random_point, random_tensor, two_sizes

FEW = 7
"""As many decimal digits as single precision has."""

CLEARLY = Decimal(30)
"""How many times the chain rule's error is clearly more."""

Loss = tuple[Decimal, Decimal]
"""The largest error of a tensor's elements, and the largest of them."""

_UNIT = Decimal(10) ** (1 - FEW)
_MOVED = (0, 10_000, -10_000)


@dataclass(frozen=True)
class Rounding:
    """What a definition's cotangents lose: called with the lets of a forward pass and some of those
    of a backward pass, whether these lose clearly more than the chain rule's do."""

    definition: Definition

    def __call__(self, forward: Sequence[Let], backward: Sequence[Let]) -> bool:
        scales: dict[str, Decimal] = {}
        for point, arriving, usual in self._surroundings:
            try:
                errors = _errors(forward, backward, point, arriving)
            except Undefined:
                continue
            for name in errors.keys() & usual.keys():
                error, largest = errors[name]
                scale = scales[name] = max(scales.get(name, largest), largest)
                if error > CLEARLY * max(usual[name][0], _UNIT * scale):
                    return True
        return False

    @cached_property
    def _surroundings(self) -> list[tuple[Point, dict[str, Array], dict[str, Loss]]]:
        """Points, and there the cotangents of the chain rule and what they lose."""
        seeds, chunked = chain_rule(self.definition)
        found = []
        for point in _points(self.definition, seeds):
            try:
                known = evaluate([*self.definition.lets, *chunked.lets], point.values, point.sizes)
                usual = _errors(self.definition.lets, chunked.lets, point, {})
            except Undefined:
                continue
            found.append((point, {let.name: known[let.name] for let in chunked.lets}, usual))
        return found


def _errors(
    forward: Sequence[Let], backward: Sequence[Let], point: Point, arriving: Mapping[str, Array]
) -> dict[str, Loss]:
    """What each cotangent loses where there are few digits after a forward pass, the cotangents
    that are `arriving` at hand."""
    known = {**arriving, **evaluate(forward, point.values, point.sizes)}
    exact = evaluate(backward, known, point.sizes)
    with with_digits(FEW):
        known = {name: _moved(array, 0) for name, array in known.items()}
        few = evaluate(backward, known, point.sizes)
    names = [let.name for let in backward]
    return {name: (_difference(few[name], exact[name]), exact[name].largest()) for name in names}


def _difference(one: Array, other: Array) -> Decimal:
    with exact_arithmetic():
        pairs = zip(one.values, other.values, strict=True)
        return max((abs(Decimal(a) - Decimal(b)) for a, b in pairs), default=Decimal(0))


def _points(definition: Definition, seeds: Iterable[Tensor]) -> Iterator[Point]:
    """A point as it is drawn, and with the inputs of which nothing is known moved."""
    sizes, _ = two_sizes(definition)
    point = random_point(definition, sizes, seed=0, usual=True)
    drawn = random.Random(1)
    arriving = {seed.name: random_tensor(seed, sizes, drawn) for seed in seeds}
    free = {t.name for t in definition.inputs if t == Tensor(t.name, t.dims)}
    for by in _MOVED:
        with with_digits(FEW):
            moved = {n: _moved(a, by if n in free else 0) for n, a in point.values.items()}
        yield replace(point, values={**moved, **arriving})


def _moved(array: Array, by: int) -> Array:
    """An array with a number added, rounded to the digits that there are."""
    with exact_arithmetic():
        return Array(array.shape, tuple(value + by for value in array.values))
