"""The C target: from derivations to a file of C, and the Python module that calls it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from codegen.c import binding
from codegen.c.module import Function, functions, small_functions
from codegen.c.recompute import recomputing
from codegen.c.training import model_of, steps
from codegen.lowering.lower import lower
from codegen.templating import (
    as_comment,
    as_docstring,
    digest,
    formulas,
    render,
    source_name,
)
from codegen.torch.source import public
from derive.calculus.trace import Derivation
from derive.language.definition import Definition

CONSTANTS = {
    "TILE": ("8192", "columns that are worked on together, at most"),
    "KEPT": ("1 << 20", "bytes that stay in the cache from one pass to the next"),
    "LINE": ("512", "elements that are written at once past the caches"),
    "PAST": ("1 << 22", "as many elements are larger than the caches"),
    "BLOCK": ("256", "rows whose sums are gathered together"),
    "FEW": ("4", "rows that are added up at once"),
    "SPAN": ("4096", "elements whose sums are gathered together"),
    "PARALLEL": ("1 << 15", "as many elements are worth a second thread"),
}
"""Numbers of the emitted loops: a value, and what it counts."""


@dataclass(frozen=True)
class Part:
    """What is emitted for one variant: C functions, what its binding is made of, its formulas."""

    variant: str
    functions: tuple[Function, ...]
    names: dict[str, Any]
    definition: tuple[str, ...]
    derivation: tuple[str, ...]


def part(derivation: Derivation) -> Part:
    """The functions of a derivation, before they are laid out with others."""
    module = recomputing(lower(derivation), derivation.definition)
    made = functions(module)
    if (model := model_of(module)) is not None:
        made = (*made, steps(model, module, made[-1]))
    names = binding.context(module, made, model)
    names["summary"] = as_docstring(derivation.definition.summary)
    return Part(
        derivation.definition.variant,
        made,
        names,
        tuple(formulas(derivation.forward, derivation)),
        tuple(formulas(derivation.backward.lets, derivation)),
    )


def texts(definition: Definition, parts: Sequence[Part], command: str) -> dict[str, str]:
    """The two files of an operation."""
    usual = parts[0]
    header = {
        "source": source_name(definition),
        "command": command,
        "digest": digest(definition, "c"),
        "name": definition.name,
    }
    every = [function for part in parts for function in part.functions]
    elementary = render("c/elementary.c.jinja", needs=small_functions(every))
    lines = [elementary, *(line for function in every for line in function.body)]
    used = set(re.findall(r"\w+", "\n".join(lines)))
    variants = [
        render("c/variant.py.jinja", number=number, **part.names)
        for number, part in enumerate(parts)
    ]
    if definition.interface is None:
        last = render("torch/strict.py.jinja", **usual.names)
    else:
        last = public(definition, "in_torch.")
    return {
        f"{definition.name}.c": render(
            "c/module.c.jinja",
            summary=as_comment(definition.summary),
            definition=usual.definition,
            derivation=usual.derivation,
            seeds=usual.names["seeds"],
            parts=parts,
            elementary=elementary,
            constants={name: row for name, row in CONSTANTS.items() if name in used},
            used=used,
            **header,
        ),
        f"{definition.name}.py": render(
            "c/binding.py.jinja",
            summary=as_docstring(definition.summary),
            parts=[*variants, last],
            **header,
        ),
    }


def shared() -> dict[str, str]:
    """The files that all bindings share. Their first lines stay as they are: by these an older one
    is known to be nobody else's."""
    return {"loader.py": render("c/loader.py.jinja"), "__init__.py": render("c/init.py.jinja")}
