"""The normal form: a sum of products, with deltas contracted and every sum pushed in.

Two expressions that are equal by the laws of index notation alone (distributivity,
`sum_k f = K f` where f does not depend on k, `sum_k delta(k, i) f(k) = f(i)`, the names of
bound indices) have the same normal form, but for two bounds on the work: a sum to a power above
six stays a power, and more than five bound indices keep their names. No let is looked at here.

Beside these laws only those of `derive.calculus.monomials` are known.

A term is a coefficient, made of numbers, axis sizes and options, times a monomial, made
of everything else. Coefficients are kept as cancelled fractions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache
from itertools import product

from sympy import (
    Add,
    Expr,
    KroneckerDelta,
    Mul,
    Pow,
    S,
    cancel,
    default_sort_key,
    exp,
    sign,
    together,
)
from sympy.core.basic import Basic

from derive.calculus.both_ways import both_ways, is_turned, letters_in_order
from derive.calculus.bound_indices import canonical_binder, components, flattened
from derive.calculus.monomials import (
    contractible,
    deltas_of,
    with_index_replaced,
    with_indices_replaced,
    with_magnitudes,
    with_masks_met,
    with_places_named_once,
    with_powers_joined,
    with_quotients,
)
from derive.language.expressions import (
    Binder,
    Element,
    Guarded,
    Index,
    Sum,
    Where,
    free_indices,
    is_scalar,
)
from derive.language.windows import Window

Terms = dict[Expr, Expr]
"""Monomial to coefficient."""

_EXPAND_POWERS_UP_TO = 6


def normalise(expr: Expr) -> Expr:
    """The normal form of an expression."""
    return rebuild(terms_of(expr))


def rebuild(terms: Terms) -> Expr:
    """The sum of coefficient times monomial."""
    return Add(*(Mul(coefficient, monomial) for monomial, coefficient in terms.items()))


@lru_cache(maxsize=200_000)
def _terms(expr: Expr) -> tuple[tuple[Expr, Expr], ...]:
    if is_scalar(expr):
        return ((S.One, expr),) if expr != 0 else ()
    if isinstance(expr, Add):
        return _collected(pair for arg in expr.args for pair in _terms(arg))
    if isinstance(expr, Mul):
        return _product([_terms(arg) for arg in expr.args])
    if isinstance(expr, Pow):
        return _power(expr)
    if isinstance(expr, Sum):
        body = _terms(expr.body)
        return _collected(
            pair
            for monomial, coefficient in body
            for pair in _sum_of_monomial(monomial, coefficient, expr.indices)
        )
    if not expr.args or isinstance(expr, Element):
        return ((expr, S.One),)
    if isinstance(expr, Where):
        return _choice(expr)
    return _split(_rebuild_arguments(expr))


def terms_of(expr: Expr) -> Terms:
    """The normal form as a table of monomials and their coefficients."""
    return dict(_terms(expr))


def _rebuild_arguments(expr: Expr) -> Expr:
    if isinstance(expr, KroneckerDelta):
        return expr
    if isinstance(expr, Binder):
        return canonical_binder(expr.func(normalise(expr.body), *expr.indices))
    if isinstance(expr, sign):
        inside = normalise(expr.args[0])
        return -sign(-inside) if is_turned(inside) else sign(inside)
    args = [normalise(a) if isinstance(a, Expr) else _inside_condition(a) for a in expr.args]
    return expr.func(*args)


def _choice(expr: Where) -> tuple[tuple[Expr, Expr], ...]:
    """`where(c, f a, f b)` is `f where(c, a, b)`, for deltas and a coefficient that branches share,
    for an element that has not all of the condition's letters: a choice of it is larger, for the
    slope that an element is multiplied by, a choice of numbers, and for what a masked exponential
    weighs, if that is over other letters, too.

    Other factors stay inside: where a branch is not taken, they may be undefined.
    """
    condition = _inside_condition(expr.condition)
    letters, placed = free_indices(condition), expr.has(KroneckerDelta)

    def moves(factor: Expr) -> bool:
        if isinstance(factor, Element | exp):
            return not (placed or letters <= free_indices(factor) or factor.has(Guarded))
        return isinstance(factor, KroneckerDelta)

    def movable(monomial: Expr) -> set[Expr]:
        factors = Mul.make_args(monomial)
        slopes = {f for f in factors if _is_choice_of_numbers(f)}
        weighed = any(isinstance(f, Element | exp) for f in factors)
        moving = {f for f in factors if moves(f)} | (slopes if weighed else set())
        if masked and not placed:
            moving |= _weighed(factors, letters)
        # an exponential alone is what the choice is of: left out, it may overflow
        return moving if set(factors) - moving else {f for f in moving if not isinstance(f, exp)}

    branches = [_terms(b) for b in expr.branches]
    masked = condition.atoms(Element) and not all(branches)
    terms = [t for branch in branches for t in branch]
    if not terms:
        return ()
    shared = set.intersection(*(movable(m) for m, _ in terms))
    coefficient = terms[0][1] if all(c == terms[0][1] for _, c in terms) else S.One
    outside = Mul(*shared)
    inside = [
        Add(
            *(
                Mul(c / coefficient, *(f for f in Mul.make_args(m) if f not in shared))
                for m, c in branch
            )
        )
        for branch in branches
    ]
    chosen = Where(condition, *inside)
    if not isinstance(chosen, Where):
        return _terms(outside * coefficient * chosen)
    return tuple(_apply_deltas(outside * chosen, coefficient))


def _weighed(factors: Iterable[Expr], letters: frozenset[Index]) -> set[Expr]:
    """The elements beside an exponential that are over more letters than it and the condition have,
    as a key is; one over the same may have no value where the condition does not hold."""
    powers = [f for f in factors if isinstance(f, exp)]
    within = letters.union(*map(free_indices, powers))
    elements = (f for f in factors if isinstance(f, Element) and powers)
    return {e for e in elements if not free_indices(e) <= within}


def _is_choice_of_numbers(factor: Expr) -> bool:
    return isinstance(factor, Where) and all(b.is_number for b in factor.branches)


def _inside_condition(condition: Basic) -> Basic:
    """A condition with its sides in normal form, but for squares of sums, which stay as they are:
    rounded otherwise, `(x - y)**2 < c**2` would not hold where it did."""
    if isinstance(condition, Expr) and not _is_raised(condition):
        return normalise(condition)
    if not condition.args or isinstance(condition, Element):
        return condition
    inside = condition.func(*(_inside_condition(a) for a in condition.args))
    if isinstance(inside, Expr):
        return canonical_binder(inside) if isinstance(inside, Binder) else inside
    return letters_in_order(inside)


def _is_raised(expr: Expr) -> bool:
    """Whether a sum of terms is raised to a power in an expression."""
    return any(p.exp.is_Integer and isinstance(p.base, Add) for p in expr.atoms(Pow))


def _split(expr: Expr) -> tuple[tuple[Expr, Expr], ...]:
    """A product or a single factor, without expanding anything, as one term."""
    if expr == 0:
        return ()
    factors = Mul.make_args(expr)
    if any(isinstance(f, Add) for f in factors):
        return _terms(expr)
    coefficient = Mul(*(f for f in factors if is_scalar(f)))
    return ((Mul(*(f for f in factors if not is_scalar(f))), coefficient),)


def _collected(pairs: Iterable[tuple[Expr, Expr]]) -> tuple[tuple[Expr, Expr], ...]:
    table: dict[Expr, list[Expr]] = defaultdict(list)
    for monomial, coefficient in pairs:
        table[monomial].append(coefficient)
    result: Terms = {}
    for monomial, coefficients in table.items():
        coefficient = tidy(Add(*coefficients)) if len(coefficients) > 1 else coefficients[0]
        if coefficient != 0:
            result[monomial] = coefficient
    return tuple(both_ways(result).items())


@lru_cache(maxsize=20_000)
def tidy(coefficient: Expr) -> Expr:
    """A coefficient as a cancelled fraction."""
    if coefficient.is_Number or coefficient.is_Symbol:
        return coefficient
    return cancel(together(coefficient))


def _product(parts: list[tuple[tuple[Expr, Expr], ...]]) -> tuple[tuple[Expr, Expr], ...]:
    pairs = []
    for combination in product(*parts):
        coefficient = Mul(*(c for _, c in combination))
        pairs.extend(_times([m for m, _ in combination], coefficient))
    return _collected(pairs)


def _times(monomials: list[Expr], coefficient: Expr) -> Iterable[tuple[Expr, Expr]]:
    """Multiply monomials; deltas are applied to the other factors."""
    factor = with_powers_joined(Mul(*monomials))
    factor = with_masks_met(with_magnitudes(with_quotients(factor)))
    if factor.is_Add:  # SymPy distributes a number over a sum
        return [(m, c * coefficient) for m, c in _terms(factor)]
    return _apply_deltas(factor, coefficient)


def _apply_deltas(monomial: Expr, coefficient: Expr) -> Iterable[tuple[Expr, Expr]]:
    """`delta(k, y) f(k)` is `delta(k, y) f(y)`."""
    factors = list(Mul.make_args(monomial))
    if not any(isinstance(f, KroneckerDelta) for f in factors) or len(factors) == 1:
        scalar = [f for f in factors if is_scalar(f)]
        if scalar:
            rest = Mul(*(f for f in factors if not is_scalar(f)))
            return [(rest, coefficient * Mul(*scalar))]
        return [(monomial, coefficient)]
    applied = with_indices_replaced(factors)
    if applied == factors:
        return [(monomial, coefficient)]
    deltas = [f for f in applied if isinstance(f, KroneckerDelta)]
    pairs = []
    for m, c in _product([_terms(f) for f in applied if f not in deltas]):
        pairs.extend(_apply_deltas(Mul(*deltas, m), c * coefficient))
    return pairs


def _power(expr: Pow) -> tuple[tuple[Expr, Expr], ...]:
    base, exponent = expr.args
    inner = _terms(base)
    if exponent.is_Integer and exponent > 0 and len(inner) > 1 and exponent <= _EXPAND_POWERS_UP_TO:
        return _product([inner] * int(exponent))
    if len(inner) == 1:
        monomial, coefficient = inner[0]
        if exponent.is_Integer:
            if isinstance(monomial, KroneckerDelta):
                return ((Pow(monomial, exponent), coefficient**exponent),)
            return tuple(_apply_deltas(Pow(monomial, exponent), coefficient**exponent))
        raised = Pow(coefficient * monomial, normalise(exponent))
        return _split(raised)
    base = rebuild(dict(inner))
    if exponent.is_Integer and is_turned(base):
        return _split(S.NegativeOne**exponent * Pow(-base, exponent))
    return _split(Pow(base, normalise(exponent)))


# --- sums ---


def _sum_of_monomial(
    monomial: Expr, coefficient: Expr, indices: tuple[Index, ...]
) -> Iterable[tuple[Expr, Expr]]:
    """Sum one term: flatten inner sums, contract deltas, split what does not depend."""
    factors, bound = flattened(monomial, indices)
    apart = _with_a_choice_apart(factors, bound)
    if apart is not None:
        return [
            pair for m, c in apart for pair in _sum_of_monomial(m, c * coefficient, tuple(bound))
        ]
    contracted = _with_a_delta_contracted(factors, bound)
    if contracted is not None:
        terms, left = contracted
        if not left:
            return [(m, c * coefficient) for m, c in terms]
        return [pair for m, c in terms for pair in _sum_of_monomial(m, c * coefficient, left)]
    for i in bound:
        if not any(i in f.free_symbols for f in factors):
            coefficient *= i.size
    bound = [i for i in bound if any(i in f.free_symbols for f in factors)]
    factors = with_places_named_once(factors, bound)
    outside = [f for f in factors if not (f.free_symbols & set(bound))]
    inside = [f for f in factors if f.free_symbols & set(bound)]
    sums = [
        canonical_binder(Sum(Mul(*component), *letters))
        for component, letters in components(inside, bound)
    ]
    return _apply_deltas(Mul(*outside, *sums), coefficient)


def _with_a_choice_apart(factors: list[Expr], bound: list[Index]) -> list[tuple[Expr, Expr]] | None:
    """The terms of a product after its first factor that is a choice of several parts is split into
    them; None where there is none."""
    for factor in factors:
        if len(parts := _chosen_apart(factor, bound)) > 1:
            rest = Mul(*(f for f in factors if f is not factor))
            return [(m * rest, c) for part in parts for m, c in _terms(part)]
    return None


def _with_a_delta_contracted(
    factors: list[Expr], bound: list[Index]
) -> tuple[tuple[tuple[Expr, Expr], ...], tuple[Index, ...]] | None:
    """The terms of a product without its first delta that a letter ends at, and the other letters;
    None where there is no such delta."""
    for d in sorted((f for f in factors if isinstance(f, KroneckerDelta)), key=default_sort_key):
        old, new = contractible(d, bound)
        if old is not None:
            rest = Mul(*(with_index_replaced(f, old, new) for f in factors if f is not d))
            if isinstance(new, Guarded):
                rest = Where(Window.of(new, "", old.axis).inside, rest, 0)
            return _terms(rest), tuple(i for i in bound if i != old)
    return None


def _chosen_apart(factor: Expr, bound: list[Index]) -> list[Expr]:
    """A choice by the letters of a sum, in which deltas stand that the sum contracts, as a choice
    for each product of deltas."""
    if not (isinstance(factor, Where) and free_indices(factor.condition) & {*bound}):
        return [factor]
    branches = [_come_apart(branch, bound) for branch in factor.branches]
    products = dict.fromkeys(deltas_of(m) for branch in branches for m, _ in branch)
    deltas = [d for product in products for d in Mul.make_args(product) if d != 1]
    if not any(contractible(d, bound)[0] for d in deltas):
        return [factor]
    return [
        Where(factor.condition, *(_with_deltas(branch, product) for branch in branches))
        for product in products
    ]


def _come_apart(branch: Expr, bound: list[Index]) -> list[tuple[Expr, Expr]]:
    """The terms of a branch, with those of the choices in it."""
    pairs: list[tuple[Expr, Expr]] = []
    for monomial, coefficient in _terms(branch):
        apart = _with_a_choice_apart(list(Mul.make_args(monomial)), bound)
        pairs += [(m, c * coefficient) for m, c in apart or [(monomial, S.One)]]
    return pairs


def _with_deltas(terms: Iterable[tuple[Expr, Expr]], product: Expr) -> Expr:
    """Those of some terms whose deltas have this product."""
    return Add(*(m * c for m, c in terms if deltas_of(m) == product))
