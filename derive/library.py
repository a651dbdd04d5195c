"""The library's own definitions, under `derive/ops/`."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType

from derive import ops
from derive.language.definition import Definition, DefinitionError

_FOLDER = Path(ops.__file__).parent


def names() -> list[str]:
    """The names of the library's operations, in alphabetical order."""
    return sorted(name for stem in _stems() for name in _in_library_file(stem))


def load(name: str) -> Definition:
    """The library's definition of an operation, or of a variant, as in `mse_loss[sum]`.

    A file of the operation's name, or that has it in quotes, is tried first: one operation costs
    one import.

    Raises:
        DefinitionError: the library has no operation of that name, or that no such variant.
    """
    name, variant = parted(name)
    if variant is not None:
        return variant_of(load(name), variant)
    for stem in sorted(_stems(), key=lambda stem: (stem != name, not _quotes(stem, name))):
        found = _in_library_file(stem)
        if name in found:
            return found[name]
    if Path(name).suffix in (".py", ".grad"):
        raise DefinitionError(f"{name!r} is no operation: a file is given with --definitions")
    near = difflib.get_close_matches(name, names(), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "; `gradsmith list` shows those it has"
    raise DefinitionError(f"the library has no operation {name!r}{hint}")


def parted(name: str) -> tuple[str, str | None]:
    """The names of an operation and of a variant, as in `mse_loss[sum]`; None without one."""
    operation, bracket, variant = name.partition("[")
    return operation, variant.removesuffix("]") if bracket else None


def operation_of(definition: Definition) -> Definition | None:
    """The library's operation that has this very definition for itself or for a variant."""
    try:
        operation = load(definition.name)
    except DefinitionError:
        return None
    return operation if definition in (operation, *operation.variants) else None


def variant_of(definition: Definition, variant: str) -> Definition:
    """A variant of an operation, by its name.

    Raises:
        DefinitionError: there is no such variant.
    """
    for found in definition.variants:
        if found.variant == variant:
            return found
    known = ", ".join(v.variant for v in definition.variants[1:])
    raise DefinitionError(
        f"{definition.name!r} has no variant {variant!r}; it has {known or 'none'}"
    )


@cache
def _stems() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules([str(_FOLDER)]))


@cache
def _quotes(stem: str, name: str) -> bool:
    return f'"{name}"' in (_FOLDER / f"{stem}.py").read_text(encoding="utf-8")


@cache
def _in_library_file(stem: str) -> Mapping[str, Definition]:
    module = importlib.import_module(f"derive.ops.{stem}")
    path = _FOLDER / f"{stem}.py"
    found = definitions_in(module, path)
    return {name: d for name, d in found.items() if Path(d.source).name == path.name}


def definitions_in(module: ModuleType, path: Path) -> dict[str, Definition]:
    """The definitions at a module's top level, less those imported from another library file."""
    found: dict[str, Definition] = {}
    for value in vars(module).values():
        if not isinstance(value, Definition) or _is_imported_from_library(value, path):
            continue
        if found.setdefault(value.name, value) is not value:
            raise DefinitionError(f"{path}: two definitions are named {value.name!r}")
    return found


def _is_imported_from_library(definition: Definition, path: Path) -> bool:
    source = Path(definition.source).resolve()
    return source.parent == _FOLDER.resolve() and source != path.resolve()
