"""Points at which definitions are evaluated, and finite differences there."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import prod

from sympy import Eq, Integer, KroneckerDelta, Ne, default_sort_key

from derive.language.definition import Definition, Let, Option, Tensor
from derive.language.expressions import Axis, Element, Index, tensor_name
from derive.language.places import held
from derive.verification.arithmetic import Undefined, Value, exact_arithmetic
from derive.verification.evaluate import Array, Sizes, evaluate


@dataclass(frozen=True)
class Point:
    """A size for every axis, and a value for every input and option of a definition."""

    sizes: Mapping[Axis, int]
    values: Mapping[str, Array]

    def __str__(self) -> str:
        sizes = ", ".join(f"{axis.name.upper()}={size}" for axis, size in self.sizes.items())
        options = ", ".join(
            f"{name}={float(array.values[0]):.6g}"
            for name, array in self.values.items()
            if not array.shape
        )
        return f"{sizes}; {options}" if options else sizes


def two_sizes(definition: Definition) -> tuple[dict[Axis, int], dict[Axis, int]]:
    """Two assignments of sizes to its axes: in each all are at least 3, and different but where
    literal indices ask for larger ones, or axes are many.

    At size 2, N/(N - 1) is N and a normalised row squared is constant, which hides mistakes. What
    is added up by the places that integers hold has something for each: a mean has a value there.
    """
    axes, least = definition.axes, _sizes_to_differentiate(definition)
    for kinds in (len(axes), 3, 2, 1):
        rising, falling = (
            _covering(
                definition,
                {axis: max(3 + i % kinds, least.get(axis, 0)) for i, axis in enumerate(ordered)},
            )
            for ordered in (axes, axes[::-1])
        )
        if prod(definition.fitted(rising).values()) <= _MOST_STEPS:
            break
    if len(axes) == 1:
        falling = {axis: size + 1 for axis, size in rising.items()}
    return definition.fitted(rising), definition.fitted(falling)


def _covering(definition: Definition, sizes: Sizes) -> dict[Axis, int]:
    """The sizes, with those larger over which something is added up by the places that integers
    hold, so that there are more integers than places."""
    larger = dict(sizes)
    for letter, axes in _compared(definition):
        if axes and axes[-1] != letter.axis:
            enough = larger[letter.axis] // prod(larger[axis] for axis in axes[:-1]) + 1
            larger[axes[-1]] = max(larger[axes[-1]], enough)
    return larger


def _compared(definition: Definition) -> Iterator[tuple[Index, tuple[Axis, ...]]]:
    """The letters that are compared with elements of integer tensors, and those tensors' axes."""
    for let in definition.lets:
        for equal in sorted(let.value.atoms(KroneckerDelta, Eq), key=default_sort_key):
            for letter, other in (equal.args, equal.args[::-1]):
                if isinstance(letter, Index) and isinstance(other, Element):
                    yield letter, definition.tensors[other.tensor_name].axes


_MOST_STEPS = 500_000
"""As many settings of all letters together are gone through in seconds."""


def least_sizes(lets: Iterable[Let], tensors: Mapping[str, Tensor]) -> dict[Axis, int]:
    """What axes have to be as large as, for the literal indices on them: 3 for `x[n, 2]`."""
    least: dict[Axis, int] = {}
    for element in (e for let in lets for e in let.value.atoms(Element)):
        axes = tensors[element.tensor_name].axes
        for axis, index in zip(axes, element.indices, strict=True):
            if isinstance(index, Integer):
                least[axis] = max(int(index) + 1, least.get(axis, 0))
    return least


def _sizes_to_differentiate(definition: Definition) -> dict[Axis, int]:
    """The least sizes at which a definition has a gradient too: that of `delta(t, 2)*g` by g is
    read at 2."""
    least = least_sizes(definition.lets, definition.tensors)
    for delta in (d for let in definition.lets for d in let.value.atoms(KroneckerDelta)):
        places = [side for side in delta.args if isinstance(side, Integer)]
        for letter in (side for side in delta.args if isinstance(side, Index)):
            for place in places:
                least[letter.axis] = max(int(place) + 1, least.get(letter.axis, 0))
    return least


