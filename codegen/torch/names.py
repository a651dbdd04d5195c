"""What the classes that are emitted for a variant are called."""

from __future__ import annotations

from derive.language.definition import Definition


def camel(words: str) -> str:
    """`sum_weight` as `SumWeight`."""
    return "".join(word.capitalize() for word in words.split("_"))


def function_name(definition: Definition) -> str:
    """What the autograd function of a variant is called."""
    return f"_{camel(definition.variant)}Function"
