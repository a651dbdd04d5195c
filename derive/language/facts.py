"""What is known of an expression's sign, beyond what SymPy infers.

A definition is taken to be defined: what it divides by is not zero, and what it takes an
even root of is not negative. So `1/sqrt(u)` is positive whatever `u` is.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass, field
from functools import lru_cache

from sympy import (
    Add,
    Basic,
    Dummy,
    Expr,
    Ge,
    Gt,
    Integer,
    Le,
    Lt,
    Mul,
    Not,
    Pow,
    Rational,
    Symbol,
    acos,
    acosh,
    asin,
    atanh,
    exp,
    factor,
    log,
    loggamma,
    polygamma,
)
from sympy.core.relational import Relational

from derive.language.definition import Let
from derive.language.expressions import (
    Element,
    Guarded,
    StopGradient,
    Sum,
    Where,
    is_scalar,
    names_in,
    tensor_name,
)


def is_positive(expr: Expr) -> bool:
    """Whether an expression is greater than zero wherever it is defined."""
    if expr.is_positive:
        return True
    if isinstance(expr, exp):
        return True
    if isinstance(expr, Pow):
        base, exponent = expr.args
        if is_positive(base):
            return True
        return _is_even_root(exponent) and exponent.is_negative is True
    if isinstance(expr, Mul):
        return all(is_positive(a) for a in expr.args)
    if isinstance(expr, Add):
        return all(is_nonnegative(a) for a in expr.args) and any(is_positive(a) for a in expr.args)
    if isinstance(expr, Sum):
        return is_positive(expr.body)
    if isinstance(expr, StopGradient):
        return is_positive(expr.args[0])
    if isinstance(expr, Where):
        return all(is_positive(b) for b in _where_chosen(expr))
    return False


def is_nonnegative(expr: Expr) -> bool:
    """Whether an expression is zero or more wherever it is defined."""
    if expr.is_nonnegative or is_positive(expr):
        return True
    if isinstance(expr, Pow):
        base, exponent = expr.args
        if isinstance(exponent, Integer) and exponent % 2 == 0:
            return True
        return is_nonnegative(base) or _is_even_root(exponent)
    if isinstance(expr, Mul | Add):
        return all(is_nonnegative(a) for a in expr.args)
    if isinstance(expr, Sum):
        return is_nonnegative(expr.body)
    if isinstance(expr, StopGradient):
        return is_nonnegative(expr.args[0])
    if isinstance(expr, Where):
        return all(is_nonnegative(b) for b in _where_chosen(expr))
    return False


def _where_chosen(choice: Where) -> tuple[Expr, ...]:
    """The branches of a choice, each with what the condition says of an element's sign there:
    of `where(x >= 0, x + 1/2, 1/2 - x)` both are positive."""
    chosen, other = choice.branches
    condition = choice.condition
    return _signed(chosen, condition), _signed(other, Not(condition))


def _signed(branch: Expr, condition: Basic) -> Expr:
    if not isinstance(condition, Relational) or not isinstance(condition.lhs, Element):
        return branch
    if condition.rhs != 0 or condition.rel_op not in _SIGNS:
        return branch
    known = Dummy(**_SIGNS[condition.rel_op])
    return branch.xreplace({condition.lhs: known})


_SIGNS: dict[str, dict[str, bool]] = {
    ">": {"positive": True},
    ">=": {"nonnegative": True},
    "<": {"negative": True},
    "<=": {"nonpositive": True},
}
"""What a comparison with zero says of what is compared."""


def is_nonzero(expr: Expr, divisors: frozenset[str] = frozenset()) -> bool:
    """Whether an expression cannot be zero. `divisors` names tensors that are divided by.

    A coefficient of sizes and options counts as non-zero unless it is the number zero: a gradient
    that comes to divide by one is not taken (`scalars_divided_by`), and any other holds where the
    coefficient is zero too, being continuous in it.
    """
    if is_scalar(expr):
        return expr != 0
    if is_positive(expr) or expr.is_nonzero:
        return True
    if isinstance(expr, Mul):
        return all(is_nonzero(a, divisors) for a in expr.args)
    if isinstance(expr, Pow):
        return is_nonzero(expr.base, divisors)
    return tensor_name(expr) in divisors


def scalars_divided_by(exprs: Iterable[Expr]) -> frozenset[Expr]:
    """The coefficients that expressions divide by, of those that may be zero: an option of which
    nothing is known, `N - 1`. Each stands without a number before it, and is no product."""
    return frozenset().union(*map(_scalars_divided_by, exprs))


@lru_cache(maxsize=50_000)
def _scalars_divided_by(expr: Expr) -> frozenset[Expr]:
    below = [p.base for p in expr.atoms(Pow) if p.exp.could_extract_minus_sign()]
    factors = [f for base in below if is_scalar(base) for f in _factors(base)]
    return frozenset(f for f in factors if not f.is_nonzero)


@lru_cache(maxsize=10_000)
def _factors(coefficient: Expr) -> tuple[Expr, ...]:
    """The factors of a coefficient, `N - 1` of `N**2 - 2*N + 1`."""
    bases = (f.as_base_exp()[0] for f in Mul.make_args(factor(coefficient)))
    parts = (base.primitive()[1] for base in bases)
    return tuple(-part if part.could_extract_minus_sign() else part for part in parts)


def is_total(expr: Basic) -> bool:
    """Whether an expression has a value whatever the tensors in it are: it divides by none that may
    be zero, takes a logarithm or a root of none that may be negative, and reads none at a place
    that may be outside."""
    if isinstance(expr, Expr) and is_scalar(expr):
        return True
    if isinstance(expr, Pow) and not (expr.exp.is_Integer and expr.exp.is_positive):
        within = is_positive(expr.base) or (expr.exp.is_positive and is_nonnegative(expr.base))
    elif isinstance(expr, log):
        within = is_positive(expr.args[0])
    elif isinstance(expr, Element):
        within = not expr.has(Guarded)
    else:
        within = not isinstance(expr, _PARTIAL)
    return within and all(map(is_total, expr.args))


_PARTIAL = (acos, acosh, asin, atanh, loggamma, polygamma)


def is_smooth(expr: Expr) -> bool:
    """Whether an expression has a value and derivatives everywhere: a root of zero has none."""
    return is_total(expr) and not has_root(expr)


def has_root(expr: Basic) -> bool:
    """Whether a root is taken of what may be zero."""
    roots = (p for p in expr.atoms(Pow) if p.exp.is_Rational and 0 < p.exp < 1)
    return any(not is_positive(root.base) for root in roots)


@dataclass
class Magnitudes:
    """The tensors that are exponentials, each with its multiples, those that may grow as large, and
    those that may be rounded to zero though they are not zero, as they are divided by such, like a
    sigmoid. `differences` are those that a logarithm is taken of: what is lost there is lost."""

    small: set[str] = field(default_factory=set)
    large: set[str] = field(default_factory=set)
    powers: dict[str, set[str]] = field(default_factory=dict)
    summed: set[str] = field(default_factory=set)
    differences: set[Expr] = field(default_factory=set)

    @classmethod
    def of(cls, lets: Iterable[Let]) -> Magnitudes:
        found = cls()
        for let in lets:
            if found.vanishes(let.value):
                found.small.add(let.name)
            if found.grows(let.value):
                found.large.add(let.name)
            arguments = (f.args[0] for f in let.value.atoms(log))
            found.differences |= set(filter(_is_difference, arguments))
            if isinstance(let.value, exp):
                found.powers[let.name] = set()
            for part in Mul.make_args(let.value):
                if (power := tensor_name(part)) in found.powers:
                    found.powers[power].add(let.name)
            bodies = (total.body for total in let.value.atoms(Sum))
            found.summed |= found.powers.keys() & set(map(tensor_name, bodies))
        return found

    @property
    def rounded(self) -> Set[str]:
        """The names of what may be rounded to zero, exponentials among them."""
        return self.small | self.powers.keys()

    def losses(self, expr: Expr) -> int:
        """How often it divides by what may be rounded to zero, divides an exponential's multiple by
        that, by `1/p - 1`, or takes a logarithm of either: none gets back what was there. To divide
        another thing by an exponential is no loss, as it is to multiply by one."""
        below = {f.base for f in expr.atoms(Pow) if f.exp.is_negative} - self.differences
        inside = {f.args[0] for f in expr.atoms(log)}
        read = names_in(expr)
        multiples = {e: self.powers.get(tensor_name(e), set()) for e in below}
        lost = [e for e in below if self.vanishes(e) or read & multiples[e] or _is_told_back(e)]
        lost += [e for e in inside if self.vanishes(e) or _is_one_of(e, self.powers.keys())]
        return len(lost) + len(read & self.summed)

    def vanishes(self, expr: Expr) -> bool:
        """Whether it may be rounded to zero: then to divide by it gives nothing back."""
        if isinstance(expr, Pow):
            return self.grows(expr.base) if expr.exp.is_negative else self.vanishes(expr.base)
        if isinstance(expr, Mul):
            return any(map(self.vanishes, expr.args))
        if isinstance(expr, Add):
            return all(map(self.vanishes, expr.args))
        if isinstance(expr, Sum):
            return self.vanishes(expr.body)
        if isinstance(expr, Where):
            least = all if _is_larger(expr) else any
            return least(self.vanishes(b) or self._is_power(b) for b in expr.branches)
        return _is_one_of(expr, self.small)

    def _is_power(self, expr: Expr) -> bool:
        """Whether it is an exponential: where one is chosen, nothing that is divided by it cancels
        against it."""
        return isinstance(expr, exp) or _is_one_of(expr, self.powers.keys())

    def grows(self, expr: Expr) -> bool:
        """Whether it may be as large as an exponential."""
        if isinstance(expr, Pow):
            return self.vanishes(expr.base) if expr.exp.is_negative else self.grows(expr.base)
        if isinstance(expr, Add | Mul):
            return any(map(self.grows, expr.args))
        if isinstance(expr, Sum):
            return self.grows(expr.body)
        return isinstance(expr, exp) or _is_one_of(expr, self.large)


def _is_larger(choice: Where) -> bool:
    """Whether a choice is the larger one of its branches."""
    condition, branches = choice.condition, choice.branches
    if isinstance(condition, Ge | Gt):
        return condition.args == branches
    return isinstance(condition, Le | Lt) and condition.args == branches[::-1]


def _is_told_back(expr: Expr) -> bool:
    """Whether an expression is `1/p - 1`, which tells what `p = 1/(1 + a)` is made of where that is
    not small."""
    terms = Add.make_args(expr)
    return _is_difference(expr) and any(isinstance(t, Pow) and t.exp.is_negative for t in terms)


def _is_difference(expr: Expr) -> bool:
    signs = {term.could_extract_minus_sign() for term in Add.make_args(expr)}
    return len(signs) == 2


def _is_one_of(expr: Expr, names: Set[str]) -> bool:
    return isinstance(expr, Element | Symbol) and bool(names_in(expr) & names)


def _is_even_root(exponent: Expr) -> bool:
    return isinstance(exponent, Rational) and exponent.q % 2 == 0
