"""Inputs in torch for a definition: at a point of the evaluator's, or random and of any size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from derive.language import definition as language
from derive.language.definition import Definition
from derive.language.expressions import Axis
from derive.verification.evaluate import Array
from derive.verification.points import Point, index_bounds
from gradsmith.proof.reference import stored_shape


@dataclass(frozen=True)
class Sample:
    """Inputs, options and sizes at which a definition is evaluated."""

    inputs: Mapping[str, Tensor]
    options: Mapping[str, float]
    sizes: Mapping[Axis, int]

    def to(self, dtype: torch.dtype, requires_grad: bool = False) -> Sample:
        """Fresh leaves in another precision; integer inputs stay as they are."""
        inputs = {
            name: value.detach().to(dtype, copy=True).requires_grad_(requires_grad)
            if value.is_floating_point()
            else value
            for name, value in self.inputs.items()
        }
        return Sample(inputs, self.options, self.sizes)


def at_point(definition: Definition, point: Point) -> Sample:
    """The same point as the evaluator's, in float64."""
    inputs = {
        tensor.name: to_torch(point.values[tensor.name], tensor, point.sizes)
        for tensor in definition.inputs
    }
    options = {o.name: number(point.values[o.name]) for o in definition.options}
    return Sample(inputs, options, point.sizes)


def number(array: Array) -> float:
    """The value of an array without axes."""
    (value,) = array.values
    return int(value) if value == int(value) else float(value)


def to_torch(array: Array, tensor: language.Tensor, sizes: Mapping[Axis, int]) -> Tensor:
    """An evaluator's array as a float64 or int64 tensor, in the stored shape."""
    dtype = torch.int64 if tensor.integer else torch.float64
    value = torch.tensor(array.nested(), dtype=dtype)
    return value.reshape(stored_shape(tensor, sizes))


def random_sample(
    definition: Definition, sizes: Mapping[Axis, int], generator: Generator
) -> Sample:
    """Random float64 inputs of any size that satisfy what is assumed of them.

    The sizes are those given, but for axes that have to be longer. Options take their defaults, and
    1 where they have none.
    """
    sizes = definition.fitted(sizes)
    bounds = index_bounds(definition, sizes)
    inputs = {
        tensor.name: _random_integers(
            bounds.get(tensor.name, range(3)), stored_shape(tensor, sizes), generator
        )
        if tensor.integer
        else _random_tensor(tensor, sizes, generator)
        for tensor in definition.inputs
    }
    options = {o.name: 1 if o.default is None else o.default for o in definition.options}
    return Sample(inputs, options, sizes)


def random_like(tensors: Sequence[Tensor], generator: Generator) -> list[Tensor]:
    """Random, non-uniform cotangents: a sum as loss would hide an error in a gradient of zero."""
    return [
        torch.randn(t.shape, generator=generator, dtype=torch.float64).to(t.dtype) for t in tensors
    ]


def _random_integers(numbers: range, shape: Sequence[int], generator: Generator) -> Tensor:
    return torch.randint(numbers.start, numbers.stop, shape, generator=generator)


def _random_tensor(
    tensor: language.Tensor, sizes: Mapping[Axis, int], generator: Generator
) -> Tensor:
    shape = [sizes[axis] for axis in tensor.axes]
    value = torch.randn(shape, generator=generator, dtype=torch.float64)
    if tensor.positive or tensor.nonnegative:
        value = value.abs() + 0.25
    elif tensor.nonzero:
        value = value + 0.25 * torch.where(value < 0, -1.0, 1.0)
    if tensor.sums_to_one is not None:
        value = value.softmax(tensor.indices.index(tensor.sums_to_one))
    if tensor.symmetric:
        value = (value + value.mT) / 2
    return value.reshape(stored_shape(tensor, sizes))
