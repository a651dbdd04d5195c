"""The independent oracle: runs lets as they are written, with loops over their indices.

Nothing here knows a rule of calculus or of simplification, and nothing here is rounded as a
machine rounds: integers are exact and real numbers have 60 digits, so two expressions that
are equal agree to dozens of digits, and two that differ do not. Values are `Array`s. An
expression is turned once into nested Python closures, one a node; the values of sums and of
functions are remembered for each setting of the letters they depend on, and a sum goes through no
more settings than the deltas in it let through.
"""

from __future__ import annotations

import decimal
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from itertools import product
from math import prod
from typing import Any

import sympy
from sympy import (
    Add,
    Basic,
    Expr,
    Integer,
    KroneckerDelta,
    Mul,
    Number,
    NumberSymbol,
    Pow,
    Rational,
    Symbol,
)
from sympy.core.relational import Relational
from sympy.logic.boolalg import BooleanFalse, BooleanTrue

from derive.language.definition import Let
from derive.language.expressions import (
    Affine,
    ArgMax,
    Axis,
    Binder,
    Element,
    Guarded,
    Index,
    Product,
    StopGradient,
    Sum,
    Where,
    free_indices,
    names_used,
)
from derive.verification.arithmetic import (
    FUNCTIONS,
    Undefined,
    Value,
    divide,
    exact_arithmetic,
    first_largest,
    number,
    power,
    root,
)

Sizes = Mapping[Axis, int]
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Array:
    """The values of a tensor, the last index fastest; composite dimensions are expanded."""

    shape: tuple[int, ...]
    values: tuple[Value, ...]

    @classmethod
    def of(cls, nested: Any) -> Array:
        """An array from nested sequences of numbers, or from one number.

        Integers stay integers. Floats are taken exactly as they are, to the last bit.
        """
        if not isinstance(nested, Sequence):
            return cls((), (nested if isinstance(nested, int) else Decimal(nested),))
        parts = [cls.of(part) for part in nested]
        if len({part.shape for part in parts}) != 1:
            raise ValueError("an array needs rows of one length, and at least one")
        return cls((len(parts), *parts[0].shape), tuple(v for part in parts for v in part.values))

    def __getitem__(self, indices: int | tuple[int, ...]) -> Value:
        place = indices[0] if isinstance(indices, tuple) and len(indices) == 1 else indices
        if place not in self.by_place:
            raise IndexError(f"index {indices} is outside of shape {self.shape}")
        return self.by_place[place]

    @cached_property
    def by_place(self) -> Mapping[Any, Value]:
        """Each value by its indices: by a number where there is one, by a tuple otherwise."""
        ranges = [range(size) for size in self.shape]
        places = ranges[0] if len(ranges) == 1 else product(*ranges)
        return dict(zip(places, self.values, strict=True))

    def nested(self) -> Any:
        """Nested lists of floats, or of integers where it holds indices; one number if 0-d."""
        flat = [v if isinstance(v, int) else float(v) for v in self.values]
        for size in reversed(self.shape[1:]):
            flat = [flat[i : i + size] for i in range(0, len(flat), size)]
        return flat if self.shape else flat[0]

    def largest(self) -> Decimal:
        """The largest magnitude among the values."""
        return max((abs(Decimal(v)) for v in self.values), default=Decimal(0))


Values = Mapping[str, Array]


def evaluate(
    lets: Iterable[Let],
    values: Values,
    sizes: Sizes,
    nudges: Values | None = None,
    still: Values | None = None,
) -> dict[str, Array]:
    """Every tensor: the given `values`, and each let's as it is written, in order.

    `values` holds the inputs and the options, options as 0-d arrays. `nudges` are added to the
    tensors they name, lets included, before anything reads them. What stands under
    `StopGradient` reads `still` in place of the values, if given.

    Raises:
        Undefined: a let has no real value here; the message names it.
        KeyError: a let reads a name that has no value.
    """
    nudges = nudges or {}

    def nudged(name: str, array: Array) -> Array:
        if name not in nudges:
            return array
        with exact_arithmetic():
            pairs = zip(array.values, nudges[name].values, strict=True)
            return Array(array.shape, tuple(value + nudge for value, nudge in pairs))

    known = {name: nudged(name, array) for name, array in values.items()}
    for let in lets:
        try:
            array = evaluate_expr(let.value, let.tensor.indices, known, sizes, still)
        except Undefined as error:
            raise Undefined(f"let {let.name!r}: {error}") from None
        known[let.name] = nudged(let.name, array)
    return known


