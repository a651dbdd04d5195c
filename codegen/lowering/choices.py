"""Products with a choice: what is multiplied by 0 or 1 is chosen or not.

    g * Where(c, 0, 1)                       ->  Where(c, 0, g)
    g * (Where(c, 0, 1) + Where(d, 0, 2))    ->  Where(c, 0, g) + Where(d, 0, 2*g)
    g * Where(c, 0, a), g * Where(c, 0, b)   ->  Where(c, 0, g) * a, Where(c, 0, g) * b

In the last, the mask of a cotangent serves twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from sympy import Add, Basic, Eq, Expr, KroneckerDelta, Mul

from codegen.lowering.guards import Partial, behind_guards, partial_lets
from codegen.program import Program
from derive.calculus.recognise import is_atomic
from derive.language.cotangents import cotangents_in
from derive.language.definition import Let
from derive.language.expressions import (
    Element,
    StopGradient,
    Where,
    free_indices,
    with_args,
)
from derive.language.facts import is_total
from derive.language.substitute import substitute


def with_choices(lets: Sequence[Let], made: Sequence[Let]) -> list[Let]:
    """The lets, which read those `made` before, in these forms, and what a choice asks for behind
    it (`codegen.lowering.guards`)."""
    partial = partial_lets((*made, *lets))
    lets = [replace(let, value=_chosen(let.value, partial)) for let in lets]
    masks = Counter(mask for let in lets for mask in _masked(let.value))
    again = {mask for mask, count in masks.items() if count > 1}
    return [replace(let, value=_mask_shared(let.value, again)) for let in lets]


def without_needless(program: Program) -> Program:
    """The program, whose derivatives nobody asks for, without choices that single out a value which
    the other branch has there anyway, as `where(x == 0, 0, sqrt(x))`."""
    if program.literal:
        return program
    masks = [let for let in program.lets if not isinstance(let.value, Expr)]

    def needed(choice: Any) -> Any:
        condition, (value, otherwise) = substitute(choice.condition, masks), choice.branches
        return otherwise if _has_anyway(otherwise, condition, value) else choice

    return replace(
        program,
        lets=tuple(
            replace(let, value=let.value.replace(lambda e: isinstance(e, Where), needed))
            for let in program.lets
        ),
    )


def _has_anyway(otherwise: Expr, condition: Basic, value: Expr) -> bool:
    """Whether an expression in one tensor has a value where that tensor is what it must equal."""
    if not (isinstance(condition, Eq) and condition.rhs.is_number and value.is_number):
        return False
    if otherwise.atoms(Element) != {condition.lhs} or otherwise.has(StopGradient):
        return False
    return otherwise.xreplace({condition.lhs: condition.rhs}) == value


def _masked(expr: Any) -> Iterator[tuple[Any, Expr]]:
    """The condition of each choice between 0 and a value, with a factor that arrives there."""
    for product in expr.atoms(Mul) if isinstance(expr, Basic) else ():
        for choice in _masked_in(product):
            arriving = [f for f in product.args if _arrives(f, choice)]
            yield from ((choice.condition, f) for f in arriving)


def _masked_in(product: Expr) -> list[Where]:
    """The factors that are 0 where a condition holds, and else a value that there is anywhere."""
    choices = [f for f in product.args if isinstance(f, Where)]
    return [c for c in choices if c.branches[0] == 0 and is_total(c.branches[1])]


def _arrives(factor: Expr, choice: Where) -> bool:
    """Whether a factor is a cotangent over no more letters than the choice."""
    if not (is_atomic(factor) and cotangents_in(factor)):
        return False
    return free_indices(factor) <= free_indices(choice)


def _mask_shared(expr: Any, masks: set[tuple[Any, Expr]]) -> Any:
    """Choices between 0 and a value whose mask serves elsewhere too: the cotangent is masked."""

    def moved(product: Any) -> Any:
        for choice in _masked_in(product):
            for factor in product.args:
                if (choice.condition, factor) in masks:
                    rest = [f for f in product.args if f not in (choice, factor)]
                    return Mul(Where(choice.condition, 0, factor), choice.branches[1], *rest)
        return product

    return expr.replace(lambda e: isinstance(e, Mul), moved) if masks else expr


def _chosen(expr: Any, partial: Partial) -> Any:
    """A value in which a choice between 0 and a number takes in what it is multiplied by."""
    if is_atomic(expr):
        return expr
    expr = with_args(expr, [_chosen(a, partial) for a in expr.args])
    return _product(behind_guards(expr, partial)) if isinstance(expr, Mul) else expr


def _product(expr: Expr) -> Expr:
    for factor in expr.args:
        others = [f for f in expr.args if f is not factor]
        if isinstance(factor, Where) and _takes_in(factor):
            letters = free_indices(factor)
            inside = [f for f in others if free_indices(f) <= letters]
            if all(f.is_number for f in inside):  # the others have more letters than the choice
                inside = [f for f in others if not f.has(KroneckerDelta)]
                inside = [f for f in inside if letters <= free_indices(f)] or inside
            branches = (Mul(b, *inside) for b in factor.branches)
            outside = [f for f in others if f not in inside]
            return Mul(_chosen(Where(factor.condition, *branches), {}), *outside)
        if isinstance(factor, Add) and all(_takes_in(a) for a in factor.args):
            return Add(*(_product(Mul(a, *others)) for a in factor.args))
    return expr


def _takes_in(expr: Expr) -> bool:
    """Whether one branch is 0 and the other a number, or another such choice; with a sign too."""
    number, choice = expr.as_coeff_Mul()
    if not (number.is_number and isinstance(choice, Where)) or 0 not in choice.branches:
        return False
    other = choice.branches[choice.branches.index(0) - 1]
    return other.is_number is True or _takes_in(other)
