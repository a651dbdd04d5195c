"""A caller's tensors over the axes of a definition, by views that autograd differentiates."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from codegen.torch.arguments import Arguments
from codegen.torch.demands import demanded
from codegen.torch.reading import names_in
from codegen.torch.shapes import Layout, Wide
from derive.language.definition import Tensor


def seen(operation: str, arguments: Arguments, layout: Layout) -> Iterator[str]:
    """Lines that see the tensors of an operation that are always there over its axes."""
    yield f"dtype = {_dtype(arguments)}"
    for name in arguments.real_or_integer:  # numbers have a part in the dtype, integers have none
        yield f"if {name}.is_floating_point():"
        yield f"    dtype = torch.promote_types(dtype, {name}.dtype)"
    name = arguments.by_tensor[arguments.first_real].name
    yield f'_floating(dtype, "{name}", {name})'
    yield from layout.enter()
    yield from _sized(operation, arguments, layout)
    for mask, beside in arguments.masks.items():
        yield from _mask(mask, beside, arguments, layout)
    always = [t for name, t in arguments.tensors.items() if not arguments.of_some_variants(name)]
    # The first one last: the views of the others may read the shape that it was given in.
    for tensor in sorted(always, key=lambda t: arguments.variable(t.name) == arguments.primary):
        yield f"{tensor.name} = {view(tensor, arguments, layout)}"
    # A mask has been made already, and a buffer stays the caller's: its new values go into it.
    apart = {*arguments.masks, *arguments.buffers}
    for name in filter(arguments.of_some_variants, arguments.by_tensor):
        if name not in apart:
            yield from _where_given(arguments.tensors[name], arguments, layout)


def _where_given(tensor: Tensor, arguments: Arguments, layout: Layout) -> Iterator[str]:
    """Lines that see a tensor over its axes where it is given, under its argument's name."""
    name = arguments.variable(tensor.name)
    line = f"    {name} = {view(tensor, arguments, layout)}"
    if not arguments.one_of_two(tensor.name):
        yield from (f"if {name} is not None:", line)
    elif tensor.integer:  # of the two, the first
        yield from (f"if not {name}.is_floating_point():", line)
    else:
        yield from ("else:", line)


def view(tensor: Tensor, arguments: Arguments, layout: Layout) -> str:
    """A tensor over the axes of the definition, as an expression of the variable that holds it."""
    if tensor.name in arguments.masks:
        return tensor.name
    around = _as_index(tensor, arguments) if tensor.integer else _as_real(tensor, arguments)
    return layout.seen(tensor, Wide(arguments.variable(tensor.name), around))


def _as_real(tensor: Tensor, arguments: Arguments) -> Callable[[str], str]:
    """What makes real numbers wide enough, and of one dtype where they may be of several."""
    name = arguments.variable(tensor.name)
    if "inplace" in arguments.conventional and name == arguments.primary:
        return lambda given: f"_wide({given}.clone() if inplace else {name})"
    alike = arguments.alike if len(arguments.alike) > 1 or arguments.real_or_integer else []
    if name in (*arguments.real_or_integer, *alike):
        return lambda given: f"_wide({given}.to(dtype))"
    return lambda given: f"_wide({given})"


def _as_index(tensor: Tensor, arguments: Arguments) -> Callable[[str], str]:
    """What refuses integers that are an index, where they are outside the axis that they index."""
    if tensor.name not in arguments.indexed:
        return lambda given: given
    home, place = arguments.indexed[tensor.name]
    role = arguments.roles_of(home)[place]
    shown = f"{arguments.variable(home.name)}.shape[{place}]"
    size = shown if role is None else "math.prod(tail)"
    return lambda given: f'_indices("{arguments.variable(tensor.name)}", {given}, {size})'


def _dtype(arguments: Arguments) -> str:
    """The dtype of the result: what the tensors that are alike have in common."""
    first, *others = arguments.alike
    dtype = f"{first}.dtype"
    for other in others:
        dtype = f"torch.promote_types({dtype}, {other}.dtype)"
    if arguments.interface.autocast is not None:
        dtype = f'_autocast({dtype}, {first}, "{arguments.interface.autocast}")'
    return f"dtype or {dtype}" if "dtype" in arguments.conventional else dtype


def _sized(operation: str, arguments: Arguments, layout: Layout) -> Iterator[str]:
    """Lines for conditions on the sizes of axes."""
    asked = names_in(condition for condition, _ in arguments.interface.demands)
    for axis, role in arguments.interface.roles:
        if axis.size.name in asked:
            yield f"{axis.size.name} = {layout.size(role)}"
    yield from demanded(operation, arguments, sized=True)


def _mask(mask: str, beside: Tensor, arguments: Arguments, layout: Layout) -> Iterator[str]:
    """A mask from the integer that does not count, which is put out of the way."""
    integers, left_out = arguments.variable(beside.name), arguments.variable(mask)
    dtype = f"torch.promote_types({arguments.real}.dtype, torch.float32)"
    given = f"{left_out} is not None"
    if arguments.one_of_two(beside.name):
        yield f"if {integers}.is_floating_point() and {given} and {left_out} >= 0:"
        yield f'    raise RuntimeError("{left_out} is for a {integers} of integers")'
        given += f" and not {integers}.is_floating_point()"
    yield f"{mask} = None"
    yield f"if {given}:"
    yield f"    counted = {integers} != {left_out}"
    # The integers are held against the shape that they must have where they are seen themselves.
    seen = layout.seen(beside, Wide(integers, lambda _: "counted"))
    yield f"    {mask} = {seen}.to({dtype})"
    yield f"    {integers} = {integers}.masked_fill(~counted, 0)"
