"""A module's parts as lines of text, ready for the template to lay out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sympy import Expr

from codegen.lowering.bounds import bounded
from codegen.lowering.choices import without_needless
from codegen.lowering.sharing import named_once
from codegen.lowering.unused_axes import narrowed
from codegen.program import Module, Program, Residuals
from codegen.torch.autograd import autograd, targets
from codegen.torch.names import camel
from codegen.torch.reading import names_in
from codegen.torch.scalars import scalar
from codegen.torch.statements import sizes, sizes_in, statements, storage
from derive.language.cotangents import cotangent_name
from derive.language.definition import Option, Tensor
from derive.language.sizes import agreements, needs
from derive.verification.points import least_sizes


@dataclass(frozen=True)
class Function:
    """One emitted function: its signature's parts, its body and what it returns."""

    params: str
    body: tuple[str, ...]
    returns: tuple[str, ...]


def context(module: Module) -> dict[str, Any]:
    """What the template lays out, but for the docstring's formulas and the header.

    Raises:
        CodegenError: something in the module has no torch form.
    """
    origins = module.forward.origins({})
    programs = {
        "forward": function(_not_differentiated(module.forward)),
        "backward": function(module.backward, module.seeds, origins),
    }
    for program in (module.double_backward, module.residuals_backward):
        if program is not None:
            programs[program.name] = function(program, (), origins)
    # A matrix product would have to be kept from autocast here too.
    alone = None if _multiplies(programs["forward"]) else module.value
    joint = module.value_and_grad
    return {
        **interface(module),
        "autograd": autograd(module),
        "double_backward": None,
        "residuals_backward": None,
        **programs,
        "unpacked": {name: _unpacked(programs[name], module.residuals) for name in programs},
        "multiplies": [name for name in programs if _multiplies(programs[name])],
        "joint": joint and function(_not_differentiated(joint)),
        "value": alone and function(_not_differentiated(alone)),
        "torch_target": "",
    }


def _not_differentiated(program: Program) -> Program:
    """A program in forms that have the right value, whatever autograd would make of them."""
    return bounded(without_needless(program))


def _unpacked(function: Function, residuals: Residuals) -> str:
    """The line that takes what a function reads out of the residuals."""
    read = names_in(function.body)
    used = [name for name in residuals.names if name in read]
    if len(used) == 1:
        return f"{used[0]} = residuals.{used[0]}"
    return f"{targets(residuals.names, used)} = residuals" if used else ""


def interface(module: Module) -> dict[str, Any]:
    """What the functions of a module take and return, whatever computes it."""
    names = [t.name for t in module.inputs]
    options = [o.name for o in module.options]
    outputs = [t.name for t in module.outputs]
    kept = [t.name for t in module.residuals.tensors]
    made = [name for name in kept if name not in (*names, *outputs)]
    taken = [*outputs, *made]
    several = len(outputs) > 1
    return {
        "name": module.name,
        "suffix": f"_{module.variant}" if module.variant else "",
        "camel": camel(module.variant),
        "names": names,
        "options": options,
        "outputs": outputs,
        "seeds": [t.name for t in module.seeds],
        "gradients": [cotangent_name(name) for name in module.gradients],
        "kept": module.residuals.names,
        "kept_taken": ["_" if name in module.updates else name for name in module.residuals.names],
        "made": made,
        "emitted": [*outputs, *(f"residuals.{name}" for name in made)],
        "taken": targets(taken, outputs),
        "returned": ", ".join(outputs),
        "returned_types": ", ".join("Tensor" for _ in outputs),
        "result": f"tuple[{', '.join(['Tensor'] * len(outputs))}]" if several else "Tensor",
        "fields": _fields(module),
        "inputs": parameters(module.inputs, ()),
        "all_arguments": parameters(module.inputs, module.options, mark=False),
        "plain_arguments": [*names, *options],
        "call": ", ".join([*names, *(f"{o}={o}" for o in options)]),
        "arguments": [
            *map(_described, module.inputs),
            *(f"{o.name}: {o.wanted}." for o in module.options),
        ],
        "cotangents": [
            f"{s.name}: the gradient of {o.name}, shape {shape_text(o)}."
            for s, o in zip(module.seeds, module.outputs, strict=True)
        ],
        "checks": checks(module),
        "raised": _raised(module),
        "option_checks": [line for o in module.options for line in _option_guard(o)],
        "value": None,
    }


