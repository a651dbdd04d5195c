"""Which residuals a fused backward pass computes again.

A loop that reads the input anyway makes `x_hat = (x - mean) * rstd` for less than it takes to
write it to memory and to read it back. So a residual is not kept where it is elementwise in
inputs, which the caller holds, and in tensors over fewer axes, which are kept instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from codegen.c.explicit import explicit, is_reduction
from codegen.lowering import kept_for
from codegen.program import Module, Program
from codegen.renaming import Renaming
from derive.expressions import Index, fresh_names, names_used
from derive.language import Definition, Let, Tensor, needed

_READ = 2
"""As many inputs of full size may be read in place of one residual."""


def recomputing(module: Module, definition: Definition) -> Module:
    """The same module in explicit programs, with fewer residuals of full size."""
    # A name of the backward pass is no residual of the forward's.
    besides = [let.name for let in module.backward.lets]
    whole = module.kept
    while True:
        forward = explicit(replace(module.forward, keeps=whole), besides)
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
        named = {let.name for let in module.forward.lets} - set(whole.names)
        if not (more := [tensor for tensor in kept.tensors if tensor.name in named]):
            break
        whole = replace(whole, tensors=(*whole.tensors, *more))
    first = tuple(let for let in forward.lets if let.name in again)
    own = _apart(module.backward, again)
    wanted = [*(tensor.name for _, tensor in forward.results), *kept.names]
    joint = module.value_and_grad
    return replace(
        module,
        kept=kept,
        forward=replace(forward, keeps=kept, lets=needed(forward.lets, wanted)),
        backward=explicit(replace(own, kept=kept, lets=(*first, *own.lets))),
        value_and_grad=joint and explicit(joint),
    )


def _apart(program: Program, again: Mapping[str, Let]) -> Program:
    """The same program without the lets that are made again, its others called otherwise: the
    forward pass gave its shared parts their names without regard to those of the backward's."""
    renamed: set[str] = set()
    for let in program.lets:
        same = let == again.get(let.name) and not names_used(let.value) & renamed
        if let.name in again and not same:
            renamed.add(let.name)
    taken = {*program.tensors, *program.option_names, *program.axes, *again}
    taken |= {i.name for let in program.lets for i in let.value.atoms(Index)}
    names = dict(zip(sorted(renamed), fresh_names(sorted(renamed), taken), strict=True))
    kept = tuple(let for let in program.lets if let.name not in again or let.name in renamed)
    return Renaming(names).program(replace(program, lets=kept))


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
