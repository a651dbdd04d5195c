"""What is checked of the lines of a definition: names, indices and functions."""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping
from typing import Any

from sympy import Basic, Integer, KroneckerDelta, S, Symbol
from sympy.core.function import AppliedUndef

from derive.language.definition import DefinitionError, Let, Option, Tensor
from derive.language.expressions import ArgMax, Binder, Element, Index, free_indices, tensor_name
from derive.language.functions import is_supported, supported_names

_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")
_RESERVED = frozenset(
    (
        *("torch", "forward", "backward", "residuals", "Residuals", "Gradients", "Tensor", "ctx"),
        *("output", "saved"),  # of the functions for autograd
        *("in_torch", "serves", "recorded", "check_gradient", "check_trainable", "empty"),
        *("Function", "double_backward", "residuals_backward", "value_and_grad"),
        *("math", "warnings", "isinstance", "next", "tuple"),
        *("IndexError", "NotImplementedError", "RuntimeError", "TypeError", "ValueError"),
    )
)
_FILES = frozenset(("c", "loader"))
"""What stands beside the emitted files of operations."""


def check_identifier(name: Any, kind: str) -> None:
    """Raise unless a name can stand in emitted code as it is."""
    if not isinstance(name, str) or not _IDENTIFIER.match(name):
        raise DefinitionError(
            f"{kind} name {name!r} is not an identifier: letters, digits and _ only"
        )
    reserved = name in _RESERVED or (kind == "operation" and name in _FILES)
    if keyword.iskeyword(name) or keyword.issoftkeyword(name) or reserved:
        raise DefinitionError(f"{kind} name {name!r} is reserved")
    if name.startswith("grad_"):
        raise DefinitionError(
            f"{kind} name {name!r}: names that start with grad_ are kept for gradients"
        )


def check_expression(
    name: str,
    expr: Basic,
    inputs: Mapping[str, Tensor],
    lets: Mapping[str, Let],
    options: Mapping[str, Option],
    axes: Mapping[str, Index],
) -> None:
    """Walk one let's value: names known, indices on their own axes, functions supported."""
    if isinstance(expr, Element):
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
                    f"is neither an index nor an element of an integer tensor; "
                    f"what is to be shifted, the caller shifts"
                )
            if isinstance(used, Integer) and used < 0:
                raise DefinitionError(
                    f"let {name!r}: {used} on axis {declared.axis.name!r} of {tensor!r}: "
                    f"a literal index counts from 0"
                )
            check_expression(name, used, inputs, lets, options, axes)
        return
    if isinstance(expr, KroneckerDelta):
        one, other = expr.args
        if isinstance(one, Index) and isinstance(other, Index) and one.axis != other.axis:
            raise DefinitionError(
                f"let {name!r}: {expr} compares letters of axis {one.axis.name!r} and axis "
                f"{other.axis.name!r}"
            )
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
    if expr in (S.NaN, S.ComplexInfinity):
        raise DefinitionError(f"let {name!r} holds {expr}, which is no number: a division by zero?")
    if expr == S.Infinity:
        raise DefinitionError(f"let {name!r} holds inf; only -inf may be chosen, under an exp")
    if isinstance(expr, Binder) and not expr.indices:
        raise DefinitionError(f"let {name!r}: {expr} runs over no index")
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
        check_expression(name, expr.body, inputs, lets, options, axes)
        return
    for arg in expr.args:
        check_expression(name, arg, inputs, lets, options, axes)


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
    name = tensor_name(expr)
    tensor = inputs.get(name) or (lets[name].tensor if name in lets else None)
    return tensor is not None and tensor.integer
