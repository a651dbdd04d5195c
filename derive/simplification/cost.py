"""What a backward pass costs: passes over the largest tensor, reductions, residuals kept."""

from __future__ import annotations

from dataclasses import dataclass

from sympy import Expr, KroneckerDelta

from derive.calculus.trace import Backward, Derivation
from derive.language.definition import Definition
from derive.language.expressions import Binder, Element, Sum, free_indices


@dataclass(frozen=True)
class Cost:
    """What a backward pass does.

    `passes` counts the loops over as many indices as the largest tensor has, or more: one for
    each distinct sum whose body has that many, and one for each let that is computed element
    by element over that many. `reductions` counts the distinct sums, whatever their size; a sum
    that only puts each value in its place, through a delta, is a pass and no reduction.
    `residuals` names the inputs and forward lets that are kept for it.
    """

    passes: int
    reductions: int
    residuals: tuple[str, ...]


def cost(backward: Backward, derivation: Derivation) -> Cost:
    """The cost of one of a derivation's backward passes."""
    full = largest_rank(derivation.definition)
    sums = {s for let in backward.lets for s in let.value.atoms(Sum)}
    looped = sum(len(free_indices(s.body)) >= full for s in sums)
    elementwise = sum(
        len(let.tensor.indices) >= full and not _is_moved_or_summed(let.value)
        for let in backward.lets
    )
    return Cost(
        passes=looped + elementwise,
        reductions=sum(not _is_scatter(s) for s in sums),
        residuals=tuple(t.name for t in derivation.residuals(backward)),
    )


def largest_rank(definition: Definition) -> int:
    """The number of indices of the largest tensor among inputs and lets."""
    return max(len(tensor.indices) for tensor in definition.tensors.values())


def _is_moved_or_summed(value: Expr) -> bool:
    """Whether a let is another tensor's value, or a sum: it has no elementwise work of its own."""
    return isinstance(value, Binder | Element)


def _is_scatter(expr: Sum) -> bool:
    return any(free_indices(d) & expr.bound_symbols for d in expr.body.atoms(KroneckerDelta))
