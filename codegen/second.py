"""The second order: a backward pass is differentiated as any definition is.

`backward` is a function of cotangents and of what the forward pass kept. What its gradients come
to is derived, as `double_backward`; `residuals_backward` is the way on, from what was kept back to
the inputs:

    grad_logits[n,k]      = grad_loss*(p[n,k] - delta(k, target[n]))/N         backward
    grad_p[n,k]           = grad_loss*grad_grad_logits[n,k]/N                  double_backward
    grad_logits[n,k]      = p[n,k]*(grad_p[n,k] - sum_k(grad_p[n,k]*p[n,k]))   residuals_backward

So second derivatives need what the first one keeps and, where something was worked out ahead of
the gradients, the inputs that it was made of.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from sympy import Expr

from codegen.lowering import (
    kept_for,
    made_safe,
    outputs_once,
    stable,
    varying,
    without_sums_of_exponentials,
)
from codegen.program import Kept, Module, Program, needed
from codegen.renaming import Renaming
from codegen.sharing import shared
from codegen.stable import spelled_out
from derive.derivation import derive
from derive.differentiate import cotangent_of
from derive.expressions import fresh_names
from derive.language import Definition, Let, Tensor
from derive.simplify import in_order
from derive.substitute import substitute
from derive.trace import Derivation, names_used


def with_second_order(module: Module, derivation: Derivation) -> Module:
    """The module with the two passes that second derivatives take."""
    if not derivation.definition.chunked:
        derivation = outputs_once(derivation)
    double = _double_backward(module)
    if double is None:
        return module
    module = replace(module, double_backward=double)
    made = _made(module)
    reached = {cotangent_of(t).name for t in made} & {name for name, _ in double.results}
    return _with_residuals_backward(module, derivation, made) if reached else module


def _made(module: Module) -> list[Tensor]:
    """What the forward pass makes and keeps that somebody may differentiate by."""
    varies = varying(module.gradients, module.forward.lets)
    varies -= {*module.updates, *_masks(module), *(t.name for t in module.outputs)}
    made = [t for t in module.kept.tensors if t not in module.inputs and not t.integer]
    return [t for t in made if t.name in varies]


# --- the backward pass, differentiated ---


def _double_backward(module: Module) -> Program | None:
    """What takes cotangents of gradients to those of what the backward pass was given; nothing,
    where the gradients are constant."""
    definition, names = _of_backward(module)
    found = derive(definition)
    lets, gradients = _simplest(found)
    if not gradients:
        return None
    lets = (*made_safe(found.forward, names_used(*(let.value for let in lets))), *lets)
    params = (*found.seeds, *definition.inputs[: len(module.seeds)])
    return names.program(Program("double_backward", params, (), module.kept, lets, gradients))


@dataclass(frozen=True)
class _Names:
    """What tensors of a backward pass are called where it is itself a definition.

    A cotangent makes room for that of what the backward pass is given, `grad_x` of `x`; a mask is
    an integer, which nobody differentiates by. `of` has the tensors in place of those `before`.
    """

    of: Mapping[str, Tensor]
    before: Mapping[str, Tensor]

    @staticmethod
    def among(tensors: Iterable[Tensor], given: Iterable[Tensor], masks: set[str]) -> _Names:
        before = {t.name: t for t in tensors}
        cotangents = {cotangent_of(t).name for t in given}
        taken = [name for name in before if name in cotangents]
        fresh = fresh_names([f"first_{name}" for name in taken], set(before))
        of = {n: replace(before[n], name=new) for n, new in zip(taken, fresh, strict=True)}
        of |= {n: replace(before[n], integer=True) for n in before if n in masks}
        return _Names(of, before)

    def tensor(self, tensor: Tensor) -> Tensor:
        return self.of.get(tensor.name, tensor)

    def let(self, let: Let) -> Let:
        elements = {n: (self.before[n], t.element) for n, t in self.of.items()}
        return Let(self.tensor(let.tensor), substitute(spelled_out(let.value), elements))

    def program(self, program: Program) -> Program:
        """A program with masks as conditions again, cotangents under shorter names, and what is
        repeated named."""
        masks = {n: (t, self.before[n].element) for n, t in self.of.items() if t.name == n}
        lets = [replace(let, value=substitute(let.value, masks)) for let in program.lets]
        shorter = {f"grad_{t.name}": f"grad_{n}" for n, t in self.of.items() if t.name != n}
        return Renaming(shorter).program(replace(program, lets=shared(lets)))


def _of_backward(module: Module) -> tuple[Definition, _Names]:
    """The backward pass as a definition whose outputs are the gradients; it is differentiated by
    cotangents and by what varies."""
    program = module.backward
    given = (*program.params, *program.kept.tensors)
    lets = _without_masks(program.lets)
    outputs: list[Tensor] = []
    for name, tensor in program.results:
        if tensor in outputs or tensor.name not in {let.name for let in lets}:
            (name,) = fresh_names([name], set(program.tensors))
            lets.append(Let(replace(tensor, name=name), tensor.element))
            tensor = lets[-1].tensor
        outputs.append(tensor)
    names = _Names.among([*given, *(let.tensor for let in lets)], given, _masks(module))
    lets = [names.let(let) for let in lets]
    read = names_used(*(let.value for let in lets))
    inputs = tuple(map(names.tensor, given))
    varies = varying(module.gradients, module.forward.lets)
    wanted = [names.tensor(t) for t in given if t in program.params or t.name in varies]
    definition = Definition(
        name=module.name,
        summary=module.summary,
        inputs=inputs,
        options=program.kept.options,
        lets=tuple(lets),
        outputs=tuple(names.tensor(t).name for t in outputs),
        wrt=tuple(t.name for t in wanted if not t.integer and t.name in read),
        chunked=program.literal,
        variant=module.variant,
    )
    return definition, names


def _without_masks(lets: Sequence[Let]) -> list[Let]:
    """The lets with each condition written where it is read."""
    conditions: dict[str, tuple[Tensor, Expr]] = {}
    result: list[Let] = []
    for let in lets:
        let = replace(let, value=substitute(let.value, conditions))
        if not isinstance(let.value, Expr):
            conditions[let.name] = (let.tensor, let.value)
        else:
            result.append(let)
    return result


def _masks(module: Module) -> set[str]:
    """The names of what the forward pass makes that is true or false."""
    return {let.name for let in module.forward.lets if not isinstance(let.value, Expr)}


# --- what is kept, differentiated ---


def _with_residuals_backward(
    module: Module, derivation: Derivation, made: Sequence[Tensor]
) -> Module:
    """The module with the pass that takes cotangents of residuals back to the inputs."""
    double = module.double_backward
    assert double is not None
    kept = {t.name for t in module.kept.tensors}
    definition, names = _of_residuals(module, derivation, made)
    found = derive(definition)
    lets, gradients = _simplest(found)
    if not gradients:
        return module
    called = _other_names(found, kept)
    lets = tuple(replace(let, value=substitute(let.value, called)) for let in lets)
    made_anew = {let.name: let for let in (*module.forward.lets, *found.forward)}
    again = in_order([let for name, let in made_anew.items() if name not in kept])
    lets = (*made_safe(again, names_used(*(let.value for let in lets))), *lets)
    program = names.program(
        Program("residuals_backward", found.seeds, (), module.kept, lets, gradients)
    )
    more = kept_for(derivation.definition, (), program.params, program.lets, gradients)
    inputs = tuple(t for t in more.tensors if t in module.inputs and t.name not in kept)
    keeps = Kept(
        module.kept.tensors,
        tuple(o for o in module.options if o in (*module.kept.options, *more.options)),
        tuple(sorted({*module.kept.sizes, *more.sizes})),
    )
    return replace(
        module,
        kept=keeps,
        forward=replace(module.forward, keeps=keeps),
        backward=replace(module.backward, kept=keeps),
        double_backward=replace(double, kept=keeps),
        residuals_backward=replace(program, params=(*program.params, *inputs), kept=keeps),
        again=inputs,
    )


def _of_residuals(
    module: Module, derivation: Derivation, made: Sequence[Tensor]
) -> tuple[Definition, _Names]:
    """The forward pass as a definition whose outputs are what is kept of it."""
    definition = derivation.definition
    written = {let.name for let in derivation.forward}
    lets = [*derivation.forward, *(let for let in module.forward.lets if let.name not in written)]
    masks = _masks(module)
    lets = needed([let for let in lets if let.name not in masks], module.kept.names)
    read = names_used(*(let.value for let in lets))
    inputs = [t for t in definition.inputs if t.name in read]
    inputs += [let.tensor for let in module.forward.lets if let.name in masks & read]
    names = _Names.among([*inputs, *(let.tensor for let in lets)], (), masks)
    return replace(
        definition,
        inputs=tuple(map(names.tensor, inputs)),
        lets=tuple(map(names.let, lets)),
        outputs=tuple(t.name for t in made),
        wrt=tuple(t.name for t in inputs if not t.integer and t.name not in masks),
        calls=(),
        variant="",
        interface=None,
        updates=(),
    ), names


def _other_names(found: Derivation, kept: set[str]) -> dict[str, tuple[Tensor, Expr]]:
    """What the derivation named anew, though something that is kept has the same value."""
    known = [let for let in found.forward if let.name in kept]
    return {
        let.name: (let.tensor, one.tensor[let.tensor.indices])
        for let in found.forward
        for one in known
        if let.name not in kept and let.tensor.axes == one.tensor.axes
        if let.at(*one.tensor.indices) == one.value
    }


def _simplest(
    found: Derivation,
) -> tuple[tuple[Let, ...], tuple[tuple[str, Tensor], ...]]:
    """The lets of a backward pass in safe form, and the gradients that are not zero."""
    values = {let.name: let.value for let in found.backward.lets}
    gradients = tuple(
        (f"grad_{name}", tensor)
        for name, tensor in found.backward.gradients
        if values.get(tensor.name) != 0
    )
    lets = needed(found.backward.lets, [tensor.name for _, tensor in gradients])
    lets = without_sums_of_exponentials(lets, found.forward)
    return tuple(stable(lets, varying(found.definition.wrt, found.forward))), gradients
