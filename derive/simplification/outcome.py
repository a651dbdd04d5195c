"""A group's gradients in one choice of variables: multiplied out, or the chain rule as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sympy import Add, Basic, Expr, Pow, S

from derive.calculus.deltas import keeping_sums_whole
from derive.calculus.normal import normalise, terms_of
from derive.calculus.rules import (
    CHANGE_OF_VARIABLES,
    FACTOR,
    RECOGNISE,
    REDUCTION_IDENTITY,
    SHARE,
    SYMMETRY,
    Rule,
)
from derive.calculus.trace import Equation
from derive.language.cotangents import cotangents_in
from derive.language.definition import Let, Tensor
from derive.language.expressions import Sum, is_scalar, names_used, with_args
from derive.language.facts import scalars_divided_by
from derive.simplification.change_of_variables import Coordinates, NoFixpoint
from derive.simplification.factor import cancelled, differences_joined, factor, quotients_met
from derive.simplification.share import share_reductions, shared_cotangents
from derive.simplification.task import TERM_LIMIT, Task
from derive.simplification.work import keeping, work


@dataclass(frozen=True)
class VariableChoice:
    """A group's lets by name, and which let is solved for which tensor.

    `as_it_stands` says that the chain rule was best left alone.
    """

    lets: tuple[str, ...]
    solved: frozenset[tuple[str, str]]
    as_it_stands: bool = False

    def renamed(self, lets: tuple[str, ...], names: Mapping[str, str]) -> VariableChoice | None:
        """The same choice for lets of other names, place by place; other tensors by `names`."""
        if len(lets) != len(self.lets):
            return None
        table = {**names, **dict(zip(self.lets, lets, strict=True))}
        solved = frozenset((table[let], table[unknown]) for let, unknown in self.solved)
        return VariableChoice(lets, solved, self.as_it_stands)


@dataclass(frozen=True)
class Outcome:
    """One group's gradients in one choice of variables."""

    lets: tuple[Let, ...]
    cost: tuple[int, float]
    """How often something is got back that rounding may have lost; after that, the work."""
    coordinates: Coordinates
    forms: dict[Tensor, tuple[tuple[Rule, Expr], ...]]
    """By target: each stage's rule and the expression it led to."""
    as_it_stands: bool = False

    @property
    def choice(self) -> VariableChoice:
        """What was chosen, by name."""
        return VariableChoice(
            lets=tuple(let.name for let in self.coordinates.system.lets),
            solved=frozenset(s.key for s in self.coordinates.chosen),
            as_it_stands=self.as_it_stands,
        )

    def equations(self, rule: Rule, before: Expr) -> list[Equation]:
        """The equations that a stage used on an expression."""
        used = _EQUATIONS.get(rule)
        return list(used(self.coordinates, before)) if used else []

    def reasons(self, equations: Iterable[Equation]) -> list[Equation]:
        """The equations from which those on reductions follow, in the order of an argument."""
        return [reason for left, _ in equations for reason in self.coordinates.reasons(left)]


_EQUATIONS: Mapping[Rule, Callable[[Coordinates, Expr], Iterable[Equation]]] = {
    SYMMETRY: Coordinates.turned,
    CHANGE_OF_VARIABLES: Coordinates.eliminated,
    REDUCTION_IDENTITY: Coordinates.known_sums,
}
"""What a rule uses, where it uses equations."""


def multiplied_out(
    task: Task, coordinates: Coordinates, exprs: dict[Tensor, Expr]
) -> Outcome | None:
    """The gradients in these coordinates; None where they have too many terms, or divide by a
    coefficient that may be zero."""
    substituted = {t: coordinates.substitute(e) for t, e in exprs.items()}
    rewritten = {t: coordinates.rewrite(e) for t, e in exprs.items()}
    if any(len(terms_of(form)) > TERM_LIMIT for form in rewritten.values()):
        return None
    folded, named = shared_cotangents(task, coordinates, rewritten)
    shared = share_reductions(task, {**folded, **named})
    finished = {t: _finished(e) for t, e in shared.items()}
    stages = (*substituted.values(), *rewritten.values(), *finished.values())
    if not scalars_divided_by(stages) <= task.divided_by:
        return None
    lets = [
        Let(tensor if tensor in named else task.held(tensor), value)
        for tensor, value in finished.items()
    ]
    cost = cost_of(task, lets)
    forms = {
        t: (
            (SYMMETRY, normalise(task.symmetric.apply(exprs[t]))),
            (CHANGE_OF_VARIABLES, substituted[t]),
            (REDUCTION_IDENTITY, rewritten[t]),
            (SHARE, shared[t]),
            (FACTOR, finished[t]),
        )
        for t in exprs
    }
    return Outcome(tuple(lets), cost, coordinates, forms)


