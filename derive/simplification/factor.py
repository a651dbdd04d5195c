"""From the normal form to what a person would write: common factors are taken out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import lru_cache

from sympy import (
    Add,
    Expr,
    Float,
    Mul,
    Pow,
    S,
    Symbol,
    default_sort_key,
    exp,
    expand_mul,
    fraction,
    gcd_terms,
)
from sympy import factor as polynomial_factor

from derive.calculus.monomials import factors_of
from derive.calculus.normal import Terms, terms_of, tidy
from derive.language.expressions import Element, Index, KroneckerDelta, Sum, Where, is_scalar

_CANCEL_UP_TO = 8
_FACTOR_UP_TO = 8
_ATOMS = (Element, exp, Sum, KroneckerDelta)
"""What is a variable to a polynomial."""


def factor(expr: Expr) -> Expr:
    """A sum of products with common factors taken out, in one deterministic way."""
    return factor_terms(terms_of(expr))


def factor_terms(terms: Terms) -> Expr:
    if not terms:
        return S.Zero
    if len(terms) == 1:
        ((monomial, coefficient),) = terms.items()
        return _times(factor_coefficient(coefficient), monomial)
    table = {monomial: factors_of(monomial) for monomial in terms}
    common = _common(list(table.values()))
    content = _content(list(terms.values()))
    rest: Terms = {}
    for monomial, coefficient in terms.items():
        left = _without(table[monomial], common)
        rest[left] = tidy(rest.get(left, S.Zero) + coefficient / content)
    inner = _polynomial(rest) or (_group(rest) if common or content != 1 else _group(terms))
    return _times(content, *(Pow(b, e) for b, e in common.items()), inner)


@lru_cache(maxsize=10_000)
def factor_coefficient(coefficient: Expr) -> Expr:
    """A coefficient with its common factors before it, and below it `(N - 1)**2` as a power."""
    if coefficient.is_Atom:
        return coefficient
    above, below = fraction(gcd_terms(coefficient))
    return above / polynomial_factor(below) if below.has(Add) else above / below


def _times(*factors: Expr) -> Expr:
    """A product that stays one: SymPy would hand a number to the addends of a lone sum."""
    factors = tuple(f for f in factors if f != 1)
    if len(factors) == 2 and factors[0].is_Number and factors[1].is_Add:
        if factors[0] == -1:
            return Add(*(-a for a in factors[1].args))
        return Mul(*factors, evaluate=False)
    return Mul(*factors)


def _without(factors: dict[Expr, Expr], common: dict[Expr, Expr]) -> Expr:
    return Mul(*(Pow(b, e - common.get(b, S.Zero)) for b, e in factors.items()))


def _common(tables: list[dict[Expr, Expr]]) -> dict[Expr, Expr]:
    """The powers that every term holds."""
    first, *others = tables
    shared = {}
    for base, exponent in first.items():
        exponents = [exponent, *(t.get(base, S.Zero) for t in others)]
        if all(e.is_number and e > 0 for e in exponents):
            shared[base] = min(exponents)
        elif all(e.is_number and e < 0 for e in exponents):
            shared[base] = max(exponents)
        elif len(set(exponents)) == 1:
            shared[base] = exponent
    return shared


def _content(coefficients: list[Expr]) -> Expr:
    """The common factor of coefficients, signed so that the first addend comes out positive."""
    tables = [factors_of(factor_coefficient(tidy(c))) for c in coefficients]
    shared = _common([{b: e for b, e in t.items() if not b.is_number} for t in tables])
    content = Mul(*(Pow(b, e) for b, e in shared.items()))
    numbers = [Mul(*(b**e for b, e in t.items() if b.is_number)) for t in tables]
    if all(n.is_Rational for n in numbers):
        magnitudes = {abs(n) for n in numbers}
        if len(magnitudes) == 1:
            content *= magnitudes.pop()
    if all(n.is_negative for n in numbers):
        content = -content
    return content


def _group(terms: Terms) -> Expr:
    """Take out the factor that most terms share, if at least two do; then go on with the others."""
    counts: Counter[Expr] = Counter()
    for monomial in terms:
        counts.update(
            base
            for base, exponent in factors_of(monomial).items()
            if not isinstance(base, KroneckerDelta) and exponent.is_number
        )
    shared = [base for base, count in counts.items() if count >= 2]
    if not shared or len(terms) < 3:
        return Add(*(_times(factor_coefficient(c), m) for m, c in terms.items()))
    best = max(shared, key=lambda b: (counts[b], -len(str(b)), str(default_sort_key(b))))
    inside = {m: c for m, c in terms.items() if best in factors_of(m)}
    outside = {m: c for m, c in terms.items() if best not in factors_of(m)}
    if len(inside) == len(terms):
        return Add(*(_times(factor_coefficient(c), m) for m, c in terms.items()))
    alike = len(outside) == 2 and _common([factors_of(monomial) for monomial in outside])
    return Add(factor_terms(inside), factor_terms(outside) if alike else _group(outside))


def _polynomial(terms: Terms) -> Expr | None:
    """The sum as a product where it is a polynomial that has factors: `1 - 3*s + 2*s**2` is
    `(1 - s)*(1 - 2*s)`, in which nothing cancels."""
    if not 3 <= len(terms) <= _FACTOR_UP_TO or not all(c.is_Rational for c in terms.values()):
        return None
    elements = {base for monomial in terms for base in factors_of(monomial) if base != 1}
    powers = [e for monomial in terms for b, e in factors_of(monomial).items() if b != 1]
    if len(elements) > _FACTOR_UP_TO or not all(isinstance(e, _ATOMS) for e in elements):
        return None
    if not all(e.is_Integer and e > 0 for e in powers):
        return None
    return _factors_found(frozenset(terms.items()))


@lru_cache(maxsize=10_000)
def _factors_found(terms: frozenset[tuple[Expr, Expr]]) -> Expr | None:
    tables = [(factors_of(monomial), c) for monomial, c in terms]
    bases = sorted({b for table, _ in tables for b in table if b != 1}, key=str)
    names = {base: Symbol(f"_{n}") for n, base in enumerate(bases)}
    whole = Add(*(c * Mul(*(names.get(b, b) ** e for b, e in t.items())) for t, c in tables))
    found = _squares_kept(polynomial_factor(whole))
    if not isinstance(found, Mul | Pow) or len([f for f in found.args if f.is_Add]) < 2:
        return None
    back = {symbol: e for e, symbol in names.items()}
    factors = [_from_one(_grouped(f.xreplace(back))) for f in Mul.make_args(found)]
    parts = [f for one in factors for f in Mul.make_args(one)]
    number = Mul(*(f for f in parts if f.is_Number))
    return Mul(*_turned([number, *(f for f in parts if not f.is_Number)]))


def _turned(factors: list[Expr]) -> list[Expr]:
    """A product whose differences take sums and deltas away: `a*(g - sum)`, not `-a*(sum - g)`."""
    differences = [
        f for f in factors if isinstance(f, Add) and len(f.args) == 2 and 1 not in f.args
    ]
    awkward = next((f for f in differences if _adds_a_sum(f)), None)
    others = [f for f in factors if f is not awkward]
    sign = next((f for f in others if f == -1 or (f in differences)), None)
    if awkward is None or sign is None:
        return factors
    rest = [f for f in others if f is not sign]
    return [_negated(awkward), *rest, *([] if sign == -1 else [_negated(sign)])]


def _adds_a_sum(difference: Expr) -> bool:
    added = [a for a in difference.args if not a.could_extract_minus_sign()]
    return len(added) == 1 and added[0].has(Sum, KroneckerDelta)


def _negated(total: Expr) -> Expr:
    return Add(*(-a for a in total.args))


def _grouped(expr: Expr) -> Expr:
    return factor(expr) if isinstance(expr, Add) and len(expr.args) > 2 else expr


def _from_one(expr: Expr) -> Expr:
    """`1 - x` for `x - 1`, with the sign before it."""
    if isinstance(expr, Add) and len(expr.args) == 2 and expr.as_coeff_Add()[0].is_negative:
        return Mul(-1, Add(*(-a for a in expr.args)), evaluate=False)
    return expr


def _squares_kept(product: Expr) -> Expr:
    """A product in which `(a - b)*(a + b)` is `a**2 - b**2`."""
    factors = list(Mul.make_args(product))
    for place, one in enumerate(factors):
        for later in range(place + 1, len(factors)):
            joined = expand_mul(one * factors[later])
            if one.is_Add and factors[later].is_Add and len(joined.args) == len(one.args) == 2:
                rest = [f for n, f in enumerate(factors) if n not in (place, later)]
                return _squares_kept(Mul(joined, *rest))
    return product


def cancelled(expr: Expr) -> Expr:
    """A fraction of tensor elements in lowest terms, numerator and denominator factored.

    Numbers with a decimal point are left alone: they have no common factors.
    """
    if expr.has(Float, KroneckerDelta):
        return expr
    names: dict[Expr, Expr] = {}

    def hide(e: Expr) -> Expr:
        if is_scalar(e):
            return e
        if isinstance(e, Add | Mul):
            return e.func(*(hide(a) for a in e.args))
        if isinstance(e, Pow) and e.exp.is_Integer:
            return Pow(hide(e.base), e.exp)
        return names.setdefault(e, Symbol(f"_{len(names)}"))

    fraction = hide(expr)
    if len(names) > _CANCEL_UP_TO:
        return expr
    lowest = polynomial_factor(fraction).xreplace({symbol: e for e, symbol in names.items()})
    sums = [f for f in Mul.make_args(lowest) if f.is_Add]
    if len(sums) == 1 and lowest.could_extract_minus_sign():
        (only,) = sums
        return (-lowest / only) * Add(*(-a for a in only.args))
    return Mul(*map(_from_one, Mul.make_args(lowest))) if len(sums) > 1 else lowest


def quotients_met(expr: Expr) -> Expr:
    """`(1/a - 1) a**2` as `(1 - a) a`, `a where(c, 1/a, b)` as `where(c, 1, a b)`, and
    `where(c, a, 0)/a` as `where(c, 1, 0)`: what is divided by meets its power across a bracket."""
    return expr.replace(lambda e: isinstance(e, Mul), _quotients_met)


def _quotients_met(product: Mul) -> Expr:
    met: Expr = product
    for whole in product.args:
        if not isinstance(whole, Add | Where):
            continue
        met = _as_divided_by(met, whole)
        outside = met.as_powers_dict()
        above = {base for base, exponent in outside.items() if exponent.is_positive}
        factors = [base for base in dict.fromkeys(_divided_by(whole)) if base in above]
        if isinstance(whole, Where):
            below = (base for base, exponent in outside.items() if exponent == -1)
            factors += [1 / base for base in below if _has_everywhere(whole, base)]
        for factor in factors:
            times = _each_term_times(whole, factor)
            met, whole = met / (factor * whole) * times, times
    return met


def _as_divided_by(product: Expr, whole: Add | Where) -> Expr:
    """A product in which a difference `s - 1` is `-(1 - s)`, where that is divided by inside."""
    turned = {-base: base for base in _divided_by(whole) if isinstance(base, Add)}
    for factor in Mul.make_args(product):
        if factor in turned:
            product = Mul(product / factor, -1, turned[factor], evaluate=False)
    return product


def _has_everywhere(choice: Where, factor: Expr) -> bool:
    """Whether each branch has a factor, or is zero."""
    return all(b == 0 or factor in Mul.make_args(b) for b in choice.branches)


def _divided_by(whole: Add | Where) -> Iterator[Expr]:
    """What terms of a sum, or of the branches of a choice, are divided by."""
    for part in whole.branches if isinstance(whole, Where) else (whole,):
        for term in Add.make_args(part):
            powers = (f for f in Mul.make_args(term) if isinstance(f, Pow))
            yield from (f.base for f in powers if f.exp == -1 and not is_scalar(f.base))


def _each_term_times(whole: Expr, base: Expr) -> Expr:
    if isinstance(whole, Where):
        return Where(whole.condition, *(_each_term_times(b, base) for b in whole.branches))
    return Add(*(term * base for term in Add.make_args(whole)))


def differences_joined(expr: Expr) -> Expr | None:
    """`sum_k f - sum_k f s` is `sum_k f (1 - s)`, `1 + s` likewise: one reduction instead of two,
    and no difference of large sums. None where there are no two such sums."""
    groups: dict[tuple[Expr, tuple[Index, ...]], list[tuple[Expr, Sum]]] = {}
    rest, found = S.Zero, False
    for monomial, coefficient in terms_of(expr).items():
        sums = [f for f in Mul.make_args(monomial) if isinstance(f, Sum)]
        if len(sums) == 1:
            outside = monomial / sums[0]
            groups.setdefault((outside, sums[0].indices), []).append((coefficient, sums[0]))
        else:
            rest += coefficient * monomial
    for (outside, indices), members in groups.items():
        body = factor(Add(*(c * total.body for c, total in members)))
        numbers = Mul(*(f for f in Mul.make_args(body) if is_scalar(f)))
        if len(members) == 2 and any(map(_is_from_one, Mul.make_args(body))):
            rest += numbers * outside * Sum(body / numbers, *indices)
            found = True
        else:
            rest += Add(*(c * outside * total for c, total in members))
    return rest if found else None


def _is_from_one(expr: Expr) -> bool:
    return isinstance(expr, Add) and len(expr.args) == 2 and expr.as_coeff_Add()[0] in (1, -1)
