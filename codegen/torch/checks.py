"""What a public function does with its arguments before it looks at their shapes.

It refuses what is of another kind or in another shape than is wanted, and puts in place what is
given in another way than as a tensor of the definition.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from codegen.torch.arguments import Arguments
from codegen.torch.demands import demanded
from codegen.torch.shapes import refusal
from codegen.torch.signature import annotation
from derive.language.conventions import CONVENTIONS
from derive.language.interface import Variant

_CHECKED_BY = {
    "_must_be(Tensor, {})": "Tensor",
    "_may_be(Tensor, {})": "Tensor | None",
    "_may_be(torch.dtype, {})": "torch.dtype | None",
    "_must_be(bool, {})": "bool",
    "_may_be(bool, {})": "bool | None",
}
"""What refuses an argument of another kind, by how an argument is annotated."""

_OLDER = {
    "size_average": "reduction = _reduction(size_average, reduce, reduction)",
    "unbiased": "dim, correction = _correction(dim, unbiased, correction)",
}
"""Arguments that PyTorch keeps for older callers, and what they mean beside others."""


def checked(operation: str, arguments: Arguments) -> Iterator[str]:
    """Lines that check the arguments of an operation one by one, and then beside the first."""
    yield from _kinds(arguments)
    yield from _replaced(arguments)
    yield from demanded(operation, arguments)
    yield from _epsilon(arguments)
    yield from _given(arguments)
    yield from no_gradient(filter(arguments.is_constant, arguments.tensors), arguments)


def no_gradient(constants: Iterable[str], arguments: Arguments) -> Iterator[str]:
    """A line that refuses a gradient of what has none; a mask is no tensor of the caller's."""
    if fixed := [name for name in constants if name not in arguments.masks]:
        yield f"_constant({_by_name(map(arguments.variable, fixed))})"


def constant_in(variant: Variant, arguments: Arguments) -> Iterator[str]:
    """The tensors that have a gradient in other variants, and none in this one."""
    for name in arguments.tensors:
        fixed = arguments.is_constant_in(variant.definition, name)
        if fixed and not arguments.is_constant(name):
            yield name


def _kinds(arguments: Arguments) -> Iterator[str]:
    """Lines that refuse what is of another kind than is wanted."""
    unchecked = {name for name in arguments.conventional if not CONVENTIONS[name].checked}
    looked_at = [a for a in arguments.interface.arguments if a.name not in unchecked]
    kinds = {a.name: annotation(a, arguments) for a in looked_at}
    for line, wanted in _CHECKED_BY.items():
        if names := [name for name, kind in kinds.items() if kind == wanted]:
            yield line.format(_by_name(names))
    for name, kind in kinds.items():
        if kind == "int":
            yield f'{name} = _integer("{name}", {name})'
        elif kind == "int | None":
            yield f"if {name} is not None:"
            yield f'    {name} = _integer("{name}", {name})'
    numbers = [option for option in arguments.options if option in arguments.named]
    if always := [name for name in numbers if kinds[name] == "float"]:
        yield f"_number({_by_name(always)})"
    for name in (name for name in numbers if kinds[name] == "float | None"):
        yield f"if {name} is not None:"
        yield f"    _number({name}={name})"


def _replaced(arguments: Arguments) -> Iterator[str]:
    """Lines that put in place what older arguments, halves, a dtype and numbers stand for."""
    first = arguments.primary
    for older, line in _OLDER.items():
        if older in arguments.conventional:
            yield line
    for argument in arguments.interface.arguments:
        if argument.halved:
            yield f"{', '.join(argument.tensors)} = _halves({argument.name}, dim)"
    if "dtype" in arguments.conventional:
        yield "if dtype is not None:"
        yield f"    {first} = {first}.to(dtype)"
    for name in arguments.given("rowwise"):
        yield f"if not isinstance({name}, Tensor):"
        yield f"    {name} = torch.full_like({first}, {name})"


def _epsilon(arguments: Arguments) -> Iterator[str]:
    """Lines that make the machine epsilon of an option that is left out."""
    for option in arguments.given("epsilon"):
        yield f"if {option} is None:"
        wide = f"torch.promote_types({arguments.primary}.dtype, torch.float32)"
        yield f"    {option} = torch.finfo({wide}).eps"


def _given(arguments: Arguments) -> Iterator[str]:
    """Lines for the tensors that are given in another way than by broadcasting them."""
    first = arguments.primary
    for name, how in arguments.interface.given:
        match how:
            case "rowwise":
                yield f"if {name}.shape != {first}.shape and {name}.shape == {first}.shape[:-1]:"
                yield f"    {name} = {name}.unsqueeze(-1)"
                yield f"elif {name}.shape not in ({first}.shape, (*{first}.shape[:-1], 1)):"
                yield from refusal("ValueError", name, f"the shape of {first} or one number a row")
            case "whole":
                present = f"{name} is not None and " if arguments.optional(name) else ""
                yield f"if {present}{name}.shape != {first}.shape:"
                wanted = f"the shape of {first}, {{[*{first}.shape]}}"
                yield from refusal("ValueError", name, wanted)
            case "alike":
                yield f"if {name}.shape != {first}.shape:"
                yield "    warnings.warn("
                yield f'        f"{name} has shape {{[*{name}.shape]}} and {first} "'
                yield f'        f"{{[*{first}.shape]}}: they are broadcast, which is seldom meant",'
                yield "        stacklevel=2,"
                yield "    )"
            case "shared":
                yield f"count = {first}.shape[1] if {first}.dim() > 1 else 1"
                yield f"if {name}.dim() > 1 or {name}.numel() not in (1, count):"
                yield from refusal("RuntimeError", name, "one element, or one a channel, {count}")
            case "paired":
                other = dict(arguments.interface.pairs)[name]
                yield f"if ({name} is None) != ({other} is None):"
                yield f'    raise ValueError("{name} and {other} must be given together")'


def _by_name(names: Iterable[str]) -> str:
    return ", ".join(f"{name}={name}" for name in names)
