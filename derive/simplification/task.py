"""One definition on its way through the simplification: who uses what, what arrives where."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from sympy import Add, Expr, S

from derive.calculus.contractions import has_contraction
from derive.calculus.deltas import contract
from derive.calculus.differentiate import contribution, cotangent_of, total_of
from derive.calculus.normal import normalise
from derive.calculus.recognise import Rewriter
from derive.language.definition import Definition, Let, Tensor
from derive.language.expressions import Sum, names_in
from derive.language.facts import Magnitudes, scalars_divided_by
from derive.simplification.partition import Partition
from derive.simplification.slopes import Slope, slopes
from derive.simplification.symmetry import mirrored

TERM_LIMIT = 150


Verdict = Callable[[Sequence[Let], Sequence[Let]], bool]
"""Whether the cotangents that lets make of a forward pass are refused."""

Judge = Callable[[Definition], Verdict]
"""What is asked for a definition's verdict."""


def indulgent(definition: Definition) -> Verdict:
    """The judge that refuses nothing."""
    return lambda forward, backward: False


class TooLarge(Exception):
    """A group whose gradient has too many terms when written out."""

    def __init__(self, group: int) -> None:
        self.group = group


@dataclass
class Task:
    """One definition on its way through the simplification.

    `judge` says of a form whether it is refused, `multiply` whether products are multiplied out
    where a cotangent is written out, and `memo` has those that were.
    """

    definition: Definition
    lets: tuple[Let, ...]
    proposed: frozenset[str]
    divisors: frozenset[str]
    tensors: list[Tensor]
    parts: Partition
    judge: Judge
    multiply: bool = True
    memo: dict[str, Expr] = field(default_factory=dict, init=False)

    def refuses(self, backward: Sequence[Let]) -> bool:
        """Whether the judge refuses these cotangents."""
        return self._verdict(self.lets, backward)

    @cached_property
    def _verdict(self) -> Verdict:
        return self.judge(self.definition)

    @cached_property
    def users(self) -> dict[str, list[Let]]:
        """By the name of a tensor on the way to the outputs: the lets on it that use the tensor."""
        on_path = {t.name for t in self.tensors}
        users: dict[str, list[Let]] = {}
        for let in self.lets:
            if let.name in on_path:
                for name in names_in(let.value) & on_path:
                    users.setdefault(name, []).append(let)
        return users

    @cached_property
    def divided_by(self) -> frozenset[Expr]:
        """The coefficients that may be zero by which the definition divides: it has no value where
        they are, and nothing else may divide by one."""
        return scalars_divided_by(let.value for let in self.definition.lets)

    @cached_property
    def wholes(self) -> tuple[Expr, ...]:
        """The sums that are known to be one: of inputs that are not differentiated, for they vary
        freely where they are, and of proposals."""
        inputs = [t for t in self.definition.inputs if t.name not in self.definition.wrt]
        known = (*inputs, *(let.tensor for let in self.lets))
        return tuple(Sum(t.element, t.sums_to_one) for t in known if t.sums_to_one is not None)

    @cached_property
    def slopes(self) -> tuple[Slope, ...]:
        """The sigmoids that have names."""
        return slopes(self.lets)

    @cached_property
    def magnitudes(self) -> Magnitudes:
        """What may be rounded to zero, but for what is divided by already."""
        found = Magnitudes.of(self.lets)
        return replace(found, small=found.small - self.divisors)

    @cached_property
    def symmetric(self) -> Rewriter:
        """Writes what equals its own transpose one way round."""
        return Rewriter(mirrored=mirrored(self.lets))

    def arriving(self, tensor: Tensor) -> Expr:
        """The cotangent of a let, as its group sees it: a name, or everything written out."""
        if tensor.name in self.definition.outputs and tensor.name not in self.users:
            return cotangent_of(tensor).element
        if tensor.name in self.parts.joints:
            return self.held(tensor).element
        if tensor.name not in self.memo:
            value = S.Zero
            if tensor.name in self.definition.outputs:
                value = cotangent_of(tensor).element
            for let in self.users.get(tensor.name, ()):
                value += self.sent(let, tensor)
            value = normalise(value) if self.multiply else contract(value)
            if len(Add.make_args(value)) > TERM_LIMIT:
                raise TooLarge(self.parts.group[tensor.name])
            self.memo[tensor.name] = value
        return self.memo[tensor.name]

    def sent(self, let: Let, to: Tensor) -> Expr:
        raw = contribution(let, to, self.arriving(let.tensor))
        return normalise(raw) if self.multiply and not has_contraction(let.value) else contract(raw)

    def held(self, tensor: Tensor) -> Tensor:
        """The tensor that holds a named cotangent."""
        if tensor.name in self.definition.outputs and tensor.name in self.users:
            return total_of(tensor, self.definition.tensors)
        return cotangent_of(tensor)

    def is_from_one_group(self, tensor: Tensor) -> bool:
        """Whether one group has all of a gradient: no other, and no contraction, adds to it."""
        users = self.users.get(tensor.name, ())
        groups = {self.parts.group[let.name] for let in users}
        mixed = any(has_contraction(let.value) for let in users)
        return len(groups) == 1 and not mixed and tensor.name not in self.definition.outputs

    def targets(self) -> list[Tensor]:
        """The tensors whose cotangent the backward pass computes, last made first."""
        return [
            t
            for t in reversed(self.tensors)
            if (t.name in self.parts.joints or t.name in self.definition.wrt)
            and (t.name in self.users or t.name not in self.definition.outputs)
        ]
