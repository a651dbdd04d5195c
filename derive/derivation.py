"""From a definition to its derivation: differentiate, simplify, verify."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache, partial

from sympy import Expr

from derive.calculus.bound_indices import in_own_letters
from derive.calculus.differentiate import chain_rule
from derive.calculus.rules import CHAIN_RULE, MOMENTS
from derive.calculus.trace import Backward, Derivation, Step
from derive.language.definition import Definition, Tensor
from derive.language.expressions import Axis, Index
from derive.simplification.moments import about_the_mean
from derive.simplification.simplify import simplify
from derive.verification.rounding import Rounding
from derive.verification.verify import verify


@lru_cache(maxsize=1024)
def derive(definition: Definition) -> Derivation:
    """The gradient of a definition, every step of it verified.

    A definition equal to one seen before in this process is not derived again.

    Raises:
        Undefined: the definition has no value, or no gradient, at random points.
        VerificationError: a step changes a value; the message names the rule and the point.
    """
    about = about_the_mean(definition)
    seeds, chunked = chain_rule(about)
    simple = simplify(about, Rounding)
    gradients = tuple((name, simple.gradients[name]) for name in definition.wrt)
    derivation = Derivation(
        definition=definition,
        forward=simple.forward,
        seeds=seeds,
        chunked=chunked,
        simplified=Backward(simple.backward, gradients),
        steps=(*_to_moments(definition, about), *_from_the_chain_rule(chunked, simple.steps)),
    ).mapped(partial(in_own_letters, letters=_second_letters(definition)))
    verify(derivation)
    return derivation


def _to_moments(definition: Definition, about: Definition) -> Iterator[Step]:
    """A step for each let that is one about the means."""
    for let, after in zip(definition.lets, about.lets, strict=True):
        if let != after:
            yield Step(MOMENTS, let.tensor, let.value, after.value)


def _second_letters(definition: Definition) -> dict[Axis, list[Index]]:
    """The letters that a definition has for each axis besides the axis' own, in order of names."""
    found: dict[Axis, list[Index]] = {}
    letters = {i for let in definition.lets for i in let.value.atoms(Index)}
    letters |= {i for let in definition.lets for i in let.tensor.indices}
    for index in sorted(letters, key=lambda i: i.name):
        if index.name != index.axis.name:
            found.setdefault(index.axis, []).append(index)
    return found


def _from_the_chain_rule(chunked: Backward, steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """The steps, each target's first preceded by how the chunked cotangents lead to it."""
    named: dict[str, Expr] = {let.name: let.value for let in chunked.lets}
    begun: set[Tensor] = set()
    result = []
    for step in steps:
        if step.tensor not in begun:
            begun.add(step.tensor)
            before = named.get(step.tensor.name)
            if before is not None and before != step.before:
                result.append(Step(CHAIN_RULE, step.tensor, before, step.before))
        result.append(step)
    return tuple(result)
