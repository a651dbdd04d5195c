"""From a derivation to tensor programs: what is computed, what is kept, what is dropped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from sympy import Expr, S

from codegen.lowering.ahead import worked_out_ahead
from codegen.lowering.empty_sums import divided_safely
from codegen.lowering.kept import Forward
from codegen.lowering.quotients import with_quotients
from codegen.lowering.same_place import Held, axes_held, summed_by_place
from codegen.lowering.sharing import computed_once
from codegen.lowering.stable_lets import made_safe, stable, without_exponentials
from codegen.program import Module, Program, Residuals
from derive.calculus.recognise import is_atomic
from derive.calculus.trace import Derivation
from derive.language.cotangents import cotangent_name
from derive.language.definition import Definition, Let, Tensor, needed
from derive.language.expressions import (
    Axis,
    Element,
    Index,
    StopGradient,
    Sum,
    count_of,
    names_used,
)
from derive.language.places import held
from derive.language.substitute import substitute


def lower(derivation: Derivation, ahead: bool = False) -> Module:
    """The programs of a derivation: forward, backward and, for a scalar output, both in one.

    `ahead` has the forward pass work out what it can of the gradients.
    """
    derivation = as_lowered(derivation)
    definition, seeds = derivation.definition, derivation.seeds
    gradients = tuple(
        (cotangent_name(name), tensor) for name, tensor in derivation.backward.gradients
    )
    outputs = tuple(definition.tensors[name] for name in definition.outputs)
    forward_lets, backward_lets = _both_passes(derivation, ahead)
    residuals = residuals_for(definition, forward_lets, seeds, backward_lets, gradients)
    wanted = [*definition.outputs, *residuals.names]
    extents = tuple(definition.extents.items())
    forward = Program(
        name="forward",
        params=definition.inputs,
        options=definition.options,
        unpacked=Residuals(),
        lets=_forward_lets(definition, _with_stops(forward_lets, residuals.names), wanted),
        results=tuple((t.name, t) for t in outputs),
        literal=definition.chunked,
        saved=residuals,
        extents=extents,
    )
    backward = Program(
        name="backward",
        params=seeds,
        options=(),
        unpacked=residuals,
        lets=backward_lets,
        results=gradients,
        literal=definition.chunked,
        extents=extents,
    )
    return Module(
        name=definition.name,
        variant=definition.variant,
        summary=definition.summary,
        inputs=definition.inputs,
        options=definition.options,
        outputs=outputs,
        updates=tuple(name for _, name in definition.updates),
        seeds=seeds,
        gradients=definition.wrt,
        residuals=residuals,
        forward=forward,
        backward=backward,
        value_and_grad=_value_and_grad(derivation, outputs, gradients),
        value=_value(derivation, outputs) if forward_lets != derivation.forward else None,
        windows=definition.windows,
        held=tuple(held(definition.lets, definition.tensors)),
    )


def _value(derivation: Derivation, outputs: Sequence[Tensor]) -> Program | None:
    """The only output in a program that works nothing out ahead, where buffers stay as they are."""
    definition = derivation.definition
    if len(outputs) != 1 or definition.updates:
        return None
    lets = _with_stops(derivation.forward, ())
    return Program(
        name="value",
        params=definition.inputs,
        options=definition.options,
        unpacked=Residuals(),
        lets=_forward_lets(definition, lets, definition.outputs),
        results=((outputs[0].name, outputs[0]),),
        extents=tuple(definition.extents.items()),
    )


def _both_passes(derivation: Derivation, ahead: bool) -> tuple[tuple[Let, ...], tuple[Let, ...]]:
    """The lets of the forward pass as they are derived, with what is worked out `ahead`, and those
    of the backward pass as they are emitted; both as they are written, if those are chunked."""
    definition, forward = derivation.definition, derivation.forward
    gradients = [tensor for _, tensor in derivation.backward.gradients]
    wanted = [tensor.name for tensor in gradients]
    backward = with_zeros(needed(derivation.backward.lets, wanted))
    if definition.chunked:
        return forward, backward
    backward = needed(without_exponentials(backward, forward), wanted)
    backward = stable(backward, forward)
    known = definition.tensors.keys() | {let.name for let in forward}
    backward = summed_by_place(backward, _axes_held(definition), known)
    backward = computed_once(backward, besides=known)
    backward = divided_safely(backward, gradients)
    if not ahead:
        return forward, backward
    early, late = _ahead(derivation, backward)
    return (*forward, *early), late


def _ahead(derivation: Derivation, lets: Sequence[Let]) -> tuple[tuple[Let, ...], tuple[Let, ...]]:
    """The lets of the backward pass in two: those that the forward pass works out, and those left.

    What the forward pass has under another name already is read by that, and is no let of its own.
    """
    definition = derivation.definition
    taken = {named.name for named in (*definition.inputs, *definition.options)}
    taken |= set(definition.outputs)
    taken |= {name for axis in definition.axes for name in (axis.name, axis.size.name)}
    early, late = worked_out_ahead(
        lets,
        derivation.seeds,
        gradients=[tensor.name for _, tensor in derivation.backward.gradients],
        forward=Forward(
            {let.name: let for let in derivation.forward},
            {tensor.name: tensor for tensor in definition.inputs},
            frozenset(definition.wrt),
        ),
        taken=taken,
    )
    new = {let.name for let in early}
    forward = (*derivation.forward, *early)
    known = taken | {let.name for let in forward}
    called: dict[str, Let] = {}
    for let in _forward_lets(definition, forward, [*definition.outputs, *new]):
        value = substitute(let.value, called.values())
        if let.name in new and is_atomic(value) and names_used(value) <= known:
            called[let.name] = replace(let, value=value)
    early, late = (
        [replace(let, value=substitute(let.value, called.values())) for let in lets]
        for lets in (early, late)
    )
    return tuple(let for let in early if let.name not in called), computed_once(late, known)


def as_lowered(derivation: Derivation) -> Derivation:
    """The derivation whose lets the programs are made of."""
    return with_quotients(_outputs_once(derivation))


def _outputs_once(derivation: Derivation) -> Derivation:
    """The derivation with each output that only repeats another let in its place, so that one
    tensor is not kept twice; as it is, if it is emitted as it is written."""
    if derivation.definition.chunked:
        return derivation
    forward, backward = derivation.forward, derivation.backward.lets
    for name in derivation.definition.outputs:
        again = next(let for let in forward if let.name == name)
        first = next((let for let in forward if let.tensor.element == again.value), None)
        if first is None or first.tensor.dims != again.tensor.dims:
            continue
        if first.name in derivation.definition.outputs:
            continue
        meant = [Let(first.tensor, again.tensor.element)]
        forward = tuple(
            replace(let, value=substitute(let.value, meant))
            for let in (replace(f, tensor=again.tensor) if f is first else f for f in forward)
            if let is not again
        )
        backward = tuple(replace(let, value=substitute(let.value, meant)) for let in backward)
    simplified = replace(derivation.backward, lets=backward)
    return replace(derivation, forward=forward, simplified=simplified)


def _value_and_grad(
    derivation: Derivation, outputs: Sequence[Tensor], gradients: tuple[tuple[str, Tensor], ...]
) -> Program | None:
    """Loss and gradients in one program, where the cotangent of the only output is one."""
    definition = derivation.definition
    if len(outputs) != 1 or outputs[0].indices or definition.variant:
        return None
    one = {seed.symbol: S.One for seed in derivation.seeds}
    backward = tuple(
        replace(let, value=let.value.xreplace(one)) for let in derivation.backward.lets
    )
    if not definition.chunked:
        backward = without_exponentials(backward, derivation.forward)
    wanted = [outputs[0].name, *(tensor.name for _, tensor in gradients)]
    lets = _forward_lets(definition, (*derivation.forward, *backward), wanted)
    lets = _with_stops(lets, ())
    if not definition.chunked:
        lets = _without_scaled_sums(lets, set(wanted))
        lets = divided_safely(lets, [t for _, t in gradients], [outputs[0].name])
    return Program(
        name="value_and_grad",
        params=definition.inputs,
        options=definition.options,
        unpacked=Residuals(),
        lets=lets,
        results=((outputs[0].name, outputs[0]), *gradients),
        differentiable=False,
        literal=definition.chunked,
        extents=tuple(definition.extents.items()),
    )


def with_zeros(lets: Iterable[Let]) -> tuple[Let, ...]:
    """The lets with zero written where one is read that is zero everywhere, as the cotangent of
    what gradients stop at."""
    zeros: list[Let] = []
    result: list[Let] = []
    for let in lets:
        result.append(replace(let, value=substitute(let.value, zeros)))
        if result[-1].value == 0:
            zeros.append(result[-1])
    return tuple(result)


def residuals_for(
    definition: Definition,
    made: Sequence[Let],
    seeds: Sequence[Tensor],
    lets: Sequence[Let],
    gradients: Sequence[tuple[str, Tensor]],
) -> Residuals:
    """What the lets of a backward pass read of the inputs and of what the forward pass made, and
    the sizes that they cannot see in it."""
    used = names_used(*(let.value for let in lets)) | {t.name for _, t in gradients}
    at_hand = (*definition.inputs, *(let.tensor for let in made))
    updated = [name for _, name in definition.updates]
    tensors = (
        *(definition.tensors[name] for name in updated),
        *(t for t in at_hand if t.name in used and t.name not in updated),
    )
    options = tuple(o for o in definition.options if o.name in used)
    seen = visible((*seeds, *tensors))
    wanted = {a for _, t in gradients for a in t.axes}
    wanted |= {a for let in lets for a in let.tensor.axes}
    wanted |= {i.axis for let in lets for i in let.value.atoms(Index)}
    sizes = {a.size.name for a in definition.axes} & used
    wanted |= {a for a in definition.axes if a.size.name in sizes}
    return Residuals(tensors, options, tuple(sorted(wanted - seen)))


def visible(tensors: Iterable[Tensor]) -> set[Axis]:
    """The axes whose size can be read off the shapes of some tensors."""
    dims = [d if isinstance(d, tuple) else (d,) for t in tensors for d in t.dims]
    seen = {d[0].axis for d in dims if len(d) == 1}
    while True:
        unknown = [{i.axis for i in d} - seen for d in dims]
        new = {a for axes in unknown if len(axes) == 1 for a in axes} - seen
        if not new:
            return seen
        seen |= new


def _forward_lets(
    definition: Definition, lets: Sequence[Let], wanted: Iterable[str]
) -> tuple[Let, ...]:
    """The lets that are needed, in numerically safe form unless they are to stay as written."""
    wanted = list(wanted)
    if definition.chunked:
        return needed(lets, wanted)
    safe = made_safe(lets, wanted)
    return computed_once(summed_by_place(safe, _axes_held(definition), definition.tensors))


def _axes_held(definition: Definition) -> Held:
    return axes_held(held(definition.lets, definition.tensors))


def _with_stops(lets: Sequence[Let], kept: Iterable[str]) -> tuple[Let, ...]:
    """The lets with gradients stopped only on the way to what is kept.

    Autograd differentiates what is kept, where the backward pass is differentiated; an output
    it does not: that has its backward pass.
    """
    differentiated = {let.name for let in needed(lets, kept)}
    return tuple(
        let
        if let.name in differentiated
        else replace(let, value=let.value.replace(StopGradient, lambda e: e))
        for let in lets
    )


def _without_scaled_sums(lets: Sequence[Let], wanted: set[str]) -> tuple[Let, ...]:
    """A scaled sum that one elementwise let reads, each number once, is written there: its scale
    costs no kernel."""
    readers = Counter(name for let in lets for name in names_used(let.value))
    elements = (e for let in lets for e in let.value.atoms(Element))
    looked_up = {
        e.tensor_name for e in elements if any(not isinstance(i, Index) for i in e.indices)
    }
    kept = wanted | looked_up
    inlined: list[Let] = []
    result = []
    for let in lets:
        value = substitute(let.value, inlined)
        if not isinstance(value, Expr):  # a condition
            result.append(replace(let, value=value))
            continue
        scale, rest = value.as_independent(Sum, as_Add=False)
        is_scaled = isinstance(rest, Sum) and scale != 1 and 1 / scale != count_of(rest.indices)
        if is_scaled and let.name not in kept and readers[let.name] == 1:
            inlined.append(replace(let, value=value))
        else:
            result.append(replace(let, value=value))
    return tuple(result)