# Where inputs are drawn, in turn, until the definition has a value there: first on both sides of
# zero, then inside (0, 1) for logarithms and inverse sines, above 1, both again, and below 0; then
# mixed.
_RANGES = ((-2, 2), (0, 1), (1, 3), (-1, 1), (3, 6), (-3, 0))
_TRIES = 120


def random_point(definition: Definition, sizes: Sizes, seed: int, usual: bool = False) -> Point:
    """Random, non-uniform values for inputs and options, at which every let has a value.

    With `usual` an option that has a default takes it. Tensors keep what the definition says of
    them: positive, symmetric, rows that sum to one; integer tensors hold valid indices for the
    axes on which they are used, and no two of them the same one: `r[i[m]] - r[j[m]]` is not zero;
    or all of them, where the definition has no value otherwise.

    Raises:
        Undefined: no point was found at which the definition has a value.
    """
    draw = random.Random(seed)
    bounds, landmarks = index_bounds(definition, sizes), _landmarks(definition)
    apart = _drawn_apart(definition)
    reason: Undefined | None = None
    for attempt in range(_TRIES):
        values: dict[str, Array] = {}
        for tensor in definition.inputs:
            low, high = _RANGES[attempt] if attempt < len(_RANGES) else draw.choice(_RANGES)
            array = random_tensor(tensor, sizes, draw, (low, high), bounds)
            if tensor.name in bounds and attempt >= len(_RANGES) and attempt % 2:
                array = _with_each(array, bounds[tensor.name], draw)
            if beside := [values[name] for name in apart.get(tensor.name, ())]:
                array = _apart(array, beside, bounds[tensor.name], draw)
            marks = landmarks.get(tensor.name)
            values[tensor.name] = _at_landmarks(array, marks, draw) if marks else array
        for option in definition.options:
            turn = 1 if usual else attempt
            values[option.name] = Array((), (_random_option(option, draw, turn),))
        try:
            evaluate(definition.lets, values, sizes)
            return Point(sizes, values)
        except Undefined as error:
            reason = error
    raise Undefined(
        f"{definition.name!r} has no value at {_TRIES} random points; at the last: {reason}; what "
        "is known of an input is said where it is declared, as in x[n] (positive)"
    )


def kinked_point(definition: Definition, seed: int) -> Point | None:
    """Small integers with zeros and ties, where a rule that is right almost everywhere is wrong.

    Sizes are 4 and 5, or 4 or 2 where axes are many, so that means are exact and what should be
    zero is. None where the definition has no value at such a point.
    """
    least = _sizes_to_differentiate(definition)
    for usual in ((4, 5), (4, 4), (2, 2)):
        axes = enumerate(definition.axes)
        sizes = definition.fitted({a: max(usual[at % 2], least.get(a, 0)) for at, a in axes})
        if prod(sizes.values()) <= _MOST_STEPS:
            break
    draw = random.Random(seed)
    bounds = index_bounds(definition, sizes)
    for _ in range(3):
        values = {
            t.name: random_tensor(t, sizes, draw, (-1, 1), bounds, grain=1)
            for t in definition.inputs
        }
        values |= {
            o.name: Array((), (_random_option(o, draw, 0, grain=1),)) for o in definition.options
        }
        try:
            evaluate(definition.lets, values, sizes)
            return Point(sizes, values)
        except Undefined:
            continue
    return None