def evaluate_expr(
    expr: Expr, letters: Sequence[Index], values: Values, sizes: Sizes, still: Values | None = None
) -> Array:
    """The array of an expression over its free `letters`, in their order.

    Raises:
        Undefined: the expression has no real value at some index.
        KeyError: it reads a name that has no value.
    """
    missing = free_indices(expr) - set(letters)
    if missing:
        raise ValueError(f"{expr} depends on {min(i.name for i in missing)!r}, which is not given")
    shapes = tuple((n, values[n].shape) for n in sorted(names_used(expr)) if n in values)
    key = (expr, tuple(letters), frozenset(sizes.items()), shapes)
    with exact_arithmetic():
        compiled = _COMPILED.pop(key, None) or _Compiled.of(expr, letters, sizes, dict(shapes))
        try:
            return compiled.run(values, values if still is None else still)
        except (decimal.InvalidOperation, decimal.DivisionByZero, decimal.Overflow) as error:
            raise Undefined(f"{expr} is undefined ({type(error).__name__})") from None
        finally:
            compiled.forget()
            if len(_COMPILED) >= _MOST_COMPILED:
                _COMPILED.clear()
            _COMPILED[key] = compiled


Thunk = Callable[[], Any]
Setting = tuple[int, ...]
"""What some letters are, in their order."""
Scope = Mapping[Index, int]


class _Cell:
    """The array that a compiled expression reads by a name, while it runs."""

    array: Array
    by_place: Mapping[Any, Value]

    def load(self, array: Array) -> None:
        self.array, self.by_place = array, array.by_place


@dataclass(frozen=True)
class _Compiled:
    """An expression turned into closures, for some sizes; it runs on any arrays of these shapes."""

    compiler: _Compiler
    shape: tuple[int, ...]
    slots: Sequence[int]
    element: Thunk

    @staticmethod
    def of(expr: Expr, letters: Sequence[Index], sizes: Sizes, shapes: Shapes) -> _Compiled:
        compiler = _Compiler(sizes, shapes)
        scope = {letter: compiler.slot() for letter in letters}
        element = compiler.thunk(expr, scope)
        shape = tuple(sizes[letter.axis] for letter in letters)
        return _Compiled(compiler, shape, [*scope.values()], element)

    def run(self, values: Values, still: Values) -> Array:
        self.compiler.load(values, still)
        settings = product(*map(range, self.shape))
        return Array(self.shape, tuple(self.compiler.each(self.slots, settings, self.element)))

    def forget(self) -> None:
        """Drop what was remembered of the arrays."""
        for seen in self.compiler.memories:
            seen.clear()


_COMPILED: dict[Any, _Compiled] = {}
"""Compiled expressions; whoever runs one takes it out, and puts it back."""

_MOST_COMPILED = 2_000


