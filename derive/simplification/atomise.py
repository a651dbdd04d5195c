"""Propose lets: cut a definition into steps small enough to be solved for what they hide.

Whatever way a definition is written, its lets are cut until each is one of a reduction, one
elementwise function, or a polynomial. The new lets are proposals: the forward pass gets
those that the simplified gradient ends up using, and no others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sympy import Add, Expr, KroneckerDelta, Mul, Pow, S, default_sort_key, exp, log

from derive.calculus.contractions import has_contraction, is_contraction
from derive.calculus.differentiate import cotangents_of
from derive.calculus.normal import normalise
from derive.calculus.recognise import Named, abstract, is_atomic
from derive.language.cotangents import cotangent_name, primal_name
from derive.language.definition import Definition, Let, Tensor
from derive.language.expressions import (
    Axis,
    Element,
    Index,
    Sum,
    Where,
    count_of,
    free_indices,
    fresh_names,
    is_scalar,
    names_used,
    tensor_name,
)
from derive.language.facts import is_nonnegative, is_nonzero, is_positive, is_total
from derive.language.functions import BY_CLASS
from derive.language.substitute import substitute
from derive.simplification.exact_names import called, mixes_sizes, names, scaled_name
from derive.simplification.naming import stem, word
from derive.simplification.roots import root_word
from derive.simplification.weights import as_quotients, is_exponential, weights


@dataclass
class Atomiser:
    """Cuts lets in order, remembering what it has named."""

    taken: set[str]
    lets: list[Let] = field(default_factory=list)
    proposed: set[str] = field(default_factory=set)
    divisors: set[str] = field(default_factory=set)
    axes: tuple[Axis, ...] = ()
    averaged: set[Expr] = field(default_factory=set)
    known: dict[Expr, Named] = field(default_factory=dict)

    def add(self, let: Let) -> None:
        """Cut one let of the definition."""
        value = let.value if let.tensor.integer else self._visit(as_quotients(let.value), top=True)
        self._remember(value, let.tensor)
        self.lets.append(Let(let.tensor, value))

    def keep(self, let: Let) -> None:
        """Take one let of the definition as it is."""
        self.lets.append(let)

    def propose(self, value: Expr) -> None:
        """Cut what a gradient may be written in, and name it."""
        self._visit(value)

    def _remember(self, value: Expr, tensor: Tensor) -> None:
        pattern, letters = abstract(value)
        if set(letters) == set(tensor.indices):
            self.known.setdefault(pattern, Named(tensor, letters))

    def named(self, value: Expr, name: str) -> Expr:
        """The element of a let with this value: one that is known, or a new proposal."""
        if is_atomic(value):
            return value
        pattern, letters = abstract(value)
        if pattern in self.known:
            return self.known[pattern].at(letters)
        (fresh,) = fresh_names([name], self.taken)
        # In a backward pass that is differentiated, a cotangent may be what is proposed.
        self.taken |= {fresh, cotangent_name(fresh), primal_name(fresh)}
        home = _home(self._in_order(value, letters))
        here = value.xreplace(home)
        positive = is_positive(value)
        tensor = Tensor(
            fresh,
            tuple(home.values()),
            positive=positive,
            nonnegative=not positive and is_nonnegative(value),
        )
        self.proposed.add(fresh)
        self.lets.append(Let(tensor, here))
        self._remember(here, tensor)
        return tensor[tuple(home)]

    def _in_order(self, value: Expr, letters: Sequence[Index]) -> list[Index]:
        """Letters as a tensor that has all of them has them, or as the axes are in order, which
        they are where two of them are of one axis."""
        if len({letter.axis for letter in letters}) < len(letters):
            return sorted(letters, key=self._place)
        elements = sorted(value.atoms(Element), key=default_sort_key)
        whole = (list(e.indices) for e in elements if Counter(e.indices) == Counter(letters))
        return next(whole, sorted(letters, key=self._place))

    def _place(self, index: Index) -> tuple[int, bool, str]:
        return self.axes.index(index.axis), index.name != index.axis.name, index.name

    def _visit(self, expr: Expr, top: bool = False) -> Expr:
        if is_atomic(expr) or is_scalar(expr):
            return expr
        if isinstance(expr, Sum):
            if is_contraction(expr):
                return self._contraction(expr, top)
            value = Sum(self._summand(expr), *expr.indices)
            if top:
                return value
            if abstract(expr)[0] in self.averaged:
                count = count_of(expr.indices)
                return count * self.named(value / count, word(value / count))
            return self.named(value, word(value))
        if isinstance(expr, Mul):
            return self._product(expr, top)
        if isinstance(expr, Add):
            value = Add(*(self._visit(a, top and has_contraction(a)) for a in expr.args))
            return value if top or not mixes_sizes(value) else self.named(value, word(value))
        if isinstance(expr, Pow):
            return self._power(expr, top)
        if isinstance(expr, Where) and is_exponential(expr):
            return expr if top else self.named(expr, f"{stem(expr)}_weight")
        if isinstance(expr, Where):
            compared = expr.condition.atoms(Sum)
            joined = sorted(filter(is_contraction, compared), key=default_sort_key)
            whole = expr.xreplace({contraction: self._visit(contraction) for contraction in joined})
            return Where(*(self._sums_named(part, compared) for part in whole.args))
        if isinstance(expr, exp) and (weight := self._weight(expr)) is not None:
            return weight if top else self.named(weight, "p")
        if type(expr) in BY_CLASS:
            value = expr.func(*(self._visit(a) for a in expr.args))
            if isinstance(value, log):
                self._divide_by(value.args[0])
            if top or type(value) not in BY_CLASS:
                return value
            return self.named(value, self._function_word(value))
        return expr

    def _weight(self, expr: exp) -> Expr | None:
        """`exp(z - log(s))` as the weight `exp(z)/s` that it is, where s is the sum of those."""
        meant = [let for let in self.lets if not let.value.has(Sum)]
        argument = expr.args[0]
        while (further := substitute(argument, meant)) != argument:
            argument = further
        logarithms = [a for a in Add.make_args(argument) if isinstance(-a, log)]
        if len(logarithms) != 1:
            return None
        total, above = (-logarithms[0]).args[0], exp(argument - logarithms[0])
        sums = (let for let in self.lets if let.name == tensor_name(total))
        summed = next((let.value for let in sums if isinstance(let.value, Sum)), None)
        if summed is None:
            return None
        element = self._visit(above)
        if not isinstance(element, Element) or element.tensor_name != tensor_name(summed.body):
            return None
        return element / total

    def _summand(self, expr: Sum) -> Expr:
        """What a sum adds up; weights that differ from term to term stay beside what they weigh."""
        body = expr.body
        if isinstance(body, Mul) and is_exponential(body):
            return self.named(self._product(body, top=False), f"{stem(body)}_weight")
        if isinstance(body, Mul):
            return self._product(body, top=False, bound=frozenset(expr.indices))
        return self._visit(body)

    def _sums_named(self, part: Any, compared: set[Sum]) -> Any:
        """The condition or a branch of a choice with names for its sums, of which there is one
        whatever is chosen; what has a value only where it is chosen stays inside. So does a sum
        that a branch is linear in, unless it is compared too."""
        linear = {f for term in Add.make_args(part) for f in Mul.make_args(term)} - compared
        return part.replace(
            lambda e: isinstance(e, Sum) and e not in linear and not is_scalar(e) and is_total(e),
            self._visit,
        )

    def _contraction(self, expr: Sum, top: bool) -> Expr:
        """Name what a contraction joins, and the contraction where an expression uses it."""
        factors = [self._visit(f) for f in Mul.make_args(expr.body)]
        made = [f for f in factors if not is_scalar(f) and set(names(f)) & self.proposed]
        given = [f for f in factors if f not in made]
        if len(made) > 1 and not any(f.has(Sum) for f in made):
            product = Mul(*made)
            made = [self.named(product, "p" if any(f.has(Pow) for f in made) else word(product))]
        value = Sum(Mul(*given, *made), *expr.indices)
        return value if top else self.named(value, word(value))

    def _power(self, expr: Pow, top: bool) -> Expr:
        base, exponent = expr.args
        if not is_scalar(exponent):
            return expr
        base = self._visit(base)
        if exponent.is_negative:
            self._divide_by(base)
        value = Pow(base, exponent)
        simple = is_atomic(base) and exponent.is_Integer
        if (
            top
            or simple
            or (exponent.is_Integer and exponent.is_positive)
            or not isinstance(value, Pow)
        ):
            return value
        if exponent.is_Integer and exponent < -1:
            return Pow(self._power(1 / base, top=False), -exponent)
        if -exponent == 1 and (inside := self._logistic_exponent(base)) is not None:
            name = called("sigmoid", -inside)
        else:
            name = root_word(value, self.lets) if abs(exponent) == S.Half else word(value)
        return self.named(value, name)

    def _function_word(self, value: Expr) -> str:
        """What a function is called, the exponential in it seen through where that has a name."""
        inside = self._logistic_exponent(value.args[0]) if isinstance(value, log) else None
        return word(value) if inside is None else called("softplus", inside)

    def _logistic_exponent(self, below: Expr) -> Expr | None:
        """The w of `1 + exp(w)`, whose inverse has a name of its own."""
        named = {let.name: let.value for let in self.lets}
        terms = [named.get(a.tensor_name) if isinstance(a, Element) else a for a in below.args]
        inside = [a.args[0] for a in terms if isinstance(a, exp)]
        return inside[0] if len(terms) == 2 and 1 in terms and inside else None

    def _divide_by(self, base: Expr) -> None:
        if name := tensor_name(base):
            self.divisors.add(name)

    def _product(self, expr: Mul, top: bool, bound: frozenset[Index] = frozenset()) -> Expr:
        """A coefficient times one sum is a reduction; else a full tensor times a scale is a let.

        A scale does not depend on the letters that are bound around the product.
        """
        scalars = [a for a in expr.args if is_scalar(a)]
        others = [a for a in expr.args if not is_scalar(a)]
        coefficient = Mul(*scalars)
        if len(others) == 1 and isinstance(others[0], Sum):
            inner = others[0]
            if is_contraction(inner):
                return coefficient * self._contraction(inner, top)
            if top:
                return coefficient * Sum(self._summand(inner), *inner.indices)
            return coefficient * self._visit(inner)
        visited = [self._visit(a) for a in others]
        letters = free_indices(expr)
        full = [a for a in visited if is_atomic(a) and free_indices(a) == letters]
        scales = [
            a
            for a in visited
            if free_indices(a) < letters
            and not free_indices(a) & bound
            and len(names(a)) == 1
            and is_nonzero(a, frozenset(self.divisors))
        ]
        if len(full) == 1 and scales and not (top and len(full) + len(scales) == len(visited)):
            rest = [a for a in visited if a not in full and a not in scales]
            scaled = self.named(Mul(*full, *scales), scaled_name(full[0]))
            return Mul(coefficient, *rest, scaled)
        return Mul(coefficient, *visited)


def atomise(definition: Definition) -> tuple[tuple[Let, ...], frozenset[str], frozenset[str]]:
    """A definition's lets in small steps, the names of the proposals among them, and the divisors.

    A positive reduction `s = sum_k f` that is divided by, or in a logarithm, also proposes the
    normalised `f/s`; so does `1 + s`.
    """
    taken = {*definition.tensors, *(o.name for o in definition.options)}
    taken = taken.union(*map(cotangents_of, definition.tensors.values()))
    taken |= {axis.name for axis in definition.axes} | {axis.size.name for axis in definition.axes}
    atomiser = Atomiser(taken, axes=definition.axes, averaged=_averaged(definition))
    inlined = weights(definition)
    for let in definition.lets:
        if let.name in inlined:
            atomiser.keep(let)
        else:
            atomiser.add(replace(let, value=substitute(let.value, inlined.values())))
    for let in list(atomiser.lets):
        if isinstance(let.value, exp) and _in_softplus(let, atomiser.lets):
            atomiser.propose(1 / (1 + exp(-let.value.args[0])))
    values = {let.name: let for let in atomiser.lets}
    for let in list(atomiser.lets):
        found = _plain_summand(let, values)
        if found is None:
            continue
        summand, total = found
        for number in _beside(let.name, values.values()):
            ratio = summand / (number + total)
            if not any(_is_ratio(other, ratio, values) for other in atomiser.lets):
                atomiser.named(ratio, "p")
                if number == 0 and total == let.tensor.element:
                    atomiser.lets[-1] = _summing_to_one(atomiser.lets[-1], let.value.indices)
    return tuple(atomiser.lets), frozenset(atomiser.proposed), frozenset(atomiser.divisors)


def _averaged(definition: Definition) -> set[Expr]:
    """The sums that the definition divides by the number of their terms, somewhere."""
    found = set()
    for let in definition.lets:
        for term in let.value.atoms(Mul):
            coefficient = Mul(*(a for a in term.args if is_scalar(a)))
            for factor in term.args:
                total, power = factor.as_base_exp() if isinstance(factor, Pow) else (factor, 1)
                if not isinstance(total, Sum):
                    continue
                if _divides_by(coefficient, count_of(total.indices) ** power):
                    found.add(abstract(total)[0])
    return found


def _divides_by(coefficient: Expr, count: Expr) -> bool:
    """Whether a coefficient is one over a count, its sign aside; something may stand beside the
    count, as in `1/(2*N)` and `1/(N - 1)`."""
    below = 1 / coefficient
    return count == abs(below) or count in below.args


def _plain_summand(let: Let, values: dict[str, Let]) -> tuple[Expr, Expr] | None:
    """The f of `s = sum_k f`, where f is an exponential that has a name, and the sum that it is in:
    `s`, or `s[j[n]]` of `s[q] = sum_n delta(q, j[n]) f[n]`."""
    if not isinstance(let.value, Sum):
        return None
    total, factors = let.tensor.element, Mul.make_args(let.value.body)
    deltas = [f for f in factors if isinstance(f, KroneckerDelta)]
    for one, other in (sides for d in deltas for sides in (d.args, d.args[::-1])):
        total = total.xreplace({one: other}) if one in let.tensor.indices else total
    body = Mul(*(f for f in factors if f not in deltas))
    if not isinstance(body, Element) or body.tensor_name not in values:
        return None
    summed = values[body.tensor_name]
    powers = [own for own in values.values() if isinstance(own.value, exp)]
    return (body, total) if is_exponential(substitute(summed.value, powers)) else None


def _in_softplus(exponential: Let, lets: Sequence[Let]) -> bool:
    """Whether there is a logarithm of one more than an exponential, whose slope is a sigmoid, and
    nothing made of that logarithm gives the slope already, as `1 - exp(-log(1 + e))` does."""
    softplus = log(1 + exponential.tensor.element)
    made = {let.name for let in lets if let.value.has(softplus)}
    taken = {tensor_name(-let.value.args[0]) for let in lets if isinstance(let.value, exp)}
    return bool(made) and not made & taken


def _beside(name: str, lets: Iterable[Let]) -> list[Expr]:
    """The numbers that are added to a tensor where it is divided by or in a logarithm, zero where
    it stands alone."""
    parts = (part for let in lets for part in let.value.atoms(log, Pow))
    divided = (p for p in parts if isinstance(p, log) or not p.args[1].is_positive)
    apart = (p.args[0].as_coeff_Add() for p in divided if name in names_used(p))
    found = {n if tensor_name(rest) == name and n.is_positive else S.Zero for n, rest in apart}
    return sorted(found)


def _summing_to_one(share: Let, over: tuple[Index, ...]) -> Let:
    """The share that each summand has of a sum over one letter, with what is known of it."""
    letters = [i for i in share.tensor.indices if i in over]
    letters = letters or [i for i in share.tensor.indices if i.axis in {o.axis for o in over}]
    if len(over) != 1 or len(letters) != 1:
        return share
    return replace(share, tensor=replace(share.tensor, sums_to_one=letters[0]))


def _is_ratio(let: Let, ratio: Expr, values: dict[str, Let]) -> bool:
    """Whether a let is the ratio already, once powers with names of their own are spelt out."""
    powers = [own for own in values.values() if isinstance(own.value, Pow)]
    value = substitute(let.value, powers)
    return abstract(normalise(value))[0] == abstract(normalise(ratio))[0]


def _home(letters: list[Index]) -> dict[Index, Index]:
    """The letters a proposal is declared with: the axis's own name, a second letter as it is."""
    home: dict[Index, Index] = {}
    for index in letters:
        own = Index(index.axis.name, index.axis)
        home[index] = index if own in home.values() or own in letters else own
    return home
