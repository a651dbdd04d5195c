"""Every step of a derivation, and its result, held against the independent evaluator.

Structure first: each name bound once and before its use, each cotangent over its primal's
indices. Then numbers: each step's two sides at random points of two shapes and, where the
definition has a value there, at a point full of zeros and ties, on which a substitution
that divides by what may vanish gives itself away. Last, the chunked backward pass against
finite differences of the definition, and the simplified pass against the chunked one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property, lru_cache
from itertools import combinations

import sympy
from sympy import Expr

from derive.calculus.trace import Backward, Derivation, Step
from derive.language.definition import Definition, Let, Tensor
from derive.language.expressions import Index, free_indices, names_used
from derive.verification.arithmetic import DIGITS, Undefined, exact_arithmetic, with_digits
from derive.verification.evaluate import Array, evaluate, evaluate_expr
from derive.verification.points import (
    Point,
    dot,
    finite_difference,
    kinked_point,
    random_point,
    random_tensor,
    two_sizes,
)


class VerificationError(AssertionError):
    """A derivation is wrong: the message names the rule or the pass, the tensor and the point."""


@dataclass(frozen=True)
class Verification:
    """What was checked: how many steps, at how many points, and the largest relative error.

    `by_step` says the same of each step by itself.
    """

    steps: int
    points: int
    largest_error: float
    by_step: tuple[StepVerification, ...] = ()


@dataclass(frozen=True)
class StepVerification:
    """At how many points a step has a value and was checked, and the largest relative error."""

    points: int
    largest_error: float


_MORE_DIGITS = 20 * DIGITS


@dataclass(frozen=True)
class Surroundings:
    """A point, and there the value of everything that a derivation names.

    `defined` holds the definition's own lets and the seeds, `chunked` the chunked pass on top
    of them; `known` is what a step may read: the derivation's forward lets, the simplified
    pass, then the names of the chunked pass and of the steps that these do not have. At a
    `kinked` point a let without a value is left out.
    """

    point: Point
    defined: Mapping[str, Array]
    chunked: Mapping[str, Array]
    known: Mapping[str, Array]
    kinked: bool = False

    def value(self, expr: Expr, letters: tuple[Index, ...]) -> Array:
        """The expression's array; Undefined where it, or a tensor that it reads, has no value."""
        if (expr, letters) not in self._values:
            self._values[expr, letters] = _value(expr, letters, self.known, self.point)
        return self._values[expr, letters]

    @cached_property
    def _values(self) -> dict[tuple[Expr, tuple[Index, ...]], Array]:
        """What was asked for: where one step ends, the next one begins."""
        return {}


@lru_cache(maxsize=1024)
def verify(derivation: Derivation) -> Verification:
    """Check a derivation: its structure, every step, and both backward passes.

    A derivation equal to one seen before is not checked again. Where it fails, more digits decide:
    of what exponentials of -800 are divided by, two forms may differ by all that 60 digits hold.

    Raises:
        VerificationError: names the rule, the tensor and the point.
    """
    check_structure(derivation)
    try:
        return _verified(derivation)
    except VerificationError:
        with with_digits(_MORE_DIGITS):
            return _verified(derivation)


def _verified(derivation: Derivation) -> Verification:
    errors: list[float] = []
    of_steps: list[list[float]] = [[] for _ in derivation.steps]
    everywhere = list(surroundings(derivation))
    for here in everywhere:
        for step, found in zip(derivation.steps, of_steps, strict=True):
            error = verify_step(step, here)
            found += [] if error is None else [error]
        errors += _passes_agree(derivation, here)
        if not here.kinked:
            errors.append(_finite_differences_agree(derivation, here))
    by_step = tuple(StepVerification(len(found), max(found, default=0.0)) for found in of_steps)
    largest = max([*errors, *(one.largest_error for one in by_step)], default=0.0)
    return Verification(len(derivation.steps), len(everywhere), largest, by_step)


def verify_step(step: Step, here: Surroundings) -> float | None:
    """The relative difference between the two sides of a step; None at a kink without a value.

    Raises:
        VerificationError: the sides differ, or `after` is undefined where `before` is not.
    """
    for left, right in (*step.using, *step.reasons):
        _check_equation(step, left, right, here)
    what = f"rule {step.rule.name!r} changes {step.tensor!r}"
    try:
        before = here.value(step.before, step.tensor.indices)
    except Undefined:
        if here.kinked:
            return None
        raise
    try:
        after = here.value(step.after, step.tensor.indices)
    except Undefined as error:
        raise VerificationError(
            f"{what}: undefined afterwards ({error})\n"
            f"  before: {step.before}\n  after:  {step.after}\n  at {here.point}"
        ) from None
    return _compare(
        before,
        after,
        _tolerance(step.before, step.after),
        lambda: f"{what}\n  before: {step.before}\n  after:  {step.after}",
        here.point,
    )


