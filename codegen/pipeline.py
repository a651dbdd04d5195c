"""The stages from a definition to source text, in order.

    derive   definition -> derivation     differentiated, simplified, verified (`derive`)
    lower    derivation -> module         tensor programs (`codegen.lowering.lower`)
    render   module     -> texts          one of the TARGETS: torch statements (`codegen.torch`),
                                          or loops in C (`codegen.c`), laid out by templates
    format   texts      -> texts          ruff, once for all that is Python

`codegen.writer` puts the texts into files; `compile` puts them into a module in memory.
"""

from __future__ import annotations

import atexit
import builtins
import json
import linecache
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from ruff import find_ruff_bin

from codegen.c import source as c_source
from codegen.cache import Cache, key
from codegen.processes import in_processes
from codegen.program import CodegenError
from codegen.templating import digest, source_name
from codegen.torch import source as torch_source
from derive.calculus.trace import Derivation
from derive.derivation import derive
from derive.language.definition import Definition


@dataclass(frozen=True)
class Target:
    """A language to emit.

    `part` renders one variant, `texts` the files of an operation, by name, from its parts;
    `shared` are files that stand beside them. `load` imports what is emitted of a definition, as a
    module of a name.
    """

    name: str
    part: Callable[[Derivation], Any]
    texts: Callable[[Definition, Sequence[Any], str], dict[str, str]]
    load: Callable[[Definition, str], ModuleType]
    shared: Callable[[], dict[str, str]] = dict


def compile(definition: Definition, target: str = "torch") -> ModuleType:
    """The emitted module of a definition, in memory: of files, only a compiler leaves any.

    Raises:
        CodegenError: the target cannot emit the definition.
        VerificationError: a step of the derivation changes a value.
    """
    name = f"_gradsmith_{definition.name}_{digest(definition, target)[:12]}"
    return TARGETS[target].load(definition, name)


def _load_text(definition: Definition, name: str) -> ModuleType:
    """The torch module of a definition, from its text; tracebacks show its lines."""
    text = source(definition)
    filename = f"<generated {definition.name}>"
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
    module = ModuleType(name, definition.summary)
    module.__file__ = filename
    sys.modules[name] = module
    exec(builtins.compile(text, filename, "exec"), module.__dict__)
    return module


def _load_binding(definition: Definition, name: str) -> ModuleType:
    """The binding of a definition's C file, from a folder that lives as long as the process."""
    folder = Path(tempfile.mkdtemp(prefix="gradsmith-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "c").mkdir()
    derivations = [derive(variant) for variant in definition.variants]
    for target, place in ((TARGETS["torch"], folder), (TARGETS["c"], folder / "c")):
        parts = [target.part(derivation) for derivation in derivations]
        texts = target.texts(definition, parts, _command(definition, target))
        texts = target.shared() | formatted(texts)
        for file, text in texts.items():
            (place / file).write_text(text, encoding="utf-8")
    for package, path in ((name, folder), (f"{name}.c", folder / "c")):
        sys.modules[package] = ModuleType(package)
        sys.modules[package].__path__ = [str(path)]
    return import_module(f"{name}.c.{definition.name}")


Mapped = Callable[[Callable[[Definition], Any], Sequence[Definition]], Iterable[Any]]
"""What gives a function's results of several things, in their order."""

TARGETS = {
    "torch": Target("torch", torch_source.part, torch_source.texts, _load_text),
    "c": Target("c", c_source.part, c_source.texts, _load_binding, c_source.shared),
}


def source(definition: Definition) -> str:
    """The emitted torch source of one definition, formatted."""
    return sources([definition])[f"{definition.name}.py"]


def sources(
    definitions: Iterable[Definition],
    command: str = "",
    cache: Cache | None = None,
    target: str = "torch",
    processes: bool = False,
) -> dict[str, str]:
    """The emitted files of definitions, by name, formatted.

    `command` is what the header says to run instead of editing; by default the library's. What
    `cache` holds already is not derived again. `processes` are for whoever is a command: a script
    that asks for them has its `if __name__ == "__main__"`.
    """
    definitions, wanted = list(definitions), TARGETS[target]
    keys = {d.name: key(digest(d, target), source_name(d), command, target) for d in definitions}
    kept = {name: text for name, k in keys.items() if cache and (text := cache.find(k))}
    found: dict[str, dict[str, str]] = {name: json.loads(text) for name, text in kept.items()}
    left = [d for d in definitions if d.name not in found]
    made = _made(left, command, wanted, in_processes if processes else map)
    for name, texts in made.items():
        if cache:
            cache.keep(keys[name], json.dumps(texts))
    every = [found.get(d.name) or made[d.name] for d in definitions]
    return {file: text for texts in (*every, wanted.shared()) for file, text in texts.items()}


def _made(
    definitions: list[Definition], command: str, target: Target, mapped: Mapped
) -> dict[str, dict[str, str]]:
    """The emitted files of definitions that have to be derived, by file, by operation."""
    if not definitions:
        return {}
    work = [variant for definition in definitions for variant in definition.variants]
    parts = list(mapped(partial(_part, target.name), work))
    by_name: dict[str, list[Any]] = {d.name: [] for d in definitions}
    for variant, part in zip(work, parts, strict=True):
        by_name[variant.name].append(part)
    texts = {
        d.name: target.texts(d, by_name[d.name], command or _command(d, target))
        for d in definitions
    }
    laid_out = formatted({file: text for each in texts.values() for file, text in each.items()})
    return {name: {file: laid_out[file] for file in each} for name, each in texts.items()}


def _part(target: str, definition: Definition) -> Any:
    try:
        return TARGETS[target].part(derive(definition))
    except CodegenError as error:
        raise CodegenError(f"{definition.full_name}: {error}") from None


def _command(definition: Definition, target: Target) -> str:
    chosen = "" if target.name == "torch" else f" --target {target.name}"
    return f"gradsmith generate{chosen} {definition.name}"


def functions(derivation: Derivation) -> str:
    """A torch module of `forward` and `backward` alone, before it is formatted: of what autograd
    needs, the second order takes longest to derive."""
    definition = replace(derivation.definition, interface=None)
    part = torch_source.part(derivation, autograd=False)
    command = _command(definition, TARGETS["torch"])
    (text,) = torch_source.texts(definition, [part], command).values()
    return text


def formatted(texts: Mapping[str, str]) -> dict[str, str]:
    """Texts by file name, each that is Python as ruff formats it, in one run.

    Raises:
        CodegenError: ruff found no Python in a text.
    """
    with tempfile.TemporaryDirectory() as folder:
        python = [name for name in texts if name.endswith(".py")]
        for name in python:
            (Path(folder) / name).write_text(texts[name], encoding="utf-8")
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
        laid_out = {n: (Path(folder) / n).read_text(encoding="utf-8") for n in python}
        return {name: laid_out.get(name, text) for name, text in texts.items()}
