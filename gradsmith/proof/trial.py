"""An emitted module at one point, beside what it is held against."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import ModuleType

from torch import Generator, Tensor

from derive.language.definition import Definition
from derive.language.expressions import Axis
from derive.verification.evaluate import Array, evaluate
from derive.verification.points import Point, random_point
from gradsmith.emitted import Functions
from gradsmith.proof import reference
from gradsmith.proof.namesakes import namesake
from gradsmith.proof.samples import Sample, at_point, random_like


@dataclass(frozen=True)
class Trial:
    """An emitted module at one point, beside what it is held against."""

    definition: Definition
    module: ModuleType
    point: Point
    seed: int

    @cached_property
    def sample(self) -> Sample:
        return at_point(self.definition, self.point)

    @cached_property
    def functions(self) -> Functions:
        return Functions.of(self.module, self.definition)

    @property
    def sizes(self) -> Mapping[Axis, int]:
        return self.point.sizes

    @cached_property
    def expected(self) -> Mapping[str, Array]:
        """Every tensor of the definition, from the evaluator."""
        return evaluate(self.definition.lets, self.point.values, self.point.sizes)

    def shape(self, name: str) -> list[int]:
        """A tensor's shape with composite dimensions expanded, as the evaluator has it."""
        return [self.sizes[axis] for axis in self.definition.tensors[name].axes]

    def cotangents(self, outputs: Sequence[Tensor]) -> list[Tensor]:
        return random_like(outputs, Generator().manual_seed(self.seed))

    def emitted_gradients(self, sample: Sample) -> dict[str, Tensor]:
        """The emitted forward, then the emitted backward."""
        outputs, residuals = self.run(sample)
        found = self.functions.backward(*self.cotangents(outputs), residuals)
        return {name: getattr(found, f"grad_{name}") for name in self.definition.wrt}

    def run(self, sample: Sample) -> tuple[list[Tensor], object]:
        *outputs, residuals = self.functions.forward(**sample.inputs, **sample.options)
        return outputs, residuals

    def reference_gradients(self, sample: Sample) -> dict[str, Tensor]:
        """Autograd of the plain interpreter."""
        leaves = _leaves(sample.inputs)
        values = reference.forward(self.definition, leaves, sample.options, sample.sizes)
        outputs = [values[name] for name in self.definition.outputs]
        return reference.gradients(self.definition, values, self.cotangents(outputs))

    def namesake_gradients(self, sample: Sample) -> dict[str, Tensor]:
        """Autograd of PyTorch's own operation for the inputs; empty where there is none."""
        native = namesake(self.definition)
        if native is None:
            return {}
        names = [name for name in self.definition.wrt if name in sample.inputs]
        wanted = _leaves({name: sample.inputs[name] for name in names})
        output = native({**sample.inputs, **wanted}, sample.options)
        return reference.autograd([output], wanted, self.cotangents([output]))

    def higher(
        self, function: Callable[[Mapping[str, Tensor]], list[Tensor]], order: int
    ) -> dict[str, dict[str, Tensor]]:
        """For each gradient, by autograd of a function: its own gradients by inputs and cotangents,
        or, at order 3, those of all these together."""
        inputs = _leaves(self.sample.inputs)
        outputs = function(inputs)
        by = {name: inputs[name] for name in self.definition.wrt}
        seeds = [cotangent.requires_grad_() for cotangent in self.cotangents(outputs)]
        first = reference.autograd(outputs, by, seeds, create_graph=True)
        directions = random_like(list(first.values()), Generator().manual_seed(self.seed + 2))
        by |= {f"grad_{n}": s for n, s in zip(self.definition.outputs, seeds, strict=True)}
        found = {
            name: reference.autograd([gradient], by, [direction], create_graph=True)
            for (name, gradient), direction in zip(first.items(), directions, strict=True)
        }
        if order == 2:
            return found
        for name, gradients in found.items():
            every = list(gradients.values())
            directions = random_like(every, Generator().manual_seed(self.seed + 3))
            found[name] = reference.autograd(every, by, directions, create_graph=True)
        return found

    @cached_property
    def usually(self) -> Trial:
        """The same sizes and other inputs, with options at their defaults where they have one."""
        point = random_point(self.definition, self.sizes, self.seed, usual=True)
        return replace(self, point=point)

    @property
    def usual(self) -> Sample:
        return self.usually.sample


def _leaves(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name: value.detach().clone().requires_grad_(value.is_floating_point())
        for name, value in inputs.items()
    }
