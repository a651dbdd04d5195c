"""What a derivation is: the steps that led to it, and the backward passes it found."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from sympy import Expr

from derive.calculus.rules import Rule
from derive.language.definition import Definition, Let, Tensor
from derive.language.expressions import names_used
from derive.language.shown import Shown

Equation = tuple[Expr, Expr]
"""The left side and the right side."""


@dataclass(frozen=True)
class Step(Shown):
    """One firing of a rule: `tensor`, at its own letters, was `before` and became `after`.

    Both expressions are in the tensors of the definition, the cotangents of its outputs, and the
    cotangents named before this one. `using` holds the equations that the rule used, where it used
    any: left side, right side; `reasons` those from which they follow, in the order of an argument.
    """

    rule: Rule
    tensor: Tensor
    before: Expr
    after: Expr
    using: tuple[Equation, ...] = ()
    reasons: tuple[Equation, ...] = ()

    def mapped(self, written: Callable[[Any], Any]) -> Step:
        """The step with each of its expressions written otherwise."""
        using, reasons = (
            tuple((written(left), written(right)) for left, right in equations)
            for equations in (self.using, self.reasons)
        )
        return Step(
            self.rule, self.tensor, written(self.before), written(self.after), using, reasons
        )


@dataclass(frozen=True)
class Backward:
    """A backward pass: lets in order, and which of them is the gradient of what.

    `gradients` pairs each name in the definition's `wrt` with the tensor that holds its gradient.
    `primals` names, of a chunked one, the tensor whose cotangent each let is.
    """

    lets: tuple[Let, ...]
    gradients: tuple[tuple[str, Tensor], ...]
    primals: tuple[str, ...] = ()

    def mapped(self, written: Callable[[Any], Any]) -> Backward:
        return replace(self, lets=_mapped(self.lets, written))


def _mapped(lets: Iterable[Let], written: Callable[[Any], Any]) -> tuple[Let, ...]:
    return tuple(replace(let, value=written(let.value)) for let in lets)


@dataclass(frozen=True)
class Derivation(Shown):
    """The gradient of a definition, and how it was found.

    `forward` holds the definition's lets and any that the simplification proposed, in order;
    `seeds` the cotangents of the outputs, which the backward pass is given; `chunked` names
    every cotangent, `simplified` only those that pay.
    """

    definition: Definition
    forward: tuple[Let, ...]
    seeds: tuple[Tensor, ...]
    chunked: Backward
    simplified: Backward
    steps: tuple[Step, ...]

    def mapped(self, written: Callable[[Any], Any]) -> Derivation:
        """The derivation with every expression in it written otherwise."""
        return replace(
            self,
            forward=_mapped(self.forward, written),
            chunked=self.chunked.mapped(written),
            simplified=self.simplified.mapped(written),
            steps=tuple(step.mapped(written) for step in self.steps),
        )

    @property
    def backward(self) -> Backward:
        """The backward pass to emit: the chunked one where the definition asks for it."""
        return self.chunked if self.definition.chunked else self.simplified

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by name: inputs, forward lets, seeds, and both backward passes' lets."""
        return {
            t.name: t
            for t in (
                *self.definition.inputs,
                *(let.tensor for let in self.forward),
                *self.seeds,
                *(let.tensor for let in self.chunked.lets),
                *(let.tensor for let in self.simplified.lets),
            )
        }

    def residuals(self, backward: Backward | None = None) -> tuple[Tensor, ...]:
        """The inputs and forward lets that a backward pass reads, in the order they are made."""
        used = names_used(*(let.value for let in (backward or self.backward).lets))
        made = (*self.definition.inputs, *(let.tensor for let in self.forward))
        return tuple(t for t in made if t.name in used)
