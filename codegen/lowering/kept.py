"""What is kept between the passes, and what second derivatives read besides.

    y = x*phi(x)     dy_dx = phi(x) + x*density(x)     grad_x = grad_y*dy_dx

keeps `dy_dx` for the first order, and `x` for the second, whose way back from `dy_dx` reads it. Of
`y = 1/(1 + exp(-x))` the derivative can be told from `y` itself, and of what takes steps alone it
is zero: so a mask needs nothing besides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

from sympy import Expr, Symbol
from sympy.logic.boolalg import Boolean

from codegen.lowering.forms import spelled_out
from derive.calculus.differentiate import partial
from derive.calculus.invert import told_by
from derive.language.definition import Let, Tensor, varying
from derive.language.expressions import Element, Index, names_used, tensor_name

_LENGTH = 1000
"""How long an axis is taken to be where memory is compared."""


@dataclass(frozen=True)
class Forward:
    """A forward pass: its lets and its inputs, by name, and those that gradients are taken of."""

    lets: Mapping[str, Let]
    inputs: Mapping[str, Tensor]
    wrt: frozenset[str]


@dataclass(frozen=True)
class Kept:
    """What a backward pass that reads some names has kept.

    `ahead` is what the forward pass makes for it alone, by name.
    """

    forward: Forward
    ahead: Mapping[str, Let]
    read: frozenset[str]

    def no_more_than(self, other: Kept) -> bool:
        """Whether this is no more tensors, and no more bytes."""
        return len(self.sizes) <= len(other.sizes) and sum(self.sizes) <= sum(other.sizes)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """The bytes of each tensor that is kept, for the second order too, by an estimate."""
        lets = [
            _bytes(let.tensor, let.value) for name, let in self._made.items() if name in self.read
        ]
        wanted = self.read | self._read_again
        return (*lets, *(_bytes(t) for name, t in self.forward.inputs.items() if name in wanted))

    @cached_property
    def _made(self) -> dict[str, Let]:
        return {**self.forward.lets, **self.ahead}

    @cached_property
    def _read_again(self) -> set[str]:
        """The inputs that second derivatives read besides, on the way back from what is made
        ahead. On the way back from all else they read what the first order does."""
        tensors = {name: let.tensor for name, let in self._made.items()}
        tensors |= self.forward.inputs
        varies = varying(self.forward.wrt, list(self._made.values()))
        known = {let.value for let in self.forward.lets.values()}
        on_the_way = {
            n for n, let in self.ahead.items() if n in self.read and let.value not in known
        }
        wanted: set[str] = set()
        left = sorted(on_the_way)
        while left:
            let = self._made[left.pop()]
            for name in sorted(names_used(let.value) & varies):
                read = _read_by_derivative(let, tensors[name])
                if read is None:
                    continue
                wanted |= read
                if name in self._made and name not in self.read | on_the_way:
                    on_the_way.add(name)
                    left.append(name)
        return self._inputs_of(wanted)

    def _inputs_of(self, names: set[str]) -> set[str]:
        """The inputs that are not kept and of which tensors are made anew."""
        at_hand = self.read | self._told
        found = names - at_hand
        left = sorted(found)
        while left:
            name = left.pop()
            if name in self._made:
                new = names_used(self._made[name].value) - at_hand - found
                found |= new
                left += sorted(new)
        return found & self.forward.inputs.keys()

    @cached_property
    def _told(self) -> frozenset[str]:
        """The names of what the forward pass made whose values can be told from what is kept."""
        kept = [let for name, let in self._made.items() if name in self.read]
        return frozenset().union(*map(_told_tensors, kept)) & self._made.keys()


@lru_cache(maxsize=1000)
def _read_by_derivative(let: Let, tensor: Tensor) -> frozenset[str] | None:
    """The names that the derivative of a let by a tensor reads; None where it is zero."""
    if isinstance(let.value, Boolean):
        return None
    let = replace(let, value=spelled_out(let.value))
    at = [Index(f"{i.name}_at", i.axis) for i in tensor.indices]
    derivative = partial(let.value, tensor, tuple(at))
    return frozenset(names_used(derivative.xreplace(told_by(let)))) if derivative != 0 else None


@lru_cache(maxsize=1000)
def _told_tensors(let: Let) -> frozenset[str]:
    if isinstance(let.value, Boolean):
        return frozenset()
    found = told_by(replace(let, value=spelled_out(let.value)))
    return frozenset(tensor_name(e) for e in found if isinstance(e, Element | Symbol))


def _bytes(tensor: Tensor, value: Expr | Boolean | None = None) -> int:
    size = 1 if isinstance(value, Boolean) else 8 if tensor.integer else 4
    return size * _LENGTH ** len(tensor.indices)