def _check_equation(step: Step, left: Expr, right: Expr, here: Surroundings) -> None:
    """An equation that a rule used holds at a point, unless it says nothing there."""
    letters = tuple(sorted(free_indices(left) | free_indices(right), key=str))
    try:
        sides = [here.value(side, letters) for side in (left, right)]
    except Undefined:
        if here.kinked:
            return
        raise

    def what() -> str:
        return f"rule {step.rule.name!r} uses what does not hold: {left} = {right}"

    _compare(sides[0], sides[1], _tolerance(left, right), what, here.point)


# --- structure ---


def check_structure(derivation: Derivation) -> None:
    """Each name is bound once, before its use, and each gradient has its primal's dimensions.

    Raises:
        VerificationError: names the let and the mistake.
    """
    definition = derivation.definition
    given = [t.name for t in definition.inputs] + [o.name for o in definition.options]
    sizes = [axis.size.name for axis in definition.axes]
    _check_order("the forward pass", derivation.forward, {*given, *sizes})
    made = {let.name for let in derivation.forward}
    lost = {let.name for let in definition.lets} - made
    if lost:
        raise VerificationError(f"the forward pass has lost {min(lost)!r}")
    seeds = {t.name for t in derivation.seeds}
    for name, backward in (("chunked", derivation.chunked), ("simplified", derivation.simplified)):
        where = f"the {name} backward pass"
        _check_order(where, backward.lets, {*given, *sizes, *made, *seeds})
        _check_gradients(where, definition, backward, seeds)
    for step in derivation.steps:
        for expr in (step.before, step.after):
            _check_letters(f"rule {step.rule.name!r}", step.tensor, expr)


def _check_order(where: str, lets: tuple[Let, ...], known: set[str]) -> None:
    known = set(known)
    for let in lets:
        if let.name in known:
            raise VerificationError(f"{where} binds {let.name!r} twice")
        unbound = names_used(let.value) - known
        if unbound:
            raise VerificationError(
                f"{where} uses {min(unbound)!r} in {let.name!r} before it is bound"
            )
        _check_letters(where, let.tensor, let.value)
        known.add(let.name)


def _check_letters(where: str, tensor: Tensor, value: Expr) -> None:
    stray = free_indices(value) - set(tensor.indices)
    if stray:
        letter = min(i.name for i in stray)
        raise VerificationError(f"{where}: {tensor!r} depends on the index {letter!r}: {value}")


def _check_gradients(
    where: str, definition: Definition, backward: Backward, seeds: set[str]
) -> None:
    if tuple(name for name, _ in backward.gradients) != definition.wrt:
        raise VerificationError(
            f"{where} does not give the gradients of {', '.join(definition.wrt)}"
        )
    bound = seeds | {let.name for let in backward.lets}
    for name, gradient in backward.gradients:
        primal = definition.tensors[name]
        if gradient.name not in bound:
            raise VerificationError(
                f"{where} never binds {gradient.name!r}, the gradient of {name!r}"
            )
        if gradient.axes != primal.axes:
            raise VerificationError(f"{where}: {gradient!r} is the gradient of {primal!r}")


# --- numbers ---


def surroundings(derivation: Derivation) -> Iterator[Surroundings]:
    """Two random points of different shapes, and a kinked one where there is one.

    Options are as they are by default where there is no gradient at others: of `h**p` there is one
    at zero for p = 2, and none for p = 0.5.
    """
    definition = derivation.definition
    for seed, sizes in enumerate(two_sizes(definition)):
        try:
            yield _surroundings(derivation, random_point(definition, sizes, seed), seed)
        except Undefined:
            usual = random_point(definition, sizes, seed, usual=True)
            yield _surroundings(derivation, usual, seed)
    kinked = kinked_point(definition, seed=2)
    if kinked is not None:
        yield _surroundings(derivation, kinked, 2, kinked=True)


def _surroundings(
    derivation: Derivation, point: Point, seed: int, kinked: bool = False
) -> Surroundings:
    draw = random.Random(seed)
    seeds = {t.name: random_tensor(t, point.sizes, draw) for t in derivation.seeds}
    given = dict(point.values) | seeds
    defined = evaluate(derivation.definition.lets, given, point.sizes)
    try:
        chunked = _run(derivation.chunked.lets, defined, point, kinked)
    except VerificationError as error:
        raise Undefined(_no_gradient(derivation.definition, error)) from None
    simplified = (*derivation.forward, *derivation.simplified.lets)
    known = chunked | _run(simplified, given, point, kinked)
    named = [Let(s.tensor, s.after) for s in derivation.steps if s.tensor.name not in known]
    return Surroundings(point, defined, chunked, _run(named, known, point, kinked), kinked)


