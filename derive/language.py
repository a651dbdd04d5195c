"""Definitions: an operation as a list of lets in index notation.

    op = define("batch_norm", "Batch normalisation over n.")
    n, c = op.axes("n c")
    x = op.input("x", n, c)
    mean = op.let("mean", [c], Mean(x[n, c], n))
    ...
    batch_norm = op.build(y)

`define` starts a `Builder`; `Builder.build` returns a frozen `Definition`. Whatever
is wrong with a definition is a `DefinitionError` that names the let, the axis and
the mistake, raised by the line that makes it.
"""

from __future__ import annotations

import inspect
import keyword
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from sympy import Basic, Expr, Indexed, IndexedBase, Integer, Symbol, SympifyError, sympify
from sympy.core.function import AppliedUndef

from derive.expressions import (
    ArgMax,
    Axis,
    Binder,
    Index,
    Parameter,
    free_indices,
    fresh_names,
)
from derive.facts import is_nonnegative, is_positive
from derive.functions import as_where, is_supported, supported_names


class DefinitionError(ValueError):
    """A definition that makes no sense; the message names the let, the axis and the mistake."""


Dim = Index | tuple[Index, ...]
"""One stored dimension: an index, or a tuple of indices laid out as one, as in `(t d)`."""


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

    @property
    def element(self) -> Expr:
        """The element at the tensor's own letters: `x[n, c]`; without axes, the symbol."""
        return self[self.indices]

    def __getitem__(self, indices: Any) -> Expr:
        indices = indices if isinstance(indices, tuple) else (indices,)
        flat = [i for group in indices for i in (group if isinstance(group, tuple) else (group,))]
        if not flat:
            return self.symbol
        return Indexed(IndexedBase(self.symbol), *flat)

    def _sympy_(self) -> Symbol:
        """What a tensor is inside an expression: a number where it has no axes, else a mistake."""
        if self.indices:
            raise DefinitionError(f"{self!r} is used without its indices")
        return self.symbol

    def __repr__(self) -> str:
        groups = [
            f"({' '.join(map(str, d))})" if isinstance(d, tuple) else str(d) for d in self.dims
        ]
        return f"{self.name}[{', '.join(groups)}]"


@dataclass(frozen=True)
class Option:
    """A scalar parameter that nobody differentiates, keyword-only in the emitted code."""

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

    `names` maps each input, let and option value of the callee to what stands for it in
    the caller: input and let names to tensors of the caller, option names to expressions;
    `axes` maps the callee's axes to the caller's.
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

    def translate(self, expr: Expr) -> Expr:
        """An expression of the callee, in the caller's tensors, axes and options."""
        return _translate(expr, dict(self.tensors), dict(self.options), dict(self.axes))


@dataclass(frozen=True)
class Definition:
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

    def let(self, name: str) -> Let:
        return next(let for let in self.lets if let.name == name)

    def with_wrt(self, *names: str) -> Definition:
        """The same operation, with the gradient of only these inputs wanted.

        Raises:
            DefinitionError: a name is unknown or belongs to an integer tensor.
        """
        _check_wrt(self.name, names, self.tensors)
        return replace(self, wrt=names)


def define(name: str, summary: str) -> Builder:
    """Start the definition of an operation; `summary` is one line that says what it computes."""
    return Builder(name, summary)


