"""Simplification: the cheapest backward pass in tensors that the forward pass computed.

For each group of lets (see `partition`): the chain rule is written out without naming
the cotangents inside the group, and the result is brought to normal form in every
promising choice of variables (see `change_of_variables`). The choice that leaves the least work is
kept, its common factors are taken out, and gradients that occur in other gradients are shared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

from sympy import Add, Expr, Mul, S, exp

from derive.calculus.contractions import has_contraction
from derive.calculus.differentiate import chain_rule, cotangent_of, differentiable
from derive.calculus.monomials import with_quotients
from derive.calculus.normal import normalise, terms_of
from derive.calculus.recognise import Named, abstract
from derive.calculus.rules import FACTOR, RECOGNISE, SYMMETRY
from derive.calculus.trace import Equation, Step
from derive.language.cotangents import primal_name
from derive.language.definition import Definition, Let, Tensor
from derive.language.expressions import Element, Where, names_in, names_used
from derive.language.facts import Magnitudes, is_smooth
from derive.language.substitute import substitute
from derive.simplification.atomise import atomise
from derive.simplification.exact_names import mixes_sizes
from derive.simplification.joints import (
    PAGE,
    accumulating,
    choice_repeated,
    nameable,
    repeated,
    written,
)
from derive.simplification.outcome import Outcome, VariableChoice
from derive.simplification.partition import partition
from derive.simplification.primal_parts import in_primal
from derive.simplification.search import CLEARLY, best_outcome
from derive.simplification.symmetry import joined
from derive.simplification.task import TERM_LIMIT, Judge, Task, TooLarge, indulgent
from derive.simplification.work import work


@dataclass(frozen=True)
class Simplified:
    """The forward lets with the proposals that are used, the backward lets, and the steps."""

    forward: tuple[Let, ...]
    backward: tuple[Let, ...]
    gradients: dict[str, Tensor]
    steps: tuple[Step, ...]
    choices: tuple[VariableChoice, ...]


_MUCH = 1.25
"""How many times the work of the chain rule is too much: one expression, if it is not, says more
than many."""

_HARDLY = 1.1
"""How many times the work of a form is hardly more."""

_FEW = 4
"""As many names are tried without one of them, too."""

_SHORTER = 0.75
"""How much of what is written a form may take that is to be the shorter."""


@lru_cache(maxsize=1024)
def simplify(definition: Definition, judge: Judge = indulgent) -> Simplified:
    """Simplify the backward pass of a definition; a form that the `judge` refuses is not taken
    where there is another.

    A definition that another one calls is simplified once, and what was chosen is reused there.
    A group keeps the names of its cotangents where it grows too large when written out, and of some
    or all of them where what is left repeats itself, or is much more work or much longer than the
    chain rule, a cotangent at a time; and of those that are chosen, where this is shorter.
    """
    chain = chain_rule(definition)[1].lets
    chunked = work(let.value for let in chain)
    room = max(PAGE, written(chain) / _SHORTER)
    best = attempt = _Attempt.of(definition, frozenset(), judge)
    while attempt.work > _MUCH * chunked or attempt.repeats or attempt.length > room:
        names = accumulating(attempt.task, definition)
        if not names and best.work > _MUCH * chunked:
            names = nameable(attempt.task, definition)
        if not names:
            break
        attempt = _Attempt.of(definition, attempt.extra | names, judge)
        if attempt.work < best.work or (best.work <= _MUCH * chunked and attempt.is_shorter(best)):
            best = attempt
    for names in _besides(best, definition, chain):
        attempt = _Attempt.of(definition, best.extra | names, judge)
        if attempt.is_better(best):
            return _with_fewer(attempt, names, definition, judge).simplified
    return best.simplified


def _with_fewer(
    best: _Attempt, names: frozenset[str], definition: Definition, judge: Judge
) -> _Attempt:
    """An attempt without those of some named cotangents without which it is better."""
    for name in sorted(names) if len(names) > 1 else ():
        attempt = _Attempt.of(definition, best.extra - {name}, judge)
        if attempt.is_better(best):
            best = attempt
    return best


def _besides(best: _Attempt, definition: Definition, chain: Iterable[Let]) -> list[frozenset[str]]:
    """Lets whose cotangents could be named besides: those that are chosen, and one of them alone
    where a choice is printed again; those that others accumulate in, and all of them but one. What
    is made of something without a derivative everywhere stays behind the choice of it."""
    rough: set[str] = set()
    for let in definition.lets:
        if not is_smooth(let.value) or names_used(let.value) & rough:
            rough.add(let.name)
    choosing = {primal_name(let.name) for let in chain if let.value.has(Where)}
    names = nameable(best.task, definition) & choosing - rough
    found = [names]
    if choice_repeated(best.simplified.backward):
        found += [frozenset([name]) for name in sorted(names)]
    summed = accumulating(best.task, definition) - (choosing & rough)
    found.append(summed)
    if 1 < len(summed) <= _FEW:
        found += [summed - {name} for name in sorted(summed)]
    return list(dict.fromkeys(some for some in found if some))


@dataclass(frozen=True)
class _Attempt:
    """A backward pass in which `extra` cotangents have names."""

    task: Task
    extra: frozenset[str]
    simplified: Simplified

    @staticmethod
    def of(definition: Definition, extra: frozenset[str], judge: Judge) -> _Attempt:
        lets, proposed, divisors = atomise(definition)
        extended = replace(definition, lets=lets)
        tensors = differentiable(extended)
        while True:
            parts = partition(definition, lets, tensors, extra)
            task = Task(extended, lets, proposed, divisors, tensors, parts, judge)
            try:
                return _Attempt(task, extra, _assemble(task))
            except TooLarge as large:
                members = parts.members(large.group)
                extra |= members - extra - proposed or members

    @cached_property
    def work(self) -> float:
        return work(let.value for let in self.simplified.backward)

    @cached_property
    def lost(self) -> tuple[int, int]:
        """How often something is got back that rounding may have lost, in the named cotangents,
        where nothing can cancel it any more, and in all."""
        forward = Magnitudes.of(self.simplified.forward)
        tensors = self.task.definition.tensors
        names = {self.task.held(tensors[name]).name for name in self.extra}
        losses = {let.name: forward.losses(let.value) for let in self.simplified.backward}
        named = sum(lost for name, lost in losses.items() if name in names)
        return named, sum(losses.values())

    @property
    def repeats(self) -> bool:
        return repeated(self.simplified.backward) > PAGE

    @cached_property
    def length(self) -> int:
        return written(self.simplified.backward)

    def is_better(self, other: _Attempt) -> bool:
        """Whether it is shorter and no more work, or clearly shorter and hardly more, proposes
        nothing besides and loses no more."""
        if len(self.simplified.forward) > len(other.simplified.forward) or self.lost > other.lost:
            return False
        hardly = self.work <= _HARDLY * other.work and self.length <= _SHORTER * other.length
        return hardly or (self.work <= other.work and self.length < other.length)

    def is_shorter(self, other: _Attempt) -> bool:
        """Whether it is clearly less to read, and no more work to speak of."""
        return self.length < _SHORTER * other.length and CLEARLY * self.work <= other.work


@dataclass(frozen=True)
class Group:
    """What one group sends to each target by the chain rule, and the form chosen for all of it."""

    sent: dict[Tensor, Expr]
    outcome: Outcome


def _assemble(task: Task) -> Simplified:
    targets = task.targets()
    groups = _groups(task, targets)
    backward = _without_single_shifts(task, topological_order(_backward(task, targets, groups)))
    forward, spell = _forward(task, set().union(*(names_in(let.value) for let in backward)))
    steps = _steps(task, targets, groups, backward, spell)
    one_way = joined(backward, task.symmetric.mirrored)
    passes = in_primal(task.definition, forward, one_way)
    stages = ((SYMMETRY, backward, one_way), (RECOGNISE, one_way, passes.backward))
    later = tuple(
        Step(rule, let.tensor, let.value, after.value)
        for rule, lets, following in stages
        for let, after in zip(lets, following, strict=True)
        if let != after
    )
    outputs = (task.definition.tensors[name] for name in task.definition.outputs)
    return Simplified(
        forward=passes.forward,
        backward=tuple(_as_asked(passes.backward, task)),
        gradients={
            **{tensor.name: cotangent_of(tensor) for tensor in outputs},
            **{target.name: task.held(target) for target in targets},
        },
        steps=(*steps, *later),
        choices=tuple(group.outcome.choice for group in groups),
    )


def _groups(task: Task, targets: list[Tensor]) -> list[Group]:
    """Every group that sends something to a target, in order.

    Raises:
        TooLarge: a target of a group has too many terms, and names for the group's cotangents would
            take them apart.
    """
    sent, unmultiplied = _sent(task, targets), _sent(replace(task, multiply=False), targets)
    groups = []
    for number in sorted(sent):
        exprs = {target: normalise(expr) for target, expr in sent[number].items()}
        large = any(len(terms_of(expr)) > TERM_LIMIT for expr in exprs.values())
        if large and task.parts.members(number) - task.parts.joints:
            raise TooLarge(number)
        outcome = best_outcome(task, number, exprs, unmultiplied[number], _unit(task, number))
        groups.append(Group(exprs, outcome))
    return groups


def _sent(task: Task, targets: list[Tensor]) -> dict[int, dict[Tensor, Expr]]:
    """By the number of a group: what its lets send to each target, contractions aside."""
    sent: dict[int, dict[Tensor, Expr]] = {}
    for target in targets:
        for let in task.users.get(target.name, ()):
            if not has_contraction(let.value):
                group = sent.setdefault(task.parts.group[let.name], {})
                group[target] = group.get(target, S.Zero) + task.sent(let, target)
    return sent


def _backward(task: Task, targets: list[Tensor], groups: list[Group]) -> list[Let]:
    """A let for the cotangent of each target, after those that groups name besides."""
    values = [{let.name: let for let in group.outcome.lets} for group in groups]
    lets = []
    for target in targets:
        held = task.held(target)
        arriving = [named.pop(held.name).value for named in values if held.name in named]
        if target.name in task.definition.outputs:
            arriving.append(cotangent_of(target).element)
        users = task.users.get(target.name, ())
        arriving += [task.sent(let, target) for let in users if has_contraction(let.value)]
        lets.append(Let(held, Add(*arriving)))
    return [*(let for named in values for let in named.values()), *lets]


def _unit(task: Task, number: int) -> tuple[VariableChoice, dict[str, str]] | None:
    """What was chosen for the definition that a group is a call of, and the names it has here."""
    members = task.parts.members(number)
    for call in task.definition.calls:
        if members & set(call.lets):
            choices = simplify(call.callee, task.judge).choices
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


def _as_asked(lets: Iterable[Let], task: Task) -> list[Let]:
    """The lets with the gradients of inputs last, in the order of the inputs, as far as they do not
    read each other."""
    places = {
        task.held(tensor).name: place for place, tensor in enumerate(task.definition.inputs, 1)
    }
    return topological_order(sorted(lets, key=lambda let: places.get(let.name, 0)))


def topological_order(lets: list[Let]) -> list[Let]:
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
    return tuple(topological_order(_through_own_lets(lets, task.proposed))), spell


def _through_own_lets(lets: list[Let], proposed: frozenset[str]) -> list[Let]:
    """A weight that is the exponential of a let of the definition is written so, a proposal or the
    definition's own: `p = exp(logprobs)`."""
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
        weight = let.name in proposed or let.value.has(exp)
        if weight and pattern in named and let.name != named[pattern].tensor.name:
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
    task: Task, targets: list[Tensor], groups: list[Group], backward: list[Let], spell: Speller
) -> tuple[Step, ...]:
    """The trace: for each target that one group reaches, from the chain rule to the form kept.

    A step that is the first to name what no let of the definition is says what it means.
    """
    proposed = {let.name: let for let in task.lets if let.name in task.proposed}
    final = {let.name: let.value for let in backward}
    steps = []
    for target in reversed(targets):
        reaching = [group for group in groups if target in group.sent]
        if len(reaching) != 1:
            continue
        (group,) = reaching
        held, current, forms = task.held(target), group.sent[target], group.outcome.forms[target]
        if forms[0][0] is FACTOR:  # the chain rule as it stands, which nobody multiplied out
            (_, current), *forms = forms
        elsewhere = final[held.name] - forms[-1][1]
        for rule, following in forms:
            before, after = spell(current + elsewhere), spell(following + elsewhere)
            if before != after:
                using = group.outcome.equations(rule, current)
                reasons = _spelt(group.outcome.reasons(using), spell)
                first = sorted(proposed.keys() & names_used(after) - names_used(before))
                named = [(proposed[n].tensor.element, spell(proposed[n].value)) for n in first]
                using = (*named, *_spelt(using, spell))
                steps.append(Step(rule, held, before, after, using, reasons))
                if [(step.rule, step.tensor) for step in steps[-2:]] == [(FACTOR, held)] * 2:
                    steps[-2:] = [replace(steps[-2], after=after)]
            current = following
    return tuple(steps)


def _spelt(equations: Iterable[Equation], spell: Speller) -> tuple[Equation, ...]:
    """Equations in the tensors that the forward pass has, without those that then say nothing."""
    spelt = ((spell(left), spell(right)) for left, right in equations)
    return tuple(pair for pair in spelt if pair[0] != pair[1])
