"""Which residuals a fused backward pass computes again.

A loop that reads the input anyway makes `x_hat = (x - mean) * rstd` for less than it takes to
write it to memory and to read it back. So a residual is not kept where it is elementwise in
inputs, which the caller holds, and in tensors over fewer axes, which are kept instead.
"""

from __future__ import annotations

from dataclasses import replace

from codegen.c.explicit import explicit, is_reduction
from codegen.lowering import kept_for, needed
from codegen.program import Module, Program
from derive.language import Definition, Let, Tensor
from derive.trace import names_used

_READ = 2
"""As many inputs of full size may be read in place of one residual."""


def recomputing(module: Module, definition: Definition) -> Module:
    """The same module in explicit programs, with fewer residuals of full size."""
    # A name of the backward pass is no residual of the forward's.
    forward = explicit(module.forward, (let.name for let in module.backward.lets))
    again: dict[str, Let] = {}
    for tensor in module.kept.tensors:
        again |= _recipe(tensor.name, forward, set(module.updates)) or {}
    # What is kept has all of the axes that it was defined with.
    kept = kept_for(
        definition,
        [_as_defined(let, module.forward) for let in forward.lets if let.name not in again],
        module.backward.params,
        (*again.values(), *module.backward.lets),
        module.backward.results,
    )
    forward = explicit(replace(module.forward, keeps=kept))
    first = tuple(let for let in forward.lets if let.name in again)
    backward = replace(module.backward, kept=kept, lets=(*first, *module.backward.lets))
    wanted = [*(tensor.name for _, tensor in forward.results), *kept.names]
    joint = module.value_and_grad
    return replace(
        module,
        kept=kept,
        forward=replace(forward, lets=needed(forward.lets, wanted)),
        backward=explicit(backward),
        value_and_grad=joint and explicit(joint),
    )


def _as_defined(let: Let, program: Program) -> Let:
    return replace(let, tensor=program.tensors.get(let.name, let.tensor))


def _recipe(name: str, forward: Program, updated: set[str]) -> dict[str, Let] | None:
    """The lets that make a residual again; None where it has to be kept."""
    lets = {let.name: let for let in forward.lets}
    handed = {tensor.name for _, tensor in forward.results} | updated
    if name not in lets or name in handed:
        return None
    rank = len(lets[name].tensor.indices)
    recipe: dict[str, Let] = {}
    inputs: dict[str, Tensor] = {}
    names = [name]
    while names:
        one = names.pop()
        if one in lets and len(lets[one].tensor.indices) >= rank:
            if one in handed or is_reduction(lets[one].value):
                return None
            recipe[one] = lets[one]
            names += sorted(names_used(lets[one].value) - set(recipe))
        elif any(t.name == one and len(t.indices) >= rank for t in forward.params):
            inputs[one] = forward.tensors[one]
    return recipe if 0 < len(inputs) <= _READ else None
