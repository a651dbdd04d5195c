"""Monomials: products of factors, no sum among them at the top.

Beside the laws of index notation, three are known: that quotients of some functions are functions,
that `a*sign(a)` is `|a|`, and that a mask of what it masks already changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Set

from sympy import (
    Abs,
    Basic,
    Expr,
    Integer,
    KroneckerDelta,
    Mul,
    Pow,
    S,
    cos,
    cosh,
    default_sort_key,
    sign,
    sin,
    sinh,
    tan,
    tanh,
)

from derive.language.expressions import Binder, Element, Index, Where, free_indices


def factors_of(monomial: Expr) -> dict[Expr, Expr]:
    """A monomial as a table of bases and exponents."""
    table: dict[Expr, Expr] = {}
    for factor in Mul.make_args(monomial):
        base, exponent = factor.as_base_exp() if isinstance(factor, Pow) else (factor, Integer(1))
        table[base] = table.get(base, S.Zero) + exponent
    table.pop(S.One, None)
    return table


def with_powers_joined(monomial: Expr) -> Expr:
    """`x**2*x**(k - 2)` is `x**k`, which SymPy leaves apart."""
    table = factors_of(monomial)
    if len(table) == len(Mul.make_args(monomial)):
        return monomial
    return Mul(*(Pow(base, exponent) for base, exponent in table.items()))


def with_magnitudes(monomial: Expr) -> Expr:
    """`a*sign(a)` is `|a|`."""
    if not monomial.has(sign):
        return monomial
    powers = monomial.as_powers_dict()
    for factor in [f for f in powers if isinstance(f, sign) and powers[f] == 1]:
        (inside,) = factor.args
        power = powers.get(inside, S.Zero)
        if power.is_Integer and power > 0:
            monomial *= Abs(inside) / (inside * factor)
    return monomial


def with_masks_met(monomial: Expr) -> Expr:
    """`where(c, 0, 1)*where(c, 0, a)` is `where(c, 0, a)`."""
    if not monomial.has(Where):
        return monomial
    powers = monomial.as_powers_dict()
    choices = [f for f in powers if isinstance(f, Where) and S.Zero in f.branches]
    for mask in [f for f in choices if {*f.branches} == {S.Zero, S.One} and powers[f] == 1]:
        for other in choices:
            masked = other.condition == mask.condition and powers[other].is_positive
            place = mask.branches.index(S.Zero)
            if other != mask and masked and other.branches[place] == 0:
                return with_masks_met(monomial / mask)
    return monomial


def with_quotients(expr: Expr) -> Expr:
    """`sinh(a)/cosh(a)` is `tanh(a)`, which is bounded; and the like."""
    if not expr.has(*DIVISORS):
        return expr
    return expr.replace(lambda e: isinstance(e, Mul), _with_quotients)


def _with_quotients(monomial: Expr) -> Expr:
    powers = monomial.as_powers_dict()
    for above, below, quotient in _QUOTIENTS:
        for factor in [f for f in powers if isinstance(f, above)]:
            power, other = powers[factor], below(*factor.args)
            if power.is_Integer and power > 0 and powers.get(other) == -power:
                monomial *= (quotient(*factor.args) * other / factor) ** power
    return monomial


_QUOTIENTS = ((sinh, cosh, tanh), (sin, cos, tan))
DIVISORS = tuple(below for _, below, _ in _QUOTIENTS)
"""Functions that another one may be divided by to give a third."""


# --- deltas ---


def deltas_of(monomial: Expr) -> Expr:
    """The product of a monomial's deltas."""
    return Mul(*(f for f in Mul.make_args(monomial) if isinstance(f, KroneckerDelta)))


def with_indices_replaced(factors: list[Expr]) -> list[Expr]:
    """Factors in which every delta is applied to all others, and to no part of one alone."""
    for d in sorted((f for f in factors if isinstance(f, KroneckerDelta)), key=default_sort_key):
        old, new = _orient(d)
        if old is None:
            continue
        others = [f for f in factors if f is not d]
        replaced = [with_index_replaced(f, old, new) for f in others]
        if replaced != others:
            return with_indices_replaced([d, *replaced])
    return factors


def with_places_named_once(factors: list[Expr], bound: Iterable[Index]) -> list[Expr]:
    """`delta(j[m], j[n]) f(j[n])` as `delta(j[m], j[n]) f(j[m])`, where `n` is bound: the one place
    is the other. There is such an n, m itself, so that nothing is read that was not; unless another
    delta or a choice leaves it out."""
    bound = {*bound}
    deltas = [f for f in factors if isinstance(f, KroneckerDelta)]
    leaving_out = [f for f in factors if isinstance(f, KroneckerDelta | Where)]
    for d in deltas if len(leaving_out) == 1 else ():
        for here, there in (d.args, d.args[::-1]):
            alike = isinstance(here, Element) and isinstance(there, Element)
            if not alike or free_indices(here) & bound or not free_indices(there) & bound:
                continue
            letters = dict(zip(there.indices, here.indices, strict=False))
            if all(isinstance(i, Index) for i in letters) and there.xreplace(letters) == here:
                taken = {*letters, *here.indices}
                factors = [
                    f if f is d or _binds(f, taken) else f.xreplace({there: here}) for f in factors
                ]
    return factors


def _binds(expr: Expr, letters: Set[Basic]) -> bool:
    return any(letters & {*binder.indices} for binder in expr.atoms(Binder))


def _orient(d: KroneckerDelta) -> tuple[Index | None, Expr]:
    """Which index a delta replaces, and by what: a letter by what it must equal."""
    i, j = d.args
    letters = [a for a in (i, j) if isinstance(a, Index)]
    if len(letters) == 2:
        old, new = sorted(letters, key=lambda a: a.name, reverse=True)
        return old, new
    if not letters:
        return None, i
    letter = letters[0]
    other = j if letter is i else i
    return (None, i) if letter in other.free_symbols else (letter, other)


def with_index_replaced(expr: Expr, old: Index, new: Expr) -> Expr:
    return expr.xreplace({old: new}) if old in expr.free_symbols else expr


def contractible(d: KroneckerDelta, bound: list[Index]) -> tuple[Index | None, Expr]:
    i, j = d.args
    for letter, other in ((i, j), (j, i)):
        if letter in bound and letter not in other.free_symbols:
            return letter, other
    return None, i
