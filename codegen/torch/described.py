"""What the docstring of a public function says of its axes, its arguments and its result."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence

from codegen.torch.arguments import Arguments
from codegen.torch.demands import demanded_of
from derive.language.conventions import CONVENTIONS, NAMED_BY
from derive.language.definition import Definition, Tensor
from derive.language.interface import GIVEN, OTHERWISE, ROLES, Argument, Choice

_WIDTH = 92  # what an indented line of a docstring holds


def axes_described(arguments: Arguments) -> Iterator[str]:
    """Lines for each axis of the formulas that is a part of the caller's tensors."""
    for axis, role in arguments.interface.roles:
        halved = role == "dim" and arguments.halved
        which = "the dimension that the argument `dim` names, halved" if halved else ROLES[role]
        yield from entry(axis.name, f"{which}.")


def arguments_described(arguments: Arguments) -> Iterator[str]:
    """Lines for each argument: the tensor that it is in the formulas, or what it may be."""
    for argument in arguments.interface.arguments:
        told = [_what(argument, arguments), *demanded_of(argument, arguments)]
        said = "; ".join(filter(None, told)) or "no part of the formulas"
        yield from entry(argument.name, f"{said}.")


def result_described(definition: Definition, arguments: Arguments) -> str:
    """The outputs, over the axes that they have in any variant."""
    variants = [v.definition for v in arguments.interface.variants]
    outputs = (
        _either([*dict.fromkeys(_element(d.tensors[name]) for d in variants)])
        for name in definition.outputs
    )
    joined = " and ".join(outputs)
    return f"{joined}, joined along dim." if len(definition.outputs) > 1 else f"{joined}."


def entry(name: str, text: str) -> list[str]:
    """What is said of a name, on lines of a docstring."""
    return textwrap.wrap(f"{name}: {text}", _WIDTH, subsequent_indent="    ")


def _what(argument: Argument, arguments: Arguments) -> str:
    """What an argument is by the definition or by its name; nothing where it is neither."""
    if arguments.is_mask(argument):
        beside = arguments.variable(arguments.masks[argument.tensors[0]].name)
        (mask,) = argument.tensors
        return f"{mask} is 0 where {beside} is equal to it, and 1 elsewhere; None for 1 everywhere"
    if argument.tensors:
        return _tensors(argument, arguments)
    if text := _number(argument, arguments):
        return text
    for choice in arguments.interface.choices:
        if choice.name == argument.name:
            return _either(_values(choice))
    for axis, role in arguments.interface.roles:
        if NAMED_BY.get(role) == argument.name:
            return f"see {axis.name} under Axes"
    if argument.name in arguments.conventional:
        return CONVENTIONS[argument.name].does.format(primary=arguments.primary)
    return ""


def _tensors(argument: Argument, arguments: Arguments) -> str:
    tensors = [arguments.tensors[name] for name in argument.tensors]
    elements = [_element(t) + (", integers," if t.integer else "") for t in tensors]
    if argument.halved:
        return f"{' and '.join(elements)}, its halves along dim"
    text = _either(elements).removesuffix(",")
    for name, how in arguments.interface.given:
        if name in argument.tensors:
            other = dict(arguments.interface.pairs).get(name)
            text += f", given with {other}" if other else f", given {GIVEN[how]}"
    if any(map(arguments.may_lack, argument.tensors)):
        text += ", or None"
    if arguments.buffers.intersection(argument.tensors):
        text += "; updated in place"
    return text


def _number(argument: Argument, arguments: Arguments) -> str:
    for variant in arguments.interface.variants:
        for option in variant.definition.options:
            if option.name == argument.name:
                if argument.name in arguments.given("epsilon"):
                    return f"{option.wanted}, or given {GIVEN['epsilon']}"
                return option.wanted + (", or None" if argument.default == "None" else "")
    return ""


def _element(tensor: Tensor) -> str:
    letters = ",".join(index.name for index in tensor.indices)
    return f"{tensor.name}[{letters}]" if letters else tensor.name


def _values(choice: Choice) -> list[str]:
    known = [value for value in choice.values if value is not OTHERWISE]
    texts = [
        str(value) if isinstance(value, float) and math.isinf(value) else repr(value)
        for value in known
    ]
    return [*texts, "another value"] if len(known) < len(choice.values) else texts


def _either(parts: Sequence[str]) -> str:
    *others, last = parts
    return f"{', '.join(others)} or {last}" if others else last
