"""In what order a person writes the terms of a sum and the factors of a product.

SymPy's own order follows its internals. Here positive terms stand before negative ones, and
plain numbers before other terms; factors go from coefficients to small tensors, to full ones, to
functions, sums and differences; what has a negative exponent goes below a fraction bar. The text
and what is typeset both use it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from sympy import Add, Basic, Expr, Integer, KroneckerDelta, Mul, Pow, Rational, Symbol, floor
from sympy.core.relational import Relational

from derive.language.cotangents import is_cotangent
from derive.language.expressions import (
    Affine,
    Binder,
    Element,
    Index,
    Parameter,
    free_indices,
    is_scalar,
)
from derive.printing.marks import unmarked

SMALL = Rational(1, 1000)
"""What is at most this large and stands beside a whole number is added by itself."""

ADD, MUL, POW, ATOM = range(4)
"""How tightly what stands at the top of a formula binds."""

GREEK = frozenset(
    {"alpha", "beta", "gamma", "delta", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu"}
    | {"nu", "xi", "pi", "rho", "sigma", "tau", "phi", "chi", "psi", "omega"}
    | {"Gamma", "Delta", "Theta", "Lambda", "Xi", "Sigma", "Phi", "Psi", "Omega"}
)
"""Names that are written as the letters that they name."""


@dataclass(frozen=True)
class Fraction:
    """A product: its sign, the factors above the bar, and those below, their exponents flipped."""

    negative: bool
    above: tuple[Expr, ...]
    below: tuple[Expr, ...]

    @property
    def sides(self) -> tuple[tuple[Expr, ...], tuple[Expr, ...]]:
        """What stands above the bar, or alone where there is none; and the sums behind it."""
        if not self.below or (len(self.above) == 1 and isinstance(self.above[0], Add)):
            return self.above, ()
        behind = tuple(f for f in self.above if is_sum_or_difference(f))
        return tuple(f for f in self.above if f not in behind), behind

    @property
    def rows(self) -> tuple[tuple[Expr, ...], tuple[Expr, ...]]:
        """What stands in the first row, with what is below the bar, and what in a second one."""
        first, behind = self.sides
        return (first, behind) if behind else (first[:-1], first[-1:])


@dataclass(frozen=True)
class Arrangement:
    """An order of writing. `places` says which tensor was declared before which, by name.

    `rows` are sums in brackets, and products, each with the number of rows that it is broken
    into; see `derive.printing.measure`.
    """

    places: Mapping[str, int] = field(default_factory=dict, hash=False)
    rows: frozenset[tuple[Expr, int]] = frozenset()

    def terms(self, expr: Expr) -> list[Expr]:
        """The terms of a sum, in order."""
        terms, small = in_steps(expr)
        return [*sorted(terms, key=self._term), *small]

    def fraction(self, expr: Expr) -> Fraction:
        """The factors of a product, in order."""
        above: list[Expr] = []
        below: list[Expr] = []
        negative = False
        for factor in Mul.make_args(expr):
            if isinstance(factor, Rational):
                negative ^= bool(factor < 0)
                size = abs(factor)
                if decimal(size) is not None:
                    above.append(size)
                    continue
                above += [Integer(size.p)] if size.p != 1 else []
                below += [Integer(size.q)] if size.q != 1 else []
            elif factor.is_Number and factor.is_negative:
                negative = not negative
                above.append(-factor)
            elif isinstance(factor, Pow) and _is_negative_number(factor.exp):
                below.append(Pow(factor.base, -factor.exp))
            else:
                above.append(factor)
        return Fraction(
            negative, tuple(sorted(above, key=self._factor)), tuple(sorted(below, key=self._factor))
        )

    def _term(self, term: Expr) -> tuple[Any, ...]:
        """What is added: full tensors first; what is taken away: the simplest first."""
        term = unmarked(term)
        fraction = self.fraction(term)
        factors = [self._factor(f) for f in (*fraction.above, *fraction.below)]
        letters = len(free_indices(term))
        return (
            fraction.negative,
            not term.is_Number,
            letters if fraction.negative else -letters,
            len(factors),
            factors,
        )

    def _factor(self, factor: Expr) -> tuple[Any, ...]:
        factor = unmarked(factor)
        base = factor.base if isinstance(factor, Pow) else factor
        name = self._name(base)
        kind, letters, spelling = _intrinsic(factor)
        place = self.places.get(name, len(self.places))
        return kind, letters, not is_cotangent(name), place, name, spelling

    @staticmethod
    def _name(expr: Any) -> str:
        if isinstance(expr, Element):
            return expr.tensor_name
        return expr.name if isinstance(expr, Symbol) else ""


def letters_in_order(expr: Binder) -> list[Index]:
    """A binder's letters in the order in which its body's elements use them first."""
    elements = sorted(expr.body.atoms(Element), key=str)
    indices = (i for element in elements for i in element.indices)
    places = (place_terms(i.place) if isinstance(i, Affine) else [i] for i in indices)
    seen = [i for place in places for i in place if i in expr.indices]
    return sorted(expr.indices, key=lambda i: seen.index(i) if i in seen else len(seen))


def place_terms(place: Expr) -> list[Expr]:
    """The terms of a computed index: letters, late ones first as in `t + k`, sizes, the number."""

    def order(term: Expr) -> tuple[Any, ...]:
        scale, rest = term.as_coeff_Mul()
        letter = str(rest) if isinstance(rest, Index) else ""
        return (
            term.is_Number,
            not letter,
            term.could_extract_minus_sign(),
            -abs(scale),
            [-ord(c) for c in letter],
        )

    return sorted(Add.make_args(place), key=order)


def in_steps(total: Expr) -> tuple[list[Expr], list[Expr]]:
    """The terms of a sum, and apart from them those that are added to what the others make.

    `1 - p + 1e-8` is not what `1.00000001 - p` is in single precision, where 1.00000001 is 1; but
    SymPy has put the two numbers together, or keeps a number beside an option such as `eps`. What
    `a - b` is where a and b are large may be no more than an `eps`, which either would swallow.
    """
    number, rest = total.as_coeff_Add()
    terms = [t for t in Add.make_args(rest) if t != 0]
    differing = {t.could_extract_minus_sign() for t in terms if not is_scalar(t)}
    swallowed = is_scalar if len(differing) > 1 else _is_small_option
    if number == 0 and len(differing) < 2:
        return list(Add.make_args(total)), []
    small = [t for t in terms if swallowed(t)]
    if isinstance(number, Rational) and not number.is_Integer:
        whole = floor(number + Rational(1, 2))
        if whole != 0 and abs(number - whole) <= SMALL:
            small.append(number - whole)
            number = whole
    others = [t for t in terms if t not in small]
    return ([number, *others] if number != 0 else others), small


def _is_small_option(term: Expr) -> bool:
    return isinstance(term, Parameter) and bool(term.is_positive) and not term.is_integer


def number_right(expr: Relational) -> Relational:
    """A comparison as it is written, a number on its right: `x[n] <= 0`, not `0 >= x[n]`."""
    left, right = expr.args
    return expr.reversed if left.is_number and not right.is_number else expr


def delta_sides(expr: KroneckerDelta) -> tuple[Any, ...]:
    """The two sides of a delta, the plain letter first: `delta(k, target[n])`."""
    return tuple(sorted(expr.args, key=lambda a: (not isinstance(a, Symbol), str(a))))


def decimal(number: Basic) -> str | None:
    """A rational that is written as a decimal, such as 0.044715; None for one like 1/2 or 1/3."""
    if not isinstance(number, Rational) or number.q <= 20:
        return None
    rest = number.q
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    written = repr(float(number))  # of a number that no float comes near, `inf`
    return written if rest == 1 and "inf" not in written and Rational(written) == number else None


def _is_negative_number(expr: Basic) -> bool:
    return isinstance(expr, Expr) and expr.is_Number is True and expr.is_negative is True


@lru_cache(maxsize=50_000)
def _intrinsic(factor: Expr) -> tuple[int, int, str]:
    """What a factor's place depends on besides names: its kind, its letters, its spelling."""
    return _kind(factor), len(free_indices(factor)), str(factor)


def is_sum_or_difference(factor: Expr) -> bool:
    """Whether a factor stands behind the others: a sum over letters, or one of terms."""
    return _kind(factor) >= 5


def _kind(factor: Expr) -> int:
    factor = unmarked(factor)
    base = factor.base if isinstance(factor, Pow) and factor.exp.is_Number else factor
    if base.is_number:
        return 0
    if isinstance(base, Symbol):
        return 1
    if isinstance(base, Element):
        return 2
    if isinstance(base, KroneckerDelta):
        return 3
    if isinstance(base, Binder):
        return 5
    return 6 if isinstance(base, Add) else 4
