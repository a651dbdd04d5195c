"""What the docstring of a public function says of its axes, its arguments and its result."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence

from codegen.torch.arguments import Arguments
from codegen.torch.demands import conditions
from derive.language.definition import Definition, Tensor
from derive.language.interface import GIVEN, NAMED_BY, OTHERWISE, ROLES, Argument, Choice

_WIDTH = 92  # what an indented line of a docstring holds

_OTHERS = {
    "_stacklevel": "taken as PyTorch takes it, and of no effect here.",
    "dim": "the dimension whose halves the tensors are.",
    "dtype": "what {primary} is converted to first, or None.",
    "inplace": "whether {primary} takes the result.",
    "max_norm": "refused where it is given.",
    "norm_type": "of no effect, since max_norm is refused.",
    "scale_grad_by_freq": "refused where it is given.",
    "sparse": "refused where it is given.",
    "keepdim": "whether the dimensions that are summed over stay, of size 1.",
    "reduce": "older than reduction; both are None where that is meant.",
    "size_average": "older than reduction; both are None where that is meant.",
    "unbiased": "older than correction; None where that is meant.",
}
"""Arguments that shape the result, or are PyTorch's older ones."""


def axes_described(arguments: Arguments) -> Iterator[str]:
    """Lines for each axis of the formulas that is a part of the caller's tensors."""
    for axis, role in arguments.interface.roles:
        halved = role == "dim" and arguments.halved
        which = "the dimension that the argument `dim` names, halved" if halved else ROLES[role]
        yield from _entry(axis.name, f"{which}.")


def arguments_described(arguments: Arguments) -> Iterator[str]:
    """Lines for each argument: the tensor that it is in the formulas, or what it may be."""
    for argument in arguments.interface.arguments:
        demands = [c for c, read in conditions(arguments) if read == {argument.name}]
        what = _what(argument, arguments).removesuffix(".")
        yield from _entry(argument.name, f"{'; '.join([what, *demands])}.")


def result_described(definition: Definition, arguments: Arguments) -> str:
    """The outputs, over the axes that they have in any variant."""
    variants = [v.definition for v in arguments.interface.variants]
    outputs = (
        _either([*dict.fromkeys(_element(d.tensors[name]) for d in variants)])
        for name in definition.outputs
    )
    joined = " and ".join(outputs)
    return f"{joined}, joined along dim." if len(definition.outputs) > 1 else f"{joined}."


def _entry(name: str, text: str) -> list[str]:
    return textwrap.wrap(f"{name}: {text}", _WIDTH, subsequent_indent="    ")


def _what(argument: Argument, arguments: Arguments) -> str:
    if arguments.is_mask(argument):
        beside = arguments.variable(arguments.masks[argument.tensors[0]].name)
        (mask,) = argument.tensors
        return f"{mask} is 0 where {beside} is equal to it, and 1 elsewhere; None for 1 everywhere."
    if argument.tensors:
        return _tensors(argument, arguments)
    if text := _number(argument, arguments):
        return text
    for choice in arguments.interface.choices:
        if choice.name == argument.name:
            return f"{_either(_values(choice))}."
    for axis, role in arguments.interface.roles:
        if NAMED_BY.get(role) == argument.name:
            return f"which {axis.name} is, above."
    known = _OTHERS.get(argument.name, "no part of the formulas.")
    return known.format(primary=arguments.primary)


def _tensors(argument: Argument, arguments: Arguments) -> str:
    tensors = [arguments.tensors[name] for name in argument.tensors]
    elements = [_element(t) + (", integers," if t.integer else "") for t in tensors]
    if argument.halved:
        return f"{' and '.join(elements)}, its halves along dim."
    text = _either(elements).removesuffix(",")
    for name, how in arguments.interface.given:
        if name in argument.tensors:
            other = dict(arguments.interface.pairs).get(name)
            text += f", given with {other}" if other else f", given {GIVEN[how]}"
    if any(map(arguments.may_lack, argument.tensors)):
        text += ", or None"
    if arguments.buffers.intersection(argument.tensors):
        text += "; updated in place"
    return f"{text}."


def _number(argument: Argument, arguments: Arguments) -> str:
    for variant in arguments.interface.variants:
        for option in variant.definition.options:
            if option.name == argument.name:
                if argument.name in arguments.given("epsilon"):
                    return f"{option.wanted}, or given {GIVEN['epsilon']}."
                return option.wanted + (", or None." if argument.default == "None" else ".")
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
