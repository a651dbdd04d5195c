"""What PyTorch or the notebook has for an operation of the library: a forward not emitted here."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from derive import library
from derive.language.definition import Definition
from derive.language.interface import OTHERWISE, Interface
from gradsmith.makemore import notebook
from gradsmith.makemore.notebook import Parameters

Values = Mapping[str, Tensor]
Options = Mapping[str, float]
Namesake = Callable[[Values, Options], Tensor]


def _makemore_mlp(v: Values, _: Options) -> Tensor:
    rows = {name: v[name].view(1, -1) for name in ("bngain", "bnbias")}
    parameters = {name: rows.get(name, v[name]) for name in Parameters._fields}
    return notebook.loss(Parameters(**parameters), v["Xb"], v["Yb"])


_TABLE: dict[str, Namesake] = {
    "makemore_mlp": _makemore_mlp,
    "makemore_mlp_chunked": _makemore_mlp,
}


LOOSER = {"hardsigmoid": 1e-7, "celu": 1e-7}
"""Where PyTorch is less exact in float64: its sixth, and its alpha, are numbers of float32."""


def namesake(definition: Definition) -> Namesake | None:
    """PyTorch's own forward of a library operation, right where options have their defaults.

    None for a definition that is not the library's, whatever its name.
    """
    operation = library.operation_of(definition)
    if operation is None:
        return None
    if operation.name in _TABLE:
        return _TABLE[operation.name]
    interface = operation.interface
    homes = (home for home in (F, torch, torch.linalg) if hasattr(home, operation.name))
    native = next((getattr(home, operation.name) for home in homes), None)
    masks = {name for name, how in interface.given if how == "mask"} if interface else set()
    if masks & {tensor.name for tensor in definition.inputs}:
        return None  # PyTorch has no mask, but an integer
    if interface is None or native is None or _FOLDED & {role for _, role in interface.roles}:
        return None
    named = (v.values for v in interface.variants if v.definition.variant == definition.variant)
    chosen = next(named)
    return _called(definition, interface, chosen, native)


_FOLDED = {"group", "within"}
"""Roles of which several make one dimension of the caller's tensors."""


def _called(
    definition: Definition,
    interface: Interface,
    chosen: Sequence[object],
    native: Callable[..., Tensor],
) -> Namesake:
    """PyTorch's function, called as the interface says, on the definition's own tensors."""
    fixed = {
        choice.name: value
        for choice, value in zip(interface.choices, chosen, strict=True)
        if choice.kind == "value" and value is not OTHERWISE
    }
    inputs = {tensor.name for tensor in definition.inputs}
    tensors = {
        argument.name: [name for name in argument.tensors if name in inputs]
        for argument in interface.arguments
        if inputs.intersection(argument.tensors)
    }
    if any(role == "dim" for _, role in interface.roles):
        fixed["dim"] = -1

    def call(values: Values, options: Options) -> Tensor:
        named = {a.name for a in interface.arguments}
        values = {**values, **{name: values[name].clone() for name, _ in definition.updates}}
        given: dict[str, Tensor | None] = {
            argument: _joined([values[n] for n in names]) for argument, names in tensors.items()
        }
        known: dict[str, Any] = {name: value for name, value in options.items() if name in named}
        if (taken := _parameters(native)) is not None:
            known = {name: value for name, value in known.items() if name in taken}
        for argument in interface.arguments:
            if argument.tensors and argument.default is None:
                given.setdefault(argument.name, None)
        if "normalized_shape" in named:
            known["normalized_shape"] = next(iter(values.values())).shape[1:]
        with warnings.catch_warnings():  # what PyTorch advises its callers against is meant here
            warnings.simplefilter("ignore", UserWarning)
            return native(**given, **known, **fixed)

    return call


def _parameters(native: Callable[..., Tensor]) -> set[str] | None:
    """The names that a function of PyTorch takes; None for a built-in one, which does not say."""
    try:
        return set(inspect.signature(native).parameters)
    except ValueError:
        return None


def _joined(halves: Sequence[Tensor]) -> Tensor:
    """The argument that a definition sees as one tensor, or as its two halves."""
    return halves[0] if len(halves) == 1 else torch.cat(list(halves), -1)
