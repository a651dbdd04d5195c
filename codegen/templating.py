"""The templates, and the words that they are given."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from derive import ops
from derive.calculus.trace import Derivation
from derive.language.definition import Definition, Let
from derive.printing.text import arrangement_of, broken, lets_text

_TEMPLATES = Path(__file__).parent / "templates"
_LAID_OUT_BY = {
    "torch": (_TEMPLATES / "torch",),
    "c": (_TEMPLATES / "c", _TEMPLATES / "torch"),
}
"""The folders of each target's templates: a binding has the public function of the torch module."""

_OPERATIONS = Path(ops.__file__).resolve().parent
_WIDTH = 92


def render(template: str, **names: Any) -> str:
    """A template laid out with names; one that it uses and is not given raises."""
    return _environment().get_template(template).render(**names)


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )


def digest(definition: Definition, target: str) -> str:
    """A hash of what is emitted: the definition and the templates that a target lays it out by."""
    parts = [_template_digest(target), *map(repr, _content(definition))]
    if definition.interface is not None:
        interface = definition.interface
        parts += map(repr, (interface.arguments, interface.roles, interface.choices))
        parts += map(repr, (interface.given, interface.pairs, interface.demands))
        parts.append(repr(interface.autocast))
        for variant in interface.variants:
            parts += map(repr, (variant.values, *_content(variant.definition)))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _content(d: Definition) -> tuple[object, ...]:
    """What a definition says, but for where it stands."""
    return d.name, d.summary, d.inputs, d.options, d.lets, d.outputs, d.wrt, d.chunked, d.updates


@cache
def _template_digest(target: str) -> str:
    files = [file for folder in _LAID_OUT_BY[target] for file in sorted(folder.iterdir())]
    content = b"\0".join(f.read_bytes() for f in files)
    return hashlib.sha256(content).hexdigest()


def source_name(definition: Definition) -> str:
    """Where a definition stands, without the folders that differ between machines."""
    path = Path(definition.source).resolve()
    name = re.sub(r"[^\w.<> -]", "_", path.name)
    return f"derive/ops/{name}" if path.parent == _OPERATIONS else name


def formulas(lets: Iterable[Let], derivation: Derivation, inside: int = 0) -> list[str]:
    """Lets as lines of a module's docstring or of a comment; of a docstring `inside` so many
    columns."""
    width = _WIDTH - inside
    lines = lets_text(lets, arrangement_of(derivation), width)
    return [piece for line in lines for piece in broken(line, width)]


def as_docstring(words: str) -> str:
    """Someone's words on one line, in which no quote or backslash ends the docstring."""
    line = " ".join(words.split()).replace("\\", "\\\\")
    return line.replace('"', "'") if '"""' in line or line.endswith('"') else line


def as_comment(words: str) -> str:
    """Someone's words on one line, in which nothing ends a comment of C."""
    return " ".join(words.split()).replace("*/", "* /").replace("/*", "/ *")
