"""Definitions: an operation as a list of lets in index notation.

    op = define("batch_norm", "Batch normalisation over n.")
    n, c = op.axes("n c")
    x = op.input("x", n, c)
    mean = op.let("mean", [c], Mean(x[n, c], n))
    ...
    batch_norm = op.build(y)

`derive.language.builder` has `define` and what it starts; here is what comes out of it: a frozen
`Definition`. Whatever is wrong with a definition is a `DefinitionError` that names the let, the
axis and the mistake, raised by the line that makes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from sympy import Expr, IndexedBase, Symbol

from derive.language.expressions import (
    ArgMax,
    Axis,
    Element,
    Index,
    Parameter,
    computed,
    names_used,
)
from derive.language.interface import Interface
from derive.language.shown import Shown
from derive.language.sizes import extents, fitted
from derive.language.windows import Window, windows_in


class DefinitionError(ValueError):
    """A definition that makes no sense; the message names the let, the axis and the mistake."""


Dim = Index | tuple[Index, ...]
"""One stored dimension: an index, or a tuple of indices laid out as one, as in `(t d)`."""

FACTS = ("integer", "positive", "nonnegative", "nonzero", "symmetric")
"""What may be said in a word of a tensor, and of an option as far as it has it."""


def dim_text(dim: Dim) -> str:
    """A dimension as it is declared: `n`, `(t d)`."""
    return f"({' '.join(map(str, dim))})" if isinstance(dim, tuple) else str(dim)


@dataclass(frozen=True)
class Tensor:
    """A named tensor: `x[n, c]` is its element.

    `dims` are its stored dimensions with the letters it was declared with. A composite
    dimension `(t, d)` is storage only: an element is written `w[t, d, j]` or `w[(t, d), j]`.
    `sums_to_one` names the index over which its elements are known to sum to one;
    `symmetric` says that a tensor over twice the same axis equals its transpose.
    """

    name: str
    dims: tuple[Dim, ...] = ()
    integer: bool = False
    positive: bool = False
    nonnegative: bool = False
    nonzero: bool = False
    sums_to_one: Index | None = None
    symmetric: bool = False

    @cached_property
    def indices(self) -> tuple[Index, ...]:
        """The letters the tensor was declared with, composite dimensions expanded."""
        return tuple(i for dim in self.dims for i in (dim if isinstance(dim, tuple) else (dim,)))

    @property
    def axes(self) -> tuple[Axis, ...]:
        return tuple(i.axis for i in self.indices)

    @cached_property
    def symbol(self) -> Symbol:
        known: dict[str, bool] = {"integer": True} if self.integer else {"real": True}
        for fact in ("positive", "nonnegative", "nonzero"):
            if getattr(self, fact):
                known[fact] = True
        if self.integer:
            known["nonnegative"] = True
        return Symbol(self.name, **known)

    @cached_property
    def _base(self) -> IndexedBase:
        return IndexedBase(self.symbol)

    @property
    def element(self) -> Expr:
        """The element at the tensor's own letters: `x[n, c]`; without axes, the symbol."""
        return self[self.indices]

    def __getitem__(self, indices: Any) -> Expr:
        indices = indices if isinstance(indices, tuple) else (indices,)
        flat = [i for group in indices for i in (group if isinstance(group, tuple) else (group,))]
        if not flat:
            return self.symbol
        if len(flat) == len(self.indices):
            flat = [computed(i, own) for i, own in zip(flat, self.indices, strict=True)]
        return Element(self._base, *flat)

    def _sympy_(self) -> Symbol:
        """What a tensor is inside an expression: a number where it has no axes, else a mistake."""
        if self.indices:
            raise DefinitionError(f"{self!r} is used without its indices")
        return self.symbol

    def __neg__(self) -> Expr:
        return -self._sympy_()

    def __add__(self, other: Any) -> Expr:
        return self._sympy_() + other

    def __radd__(self, other: Any) -> Expr:
        return other + self._sympy_()

    def __sub__(self, other: Any) -> Expr:
        return self._sympy_() - other

    def __rsub__(self, other: Any) -> Expr:
        return other - self._sympy_()

    def __mul__(self, other: Any) -> Expr:
        return self._sympy_() * other

    def __rmul__(self, other: Any) -> Expr:
        return other * self._sympy_()

    def __truediv__(self, other: Any) -> Expr:
        return self._sympy_() / other

    def __rtruediv__(self, other: Any) -> Expr:
        return other / self._sympy_()

    def __pow__(self, other: Any) -> Expr:
        return self._sympy_() ** other

    def __rpow__(self, other: Any) -> Expr:
        return other ** self._sympy_()

    def __repr__(self) -> str:
        return f"{self.name}[{', '.join(map(dim_text, self.dims))}]"


