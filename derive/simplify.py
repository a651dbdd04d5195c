"""Simplification: the cheapest backward pass in tensors that the forward pass computed.

For each group of lets (see `partition`): the chain rule is written out without naming
the cotangents inside the group, and the result is brought to normal form in every
promising choice of variables (see `change`). The choice that leaves the least work is
kept, its common factors are taken out, and gradients that occur in other gradients are shared.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from sympy import Add, Expr, Indexed, Mul, Pow, S, exp

from derive.atomise import atomise
from derive.change import Coordinates, NoFixpoint, Solution, System
from derive.contractions import has_contraction
from derive.contract import contract, keeping_sums_whole
from derive.differentiate import contribution, cotangent_of, differentiable
from derive.expressions import Sum, names_in
from derive.factor import cancelled, factor, join_sums
from derive.language import Definition, Let, Tensor
from derive.normal import factors_of, normalise, terms_of
from derive.partition import Partition, partition
from derive.recognise import Rewriter, abstract
from derive.substitute import substitute, tensors_read
from derive.trace import Step
from derive.work import keeping, work

_TERM_LIMIT = 150
_EVALUATION_LIMIT = 60


class TooLarge(Exception):
    """A group whose gradient has too many terms when written out."""

    def __init__(self, group: int) -> None:
        self.group = group


@dataclass(frozen=True)
class Simplified:
    """The forward lets with the proposals that are used, the backward lets, and the steps."""

    forward: tuple[Let, ...]
    backward: tuple[Let, ...]
    gradients: dict[str, Tensor]
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Outcome:
    """One group's gradients in one choice of variables."""

    lets: tuple[Let, ...]
    cost: float
    coordinates: Coordinates
    forms: dict[str, tuple[tuple[str, Expr], ...]]
    """By target: each stage's rule and the expression it led to."""


@dataclass
class Task:
    """One definition on its way through the simplification."""

    definition: Definition
    lets: tuple[Let, ...]
    proposed: frozenset[str]
    divisors: frozenset[str]
    tensors: list[Tensor]
    parts: Partition
    users: dict[str, list[Let]] = field(default_factory=dict)
    multiply: bool = True
    memo: dict[str, Expr] = field(default_factory=dict)

    def __post_init__(self) -> None:
        on_path = {t.name for t in self.tensors}
        for let in self.lets:
            if let.name in on_path:
                for name in names_in(let.value) & on_path:
                    self.users.setdefault(name, []).append(let)

    def arriving(self, tensor: Tensor) -> Expr:
        """The cotangent of a let, as its group sees it: a name, or everything written out."""
        if tensor.name in self.definition.outputs and tensor.name not in self.users:
            return cotangent_of(tensor).element
        if tensor.name in self.parts.joints:
            return self.held(tensor).element
        if tensor.name not in self.memo:
            value = S.Zero
            if tensor.name in self.definition.outputs:
                value = cotangent_of(tensor).element
            for let in self.users.get(tensor.name, ()):
                value += self.sent(let, tensor)
            value = normalise(value) if self.multiply else contract(value)
            if len(Add.make_args(value)) > _TERM_LIMIT:
                raise TooLarge(self.parts.group[tensor.name])
            self.memo[tensor.name] = value
        return self.memo[tensor.name]

    def sent(self, let: Let, to: Tensor) -> Expr:
        raw = contribution(let, to, self.arriving(let.tensor))
        whole = has_contraction(let.value) or not self.multiply
        return contract(raw) if whole else normalise(raw)

    def held(self, tensor: Tensor) -> Tensor:
        """The tensor that holds a named cotangent."""
        cotangent = cotangent_of(tensor)
        if tensor.name in self.definition.outputs and tensor.name in self.users:
            return Tensor(f"{cotangent.name}_total", tensor.dims)
        return cotangent

    def targets(self) -> list[Tensor]:
        """The tensors whose cotangent the backward pass computes, last made first."""
        return [
            t
            for t in reversed(self.tensors)
            if (t.name in self.parts.joints or t.name in self.definition.wrt)
            and (t.name in self.users or t.name not in self.definition.outputs)
        ]


