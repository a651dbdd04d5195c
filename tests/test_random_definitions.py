"""Definitions made at random, by construct, each derived, emitted and held against the oracles.

A definition is drawn as its author would write it: axes, inputs, then one let after another
from the tensors and letters in scope. Every draw is a valid definition, so none is discarded.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, Phase, event, given, seed, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn
from sympy import Expr, Integer, KroneckerDelta

from codegen import pipeline
from derive import (
    Abs,
    ArgMax,
    Definition,
    Index,
    Maximum,
    Mean,
    Product,
    Rational,
    StopGradient,
    Sum,
    Tensor,
    Where,
    atan,
    cos,
    define,
    delta,
    erf,
    exp,
    log,
    sin,
    sqrt,
    tanh,
)
from derive.language.expressions import Parameter
from derive.verification.points import random_point, two_sizes
from gradsmith.proof.proofs import (
    backward_problems,
    finite_difference_problems,
    forward_problems,
    second_order_problems,
)
from gradsmith.proof.trial import Trial

pytestmark = pytest.mark.slow

T = TypeVar("T")
CallsOf = Callable[[ModuleType], Counter[str]]

SHARDS = 8
EACH = int(os.environ.get("GRADSMITH_RANDOM_DEFINITIONS", "160")) // SHARDS
EACH_IN_C = EACH // 4

# Both targets are given the same definitions, in one worker, which derives them once.
in_shards = pytest.mark.parametrize(
    "shard", [pytest.param(n, marks=pytest.mark.xdist_group(f"shard {n}")) for n in range(SHARDS)]
)

SMOOTH = (tanh, sin, cos, atan, erf)
NUMBERS = (Integer(2), Integer(-1), Rational(1, 2), Rational(3, 2), Integer(3))


@dataclass
class Author:
    """Draws expressions from what is in scope; notes which constructs it used."""

    draw: DrawFn
    tensors: list[Tensor]
    integers: list[Tensor]
    letters: list[Index]
    step: Index
    parameters: list[Parameter]
    used: Counter[str] = field(default_factory=Counter)

    def choose(self, options: Sequence[T]) -> T:
        return self.draw(st.sampled_from(options))

    def expression(self, scope: tuple[Index, ...], depth: int) -> Expr:
        """An expression whose free letters are all in `scope`."""
        makers: list[Callable[[tuple[Index, ...], int], Expr]] = [self.element]
        if depth:
            makers = [
                self.sum_of_two,
                self.product_of_two,
                self.difference,
                self.power,
                self.quotient,
                self.function,
                self.logarithm,
                self.reduction,
                self.reduction,
                self.contraction,
                self.softmax,
                self.maximum,
                self.choice,
                self.masked,
                self.stopped,
                self.neighbour,
                self.windows,
                self.element,
            ]
        return self.choose(makers)(scope, depth - 1)

    # --- leaves ---

    def element(self, scope: tuple[Index, ...], _: int = 0) -> Expr:
        """An element of a tensor at letters in scope, gathered or literal where there are none."""
        fitting = [t for t in self.tensors if any(set(t.axes) & {i.axis} for i in scope)]
        tensor = self.choose(fitting or self.tensors)
        return tensor[tuple(self.place(i, scope) for i in tensor.indices)]

    def place(self, declared: Index, scope: tuple[Index, ...]) -> Expr | Index:
        """An index for one axis: a letter in scope, an integer tensor's element, or a literal."""
        places: list[Expr] = [i for i in scope if i.axis == declared.axis]
        gathers = [
            t[t.indices]
            for t in self.integers
            if t.name == f"pick_{declared.axis.name}" and set(t.indices) <= set(scope)
        ]
        if gathers and (not places or self.draw(st.integers(0, 3)) == 0):
            self.used["gather"] += 1
            return gathers[0]
        if len(places) > 1:
            self.used["second letter"] += 1
        return self.choose(places) if places else Integer(self.draw(st.integers(0, 2)))

    def neighbour(self, scope: tuple[Index, ...], _: int) -> Expr:
        """The element before or after one, and a number at the end."""
        fitting = [
            (tensor, where, letter)
            for tensor in self.tensors
            for where, axis in enumerate(tensor.axes)
            for letter in scope
            if letter.axis == axis
        ]
        if not fitting:
            return self.element(scope)
        self.used["neighbour"] += 1
        tensor, where, letter = self.choose(fitting)
        before = self.draw(st.booleans())
        there = letter > 0 if before else letter < letter.size - 1
        beside = self.at(tensor, where, letter - 1 if before else letter + 1, scope)
        return Where(there, beside, self.choose(NUMBERS))

    def windows(self, scope: tuple[Index, ...], _: int) -> Expr:
        """A sum over neighbours, along an axis that is as long as that allows."""
        fitting = [tensor for tensor in self.tensors if tensor.axes]
        self.used["window"] += 1
        tensor = self.choose(fitting)
        where = self.draw(st.integers(0, len(tensor.axes) - 1))
        places = (self.step, self.step + 1, self.step + 2, 2 * self.step)
        one, other = (self.at(tensor, where, self.choose(places), scope) for _ in range(2))
        return Sum(one * other, self.step)

    def at(self, tensor: Tensor, where: int, place: Expr, scope: tuple[Index, ...]) -> Expr:
        """An element of a tensor at a place on one of its axes."""
        indices = enumerate(tensor.indices)
        return tensor[tuple(place if p == where else self.place(i, scope) for p, i in indices)]

    def number(self) -> Expr:
        return self.choose([*NUMBERS, *self.parameters])

    # --- arithmetic ---

    def sum_of_two(self, scope: tuple[Index, ...], depth: int) -> Expr:
        return self.expression(scope, depth) + self.expression(scope, depth)

    def difference(self, scope: tuple[Index, ...], depth: int) -> Expr:
        return self.expression(scope, depth) - self.number() * self.expression(scope, depth)

    def product_of_two(self, scope: tuple[Index, ...], depth: int) -> Expr:
        return self.expression(scope, depth) * self.expression(scope, depth)

    def power(self, scope: tuple[Index, ...], depth: int) -> Expr:
        self.used["power"] += 1
        return self.expression(scope, depth) ** self.draw(st.integers(2, 3))

    def positive(self, scope: tuple[Index, ...], depth: int) -> Expr:
        """An expression that stays well above zero."""
        inner = self.expression(scope, depth)
        bounded = [1 + inner**2, exp(sin(inner)), Rational(1, 2) + Abs(inner)]
        return self.choose(bounded)

    def quotient(self, scope: tuple[Index, ...], depth: int) -> Expr:
        self.used["quotient"] += 1
        divisor = self.positive(scope, depth)
        return self.element(scope) / self.choose([divisor, sqrt(divisor)])

    def function(self, scope: tuple[Index, ...], depth: int) -> Expr:
        self.used["function"] += 1
        return self.choose(SMOOTH)(self.expression(scope, depth))

    def logarithm(self, scope: tuple[Index, ...], depth: int) -> Expr:
        self.used["logarithm"] += 1
        return log(self.positive(scope, depth))

    # --- over an axis ---

    def letter(self, scope: tuple[Index, ...]) -> Index:
        """A letter that is not in scope, a second one where its axis is."""
        own = self.choose(self.letters)
        taken = {i.name for i in scope}
        names = [own.name, *(f"{own.name}{mark}" for mark in "pqrstuvw")]
        return own.another(next(name for name in names if name not in taken))

    def element_at(self, letter: Index, scope: tuple[Index, ...]) -> Expr:
        """An element that depends on a letter, or that letter's delta where no tensor does."""
        fitting = [t for t in self.tensors if letter.axis in t.axes]
        if not fitting:
            return self.element(scope) / (1 + letter)
        tensor = self.choose(fitting)
        where = [i.axis for i in tensor.indices].index(letter.axis)
        places = [
            letter if p == where else self.place(i, (*scope, letter))
            for p, i in enumerate(tensor.indices)
        ]
        return tensor[tuple(places)]

    def reduction(self, scope: tuple[Index, ...], depth: int) -> Expr:
        letter = self.letter(scope)
        reducers = [Sum, Sum, Mean, Mean, Product]
        reduce = self.choose(reducers)
        self.used[reduce.__name__.lower()] += 1
        body = self.expression((*scope, letter), depth)
        return reduce(self.small(body, (*scope, letter)) if reduce is Product else body, letter)

    def small(self, body: Expr, scope: tuple[Index, ...]) -> Expr:
        """A factor whose product stays small: nothing in floats could tell the sine of 1e9."""
        x = self.tensors[0]
        return self.choose([x[tuple(self.place(i, scope) for i in x.indices)], cos(body)])

    def contraction(self, scope: tuple[Index, ...], _: int) -> Expr:
        self.used["contraction"] += 1
        letter = self.letter(scope)
        inner = (*scope, letter)
        return Sum(self.element_at(letter, scope) * self.element_at(letter, inner), letter)

    def softmax(self, scope: tuple[Index, ...], _: int) -> Expr:
        self.used["softmax"] += 1
        letter = self.letter(scope)
        body = exp(self.element_at(letter, scope))
        same = [i for i in scope if i.axis == letter.axis]
        top = body.xreplace({letter: self.choose(same)}) if same else exp(self.element(scope))
        return top / Sum(body, letter)

    def maximum(self, scope: tuple[Index, ...], _: int) -> Expr:
        self.used["maximum"] += 1
        letter = self.letter(scope)
        return Maximum(self.element_at(letter, scope), letter)

    # --- choices ---

    def choice(self, scope: tuple[Index, ...], depth: int) -> Expr:
        self.used["where"] += 1
        left, right = self.element(scope), self.choose([Integer(0), self.element(scope)])
        return Where(left > right, self.expression(scope, depth), self.expression(scope, depth))

    def masked(self, scope: tuple[Index, ...], depth: int) -> Expr:
        """A sum over all letters but one, or over one only."""
        self.used["delta"] += 1
        letter = self.letter(scope)
        inner = (*scope, letter)
        others = [i for i in scope if i.axis == letter.axis]
        picks = [t for t in self.integers if t.name == f"pick_{letter.axis.name}"]
        chosen = [t[t.indices] for t in picks if set(t.indices) <= set(scope)]
        same = delta(letter, self.choose([*others, *chosen, Integer(1)]))
        weight = self.choose([same, 1 - same])
        return Sum(weight * self.expression(inner, depth), letter)

    def stopped(self, scope: tuple[Index, ...], depth: int) -> Expr:
        self.used["stop gradient"] += 1
        return StopGradient(self.expression(scope, depth))