@dataclass(frozen=True)
class Option:
    """A scalar parameter that nobody differentiates; keyword-only in the emitted `forward`, and
    placed by its signature in a public function."""

    name: str
    default: int | float | None = None
    integer: bool = False
    positive: bool = False
    nonnegative: bool = False

    @cached_property
    def symbol(self) -> Parameter:
        known: dict[str, bool] = {"integer": True} if self.integer else {"real": True}
        if self.positive:
            known["positive"] = True
        elif self.nonnegative:
            known["nonnegative"] = True
        return Parameter(self.name, **known)

    @property
    def wanted(self) -> str:
        """What it may be, in words."""
        what = "an integer" if self.integer else "a number"
        least = " above zero" if self.positive else " of zero or more" if self.nonnegative else ""
        return what + least

    def refuses(self, value: Expr) -> bool:
        """Whether a value is not known to be what it may be."""
        known = not self.integer or value.is_integer
        if self.positive:
            return not (known and value.is_positive)
        return not (known and (not self.nonnegative or value.is_nonnegative))


@dataclass(frozen=True)
class Let:
    """One line of a definition: `tensor` at its own letters equals `value`."""

    tensor: Tensor
    value: Expr

    @property
    def name(self) -> str:
        return self.tensor.name

    def at(self, *indices: Any) -> Expr:
        """The value with the tensor's letters replaced, bound indices kept out of the way."""
        return self.value.xreplace(dict(zip(self.tensor.indices, indices, strict=True)))

    def __repr__(self) -> str:
        return f"{self.tensor!r} = {self.value}"


@dataclass(frozen=True)
class Call:
    """A definition used inside another one: a unit whose gradient is derived once.

    `tensors` pairs the name of each input and let of the callee with the caller's tensor,
    `options` each option's name with an expression of the caller, `axes` each axis with the
    caller's.
    """

    callee: Definition
    tensors: tuple[tuple[str, Tensor], ...]
    options: tuple[tuple[str, Expr], ...]
    axes: tuple[tuple[Axis, Axis], ...]

    @property
    def lets(self) -> tuple[str, ...]:
        """The caller's names of the lets that the call brought in."""
        table = dict(self.tensors)
        return tuple(table[let.name].name for let in self.callee.lets)


