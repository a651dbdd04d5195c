"""Random inputs for a definition: sizes, tensors that satisfy its assumptions, cotangents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count

import torch
from sympy import Basic, Indexed, KroneckerDelta
from sympy.core.relational import Relational
from torch import Generator, Tensor

from derive import language
from derive.expressions import Axis, Index
from derive.language import Definition, Option
from gradsmith.reference import stored_shape


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


def sample(
    definition: Definition,
    generator: Generator,
    *,
    smallest: int = 3,
    usual_options: bool = False,
    sizes: Mapping[Axis, int] | None = None,
) -> Sample:
    """Random float64 inputs. Unless given, sizes are all different and at least `smallest`:
    at equal sizes a transposed result goes unseen, at size 2 a square of x_hat is constant.

    `usual_options` takes the defaults; otherwise options are moved off them, so that a term
    with `eps` or `correction` shows.
    """
    sizes = sizes or dict(zip(definition.axes, count(smallest), strict=False))
    options = {
        o.name: float(o.default) if usual_options and o.default is not None else _unusual(o)
        for o in definition.options
    }
    options = {
        o.name: int(options[o.name]) if _is_whole(o, options[o.name]) else options[o.name]
        for o in definition.options
    }
    inputs = {
        tensor.name: random_integers(definition, tensor, sizes, generator)
        if tensor.integer
        else random_tensor(tensor, sizes, generator)
        for tensor in definition.inputs
    }
    return Sample(inputs, options, sizes)


def random_tensor(
    tensor: language.Tensor, sizes: Mapping[Axis, int], generator: Generator
) -> Tensor:
    """A random float64 tensor in its stored shape that satisfies what is assumed of it."""
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


def random_integers(
    definition: Definition,
    tensor: language.Tensor,
    sizes: Mapping[Axis, int],
    generator: Generator,
) -> Tensor:
    """Random integers that are in range wherever the definition uses them as an index."""
    axes = set(_axes_indexed_by(definition, tensor.name))
    bound = min((sizes[axis] for axis in axes), default=4)
    return torch.randint(0, bound, stored_shape(tensor, sizes), generator=generator)


def cotangents(outputs: list[Tensor], generator: Generator) -> list[Tensor]:
    """Random and non-uniform, one for each output: a sum as loss would hide a gradient of zero."""
    return [
        torch.randn(o.shape, generator=generator, dtype=torch.float64).to(o.dtype) for o in outputs
    ]


def _unusual(option: Option) -> float:
    """A value off the default that the option's assumptions allow."""
    if option.default is None:
        return 2 if option.integer else 0.75
    if option.integer or option.default == 0:
        return option.default + 1
    return max(option.default * 1.25, 0.01) if option.default > 0 else option.default * 1.25


def _is_whole(option: Option, value: float) -> bool:
    return option.integer or (isinstance(option.default, int) and value == int(value))


def _axes_indexed_by(definition: Definition, name: str) -> Iterator[Axis]:
    """The axes that an integer tensor's elements run over: what they index or are compared with."""
    for let in definition.lets:
        for element in let.value.atoms(Indexed):
            axes = definition.tensors[str(element.base)].axes
            for used, axis in zip(element.indices, axes, strict=True):
                if _is_called(used, name):
                    yield axis
        for relation in let.value.atoms(KroneckerDelta, Relational):
            if any(_is_called(side, name) for side in relation.args):
                yield from (side.axis for side in relation.args if isinstance(side, Index))


def _is_called(expr: Basic, name: str) -> bool:
    return str(expr.base if isinstance(expr, Indexed) else expr) == name