def random_tensor(
    tensor: Tensor,
    sizes: Sizes,
    draw: random.Random,
    span: tuple[int, int] = (-2, 2),
    bounds: Mapping[str, range] | None = None,
    grain: int = 10_000,
) -> Array:
    """Random values that keep the tensor's facts: multiples of 1/`grain` inside `span`.

    `bounds` has, by the name of an integer tensor, the numbers that are its values.
    """
    shape = tuple(sizes[axis] for axis in tensor.axes)
    count = prod(shape)
    if tensor.integer:
        numbers = (bounds or {}).get(tensor.name, range(3))
        return Array(shape, tuple(draw.choice(numbers) for _ in range(count)))
    with exact_arithmetic():
        values = [_draw(draw, span, grain, tensor) for _ in range(count)]
        array = Array(shape, tuple(values))
        if tensor.symmetric:
            array = _symmetric(array, tensor)
        if tensor.sums_to_one is not None:
            array = _sums_to_one(array, tensor, draw)
    return array


def index_bounds(definition: Definition, sizes: Sizes) -> dict[str, range]:
    """For each integer input the numbers that lie on every axis that it indexes or is compared
    with, with what is added to them; one that a choice may leave out is drawn beside it, too."""
    found: dict[str, list[range]] = {}
    lengths = {axis.size: Integer(size) for axis, size in sizes.items()}
    for _, window in held(definition.lets, definition.tensors):
        low, high = (int(end.xreplace(lengths)) for end in window.allowed)
        before, behind = window.seen_to
        numbers = range(low - before, high + behind)
        found.setdefault(tensor_name(window.held), []).append(numbers)
    return {
        name: range(max(r.start for r in ranges), min(r.stop for r in ranges))
        for name, ranges in found.items()
    }


def _drawn_apart(definition: Definition) -> dict[str, list[str]]:
    """For each integer input those before it with the same letters that index the same axis, as
    the two ends of edges do; what is compared may be equal."""
    places: dict[str, set[Axis]] = {}
    compared: set[str] = set()
    for let in definition.lets:
        for element in let.value.atoms(Element):
            axes = definition.tensors[element.tensor_name].axes
            for used, axis in zip(element.indices, axes, strict=True):
                for index in used.atoms(Element):
                    places.setdefault(index.tensor_name, set()).add(axis)
        for equal in let.value.atoms(KroneckerDelta, Eq, Ne):
            compared |= {tensor_name(side) for side in equal.args}
    found: dict[str, list[str]] = {}
    indices = [t for t in definition.inputs if t.name in places.keys() - compared]
    for earlier, later in itertools.combinations(indices, 2):
        if earlier.indices == later.indices and places[earlier.name] & places[later.name]:
            found.setdefault(later.name, []).append(earlier.name)
    return found


def _with_each(array: Array, numbers: range, draw: random.Random) -> Array:
    """An array in which each of some numbers is, if it is large enough."""
    values = [*numbers, *array.values[len(numbers) :]]
    draw.shuffle(values)
    return Array(array.shape, tuple(values)) if len(values) == len(array.values) else array


def _apart(array: Array, others: Sequence[Array], numbers: range, draw: random.Random) -> Array:
    """An array of such numbers, none that another array has in its place where one is left."""
    values = list(array.values)
    for place, taken in enumerate(zip(*(other.values for other in others), strict=True)):
        left = [n for n in numbers if n not in taken]
        if values[place] in taken and left:
            values[place] = draw.choice(left)
    return Array(array.shape, tuple(values))


def _landmarks(definition: Definition) -> dict[str, list[Decimal]]:
    """The numbers that elements of a real input are asked to equal: elsewhere nothing happens.

    Not zero, which is asked for where a function ends.
    """
    found: dict[str, set[Decimal]] = {}
    inputs = {tensor.name for tensor in definition.inputs if not tensor.integer}
    for let in definition.lets:
        for equal in let.value.atoms(Eq, Ne):
            for one, other in (equal.args, equal.args[::-1]):
                if not other.is_Integer or other == 0:
                    continue
                if isinstance(one, Element) and one.tensor_name in inputs:
                    found.setdefault(one.tensor_name, set()).add(Decimal(int(other)))
    return {name: sorted(marks) for name, marks in found.items()}


def _at_landmarks(array: Array, marks: Sequence[Decimal], draw: random.Random) -> Array:
    """An array of which three elements in four stand at a landmark."""
    values = (draw.choice(marks) if draw.random() < 0.75 else value for value in array.values)
    return Array(array.shape, tuple(values))


