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
from typing import Any

from sympy import Add, Expr, Mul, S

from codegen.lowering.forms import spelled_out
from codegen.lowering.guards import guarded
from codegen.lowering.hazards import balanced_exponents
from codegen.lowering.lower import as_lowered, residuals_for, with_zeros
from codegen.lowering.renaming import Renaming
from codegen.lowering.same_place import axes_held, summed_by_place
from codegen.lowering.sharing import computed_once, named_apart, reading
from codegen.lowering.stable_lets import made_safe, stable, without_exponentials
from codegen.program import Module, Program, Residuals
from derive.calculus.backward import Apart
from derive.calculus.differentiate import cotangent_of
from derive.calculus.trace import Derivation
from derive.derivation import derive
from derive.language.cotangents import FIRST_ORDER, PREFIX, cotangent_name
from derive.language.definition import Definition, Let, Tensor, needed, varying
from derive.language.expressions import Where, fresh_names, names_used
from derive.language.facts import Magnitudes, is_total
from derive.language.substitute import substitute
from derive.simplification.simplify import topological_order


def with_second_order(module: Module, derivation: Derivation) -> Module:
    """The module with the two passes that second derivatives take."""
    derivation = as_lowered(derivation)
    masks = _Masks.of(module)
    double = _double_backward(module, masks)
    if double is None:
        return module
    made = _made(module, masks)
    reached = {cotangent_of(t).name for t in made} & {name for name, _ in double.results}
    module = replace(module, double_backward=double)
    return _with_residuals_backward(module, derivation, masks, made) if reached else module


@dataclass(frozen=True)
class _Masks:
    """What the forward pass makes that is true or false, by name.

    Where a definition reads it, it is an integer: nobody differentiates by that.
    """

    conditions: Mapping[str, Let]

    @staticmethod
    def of(module: Module) -> _Masks:
        lets = module.forward.lets
        return _Masks({let.name: let for let in lets if not isinstance(let.value, Expr)})

    @property
    def tensors(self) -> list[Tensor]:
        return [mask.tensor for mask in self.conditions.values()]

    def tensor(self, tensor: Tensor) -> Tensor:
        return replace(tensor, integer=True) if tensor.name in self.conditions else tensor

    def let(self, let: Let) -> Let:
        """A let of the emitted forward or backward pass as a definition has it."""
        numbers = [Let(t, self.tensor(t).element) for t in self.tensors]
        return replace(let, value=substitute(spelled_out(let.value), numbers))

    def restored(self, let: Let) -> Let:
        """A let that reads conditions again."""
        conditions = [Let(self.tensor(t), t.element) for t in self.tensors]
        return replace(let, value=substitute(let.value, conditions))


def _made(module: Module, masks: _Masks) -> list[Tensor]:
    """What the forward pass makes and keeps that somebody may differentiate by."""
    varies = varying(module.gradients, module.forward.lets)
    varies -= {*module.updates, *masks.conditions, *(t.name for t in module.outputs)}
    made = [t for t in module.residuals.tensors if t not in module.inputs and not t.integer]
    return [t for t in made if t.name in varies]


# --- the backward pass, differentiated ---


def _double_backward(module: Module, masks: _Masks) -> Program | None:
    """What takes cotangents of gradients to those of what the backward pass was given; nothing,
    where the gradients are constant."""
    definition, names = _of_backward(module, masks)
    found = derive(definition)
    lets, gradients = _simplest(found)
    if not gradients:
        return None
    lets = (*made_safe(found.forward, names_used(*(let.value for let in lets))), *lets)
    params = (*found.seeds, *definition.inputs[: len(module.seeds)])
    lets = tuple(masks.restored(replace(let, value=guarded(let.value))) for let in lets)
    program = Program(
        "double_backward",
        params,
        (),
        module.residuals,
        lets,
        gradients,
        order=2,
        extents=module.backward.extents,
    )
    program = Renaming(_shorter(program, names)).program(program)
    lets = summed_by_place(program.lets, axes_held(module.held), program.tensors)
    return replace(program, lets=computed_once(lets))


def _shorter(program: Program, names: Apart) -> dict[str, str]:
    """What is named after the derived backward pass, named after the emitted one."""
    wanted = {cotangent_of(t).name: cotangent_name(name) for name, t in names.of.items()}
    made = (let.name for let in program.lets if FIRST_ORDER in let.name)
    wanted |= {name: name.replace(FIRST_ORDER, PREFIX) for name in made}
    shorter: dict[str, str] = {}
    for long, name in wanted.items():
        if name not in program.tensors and name not in shorter.values():
            shorter[long] = name
    return shorter


