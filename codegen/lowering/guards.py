"""Guards: choices that ask whether something has a value.

    u**-p * Where(u > 0, a, 0)         ->  Where(u > 0, u**-p * a, 0)
    u**-p * sum_k Where(u > 0, a, 0)   ->  Where(u > 0, u**-p * sum_k a, 0)
    Where(c, a, u**-p)                 ->  Where(c, a, Where(c, 1, u)**-p)

What a choice leaves out may be infinite, and nothing times infinity is no number. The last is for
whoever differentiates once more, where the derivative of what is left out may be infinite, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sympy import Add, Basic, Expr, Mul, Pow, S, log

from derive.language.definition import Let
from derive.language.expressions import Sum, Where, free_indices, is_scalar, names_used
from derive.language.facts import is_smooth, is_total

Partial = Mapping[str, set[str]]
"""The names of lets that have no value everywhere, and what each reads."""


def partial_lets(lets: Iterable[Let]) -> Partial:
    return {let.name: names_used(let.value) for let in lets if not is_total(let.value)}


@dataclass(frozen=True)
class Guard:
    """A choice between 0 and a value, which is taken where the condition `holds`, or does not."""

    condition: Basic
    holds: bool
    value: Expr

    def choice(self) -> Expr:
        branches = (self.value, S.Zero) if self.holds else (S.Zero, self.value)
        return Where(self.condition, *branches)


def behind_guards(product: Mul, lets: Partial) -> Expr:
    """A product with a choice that asks whether other factors have a value, which it takes in."""
    for factor in product.args:
        if (guard := _guard(factor)) is None:
            continue
        asked, letters = names_used(guard.condition), free_indices(guard.condition)
        inside = [
            f
            for f in product.args
            if f is not factor and _guard(f) is None and _partial_names(f, lets) & asked
            if letters <= free_indices(f) <= free_indices(factor)
        ]
        if inside:
            rest = [f for f in product.args if f is not factor and f not in inside]
            return Mul(replace(guard, value=Mul(guard.value, *inside)).choice(), *rest)
    return product


def _partial_names(factor: Expr, lets: Partial) -> set[str]:
    """What a factor reads, if it has no value everywhere; through the lets that have none, too."""
    names = names_used(factor)
    through = names & lets.keys()
    if is_total(factor) and not through:
        return set()
    return names.union(*(lets[name] for name in through))


def _guard(factor: Expr) -> Guard | None:
    """A factor as a choice between 0 and something: also a product with one, a sum of such that ask
    the same, or one over letters that they do not ask for."""
    if isinstance(factor, Where) and S.Zero in factor.branches:
        first, second = factor.branches
        return Guard(factor.condition, second == 0, first + second)
    if isinstance(factor, Mul):
        for one in factor.args:
            if (guard := _guard(one)) is not None:
                others = [f for f in factor.args if f is not one]
                return replace(guard, value=Mul(guard.value, *others))
    if isinstance(factor, Add):
        return _together([_guard(addend) for addend in factor.args])
    if isinstance(factor, Sum):
        guard = _guard(factor.body)
        if guard is not None and not free_indices(guard.condition) & {*factor.indices}:
            return replace(guard, value=Sum(guard.value, *factor.indices))
    return None


def _together(guards: Sequence[Guard | None]) -> Guard | None:
    """Choices as one, if all of them ask the same, and leave out where the others do."""
    found = [guard for guard in guards if guard is not None]
    asked = {(guard.condition, guard.holds) for guard in found}
    if len(found) < len(guards) or len(asked) > 1:
        return None
    return replace(found[0], value=Add(*(guard.value for guard in found)))


def guarded(expr: Any) -> Any:
    """An expression whose powers and logarithms that have a value, or a derivative, only where a
    choice takes them are taken of 1 elsewhere: differentiated once more, nothing times infinity is
    no number."""

    def safe(choice: Where) -> Expr:
        condition, (chosen, other) = choice.condition, choice.branches
        inside = (
            _of_one_elsewhere(chosen, lambda base: Where(condition, base, 1)),
            _of_one_elsewhere(other, lambda base: Where(condition, 1, base)),
        )
        return Where(condition, *inside)

    return expr.replace(lambda e: isinstance(e, Where), safe)


def _of_one_elsewhere(branch: Expr, taken: Callable[[Expr], Expr]) -> Expr:
    within = {
        node: node.func(taken(node.args[0]), *node.args[1:])
        for node in branch.atoms(Pow, log)
        if not (is_scalar(node) or is_smooth(node) or node.args[0].has(Where))
    }
    return branch.xreplace(within)