@dataclass(frozen=True)
class Definition(Shown):
    """An operation: inputs, options, lets in order, and which of them are the outputs.

    `wrt` names the tensors whose gradient is wanted, lets among them where every
    intermediate is asked for. `chunked` asks for the backward pass with every cotangent named.
    """

    name: str
    summary: str
    inputs: tuple[Tensor, ...]
    options: tuple[Option, ...]
    lets: tuple[Let, ...]
    outputs: tuple[str, ...]
    wrt: tuple[str, ...]
    calls: tuple[Call, ...] = ()
    chunked: bool = False
    source: str = ""
    variant: str = ""
    """Of an operation with several definitions, which one this is; empty for the usual one."""
    interface: Interface | None = None
    updates: tuple[tuple[str, str], ...] = ()
    """Inputs that are buffers, each with the let that holds what it becomes."""
    inherited: tuple[Window, ...] = ()
    """Of the backward pass of another definition: what that reads at computed indices."""

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by name: inputs, then lets."""
        return {t.name: t for t in (*self.inputs, *(let.tensor for let in self.lets))}

    @cached_property
    def axes(self) -> tuple[Axis, ...]:
        """Every axis, in order of first appearance in the inputs and the lets."""
        seen: dict[Axis, None] = {}
        for tensor in self.tensors.values():
            seen.update(dict.fromkeys(tensor.axes))
        for let in self.lets:
            seen.update(dict.fromkeys(sorted(i.axis for i in let.value.atoms(Index))))
        return tuple(seen)

    @cached_property
    def windows(self) -> tuple[Window, ...]:
        """What is read at computed indices: by it, sizes of axes depend on each other."""
        axes = {name: tensor.axes for name, tensor in self.tensors.items()}
        largest = {let.name: let.value for let in self.lets if isinstance(let.value, ArgMax)}
        own = (w for let in self.lets for w in windows_in(let.value, axes, largest))
        return tuple(dict.fromkeys([*self.inherited, *own]))

    @cached_property
    def given_axes(self) -> frozenset[Axis]:
        """The axes whose size an input shows."""
        return frozenset(axis for tensor in self.inputs for axis in tensor.axes)

    @cached_property
    def extents(self) -> dict[Axis, Expr]:
        """The sizes of the axes that no input has, in terms of others, as windows have them."""
        return extents(self.windows, self.given_axes)

    def fitted(self, sizes: Mapping[Axis, int]) -> dict[Axis, int]:
        """Sizes at which all that is read lies on its axis; see `derive.language.sizes`."""
        return fitted(self.windows, self.given_axes, sizes)

    @property
    def full_name(self) -> str:
        """The operation's name, and the variant's: `mse_loss`, `mse_loss[sum]`."""
        return f"{self.name}[{self.variant}]" if self.variant else self.name

    @property
    def variants(self) -> tuple[Definition, ...]:
        """Every definition of the operation, the usual one first, none with an interface."""
        if self.interface is None:
            return (self,)
        usual = replace(self, interface=None)
        found = {v.definition.variant: v.definition for v in self.interface.variants}
        return (usual, *(d for name, d in found.items() if name != usual.variant))

    def let(self, name: str) -> Let:
        return next(let for let in self.lets if let.name == name)

    def with_wrt(self, *names: str) -> Definition:
        """This definition without its variants, with the gradients of these alone wanted.

        Raises:
            DefinitionError: a name is unknown or belongs to an integer tensor.
        """
        check_wrt(self.name, names, self.tensors)
        return replace(self, wrt=names, interface=None)


def check_wrt(operation: str, names: Iterable[str], tensors: Mapping[str, Tensor]) -> None:
    """Raise unless the names are real tensors, at least one and each once."""
    names = tuple(names)
    if not names:
        raise DefinitionError(f"operation {operation!r} has no real input to differentiate")
    check_once(f"gradient in {operation!r}", names)
    for name in names:
        if name not in tensors:
            raise DefinitionError(
                f"gradient of {name!r} in {operation!r}: unknown name; it has {', '.join(tensors)}"
            )
        if tensors[name].integer:
            raise DefinitionError(
                f"gradient of {name!r} in {operation!r}: an integer tensor cannot be differentiated"
            )


def check_once(what: str, names: Sequence[str]) -> None:
    """Raise where a name stands twice."""
    for place, name in enumerate(names):
        if name in names[:place]:
            raise DefinitionError(f"{what}: {name!r} is asked for twice")


def varying(wrt: Iterable[str], lets: Sequence[Let]) -> set[str]:
    """Some names, and those of the lets that are made of them."""
    found = set(wrt)
    for let in lets:
        if names_used(let.value) & found:
            found.add(let.name)
    return found


def needed(lets: Sequence[Let], wanted: Iterable[str]) -> tuple[Let, ...]:
    """The lets that some wanted one depends on, in order."""
    wanted = set(wanted)
    chosen: list[Let] = []
    for let in reversed(lets):
        if let.name in wanted:
            chosen.append(let)
            wanted |= names_used(let.value)
    return tuple(reversed(chosen))
