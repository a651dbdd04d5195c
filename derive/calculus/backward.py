"""A backward pass as a definition: what it takes are inputs, the gradients that it finds outputs.

So it can be differentiated as any other: of the hyperbolic tangent,

    h[n,c]            = tanh(x[n,c])
    first_grad_x[n,c] = first_grad_h[n,c]*(1 - h[n,c]**2)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count

from derive.calculus.differentiate import cotangents_of
from derive.calculus.trace import Derivation
from derive.language.definition import Definition, Let, Tensor
from derive.language.substitute import substitute


@dataclass(frozen=True)
class Apart:
    """Names that keep the cotangents of a backward pass apart from those of what it is given.

    Of `x` that is `grad_x`, so what the pass calls `grad_x` is `first_grad_x` here. `of` has the
    tensors in place of those `before`, by the names of these.
    """

    of: Mapping[str, Tensor]
    before: Mapping[str, Tensor]

    @staticmethod
    def among(tensors: Iterable[Tensor]) -> Apart:
        """Of the tensors, those that are called as another one's cotangent is."""
        before = {t.name: t for t in tensors}
        cotangents = set().union(*(cotangents_of(t) for t in before.values()))
        used = {*before, *cotangents}
        of: dict[str, Tensor] = {}
        for name in before:
            if name in cotangents:
                of[name] = next(t for t in _candidates(before[name]) if not used & _names(t))
                used |= _names(of[name])
        return Apart(of, before)

    def tensor(self, tensor: Tensor) -> Tensor:
        return self.of.get(tensor.name, tensor)

    def let(self, let: Let) -> Let:
        renamed = [Let(self.before[name], tensor.element) for name, tensor in self.of.items()]
        return Let(self.tensor(let.tensor), substitute(let.value, renamed))


def _candidates(tensor: Tensor) -> Iterator[Tensor]:
    yield replace(tensor, name=f"first_{tensor.name}")
    yield from (replace(tensor, name=f"first_{tensor.name}_{number}") for number in count(1))


def _names(tensor: Tensor) -> set[str]:
    """What a tensor brings in: its name, and those of its cotangent."""
    return {tensor.name, *cotangents_of(tensor)}


def backward_of(derivation: Derivation) -> Definition:
    """The backward pass of a derivation as a definition, after the forward pass that it needs.

    Its gradients are those of second order: by the inputs, and by the cotangents of the outputs.
    """
    definition, backward = derivation.definition, derivation.backward
    given = [*definition.inputs, *(let.tensor for let in derivation.forward), *derivation.seeds]
    names = Apart.among([*given, *(let.tensor for let in backward.lets)])
    seeds = tuple(map(names.tensor, derivation.seeds))
    outputs = [names.tensor(tensor).name for _, tensor in backward.gradients]
    made = {names.tensor(let.tensor).name for let in backward.lets}
    return replace(
        definition,
        name=f"{definition.name}_backward",
        summary=f"The backward pass of {definition.full_name}: {definition.summary}",
        inputs=(*definition.inputs, *seeds),
        lets=tuple(map(names.let, (*derivation.forward, *backward.lets))),
        outputs=tuple(name for name in dict.fromkeys(outputs) if name in made),
        wrt=(*definition.wrt, *(seed.name for seed in seeds)),
        calls=(),
        variant="",
        interface=None,
        updates=(),
    )