def _of_backward(module: Module, masks: _Masks) -> tuple[Definition, Apart]:
    """The backward pass as a definition whose outputs are the gradients; it is differentiated by
    cotangents and by what varies."""
    program = module.backward
    known = {
        t: replace(t, positive=False, nonnegative=True)
        for t in _rounded(program.unpacked.tensors, module.forward.lets)
    }
    kept = (known.get(t, t) for t in program.unpacked.tensors)
    given = tuple(map(masks.tensor, (*program.params, *kept)))
    results = {tensor.name for _, tensor in program.results}
    lets = _partial_inlined(_without_conditions(program.lets), results)
    lets = named_apart(lets, balanced_exponents)  # spelled out, `exp(a - log(b))` is `exp(a)/b`
    lets = _with_finite_exponents(lets, ())
    above = [Let(t, less.element) for t, less in known.items()]
    lets = [masks.let(replace(let, value=substitute(let.value, above))) for let in lets]
    outputs: list[Tensor] = []
    for name, tensor in program.results:
        if tensor in outputs or tensor.name not in {let.name for let in lets}:
            (name,) = fresh_names([name], program.tensors)
            lets.append(Let(replace(tensor, name=name), tensor.element))
            tensor = lets[-1].tensor
        outputs.append(tensor)
    names = Apart.among([*given, *(let.tensor for let in lets)])
    lets = tuple(map(names.let, lets))
    read = names_used(*(let.value for let in lets))
    varies = varying(module.gradients, module.forward.lets)
    wanted = [names.tensor(t) for t in given if t in program.params or t.name in varies]
    definition = Definition(
        name=module.name,
        summary=module.summary,
        inputs=(*map(names.tensor, given), *_unread(module, given)),
        options=program.unpacked.options,
        lets=lets,
        outputs=tuple(names.tensor(t).name for t in outputs),
        wrt=tuple(t.name for t in wanted if not t.integer and t.name in read),
        chunked=program.literal,
        variant=module.variant,
        inherited=module.windows,
    )
    return definition, names


def _rounded(kept: Iterable[Tensor], made: Iterable[Let]) -> list[Tensor]:
    """Those of what is kept that are above zero and may be rounded to it, as an exponential and a
    softmax are: to divide by one gives nothing back."""
    spelled = (replace(let, value=spelled_out(let.value)) for let in made)
    rounded = Magnitudes.of(spelled).rounded
    return [t for t in kept if t.positive and t.name in rounded]


def _unread(module: Module, given: Iterable[Tensor]) -> list[Tensor]:
    """The inputs that a backward pass is not given: of their axes it may still read the sizes."""
    names = {t.name for t in given}
    return [t for t in module.inputs if t.name not in names]


def _without_conditions(lets: Sequence[Let]) -> list[Let]:
    """The lets with each condition written where it is read."""
    conditions: list[Let] = []
    result: list[Let] = []
    for let in lets:
        let = replace(let, value=substitute(let.value, conditions))
        if isinstance(let.value, Expr):
            result.append(let)
        else:
            conditions.append(let)
    return result


def _outside_choices(value: Expr) -> Expr:
    return value.replace(lambda e: isinstance(e, Where), lambda e: S.Zero)


def _partial_inlined(lets: Sequence[Let], wanted: Iterable[str]) -> list[Let]:
    """The lets, each that is undefined somewhere and read inside choices alone written where it is
    read, with what is made of it: differentiated on its own it would be nothing times infinity."""
    outside = {let.name: _outside_choices(let.value) for let in lets}
    read = set(wanted)
    for let in reversed(lets):
        read |= names_used(outside[let.name]) if let.name in read else set()
    partial: set[str] = set()
    for let in lets:
        if let.name not in read and (
            names_used(let.value) & partial or not is_total(outside[let.name])
        ):
            partial.add(let.name)
    inlined: list[Let] = []
    result: list[Let] = []
    for let in lets:
        let = replace(let, value=substitute(let.value, inlined))
        (inlined if let.name in partial else result).append(let)
    return result


# --- what is kept, differentiated ---


def _with_residuals_backward(
    module: Module, derivation: Derivation, masks: _Masks, made: Sequence[Tensor]
) -> Module:
    """The module with the pass that takes cotangents of residuals back to the inputs."""
    double = module.double_backward
    assert double is not None
    kept = {t.name for t in module.residuals.tensors}
    found = _without_outputs(derive(_of_residuals(module, derivation, masks, made)), made)
    lets, gradients = _simplest(found)
    if not gradients:
        return module
    stand_ins = {
        name: replace(let, value=_finite(let.value))
        for name, let in _masked_exponents(module.forward.lets).items()
        if name in kept
    }
    called = _other_names(found, kept - stand_ins.keys()) | stand_ins
    lets = tuple(replace(let, value=substitute(let.value, called.values())) for let in lets)
    at_hand = {let.name: let for let in (*module.forward.lets, *found.forward)}
    anew = topological_order([let for name, let in at_hand.items() if name not in kept])
    lets = (*made_safe(anew, names_used(*(let.value for let in lets))), *lets)
    lets = [masks.restored(replace(let, value=guarded(let.value))) for let in lets]
    lets = computed_once(summed_by_place(lets, axes_held(module.held), at_hand))
    more = residuals_for(derivation.definition, (), found.seeds, lets, gradients)
    inputs = tuple(t for t in more.tensors if t in module.inputs and t.name not in kept)
    residuals = Residuals(
        module.residuals.tensors,
        tuple(o for o in module.options if o in (*module.residuals.options, *more.options)),
        tuple(sorted({*module.residuals.sizes, *more.sizes})),
    )
    params = (*found.seeds, *inputs)
    program = Program(
        "residuals_backward",
        params,
        (),
        residuals,
        lets,
        gradients,
        order=2,
        extents=module.backward.extents,
    )
    return replace(
        module,
        residuals=residuals,
        forward=replace(module.forward, saved=residuals),
        backward=replace(module.backward, unpacked=residuals),
        double_backward=replace(double, unpacked=residuals),
        residuals_backward=program,
        again=inputs,
    )


