"""The search: which equations to solve for what, so that the least work is left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sympy import Add, Expr, Pow, S, default_sort_key

from derive.calculus.deltas import keeping_sums_whole
from derive.calculus.normal import terms_of
from derive.language.definition import Let, Tensor
from derive.language.expressions import Element, Sum, is_scalar, names_used
from derive.simplification.change_of_variables import Coordinates, NoFixpoint, Solution, System
from derive.simplification.factor import cancelled, differences_joined, factor
from derive.simplification.share import share_reductions, shared_cotangents
from derive.simplification.task import TERM_LIMIT, Task, TooLarge
from derive.simplification.work import keeping, work

_MOST_ATTEMPTS = 60
_LEAST_ATTEMPTS = 10
_TERMS_WRITTEN = 300
"""How many choices are tried, and about how many terms may be written out in trying them."""


@dataclass(frozen=True)
class Choice:
    """A group's lets by name, and which let is solved for which tensor.

    `as_it_stands` says that the chain rule was best left alone.
    """

    lets: tuple[str, ...]
    solved: frozenset[tuple[str, str]]
    as_it_stands: bool = False

    def renamed(self, lets: tuple[str, ...], names: Mapping[str, str]) -> Choice | None:
        """The same choice for lets of other names, place by place; other tensors by `names`."""
        if len(lets) != len(self.lets):
            return None
        table = {**names, **dict(zip(self.lets, lets, strict=True))}
        solved = frozenset((table[let], table[kernel]) for let, kernel in self.solved)
        return Choice(lets, solved, self.as_it_stands)


@dataclass(frozen=True)
class Outcome:
    """One group's gradients in one choice of variables."""

    lets: tuple[Let, ...]
    cost: tuple[int, float]
    """How often something is got back that rounding may have lost; after that, the work."""
    coordinates: Coordinates
    forms: dict[str, tuple[tuple[str, Expr], ...]]
    """By target: each stage's rule and the expression it led to."""
    as_it_stands: bool = False

    @property
    def choice(self) -> Choice:
        """What was chosen, by name."""
        return Choice(
            lets=tuple(let.name for let in self.coordinates.system.lets),
            solved=frozenset(s.key for s in self.coordinates.chosen),
            as_it_stands=self.as_it_stands,
        )

    def equations(self, rule: str, before: Expr) -> list[tuple[Expr, Expr]]:
        """The equations that a stage used on an expression."""
        return list(self._equations(rule, before))

    def _equations(self, rule: str, before: Expr) -> Iterator[tuple[Expr, Expr]]:
        if rule == "change of variables":
            for name in sorted(names_used(before) & set(self.coordinates.replacements)):
                element = self.coordinates.replacements[name].tensor.element
                yield element, self.coordinates.substitute(element)
        if rule == "reduction identity":
            for total in sorted(before.atoms(Sum), key=default_sort_key):
                value = self.coordinates.identities.lookup(total)
                if value is not None:
                    yield total, self.coordinates.rewrite(value)

    def reasons(self, equations: Iterable[tuple[Expr, Expr]]) -> Iterable[tuple[Expr, Expr]]:
        """The equations from which those on reductions follow, in the order of an argument."""
        for left, _ in equations:
            yield from self.coordinates.reasons(left)


