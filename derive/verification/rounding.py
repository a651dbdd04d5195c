"""How many digits a backward pass loses where a machine rounds, beside the chain rule's.

Both run with a few digits on a forward pass that was rounded once, at a point as it is drawn and
moved to either side, where differences are small beside what they are differences of:
`x[n]*sum_m(w[n,m]) - sum_m(w[n,m]*x[m])` is `sum_m(w[n,m]*(x[n] - x[m]))`, and loses what the
differences would have kept.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from derive.language.definition import Definition, Let, Tensor
from derive.language.expressions import names_used
from derive.verification.arithmetic import Undefined, exact_arithmetic, with_digits
from derive.verification.evaluate import Array, evaluate
from derive.verification.points import Point, random_point, random_tensor, two_sizes

FEW = 7
"""As many decimal digits as single precision has."""

CLEARLY = Decimal(30)
"""How many times the chain rule's error is clearly more."""

_UNIT = Decimal(10) ** (1 - FEW)
_MOVED = (0, 10_000, -10_000)


def losses(
    definition: Definition,
    seeds: Iterable[Tensor],
    chunked: Sequence[Let],
    forward: Sequence[Let],
    backward: Sequence[Let],
) -> frozenset[str]:
    """The cotangents that a `backward` pass loses clearly more digits of than the `chunked` one.

    What only passes on another's loss is not named.
    """
    found: set[str] = set()
    scales: dict[str, Decimal] = {}
    for point in _points(definition, seeds):
        try:
            usual = _errors(definition.lets, chunked, point)
            errors = _errors(forward, backward, point)
        except Undefined:
            continue
        for name in errors.keys() & usual.keys():
            error, largest = errors[name]
            scale = scales[name] = max(scales.get(name, largest), largest)
            if error > CLEARLY * max(usual[name][0], _UNIT * scale):
                found.add(name)
    reads = {let.name: names_used(let.value) for let in backward}
    return frozenset(name for name in found if not _behind(name, reads) & found)


def _errors(
    forward: Sequence[Let], backward: Sequence[Let], point: Point
) -> dict[str, tuple[Decimal, Decimal]]:
    """The largest error of each cotangent, where a few digits are all that there are after a forward
    pass; and its largest value."""
    known = evaluate(forward, point.values, point.sizes)
    exact = evaluate(backward, known, point.sizes)
    with with_digits(FEW):
        known = {name: _moved(array, 0) for name, array in known.items()}
        few = evaluate(backward, known, point.sizes)
    names = [let.name for let in backward]
    return {name: (_difference(few[name], exact[name]), exact[name].largest()) for name in names}


def _behind(name: str, reads: Mapping[str, set[str]]) -> set[str]:
    """What a let is made of, the lets that those are made of included."""
    own = reads.get(name, set())
    return own.union(*(_behind(other, reads) for other in own))


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
