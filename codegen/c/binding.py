"""The Python side of a module in C: what allocates, calls and returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from codegen.c.memory import REAL
from codegen.c.module import Function, made_by, read_by
from codegen.c.training import Model
from codegen.program import Module, Program
from codegen.torch.autograd import targets
from codegen.torch.guards import shape_guard, shape_text
from codegen.torch.module import Function as Emitted
from codegen.torch.module import interface, parameters
from codegen.torch.statements import sizes
from derive.language.cotangents import cotangent_name
from derive.language.definition import Tensor


@dataclass(frozen=True)
class Call:
    """A C function as the loader is told of it: pointers and options by name, how many sizes."""

    name: str
    pointers: tuple[str, ...]
    sizes: int
    options: tuple[str, ...]


def context(module: Module, functions: Sequence[Function], model: Model | None) -> dict[str, Any]:
    """What the template of a binding lays out for one variant."""
    programs = [module.forward, module.backward, module.value_and_grad]
    bodies = [
        _emitted(program, module, function)
        for program, function in zip(programs, functions, strict=False)
        if program is not None
    ]
    return {
        **interface(module),
        "reals": [t.name for t in module.inputs if not t.integer],
        "calls": [_call(f) for f in functions],
        "forward": bodies[0],
        "backward": bodies[1],
        "joint": bodies[2] if len(bodies) > 2 else None,
        "training": model and _training(model, module, functions[-1]),
        "torch_target": "in_torch.",
        **_autograd(module),
    }


def _autograd(module: Module) -> dict[str, Any]:
    """What the template lays out of the function for autograd."""
    names, options = [t.name for t in module.inputs], [o.name for o in module.options]
    outputs = [t.name for t in module.outputs]
    kept = [t.name for t in module.residuals.tensors]
    taken = [*outputs, *(name for name in kept if name not in (*names, *outputs))]
    gradients = [
        f"gradients.{cotangent_name(n)}" if n in module.gradients else "None" for n in names
    ]
    axes = {a.size.name: a for a in (*(a for t in module.inputs for a in t.axes), *module.extents)}
    return {
        "saved": [*names, *(name for name in kept if name not in names)],
        "inputs_taken": targets([*names, *options], [*names, *options]),
        "outputs_taken": targets(taken, kept) if {*taken} & {*kept} else "",
        "kept_sizes": sizes(
            [a.size.name for a in module.residuals.sizes], module.inputs, axes, module.extents
        ),
        "input_gradients": [*gradients, *("None" for _ in options)],
    }


def _training(model: Model, module: Module, function: Function) -> dict[str, Any]:
    """What the template lays out of the function that takes many steps."""
    of_data = {"rows": f"{model.data[0].name}.shape[0]", "count": "samples.shape[0]"}
    sized = {a.size.name: a for t in module.inputs for a in t.axes if a != model.batch}
    arguments = [
        f"{p.name}.data_ptr()" if p.is_tensor else of_data.get(p.name, p.name)
        for p in function.parameters[:-1]
    ]
    return {
        "parameters": [t.name for t in model.parameters],
        "data": [t.name for t in model.data],
        "params": parameters(module.inputs, ()),
        "options": parameters((), module.options).removeprefix("*, "),
        "sizes": sizes(list(sized), module.inputs, sized),
        "batch": model.batch.size.name,
        "like": model.parameters[0].name,
        "arguments": [*arguments, "torch.get_num_threads()"],
        "batches": [
            f"{t.name}={t.name}[batch]" if t in model.data else f"{t.name}={t.name}"
            for t in module.inputs
        ],
    }


def _call(function: Function) -> Call:
    pointers = tuple(p.name for p in function.parameters if p.is_tensor)
    numbers = [p for p in function.parameters if not p.is_tensor]
    options = tuple(p.name for p in numbers if p.type == REAL)
    counted = len(numbers) - len(options) - 1  # threads are the last
    return Call(function.name, pointers, counted, options)


def _emitted(program: Program, module: Module, function: Function) -> Emitted:
    """The body of a Python function that calls the C function of a program."""
    given = {t.name: t for t in reversed(read_by(program))}
    made = [t for t in made_by(program) if t.name not in given]
    like = next(t.name for t in given.values() if not t.integer)
    sized = {
        name: axis for name, axis in program.axes.items() if axis not in program.unpacked.sizes
    }
    arguments = [
        *(f"{p.name}.data_ptr()" if p.is_tensor else p.name for p in function.parameters[:-1]),
        "torch.get_num_threads()",
    ]
    suffix = f"_{module.variant}" if module.variant else ""
    seeds = [t for t in program.params if t in module.seeds]
    body = [
        *(f'check_gradient("{t.name}", {t.name}, {like})' for t in seeds),
        *sizes(list(sized), list(given.values()), sized, dict(program.extents)),
        *(line for t in seeds for line in shape_guard(t, f"{t.name}.shape != {shape_text(t)}")),
        *(f"{name} = {name}.contiguous()" for name in given),
        # The largest last: what is freed together then lies together, and is used again.
        *(f"{t.name} = {_memory(t, like)}" for t in sorted(made, key=lambda t: len(t.indices))),
        f"_{program.name}{suffix}[{like}.dtype]({', '.join(arguments)})",
    ]
    return Emitted(
        params=parameters(program.params, program.options),
        body=tuple(body),
        returns=tuple(tensor.name for _, tensor in program.results),
    )


def _memory(tensor: Tensor, like: str) -> str:
    dtype = ", torch.int64" if tensor.integer else ""
    return f"empty({like}, {shape_text(tensor)}{dtype})"
