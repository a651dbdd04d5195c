"""What the functions for autograd take, keep and return, ready for the template to lay out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from codegen.program import Module, Program
from codegen.torch.reading import names_in
from codegen.torch.statements import sizes
from derive.language.cotangents import cotangent_name, primal_name


def autograd(module: Module) -> dict[str, Any]:
    """The parts of a module's two `torch.autograd.Function`s.

    Of the first, `saved` is kept for the backward pass, `numbers` beside it, and `fixed` is what
    nobody differentiates by; of both, `returned` pairs with what the function was given.
    """
    outputs = [t.name for t in module.outputs]
    arguments = [*(t.name for t in module.inputs), *(o.name for o in module.options)]
    kept = [t.name for t in module.residuals.tensors]
    made = [name for name in kept if name not in (*arguments, *outputs)]
    saved = [*(t.name for t in module.again), *kept]
    numbers = module.residuals.names[len(kept) :]
    axes = {a.size.name: a for a in (*(a for t in module.inputs for a in t.axes), *module.extents)}
    lines = sizes(
        [a.size.name for a in module.residuals.sizes], module.inputs, axes, module.extents
    )
    read = {*saved, *numbers, *names_in(lines)}
    shown = {*saved, *(outputs if len(outputs) > 1 else ())}
    seeds = [t.name for t in module.seeds]
    more = _way_on(module.residuals_backward, made)
    arriving = [cotangent_name(name) for name in made]
    named = [cotangent_name(name) if name in arguments else "_" for name in module.gradients]
    gradients = [name for name in named if name != "_"]
    return {
        "saved": saved,
        "again": [t.name for t in module.again],
        "kept_tensors": kept,
        "numbers": numbers,
        "kept_sizes": lines,
        "inputs_taken": targets(arguments, read) if read & {*arguments} else "",
        "outputs_taken": targets([*outputs, *made], shown) if {*outputs, *made} & shown else "",
        "fixed": [n for n, seed in zip(made, arriving, strict=True) if seed not in more["seeds"]],
        "cotangents_taken": targets([*seeds, *arriving], [*seeds, *more["seeds"]]),
        "gradients": named,
        "found": list(dict.fromkeys([*gradients, *more["gradients"]])),
        "more": more if more["seeds"] else None,
        "returned": _returned(arguments, [*gradients, *more["gradients"]]),
        "double": _double(module) if module.double_backward else None,
    }


def _way_on(program: Program | None, made: Sequence[str]) -> dict[str, Any]:
    """How what arrives at the residuals is taken on to the inputs."""
    params = [t.name for t in program.params] if program else []
    seeds = [seed for name in made if (seed := cotangent_name(name)) in params]
    gradients = [name for name, _ in program.results] if program else []
    return {
        "seeds": seeds,
        "residuals": [primal_name(seed) for seed in seeds],
        "arguments": params,
        "gradients": gradients,
        "found": [f"more_{primal_name(name)}" for name in gradients],
    }


def _double(module: Module) -> dict[str, Any]:
    """What the backward pass is given, and the cotangents of it.

    Its `seeds` are called as `double_backward` calls them: the cotangent of an output that is kept
    has the name of its seed.
    """
    program = module.double_backward
    assert program is not None
    found = [name for name, _ in program.results]
    given = [*(t.name for t in module.seeds), *module.residuals.names]
    return {
        "arriving": [t.name for t in program.params[: -len(module.seeds)]],
        "seeds": [t.name for t in program.params[-len(module.seeds) :]],
        "found": found,
        "returned": _returned(given, found),
    }


def _returned(names: Iterable[str], found: Sequence[str]) -> list[str]:
    """The cotangent of each argument, or that there is none."""
    return [grad if (grad := cotangent_name(name)) in found else "None" for name in names]


def targets(names: Sequence[str], used: Iterable[str]) -> str:
    """What a tuple of values is unpacked into, those that nobody uses into nothing."""
    used = set(used)
    left = list(names)
    rest = 0
    while left and left[-1] not in used:
        left.pop()
        rest += 1
    shown = [name if name in used else "_" for name in left] + (["*_"] if rest else [])
    return ", ".join(shown) + ("," if len(shown) == 1 else "")
