"""What the cotangents of residuals come to: the way back from what the forward pass keeps.

Where a backward pass is differentiated once more, autograd goes through its formulas to what they
read: to inputs, and to what the forward pass made of them. From there on the way is derived, as
for any definition, with the residuals for outputs:

    p[n,k] = exp(logprobs[n,k])
    grad_logits[n,k] = p[n,k]*(grad_p[n,k] - sum_k(grad_p[n,k]*p[n,k]))

So nothing has to be kept for a second derivative that the first does not need, if all that such a
formula reads is kept already. Where it is not, there is no such pass, and the forward pass is
carried out again from the inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sympy import Expr, S

from codegen.lowering import kept_for, outputs_once, stable, varying
from codegen.program import Kept, Module, Program, needed
from derive.derivation import derive
from derive.expressions import Sum
from derive.language import Definition, Let, Tensor
from derive.substitute import substitute
from derive.trace import Derivation, names_used


def with_residuals_backward(module: Module, derivation: Derivation) -> Module:
    """The module with the pass that takes cotangents of residuals back to the inputs, or with
    none where it keeps what does not depend on an input."""
    definition = derivation.definition
    if definition.chunked or len(definition.outputs) > 1:
        return module
    made = _differentiable(module)
    if not made:
        return replace(module, closed=True)
    derivation = outputs_once(derivation)
    if not {t.name for t in made} <= {let.name for let in derivation.forward}:
        return module  # worked out ahead, in a form for computing
    found = derive(_of_residuals(derivation, module, made))
    lets, gradients = _backward(found, module)
    named = zip(found.seeds, found.definition.outputs, strict=True)
    seeds = tuple(seed for seed, name in named if name in {t.name for t in made})
    more = kept_for(definition, derivation.forward, seeds, lets, gradients)
    at_hand = {t.name for t in module.kept.tensors}
    anew = {let.name for let in found.forward} - {let.name for let in derivation.forward}
    anew &= at_hand | names_used(*(let.value for let in lets))
    if anew or not {t.name for t in more.tensors} <= at_hand:
        return module
    kept = Kept(
        module.kept.tensors,
        tuple(o for o in definition.options if o in (*module.kept.options, *more.options)),
        tuple(sorted({*module.kept.sizes, *more.sizes})),
    )
    module = replace(
        module,
        kept=kept,
        forward=replace(module.forward, keeps=kept),
        backward=replace(module.backward, kept=kept),
        closed=True,
    )
    if not gradients:
        return module
    residuals = Program("residuals_backward", seeds, (), kept, lets, gradients)
    return replace(module, residuals_backward=residuals)


def _differentiable(module: Module) -> tuple[Tensor, ...]:
    """What the forward pass makes and keeps that depends on real inputs."""
    known = {t.name for t in (*module.inputs, *module.outputs)} | set(module.updates)
    varies = {t.name for t in module.inputs if not t.integer}
    for let in module.forward.lets:
        if not let.tensor.integer and names_used(let.value) & varies:
            varies.add(let.name)
    return tuple(t for t in module.kept.tensors if t.name in varies - known)


def _of_residuals(derivation: Derivation, module: Module, made: Sequence[Tensor]) -> Definition:
    """The forward pass as a definition whose outputs are what is kept of it."""
    definition = derivation.definition
    outputs = [t.name for t in module.outputs if t in module.kept.tensors]
    outputs += [t.name for t in made]
    lets = needed(derivation.forward, [t.name for t in module.kept.tensors])
    read = names_used(*(let.value for let in lets))
    return replace(
        definition,
        lets=lets,
        outputs=tuple(outputs),
        wrt=tuple(t.name for t in definition.inputs if t.name in read and not t.integer),
        calls=(),
        variant="",
        interface=None,
        updates=(),
    )


def _backward(
    found: Derivation, module: Module
) -> tuple[tuple[Let, ...], tuple[tuple[str, Tensor], ...]]:
    """The lets of the pass and its results: none of them reads the cotangent of an output, or
    another name for what is kept."""
    outputs = {t.name for t in module.outputs}
    instead: dict[str, tuple[Tensor, Expr]] = {
        seed.name: (seed, S.Zero)
        for seed, name in zip(found.seeds, found.definition.outputs, strict=True)
        if name in outputs
    }
    instead |= _other_names(found, {t.name for t in module.kept.tensors})
    lets = [
        replace(let, value=_without_nothing(substitute(let.value, instead)))
        for let in found.backward.lets
    ]
    results = {
        name: tensor for name, tensor in found.backward.gradients if _value(tensor, lets) != 0
    }
    lets = needed(lets, [tensor.name for tensor in results.values()])
    gradients = tuple((f"grad_{name}", tensor) for name, tensor in results.items())
    return stable(lets, varying(found)), gradients


def _without_nothing(value: Expr) -> Expr:
    """A value in which sums of nothing are nothing."""
    return value.replace(lambda e: isinstance(e, Sum) and e.body == 0, lambda e: S.Zero)


def _value(tensor: Tensor, lets: Sequence[Let]) -> object:
    return next((let.value for let in lets if let.name == tensor.name), tensor)


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
