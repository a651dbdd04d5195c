"""Mistakes that people make in a backward pass, made on purpose in a derived one.

A term is dropped, doubled, negated, scaled by a ratio of sizes or divided by another one, or a
cotangent is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations

from sympy import Add, Expr, Integer, Mul, Pow, Symbol

from derive.calculus.trace import Derivation
from derive.language import definition as language
from derive.language.definition import Definition, Let
from derive.language.expressions import Element, Sum
from derive.printing.text import arrangement_of, text


@dataclass(frozen=True)
class Slip:
    """A backward pass with one mistake made on purpose, and the mistake in words."""

    words: str
    lets: tuple[Let, ...]


def slips(derivation: Derivation, name: str) -> Iterator[Slip]:
    """Slips in the lets that a gradient comes from: its own first, then those before it."""
    lets = derivation.backward.lets
    arrangement = arrangement_of(derivation)
    factors = _factors(derivation.definition)
    for let in _upstream(derivation, name):

        def spoilt(value: Expr, let: Let = let) -> tuple[Let, ...]:
            return tuple(replace(o, value=value) if o.name == let.name else o for o in lets)

        parts = terms(let.value)
        for term in parts if len(parts) > 1 else []:
            for factor, verb in factors.items():
                words = f"the term {text(term, arrangement)} of {let.name} is {verb}"
                yield Slip(words, spoilt(let.value + (factor - 1) * term))
        for pair in combinations(parts, 2) if len(parts) > 2 else []:
            both = " and ".join(text(term, arrangement) for term in pair)
            yield Slip(
                f"the terms {both} of {let.name} are dropped", spoilt(let.value - Add(*pair))
            )
        for factor, verb in factors.items():
            if factor:
                yield Slip(f"the whole of {let.name} is {verb}", spoilt(factor * let.value))
        for divisor in sorted(_divisors(let.value, derivation.definition), key=str):
            for other in (a.size - k for a in derivation.definition.axes for k in (0, 1)):
                words = f"{let.name} has {text(other)} where {text(divisor)} is wanted"
                yield Slip(words, spoilt(let.value.subs(divisor, other)))
    for seed in derivation.seeds:
        yield Slip(f"{seed.name} is forgotten, as if it were 1", _with_ones(lets, seed))


def _divisors(expr: Expr, definition: Definition) -> set[Expr]:
    """What an expression divides by that sizes and options decide, such as a count less one."""
    numbers = {axis.size for axis in definition.axes} | {o.symbol for o in definition.options}
    bases = {power.base for power in expr.atoms(Pow) if power.exp.is_negative}
    return {base for base in bases if isinstance(base, Add) and base.free_symbols <= numbers}


def _with_ones(lets: tuple[Let, ...], seed: language.Tensor) -> tuple[Let, ...]:
    """A backward pass that reads ones in the place of an output's cotangent."""
    spoilt = []
    for let in lets:
        read = {e for e in let.value.atoms(Element) if str(e.base) == seed.name}
        read |= {s for s in let.value.atoms(Symbol) if s.name == seed.name and not seed.axes}
        spoilt.append(replace(let, value=let.value.xreplace(dict.fromkeys(read, Integer(1)))))
    return tuple(spoilt)


def terms(expr: Expr) -> list[Expr]:
    """The addends of an expression, one level of parentheses and of sums multiplied out."""
    if isinstance(expr, Add):
        return [part for addend in expr.args for part in terms(addend)]
    if isinstance(expr, Sum) and isinstance(expr.body, Add | Mul):
        return [Sum(part, *expr.indices) for part in terms(expr.body)]
    if isinstance(expr, Mul):
        for factor in expr.args:
            if isinstance(factor, Add | Sum) and len(parts := terms(factor)) > 1:
                rest = Mul(*(other for other in expr.args if other is not factor))
                return [rest * part for part in parts]
    return [expr]


def _factors(definition: Definition) -> dict[Expr, str]:
    """By what a term is multiplied by mistake, and how that reads."""
    factors: dict[Expr, str] = {Integer(0): "dropped", Integer(2): "doubled"}
    factors[Integer(-1)] = "negated"
    for axis in definition.axes:
        size = axis.size
        ratios = (size, 1 / size, size / (size - 1), (size - 1) / size)
        factors |= {ratio: f"multiplied by {text(ratio)}" for ratio in ratios}
    factors[Integer(1) / 2] = "halved"
    return factors


def _upstream(derivation: Derivation, name: str) -> list[Let]:
    """The let of a gradient, and those it is computed from, the nearest first."""
    wanted = {dict(derivation.backward.gradients)[name].name}
    found: list[Let] = []
    for let in reversed(derivation.backward.lets):
        if let.name in wanted:
            found.append(let)
            wanted |= {str(s) for s in let.value.free_symbols}
    return found
