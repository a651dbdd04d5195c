"""The names that Python source has, as Python's own parser tells: what stands in a string, behind
a dot or before a keyword's `=` is none."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable, Mapping


def names_in(lines: Iterable[str]) -> set[str]:
    """The names in whole statements."""
    return names_read("\n".join(lines))


def names_read(code: str, but_for: Collection[str] = ()) -> set[str]:
    """The names in a piece of source, but for where it asks them for one of some attributes."""
    nodes = [*ast.walk(ast.parse(code))]
    asked = [n.value for n in nodes if isinstance(n, ast.Attribute) and n.attr in but_for]
    return {n.id for n in nodes if isinstance(n, ast.Name) and n not in asked}


def renamed(expression: str, names: Mapping[str, str]) -> str:
    """An expression in which some names are others, as `ast.unparse` writes it."""
    tree = ast.parse(expression, mode="eval")
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            node.id = names.get(node.id, node.id)
    return ast.unparse(tree)
