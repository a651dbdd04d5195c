"""The backward pass as a definition: what is derived from it is the second derivative."""

from __future__ import annotations

from dataclasses import replace

from derive.expressions import fresh_names
from derive.language import Definition, Let
from derive.substitute import substitute
from derive.trace import Derivation


def backward_of(derivation: Derivation) -> Definition:
    """The backward pass of a derivation as a definition of its own.

    Its inputs are those of the definition and the cotangents, its outputs the gradients. Here
    `grad_x` is the gradient of the input x, so what is called so there is called `first_x`.
    """
    definition = derivation.definition
    own = (*derivation.seeds, *(let.tensor for let in derivation.backward.lets))
    stems = [tensor.name.replace("grad_", "first_", 1) for tensor in own]
    taken = {*derivation.tensors, *(o.name for o in definition.options)} - {t.name for t in own}
    first = {
        tensor.name: replace(tensor, name=name)
        for tensor, name in zip(own, fresh_names(stems, taken), strict=True)
    }
    called = {tensor.name: (tensor, first[tensor.name].element) for tensor in own}
    backward = tuple(
        Let(first[let.name], substitute(let.value, called)) for let in derivation.backward.lets
    )
    seeds = tuple(first[seed.name] for seed in derivation.seeds)
    return replace(
        definition,
        name=f"{definition.name}_backward",
        inputs=(*definition.inputs, *seeds),
        lets=(*derivation.forward, *backward),
        outputs=tuple(first[tensor.name].name for _, tensor in derivation.backward.gradients),
        wrt=(*definition.wrt, *(seed.name for seed in seeds)),
        calls=(),
        variant="",
        interface=None,
        updates=(),
    )
