"""The definitions of one operation: what each is for, and where its page stands in a site."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from derive.language.definition import Definition
from derive.language.interface import OTHERWISE, Choice


@dataclass(frozen=True)
class Listed:
    """A definition among those of its operation: its name, its page, and what leads to it."""

    name: str
    address: str
    words: str


def listed(operation: Definition) -> tuple[Listed, ...]:
    """Every definition of an operation, in the order of its variants."""
    words = dict(_chosen(operation))
    return tuple(
        Listed(one.full_name, f"{_file(one)}.html", words.get(one.variant, ""))
        for one in operation.variants
    )


def _file(definition: Definition) -> str:
    return f"{definition.name}.{definition.variant}" if definition.variant else definition.name


def _chosen(operation: Definition) -> Iterator[tuple[str, str]]:
    """Of each variant, how the values that lead to it differ from the usual ones."""
    if operation.interface is None:
        return
    choices = operation.interface.choices
    for variant in reversed(operation.interface.variants):  # the first values for each stay
        values = zip(choices, variant.values, strict=True)
        words = (_said(choice, value) for choice, value in values if value != choice.values[0])
        yield variant.definition.variant, ", ".join(words)


def _said(choice: Choice, value: Any) -> str:
    """What a caller does to choose a value: `reduction='sum'`, `without weight`."""
    if choice.kind == "integers":
        return f"{choice.name} of {'integers' if value else 'real numbers'}"
    if choice.kind == "given":
        return f"{'with' if value else 'without'} {choice.name}"
    if value is OTHERWISE:
        return f"another {choice.name}"
    return f"{choice.name}={value!r}"
