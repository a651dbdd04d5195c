"""Simplification: the cheapest backward pass in tensors that the forward pass computed.

For each group of lets (see `partition`): the chain rule is written out without naming
the cotangents inside the group, and the result is brought to normal form in every
promising choice of variables (see `change`). The choice that leaves the least work is
kept, its common factors are taken out, and gradients that occur in other gradients are shared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from sympy import Add, Expr, Mul, S, exp

from derive.calculus.contractions import has_contraction
from derive.calculus.differentiate import cotangent_of, differentiable
from derive.calculus.normal import normalise, terms_of, with_quotients
from derive.calculus.recognise import Named, abstract
from derive.calculus.trace import Step
from derive.language.definition import Definition, Let, Tensor
from derive.language.expressions import Element, names_in, names_used
from derive.language.substitute import substitute
from derive.simplification.atomise import atomise
from derive.simplification.naming import mixes_sizes
from derive.simplification.partition import partition
from derive.simplification.primal_parts import in_primal
from derive.simplification.search import Choice, Outcome, best_outcome
from derive.simplification.task import Task, TooLarge


@dataclass(frozen=True)
class Simplified:
    """The forward lets with the proposals that are used, the backward lets, and the steps."""

    forward: tuple[Let, ...]
    backward: tuple[Let, ...]
    gradients: dict[str, Tensor]
    steps: tuple[Step, ...]
    choices: tuple[Choice, ...]


@lru_cache(maxsize=256)
def simplify(definition: Definition) -> Simplified:
    """Simplify the backward pass of a definition.

    A definition that another one calls is simplified once, and what was chosen is reused there.
    A group that grows too large when written out keeps the names of all its cotangents.
    """
    lets, proposed, divisors = atomise(definition)
    extended = replace(definition, lets=lets)
    tensors = differentiable(extended)
    extra: frozenset[str] = frozenset()
    while True:
        parts = partition(definition, lets, tensors, extra)
        task = Task(extended, lets, proposed, divisors, tensors, parts)
        try:
            return _assemble(task)
        except TooLarge as large:
            extra |= parts.members(large.group)


def _assemble(task: Task) -> Simplified:
    targets = task.targets()
    shares: dict[str, list[Expr]] = {t.name: [] for t in targets}
    raw: dict[int, dict[str, Expr]] = {}
    whole: dict[int, dict[str, Expr]] = {}
    unmultiplied = replace(task, multiply=False, users={}, memo={})
    for target in targets:
        if target.name in task.definition.outputs:
            shares[target.name].append(cotangent_of(target).element)
        for let in task.users.get(target.name, ()):
            number = task.parts.group[let.name]
            if has_contraction(let.value):
                shares[target.name].append(task.sent(let, target))
            else:
                group = raw.setdefault(number, {})
                sent = group.get(target.name, S.Zero) + task.sent(let, target)
                group[target.name] = normalise(sent)
                plain = whole.setdefault(number, {})
                sent = unmultiplied.sent(let, target)
                plain[target.name] = plain.get(target.name, S.Zero) + sent
    by_name = {t.name: t for t in targets}
    extras: list[Let] = []
    outcomes: dict[str, list[Outcome]] = {}
    choices: list[Choice] = []
    for number, exprs in sorted(raw.items()):
        outcome = best_outcome(
            task,
            number,
            {by_name[n]: e for n, e in exprs.items()},
            whole[number],
            _unit(task, number),
        )
        choices.append(outcome.choice)
        values = {let.name: let for let in outcome.lets}
        for name in exprs:
            own = values.pop(task.held(by_name[name]).name)
            shares[name].append(own.value)
            outcomes.setdefault(name, []).append(outcome)
        extras.extend(values.values())
    backward = [Let(task.held(t), Add(*shares[t.name])) for t in targets]
    ordered = in_order([*extras, *backward])
    ordered = _without_single_shifts(task, ordered)
    used = set().union(*(names_in(let.value) for let in ordered)) if ordered else set()
    forward, spell = _forward(task, used)
    steps = _steps(task, targets, raw, outcomes, ordered, spell)
    gradients = {t.name: task.held(t) for t in targets}
    for name in task.definition.outputs:
        tensor = task.definition.tensors[name]
        gradients.setdefault(name, cotangent_of(tensor))
    passes = in_primal(task.definition, forward, ordered)
    recognised = tuple(
        Step("recognise", before.tensor, before.value, after.value)
        for before, after in zip(ordered, passes.backward, strict=True)
        if before != after
    )
    return Simplified(
        passes.forward, passes.backward, gradients, (*steps, *recognised), tuple(choices)
    )


def _unit(task: Task, number: int) -> tuple[Choice, dict[str, str]] | None:
    """What was chosen for the definition that a group is a call of, and the names it has here."""
    members = task.parts.members(number)
    for call in task.definition.calls:
        if members & set(call.lets):
            choices = simplify(call.callee).choices
            names = {theirs: ours.name for theirs, ours in call.tensors}
            return (choices[0], names) if len(choices) == 1 else None
    return None


def _without_single_shifts(task: Task, lets: list[Let]) -> list[Let]:
    """A proposed `x - m` that the backward pass reads once is written out, not kept."""
    elements = [e for let in lets for e in let.value.atoms(Element)]
    reads = Counter(e.tensor_name for e in elements)
    shifts = [
        let
        for let in task.lets
        if let.name in task.proposed and mixes_sizes(let.value) and reads[let.name] == 1
    ]
    return [Let(let.tensor, substitute(let.value, shifts)) for let in lets]


def in_order(lets: list[Let]) -> list[Let]:
    """The lets, each after those it reads, otherwise in the order given."""
    waiting, done, result = list(lets), set[str](), []
    names = {let.name for let in lets}
    while waiting:
        ready = next(let for let in waiting if not (names_in(let.value) & names) - done)
        waiting.remove(ready)
        done.add(ready.name)
        result.append(ready)
    return result


@dataclass(frozen=True)
class Speller:
    """Spells out the proposals that are not used."""

    unused: Mapping[str, Let]

    def __call__(self, expr: Expr) -> Expr:
        while names_used(expr) & self.unused.keys():
            expr = with_quotients(substitute(expr, self.unused.values()))
        return expr


def _forward(task: Task, used: set[str]) -> tuple[tuple[Let, ...], Speller]:
    """The forward lets: the definition's own, and the proposals in use."""
    unused = {let.name: let for let in task.lets if let.name in task.proposed - used}
    spell = Speller(unused)
    lets = [Let(let.tensor, spell(let.value)) for let in task.lets if let.name not in unused]
    return tuple(in_order(_through_own_lets(lets, task.proposed))), spell