@st.composite
def definitions(draw: DrawFn) -> Definition:
    """A random small definition: one to three axes, inputs and lets."""
    op = define("random_operation", "A definition made at random.")
    names = draw(st.sampled_from(["n", "n k", "n k c"])).split()
    axes = op.axes(" ".join(names))
    letters = [axes] if isinstance(axes, Index) else list(axes)

    def some(least: int) -> tuple[Index, ...]:
        kept = draw(st.lists(st.booleans(), min_size=len(letters), max_size=len(letters)))
        subset = tuple(i for i, keep in zip(letters, kept, strict=True) if keep)
        return subset if len(subset) >= least else tuple(letters[-least:])

    tensors = [op.input("x", *letters)]
    tensors += [op.input(name, *some(0)) for name in draw(st.sampled_from(["", "a", "ab"]))]
    integers = []
    if draw(st.booleans()):
        over = draw(st.sampled_from(letters))
        integers = [op.integers(f"pick_{over.axis.name}", draw(st.sampled_from(letters)))]
    parameters = [i.size for i in letters]
    if draw(st.booleans()):
        parameters.append(op.option("eps", 0.1, positive=True))
    author = Author(draw, tensors, integers, letters, op.axes("step"), parameters)
    lets: list[Tensor] = []
    for count in range(draw(st.integers(1, 4))):
        over = some(0)
        value = author.expression(over, 2)
        lets.append(op.let(f"{'pqrs'[count]}", [*over], value))
        author.tensors = [*author.tensors, lets[-1], lets[-1]]  # what is new is likelier used
    definition = op.build(lets[-1], *([lets[0]] if len(lets) > 2 and draw(st.booleans()) else []))
    for construct in constructs(definition, author):
        event(construct)
    return definition


