"""From a definition to its derivation."""

from __future__ import annotations

from derive.differentiate import chain_rule
from derive.language import Definition
from derive.simplify import simplify
from derive.trace import Backward, Derivation


def derive(definition: Definition) -> Derivation:
    """Differentiate and simplify a definition."""
    seeds, chunked = chain_rule(definition)
    simple = simplify(definition)
    return Derivation(
        definition=definition,
        forward=simple.forward,
        seeds=seeds,
        chunked=chunked,
        simplified=Backward(
            simple.backward, tuple((name, simple.gradients[name]) for name in definition.wrt)
        ),
        steps=simple.steps,
    )
