"""Change of variables: an expression in the tensors that the forward pass computed.

Every let is an equation, and is used once, in one direction:

- solved for the tensor it hides (`x = x_hat/rstd + mean`), which is thereby eliminated;
- unfolded, where it is a polynomial that was not solved: the let is eliminated;
- as a name for the function or the power that it is (`tanh(a)` is `h`);
- as a reduction identity: what its sum is, in the variables that are left
  (`sum_n x_hat = 0`, `sum_k p = 1`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations, permutations
from typing import Literal

from sympy import Add, Expr, Mul, Pow, S, Symbol, default_sort_key, log

from derive.calculus.bound_indices import canonical_binder
from derive.calculus.invert import difference_of_logarithms, solved_for_unknowns
from derive.calculus.monomials import DIVISORS
from derive.calculus.normal import normalise, terms_of
from derive.calculus.recognise import Mirror, Rewriter
from derive.calculus.trace import Equation
from derive.language.definition import Let, Tensor
from derive.language.expressions import (
    Element,
    Sum,
    Where,
    free_indices,
    is_scalar,
    names_used,
)
from derive.language.facts import is_nonzero, is_total
from derive.language.functions import BY_CLASS
from derive.language.substitute import substitute
from derive.simplification.slopes import Slope

_FIXPOINT_LIMIT = 40


class NoFixpoint(Exception):
    """The chosen equations are solved for each other in a circle."""


@dataclass(frozen=True)
class Solution:
    """The let of that name solved for an unknown, which equals `value` at its own letters."""

    let: str
    unknown: Tensor
    value: Expr

    @property
    def key(self) -> tuple[str, str]:
        return self.let, self.unknown.name


@dataclass(frozen=True)
class System:
    """The equations of a group of lets, sorted by what they are."""

    lets: tuple[Let, ...]
    divisors: frozenset[str]
    wholes: tuple[Expr, ...] = ()
    mirrored: Mapping[str, Mirror] = field(default_factory=dict)
    slopes: tuple[Slope, ...] = ()

    @cached_property
    def by_name(self) -> dict[str, Let]:
        return {let.name: let for let in self.lets}

    @cached_property
    def kinds(self) -> dict[str, str]:
        return {let.name: kind(let) for let in self.lets}

    @cached_property
    def functions(self) -> Rewriter:
        """The lets that name a function or a power."""
        return self.functions_but(frozenset())

    def functions_but(self, others: Collection[str]) -> Rewriter:
        """The lets that name a function or a power, but for those of the names in `others`."""
        rewriter = Rewriter(mirrored=self.mirrored)
        for let in self.lets:
            if self.kinds[let.name] == "function" and let.name not in others:
                rewriter.add(normalise(let.value), let.tensor.element)
        for slope in self.slopes:
            rewriter.add_quotient(slope.above, slope.below, slope.sigmoid)
        return rewriter

    def solutions(self, solvable: dict[str, Tensor]) -> tuple[Solution, ...]:
        """Every way to solve a let for one of the `solvable` tensors, or for itself by another."""
        found = [
            Solution(let.name, tensor, value)
            for let in self.lets
            for tensor, value in solved_for_unknowns(let, solvable, self.divisors)
            if not self._is_guarded(let, tensor)
        ]
        # What is divided by, where the quotient is a function: `sinh(a)/cosh(a)`.
        below = [let for let in self.lets if isinstance(let.value, DIVISORS)]
        found += [Solution(let.name, let.tensor, let.value) for let in below]
        logarithms = [let for let in self.lets if isinstance(let.value, log)]
        for let, other in permutations(logarithms, 2):
            if let.tensor.indices == other.tensor.indices:
                apart = difference_of_logarithms(let, other, self.lets)
                if apart is not None:
                    found.append(Solution(let.name, let.tensor, other.tensor.element + apart))
        return tuple(found)

    def _is_guarded(self, let: Let, unknown: Tensor) -> bool:
        """Whether a choice may leave a let out, or ask for its unknown, where it has no value: of
        `where(g > 0, log_g, 0)` nothing is told about g by log_g where that is not chosen."""
        choices = [choice for each in self.lets for choice in each.value.atoms(Where)]
        asked = set().union(*(names_used(choice.condition) for choice in choices))
        read = set().union(*map(names_used, choices))
        return not is_total(let.value) and (unknown.name in asked or let.name in read)


def kind(let: Let) -> Literal["reduction", "function", "integer", "polynomial"]:
    """What a let is."""
    value = let.value
    if let.tensor.integer:
        return "integer"
    core = [f for f in Mul.make_args(value) if not is_scalar(f)]
    if len(core) == 1 and isinstance(core[0], Sum):
        return "reduction"
    if len(core) == 1 and value == core[0]:
        (only,) = core
        if type(only) in BY_CLASS:
            return "function"
        if isinstance(only, Pow):
            whole = only.exp.is_Integer and (only.exp.is_positive or isinstance(only.base, Element))
            return "polynomial" if whole else "function"
        if not isinstance(only, Add | Mul | Element | Symbol):
            return "function"
    return "polynomial"


@dataclass
class Coordinates:
    """One choice of solutions: rewrites expressions to a fixpoint."""

    system: System
    chosen: tuple[Solution, ...]
    _memo: dict[Expr, Expr] = field(default_factory=dict)
    _substituted: dict[Expr, Expr] = field(default_factory=dict)
    _origins: dict[Expr, tuple[Let, Expr, Expr]] = field(default_factory=dict)

    @cached_property
    def functions(self) -> Rewriter:
        """The lets that name a function or a power, but for those that are unfolded."""
        own = {s.let for s in self.chosen if s.value == self.system.by_name[s.let].value}
        return self.system.functions_but(own) if own else self.system.functions

    @cached_property
    def replacements(self) -> dict[str, Let]:
        """By the name of an eliminated tensor: what its element is replaced by."""
        solved = {s.let for s in self.chosen}
        table = {s.unknown.name: Let(s.unknown, s.value) for s in self.chosen}
        for let in self.system.lets:
            if (
                self.system.kinds[let.name] == "polynomial"
                and let.name not in solved
                and let.name not in table
            ):
                table[let.name] = let
        return table

    @cached_property
    def circular(self) -> frozenset[str]:
        """The eliminated tensors whose equations lead into a circle: replacing one never ends."""
        left = {name: names_used(let.value) for name, let in self.replacements.items()}
        while ends := {name for name, read in left.items() if not read & left.keys()}:
            left = {name: read for name, read in left.items() if name not in ends}
        return frozenset(left)

    @cached_property
    def identities(self) -> Rewriter:
        """What the sums of the reductions are, in these coordinates."""
        rewriter = Rewriter()
        unknowns = {s.unknown.name for s in self.chosen}
        for let in self.system.lets:
            if self.system.kinds[let.name] != "reduction":
                continue
            right = rewriter.apply(self.substitute(let.value))
            left = (
                self.substitute(let.tensor.element) if let.name in unknowns else let.tensor.element
            )
            difference = normalise(right - left)
            found = pivot(difference, self.system.divisors)
            if found is not None and rewriter.lookup(found[0]) is None:
                rewriter.add(*found)
                self._origins[found[0]] = let, left, right
        for whole in map(canonical_binder, self.system.wholes):
            if rewriter.lookup(whole) is None:
                rewriter.add(whole, S.One)
        return rewriter

    def eliminated(self, expr: Expr) -> Iterator[Equation]:
        """For each eliminated tensor in an expression: its element, and what replaces that."""
        for name in sorted(names_used(expr) & self.replacements.keys()):
            element = self.replacements[name].tensor.element
            yield element, self.substitute(element)

    def turned(self, expr: Expr) -> Iterator[Equation]:
        """For each element in an expression that is not written as it is: it, and its mirror image
        in a tensor that equals its own transpose."""
        for element in sorted(expr.atoms(Element), key=default_sort_key):
            if (same := self.functions.in_order(element)) != element:
                yield element, same

    def known_sums(self, expr: Expr) -> Iterator[Equation]:
        """For each sum in an expression that `identities` knows: the sum, and what it is."""
        for total in sorted(expr.atoms(Sum), key=default_sort_key):
            value = self.identities.lookup(total)
            if value is not None:
                yield total, self.rewrite(value)

    def reasons(self, total: Expr) -> list[Equation]:
        """Why a sum is what `identities` says: a let, what is put into it, what it then says.

        Empty for anything else.
        """
        if self.identities.lookup(total) is None or total not in self._origins:
            return []
        let, left, right = self._origins[total]
        return [(let.tensor.element, let.value), *self.eliminated(let.value), (left, right)]

    def substitute(self, expr: Expr) -> Expr:
        """The normal form with every eliminated tensor replaced, and functions recognised."""
        if expr not in self._substituted:
            self._substituted[expr] = self._substitute(expr)
        return self._substituted[expr]

    def _substitute(self, expr: Expr) -> Expr:
        current = self.functions.apply(normalise(expr))
        # Each round goes one equation deeper; only what is recognised may lead back to one.
        for _ in range(len(self.replacements) + 2):
            read = names_used(current)
            if read & self.circular:
                raise NoFixpoint
            if not read & self.replacements.keys():
                return current
            following = normalise(substitute(current, self.replacements.values()))
            current = self.functions.apply(following)
        raise NoFixpoint

    def in_place(self, expr: Expr) -> Expr:
        """An expression as it stands, but for the tensors that equations are solved for."""
        solved = [Let(s.unknown, s.value) for s in self.chosen]
        for _ in solved:
            expr = substitute(expr, solved)
        return expr

    def rewrite(self, expr: Expr) -> Expr:
        """The normal form of an expression in these coordinates, reduction identities applied."""
        if expr not in self._memo:
            current = self.substitute(expr)
            for _ in range(_FIXPOINT_LIMIT):
                following = self.substitute(exchanged(self.identities.apply(current), self))
                if following == current:
                    break
                current = following
            else:
                raise NoFixpoint
            self._memo[expr] = current
        return self._memo[expr]


def exchanged(expr: Expr, coordinates: Coordinates) -> Expr:
    """Sums over several letters, with an inner sum that is known done first.

    `sum_{t,d} g[d] p[t] v[t,d]` is `sum_d g[d] y[d]` where `y[d] = sum_t p[t] v[t,d]`, and
    `sum_{n,k} p[n,k]` is N where each row sums to one.
    """

    def inside_out(total: Sum) -> Expr:
        for count in range(1, len(total.indices)):
            for letters in combinations(total.indices, count):
                factors = Mul.make_args(total.body)
                inner = [f for f in factors if free_indices(f) & set(letters)]
                outer = [f for f in factors if f not in inner]
                known = coordinates.identities.lookup(canonical_binder(Sum(Mul(*inner), *letters)))
                if known is not None and (outer or is_scalar(known)):
                    rest = [i for i in total.indices if i not in letters]
                    return Sum(Mul(*outer, known), *rest)
        return total

    return expr.replace(lambda e: isinstance(e, Sum) and len(e.indices) > 1, inside_out)


def pivot(difference: Expr, divisors: frozenset[str]) -> tuple[Expr, Expr] | None:
    """Solve `difference = 0` for the only sum in it: the sum, and what it equals."""
    table = terms_of(difference)
    holding = {m: c for m, c in table.items() if m.has(Sum)}
    if len(holding) != 1:
        return None
    ((monomial, coefficient),) = holding.items()
    factors = Mul.make_args(monomial)
    sums = [f for f in factors if f.has(Sum)]
    if len(sums) != 1 or not isinstance(sums[0], Sum):
        return None
    scale = coefficient * Mul(*(f for f in factors if f is not sums[0]))
    if not is_nonzero(scale, divisors):
        return None
    rest = Add(*(c * m for m, c in table.items() if m not in holding))
    value = normalise(-rest / scale)
    return (sums[0], value) if free_indices(value) <= free_indices(sums[0]) else None