def constructs(definition: Definition, author: Author) -> set[str]:
    """What a definition is made of, by name."""
    found = {f"construct: {name}" for name in author.used}
    found.add(f"lets: {len(author.tensors)}")
    if any(let.value.has(ArgMax) for let in definition.lets):
        found.add("construct: argmax")
    if any(let.value.has(KroneckerDelta) for let in definition.lets):
        found.add("construct: delta left")
    return found


def quiet(examples: int) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],  # to shrink what fails would take an hour
        suppress_health_check=[
            *(HealthCheck.too_slow, HealthCheck.data_too_large),
            HealthCheck.function_scoped_fixture,  # each definition has a module of its own
        ],
        print_blob=False,
    )


@in_shards
def test_a_random_definition_is_derived_and_emitted_right(shard: int) -> None:
    @seed(shard)
    @quiet(EACH)
    @given(definitions())
    def holds(definition: Definition) -> None:
        module = pipeline.compile(definition)
        for turn, sizes in enumerate(two_sizes(definition)):
            point = random_point(definition, sizes, turn)
            trial = Trial(definition, module, point, turn)
            assert not list(forward_problems(trial))
            assert not list(backward_problems(trial))
            if turn == 0:
                assert not list(finite_difference_problems(trial))
                assert not list(second_order_problems(trial))

    holds()


@in_shards
def test_the_loops_in_c_of_a_random_definition_are_right(shard: int, calls_of: CallsOf) -> None:
    @seed(shard)
    @quiet(EACH_IN_C)
    @given(definitions())
    def holds(definition: Definition) -> None:
        module = pipeline.compile(definition, "c")
        calls = calls_of(module)
        for turn, sizes in enumerate(two_sizes(definition)):
            trial = Trial(definition, module, random_point(definition, sizes, turn), turn)
            assert not list(forward_problems(trial))
            assert not list(backward_problems(trial))
        assert calls == {"forward": 4, "backward": 2}

    holds()
