"""What the printer knows while it prints one function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from codegen.program import CodegenError
from codegen.torch.values import Value, split
from derive.expressions import Index
from derive.language import Tensor


@dataclass(frozen=True)
class Scope:
    """The tensors bound so far and how to write about them.

    `values` says how each tensor is written, at the letters it was declared with; `like` is
    a real tensor that new ones take their dtype and device from; `order` is the order of
    letters that the value in the making wants. `literal` forbids fused operations, and
    `differentiable` those that autograd cannot differentiate.
    """

    tensors: Mapping[str, Tensor]
    values: Mapping[str, Value]
    like: str
    order: tuple[Index, ...] = ()
    literal: bool = False
    differentiable: bool = True

    def ordered(self, *letters: Index) -> Scope:
        return replace(self, order=tuple(dict.fromkeys(letters)))

    def binding(self, name: str, value: Value) -> Scope:
        return replace(self, values={**self.values, name: value})

    def named(self, name: str) -> tuple[Tensor, Value]:
        """A tensor and how it is written.

        Raises:
            CodegenError: the tensor is not bound yet.
        """
        if name not in self.values:
            raise CodegenError(
                f"{name!r} is used before it is bound; bound: {', '.join(self.values)}"
            )
        return self.tensors[name], self.values[name]

    def size(self, letter: Index) -> str:
        return letter.axis.size.name

    @property
    def kind(self) -> str:
        """The keyword arguments that make a new tensor one of the same kind."""
        return f"dtype={self.like}.dtype, device={self.like}.device"

    def may_update(self, value: Value) -> bool:
        """Whether a tensor may be changed in place."""
        return value.fresh and not (value.remembered and self.differentiable)

    def split(self, value: Value) -> Value:
        return split(value, self.size)

    def arange(self, letter: Index) -> Value:
        """The positions along an axis, as a tensor of integers."""
        code = f"torch.arange({self.size(letter)}, device={self.like}.device)"
        return Value(code, ((letter,),), integer=True)

    def real(self, value: Value) -> Value:
        """A tensor that takes part in arithmetic: masks and positions become real numbers."""
        if not (value.boolean or value.integer):
            return value
        return Value(f"{value.at(9)}.to({self.like}.dtype)", value.dims, fresh=True)


def name_of(element: Any) -> str:
    """The name of the tensor that an element belongs to."""
    return element.base.label.name if hasattr(element, "base") else element.name