def simplify(definition: Definition) -> Simplified:
    """Simplify the backward pass of a definition.

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
    whole: dict[str, Expr] = {}
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
                group[target.name] = normalise(group.get(target.name, S.Zero) + task.sent(let, target))
                whole[target.name] = whole.get(target.name, S.Zero) + unmultiplied.sent(let, target)
    by_name = {t.name: t for t in targets}
    extras: list[Let] = []
    stages: dict[str, list[tuple[tuple[str, Expr], ...]]] = {}
    for number, exprs in sorted(raw.items()):
        outcome = best_outcome(
            task, number, {by_name[n]: e for n, e in exprs.items()}, {n: whole[n] for n in exprs}
        )
        values = {let.name: let for let in outcome.lets}
        for name in exprs:
            own = values.pop(task.held(by_name[name]).name)
            shares[name].append(own.value)
            stages.setdefault(name, []).append(outcome.forms[name])
        extras.extend(values.values())
    backward = [Let(task.held(t), Add(*shares[t.name])) for t in targets]
    ordered = in_order([*extras, *backward])
    used = set().union(*(names_in(let.value) for let in ordered)) if ordered else set()
    forward, spell = _forward(task, used)
    steps = _steps(task, targets, raw, stages, ordered, spell)
    gradients = {t.name: task.held(t) for t in targets}
    for name in task.definition.outputs:
        tensor = task.definition.tensors[name]
        gradients.setdefault(name, cotangent_of(tensor))
    return Simplified(forward, tuple(ordered), gradients, steps)


# --- the search ---


def best_outcome(
    task: Task, number: int, exprs: dict[Tensor, Expr], whole: dict[str, Expr]
) -> Outcome:
    """The cheapest choice of variables for one group's gradients, or the chain rule as it stands.

    `whole` holds the same gradients with no product multiplied out. Starts from no change and from every change that can be made at once, and toggles one
    or two equations at a time while that helps.
    """
    members = task.parts.members(number)
    lets = _closure(task, members)
    system = System(lets, task.divisors, task.definition.inputs)
    solvable = {
        e.base.label.name: None for let in lets for e in let.value.atoms(Indexed)
    }
    tensors = {t.name: t for t in (*task.definition.inputs, *(let.tensor for let in task.lets))}
    solutions = system.solutions(
        {name: tensors[name] for name in solvable if name in tensors and not tensors[name].integer}
    )
    tried: dict[frozenset[tuple[str, str]], Outcome | None] = {}

    def attempt(chosen: Iterable[Solution]) -> Outcome | None:
        chosen = tuple(sorted(chosen, key=lambda s: s.key))
        key = frozenset(s.key for s in chosen)
        clash = len({s.let for s in chosen}) < len(chosen) or len({s.kernel for s in chosen}) < len(chosen)
        if key not in tried:
            if clash or len(tried) >= _EVALUATION_LIMIT:
                return None
            try:
                tried[key] = _outcome(task, Coordinates(system, chosen), exprs)
            except (NoFixpoint, TooLarge):
                tried[key] = None
        return tried[key]

    starts: list[tuple[Solution, ...]] = [(), _as_many(solutions)]
    best: tuple[float, tuple[Solution, ...]] | None = None
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
    if best is not None and best[0] <= plain.cost:
        return results[best[1]]
    return plain


def _closure(task: Task, members: set[str]) -> tuple[Let, ...]:
    """A group's lets with the proposals and lets off the gradient's path that they use."""
    names = set(members)
    for let in reversed(task.lets):
        if let.name in names:
            names |= {
                n for n in names_in(let.value) if n in task.proposed or n not in task.parts.group
            }
    names |= {
        let.name
        for let in task.lets
        if let.name in task.proposed
        and let.name not in task.parts.group
        and names_in(let.value) & names
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


def _outcome(
    task: Task, coordinates: Coordinates, exprs: dict[Tensor, Expr]
) -> Outcome:
    substituted = {t: coordinates.substitute(e) for t, e in exprs.items()}
    rewritten = {t: coordinates.rewrite(e) for t, e in exprs.items()}
    for form in rewritten.values():
        if len(terms_of(form)) > _TERM_LIMIT:
            raise TooLarge(0)
    named = _shared_cotangents(task, coordinates, rewritten)
    shared = _share_reductions(task, {**rewritten, **named})
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
    """Sums joined and common factors out; a fraction in lowest terms, where that is less work."""
    plain = factor(join_sums(expr))
    if not any(isinstance(f.base, Add) and f.exp.is_negative for f in plain.atoms(Pow)):
        return plain
    return min(plain, cancelled(plain), key=lambda e: work([e]))


def _as_it_stands(
    task: Task, coordinates: Coordinates, exprs: dict[Tensor, Expr], whole: dict[str, Expr]
) -> Outcome:
    """The chain rule with nothing multiplied out, only the primal recognised and factors taken out."""
    lets, forms = [], {}
    for tensor in exprs:
        recognised = coordinates.system.functions.apply(whole[tensor.name])
        finished = keeping_sums_whole(recognised, factor)
        lets.append(Let(task.held(tensor), finished))
        forms[tensor.name] = (("recognise", recognised), ("factor", finished))
    return Outcome(tuple(lets), _cost(task, lets), coordinates, forms)


def _cost(task: Task, lets: Iterable[Let]) -> float:
    lets = list(lets)
    read = set().union(*(tensors_read(let.value) for let in lets))
    kept = (let for let in task.lets if let.name in read and let.name in task.proposed)
    return work(let.value for let in lets) + sum(map(keeping, kept))


def _shared_cotangents(
    task: Task, coordinates: Coordinates, forms: dict[Tensor, Expr]
) -> dict[Tensor, Expr]:
    """Name the cotangents inside the group that occur as a factor at least twice; rewrites `forms`."""
    named: dict[Tensor, Expr] = {}
    for let in reversed(coordinates.system.lets):
        if let.name not in task.parts.group or let.name in task.parts.joints or let.name in task.proposed:
            continue
        if let.name not in task.memo:
            continue
        table = terms_of(coordinates.rewrite(task.memo[let.name]))
        if len(table) != 1:
            continue
        ((monomial, coefficient),) = table.items()
        if coefficient != 1 or len(factors_of(monomial)) < 2 or monomial.has(Sum):
            continue
        cotangent = cotangent_of(let.tensor)
        replaced = {t: _fold_product(e, let.tensor, monomial, cotangent) for t, e in forms.items()}
        count = sum(_occurrences(e, cotangent.name) for e in replaced.values())
        before = work(factor(join_sums(e)) for e in [*forms.values(), *named.values()])
        after = work(
            [*(factor(join_sums(e)) for e in [*replaced.values(), *named.values()]), monomial]
        )
        if count >= 2 and after < before:
            forms.update(replaced)
            named[cotangent] = monomial
    return named


def _occurrences(expr: Expr, name: str) -> int:
    count = 0
    for monomial in terms_of(expr):
        for node in Mul.make_args(monomial):
            inner = node.body if isinstance(node, Sum) else node
            count += any(
                isinstance(f, Indexed) and f.base.label.name == name for f in Mul.make_args(inner)
            )
    return count


def _fold_product(expr: Expr, tensor: Tensor, product: Expr, by: Tensor) -> Expr:
    """Replace a product, at any indices, by an element of `by`, in terms and in sums' bodies."""
    pattern = factors_of(product)
    head = min(
        (f for f in pattern if isinstance(f, Indexed) and set(f.indices) == set(tensor.indices)),
        key=str,
        default=None,
    )
    if head is None:
        return expr
    result = []
    for monomial, coefficient in terms_of(expr).items():
        factors = [
            Sum(_fold_once(f.body, pattern, head, tensor, by), *f.indices) if isinstance(f, Sum) else f
            for f in Mul.make_args(monomial)
        ]
        result.append(coefficient * _fold_once(Mul(*factors), pattern, head, tensor, by))
    return Add(*result)


