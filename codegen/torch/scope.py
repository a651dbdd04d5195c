"""What the printer knows while it prints one function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sympy import Expr

from codegen.program import CodegenError
from codegen.torch.reading import names_read
from codegen.torch.values import ATOM, Value, split
from derive.language.definition import Tensor
from derive.language.expressions import Axis, Index, names_used

_NO_BATCH = ("dtype", "device", "shape")
"""What a tensor may be asked for that a batch of it has no part in."""


@dataclass(frozen=True)
class Scope:
    """The tensors bound so far and how to write about them.

    `values` says how each tensor is written, at the letters it was declared with; `like` is
    a real tensor that new ones take their dtype and device from; `order` is the order of
    letters that the value in the making wants. `literal` forbids fused operations, and
    `differentiable` those that autograd cannot differentiate; `whole` leaves positions the
    integers that they are. `extents` are the sizes of axes that no input has. `origins` says which
    parameters each tensor is computed from.
    """

    tensors: Mapping[str, Tensor]
    values: Mapping[str, Value]
    like: str
    origins: Mapping[str, frozenset[str]]
    order: tuple[Index, ...] = ()
    literal: bool = False
    differentiable: bool = True
    order_of_program: int = 1
    whole: bool = False
    extents: Mapping[Axis, Expr] = field(default_factory=dict)

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
        """Whether a tensor is ours to change."""
        return value.fresh and not (value.remembered and self.differentiable)

    def in_place(self, value: Value, *others: Value) -> bool:
        """Whether others may be put into a tensor where it lies.

        Under vmap a tensor without a batch cannot take on another's: it has to be computed from
        all that the others are computed from. For second derivatives there may be several
        batches, of transforms in each other, of which PyTorch loses sight.
        """
        if self.order_of_program > 1:
            return False
        return not self.differentiable or self._origins(*others) <= self._origins(value)

    def _origins(self, *values: Value) -> set[str]:
        names = set().union(*(names_read(value.text, but_for=_NO_BATCH) for value in values))
        return set().union(*(self.origins.get(name, ()) for name in names))

    def like_for(self, *read: Any) -> str:
        """A real tensor that one is made from which expressions then change in place."""
        if not self.differentiable:
            return self.like
        every = set().union(*(self.origins.get(name, ()) for name in names_used(*read)))
        reals = (name for name, value in self.values.items() if value.is_real)
        return next((n for n in (self.like, *reals) if self.origins[n] >= every), self.like)

    def split(self, value: Value) -> Value:
        return split(value, self.size)

    def arange(self, letter: Index) -> Value:
        """The positions along an axis, as a tensor of integers."""
        code = f"torch.arange({self.size(letter)}, device={self.like}.device)"
        return Value(code, ((letter,),), integer=True)

    def real(self, value: Value) -> Value:
        """A tensor that takes part in arithmetic: masks and positions become real numbers."""
        if not (value.boolean or (value.integer and not self.whole)):
            return value
        return Value(f"{value.at(ATOM)}.to({self.like}.dtype)", value.dims, fresh=True)


Emit = Callable[[Any, Scope], Value]
"""What prints an expression: handed down by the printer of expressions to those of its parts."""