class _Compiler:
    """Turns expressions into closures that read the letters' current values from `at`, and arrays
    from cells; what stands under `StopGradient` from cells of its own."""

    def __init__(self, sizes: Sizes, shapes: Shapes) -> None:
        self.sizes, self.shapes = sizes, shapes
        self.sizes_by_symbol = {axis.size: size for axis, size in sizes.items()}
        self.at: list[int] = []
        self.made: dict[tuple[Basic, tuple[int, ...]], Thunk] = {}
        self.cells: dict[str, _Cell] = {}
        self.memories: list[dict[Any, Any]] = []
        self.stopped: _Compiler | None = None

    def load(self, values: Values, still: Values) -> None:
        for name, cell in self.cells.items():
            cell.load(values[name])
        if self.stopped is not None:
            self.stopped.load(still, still)

    def cell(self, name: str) -> _Cell:
        return self.cells.setdefault(name, _Cell())

    def slot(self) -> int:
        self.at.append(0)
        return len(self.at) - 1

    def each(
        self, slots: Sequence[int], settings: Iterable[Setting], element: Thunk
    ) -> Iterator[Any]:
        """The element's value at each setting of the letters in neighbouring `slots`."""
        at, here = self.at, slice(slots[0], slots[-1] + 1) if slots else slice(0)
        for setting in settings:
            at[here] = setting
            yield element()

    def thunk(self, expr: Basic, scope: Scope) -> Thunk:
        slots = tuple(sorted(scope[i] for i in free_indices(expr)))
        key = (expr, slots)
        if key not in self.made:
            made = self.build(expr, scope)
            if isinstance(expr, Binder | Affine) or (isinstance(expr, sympy.Function) and slots):
                made = self.remembered(made, slots)
            self.made[key] = made
        return self.made[key]

    def remembered(self, thunk: Thunk, slots: tuple[int, ...]) -> Thunk:
        at, seen = self.at, dict[Any, Any]()
        self.memories.append(seen)
        key_of: Callable[[list[int]], Any] = operator.itemgetter(*slots) if slots else len

        def recall() -> Any:
            key = key_of(at)
            if key not in seen:
                seen[key] = thunk()
            return seen[key]

        return recall

    def build(self, expr: Basic, scope: Scope) -> Thunk:
        for cls, builder in _BUILDERS.items():
            if isinstance(expr, cls):
                return builder(self, expr, scope)
        parts = [self.thunk(arg, scope) for arg in expr.args]
        for cls, function in FUNCTIONS.items():
            if isinstance(expr, cls):
                return lambda: function(*[part() for part in parts])
        raise TypeError(f"the evaluator does not know {type(expr).__name__} in {expr}")

    # --- one builder a kind of node ---

    def index(self, expr: Index, scope: Scope) -> Thunk:
        at, slot = self.at, scope[expr]
        return lambda: at[slot]

    def symbol(self, expr: Any, scope: Scope) -> Thunk:
        if expr in self.sizes_by_symbol:
            return _constant(self.sizes_by_symbol[expr])
        if shape := self.shapes[expr.name]:
            raise ValueError(f"{expr.name!r} has shape {shape} and is used without indices")
        cell = self.cell(expr.name)
        return lambda: cell.by_place[()]

    def element(self, expr: Any, scope: Scope) -> Thunk:
        shape, cell = self.shapes[expr.tensor_name], self.cell(expr.tensor_name)
        parts = [self.thunk(i, scope) for i in expr.indices]
        if len(parts) != len(shape):
            raise ValueError(f"{expr} has {len(parts)} indices on shape {shape}")
        if parts and all(
            isinstance(i, Index) and self.sizes[i.axis] == size
            for i, size in zip(expr.indices, shape, strict=True)
        ):
            at, place = self.at, operator.itemgetter(*(scope[i] for i in expr.indices))
            return lambda: cell.by_place[place(at)]
        if not expr.has(Affine):
            return lambda: cell.array[tuple(operator.index(part()) for part in parts)]

        def on_its_axis() -> Any:
            place = tuple([operator.index(part()) for part in parts])
            try:
                return cell.array[place]
            except IndexError:
                raise Undefined(
                    f"{expr} is read at {[*place]}, and its shape is {[*shape]}"
                ) from None

        return on_its_axis

    def binder(self, expr: Binder, scope: Scope) -> Thunk:
        own = {i: self.slot() for i in expr.indices}
        ranges = [range(self.sizes[i.axis]) for i in expr.indices]
        is_sum = isinstance(expr, Sum)
        deltas, rest = _without_deltas(expr.body, own.keys()) if is_sum else ([], expr.body)
        body = self.thunk(rest, {**scope, **own})
        settings = self.passed(deltas, scope, own) if deltas else lambda: product(*ranges)
        each, slots = self.each, tuple(own.values())
        if is_sum:
            return lambda: sum(each(slots, settings(), body), start=Decimal(0))
        if isinstance(expr, Product):
            return lambda: prod(each(slots, settings(), body), start=Decimal(1))
        if isinstance(expr, ArgMax) and len(slots) == 1:
            return lambda: first_largest(list(each(slots, settings(), body)))
        raise TypeError(f"the evaluator does not know {expr}")

    def passed(
        self, deltas: Sequence[KroneckerDelta], scope: Scope, own: Scope
    ) -> Callable[[], list[Setting]]:
        """The settings of a sum's `own` letters that all deltas let through, in order.

        A delta is asked as soon as its letters are set, and those of deltas are set first.
        """
        inside = {**scope, **own}
        asked = [(self.thunk(d, inside), free_indices(d) & own.keys()) for d in deltas]
        letters = [*dict.fromkeys(i for _, read in [*asked, (None, own)] for i in own if i in read)]
        stages: list[tuple[int, range, list[Thunk]]] = []
        for place, letter in enumerate(letters, 1):
            tests = [test for test, read in asked if letter in read <= {*letters[:place]}]
            stages.append((own[letter], range(self.sizes[letter.axis]), tests))
        at, slots = self.at, tuple(own.values())

        def from_stage(stage: int) -> Iterator[Setting]:
            if stage == len(stages):
                yield tuple(at[slot] for slot in slots)
                return
            slot, values, tests = stages[stage]
            for at[slot] in values:
                if all(test() for test in tests):
                    yield from from_stage(stage + 1)

        outer = {i for d in deltas for i in free_indices(d)} - own.keys()
        places = tuple(sorted(scope[i] for i in outer))
        return self.remembered(lambda: sorted(from_stage(0)), places)

    def where(self, expr: Where, scope: Scope) -> Thunk:
        condition, yes, no = (self.thunk(arg, scope) for arg in expr.args)
        return lambda: yes() if condition() else no()

    def affine(self, expr: Affine, scope: Scope) -> Thunk:
        return self.thunk(expr.place, scope)

    def stop(self, expr: StopGradient, scope: Scope) -> Thunk:
        if self.stopped is None:
            self.stopped = _Compiler(self.sizes, self.shapes)
            self.stopped.at, self.stopped.memories = self.at, self.memories
        return self.stopped.thunk(expr.args[0], scope)

    def add(self, expr: Add, scope: Scope) -> Thunk:
        parts = [self.thunk(arg, scope) for arg in expr.args]
        return lambda: sum([part() for part in parts])

    def mul(self, expr: Mul, scope: Scope) -> Thunk:
        """One division at the end, so that the mean of equal numbers is that number exactly."""
        above, below = _above_and_below(expr)
        if not below and _are_of_numbers(above):
            above.sort(key=_turn)
            factors = [self.thunk(arg, scope) for arg in above]
            return lambda: _product_of_numbers(factors)
        parts = [self.thunk(arg, scope) for arg in above]
        divisors = [self.thunk(arg, scope) for arg in below]
        if not divisors:
            return lambda: prod([part() for part in parts])
        return lambda: divide(
            prod([part() for part in parts]), prod([divisor() for divisor in divisors])
        )

    def power(self, expr: Pow, scope: Scope) -> Thunk:
        base, exponent = self.thunk(expr.base, scope), self.thunk(expr.exp, scope)
        if expr.exp == sympy.Rational(1, 2):
            return lambda: root(base())
        if expr.exp == -sympy.Rational(1, 2):
            return lambda: divide(1, root(base()))
        return lambda: power(base(), exponent())


