"""What a gradient makes of the inputs alone is worked out in the forward pass.

    grad_x = grad_y * (1 + cos(x))**2   ->   dy_dx  = (1 + cos(x))**2      forward
                                             grad_x = grad_y * dy_dx       backward

Where each operation is a kernel, the backward pass is as many kernels shorter, and the two passes
together are no longer than before; a forward pass alone is. It is done where no more tensors are
kept than before, nor more bytes, what second derivatives read included (`kept`): a mask in place of
an input, a derivative in place of the two tensors that it is made of.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from sympy import Add, Mul, Pow

from codegen.lowering.kept import Forward, Kept
from codegen.lowering.parts import Parts
from codegen.program import is_number
from derive.calculus.recognise import is_atomic
from derive.language.definition import Let, Tensor, needed, varying
from derive.language.expressions import Index, names_used


def worked_out_ahead(
    lets: Sequence[Let],
    seeds: Iterable[Tensor],
    gradients: Iterable[str],
    forward: Forward,
    taken: Iterable[str],
) -> tuple[tuple[Let, ...], tuple[Let, ...]]:
    """The lets of a backward pass: those that the `forward` pass works out, and those left.

    `seeds` are the cotangents, `gradients` the names of the results, and `taken` the names that
    are no new let's, besides those of all these.
    """
    names = tuple(tensor.name for tensor in seeds)
    plan = _Plan(tuple(lets), names, frozenset(gradients), forward, frozenset(taken))
    whole = plan
    for let in plan.bound:
        whole = whole.parted(let)
    whole = whole.moved(let.name for let in whole.free)
    plan = whole if whole.improves(plan) else _step_by_step(plan)
    return plan.early, plan.late


def _step_by_step(plan: _Plan) -> _Plan:
    """A plan with each part moved ahead that may be, the largest parts first, from the last let
    on, which reads those before it."""
    for alone in (False, True):
        for let in reversed(plan.bound):
            parted = plan.parted(let, alone)
            moved = parted.moved(new.name for new in parted.free if new not in plan.free)
            plan = moved if moved.improves(plan) else plan
    for let in plan.free:
        moved = plan.moved([let.name])
        plan = moved if moved.improves(plan) else plan
    return plan


@dataclass(frozen=True)
class _Plan:
    """The lets of a backward pass, and the names of those that are moved ahead."""

    lets: tuple[Let, ...]
    seeds: tuple[str, ...]
    gradients: frozenset[str]
    forward: Forward
    taken: frozenset[str]
    ahead: frozenset[str] = frozenset()

    @cached_property
    def varying(self) -> frozenset[str]:
        """The names of the cotangents and of what is made of them."""
        return frozenset(varying({*self.seeds, *self.gradients}, self.lets))

    @property
    def bound(self) -> tuple[Let, ...]:
        return tuple(let for let in self.lets if let.name in self.varying)

    @property
    def free(self) -> tuple[Let, ...]:
        return tuple(let for let in self.lets if let.name not in self.varying)

    @cached_property
    def early(self) -> tuple[Let, ...]:
        return needed(self.free, self.ahead)

    @cached_property
    def late(self) -> tuple[Let, ...]:
        early = {let.name for let in self.early}
        return needed([let for let in self.lets if let.name not in early], self.gradients)

    def improves(self, other: _Plan) -> bool:
        """Whether less is left for the backward pass, without more to keep."""
        return self._work < other._work and self._kept.no_more_than(other._kept)

    @cached_property
    def _work(self) -> int:
        return sum(_operations(let.value) for let in self.late)

    @cached_property
    def _kept(self) -> Kept:
        used = names_used(*(let.value for let in self.late)) - {let.name for let in self.late}
        return Kept(self.forward, {let.name: let for let in self.early}, frozenset(used))

    def moved(self, names: Iterable[str]) -> _Plan:
        return replace(self, ahead=self.ahead.union(names))

    def parted(self, let: Let, alone: bool = False) -> _Plan:
        """The plan in which what a let makes of the inputs alone has names of its own, or what it
        makes of one tensor `alone` has."""
        taken = {*self.taken, *self.forward.lets, *self.seeds, *(other.name for other in self.lets)}
        taken |= {i.name for other in self.lets for i in other.value.atoms(Index)}
        primal = frozenset((*self.forward.lets, *self.forward.inputs))
        parts = Parts(let, self.varying, self.seeds, primal, taken, alone)
        value = parts.value()
        place = self.lets.index(let)
        lets = (*self.lets[:place], *parts.made, Let(let.tensor, value), *self.lets[place + 1 :])
        return replace(self, lets=lets)


def _operations(expr: Any) -> int:
    if is_atomic(expr) or is_number(expr):
        return 0
    tensors = [a for a in expr.args if not is_number(a)]
    numbers = len(tensors) < len(expr.args)
    own = len(tensors) + numbers - 1 if isinstance(expr, Add | Mul) else 1
    if isinstance(expr, Add):  # what is taken away costs no more than what is added
        tensors = [-a if a.could_extract_minus_sign() else a for a in tensors]
    if isinstance(expr, Mul):  # nor what divides than what multiplies
        tensors = [1 / a if isinstance(a, Pow) and a.exp == -1 else a for a in tensors]
    return own + sum(map(_operations, tensors))
