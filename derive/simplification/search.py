"""The search: which equations to solve for what, so that the least work is left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from sympy import Add, Expr, Pow

from derive.calculus.normal import terms_of
from derive.calculus.rules import (
    CHANGE_OF_VARIABLES,
    REDUCTION_IDENTITY,
)
from derive.language.definition import Let, Tensor
from derive.language.expressions import Element, is_scalar, names_used
from derive.language.facts import scalars_divided_by
from derive.simplification.change_of_variables import Coordinates, NoFixpoint, Solution, System
from derive.simplification.outcome import (
    Outcome,
    VariableChoice,
    as_it_stands,
    cost_of,
    multiplied_out,
)
from derive.simplification.task import Task

CLEARLY = 0.95
"""How much of the work, which is an estimate, a form may take that is to be cheaper."""

_MOST_ATTEMPTS = 60
_LEAST_ATTEMPTS = 10
_TERMS_WRITTEN = 300
"""How many choices are tried, and about how many terms may be written out in trying them."""


def best_outcome(
    task: Task,
    number: int,
    exprs: dict[Tensor, Expr],
    unmultiplied: dict[Tensor, Expr],
    unit: tuple[VariableChoice, Mapping[str, str]] | None = None,
) -> Outcome:
    """The cheapest choice of variables for one group's gradients, or the chain rule as it stands.

    `unmultiplied` holds the same gradients with no product multiplied out. Starts from no change
    and from every change that can be made at once, and toggles one or two equations at a time
    while that helps; the chain rule as it stands is tried with single equations, too. An outcome
    that is refused is passed over for the next one, the chain rule last of all. Where the group is
    a unit, `unit` holds what was chosen when the unit was derived on its own, and the names it has
    here: then nothing is searched.
    """
    lets = _closure(task, task.parts.members(number))
    system = System(lets, task.divisors, task.wholes, task.symmetric.mirrored, task.slopes)
    search = _Search(task, system, exprs)

    def standing_with(chosen: tuple[Solution, ...] = (), whole: bool = False) -> Outcome:
        return as_it_stands(task, Coordinates(search.system, chosen), unmultiplied, whole)

    known = unit[0].renamed(tuple(let.name for let in lets), unit[1]) if unit else None
    if known is not None:
        solved = tuple(s for s in search.solutions if s.key in known.solved)
        if known.as_it_stands:
            return standing_with(solved)
        outcome = search.attempt(solved)
        if outcome is not None and outcome.choice == known:
            return _cheapest_of_each(task, outcome, standing_with(outcome.coordinates.chosen))
    climbed = map(search.climb, ((), _as_many(search.solutions)))
    best = min(filter(None, climbed), key=lambda outcome: outcome.cost, default=None)
    plain = standing_with()
    if best is None:
        return plain
    outcomes = [best, plain]
    if best.coordinates.chosen:
        standing = standing_with(best.coordinates.chosen)
        outcomes.append(_cheapest_of_each(task, best, standing))
        scalars = scalars_divided_by(let.value for let in standing.lets)
        if plain.cost < best.cost and scalars <= task.divided_by:
            outcomes.append(standing)
    singles = (standing_with((solution,)) for solution in search.told_alone)
    outcomes += [single for single in singles if _divides_as(task, single, best)]
    cheapest = min(outcomes, key=lambda outcome: outcome.cost)
    if not task.refuses(cheapest.lets):
        return cheapest
    outcomes += filter(None, search.tried.values())
    standing, plain = standing_with(best.coordinates.chosen, whole=True), standing_with(whole=True)
    return _not_refused(task, [*outcomes, _mixed(task, best, standing)], standing, plain)


def _not_refused(
    task: Task, outcomes: Iterable[Outcome], standing: Outcome, plain: Outcome
) -> Outcome:
    """The cheapest outcome that is not refused, but for the chain rule in the best variables and
    as it is, which come last."""
    in_turn = sorted(outcomes, key=lambda outcome: (outcome is plain, outcome.cost))
    in_turn.insert(-1, standing)
    return next((o for o in in_turn if not task.refuses(o.lets)), plain)


def _mixed(task: Task, best: Outcome, standing: Outcome) -> Outcome:
    """The chain rule as it stands, but for the cotangents that cost less in the best outcome and
    are not refused."""
    for let in best.lets:
        other = _with_forms(task, standing, best, {let.name})
        if other.cost < standing.cost and not task.refuses(other.lets):
            standing = other
    return standing


def _cheapest_of_each(task: Task, multiplied: Outcome, standing: Outcome) -> Outcome:
    """Of two outcomes in the same variables, for each gradient the form that makes all of them
    clearly cheaper; the first where it knows a sum that the second does not, and for all of them
    where the second divides by what nothing else does."""
    told = _told(task, multiplied)
    if not _divides_as(task, standing, multiplied):
        return multiplied
    swapped = not told and _is_clearly_less(standing.cost, multiplied.cost)
    best, other = (standing, multiplied) if swapped else (multiplied, standing)
    for let in best.lets:
        mixed = _with_forms(task, best, other, {let.name} - told)
        if _is_clearly_less(mixed.cost, best.cost):
            best = mixed
    return best


def _told(task: Task, outcome: Outcome) -> set[str]:
    """The cotangents in which a sum is known."""
    known = CHANGE_OF_VARIABLES, REDUCTION_IDENTITY
    forms = {task.held(target).name: dict(stages) for target, stages in outcome.forms.items()}
    return {name for name, stages in forms.items() if len({stages[rule] for rule in known}) > 1}


def _with_forms(task: Task, outcome: Outcome, other: Outcome, names: set[str]) -> Outcome:
    """An outcome with the forms that the cotangents of these names have in another one; as it is,
    where these are not all cotangents of both."""
    theirs = {let.name: let for let in other.lets}
    if theirs.keys() != {let.name for let in outcome.lets}:
        return outcome
    lets = tuple(theirs[let.name] if let.name in names else let for let in outcome.lets)
    forms = {
        target: (other if task.held(target).name in names else outcome).forms[target]
        for target in outcome.forms
    }
    return replace(outcome, lets=lets, cost=cost_of(task, lets), forms=forms)


def _divides_as(task: Task, outcome: Outcome, other: Outcome) -> bool:
    """Whether an outcome divides by nothing but what another one, or a let, divides by too."""
    usual = _divided_by((*other.lets, *task.lets))
    scalars = scalars_divided_by(let.value for let in outcome.lets)
    return _divided_by(outcome.lets) <= usual and scalars <= task.divided_by


def _divided_by(lets: Iterable[Let]) -> set[Expr]:
    powers = {power for let in lets for power in let.value.atoms(Pow)}
    return {p.base for p in powers if p.exp.could_extract_minus_sign() and not is_scalar(p)}


def _is_clearly_less(cost: tuple[int, float], than: tuple[int, float]) -> bool:
    """Whether less is lost, or as much and there is clearly less work."""
    return cost < than and (cost[0] < than[0] or cost[1] < CLEARLY * than[1])


@dataclass
class _Search:
    """The choices of variables for one group's gradients, each tried once."""

    task: Task
    system: System
    exprs: dict[Tensor, Expr]
    tried: dict[frozenset[tuple[str, str]], Outcome | None] = field(default_factory=dict)

    @cached_property
    def solutions(self) -> tuple[Solution, ...]:
        """Every way to solve one of the lets for a real tensor that it reads."""
        definition = self.task.definition
        tensors = {t.name: t for t in definition.inputs} | {
            let.name: let.tensor for let in self.task.lets
        }
        elements = (e for let in self.system.lets for e in let.value.atoms(Element))
        solvable = {e.tensor_name: tensors.get(e.tensor_name) for e in elements}
        return self.system.solutions(
            {name: t for name, t in solvable.items() if t is not None and not t.integer}
        )

    @cached_property
    def told_alone(self) -> tuple[Solution, ...]:
        """The solutions in which nothing but a let tells of its unknown, and in no circle."""
        return tuple(
            solution
            for solution in self.solutions
            if len([t for t in Add.make_args(solution.value) if not is_scalar(t)]) == 1
            and not Coordinates(self.system, (solution,)).circular
        )

    @cached_property
    def limit(self) -> int:
        """How many choices are tried."""
        terms = sum(len(terms_of(expr)) for expr in self.exprs.values())
        return min(_MOST_ATTEMPTS, max(_LEAST_ATTEMPTS, _TERMS_WRITTEN // max(1, terms)))

    def attempt(self, chosen: Iterable[Solution]) -> Outcome | None:
        """The gradients in one choice; None where there is no such form of them, or enough others
        were tried."""
        chosen = tuple(sorted(chosen, key=lambda s: s.key))
        key = frozenset(s.key for s in chosen)
        if key not in self.tried:
            if _clash(chosen) or len(self.tried) >= self.limit:
                return None
            try:
                self.tried[key] = multiplied_out(
                    self.task, Coordinates(self.system, chosen), self.exprs
                )
            except NoFixpoint:
                self.tried[key] = None
        return self.tried[key]

    def climb(self, chosen: tuple[Solution, ...]) -> Outcome | None:
        """The outcome that no neighbour improves on, reached from a choice step by step."""
        outcome = self.attempt(chosen)
        while (better := self._cheaper_neighbour(chosen, outcome)) is not None:
            chosen, outcome = better
        return outcome

    def _cheaper_neighbour(
        self, chosen: tuple[Solution, ...], outcome: Outcome | None
    ) -> tuple[tuple[Solution, ...], Outcome] | None:
        """The first neighbour of a choice that costs less, and its outcome."""
        for neighbour in _neighbours(chosen, self.solutions):
            other = self.attempt(neighbour)
            if other is not None and (outcome is None or other.cost < outcome.cost):
                return neighbour, other
        return None


def _clash(chosen: tuple[Solution, ...]) -> bool:
    """Whether two solutions are of one let, or for one unknown."""
    lets, unknowns = {s.let for s in chosen}, {s.unknown for s in chosen}
    return min(len(lets), len(unknowns)) < len(chosen)


def _closure(task: Task, members: set[str]) -> tuple[Let, ...]:
    """A group's lets with the proposals and lets off the gradient's path that they use."""
    names, made = set(members), {let.name for let in task.lets}
    for let in reversed(task.lets):
        if let.name in names:
            read = names_used(let.value) & made
            names |= {n for n in read if n in task.proposed or n not in task.parts.group}
    names |= {
        let.name
        for let in task.lets
        if let.name in task.proposed
        and let.name not in task.parts.group
        and names_used(let.value) & names
    }
    return tuple(let for let in task.lets if let.name in names)


def _as_many(solutions: tuple[Solution, ...]) -> tuple[Solution, ...]:
    """Later lets first, one solution a let and one an unknown."""
    chosen: list[Solution] = []
    for solution in reversed(solutions):
        if all(solution.let != s.let and solution.unknown != s.unknown for s in chosen):
            chosen.append(solution)
    return tuple(sorted(chosen, key=lambda s: s.key))


def _neighbours(
    chosen: tuple[Solution, ...], solutions: tuple[Solution, ...]
) -> Iterable[tuple[Solution, ...]]:
    """Drop one, add one (in place of what it clashes with), or add two."""
    for solution in chosen:
        yield tuple(s for s in chosen if s != solution)
    additions = [s for s in solutions if s not in chosen]
    for solution in additions:
        yield _with(chosen, solution)
    for i, first in enumerate(additions):
        for second in additions[i + 1 :]:
            if first.let != second.let and first.unknown != second.unknown:
                yield _with(_with(chosen, first), second)


def _with(chosen: tuple[Solution, ...], added: Solution) -> tuple[Solution, ...]:
    kept = [s for s in chosen if s.let != added.let and s.unknown != added.unknown]
    return tuple(sorted([*kept, added], key=lambda s: s.key))