class Builder:
    """Collects axes, inputs, options and lets, checking each as it comes."""

    def __init__(self, name: str, summary: str) -> None:
        _check_identifier(name, "operation")
        if not summary.strip():
            raise DefinitionError(
                f"operation {name!r} has no summary; say in one line what it computes"
            )
        self.name = name
        self.summary = summary.strip()
        caller = inspect.stack()[2]
        self.source = caller.filename
        self._axes: dict[str, Index] = {}
        self._inputs: dict[str, Tensor] = {}
        self._options: dict[str, Option] = {}
        self._lets: dict[str, Let] = {}
        self._calls: list[Call] = []

    # --- what a definition is made of ---

    def axes(self, names: str) -> Any:
        """New axes, each with its letter: `n, c = op.axes("n c")`; one name gives one letter."""
        letters = []
        for name in names.split():
            _check_identifier(name, "axis")
            if name != name.lower():
                raise DefinitionError(
                    f"axis {name!r} must be lower case: {name.upper()!r} is its size"
                )
            self._check_new(name, "axis")
            self._axes[name] = Index(name, Axis(name))
            letters.append(self._axes[name])
        return letters[0] if len(letters) == 1 else tuple(letters)

    def input(self, name: str, *dims: Dim, **facts: Any) -> Tensor:
        """A real tensor; facts: positive, nonnegative, nonzero, sums_to_one, symmetric."""
        return self._add_input(Tensor(name, dims, **facts))

    def integers(self, name: str, *dims: Dim) -> Tensor:
        """A tensor of indices, such as class targets."""
        return self._add_input(Tensor(name, dims, integer=True))

    def option(self, name: str, default: int | float | None = None, **facts: bool) -> Parameter:
        """A scalar parameter; facts: integer, positive, nonnegative. Returns its symbol."""
        _check_identifier(name, "option")
        self._check_new(name, "option")
        self._options[name] = Option(name, default, **facts)
        return self._options[name].symbol

    def let(self, name: str, indices: Sequence[Dim] | Index, value: Any) -> Tensor:
        """Name an intermediate: `op.let("mean", [c], Mean(x[n, c], n))`.

        Raises:
            DefinitionError: names the let, the axis and the mistake.
        """
        dims = (indices,) if isinstance(indices, Index) else tuple(indices)
        self._check_name(name, f"let {name!r}")
        try:
            value = sympify(value, strict=True)
        except SympifyError:
            raise DefinitionError(f"let {name!r}: {value!r} is not an expression") from None
        if not isinstance(value, Expr):
            raise DefinitionError(f"let {name!r} must be a real expression, got {value}")
        tensor = self._checked_tensor(Tensor(name, dims), f"let {name!r}")
        value = self._hoist_argmax(name, as_where(value))
        self._check_value(name, tensor, value)
        if is_positive(value):
            tensor = replace(tensor, positive=True)
        elif is_nonnegative(value):
            tensor = replace(tensor, nonnegative=True)
        self._lets[name] = Let(tensor, value)
        return tensor

    def call(
        self,
        callee: Definition,
        inputs: Mapping[str, Tensor],
        options: Mapping[str, Any] | None = None,
        names: Mapping[str, str] | None = None,
    ) -> Tensor:
        """Use another definition: its lets are added under their own names, or those in `names`.

        `inputs` gives a tensor of this definition for each input of the callee, `options`
        values other than the defaults. Returns the callee's output.

        Raises:
            DefinitionError: an input is missing, unknown or of another rank; a name is taken.
        """
        where = f"call of {callee.name!r} in {self.name!r}"
        names, options = dict(names or {}), dict(options or {})
        wanted = {t.name: t for t in callee.inputs}
        if set(inputs) != set(wanted):
            raise DefinitionError(
                f"{where}: it takes the inputs {sorted(wanted)}, got {sorted(inputs)}"
            )
        unknown = sorted(set(names) - {let.name for let in callee.lets})
        unknown += sorted(set(options) - {o.name for o in callee.options})
        if unknown:
            raise DefinitionError(f"{where}: unknown name {unknown[0]!r}")
        axes: dict[Axis, Axis] = {}
        for name, theirs in wanted.items():
            ours = inputs[name]
            if len(ours.indices) != len(theirs.indices) or ours.integer != theirs.integer:
                raise DefinitionError(f"{where}: input {name!r} wants {theirs!r}, got {ours!r}")
            for their_axis, our_axis in zip(theirs.axes, ours.axes, strict=True):
                if axes.setdefault(their_axis, our_axis) != our_axis:
                    raise DefinitionError(
                        f"{where}: axis {their_axis.name!r} stands for both "
                        f"{axes[their_axis].name!r} and {our_axis.name!r} at input {name!r}"
                    )
        for axis in callee.axes:
            if axis not in axes:
                raise DefinitionError(f"{where}: no input says which axis {axis.name!r} is")
        values = {
            o.name: sympify(options.get(o.name, o.symbol if o.name in self._options else o.default))
            for o in callee.options
        }
        tensors = dict(inputs)
        for let in callee.lets:
            dims = tuple(
                tuple(self._axes[axes[i.axis].name] for i in d)
                if isinstance(d, tuple)
                else self._axes[axes[d.axis].name]
                for d in let.tensor.dims
            )
            name = names.get(let.name, let.name)
            value = _translate(let.value, tensors, values, axes)
            rename = {
                mine: theirs
                for mine, theirs in zip(
                    (i.another(i.name) for i in _moved(let.tensor.indices, axes)),
                    (i for d in dims for i in (d if isinstance(d, tuple) else (d,))),
                    strict=True,
                )
                if mine != theirs
            }
            tensors[let.name] = (
                self._add_integer_let(name, dims, value.xreplace(rename))
                if let.tensor.integer
                else self.let(name, dims, value.xreplace(rename))
            )
        self._calls.append(
            Call(callee, tuple(tensors.items()), tuple(values.items()), tuple(axes.items()))
        )
        return tensors[callee.outputs[0]]

    def build(
        self, *outputs: Tensor, wrt: Iterable[Tensor] | None = None, chunked: bool = False
    ) -> Definition:
        """The finished definition. `wrt`: whose gradients are wanted; by default all real inputs'.

        Raises:
            DefinitionError: there is no let, an output is no let, or `wrt` has no gradient.
        """
        if not self._lets or not outputs:
            raise DefinitionError(f"operation {self.name!r} is empty: it needs a let and an output")
        for output in outputs:
            if output.name not in self._lets:
                raise DefinitionError(
                    f"output {output.name!r} of {self.name!r} is not one of its lets"
                )
        tensors = self._inputs | {name: let.tensor for name, let in self._lets.items()}
        wanted = tuple(t.name for t in (wrt or [t for t in self._inputs.values() if not t.integer]))
        _check_wrt(self.name, wanted, tensors)
        _check_once(f"output of {self.name!r}", [t.name for t in outputs])
        return Definition(
            name=self.name,
            summary=self.summary,
            inputs=tuple(self._inputs.values()),
            options=tuple(self._options.values()),
            lets=tuple(self._lets.values()),
            outputs=tuple(t.name for t in outputs),
            wrt=wanted,
            calls=tuple(self._calls),
            chunked=chunked,
            source=self.source,
        )

    # --- checks ---

    def _add_input(self, tensor: Tensor) -> Tensor:
        self._check_name(tensor.name, f"input {tensor.name!r}")
        self._inputs[tensor.name] = self._checked_tensor(tensor, f"input {tensor.name!r}")
        return tensor

    def _add_integer_let(self, name: str, dims: tuple[Dim, ...], value: Expr) -> Tensor:
        self._check_name(name, f"let {name!r}")
        tensor = self._checked_tensor(Tensor(name, dims, integer=True), f"let {name!r}")
        self._lets[name] = Let(tensor, value)
        return tensor

    def _checked_tensor(self, tensor: Tensor, where: str) -> Tensor:
        seen: set[Index] = set()
        for index in tensor.indices:
            if not isinstance(index, Index):
                raise DefinitionError(f"{where}: {index!r} is not an index; use one from axes(...)")
            if index.axis.name not in self._axes:
                raise DefinitionError(
                    f"{where}: axis {index.axis.name!r} is not declared in this definition"
                )
            if index in seen:
                raise DefinitionError(
                    f"{where}: index {index.name!r} of axis {index.axis.name!r} stands twice; "
                    f"use another letter: {index.name}.another('i')"
                )
            seen.add(index)
        return tensor

    def _check_name(self, name: str, where: str) -> None:
        _check_identifier(name, where.split()[0])
        self._check_new(name, where.split()[0])

    def _check_new(self, name: str, kind: str) -> None:
        homes = {
            "an input": self._inputs,
            "an option": self._options,
            "a let": self._lets,
            "the size of an axis": {axis.upper(): None for axis in self._axes},
        }
        for home, names in homes.items():
            if name in names or (kind == "axis" and name.upper() in names):
                taken = name if name in names else name.upper()
                raise DefinitionError(
                    f"{kind} {name!r} in {self.name!r}: the name {taken!r} is already {home}"
                )
        if kind == "axis" and name in self._axes:
            raise DefinitionError(f"axis {name!r} in {self.name!r}: the name is already an axis")

    def _check_value(self, name: str, tensor: Tensor, value: Expr) -> None:
        _check_expression(name, value, self._inputs, self._lets, self._options, self._axes)
        missing = free_indices(value) - set(tensor.indices)
        if missing:
            index = min(missing, key=lambda i: i.name)
            raise DefinitionError(
                f"let {name!r}: index {index.name!r} of axis {index.axis.name!r} is used "
                f"but is neither on the left side nor summed over"
            )

    def _hoist_argmax(self, name: str, value: Expr) -> Expr:
        """Name every argmax, so that a maximum is a gather at a tensor of indices."""
        for arg in sorted(value.atoms(ArgMax), key=lambda a: len(a.atoms(ArgMax))):
            letters = tuple(sorted(free_indices(arg), key=lambda i: i.name))
            if any(i.name not in self._axes for i in letters):
                continue  # a bound or second letter: it stays where it is written
            existing = [let for let in self._lets.values() if let.value == arg]
            if existing:
                tensor = existing[0].tensor
            else:
                taken = {*self._inputs, *self._options, *self._lets}
                stem = f"{name}_argmax"
                tensor = self._add_integer_let(next(fresh_names([stem], taken)), letters, arg)
            value = value.xreplace({arg: tensor.element})
        return value