def best_outcome(
    task: Task,
    number: int,
    exprs: dict[Tensor, Expr],
    whole: dict[str, Expr],
    unit: tuple[Choice, Mapping[str, str]] | None = None,
) -> Outcome:
    """The cheapest choice of variables for one group's gradients, or the chain rule as it stands.

    `whole` holds the same gradients with no product multiplied out. Starts from no change and
    from every change that can be made at once, and toggles one or two equations at a time
    while that helps. Where the group is a unit, `unit` holds what was chosen when the unit was
    derived on its own, and the names it has here: then nothing is searched.
    """
    members = task.parts.members(number)
    lets = _closure(task, members)
    system = System(lets, task.divisors, task.definition.inputs)
    solvable = {e.tensor_name: None for let in lets for e in let.value.atoms(Element)}
    tensors = {t.name: t for t in (*task.definition.inputs, *(let.tensor for let in task.lets))}
    solutions = system.solutions(
        {name: tensors[name] for name in solvable if name in tensors and not tensors[name].integer}
    )
    tried: dict[frozenset[tuple[str, str]], Outcome | None] = {}
    terms = sum(len(terms_of(expr)) for expr in exprs.values())
    limit = min(_MOST_ATTEMPTS, max(_LEAST_ATTEMPTS, _TERMS_WRITTEN // max(1, terms)))

    def attempt(chosen: Iterable[Solution]) -> Outcome | None:
        chosen = tuple(sorted(chosen, key=lambda s: s.key))
        key = frozenset(s.key for s in chosen)
        clash = len({s.let for s in chosen}) < len(chosen) or len({s.kernel for s in chosen}) < len(
            chosen
        )
        if key not in tried:
            if clash or len(tried) >= limit:
                return None
            try:
                tried[key] = _outcome(task, Coordinates(system, chosen), exprs)
            except (NoFixpoint, TooLarge):
                tried[key] = None
        return tried[key]

    if unit is not None:
        known = unit[0].renamed(tuple(let.name for let in lets), unit[1])
        if known is not None and known.as_it_stands:
            return _as_it_stands(task, Coordinates(system, ()), exprs, whole)
        outcome = attempt(s for s in solutions if known and s.key in known.solved)
        if outcome is not None and outcome.choice == known:
            return outcome
    starts: list[tuple[Solution, ...]] = [(), _as_many(solutions)]
    best: tuple[tuple[int, float], tuple[Solution, ...]] | None = None
    results: dict[tuple[Solution, ...], Outcome] = {}
    for chosen in starts:
        outcome = attempt(chosen)
        improved = True
        while improved:
            improved = False
            for neighbour in _neighbours(chosen, solutions):
                other = attempt(neighbour)
                if other is not None and (outcome is None or other.cost < outcome.cost):
                    chosen, outcome, improved = neighbour, other, True
                    break
        if outcome is not None and (best is None or outcome.cost < best[0]):
            best = outcome.cost, chosen
            results[chosen] = outcome
    plain = _as_it_stands(task, Coordinates(system, ()), exprs, whole)
    if best is None:
        return plain
    outcomes = [results[best[1]], plain]
    if best[1] and plain.cost < best[0]:
        outcomes.append(_as_it_stands(task, Coordinates(system, best[1]), exprs, whole))
    return min(outcomes, key=lambda outcome: outcome.cost)


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
    """Later lets first, one solution a let and one a kernel."""
    chosen: list[Solution] = []
    for solution in reversed(solutions):
        if all(solution.let != s.let and solution.kernel != s.kernel for s in chosen):
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
            if first.let != second.let and first.kernel != second.kernel:
                yield _with(_with(chosen, first), second)


def _with(chosen: tuple[Solution, ...], added: Solution) -> tuple[Solution, ...]:
    kept = [s for s in chosen if s.let != added.let and s.kernel != added.kernel]
    return tuple(sorted([*kept, added], key=lambda s: s.key))


# --- one choice of variables ---


def _outcome(task: Task, coordinates: Coordinates, exprs: dict[Tensor, Expr]) -> Outcome:
    substituted = {t: coordinates.substitute(e) for t, e in exprs.items()}
    rewritten = {t: coordinates.rewrite(e) for t, e in exprs.items()}
    for form in rewritten.values():
        if len(terms_of(form)) > TERM_LIMIT:
            raise TooLarge(0)
    named = shared_cotangents(task, coordinates, rewritten)
    shared = share_reductions(task, {**rewritten, **named})
    finished = {t: finish(e) for t, e in shared.items()}
    lets = [
        Let(tensor if tensor in named else task.held(tensor), value)
        for tensor, value in finished.items()
    ]
    cost = _cost(task, lets)
    forms = {
        t.name: (
            ("change of variables", substituted[t]),
            ("reduction identity", rewritten[t]),
            ("share", shared[t]),
            ("factor", finished[t]),
        )
        for t in exprs
    }
    return Outcome(tuple(lets), cost, coordinates, forms)


def finish(expr: Expr) -> Expr:
    """Common factors out; a fraction in lowest terms, where that is less work."""
    joined = differences_joined(expr)
    plain = factor(expr) if joined is None else keeping_sums_whole(joined, factor)
    below = (f.base for f in plain.atoms(Pow) if f.exp.is_negative)
    if not any(isinstance(base, Add) and not is_scalar(base) for base in below):
        return plain
    apart = Add(*(cancelled(factor(part)) for part in _by_cotangent(expr)))
    return min(plain, cancelled(plain), apart, key=lambda e: work([e]))


def _by_cotangent(expr: Expr) -> list[Expr]:
    """The parts of a sum that different cotangents arrive in."""
    parts: dict[frozenset[str], Expr] = {}
    for monomial, coefficient in terms_of(expr).items():
        arriving = frozenset(n for n in names_used(monomial) if n.startswith("grad_"))
        parts[arriving] = parts.get(arriving, S.Zero) + coefficient * monomial
    return list(parts.values())


def _as_it_stands(
    task: Task, coordinates: Coordinates, exprs: dict[Tensor, Expr], whole: dict[str, Expr]
) -> Outcome:
    """The chain rule with nothing multiplied out: the primal recognised, common factors out."""
    lets, forms = [], {}
    for tensor in exprs:
        recognised = coordinates.system.functions.apply(whole[tensor.name])
        solved = coordinates.in_place(recognised)
        inside = solved if solved == recognised else _factored_inside(solved)
        finished = keeping_sums_whole(inside, factor)
        lets.append(Let(task.held(tensor), finished))
        forms[tensor.name] = (
            ("recognise", recognised),
            ("change of variables", solved),
            ("factor", finished),
        )
    return Outcome(tuple(lets), _cost(task, lets), coordinates, forms, as_it_stands=True)


def _factored_inside(expr: Any) -> Any:
    """An expression in which each sum of terms has its common factors before it."""
    if not isinstance(expr, Expr) or not expr.has(Add) or is_scalar(expr):
        return expr
    inside = expr.func(*map(_factored_inside, expr.args))
    return keeping_sums_whole(inside, factor) if isinstance(inside, Add) else inside


def _cost(task: Task, lets: Iterable[Let]) -> tuple[int, float]:
    lets = list(lets)
    read = set().union(*(names_used(let.value) for let in lets))
    kept = (let for let in task.lets if let.name in read and let.name in task.proposed)
    lost = sum(task.magnitudes.losses(let.value) for let in lets)
    return lost, work(let.value for let in lets) + sum(map(keeping, kept))
