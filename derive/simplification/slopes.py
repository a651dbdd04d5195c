"""The slopes of `log(1 + exp(x))` that have names: each is a sigmoid.

The chain rule writes one as `exp(x)/(1 + exp(x))`, whose parts overflow; what it is called,
`s = 1/(1 + exp(-x))`, shares neither of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sympy import Expr, exp

from derive.calculus.recognise import Named, abstract
from derive.language.definition import Let
from derive.language.substitute import substitute


@dataclass(frozen=True)
class Slope:
    """A quotient of what lets name, and the sigmoid that it is."""

    above: Expr
    below: Expr
    sigmoid: Expr


def slopes(lets: Sequence[Let]) -> tuple[Slope, ...]:
    """For each sigmoid among the lets, the quotients that it is: `e/(1 + e)` where e is the let
    `exp(x)`, which may also be written as the inverse of the let `exp(-x)`."""
    exponentials = [let for let in lets if isinstance(let.value, exp)]
    named: dict[Expr, Named] = {}
    for let in exponentials:
        pattern, letters = abstract(let.value)
        named.setdefault(pattern, Named(let.tensor, letters))
    found = []
    for let in lets:
        opposite = 1 / let.value - 1
        meant = substitute(opposite, exponentials)
        if isinstance(meant, exp):
            pattern, letters = abstract(1 / meant)
            if pattern in named:
                element = named[pattern].at(letters)
                for above in (element, 1 / opposite):
                    found.append(Slope(above, 1 + element, let.tensor.element))
    return tuple(found)