def _fold_once(
    monomial: Expr, pattern: dict[Expr, Expr], head: Indexed, tensor: Tensor, by: Tensor
) -> Expr:
    table = factors_of(monomial)
    for candidate in table:
        if not isinstance(candidate, Indexed) or candidate.base != head.base:
            continue
        letters = dict(zip(head.indices, candidate.indices, strict=True))
        wanted = {f.xreplace(letters): e for f, e in pattern.items()}
        if all(
            f in table and table[f].is_number and e.is_number and 0 < e <= table[f]
            for f, e in wanted.items()
        ):
            rest = Mul(*(f ** (e - wanted.get(f, 0)) for f, e in table.items()))
            return rest * by[tuple(letters[i] for i in tensor.indices)]
    return monomial


def _share_reductions(task: Task, forms: dict[Tensor, Expr]) -> dict[Tensor, Expr]:
    """A gradient that is one sum is used by name where that sum occurs in another gradient."""
    rewriter = Rewriter()
    owners = set()
    for tensor, expr in forms.items():
        table = terms_of(expr)
        if len(table) != 1:
            continue
        ((monomial, coefficient),) = table.items()
        if isinstance(monomial, Sum) and rewriter.lookup(monomial) is None:
            rewriter.add(monomial, task.held(tensor).element / coefficient)
            owners.add(tensor)
    shared = {t: e if t in owners else normalise(rewriter.apply(e)) for t, e in forms.items()}
    return _share_multiples(task, shared)


