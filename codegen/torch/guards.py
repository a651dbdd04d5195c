"""What the functions of a module demand of tensors and options: lines that raise where it does not
hold, and what a docstring says of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sympy import Expr

from codegen.program import Module
from codegen.torch.elements import may_wrap
from codegen.torch.reading import names_in
from codegen.torch.scalars import scalar
from codegen.torch.statements import storage
from derive.language.definition import Option, Tensor
from derive.language.expressions import Element
from derive.language.places import numbers
from derive.language.sizes import agreements, needs
from derive.verification.points import least_sizes


@dataclass(frozen=True)
class Learnt:
    """A size, and the expression that reads it off the shape of a tensor."""

    size: str
    read: str


def checks(module: Module) -> list[str]:
    """Lines that refuse a tensor of another dtype or shape, naming it, what was got and wanted."""
    inputs = module.inputs
    found: list[str | Learnt] = []
    first = next((t.name for t in inputs if not t.integer), "")
    known: set[str] = set()
    for tensor in inputs:
        found += _dtype_guard(tensor, first)
        found += _size_guard(tensor, known)
    found += [*_literal_guards(module), *_window_guards(module), *_index_guards(module)]
    lines: list[str] = []
    for line in reversed(found):
        if isinstance(line, str):
            lines.insert(0, line)
        elif line.size in names_in(lines):  # else no line after it asks for the size
            lines.insert(0, f"{line.size} = {line.read}")
    return lines


def raised(module: Module) -> list[str]:
    """What a docstring says of the errors that the checks raise."""
    first = next((t.name for t in module.inputs if not t.integer), "")
    reasons = (
        (
            "NotImplementedError",
            "NotImplementedError",
            f"{first} does not have a floating-point dtype.",
        ),
        ("RuntimeError", "RuntimeError", "a tensor has the wrong dtype or shape."),
        ("IndexError", "IndexError", "an axis is too short for an index in the formulas."),
        ("_in_range", "IndexError", "a tensor holds an index that is out of range."),
    )
    named = names_in(checks(module))
    return [f"{error}: {why}" for used, error, why in reasons if used in named]


def option_guard(option: Option) -> list[str]:
    """Lines that refuse a number of another sign than what was derived relies on."""
    if not (option.positive or option.nonnegative):
        return []
    return [
        f"if not {option.name} {'>' if option.positive else '>='} 0:",
        f'    raise ValueError(f"{option.name} must be {option.wanted}, got {{{option.name}}}")',
    ]


def _literal_guards(module: Module) -> list[str]:
    """Lines that refuse an axis which is too short for a literal index on it."""
    least = least_sizes(module.forward.lets, module.forward.tensors)
    return [
        line
        for axis, size in sorted(least.items())
        for line in (
            f"if {axis.size.name} < {size}:",
            f"    raise IndexError("
            f'f"{axis.size.name} must be larger than {size - 1}, got {{{axis.size.name}}}")',
        )
    ]


def _window_guards(module: Module) -> list[str]:
    """Lines that refuse an axis which is too short for what is read along it, and axes that allow
    different lengths of one that no input has."""
    given = {axis for tensor in module.inputs for axis in tensor.axes}
    lines: list[str] = []
    for axis, leasts in needs(module.windows, given).items():
        have = _in_given(axis.size, module)
        for least in leasts:
            wanted = scalar(least).text
            told = wanted if least.is_Integer else f"{wanted} = {{{wanted}}}"
            lines += [
                f"if {have} < {wanted}:",
                f'    raise RuntimeError(f"{have} must be at least {told}, got {{{have}}}")',
            ]
    for axis, several in agreements(module.windows, given).items():
        sizes = [_in_given(extent.size, module) for extent in several]
        names = " and ".join(dict.fromkeys(name for one in several for name in one.tensors))
        told = [
            f"{size} = {{{size}}} by {' and '.join(extent.tensors)}"
            for size, extent in zip(sizes, several, strict=True)
        ]
        lines += [
            f"if not {' == '.join(sizes)}:" if len(sizes) > 2 else f"if {' != '.join(sizes)}:",
            "    raise RuntimeError(",
            f'        f"{names} must agree on {axis.size.name}, "',
            f'        f"got {", ".join(told)}"',
            "    )",
        ]
    return lines


def _index_guards(module: Module) -> list[str]:
    """Lines that refuse integers that lie outside of the axes they index, where torch would not, or
    would not say which tensor holds them."""
    refused = {w for read, w in module.held if isinstance(read, Element) and not may_wrap(read)}
    allowed = numbers(window for _, window in module.held if window not in refused)
    lines: list[str] = []
    for tensor in (t for t in module.inputs if t.integer):
        for first, end in allowed.get(tensor.name, ()):
            bounds = ["torch.inf" if end is None else _in_given(end, module)]
            if first != 0:
                bounds.append("-torch.inf" if first is None else _in_given(first, module))
            lines.append(f'_in_range("{tensor.name}", {tensor.name}, {", ".join(bounds)})')
    return lines


def _in_given(size: Expr, module: Module) -> str:
    """A size in terms of those that the inputs have."""
    for shorter, extent in reversed([*module.extents.items()]):
        size = size.xreplace({shorter.size: extent})
    return scalar(size).text


def _dtype_guard(tensor: Tensor, first: str) -> list[str]:
    name = tensor.name
    error = "RuntimeError"
    if tensor.integer:
        wanted, wrong = "dtype torch.int64", f"{name}.dtype != torch.int64"
    elif name == first:
        wanted, wrong = "a floating-point dtype", f"not {name}.is_floating_point()"
        error = "NotImplementedError"
    else:
        wanted, wrong = f"the dtype of {first}, {{{first}.dtype}}", f"{name}.dtype != {first}.dtype"
    return [
        f"if {wrong}:",
        f"    raise {error}(",
        f'        f"{name} must have {wanted}, "',
        f'        f"got {{{name}.dtype}}"',
        "    )",
    ]


def _size_guard(tensor: Tensor, known: set[str]) -> list[str | Learnt]:
    """Lines that compare each dimension whose size is `known`, and learn the others; the sizes
    that are learnt are known from here on."""
    name, dims = tensor.name, [[i.size.name for i in dim] for dim in storage(tensor)]
    if all(n in known for names in dims for n in names):
        return [*shape_guard(tensor, f"{name}.shape != {shape_text(tensor)}")]
    wrong = [f"{name}.dim() != {len(dims)}"]
    seen: list[str] = []
    learnt: list[str | Learnt] = []
    for place, names in enumerate(dims):
        unknown = [n for n in names if n not in known]
        here = f"{name}.shape[{place}]"
        others = [n for n in names if n not in unknown]
        product = " * ".join(others)
        if not unknown and not learnt:
            wrong.append(f"{here} != {product}")
            seen += names
        elif not unknown:
            learnt += shape_guard(tensor, f"{here} != {product}", names)
        elif len(names) == 1:
            learnt.append(Learnt(names[0], here))
        elif len(unknown) == 1:
            product = f"({product})" if len(others) > 1 else product
            learnt += shape_guard(tensor, f"{here} % {product}", others)
            learnt.append(Learnt(unknown[0], f"{here} // {product}"))
        known.update(unknown if len(unknown) == 1 else [])
    return [*shape_guard(tensor, " or ".join(wrong), seen), *learnt]


def kind_guard(tensor: Tensor) -> list[str]:
    """Lines that refuse what is no tensor, as a number where the gradient is that of a number."""
    name = tensor.name
    return [
        f"if not isinstance({name}, Tensor):",
        f'    raise TypeError(f"{name} must be Tensor, not {{type({name}).__name__}}")',
    ]


def shape_text(tensor: Tensor) -> str:
    """The shape a tensor has, as it is written in messages: `(N, T * D)`."""
    dims = [" * ".join(i.size.name for i in dim) for dim in storage(tensor)]
    return f"({', '.join(dims)}{',' if len(dims) == 1 else ''})"


def shape_guard(tensor: Tensor, wrong: str, known: Iterable[str] | None = None) -> list[str]:
    name = tensor.name
    letters = [i.size.name for i in tensor.indices] if known is None else known
    values = ", ".join(f"{n} = {{{n}}}" for n in dict.fromkeys(letters))
    where = f" where {values}" if values else ""
    return [
        f"if {wrong}:",
        "    raise RuntimeError(",
        f'        f"{name} must have shape {shape_text(tensor)}{where}, "',
        f'        f"got {{[*{name}.shape]}}"',
        "    )",
    ]
