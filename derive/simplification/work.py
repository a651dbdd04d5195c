"""How much arithmetic an expression is: what the simplification minimises.

Every axis counts as the same nominal size, so a full-size operation outweighs any
number of reduced ones. A product or sum of factors is taken smaller shapes first.
Equal subexpressions are counted once.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from sympy import Add, Basic, Expr, Mul, Pow, S, Symbol, exp

from derive.language.definition import Let
from derive.language.expressions import (
    Binder,
    Element,
    Index,
    KroneckerDelta,
    Where,
    free_indices,
    is_scalar,
)

NOMINAL_SIZE = 12.0
_FUNCTION = 4.0
_READ = 0.5
_DELTA = 0.5


def work(exprs: Iterable[Expr]) -> float:
    """Nominal operations to evaluate expressions, each read of a distinct tensor included: of
    those at several letters, the largest."""
    seen: set[Basic] = set()
    total = sum(_work(expr, seen) for expr in exprs)
    read: dict[str, float] = {}
    for node in seen:
        if isinstance(node, Element):
            name = node.tensor_name
            read[name] = max(read.get(name, 0.0), size(free_indices(node)))
    return total + _READ * sum(read.values())


def size(letters: Iterable[Index]) -> float:
    """How many numbers, nominally, a tensor over these letters holds."""
    return NOMINAL_SIZE ** len(set(letters))


def _work(expr: Basic, seen: set[Basic]) -> float:
    if expr in seen or isinstance(expr, Symbol) or not expr.args:
        return 0.0
    seen.add(expr)
    if isinstance(expr, Element) or is_scalar(expr):
        return 0.0
    if isinstance(expr, Binder):
        body = _without_places(expr)
        return _work(body, seen) + size(free_indices(body))
    inner = sum(_work(a, seen) for a in expr.args)
    if isinstance(expr, Mul | Add):
        return inner + _combine(expr)
    if isinstance(expr, KroneckerDelta):
        return inner
    here = size(free_indices(expr))
    if isinstance(expr, Pow):
        small = expr.exp.is_Integer and abs(expr.exp) < 4
        return inner + here * (abs(float(expr.exp)) if small else _FUNCTION)
    return inner + here * (1.0 if isinstance(expr, Where) else _FUNCTION)


def _without_places(expr: Binder) -> Expr:
    """The body without comparisons of one place with another: what lies at one is added up once,
    for all of them."""
    factors = Mul.make_args(expr.body)
    compared = (f for f in factors if isinstance(f, KroneckerDelta))
    places = {d for d in compared if all(isinstance(side, Element) for side in d.args)}
    return Mul(*(f for f in factors if f not in places)) if places else expr.body


@lru_cache(maxsize=100_000)
def _combine(expr: Expr) -> float:
    """Joining arguments, smaller shapes first; a delta is a scatter of what it meets."""
    shapes = sorted(
        (frozenset(free_indices(a)) for a in expr.args if not _is_sign(a)),
        key=lambda letters: (len(letters), sorted(i.name for i in letters)),
    )
    has_delta = any(isinstance(a, KroneckerDelta) for a in expr.args)
    cost, covered = 0.0, frozenset[Index]()
    for position, shape in enumerate(shapes):
        covered |= shape
        if position:
            cost += size(covered) * (_DELTA if has_delta else 1.0)
    return cost


def keeping(let: Let) -> float:
    """What it costs the forward pass to keep a proposed let for the backward pass.

    The forward pass has computed it, but for a bare exponential: that may overflow, so the
    safe forms of the forward pass do without it.
    """
    many = size(let.tensor.indices)
    return many * (_FUNCTION + 1 if isinstance(let.value, exp) else 0.5)


def _is_sign(expr: Basic) -> bool:
    return expr in (S.One, S.NegativeOne)