_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")
_RESERVED = frozenset(
    {"torch", "forward", "backward", "residuals", "Residuals", "Gradients", "Tensor", "ctx"}
)


def _check_identifier(name: Any, kind: str) -> None:
    if not isinstance(name, str) or not _IDENTIFIER.match(name):
        raise DefinitionError(
            f"{kind} name {name!r} is not an identifier: letters, digits and _ only"
        )
    if keyword.iskeyword(name) or keyword.issoftkeyword(name) or name in _RESERVED:
        raise DefinitionError(f"{kind} name {name!r} is reserved")
    if name.startswith("grad_"):
        raise DefinitionError(
            f"{kind} name {name!r}: names that start with grad_ are kept for gradients"
        )


def _check_wrt(operation: str, names: Iterable[str], tensors: Mapping[str, Tensor]) -> None:
    names = tuple(names)
    if not names:
        raise DefinitionError(f"operation {operation!r} has no real input to differentiate")
    _check_once(f"gradient in {operation!r}", names)
    for name in names:
        if name not in tensors:
            raise DefinitionError(
                f"gradient of {name!r} in {operation!r}: unknown name; it has {', '.join(tensors)}"
            )
        if tensors[name].integer:
            raise DefinitionError(
                f"gradient of {name!r} in {operation!r}: an integer tensor cannot be differentiated"
            )