def _through_own_lets(lets: list[Let], proposed: frozenset[str]) -> list[Let]:
    """A proposal that is the exponential of a let is written so: `p = exp(logprobs)`."""
    values = {let.name: let for let in lets if let.name not in proposed}
    named: dict[Expr, Named] = {}
    for let in values.values():
        if let.tensor.indices and not let.tensor.integer:
            powered = _expanded_exp(let.value)
            if powered is not None:
                pattern, letters = abstract(powered)
                if set(letters) == set(let.tensor.indices):
                    named.setdefault(pattern, Named(let.tensor, letters))
    result = []
    for let in lets:
        pattern, letters = abstract(normalise(let.value))
        if let.name in proposed and pattern in named:
            let = Let(let.tensor, exp(named[pattern].at(letters)))
        result.append(let)
    return result


def _expanded_exp(value: Expr) -> Expr | None:
    """`exp(a + b)` as `exp(a) exp(b)`, where that removes a logarithm."""
    terms = terms_of(value)
    if len(terms) < 2:
        return None
    powered = Mul(*(exp(c * m) for m, c in terms.items()))
    return normalise(powered)


def _steps(
    task: Task,
    targets: list[Tensor],
    raw: dict[int, dict[str, Expr]],
    outcomes: dict[str, list[Outcome]],
    ordered: list[Let],
    spell: Speller,
) -> tuple[Step, ...]:
    """The trace: for each target that one group reaches, from the chain rule to the form kept."""
    final = {let.name: let.value for let in ordered}
    steps = []
    for target in reversed(targets):
        found = outcomes.get(target.name, [])
        if len(found) != 1:
            continue
        (outcome,) = found
        held = task.held(target)
        (current,) = [group[target.name] for group in raw.values() if target.name in group]
        elsewhere = final[held.name] - outcome.forms[target.name][-1][1]
        for rule, following in outcome.forms[target.name]:
            before, after = spell(current + elsewhere), spell(following + elsewhere)
            if before != after:
                using = outcome.equations(rule, current)
                reasons = outcome.reasons(using) if rule == "reduction identity" else ()
                steps.append(
                    Step(rule, held, before, after, _spelt(using, spell), _spelt(reasons, spell))
                )
            current = following
    return tuple(steps)


def _spelt(equations: Iterable[tuple[Expr, Expr]], spell: Speller) -> tuple[tuple[Expr, Expr], ...]:
    """Equations in the tensors that the forward pass has; those that then say nothing are left."""
    spelt = ((spell(left), spell(right)) for left, right in equations)
    return tuple(pair for pair in spelt if pair[0] != pair[1])
