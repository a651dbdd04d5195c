"""The signature of a public function: its parameters, each with what it may be and its default."""

from __future__ import annotations

from codegen.torch.arguments import Arguments
from derive.language.conventions import CONVENTIONS
from derive.language.interface import Argument


def signature(arguments: Arguments) -> str:
    """The parameters as they are declared: `input: Tensor, *, eps: float = 1e-05`."""
    parts: list[str] = []
    for argument in arguments.interface.arguments:
        if argument.keyword_only and "*" not in parts:
            parts.append("*")
        given = f" = {argument.default}" if argument.default is not None else ""
        parts.append(f"{argument.name}: {annotation(argument, arguments)}{given}")
    return ", ".join(parts)


def handed_on(arguments: Arguments) -> list[str]:
    """The parameters, given to a function that has the same ones."""
    return [
        f"{a.name}={a.name}" if a.keyword_only else a.name for a in arguments.interface.arguments
    ]


def annotation(argument: Argument, arguments: Arguments) -> str:
    """What an argument may be, as it is annotated."""
    if arguments.is_mask(argument):
        return "int | None"
    if argument.name in arguments.given("rowwise"):
        return "Tensor | float"
    if argument.tensors:
        left_out = argument.default == "None" or any(map(arguments.may_lack, argument.tensors))
        return "Tensor | None" if left_out else "Tensor"
    if argument.name in arguments.conventional:
        if argument.name == "dim" and arguments.halved:
            return "int"
        if argument.name == "dim" and "along" in arguments.roles:
            return "int | None"
        return CONVENTIONS[argument.name].kind
    default = argument.default or ""
    if default in ("True", "False"):
        return "bool"
    if default[:1] in ("'", '"'):
        return "str"
    options = (o for v in arguments.interface.variants for o in v.definition.options)
    number = "int" if any(o.name == argument.name and o.integer for o in options) else "float"
    return f"{number} | None" if default == "None" else number