def _above_and_below(expr: Mul) -> tuple[list[Basic], list[Basic]]:
    """The factors of a product, those with a negative number for an exponent turned over."""
    above: list[Basic] = []
    below: list[Basic] = []
    for factor in expr.args:
        if isinstance(factor, Rational):
            above.append(Integer(factor.p))
            below += [] if factor.q == 1 else [Integer(factor.q)]
        elif isinstance(factor, Pow) and factor.exp.is_Rational and factor.exp.is_negative:
            below.append(Pow(factor.base, -factor.exp))
        else:
            above.append(factor)
    return above, below


def _turn(factor: Basic) -> int:
    """When a factor is asked: deltas, then choices, by which others are read on their axes."""
    if isinstance(factor, KroneckerDelta) and not factor.has(Guarded):
        return 0
    return 1 if isinstance(factor, Where) else 2


def _are_of_numbers(factors: Iterable[Basic]) -> bool:
    """Whether all factors have a value everywhere, so that nothing beside a zero need be read."""
    return all(not isinstance(f, Add) and _is_of_numbers(f) for f in factors)


def _is_of_numbers(expr: Basic) -> bool:
    """Whether an expression is a number, or made of numbers in ways that give one everywhere."""
    if isinstance(expr, Where | Relational | Add | Mul):
        return all(map(_is_of_numbers, expr.args))
    return _is_of_numbers(expr.body) if isinstance(expr, Sum) else isinstance(expr, _NUMBERS)


_NUMBERS = (KroneckerDelta, Element, Number, Symbol)


def _without_deltas(body: Expr, letters: Set[Index]) -> tuple[list[KroneckerDelta], Expr]:
    """The deltas over some letters that a product is zero without, and what is left where they
    are one."""
    factors = Mul.make_args(body)
    deltas = [
        f
        for f in factors
        if isinstance(f, KroneckerDelta) and free_indices(f) & letters and not f.has(Guarded)
    ]
    if not (deltas and _are_of_numbers(factors)):
        return [], body
    return deltas, Mul(*(f for f in factors if f not in deltas))


def _product_of_numbers(factors: Iterable[Thunk]) -> Value:
    """A product of what has a value everywhere: nothing is read after a zero."""
    value: Value = 1
    for factor in factors:
        value *= factor()
        if value == 0:
            break
    return value


def _constant(value: Any) -> Thunk:
    return lambda: value


def _number(self: _Compiler, expr: Any, scope: Scope) -> Thunk:
    return _constant(number(expr))


def _truth(self: _Compiler, expr: Basic, scope: Scope) -> Thunk:
    return _constant(isinstance(expr, BooleanTrue))


_BUILDERS: Mapping[type[Any], Callable[[_Compiler, Any, Scope], Thunk]] = {
    Index: _Compiler.index,
    Symbol: _Compiler.symbol,
    Element: _Compiler.element,
    Binder: _Compiler.binder,
    Affine: _Compiler.affine,
    Where: _Compiler.where,
    StopGradient: _Compiler.stop,
    Add: _Compiler.add,
    Mul: _Compiler.mul,
    Pow: _Compiler.power,
    Number: _number,
    NumberSymbol: _number,
    BooleanTrue: _truth,
    BooleanFalse: _truth,
}
