"""Kernels: what a derived backward launches and keeps, beside autograd of the same forward.

Autograd differentiates the definition written in arithmetic primitives (`primitives`);
of both backward passes every ATen operation is counted that does arithmetic or moves elements,
and the bytes of the tensors that it reads and writes; and so for forward and backward together,
since what the one works out ahead the other is spared. What is kept from the one pass to the other
is what autograd has been given to save, for the derived function what its second derivatives read
included.
"""

from __future__ import annotations

from collections.abc import Callable
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
class Counts:
    """What a backward pass launches, both passes launch, and how many bytes are kept between."""

    backward: Launches
    both: Launches
    kept: int

    def __str__(self) -> str:
        return (
            f"{len(self.backward):2d} kernels, {self.backward.bytes / 1e6:6.2f} MB, "
            f"with forward {len(self.both):2d}, keeps {self.kept / 1e6:5.2f} MB"
        )


@dataclass(frozen=True)
class KernelCounts:
    """The counts of a definition's derived passes, and of autograd's."""

    definition: Definition
    generated: Counts
    autograd: Counts

    @property
    def ratio(self) -> float:
        return len(self.generated.backward) / len(self.autograd.backward)

    @property
    def ratio_of_both(self) -> float:
        return len(self.generated.both) / len(self.autograd.both)

    @property
    def ratio_kept(self) -> float:
        return (self.generated.kept or 1) / (self.autograd.kept or 1)

    def line(self) -> str:
        ratios = f"{self.ratio:.2f}x, {self.ratio_of_both:.2f}x, {self.ratio_kept:.2f}x"
        return (
            f"{self.definition.full_name:50s} | generated {self.generated} | "
            f"autograd {self.autograd} | {ratios}"
        )

    def as_json(self) -> dict[str, object]:
        sides = {"generated": self.generated, "autograd": self.autograd}
        return {
            "case": self.definition.full_name,
            "kernels": {name: len(counts.backward) for name, counts in sides.items()},
            "kernels_with_forward": {name: len(counts.both) for name, counts in sides.items()},
            "bytes": {name: counts.backward.bytes for name, counts in sides.items()},
            "kept": {name: counts.kept for name, counts in sides.items()},
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
        return primitives.forward(definition, leaves, sample.options, sample.sizes)

    values = by_primitives()
    return KernelCounts(
        definition,
        Counts(
            launches(lambda: functions.backward(*cotangents, residuals)),
            launches(generated),
            kept(lambda: functions.operation(**leaves, **sample.options)),
        ),
        Counts(
            launches(lambda: reference.gradients(definition, values, cotangents)),
            launches(lambda: reference.gradients(definition, by_primitives(), cotangents)),
            kept(by_primitives),
        ),
    )


def kept(call: Callable[[], object]) -> int:
    """The bytes that autograd is given to save; what several operations save counts once."""
    storages: dict[int, int] = {}

    def saved(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(saved, lambda tensor: tensor):
        result = call()
    del result  # kept until here, so that no storage is freed and its address given to another
    return sum(storages.values())
