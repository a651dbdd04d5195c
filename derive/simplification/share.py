"""Use by name what the backward pass has computed: cotangents, and gradients in gradients."""

from __future__ import annotations

from sympy import Add, Expr, Mul

from derive.calculus.differentiate import cotangent_of
from derive.calculus.monomials import factors_of
from derive.calculus.normal import normalise, terms_of
from derive.calculus.recognise import Rewriter
from derive.language.definition import Tensor
from derive.language.expressions import Element, Sum
from derive.simplification.change_of_variables import Coordinates
from derive.simplification.factor import factor
from derive.simplification.task import Task
from derive.simplification.work import work


def shared_cotangents(
    task: Task, coordinates: Coordinates, forms: dict[Tensor, Expr]
) -> tuple[dict[Tensor, Expr], dict[Tensor, Expr]]:
    """Name the cotangents inside a group that occur as a factor at least twice.

    Returns `forms` in terms of them, and them with their values.
    """
    named: dict[Tensor, Expr] = {}
    for let in reversed(coordinates.system.lets):
        if (
            let.name not in task.parts.group
            or let.name in task.parts.joints
            or let.name in task.proposed
        ):
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
        before = work(factor(e) for e in [*forms.values(), *named.values()])
        after = work([*(factor(e) for e in [*replaced.values(), *named.values()]), monomial])
        if count >= 2 and after < before:
            forms = replaced
            named[cotangent] = monomial
    return forms, named


def _occurrences(expr: Expr, name: str) -> int:
    count = 0
    for monomial in terms_of(expr):
        for node in Mul.make_args(monomial):
            inner = node.body if isinstance(node, Sum) else node
            count += any(
                isinstance(f, Element) and f.tensor_name == name for f in Mul.make_args(inner)
            )
    return count


def _fold_product(expr: Expr, tensor: Tensor, product: Expr, by: Tensor) -> Expr:
    """Replace a product, at any indices, by an element of `by`, in terms and in sums' bodies."""
    pattern = factors_of(product)
    head = min(
        (f for f in pattern if isinstance(f, Element) and set(f.indices) == set(tensor.indices)),
        key=str,
        default=None,
    )
    if head is None:
        return expr
    result = []
    for monomial, coefficient in terms_of(expr).items():
        factors = [
            Sum(_fold_once(f.body, pattern, head, tensor, by), *f.indices)
            if isinstance(f, Sum)
            else f
            for f in Mul.make_args(monomial)
        ]
        result.append(coefficient * _fold_once(Mul(*factors), pattern, head, tensor, by))
    return Add(*result)


def _fold_once(
    monomial: Expr, pattern: dict[Expr, Expr], head: Element, tensor: Tensor, by: Tensor
) -> Expr:
    table = factors_of(monomial)
    for candidate in table:
        if not isinstance(candidate, Element) or candidate.base != head.base:
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


def share_reductions(task: Task, forms: dict[Tensor, Expr]) -> dict[Tensor, Expr]:
    """A gradient that is one sum is used by name where that sum occurs in another gradient.

    Only a gradient that one group has all of is used by name.
    """
    rewriter = Rewriter()
    owners = set()
    for tensor, expr in forms.items():
        table = terms_of(expr)
        if len(table) != 1 or not task.is_from_one_group(tensor):
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
    last_first = list(reversed(forms))
    for tensor in sorted(last_first, key=task.is_from_one_group, reverse=True):
        result[tensor] = expr = forms[tensor]
        for other, known in result.items():
            if other == tensor or other.indices != tensor.indices or expr == 0:
                continue
            if not task.is_from_one_group(other):
                continue
            ratio = _ratio(expr, known)
            if ratio is not None:
                result[tensor] = ratio * task.held(other).element
                break
    return {t: _combined(task, t, result) for t in forms}


def _combined(task: Task, tensor: Tensor, forms: dict[Tensor, Expr]) -> Expr:
    """A gradient that is made of multiples of others, and of nothing else, is written so."""
    rest, total = terms_of(forms[tensor]), []
    if len(rest) < 2:
        return forms[tensor]
    for other, expr in forms.items():
        theirs = terms_of(expr)
        if other == tensor or other.indices != tensor.indices or not set(theirs) <= set(rest):
            continue
        if not task.is_from_one_group(other):
            continue
        ratios = {rest[m] / theirs[m] for m in theirs}
        if len(ratios) == 1 and all(r.is_number for r in ratios) and work([expr]):
            rest = {m: c for m, c in rest.items() if m not in theirs}
            total.append(ratios.pop() * task.held(other).element)
    return Add(*total) if not rest and len(total) > 1 else forms[tensor]


def _ratio(expr: Expr, other: Expr) -> Expr | None:
    """The number that one normal form is of another, or None."""
    mine, theirs = terms_of(expr), terms_of(other)
    if set(mine) != set(theirs) or work([expr]) == 0:
        return None
    ratios = {mine[m] / theirs[m] for m in mine}
    return ratios.pop() if len(ratios) == 1 and all(r.is_number for r in ratios) else None