def _of_residuals(
    module: Module, derivation: Derivation, masks: _Masks, made: Sequence[Tensor]
) -> Definition:
    """The forward pass as a definition whose outputs are what is kept of it; an output of its own
    that is kept is among them, so that gradients are sought in terms of it, too."""
    definition = derivation.definition
    written = {let.name for let in derivation.forward}
    later = [let for let in module.forward.lets if let.name not in written]
    every = _partial_inlined((*derivation.forward, *later), module.residuals.names)
    lets = [let for let in every if let.name not in masks.conditions]
    lets = _with_finite_exponents(needed(lets, module.residuals.names), module.residuals.names)
    lets = tuple(masks.let(reading(let, masks.conditions.values())) for let in lets)
    read = names_used(*(let.value for let in lets))
    conditions = [masks.tensor(t) for t in masks.tensors if t.name in read]
    return replace(
        definition,
        inputs=(*definition.inputs, *conditions),
        lets=lets,
        outputs=tuple(t.name for t in (*module.outputs, *made) if t in module.residuals.tensors),
        wrt=tuple(t.name for t in definition.inputs if t.name in read & {*definition.wrt}),
        calls=(),
        variant="",
        interface=None,
        updates=(),
    )


def _masked_exponents(lets: Iterable[Let]) -> dict[str, Let]:
    """What may be minus infinity, for that its exponential is then zero."""
    found: dict[str, Let] = {}
    for let in lets:
        value = substitute(let.value, found.values())
        if _may_be_infinite(value):
            found[let.name] = replace(let, value=value)
    return found


def _may_be_infinite(value: Any) -> bool:
    if isinstance(value, Where):
        return any(b == S.NegativeInfinity or _may_be_infinite(b) for b in value.branches)
    return isinstance(value, Add | Mul) and any(map(_may_be_infinite, value.args))


def _with_finite_exponents(lets: Sequence[Let], kept: Iterable[str]) -> list[Let]:
    """The lets with exponents that may be minus infinity written where they are exponents; those
    that are kept are zero instead, which has the same derivative."""
    masked = _masked_exponents(lets)
    written = [replace(let, value=substitute(let.value, masked.values())) for let in lets]
    return [
        replace(let, value=_finite(let.value)) if let.name in masked else let
        for let in written
        if let.name not in masked or let.name in kept
    ]


def _finite(value: Expr) -> Expr:
    return value.xreplace({S.NegativeInfinity: S.Zero})


def _without_outputs(found: Derivation, made: Sequence[Tensor]) -> Derivation:
    """The derivation with nothing arriving but at what was made."""
    arriving = tuple(cotangent_of(t) for t in made)
    nothing = [Let(t, S.Zero) for t in found.seeds if t not in arriving]
    lets = [replace(let, value=substitute(let.value, nothing)) for let in found.backward.lets]
    backward = replace(found.backward, lets=tuple(lets))
    return replace(found, seeds=arriving, chunked=backward, simplified=backward)


def _other_names(found: Derivation, kept: set[str]) -> dict[str, Let]:
    """What the derivation named anew, though something that is kept has the same value."""
    known = [let for let in found.forward if let.name in kept]
    return {
        let.name: replace(let, value=one.tensor[let.tensor.indices])
        for let in found.forward
        for one in known
        if let.name not in kept and let.tensor.axes == one.tensor.axes
        if let.at(*one.tensor.indices) == one.value
    }


def _simplest(
    found: Derivation,
) -> tuple[tuple[Let, ...], tuple[tuple[str, Tensor], ...]]:
    """The lets of a backward pass in safe form, and the gradients that are not zero."""
    backward = with_zeros(found.backward.lets)
    values = {let.name: let.value for let in backward}
    gradients = tuple(
        (cotangent_name(name), tensor)
        for name, tensor in found.backward.gradients
        if values.get(tensor.name) != 0
    )
    wanted = [tensor.name for _, tensor in gradients]
    lets = needed(without_exponentials(needed(backward, wanted), found.forward), wanted)
    return tuple(stable(lets, found.forward)), gradients