def _no_gradient(definition: Definition, error: VerificationError) -> str:
    """What is said where the chain rule as it stands has no value though the definition has one."""
    letters = {letter for let in definition.lets for letter in let.value.atoms(Index)}
    pairs = combinations(sorted(letters, key=lambda letter: letter.name), 2)
    meet = [f"{one.name} != {other.name}" for one, other in pairs if one.axis == other.axis]
    hint = (
        f"\nwhat meets itself is left out by where({' and '.join(meet)}, ..., 0) around the root or"
        f" the quotient: one that is a let of its own has a gradient of its own"
    )
    return f"{definition.name!r} has a value, and no gradient: {error}{hint if meet else ''}"


def _run(
    lets: Iterable[Let], known: Mapping[str, Array], point: Point, kinked: bool
) -> dict[str, Array]:
    """What is known and the lets on top of it; at a kinked point only those that have a value."""
    known = dict(known)
    for let in lets:
        try:
            known[let.name] = _value(let.value, let.tensor.indices, known, point)
        except Undefined as error:
            if not kinked:
                raise VerificationError(f"{let.name!r}: {error}\n  at {point}") from None
    return known


def _value(
    expr: Expr, letters: tuple[Index, ...], known: Mapping[str, Array], point: Point
) -> Array:
    try:
        return evaluate_expr(expr, letters, known, point.sizes)
    except KeyError as error:
        raise Undefined(f"{error.args[0]!r} has no value") from None


def _passes_agree(derivation: Derivation, here: Surroundings) -> Iterator[float]:
    """The forward lets against the definition's, and one backward pass against the other."""
    lets = (*derivation.forward, *derivation.chunked.lets, *derivation.simplified.lets)
    tolerance = _tolerance(*(let.value for let in lets))

    def same(what: str, expected: Array, name: str) -> float:
        if name not in here.known:
            raise VerificationError(f"{what}: it is undefined\n  at {here.point}")
        return _compare(expected, here.known[name], tolerance, lambda: what, here.point)

    for let in derivation.definition.lets:
        yield same(f"the forward pass changes {let.name!r}", here.defined[let.name], let.name)
    both = zip(derivation.chunked.gradients, derivation.simplified.gradients, strict=True)
    for (name, one), (_, other) in both:
        if one.name in here.chunked:
            what = f"the simplified gradient of {name!r} is not the chunked one"
            yield same(what, here.chunked[one.name], other.name)


def _finite_differences_agree(derivation: Derivation, here: Surroundings) -> float:
    """The chunked gradients against one difference along a random direction in all tensors at once.

    Where that fails, one difference for each tensor says which gradient is wrong.
    """
    definition = derivation.definition
    draw = random.Random(7)
    seeds = {
        name: here.defined[seed.name]
        for name, seed in zip(definition.outputs, derivation.seeds, strict=True)
    }
    gradients = {name: here.chunked[tensor.name] for name, tensor in derivation.chunked.gradients}
    directions = {
        name: random_tensor(Tensor(name, definition.tensors[name].dims), here.point.sizes, draw)
        for name in definition.wrt
    }
    tolerance = max(Decimal("1e-18"), _tolerance(*(let.value for let in definition.lets)))

    def error(names: tuple[str, ...]) -> Decimal:
        moved = {name: directions[name] for name in names}
        actual = finite_difference(definition.lets, here.point, moved, seeds)
        with exact_arithmetic():
            parts = [dot(gradients[name], directions[name]) for name in names]
            return abs(actual - sum(parts)) / (1 + sum(map(abs, parts)))

    together = error(definition.wrt)
    if together <= tolerance:
        return float(together)
    wrong = [name for name in definition.wrt if error((name,)) > tolerance]
    raise VerificationError(
        f"the chunked gradient of {', '.join(map(repr, wrong or definition.wrt))} in "
        f"{definition.name!r} is not what finite differences give\n  at {here.point}"
    )


def _compare(
    one: Array, other: Array, tolerance: Decimal, what: Callable[[], str], point: Point
) -> float:
    """The relative difference of two arrays; `what` is wrong with too large a one."""
    if one.shape != other.shape:
        raise VerificationError(f"{what()}\n  shape {one.shape} became {other.shape}\n  at {point}")
    with exact_arithmetic():
        differences = [abs(Decimal(a) - b) for a, b in zip(one.values, other.values, strict=True)]
        worst = max(range(len(differences)), key=differences.__getitem__, default=0)
        error = differences[worst] / (1 + one.largest())
    if error > tolerance:
        raise VerificationError(
            f"{what()}\n  {one.values[worst]:.15g} became {other.values[worst]:.15g}\n  at {point}"
        )
    return float(error)


def _tolerance(*exprs: Expr) -> Decimal:
    """Sixty digits leave no room for chance; a rounded coefficient in an expression leaves some."""
    return Decimal("1e-12") if any(e.has(sympy.Float) for e in exprs) else Decimal("1e-35")
