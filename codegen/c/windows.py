"""Places that may lie outside of their axes: read there only where a choice stands around them.

`where(t > 0, x[t - 1], 0)` reads nothing where it is not chosen. What has a let of its own, as each
sum has, is computed for all t, and reads `x[within(t - 1, T)]`; so is what an integer tensor says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sympy import Expr

from codegen.program import Program
from derive.language.definition import Tensor
from derive.language.expressions import Element, Guarded, Where, with_args


class Within(Expr):
    """`Within(place, size)`: a place on an axis of that size, the nearest one if it is outside."""

    is_integer = True

    @property
    def place(self) -> Expr:
        return self.args[0]

    @property
    def size(self) -> Expr:
        return self.args[1]


def read_within(program: Program) -> Program:
    """The program with places that are looked up on their axes, wherever no choice decides."""
    tensors = program.tensors
    lets = (replace(let, value=_read_within(let.value, tensors)) for let in program.lets)
    return replace(program, lets=tuple(lets))


def _read_within(expr: Any, tensors: Mapping[str, Tensor], chosen: bool = False) -> Any:
    if not expr.has(Guarded):
        return expr
    if isinstance(expr, Where):
        condition = _read_within(expr.condition, tensors)
        branches = (_read_within(branch, tensors, True) for branch in expr.branches)
        return with_args(expr, [condition, *branches])
    if isinstance(expr, Element):
        axes = tensors[expr.tensor_name].axes
        return Element(
            expr.base,
            *(
                Within(i.place, axis.size)
                if isinstance(i, Guarded) and (not chosen or i.has(Element))
                else i
                for i, axis in zip(expr.indices, axes, strict=True)
            ),
        )
    return with_args(expr, [_read_within(a, tensors, chosen) for a in expr.args])
