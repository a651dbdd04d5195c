"""The tensor program: what is emitted, before any target says how.

A `Program` is one function. It takes tensors, options and what another program kept
(its residuals), binds names to tensors over explicit axes, one let after another, and
returns some of them.

Supported:
- lets over any number of axes, whose values are expressions of `derive.language.expressions` and
  `codegen.lowering.forms`: elementwise functions, sums, products, argmax, gathers, deltas, choices;
- several letters over one axis, composite dimensions, literal indices;
- scalar options and axis sizes as numbers.

Not supported, on purpose:
- control flow, recursion, loops: a sum says which axes it runs over, a target chooses how;
- buffers and in-place updates: which temporary may be overwritten is a target's business;
- shapes as data: each axis has a size, read off the tensors the program is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from sympy import Basic, Expr

from derive.language.definition import Let, Option, Tensor
from derive.language.expressions import Axis, Binder, Index, Parameter, names_used
from derive.language.sizes import extents
from derive.language.windows import Window


class CodegenError(ValueError):
    """A derivation that cannot be turned into source text; the message says which part and why."""


@dataclass(frozen=True)
class Residuals:
    """What a forward program hands to a backward program, in order: tensors, options, sizes."""

    tensors: tuple[Tensor, ...] = ()
    options: tuple[Option, ...] = ()
    sizes: tuple[Axis, ...] = ()

    @cached_property
    def names(self) -> tuple[str, ...]:
        return (
            *(t.name for t in self.tensors),
            *(o.name for o in self.options),
            *(a.size.name for a in self.sizes),
        )


@dataclass(frozen=True)
class Program:
    """One function over tensors.

    `params` and `options` are its arguments; `unpacked` are the residuals that it reads, `saved`
    those that it hands on to another program. `lets` are evaluated in order; `results` pairs the
    name a result is returned under with the tensor that holds it. `literal` asks a target to
    keep each let's operations as they are written, one rounding each, rather than to fuse them;
    `differentiable` says that what it computes may be differentiated once more; `order` is 2 of
    what is run for second derivatives. `extents` are the sizes of axes that no parameter has.
    """

    name: str
    params: tuple[Tensor, ...]
    options: tuple[Option, ...]
    unpacked: Residuals
    lets: tuple[Let, ...]
    results: tuple[tuple[str, Tensor], ...]
    literal: bool = False
    differentiable: bool = True
    order: int = 1
    saved: Residuals = Residuals()
    extents: tuple[tuple[Axis, Expr], ...] = ()

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by name."""
        bound = (*self.params, *self.unpacked.tensors, *(let.tensor for let in self.lets))
        return {t.name: t for t in bound}

    @cached_property
    def handed_on(self) -> frozenset[str]:
        """The names of the tensors that it returns or saves."""
        return frozenset((*self.saved.names, *(tensor.name for _, tensor in self.results)))

    def origins(self, before: Mapping[str, frozenset[str]]) -> dict[str, frozenset[str]]:
        """By the name of each tensor, the parameters that it is computed from.

        `before` gives those of the tensors that another program kept.
        """
        found = {t.name: before.get(t.name, frozenset((t.name,))) for t in self.unpacked.tensors}
        found |= {t.name: frozenset((t.name,)) for t in self.params}
        for let in self.lets:
            read = [found[name] for name in names_used(let.value) if name in found]
            found[let.name] = frozenset().union(*read)
        return found

    @cached_property
    def option_names(self) -> frozenset[str]:
        return frozenset(o.name for o in (*self.options, *self.unpacked.options))

    @cached_property
    def axes(self) -> dict[str, Axis]:
        """Every axis whose size can occur, by the name of its size symbol."""
        axes = [a for t in self.tensors.values() for a in t.axes]
        axes += [i.axis for let in self.lets for i in let.value.atoms(Index)]
        axes += self.unpacked.sizes
        return {axis.size.name: axis for axis in sorted(axes)}


@dataclass(frozen=True)
class Module:
    """Everything that one definition is emitted as.

    `updates` names what buffers become; the forward program hands it on with what it keeps.
    `value_and_grad` is there where the only output is a scalar, `value` where the forward program
    works out ahead what the output alone does not need. For second derivatives,
    `double_backward` takes cotangents of the gradients to those of what the backward pass was
    given; `residuals_backward`, where it is needed, goes on to the inputs, and reads `again` what
    of them is not kept. `windows` is what the definition reads at computed indices.
    """

    name: str
    variant: str
    summary: str
    inputs: tuple[Tensor, ...]
    options: tuple[Option, ...]
    outputs: tuple[Tensor, ...]
    updates: tuple[str, ...]
    seeds: tuple[Tensor, ...]
    gradients: tuple[str, ...]
    residuals: Residuals
    forward: Program
    backward: Program
    value_and_grad: Program | None
    value: Program | None = None
    double_backward: Program | None = None
    residuals_backward: Program | None = None
    again: tuple[Tensor, ...] = ()
    windows: tuple[Window, ...] = ()
    held: tuple[tuple[Basic, Window], ...] = ()
    """What the definition reads where integer tensors say; see `derive.language.places.held`."""

    @property
    def extents(self) -> dict[Axis, Expr]:
        """The sizes of the axes that no input has, in terms of others."""
        return extents(self.windows, {axis for tensor in self.inputs for axis in tensor.axes})


@lru_cache(maxsize=100_000, typed=True)  # for 1 and Integer(1) are equal
def is_number(expr: Any) -> bool:
    """Whether an expression is a number, of literals, options and sizes, and no tensor."""
    if not isinstance(expr, Expr):
        return False
    if expr.atoms(Binder, Index):
        return False
    return all(isinstance(s, Parameter) for s in expr.free_symbols)
