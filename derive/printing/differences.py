"""What a step changed: both sides of it, with the parts that differ marked.

The two sides are compared as they are built, term by term and factor by factor, so that a reader's
eye is led to `x - mean` that became `x_hat/rstd` and not to the whole line.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from sympy import Add, Expr, Function, Mul, Pow, S, preorder_traversal

from derive.language.expressions import Binder, Element, Parameter
from derive.printing.marks import Marked

CHANGED = "changed"

Sides = tuple[Expr, Expr]


def changes(before: Expr, after: Expr) -> Sides:
    """Both sides of a step with what differs marked; a line that is all new goes without marks."""
    marked = _compared(before, after)
    total, new = _symbols(after), sum(_symbols(part.part) for part in marked[1].atoms(Marked))
    return marked if 3 * new <= 2 * total else _by_tensors(before, after)


def _symbols(expr: Expr) -> int:
    """How many symbols are written in an expression, as a measure of its length."""
    return sum(isinstance(e, Element | Parameter) for e in preorder_traversal(expr))


def _compared(before: Expr, after: Expr) -> Sides:
    if before == after:
        return before, after
    if isinstance(before, Add) and isinstance(after, Add):
        return _of_parts(Add, before, after)
    if isinstance(before, Add) and isinstance(after, Mul):
        return _factored(before, after)
    if isinstance(before, Mul) and isinstance(after, Mul):
        return _of_parts(Mul, before, after)
    if isinstance(before, Binder) and type(before) is type(after) and _same_letters(before, after):
        one, other = _compared(before.body, after.body)
        return before.func(one, *before.indices), after.func(other, *after.indices)
    if isinstance(before, Pow) and isinstance(after, Pow) and before.exp == after.exp:
        one, other = _compared(before.base, after.base)
        return Pow(one, before.exp), Pow(other, after.exp)
    if isinstance(before, Function) and before.func is after.func and len(before.args) == 1:
        one, other = _compared(before.args[0], after.args[0])
        return before.func(one), after.func(other)
    return _mark(before), _mark(after)


def _same_letters(one: Binder, other: Expr) -> bool:
    return isinstance(other, Binder) and one.indices == other.indices


def _of_parts(kind: type[Add | Mul], before: Expr, after: Expr) -> Sides:
    """Two sums term by term, or two products factor by factor."""
    same, old, new = _split(kind.make_args(before), kind.make_args(after))
    pairs, old, new = _paired(old, new)
    compared = [_compared(*pair) for pair in pairs]
    left = [*same, *(one for one, _ in compared), *map(_mark, old)]
    right = [*same, *(other for _, other in compared), *map(_mark, new)]
    return kind(*left), kind(*right)


def _factored(before: Expr, after: Expr) -> Sides:
    """A sum that became a product: the factors that were taken out, in every term of the sum."""
    factors = [f for f in Mul.make_args(after) if not isinstance(f, Add) and not f.is_Number]
    taken = {f for f in factors if all(f in Mul.make_args(t) for t in Add.make_args(before))}
    if not taken or len(taken) < len(factors):
        return _mark(before), _mark(after)
    left = [Mul(*(_mark(f) if f in taken else f for f in Mul.make_args(t))) for t in before.args]
    return Add(*left), Mul(*(_mark(f) if f in taken else f for f in after.args))


def _by_tensors(before: Expr, after: Expr) -> Sides:
    """Where nothing else is alike: the tensors that only the first of the sides reads."""
    gone = before.atoms(Element) - after.atoms(Element)
    return before.replace(lambda e: e in gone, _mark), after


def _split(
    before: Sequence[Expr], after: Sequence[Expr]
) -> tuple[list[Expr], list[Expr], list[Expr]]:
    """What both have, what only the first has, and what only the second has."""
    one, other = Counter(before), Counter(after)
    return (
        list((one & other).elements()),
        list((one - other).elements()),
        [*(other - one).elements()],
    )


def _paired(old: list[Expr], new: list[Expr]) -> tuple[list[Sides], list[Expr], list[Expr]]:
    """The parts that are most alike in pairs, and what is left over on either side."""
    scored = sorted(
        ((_likeness(a, b), -i, -j) for i, a in enumerate(old) for j, b in enumerate(new)),
        reverse=True,
    )
    taken: dict[int, int] = {}
    for likeness, i, j in scored:
        if likeness > 0 and -i not in taken and -j not in taken.values():
            taken[-i] = -j
    pairs = [(old[i], new[j]) for i, j in taken.items()]
    return (
        pairs,
        [a for i, a in enumerate(old) if i not in taken],
        [b for j, b in enumerate(new) if j not in taken.values()],
    )


def _likeness(one: Expr, other: Expr) -> int:
    """How many factors two parts share, where both are built alike."""
    if isinstance(one, Binder) and isinstance(other, Binder):
        return 1 + _likeness(one.body, other.body) if _same_letters(one, other) else 0
    if isinstance(one, Pow) and isinstance(other, Pow):
        return int(one.exp == other.exp and _likeness(one.base, other.base) > 0)
    shared = Counter(Mul.make_args(one)) & Counter(Mul.make_args(other))
    return sum(n for factor, n in shared.items() if not factor.is_Number)


def _mark(part: Expr) -> Expr:
    """A part with a mark; signs, numbers and the bar of a fraction stay outside."""
    if isinstance(part, Marked) or part.is_Number:
        return part
    if isinstance(part, Pow) and part.exp.is_Number and part.exp.is_negative:
        whole = part.base if part.exp == -1 else Pow(part.base, -part.exp)
        return Pow(Marked(whole, CHANGED), S.NegativeOne)
    number, rest = part.as_coeff_Mul()
    if number.is_negative:
        return Mul(S.NegativeOne, Marked(-part, CHANGED))
    return Marked(part, CHANGED) if rest is not S.One else part
