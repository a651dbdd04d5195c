"""Emitted code at work: the module of an operation, and the functions of one of its variants."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from codegen.torch.names import function_name
from derive import library
from derive.language.definition import Definition
from gradsmith.errors import Failure

PACKAGES = {"torch": "generated", "c": "generated.c"}
"""The languages that code is emitted in, and the package of each one's committed modules."""


def emitted(definition: Definition, target: str = "torch") -> ModuleType:
    """The emitted module: the committed one of a library operation, or one made in memory."""
    name = f"{PACKAGES[target]}.{definition.name}"
    if library.operation_of(definition) and find_spec(name):
        return import_module(name)
    from codegen import pipeline

    return pipeline.compile(definition, target)


def require_compiler() -> None:
    """Raise Failure where nothing compiles what the C target emits."""
    from generated.c.loader import compiler

    with warnings.catch_warnings(record=True) as said:
        found = compiler()
    if found is None:
        raise Failure(str(said[-1].message).partition(";")[0] if said else "no C compiler")


@dataclass(frozen=True)
class Functions:
    """What a module has for one variant; `value_and_grad` where the output is one number.

    `operation` is what autograd differentiates, called with the definition's own tensors.
    """

    forward: Callable[..., Any]
    backward: Callable[..., Any]
    value_and_grad: Callable[..., Any] | None
    operation: Callable[..., Any]

    @classmethod
    def of(cls, module: ModuleType, definition: Definition) -> Functions:
        """Those of a definition's variant, in the module of its operation."""
        suffix = f"_{definition.variant}" if definition.variant else ""
        names = [*(t.name for t in definition.inputs), *(o.name for o in definition.options)]

        def operation(**given: Any) -> Any:
            defaults = {o.name: o.default for o in definition.options}
            function = getattr(module, function_name(definition))
            outputs = function.apply(*({**defaults, **given}[name] for name in names))
            wanted = outputs[: len(definition.outputs)]
            return wanted[0] if len(wanted) == 1 else wanted

        return cls(
            getattr(module, f"forward{suffix}"),
            getattr(module, f"backward{suffix}"),
            getattr(module, f"value_and_grad{suffix}", None),
            operation,
        )
