"""A module's parts as lines of text, ready for the template to lay out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from codegen.lowering.bounds import bounded
from codegen.lowering.choices import without_needless
from codegen.lowering.sharing import named_once
from codegen.lowering.shifted_sums import shifted_by_place
from codegen.lowering.unused_axes import narrowed
from codegen.program import Module, Program, Residuals
from codegen.torch.autograd import autograd, targets
from codegen.torch.guards import (
    checks,
    kind_guard,
    option_guard,
    raised,
    shape_guard,
    shape_text,
)
from codegen.torch.names import camel
from codegen.torch.reading import names_in
from codegen.torch.statements import sizes, sizes_in, statements
from derive.language.cotangents import cotangent_name
from derive.language.definition import Option, Tensor


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
        "raised": raised(module),
        "option_checks": [line for o in module.options for line in option_guard(o)],
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
    program = named_once(narrowed(shifted_by_place(program)))
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