def finite_difference(
    lets: Iterable[Let],
    point: Point,
    directions: Mapping[str, Array],
    seeds: Mapping[str, Array],
    step: Decimal = Decimal("1e-20"),
) -> Decimal:
    """The derivative of sum(seed * output) when every named tensor moves along its direction.

    A central difference of the lets as they are written, sharp to about 35 digits because the
    evaluator has 60. `directions` names inputs or lets; a let moves beside what its own value
    does, so that one difference tests the gradients of all of them. `seeds` pairs each output
    with its weights. What stands under `StopGradient` is held still.

    Raises:
        Undefined: the lets have no value next to the point.
    """
    lets = tuple(lets)
    base = evaluate(lets, point.values, point.sizes)
    with exact_arithmetic():
        ends: list[Decimal] = []
        for signed in (step, -step):
            nudges = {
                name: Array(direction.shape, tuple(signed * v for v in direction.values))
                for name, direction in directions.items()
            }
            after = evaluate(lets, point.values, point.sizes, nudges, still=base)
            ends.append(sum((dot(seed, after[name]) for name, seed in seeds.items()), Decimal(0)))
        return (ends[0] - ends[1]) / (2 * step)


def dot(a: Array, b: Array) -> Decimal:
    """The sum of the products of two arrays' elements."""
    with exact_arithmetic():
        products = (Decimal(x) * y for x, y in zip(a.values, b.values, strict=True))
        return sum(products, start=Decimal(0))


def _draw(
    draw: random.Random, span: tuple[int, int], grain: int, facts: Tensor | Option
) -> Decimal:
    low, high = span
    while True:
        value = Decimal(draw.randint(low * grain, high * grain)) / grain
        if facts.positive or facts.nonnegative:
            value = abs(value)
        banned = facts.positive or getattr(facts, "nonzero", False) or grain > 1
        if value or not banned:
            return value


def _random_option(option: Option, draw: random.Random, attempt: int, grain: int = 1000) -> Value:
    """A value inside (0, 2): below every axis's size, so that `N - correction` is never zero.

    Where no such value works (a probability, say), the option's own default is taken.
    """
    if attempt % 2 and option.default is not None:
        return int(option.default) if option.integer else Decimal(option.default)
    if option.integer:
        return draw.randint(1, 2)
    return _draw(draw, (0, 2) if attempt < 2 else (0, 1), grain, option)


def _symmetric(array: Array, tensor: Tensor) -> Array:
    axes = tensor.axes
    i, j = next((i, j) for j in range(len(axes)) for i in range(j) if axes[i] == axes[j])

    def mirrored(setting: tuple[int, ...]) -> Value:
        low, high = sorted((setting[i], setting[j]))
        return array[*(low if p == i else high if p == j else s for p, s in enumerate(setting))]

    return Array(array.shape, tuple(mirrored(s) for s in _settings(array.shape)))


def _sums_to_one(array: Array, tensor: Tensor, draw: random.Random) -> Array:
    """Rows of positive multiples of one over a power of ten, so that their sum is one exactly."""
    where = next(i for i, letter in enumerate(tensor.indices) if letter == tensor.sums_to_one)
    rows: dict[tuple[int, ...], list[Decimal]] = {}
    for setting in _settings(array.shape):
        others = setting[:where] + setting[where + 1 :]
        if others not in rows:
            size = array.shape[where]
            cuts = sorted(draw.sample(range(1, 10_000), size - 1))
            edges = [0, *cuts, 10_000]
            rows[others] = [Decimal(b - a) / 10_000 for a, b in itertools.pairwise(edges)]
    return Array(
        array.shape,
        tuple(rows[s[:where] + s[where + 1 :]][s[where]] for s in _settings(array.shape)),
    )


def _settings(shape: Sequence[int]) -> Iterable[tuple[int, ...]]:
    return itertools.product(*map(range, shape))
