"""A backward pass that divides by what may have been rounded to zero: seen through, it has none.

    p[k] / sum_k Where(c, p[k], 0)   is a softmax of what c leaves, for a softmax p
    p[n] / mean_n p[n]               is one along n, of the logarithms
    sqrt(p[k]) / sum_k sqrt(p[k])    is one of half the exponents

What is small, and is made of such parts, has a logarithm that is safe. See `stable_expressions`
for how the parts meet what they are divided by, and `others` for what is divided by `1 - p[j]`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Any

from sympy import Basic, Expr, Mul, Pow, exp, log

from codegen.lowering.forms import LogAddExp, LogSoftmax, LogSumExp, Sigmoid, Softmax
from codegen.lowering.hazards import bare_exponentials, underflows
from codegen.lowering.others import chosen_places
from codegen.lowering.stable_expressions import stabilise
from derive.calculus.normal import normalise
from derive.calculus.recognise import Named, abstract
from derive.language.definition import Let
from derive.language.expressions import (
    Element,
    Sum,
    Where,
    free_indices,
    names_used,
    tensor_name,
)
from derive.language.substitute import replace_exactly, substitute


def has_safe_logarithm(expr: Expr) -> bool:
    return is_safe_logarithm(stabilise(log(expr)))


def is_safe_logarithm(safe: Expr) -> bool:
    """Whether neither an exponential nor a logarithm of what is made of such is left."""
    return not (bare_exponentials(safe) or underflows(safe))


def without_underflow(lets: Sequence[Let], made: Sequence[Let]) -> tuple[Let, ...]:
    """The lets, each that divides by what may have underflowed in terms of what that is made of,
    where it then divides by nothing of the kind."""
    names = {let.name for let in made}
    if not any(below & names for let in lets for below in map(names_used, _below(let.value))):
        return tuple(lets)
    parts = Parts.of(made)
    result: list[Let] = []
    earlier: dict[str, Let] = {}  # what reads parts, the others written into it
    for let in lets:
        spelt = substitute(let.value, earlier.values())
        if parts.may_divide_by_zero(let.value):
            safe = parts.safe([let.value, spelt] if spelt != let.value else [let.value])
            let = replace(let, value=next(safe, let.value))
        result.append(let)
        if names_used(spelt) & parts.meant.keys():
            earlier[let.name] = replace(let, value=spelt)
    return tuple(result)


@dataclass(frozen=True)
class Parts:
    """The lets that are parts, each as it is `written` and all of it written out (`meant`); what
    `reads` such, written out too; those `named` that are a softmax or a sigmoid; and the names of
    those that are `small` but neither."""

    written: Mapping[str, Let]
    meant: Mapping[str, Let]
    reads: Mapping[str, Let]
    named: tuple[Let, ...]
    small: frozenset[str]

    @staticmethod
    def of(made: Iterable[Let]) -> Parts:
        written: dict[str, Let] = {}
        meant: dict[str, Let] = {}
        reads: dict[str, Let] = {}
        named: list[Let] = []
        small: set[str] = set()
        for let in made:
            through = replace(let, value=substitute(let.value, {**meant, **reads}.values()))
            if not (isinstance(let.value, Expr) and through.value.has(exp)):
                continue
            safe = stabilise(through.value)
            if isinstance(safe, Softmax | Sigmoid):
                named.append(replace(let, value=safe))
            elif isinstance(safe.as_coeff_Mul()[1], LogSoftmax | LogAddExp | LogSumExp):
                pass
            elif not has_safe_logarithm(through.value):
                reads[let.name] = through
                continue
            elif safe.has(LogSumExp, LogSoftmax, Softmax):
                small.add(let.name)
            written[let.name], meant[let.name] = let, through
        return Parts(written, meant, reads, tuple(named), frozenset(small))

    @cached_property
    def quotients(self) -> frozenset[str]:
        return frozenset(let.name for let in self.named)

    def may_divide_by_zero(self, value: Any) -> bool:
        """Whether it divides by what is small, or is made of a softmax or a sigmoid."""
        return any(
            names_used(base) & self.small
            or (not isinstance(base, Element) and names_used(base) & self.quotients)
            for base in _below(value)
        )

    def safe(self, values: Iterable[Expr]) -> Iterator[Expr]:
        """The values in which nothing is divided by what may be zero, if they have such a form."""
        forms = [form for value in values for form in (value, self._joined(value))]
        whole = {**self.meant, **self.reads}
        for form, meant in product(forms, (self.meant, whole)):
            found = self._by_name(stabilise(substitute(form, meant.values())))
            if is_safe_logarithm(found) and not self.may_divide_by_zero(found):
                yield found

    def _joined(self, value: Expr) -> Expr:
        """A value multiplied out, in which a part that is chosen or left out is a choice, and a sum
        that has a name is read by that."""
        chosen = normalise(value).replace(lambda e: isinstance(e, Mul), self._chosen)
        sums = [let for let in self.written.values() if isinstance(let.value, Sum)]
        return normalise(by_name(chosen, sums))

    def _chosen(self, term: Mul) -> Expr:
        masks = [f for f in term.args if _is_mask(f)]
        parts = [f for f in term.args if tensor_name(f) in self.quotients]
        if len(masks) != 1 or not parts:
            return term
        (mask,) = masks
        inside = Where(mask.condition, *(Mul(b, *parts) for b in mask.branches))
        return Mul(inside, *(f for f in term.args if f is not mask and f not in parts))

    def _by_name(self, value: Expr) -> Expr:
        """A value that reads softmaxes and sigmoids by their names, also one part of the former."""
        value = by_name(value, self.named)
        for let in self.named:
            for part in value.atoms(exp):
                for place in chosen_places(part):
                    for at in _at(let, place):
                        if stabilise(self.meant[let.name].at(*at)) == part:
                            value = replace_exactly(value, part, let.tensor[at])
        return value


def _below(value: Basic) -> list[Expr]:
    """What is divided by."""
    return [p.base for p in value.atoms(Pow) if p.exp.could_extract_minus_sign()]


def _is_mask(factor: Expr) -> bool:
    return isinstance(factor, Where) and all(b.is_number for b in factor.branches)


def _at(let: Let, place: Any) -> Iterator[tuple[Any, ...]]:
    """The indices of a softmax with a place in one of them, if the place is of the others."""
    for own in let.tensor.indices:
        at = tuple(place if i == own else i for i in let.tensor.indices)
        if free_indices(place) <= {*at} if isinstance(place, Basic) else True:
            yield at


def by_name(value: Expr, lets: Iterable[Let]) -> Expr:
    """A value that reads each softmax, sigmoid or sum which has a name by that."""
    for let in lets:
        pattern, own = abstract(let.value)
        if set(own) != set(let.tensor.indices):
            continue  # it is repeated along an axis: nothing says where it is to be read
        for found in value.atoms(type(let.value)):
            other, letters = abstract(found)
            if other == pattern:
                value = replace_exactly(value, found, Named(let.tensor, own).at(letters))
    return value
