"""The stages from a definition to Python source, in order.

    derive   definition -> derivation     differentiated, simplified, verified (`derive`)
    lower    derivation -> module         tensor programs (`codegen.lowering`)
    render   module     -> text           torch statements (`codegen.torch`), laid out by a template
    format   texts      -> texts          ruff, once for all of them

`codegen.writer` puts the texts into files; `compile` puts one into a module in memory.
"""

from __future__ import annotations

import builtins
import hashlib
import linecache
import os
import re
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import ModuleType

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from ruff import find_ruff_bin

from codegen.cache import Cache, key
from codegen.lowering import lower
from codegen.program import CodegenError
from codegen.torch.interface import PublicFunction
from codegen.torch.module import context
from derive import ops
from derive.derivation import derive
from derive.language import Definition, Let
from derive.text import arrangement_of, lets_text
from derive.trace import Derivation

_HERE = Path(__file__).parent
_OPERATIONS = Path(ops.__file__).resolve().parent
_WIDTH = 92
_WORTH_PROCESSES = 4


def compile(definition: Definition) -> ModuleType:
    """The emitted module of a definition, in memory; nothing is written.

    Raises:
        CodegenError: the torch target cannot emit the definition.
        VerificationError: a step of the derivation changes a value.
    """
    text = source(definition)
    name = f"_gradsmith_{definition.name}_{digest(definition)[:12]}"
    filename = f"<generated {definition.name}>"
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
    module = ModuleType(name, definition.summary)
    module.__file__ = filename
    sys.modules[name] = module
    exec(builtins.compile(text, filename, "exec"), module.__dict__)
    return module


def source(definition: Definition) -> str:
    """The emitted source of one definition, formatted."""
    return sources([definition])[definition.name]


def sources(
    definitions: Iterable[Definition], command: str = "", cache: Cache | None = None
) -> dict[str, str]:
    """The emitted source of each definition, by its name, formatted.

    `command` is what the header says to run instead of editing; by default the library's. What
    `cache` holds already is not derived again.
    """
    definitions = list(definitions)
    keys = {d.name: key(digest(d), _source_name(d), command) for d in definitions}
    found = {name: text for name, k in keys.items() if cache and (text := cache.find(k))}
    made = _made([d for d in definitions if d.name not in found], command)
    for name, text in made.items():
        if cache:
            cache.keep(keys[name], text)
    return {d.name: found.get(d.name) or made[d.name] for d in definitions}


def _made(definitions: list[Definition], command: str) -> dict[str, str]:
    """The same, of definitions that have to be derived."""
    if not definitions:
        return {}
    work = [variant for definition in definitions for variant in definition.variants]
    if len(work) < _WORTH_PROCESSES:
        parts = list(map(_part, work))
    else:
        with ProcessPoolExecutor(min(os.cpu_count() or 1, len(work))) as pool:
            parts = list(pool.map(_part, work))
    by_name: dict[str, list[Part]] = {d.name: [] for d in definitions}
    for variant, part in zip(work, parts, strict=True):
        by_name[variant.name].append(part)
    return formatted({d.name: _module(d, by_name[d.name], command) for d in definitions})


@dataclass(frozen=True)
class Part:
    """What is emitted for one variant: its functions, and its formulas for the docstring."""

    text: str
    strict: str
    seeds: tuple[str, ...]
    definition: tuple[str, ...]
    derivation: tuple[str, ...]


def _part(definition: Definition) -> Part:
    return part(derive(definition))


def part(derivation: Derivation) -> Part:
    """The source of a derivation, before it is laid out with others and formatted."""
    names = context(lower(derivation))
    names["summary"] = _as_docstring(derivation.definition.summary)
    environment = _environment()
    return Part(
        environment.get_template("variant.py.jinja").render(**names),
        environment.get_template("strict.py.jinja").render(**names),
        tuple(names["seeds"]),
        tuple(_formulas(derivation.forward, derivation)),
        tuple(_formulas(derivation.backward.lets, derivation)),
    )


def render(derivation: Derivation, command: str = "") -> str:
    """The source of a derivation, before it is formatted."""
    definition = replace(derivation.definition, interface=None)
    return _module(definition, [part(derivation)], command)


def _module(definition: Definition, parts: list[Part], command: str) -> str:
    """The source of an operation: its variants one after another, then its public function."""
    usual = parts[0]
    summary = _as_docstring(definition.summary)
    if definition.interface is None:
        last = usual.strict
    else:
        function = PublicFunction(definition, definition.interface)
        last = (
            _environment()
            .get_template("public.py.jinja")
            .render(
                name=definition.name,
                summary=summary,
                params=function.params,
                body=function.body,
                needs=function.needs,
            )
        )
    return (
        _environment()
        .get_template("module.py.jinja")
        .render(
            parts=[*(p.text for p in parts), last],
            summary=summary,
            seeds=usual.seeds,
            definition=usual.definition,
            derivation=usual.derivation,
            source=_source_name(definition),
            command=command or f"gradsmith generate {definition.name}",
            digest=digest(definition),
        )
    )


def digest(definition: Definition) -> str:
    """A hash of what is emitted: the definition and the template's content."""
    parts = [_template_digest(), *map(repr, _content(definition))]
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
def _template_digest() -> str:
    files = sorted((_HERE / "templates").iterdir())
    content = b"\0".join(f.read_bytes() for f in files)
    return hashlib.sha256(content).hexdigest()


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )


def _source_name(definition: Definition) -> str:
    """Where a definition stands, without the folders that differ between machines."""
    path = Path(definition.source).resolve()
    name = re.sub(r"[^\w.<> -]", "_", path.name)
    return f"derive/ops/{name}" if path.parent == _OPERATIONS else name


def _formulas(lets: Iterable[Let], derivation: Derivation) -> list[str]:
    """Lets as lines of a docstring."""
    lines = lets_text(lets, arrangement_of(derivation), _WIDTH)
    return [part for line in lines for part in _wrapped(line)]


def _wrapped(line: str) -> list[str]:
    """A line of the docstring in pieces that fit, broken at spaces."""
    return textwrap.wrap(line, _WIDTH, subsequent_indent=" " * 8, break_long_words=False) or [""]


def _as_docstring(words: str) -> str:
    """Someone's words on one line, in which no quote or backslash ends the docstring."""
    line = " ".join(words.split()).replace("\\", "\\\\")
    return line.replace('"', "'") if '"""' in line or line.endswith('"') else line


def formatted(texts: dict[str, str]) -> dict[str, str]:
    """Texts by name, each as ruff formats it, in one run.

    Raises:
        CodegenError: ruff found no Python in a text.
    """
    with tempfile.TemporaryDirectory() as folder:
        for name, text in texts.items():
            (Path(folder) / f"{name}.py").write_text(text, encoding="utf-8")
        options = ["--isolated", "--line-length", "100", "--target-version", "py311"]
        for action in (["check", "--fix", "--quiet", "--select", "I,F401"], ["format", "--quiet"]):
            done = subprocess.run(
                [find_ruff_bin(), *action, *options, folder],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                raise CodegenError(f"what was emitted is no Python: {done.stdout}{done.stderr}")
        return {n: (Path(folder) / f"{n}.py").read_text(encoding="utf-8") for n in texts}