@lru_cache(maxsize=10_000)
def _finished(expr: Expr) -> Expr:
    """Common factors out; a fraction in lowest terms, where that is less work."""
    joined = differences_joined(expr)
    plain = quotients_met(factor(expr) if joined is None else keeping_sums_whole(joined, factor))
    below = (f.base for f in plain.atoms(Pow) if f.exp.is_negative)
    if not any(isinstance(base, Add) and not is_scalar(base) for base in below):
        return plain
    apart = Add(*(cancelled(factor(part)) for part in _by_cotangent(expr)))
    return min(plain, cancelled(plain), apart, key=lambda e: work([e]))


def _by_cotangent(expr: Expr) -> list[Expr]:
    """The parts of a sum that different cotangents arrive in."""
    parts: dict[frozenset[str], Expr] = {}
    for monomial, coefficient in terms_of(expr).items():
        arriving = cotangents_in(monomial)
        parts[arriving] = parts.get(arriving, S.Zero) + coefficient * monomial
    return list(parts.values())


def as_it_stands(
    task: Task, coordinates: Coordinates, exprs: dict[Tensor, Expr], whole: bool = False
) -> Outcome:
    """The chain rule with nothing multiplied out: the primal recognised, common factors out; and
    sums that come to zero left out, as those of differences from a mean do, unless it is taken
    `whole`: they say by how much a mean is rounded."""
    lets, forms = [], {}
    for tensor, expr in exprs.items():
        one_way = task.symmetric.apply(expr)
        recognised = coordinates.system.functions.apply(one_way)
        solved = quotients_met(coordinates.in_place(recognised))
        left = solved if whole else solved.replace(_zeros(coordinates), _zero)
        shrunk = _shrunk_inside(left)
        inside = shrunk if solved == recognised else _factored_inside(shrunk)
        finished = keeping_sums_whole(inside, factor)
        lets.append(Let(task.held(tensor), finished))
        forms[tensor] = (
            (FACTOR, expr),
            (SYMMETRY, one_way),
            (RECOGNISE, recognised),
            (CHANGE_OF_VARIABLES, solved),
            (REDUCTION_IDENTITY, left),
            (FACTOR, finished),
        )
    return Outcome(tuple(lets), cost_of(task, lets), coordinates, forms, as_it_stands=True)


def _zeros(coordinates: Coordinates) -> Callable[[Basic], bool]:
    """Whether an expression is a sum that is zero, as reduction identities say."""

    def vanishes(expr: Basic) -> bool:
        try:
            return isinstance(expr, Sum) and coordinates.rewrite(expr) == 0
        except NoFixpoint:
            return False

    return vanishes


def _zero(total: Expr) -> Expr:
    return S.Zero


def _shrunk_inside(expr: Any) -> Any:
    """An expression in which terms that cancel or join when they are multiplied out have done so;
    not where that would take a sum over letters apart."""
    if not isinstance(expr, Expr) or not expr.has(Add) or is_scalar(expr):
        return expr
    inside = with_args(expr, [_shrunk_inside(a) for a in expr.args])
    if not isinstance(inside, Add) or inside.has(Sum):
        return inside
    return factor(inside) if len(terms_of(inside)) < len(inside.args) else inside


def _factored_inside(expr: Any) -> Any:
    """An expression in which each sum of terms has its common factors before it."""
    if not isinstance(expr, Expr) or not expr.has(Add) or is_scalar(expr):
        return expr
    inside = expr.func(*map(_factored_inside, expr.args))
    return keeping_sums_whole(inside, factor) if isinstance(inside, Add) else inside


def cost_of(task: Task, lets: Iterable[Let]) -> tuple[int, float]:
    lets = list(lets)
    read = set().union(*(names_used(let.value) for let in lets))
    kept = (let for let in task.lets if let.name in read and let.name in task.proposed)
    lost = sum(task.magnitudes.losses(let.value) for let in lets)
    return lost, work(let.value for let in lets) + sum(map(keeping, kept))