def _check_once(what: str, names: Sequence[str]) -> None:
    for place, name in enumerate(names):
        if name in names[:place]:
            raise DefinitionError(f"{what}: {name!r} is asked for twice")


def _check_expression(
    name: str,
    expr: Basic,
    inputs: Mapping[str, Tensor],
    lets: Mapping[str, Let],
    options: Mapping[str, Option],
    axes: Mapping[str, Index],
) -> None:
    """Walk one let's value: names known, indices on their own axes, functions supported."""
    if isinstance(expr, Indexed):
        tensor = _lookup(name, expr.base.label, inputs, lets)
        if len(expr.indices) != len(tensor.indices):
            raise DefinitionError(
                f"let {name!r}: {tensor!r} has {len(tensor.indices)} indices, "
                f"got {len(expr.indices)}: {expr}"
            )
        for used, declared in zip(expr.indices, tensor.indices, strict=True):
            if isinstance(used, Index) and used.axis != declared.axis:
                raise DefinitionError(
                    f"let {name!r}: index {used.name!r} of axis {used.axis.name!r} is used on axis "
                    f"{declared.axis.name!r} of {tensor!r}: {expr}"
                )
            if not (
                isinstance(used, Index | Integer | ArgMax) or _is_integer_tensor(used, inputs, lets)
            ):
                raise DefinitionError(
                    f"let {name!r}: {used} on axis {declared.axis.name!r} of {tensor!r} "
                    f"is neither an index nor an element of an integer tensor"
                )
            _check_expression(name, used, inputs, lets, options, axes)
        return
    if isinstance(expr, Index):
        if expr.axis.name not in axes:
            raise DefinitionError(
                f"let {name!r}: axis {expr.axis.name!r} is not declared in this definition"
            )
        if expr.name in axes and axes[expr.name] != expr:
            raise DefinitionError(
                f"let {name!r}: the letter {expr.name!r} over axis {expr.axis.name!r} is "
                f"that of axis {expr.name!r}; use another"
            )
        return
    if isinstance(expr, Symbol):
        sizes = {index.size for index in axes.values()}
        if expr in sizes or expr.name in options:
            return
        tensor = _lookup(name, expr, inputs, lets)
        if tensor.indices:
            raise DefinitionError(f"let {name!r}: {tensor!r} is used without its indices")
        return
    if isinstance(expr, AppliedUndef) or not is_supported(expr):
        raise DefinitionError(
            f"let {name!r}: unsupported function {type(expr).__name__!r} in {expr}; "
            f"supported: {', '.join(supported_names())}"
        )
    if isinstance(expr, Binder):
        outside = {i.name for i in expr.indices if i.axis.name not in axes}
        if outside:
            raise DefinitionError(
                f"let {name!r}: axis {min(outside)!r} is not declared in this definition"
            )
        unused = [i for i in expr.indices if i not in free_indices(expr.body)]
        if unused and isinstance(expr, ArgMax):
            raise DefinitionError(f"let {name!r}: {expr} does not depend on {unused[0].name!r}")
        _check_expression(name, expr.body, inputs, lets, options, axes)
        return
    for arg in expr.args:
        _check_expression(name, arg, inputs, lets, options, axes)


