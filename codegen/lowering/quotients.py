"""Powers of quotients: what two opposite powers multiply to is a power of what is divided once.

    a**2 / b**2     ->  q**2, where q = a/b
    a**12 / b**6    ->  q**6, where q = a**2/b
    a**3 / b**2     ->  q**2 * a, where q = a/b

A quotient may be near one where the powers that it is made of overflow or vanish. It is made once,
and both passes read it:

    g * a**2 / b**3              ->  g * q**2 / b
    a**5 * sum_n(g[n] / b[n]**6) ->  sum_n(g[n] * q[n]**5 / b[n])

None is made where this would take more kernels, unless the powers are higher than squares: a square
of a float32 vanishes below 1e-22, which is rare, and a twelfth power below 1e-3, which is not. For
the same reason only higher powers of an option are read by the backward pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import gcd
from typing import Any

from sympy import Add, Expr, KroneckerDelta, Mul, Pow, Symbol, default_sort_key

from codegen.program import is_number
from derive.calculus.recognise import Named, abstract, is_atomic
from derive.calculus.trace import Derivation
from derive.language.definition import Let, Tensor
from derive.language.expressions import (
    Element,
    Index,
    Sum,
    free_indices,
    fresh_names,
    names_used,
    with_args,
)
from derive.language.substitute import substitute
from derive.simplification.naming import word


def with_quotients(derivation: Derivation) -> Derivation:
    """The derivation with a let for each quotient of which its forward pass has powers."""
    definition = derivation.definition
    if definition.chunked:
        return derivation
    options = frozenset(option.name for option in definition.options)
    forward, backward = derivation.forward, derivation.backward.lets
    made: set[str] = set()
    while (found := _first(forward, [*forward, *backward], options)) is not None:
        place, pair = found
        taken = {*derivation.tensors, *(let.name for let in forward), *options}
        taken |= {name for axis in definition.axes for name in (axis.name, axis.size.name)}
        quotient = _Quotient.of(pair, forward[place], taken)
        before, after = forward[:place], forward[place:]
        forward = (*before, quotient.let, *(quotient.read_in(let) for let in after))
        if not pair.has_number or pair.power > 2:
            backward = tuple(quotient.read_in(let) for let in backward)
        made.add(quotient.let.name)
    if not made:
        return derivation
    own = {*(let.name for let in definition.lets), *definition.outputs}
    own |= names_used(*(let.value for let in backward))
    forward = _in_quotients(forward, made, own)
    simplified = replace(derivation.backward, lets=backward)
    return replace(derivation, forward=forward, simplified=simplified)


def _in_quotients(forward: Sequence[Let], made: set[str], own: set[str]) -> tuple[Let, ...]:
    """The lets, each that is read by one quotient alone, and is none that somebody named, written
    there."""
    for let in forward:
        readers = [other for other in forward if let.name in names_used(other.value)]
        if let.name not in own and len(readers) == 1 and readers[0].name in made:
            rest = (other for other in forward if other is not let)
            inside = (replace(o, value=substitute(o.value, [let])) for o in rest)
            return _in_quotients(tuple(inside), made, own)
    return tuple(forward)


@dataclass(frozen=True)
class _Pair:
    """Two factors of a product, of which one has the power `over`, and the other that of `-under`.

    `bound` are the letters that the product is summed over; a number is `alone` where no other is
    a factor beside it, and nothing is added.
    """

    above: Expr
    over: int
    below: Expr
    under: int
    bound: frozenset[Index] = frozenset()
    alone: bool = True

    @property
    def steps(self) -> tuple[int, int]:
        """The powers that one quotient has of the two."""
        both = gcd(self.over, self.under)
        return (self.over // both, self.under // both) if both > 1 else (1, 1)

    @property
    def quotient(self) -> Expr:
        over, under = self.steps
        return self.above**over / self.below**under

    @property
    def power(self) -> int:
        return min(self.over // self.steps[0], self.under // self.steps[1])

    @property
    def has_number(self) -> bool:
        return is_number(self.above) or is_number(self.below)

    @property
    def costs_nothing(self) -> bool:
        """Whether the quotient and its power are no more kernels than the powers are."""
        if self.has_number:
            return self.alone and not self.bound
        one, other = free_indices(self.above), free_indices(self.below)
        return one == other if self.bound else one <= other or other <= one


def _first(
    forward: Sequence[Let], lets: Sequence[Let], options: frozenset[str]
) -> tuple[int, _Pair] | None:
    """The place of the first let that has powers of a quotient, and the highest that it has."""
    for place, let in enumerate(forward):
        pairs = [pair for pair in _pairs(let.value, options) if _is_worth(pair, lets)]
        if pairs:
            return place, max(pairs, key=lambda pair: (pair.power, str(pair.quotient)))
    return None


def _is_worth(pair: _Pair, lets: Sequence[Let]) -> bool:
    if pair.power > 2:
        return True
    powers = (pair.above**pair.over, pair.below**-pair.under)
    return pair.costs_nothing and not all(_has_apart(power, pair, lets) for power in powers)


def _has_apart(power: Expr, pair: _Pair, lets: Sequence[Let]) -> bool:
    """Whether a power is there anyway, as it is no factor beside the other."""
    pattern, _ = abstract(power)
    other = pair.below if power.base == pair.above else pair.above

    def found(expr: Any) -> bool:
        if isinstance(expr, Mul) and other in {f.as_base_exp()[0] for f in expr.args}:
            return False
        if isinstance(expr, Pow) and abstract(expr)[0] == pattern:
            return True
        return not is_atomic(expr) and any(map(found, expr.args))

    return any(found(let.value) for let in lets)


def _pairs(expr: Any, options: frozenset[str]) -> Iterator[_Pair]:
    """The pairs of factors with opposite powers, of squares or higher ones, in an expression."""
    yield from _pairs_in(expr, options, frozenset(), alone=True)


def _pairs_in(
    expr: Any, options: frozenset[str], bound: frozenset[Index], alone: bool
) -> Iterator[_Pair]:
    if is_atomic(expr) or not isinstance(expr, Expr) or expr.has(KroneckerDelta):
        return
    if isinstance(expr, Mul):
        powers = [
            (factor.base, int(factor.exp))
            for factor in expr.args
            if isinstance(factor, Pow) and factor.exp.is_Integer and abs(factor.exp) > 1
        ]
        powers = [(base, n) for base, n in powers if _may_be_small(base, options)]
        plain = alone and sum(is_number(factor) for factor in expr.args) == 1
        for above, over in powers:
            for below, under in powers:
                if over > 0 > under and not (is_number(above) and is_number(below)):
                    yield _Pair(above, over, below, -under, bound, plain)
    inside = bound | {*expr.indices} if isinstance(expr, Sum) else bound
    for arg in expr.args:
        yield from _pairs_in(arg, options, inside, alone=not isinstance(expr, Add | Mul))


def _may_be_small(base: Expr, options: frozenset[str]) -> bool:
    """Whether a base is a tensor's or an option's: a size is neither small nor large."""
    return not is_number(base) or bool(names_used(base) & options)


@dataclass(frozen=True)
class _Quotient:
    """A quotient that has a name, and the powers that it is made of."""

    let: Let
    above: Expr
    over: int
    below: Expr
    under: int

    @staticmethod
    def of(pair: _Pair, reader: Let, taken: Iterable[str]) -> _Quotient:
        (name,) = fresh_names([word(pair.quotient)], set(taken))
        letters = free_indices(pair.quotient)
        elements = sorted(
            pair.quotient.atoms(Element), key=lambda e: (-len(free_indices(e)), str(e))
        )
        stored = (i for e in elements for i in e.indices if i in letters)
        own = (i for i in reader.tensor.indices if i in letters)
        whole = any(letters <= {*e.indices} for e in elements)
        dims = tuple(dict.fromkeys((*stored,) if whole else (*own, *stored)))
        over, under = pair.steps
        tensor = Tensor(name, (*dims, *sorted(letters - {*dims}, key=str)))
        return _Quotient(Let(tensor, pair.quotient), pair.above, over, pair.below, under)

    def read_in(self, let: Let) -> Let:
        return replace(let, value=self.read(let.value))

    def read(self, expr: Any) -> Any:
        """An expression that reads the quotient wherever it has powers of it."""
        if is_atomic(expr) or not isinstance(expr, Expr) or expr.has(KroneckerDelta):
            return expr
        if isinstance(expr, Mul):
            expr = self._met(expr)
        return with_args(expr, [self.read(arg) for arg in expr.args])

    def _met(self, product: Expr) -> Expr:
        """A product in which the two powers meet, those too of which one is in a sum."""
        for at, above, below in self._places(product):
            powers = {f.as_base_exp()[0]: f.as_base_exp()[1] for f in Mul.make_args(product)}
            over, under = powers.get(above, 0), -powers.get(below, 0)
            if (count := self._count(over, under)) > 0:
                rest = above ** (-self.over * count) * below ** (self.under * count)
                return self._met(product * rest * at**count)
            for factor in Mul.make_args(product):
                for power in (above**over if over else None, below**-under if under else None):
                    if power is None or not isinstance(factor, Sum | Add):
                        continue
                    if (inside := self._taken_in(factor, power)) is not None:
                        return self._met(product / power / factor * inside)
        return product

    def _count(self, over: Any, under: Any) -> int:
        whole = all(n == int(n) for n in (over, under))
        return min(int(over) // self.over, int(under) // self.under) if whole else 0

    def _taken_in(self, expr: Expr, power: Expr) -> Expr | None:
        """An expression times a power of one that meets the other in each of its terms."""
        if isinstance(expr, Add):
            terms = [self._taken_in(term, power) for term in expr.args]
            return None if None in terms else Add(*terms)
        if isinstance(expr, Sum):
            expr = expr.rename({i.name for i in free_indices(power)})
            body = self._taken_in(expr.body, power)
            return None if body is None else Sum(body, *expr.indices)
        product = expr * power
        met = self._met(product)
        return None if met == product or power in Mul.make_args(met) else met

    def _places(self, product: Expr) -> Iterator[tuple[Expr, Expr, Expr]]:
        """Where the quotient may be read in a product: it, and what it is made of, there."""
        pattern, letters = abstract(self.let.value)
        named = Named(self.let.tensor, letters)
        bases = {p.base for p in product.atoms(Pow)} | product.atoms(Element, Symbol)
        ordered = sorted(bases, key=default_sort_key)
        for above in (b for b in ordered if b.func is self.above.func):
            for below in (b for b in ordered if b.func is self.below.func and b != above):
                found, at = abstract(above**self.over / below**self.under)
                if found == pattern:
                    yield named.at(at), above, below
