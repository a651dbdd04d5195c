"""What the backward pass would compute and the forward pass computes anyhow is kept instead.

A part of the gradient that is made of the primal alone, and that stands in the forward pass
too, becomes a let of it: `x - target` for the gradient of a squared error. It is kept where no
more memory is kept for it than before, and where computing it again would be a reduction;
what is computed element by element is rather done again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from sympy import Add, Basic, Expr, Integer, KroneckerDelta, Mul, Pow, default_sort_key, expand_mul

from derive.calculus.differentiate import cotangents_of
from derive.calculus.normal import normalise
from derive.calculus.recognise import Named, abstract, is_atomic, with_signs
from derive.language.definition import Definition, Let, Tensor
from derive.language.expressions import (
    Affine,
    ArgMax,
    Binder,
    Element,
    Index,
    Where,
    fresh_names,
    is_scalar,
    names_used,
    with_args,
)
from derive.language.facts import is_total
from derive.language.substitute import substitute
from derive.simplification.naming import word
from derive.simplification.work import size, work

_WORTH_KEEPING = 8.0
"""Operations for each number kept that are too many to be done again."""


@dataclass(frozen=True)
class Passes:
    """Both passes, and the lets of the forward one that were named for the backward one."""

    forward: tuple[Let, ...]
    backward: tuple[Let, ...]


def in_primal(definition: Definition, forward: Sequence[Let], backward: Sequence[Let]) -> Passes:
    """The passes with a let for each part of the gradient that is worth keeping."""
    repeats = [let for let in forward if _repeats(let)]
    forward = [replace(let, value=substitute(let.value, repeats)) for let in forward]
    passes = Passes(tuple(forward), tuple(backward))
    while (better := _one_more(definition, passes)) is not None:
        passes = better
    everything = _all_more(definition, passes)
    return everything if _kept(definition, everything) <= _kept(definition, passes) else passes


def _repeats(let: Let) -> bool:
    """Whether a let is another tensor under its name, letter for letter."""
    return isinstance(let.value, Element) and let.value.indices == let.tensor.dims


def _one_more(definition: Definition, passes: Passes) -> Passes | None:
    """The passes with the largest part that is worth it named; None where there is none."""
    before = _kept(definition, passes)
    for part in _common_parts(definition, passes):
        named = _named(definition, passes, part)
        more = _kept(definition, named) - before
        if more <= 0 or work([part]) > _WORTH_KEEPING * more:
            return named
    return None


def _all_more(definition: Definition, passes: Passes) -> Passes:
    """The passes with every part named: together they may take the place of what they read."""
    while parts := _common_parts(definition, passes):
        passes = _named(definition, passes, parts[0])
    return passes


def _common_parts(definition: Definition, passes: Passes) -> list[Expr]:
    """The parts that both passes compute, as the forward pass writes them, largest first."""
    known = {t.name for t in definition.inputs} | {o.name for o in definition.options}
    known |= {let.name for let in passes.forward} | {a.size.name for a in definition.axes}
    computed = {
        _pattern(e)[0]: e for let in passes.forward for e in _parts(let.value) if e != let.value
    }
    wanted: dict[Expr, Expr] = {}
    for let in passes.backward:
        for part in _parts(let.value):
            for _, same in _multiples(part):
                pattern = _pattern(same)[0]
                if pattern in computed and names_used(part) <= known:
                    wanted[pattern] = computed[pattern]
    return sorted(wanted.values(), key=lambda e: (-e.count_ops(), default_sort_key(e)))


def _kept(definition: Definition, passes: Passes) -> float:
    """How many numbers, nominally, the backward pass reads of the primal."""
    read = names_used(*(let.value for let in passes.backward))
    tensors = (*definition.inputs, *(let.tensor for let in passes.forward))
    return sum(size(t.indices) for t in tensors if t.name in read)


@lru_cache(maxsize=50_000)
def _pattern(expr: Expr) -> tuple[Expr, tuple[Index, ...]]:
    """A part in normal form with its letters numbered, and those letters."""
    return abstract(normalise(expr)) if isinstance(expr, Add | Mul) else abstract(expr)


def _multiples(expr: Any) -> Iterator[tuple[Expr, Any]]:
    """An expression and, of a sum, what it is a multiple of: its negative, and by each number that
    a term is multiplied by, as `2*a - 2*b` is of `a - b`."""
    for sign, same in with_signs(expr):
        yield Integer(sign), same
    if isinstance(expr, Add):
        numbers = {abs(term.as_coeff_Mul()[0]) for term in expr.args} - {1}
        for number in sorted(numbers):
            for sign, same in with_signs(expand_mul(expr / number)):
                yield sign * number, same


def _parts(expr: Basic, chosen: bool = False) -> Iterator[Expr]:
    """The subexpressions that are computed: no element that is not looked up, no number, no
    condition.

    In a branch that may not be `chosen` everywhere, only what has a value everywhere.
    """
    if not expr.args or is_scalar(expr) or isinstance(expr, KroneckerDelta | ArgMax):
        return
    looked_up = isinstance(expr, Element)
    if looked_up and all(isinstance(i, Index | Affine) for i in expr.indices):
        return
    number, rest = expr.as_coeff_Mul() if isinstance(expr, Mul) else (1, None)
    multiple = rest is not None and number != 1 and is_atomic(rest)
    inverse = isinstance(expr, Pow) and expr.exp == -1  # dividing is as cheap as multiplying
    # What is made of integers may be a place, and a part that is named holds real numbers.
    place = not looked_up and all(e.is_integer for e in expr.atoms(Element))
    plain = not (multiple or inverse or place or expr.has(KroneckerDelta, ArgMax))
    partial = chosen and not is_total(expr)
    if isinstance(expr, Expr) and plain and expr.atoms(Element) and not partial:
        yield expr
    if isinstance(expr, Where):
        yield from _parts(expr.condition, chosen)
        for branch in expr.branches:
            yield from _parts(branch, chosen=True)
    elif not looked_up:
        for arg in expr.args[:1] if isinstance(expr, Binder) else expr.args:
            yield from _parts(arg, chosen)


def _named(definition: Definition, passes: Passes, expr: Expr) -> Passes:
    """The passes with a let for a part, before the forward let that computes it first."""
    pattern, letters = _pattern(expr)
    taken = {t.name for t in definition.inputs} | {o.name for o in definition.options}
    taken = taken.union(*map(cotangents_of, definition.tensors.values()))
    taken |= {let.name for let in (*passes.forward, *passes.backward)}
    (name,) = fresh_names([word(expr)], taken)
    ordered = sorted(letters, key=lambda i: (definition.axes.index(i.axis), i.name))
    fullest = max(expr.atoms(Element), key=lambda e: (len(abstract(e)[1]), str(e)))
    if any(not isinstance(i, Index) for i in fullest.indices):  # the letters of what is looked up
        ordered = dict.fromkeys([*(i for i in abstract(fullest)[1] if i in letters), *ordered])
    looked_up = isinstance(expr, Element) and bool(expr.is_integer)
    tensor = Tensor(name, tuple(ordered), integer=looked_up)

    def replaced(value: Any) -> Any:
        if not value.args or is_scalar(value):
            return value
        for times, same in _multiples(value):
            found, at = _pattern(same)
            if found == pattern:
                return times * Named(tensor, letters).at(at)
        return with_args(value, [replaced(a) for a in value.args])

    first = next(
        place for place, let in enumerate(passes.forward) if replaced(let.value) != let.value
    )
    forward = [replace(let, value=replaced(let.value)) for let in passes.forward]
    forward.insert(first, Let(tensor, expr))
    backward = (replace(let, value=replaced(let.value)) for let in passes.backward)
    return Passes(tuple(forward), tuple(backward))