def _lookup(
    name: str, used: Symbol, inputs: Mapping[str, Tensor], lets: Mapping[str, Let]
) -> Tensor:
    known = {**inputs, **{let.name: let.tensor for let in lets.values()}}
    if used.name not in known:
        raise DefinitionError(
            f"let {name!r}: unknown name {used.name!r}; known so far: {', '.join(known)}"
        )
    if used != known[used.name].symbol:
        raise DefinitionError(f"let {name!r}: {used.name!r} is a tensor of another definition")
    return known[used.name]


def _is_integer_tensor(expr: Basic, inputs: Mapping[str, Tensor], lets: Mapping[str, Let]) -> bool:
    name = expr.base.label.name if isinstance(expr, Indexed) else getattr(expr, "name", "")
    tensor = inputs.get(name) or (lets[name].tensor if name in lets else None)
    return tensor is not None and tensor.integer


def _moved(indices: Iterable[Index], axes: Mapping[Axis, Axis]) -> list[Index]:
    return [Index(i.name, axes[i.axis]) for i in indices]


def _translate(
    expr: Basic,
    tensors: Mapping[str, Tensor],
    options: Mapping[str, Expr],
    axes: Mapping[Axis, Axis],
) -> Any:
    """Rebuild an expression with other tensors, options and axes; letters keep their names."""
    sizes = {theirs.size: ours.size for theirs, ours in axes.items()}

    def walk(e: Basic) -> Basic:
        if isinstance(e, Indexed):
            return tensors[e.base.label.name][tuple(walk(i) for i in e.indices)]
        if isinstance(e, Index):
            return Index(e.name, axes[e.axis])
        if isinstance(e, Symbol):
            if isinstance(e, Parameter) and e in sizes:
                return sizes[e]
            if e.name in options:
                return options[e.name]
            return tensors[e.name].symbol
        if not e.args:
            return e
        return e.func(*(walk(a) for a in e.args))

    return walk(expr)
