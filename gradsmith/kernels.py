"""Kernels: what a derived backward launches, beside autograd of the same forward.

Autograd differentiates the definition written in arithmetic primitives (`gradsmith.primitives`);
of both backward passes every ATen operation is counted that does arithmetic or moves elements,
and the bytes of the tensors that it reads and writes; and so for forward and backward together,
since what the one works out ahead the other is spared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Generator, Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from derive.language import Definition
from gradsmith import primitives, reference
from gradsmith.emitted import Functions, emitted
from gradsmith.samples import random_like, random_sample

ELEMENTS = 16
"""The binary logarithm of how many elements the largest tensor has, about."""

_VIEWS = {"_unsafe_view", "empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"}
"""Operations that are not marked as views and launch nothing either."""


@dataclass(frozen=True)
class Launches:
    """What a call launches: the names of its kernels in order, and how many bytes they move."""

    kernels: tuple[str, ...]
    bytes: int

    def __len__(self) -> int:
        return len(self.kernels)


@dataclass(frozen=True)
class Comparison:
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


def compare(definition: Definition) -> Comparison:
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
    return Comparison(
        definition,
        launches(lambda: functions.backward(*cotangents, residuals)),
        launches(lambda: reference.gradients(definition, values, cotangents)),
        launches(generated),
        launches(lambda: reference.gradients(definition, by_primitives(), cotangents)),
    )


def launches(call: Callable[[], object]) -> Launches:
    """What a call launches, operations that only make a view or only allocate aside."""
    with _Recorder() as recorder:
        call()
    return Launches(tuple(recorder.kernels), recorder.bytes)


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.kernels: list[str] = []
        self.bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if not (func.is_view or name in _VIEWS):
            self.kernels.append(name)
            self.bytes += sum(map(_bytes, tree_leaves((args, kwargs, result))))
        return result


def _bytes(value: object) -> int:
    """The memory that a tensor's elements take; what is broadcast counts once."""
    if not isinstance(value, Tensor):
        return 0
    sizes = zip(value.shape, value.stride(), strict=True)
    return value.element_size() * prod(size for size, stride in sizes if stride)
