"""How many digits a backward pass loses where a machine rounds, beside the chain rule's.

Both run with a few digits on a forward pass that was rounded once, at a point as it is drawn and
moved to either side, where differences are small beside what they are differences of:
`x[n]*sum_m(w[n,m]) - sum_m(w[n,m]*x[m])` is `sum_m(w[n,m]*(x[n] - x[m]))`, and loses what the
differences would have kept.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache

from derive.calculus.differentiate import chain_rule
from derive.language.definition import Definition, Let, Tensor
from derive.verification.arithmetic import Undefined, exact_arithmetic, with_digits
from derive.verification.evaluate import Array, Sizes, evaluate
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
        for point, usual in _surroundings(self.definition, tuple(forward)):
            try:
                errors = point.errors(backward)
            except Undefined:
                continue
            for name in errors.keys() & usual.keys():
                error, largest = errors[name]
                scale = scales[name] = max(scales.get(name, largest), largest)
                if error > CLEARLY * max(usual[name][0], _UNIT * scale):
                    return True
        return False


@dataclass(frozen=True)
class _Rounded:
    """What a backward pass is given at a point: as it is, and rounded to few digits."""

    sizes: Sizes
    exact: Mapping[str, Array]
    few: Mapping[str, Array]

    @staticmethod
    def of(forward: Iterable[Let], point: Point, arriving: Mapping[str, Array]) -> _Rounded:
        """What there is after a forward pass, the cotangents that are `arriving` at hand."""
        known = {**arriving, **evaluate(forward, point.values, point.sizes)}
        with with_digits(FEW):
            few = {name: _moved(array, 0) for name, array in known.items()}
        return _Rounded(point.sizes, known, few)

    def errors(self, backward: Sequence[Let]) -> dict[str, Loss]:
        """What each cotangent loses where there are few digits."""
        exact = evaluate(backward, self.exact, self.sizes)
        with with_digits(FEW):
            few = evaluate(backward, self.few, self.sizes)
        names = [let.name for let in backward]
        return {n: (_difference(few[n], exact[n]), exact[n].largest()) for n in names}


@lru_cache(maxsize=64)
def _surroundings(
    definition: Definition, forward: tuple[Let, ...]
) -> list[tuple[_Rounded, dict[str, Loss]]]:
    """What a forward pass comes to at each point, and what the cotangents of the chain rule lose
    there."""
    found = []
    for point, arriving, usual in _usual(definition):
        with suppress(Undefined):
            found.append((_Rounded.of(forward, point, arriving), usual))
    return found


@lru_cache(maxsize=64)
def _usual(definition: Definition) -> list[tuple[Point, dict[str, Array], dict[str, Loss]]]:
    """Points, and there the cotangents of the chain rule and what they lose."""
    seeds, chunked = chain_rule(definition)
    found = []
    for point in _points(definition, seeds):
        with suppress(Undefined):
            given = _Rounded.of(definition.lets, point, {})
            usual, known = given.errors(chunked.lets), {**given.exact}
            known |= evaluate(chunked.lets, known, point.sizes)
            found.append((point, {let.name: known[let.name] for let in chunked.lets}, usual))
    return found


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
