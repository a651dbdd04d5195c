"""A backward pass that divides by the tail of an integral: seen through, it has neither that nor
the exponential that vanishes with it.

    exp(-x**2) / tail   is 1/Erfcx(x), where tail = erfc(x)
    exp(-z**2) / p      is 2/Erfcx(-z), where p = 1/2 + erf(z)/2
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sympy import Expr, Pow, erf, exp

from codegen.lowering.elementary import tail
from codegen.lowering.forms import Erfcx
from codegen.lowering.stable_expressions import stabilise
from codegen.lowering.underflow import by_name
from derive.language.definition import Let
from derive.language.expressions import Sum, names_used
from derive.language.functions import erfc
from derive.language.substitute import substitute


def without_tails(lets: Sequence[Let], made: Sequence[Let]) -> tuple[Let, ...]:
    """The lets, each that divides by a tail, made before, in terms of what that is a tail of, where
    it then has no exponential any more."""
    written = _written(made)
    if not any(let.value.has(erf, erfc) for let in written.values()):
        return tuple(lets)
    return tuple(replace(let, value=_seen_through(let.value, written, made)) for let in lets)


def _seen_through(value: Any, written: Mapping[str, Let], made: Sequence[Let]) -> Any:
    tails = [
        written[name]
        for name in sorted(_divisors(value) & written.keys())
        if written[name].value.has(erf, erfc)
    ]
    if not tails:
        return value
    inner = [let for let in written.values() if not let.value.has(erf, erfc)]
    for form in (value, substitute(value, inner)):
        safe = stabilise(substitute(form, tails))
        if safe.has(Erfcx) and not safe.has(exp):
            return by_name(safe, [let for let in made if let.name in written])
    return value


def _divisors(value: Any) -> set[str]:
    """The names of what a value divides by."""
    return names_used(*(p.base for p in value.atoms(Pow) if p.exp.could_extract_minus_sign()))


def _written(made: Iterable[Let]) -> dict[str, Let]:
    """What is a tail, and the elementwise lets that it may be read beside, by name and written
    out."""
    written: dict[str, Let] = {}
    for let in made:
        if not isinstance(let.value, Expr) or let.value.has(Sum):
            continue
        through = replace(let, value=substitute(let.value, written.values()))
        if not through.value.has(erf, erfc) or tail(through.value) is not None:
            written[let.name] = through
    return written