def _multiplies(program: Function) -> bool:
    """Whether a function has matrix products, which autocast would carry out in less precision."""
    return any(word in line for line in program.body for word in (" @ ", "addmm(", "einsum("))


def _fields(module: Module) -> list[str]:
    fields = [f"{t.name}: Tensor" for t in module.residuals.tensors]
    fields += [f"{o.name}: {_kind(o)}" for o in module.residuals.options]
    fields += [f"{a.size.name}: int" for a in module.residuals.sizes]
    return ["", *fields] if fields else []


def parameters(tensors: Sequence[Tensor], options: Sequence[Option], mark: bool = True) -> str:
    """`x: Tensor, *, eps: float = 1e-05`; without the mark, options are as any other argument."""
    parts = [f"{t.name}: Tensor" for t in tensors]
    if options and mark:
        parts.append("*")
    parts += [_option(o) if mark else f"{o.name}: {_kind(o)}" for o in options]
    return ", ".join(parts)


def _kind(option: Option) -> str:
    return "int" if option.integer else "float"


def _option(option: Option) -> str:
    declared = f"{option.name}: {_kind(option)}"
    if option.default is None:
        return declared
    finite = math.isfinite(option.default)
    return (
        f"{declared} = {option.default!r}" if finite else f'{declared} = float("{option.default}")'
    )


def shape_text(tensor: Tensor) -> str:
    """The shape a tensor has, as it is written in messages: `(N, T * D)`."""
    dims = [" * ".join(i.size.name for i in dim) for dim in storage(tensor)]
    return f"({', '.join(dims)}{',' if len(dims) == 1 else ''})"


def _described(tensor: Tensor) -> str:
    return f"{tensor.name}: shape {shape_text(tensor)}{', int64' if tensor.integer else ''}."


def function(
    program: Program,
    checked: Sequence[Tensor] = (),
    before: Mapping[str, frozenset[str]] | None = None,
) -> Function:
    """A program as the parts of a function.

    `checked` are those of its parameters that must be tensors, and whose shape it compares with
    what it was kept, which is computed from the parameters `before`.

    Raises:
        CodegenError: it needs the size of an axis that none of its tensors shows.
    """
    program = named_once(narrowed(program))
    body = statements(program, before or {})
    given = {a.size.name for a in program.unpacked.sizes}
    axes = {name: axis for name, axis in program.axes.items() if name not in given}
    kept = tuple(program.unpacked.tensors)
    known = given | set(sizes_in(kept, axes))
    kinds = [line for tensor in checked for line in kind_guard(tensor)]
    shapes = [
        line
        for tensor in checked
        if {i.size.name for i in tensor.indices} <= known
        for line in shape_guard(tensor, f"{tensor.name}.shape != {shape_text(tensor)}")
    ]
    opening = sizes(
        [*shapes, *body, *program.saved.names],
        (*kept, *program.params),
        axes,
        dict(program.extents),
    )
    return Function(
        params=parameters(program.params, program.options),
        # A size may be read off what is checked to be a tensor.
        body=(*kinds, *opening, *shapes, *body),
        returns=tuple(tensor.name for _, tensor in program.results),
    )


# --- checks of arguments ---


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
    found += [*_literal_guards(module), *_window_guards(module)]
    lines: list[str] = []
    for line in reversed(found):
        if isinstance(line, str):
            lines.insert(0, line)
        elif line.size in names_in(lines):  # else no line after it asks for the size
            lines.insert(0, f"{line.size} = {line.read}")
    return lines


def _raised(module: Module) -> list[str]:
    """What a docstring says of the errors that the checks raise."""
    first = next((t.name for t in module.inputs if not t.integer), "")
    reasons = {
        "NotImplementedError": f"{first} does not have a floating-point dtype.",
        "RuntimeError": "a tensor has the wrong dtype or shape.",
        "IndexError": "an axis is too short for an index in the formulas.",
    }
    named = names_in(checks(module))
    return [f"{error}: {why}" for error, why in reasons.items() if error in named]


def _option_guard(option: Option) -> list[str]:
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
