"""From a definition to its derivation."""

from __future__ import annotations

from derive.differentiate import chain_rule
from derive.language import Definition
from derive.trace import Derivation


def derive(definition: Definition) -> Derivation:
    """Differentiate and simplify a definition."""
    seeds, chunked = chain_rule(definition)
    return Derivation(
        definition=definition,
        forward=definition.lets,
        seeds=seeds,
        chunked=chunked,
        simplified=chunked,
        steps=(),
    )