def _share_multiples(task: Task, forms: dict[Tensor, Expr]) -> dict[Tensor, Expr]:
    """A gradient that is a number times another one is written so."""
    result: dict[Tensor, Expr] = {}
    for tensor, expr in reversed(forms.items()):
        result[tensor] = expr
        for other, known in result.items():
            if other == tensor or other.indices != tensor.indices or expr == 0:
                continue
            ratio = _ratio(expr, known)
            if ratio is not None:
                result[tensor] = ratio * task.held(other).element
                break
    return {t: result[t] for t in forms}


def _ratio(expr: Expr, other: Expr) -> Expr | None:
    """The number that one normal form is of another, or None."""
    mine, theirs = terms_of(expr), terms_of(other)
    if set(mine) != set(theirs) or work([expr]) == 0:
        return None
    ratios = {mine[m] / theirs[m] for m in mine}
    return ratios.pop() if len(ratios) == 1 and all(r.is_number for r in ratios) else None


# --- putting it together ---


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

    unused: dict[str, tuple[Tensor, Expr]]

    def __call__(self, expr: Expr) -> Expr:
        while tensors_read(expr) & set(self.unused):
            expr = substitute(expr, self.unused)
        return expr


def _forward(task: Task, used: set[str]) -> tuple[tuple[Let, ...], Speller]:
    """The forward lets: the definition's own, and the proposals in use."""
    unused = {
        let.name: (let.tensor, let.value) for let in task.lets if let.name in task.proposed - used
    }
    spell = Speller(unused)
    lets = [Let(let.tensor, spell(let.value)) for let in task.lets if let.name not in unused]
    return tuple(in_order(_through_own_lets(lets, task.proposed))), spell


def _through_own_lets(lets: list[Let], proposed: frozenset[str]) -> list[Let]:
    """A proposal that is the exponential of a let is written so: `p = exp(logprobs)`."""
    values = {let.name: let for let in lets if let.name not in proposed}
    patterns = {}
    for let in values.values():
        if let.tensor.indices and not let.tensor.integer:
            powered = _expanded_exp(let.value)
            if powered is not None:
                pattern, letters = abstract(powered)
                if set(letters) == set(let.tensor.indices):
                    patterns.setdefault(pattern, (letters, let))
    result = []
    for let in lets:
        pattern, letters = abstract(normalise(let.value))
        if let.name in proposed and pattern in patterns:
            own, named = patterns[pattern]
            place = dict(zip(own, letters, strict=True))
            indices = tuple(place[i] for i in named.tensor.indices)
            let = Let(let.tensor, exp(named.tensor[indices]))
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
    stages: dict[str, list[tuple[tuple[str, Expr], ...]]],
    ordered: list[Let],
    spell: Speller,
) -> tuple[Step, ...]:
    """The trace: for each target, from the chain rule to the form that is kept."""
    final = {let.name: let.value for let in ordered}
    steps = []
    for target in targets:
        held = task.held(target)
        pieces = stages.get(target.name, [])
        if len(pieces) != 1 or sum(target.name in group for group in raw.values()) != 1:
            continue
        (start,) = [group[target.name] for group in raw.values() if target.name in group]
        outside = final[held.name] - pieces[0][-1][1]
        current = start + outside
        for rule, form in pieces[0]:
            following = form + outside
            before, after = spell(current), spell(following)
            if before != after:
                steps.append(Step(rule, held, before, after))
            current = following
    return tuple(steps)

