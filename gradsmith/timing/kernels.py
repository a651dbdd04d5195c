"""Kernels: what a derived backward launches, beside autograd of the same forward.

Autograd differentiates the definition written in arithmetic primitives (`primitives`);
of both backward passes every ATen operation is counted that does arithmetic or moves elements,
and the bytes of the tensors that it reads and writes; and so for forward and backward together,
since what the one works out ahead the other is spared.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from derive.language.definition import Definition
from gradsmith.emitted import Functions, emitted
from gradsmith.proof import reference
from gradsmith.proof.samples import random_like, random_sample
from gradsmith.timing import primitives
from gradsmith.timing.launches import Launches, launches

ELEMENTS = 16
"""The binary logarithm of how many elements the largest tensor has, about."""


@dataclass(frozen=True)
class KernelCounts:
    """The launches of one derived backward pass, and of autograd's, and of both passes."""

    definition: Definition
    generated: Launches
    autograd: Launches
    generated_both: Launches
    autograd_both: Launches

    @property
    def ratio(self) -> float:
        return len(self.generated) / len(self.autograd)

    @property
    def ratio_of_both(self) -> float:
        return len(self.generated_both) / len(self.autograd_both)

    @property
    def _sides(self) -> dict[str, tuple[Launches, Launches]]:
        return {
            "generated": (self.generated, self.generated_both),
            "autograd": (self.autograd, self.autograd_both),
        }

    def line(self) -> str:
        parts = [
            f"{name} {len(backward):2d} kernels, {backward.bytes / 1e6:6.2f} MB, "
            f"with forward {len(both):2d}"
            for name, (backward, both) in self._sides.items()
        ]
        ratios = f"{self.ratio:.2f}x, {self.ratio_of_both:.2f}x"
        return " | ".join([f"{self.definition.full_name:50s}", *parts, ratios])

    def as_json(self) -> dict[str, object]:
        sides = self._sides.items()
        return {
            "case": self.definition.full_name,
            "kernels": {name: len(backward) for name, (backward, _) in sides},
            "kernels_with_forward": {name: len(both) for name, (_, both) in sides},
            "bytes": {name: backward.bytes for name, (backward, _) in sides},
        }


def count_kernels(definition: Definition) -> KernelCounts:
    """Count the passes of a definition, for all of its gradients at once."""
    rank = max(1, *(len(t.axes) for t in definition.tensors.values()))
    sizes = dict.fromkeys(definition.axes, 1 << ELEMENTS // rank)
    generator = Generator().manual_seed(0)
    sample = random_sample(definition, sizes, generator).to(torch.float32)
    functions = Functions.of(emitted(definition), definition)
    *outputs, residuals = functions.forward(**sample.inputs, **sample.options)
    cotangents = random_like(outputs, generator)
    leaves = sample.to(torch.float32, requires_grad=True).inputs

    def generated() -> None:
        *_, residuals = functions.forward(**sample.inputs, **sample.options)
        functions.backward(*cotangents, residuals)

    def by_primitives() -> dict[str, Tensor]:
        return primitives.forward(definition, leaves, sample.options, sizes)

    values = by_primitives()
    return KernelCounts(
        definition,
        launches(lambda: functions.backward(*cotangents, residuals)),
        launches(lambda: reference.gradients(definition, values, cotangents)),
        launches(generated),
        launches(lambda: reference.gradients(definition, by_primitives(), cotangents)),
    )
