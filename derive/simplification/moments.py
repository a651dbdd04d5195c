"""Moments about the mean: `E[x*y] - E[x]*E[y]` is `E[(x - E[x])*(y - E[y])]`.

The first is a difference of large numbers where the means are large, and a variance of that kind
may come out negative. The second is what a careful hand writes (Chan, Golub and LeVeque, Algorithms
for computing the sample variance, 1983). Among terms that are added, where sums run over N:

    a*sum(x*y) - a*sum(x)*sum(y)/N   ->   a*sum((x - sum(x)/N)*(y - sum(y)/N))

Lets that are made of sums are seen through to them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import combinations_with_replacement

from sympy import Add, Dummy, Expr, Mul, Pow

from derive.calculus.bound_indices import canonical_binder
from derive.calculus.normal import normalise, rebuild, terms_of
from derive.language.definition import Definition, Let
from derive.language.expressions import (
    Parameter,
    Sum,
    count_of,
    free_indices,
    tensor_name,
    with_args,
)
from derive.language.substitute import substitute


def about_the_mean(definition: Definition) -> Definition:
    """A definition in which each second moment from which the product of the means is taken is one
    about these means. What is made of a let whose gradient is wanted still is, and one whose
    backward pass is emitted as it is written stays so."""
    if definition.chunked:
        return definition
    seen: dict[str, Let] = {}
    lets = []
    for let in definition.lets:
        value = let.value.replace(
            lambda e: isinstance(e, Add), lambda total: _Places(seen).centred(total)
        )
        lets.append(replace(let, value=value))
        if value == let.value and let.name not in definition.wrt and _Places(seen).hold(value):
            seen[let.name] = let
    calls = tuple(replace(call, callee=about_the_mean(call.callee)) for call in definition.calls)
    return replace(definition, lets=tuple(lets), calls=calls)


@dataclass
class _Places:
    """Symbols in the places of the sums that an expression is made of, lets `seen` through."""

    seen: Mapping[str, Let]
    sums: dict[Expr, Dummy] = field(default_factory=dict)

    def hold(self, value: Expr) -> bool:
        """Whether an expression is made of sums and coefficients alone."""
        letters = {s for s in self.of(value).free_symbols if not isinstance(s, Parameter)}
        return bool(letters) and letters <= {*self.sums.values()}

    def of(self, expr: Expr) -> Expr:
        """An expression with a symbol for each sum."""
        if isinstance(expr, Sum):
            factors = Mul.make_args(expr.body)
            inside = [f for f in factors if free_indices(f) & {*expr.indices}]
            total = canonical_binder(Sum(Mul(*inside), *expr.indices))
            return Mul(*(f for f in factors if f not in inside)) * self.sums.setdefault(
                total, Dummy()
            )
        if (let := self.seen.get(tensor_name(expr))) is not None:
            return self.of(substitute(expr, [let]))
        polynomial = isinstance(expr, Add | Mul) or (isinstance(expr, Pow) and expr.exp.is_Integer)
        return with_args(expr, [self.of(a) for a in expr.args]) if polynomial else expr

    def centred(self, total: Add) -> Expr:
        """A sum of terms with its moments about the mean; what has no part in one is as it was."""
        placed = {term: self.of(term) for term in total.args}
        if len(self.sums) < 2:
            return total
        parts = {term: terms_of(value) for term, value in placed.items()}
        terms = terms_of(Add(*placed.values()))
        taken: set[Expr] = set()
        moments: list[Expr] = []
        for product in terms:
            for moment, count, about in self._moments(product):
                scale = terms.get(moment, 0)
                if scale != 0 and normalise(scale + count * terms[product]) == 0:
                    moments.append(scale * about)
                    taken |= {product, moment}
                    break
        if not moments:
            return total
        apart = [term for term, own in parts.items() if taken.isdisjoint(own)]
        left = [
            rebuild({m: c for m, c in own.items() if m not in taken})
            for term, own in parts.items()
            if term not in apart
        ]
        meant = {place: total for total, place in self.sums.items()}
        return Add(*apart, *(part.xreplace(meant) for part in (*left, *moments)))

    def _moments(self, product: Expr) -> Iterator[tuple[Expr, Expr, Expr]]:
        """For two sums in a product: what there is in place of the product with the second moment
        for them, over how many terms it runs, and it about the means."""
        sums = {place: total for total, place in self.sums.items()}
        powers = product.as_powers_dict()
        for one, other in combinations_with_replacement([p for p in sums if p in powers], 2):
            x, y = sums[one], sums[other]
            rest = product / (one * other)
            if [i.axis for i in x.indices] != [i.axis for i in y.indices] or rest.has(1 / one):
                continue
            body = y.body.xreplace(dict(zip(y.indices, x.indices, strict=True)))
            moment = canonical_binder(Sum(x.body * body, *x.indices))
            if moment in self.sums:
                count = count_of(x.indices)
                about = Mul(x.body - x / count, body - y / count)
                yield rest * self.sums[moment], count, rest * Sum(about, *x.indices)
