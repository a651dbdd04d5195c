"""What a sum over nothing comes to where the division by its length stands outside of it.

`sum_n(x[n]/N)` is 0 for an empty batch. Simplified it is `sum_n(x[n])/N`, with one division for
many; but that would be 0/0. So a gradient over other axes is divided by 1 where there is nothing
to sum. A forward pass divides by the size as it is: the mean of nothing is not a number, nor is
a gradient that reads it, nor the gradient of a gradient.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from sympy import Basic, Dummy, Expr, Pow

from codegen.lowering.forms import Divisor
from derive.language.definition import Let, Tensor, needed
from derive.language.expressions import Axis, Index, Sum, names_used


def divided_safely(
    lets: Sequence[Let], gradients: Iterable[Tensor], outputs: Iterable[str] = ()
) -> tuple[Let, ...]:
    """The lets, those that the `outputs` need as they are, the gradients finite over an axis of
    size 0 where they sum over it."""
    wanted = list(gradients)
    fixed = {let.name for let in needed(lets, outputs)}
    axes = {i.axis for let in lets for i in (*let.tensor.indices, *let.value.atoms(Index))}
    for axis in sorted(axes):
        lets = _over(lets, axis, wanted, fixed)
    return tuple(lets)


def _over(
    lets: Sequence[Let], axis: Axis, gradients: Sequence[Tensor], fixed: set[str]
) -> Sequence[Let]:
    """The lets, the gradients finite where they sum over this axis and its size is 0."""
    safe = {
        let.name: replace(let, value=_divided(let.value, axis))
        for let in lets
        if let.name not in fixed and axis not in let.tensor.axes
    }
    reached = {let.name for let in lets if safe.get(let.name, let) != let}
    for let in lets:
        if axis not in let.tensor.axes and _read_outside(let.value, axis) & reached:
            reached.add(let.name)
    if reached.isdisjoint(tensor.name for tensor in gradients):
        return lets
    return [safe.get(let.name, let) for let in lets]


def _read_outside(value: Any, axis: Axis) -> set[str]:
    """What a value reads outside of its sums over an axis, which may be sums over nothing."""

    def is_over(e: Basic) -> bool:
        return isinstance(e, Sum) and axis in {i.axis for i in e.indices}

    return names_used(value.replace(is_over, lambda e: Dummy()))


def _divided(value: Any, axis: Axis) -> Any:
    """A value that is divided by the size of an axis, by its divisor in place of it."""

    def is_below(e: Expr) -> bool:
        return isinstance(e, Pow) and e.base == axis.size and bool(e.exp.is_negative)

    return value.replace(is_below, lambda e: Divisor(axis.size) ** e.exp)
