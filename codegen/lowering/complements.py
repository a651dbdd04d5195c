"""Functions that have a name, seen through where what they come near, or grow to, is lost:

    a/(1 - s), log(1 - s)         read the sigmoid of the opposite argument for 1 - s
    x*s*(1 - s)                   does too, as x grows where 1 - s is rounded to zero
    a/(1 + erf)                   reads erfc
    y**2*sinh(x), y = 1/cosh(x)   is y*tanh(x)

The opposite sigmoid costs a kernel: `g*s*(1 - s)`, and what is added to something else, is left as
it is, unless the sigmoid is read for nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from sympy import Add, Basic, Expr, Mul, Pow, cosh, erf, log, sinh

from codegen.lowering import elementary
from codegen.lowering.forms import Log1p, LogAddExp, Sigmoid
from codegen.lowering.stable_expressions import stabilise
from codegen.lowering.underflow import by_name
from derive.language.definition import Let
from derive.language.expressions import Element, names_used, tensor_name
from derive.language.substitute import substitute


def complemented(lets: Sequence[Let], made: Iterable[Let], instead: bool = True) -> tuple[Let, ...]:
    """The lets with `1 - s` as the sigmoid of the opposite argument where it must be, or where the
    sigmoid is read for nothing else, if they may read that `instead`; and with erfc likewise."""
    for let in made:
        if isinstance(let.value, Sigmoid | erf):
            told = [_told_from_one(other, let) for other in lets]
            free = instead and isinstance(let.value, Sigmoid)
            if not (free and all(let.name not in names_used(other.value) for other in told)):
                pairs = zip(lets, told, strict=True)
                told = [
                    new if old != new and _is_lost(old.value, let) else old for old, new in pairs
                ]
            lets = told
    return tuple(lets)


def _told_from_one(let: Let, named: Let) -> Let:
    read = isinstance(let.value, Expr) and named.name in names_used(let.value)
    if not read or let.name == named.name:
        return let
    return replace(let, value=by_name(stabilise(substitute(let.value, [named])), [named]))


def _is_lost(value: Any, named: Let) -> bool:
    """Whether a value divides by what a function leaves of one, takes its logarithm, or has it as a
    factor beside what grows meanwhile."""
    below = [p.base for p in value.atoms(Pow) if p.exp.could_extract_minus_sign()]
    inside = [e.args[0] for e in value.atoms(log)]
    near_one = [1 + e.args[0] for e in value.atoms(Log1p)]
    if any(_is_left(part, named) for e in (*below, *inside, *near_one) for part in e.atoms(Add)):
        return True
    terms = [Mul.make_args(term) for term in Add.make_args(value)]
    return all(any(_vanishes(f, named) for f in term) for term in terms) and any(
        any(_is_left(f, named) for f in term) and any(_grows(f, named) for f in term)
        for term in terms
    )


def _is_left(total: Basic, named: Let) -> bool:
    """Whether a sum is what the function leaves of one."""
    number, rest = total.as_coeff_Add() if isinstance(total, Add) else (0, total)
    scale, element = rest.as_coeff_Mul()
    return abs(number) == abs(scale) != 0 and tensor_name(element) == named.name


def _vanishes(factor: Expr, named: Let) -> bool:
    """Whether a factor is zero where the function is one."""
    if isinstance(factor, LogAddExp):
        return isinstance(named.value, Sigmoid) and {*factor.args} == {0, -named.value.args[0]}
    return isinstance(named.value, Sigmoid) and _is_left(factor, named)


def _grows(factor: Expr, named: Let) -> bool:
    """Whether a factor is what the function is of, or its softplus."""
    (argument,) = named.value.args
    if isinstance(factor, LogAddExp):
        return {*factor.args} == {0, argument}
    read = argument.as_coeff_Mul()[1]
    return isinstance(factor, Element) and tensor_name(factor) == tensor_name(read)


def without_growth(lets: Sequence[Let], made: Iterable[Let]) -> tuple[Let, ...]:
    """The lets, each in which hyperbolic functions grow that meet others, made before, in terms of
    what is bounded."""
    grown = {let.name: let for let in made if let.value.has(sinh, cosh)}
    for let in made:
        if isinstance(let.value, Expr) and names_used(let.value) & grown.keys():
            grown[let.name] = replace(let, value=substitute(let.value, grown.values()))
    return tuple(replace(let, value=_bounded(let.value, [*grown.values()])) for let in lets)


def _bounded(value: Any, grown: Sequence[Let]) -> Any:
    written = substitute(value, grown)
    if not written.has(sinh, cosh):
        return value
    met = written.replace(lambda e: isinstance(e, Mul), elementary.together)
    met = by_name(met, grown)
    return value if met.has(sinh, cosh) else met
