"""Which residuals a fused backward pass computes again.

A loop that reads the input anyway makes `x_hat = (x - mean) * rstd` for less than it takes to
write it to memory and to read it back. So a residual is not kept where it is elementwise in
inputs, which the caller holds, and in tensors over fewer axes, which are kept instead.
"""

from __future__ import annotations

from dataclasses import replace

from codegen.c.explicit import explicit, is_reduction
from codegen.lowering.lower import residuals_for
from codegen.lowering.renaming import Renaming
from codegen.program import Module, Program
from derive.language.definition import Definition, Let, Tensor, needed
from derive.language.expressions import Index, fresh_names, names_used

_READ = 2
"""As many inputs of full size may be read in place of one residual."""


def recomputing(module: Module, definition: Definition) -> Module:
    """The same module in explicit programs, with fewer residuals of full size."""
    own = _apart(module.backward, module.forward)
    besides = [let.name for let in own.lets]
    whole = module.residuals
    while True:
        forward = explicit(replace(module.forward, saved=whole), besides)
        again: dict[str, Let] = {}
        for tensor in module.residuals.tensors:
            again |= _recipe(tensor.name, forward, set(module.updates)) or {}
        read = names_used(*(let.value for let in again.values()))
        lets = tuple(let for let in own.lets if let.name not in read | again.keys())
        elsewhere = again.keys() | {let.name for let in lets}
        # What is kept has all of the axes that it was defined with.
        kept = residuals_for(
            definition,
            [_as_defined(let, module.forward) for let in forward.lets if let.name not in elsewhere],
            own.params,
            (*again.values(), *lets),
            own.results,
        )
        named = {let.name for let in module.forward.lets} - set(whole.names)
        if not (more := [tensor for tensor in kept.tensors if tensor.name in named]):
            break
        whole = replace(whole, tensors=(*whole.tensors, *more))
    first = tuple(let for let in forward.lets if let.name in again)
    wanted = [*(tensor.name for _, tensor in forward.results), *kept.names]
    joint = module.value_and_grad
    return replace(
        module,
        residuals=kept,
        forward=replace(forward, saved=kept, lets=needed(forward.lets, wanted)),
        backward=explicit(replace(own, unpacked=kept, lets=(*first, *lets))),
        value_and_grad=joint and explicit(joint),
    )


def _apart(backward: Program, forward: Program) -> Program:
    """The backward pass with other names for what is not the forward's of that name: each gave
    its shared parts their names without regard to the other."""
    made = {let.name: let for let in forward.lets}
    renamed: set[str] = set()
    for let in backward.lets:
        same = let == made.get(let.name) and not names_used(let.value) & renamed
        if let.name in made and not same:
            renamed.add(let.name)
    taken = {*backward.tensors, *backward.option_names, *backward.axes, *made}
    taken |= {i.name for let in backward.lets for i in let.value.atoms(Index)}
    names = dict(zip(sorted(renamed), fresh_names(sorted(renamed), taken), strict=True))
    return Renaming(names).program(backward)


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
