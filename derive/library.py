"""Find definitions: the library's own under `derive/ops/`, and those in a user's file."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import pkgutil
import sys
import traceback
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType

from derive import ops
from derive.language.builder import Builder
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


def load_file(path: str | Path) -> dict[str, Definition]:
    """Every definition of a user's Python file, by name, in the order of the file.

    The file is executed. Operations of the library that it imports are not counted as its own.

    Raises:
        DefinitionError: the file is missing, cannot be executed (with the line), holds no
            definition, or two of one name.
    """
    path = Path(path)
    module = execute(path)
    found = _definitions(module, path)
    if not found:
        unbuilt = [b.name for b in vars(module).values() if isinstance(b, Builder)]
        hint = f": operation {unbuilt[0]!r} is never built" if unbuilt else ""
        raise DefinitionError(f"{path}: no definition inside{hint}; assign op.build(...) to a name")
    return found


def execute(path: Path) -> ModuleType:
    """Run a user's Python file as a module of a private name, which no import reaches.

    Raises:
        DefinitionError: the file is missing or raises; the message has the line.
    """
    if not path.is_file():
        what = "is no file" if path.exists() else "there is no such file"
        raise DefinitionError(f"{path}: {what}")
    name = f"_definitions_in_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise DefinitionError(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        line = _line_in(path, error)
        kind = "" if isinstance(error, DefinitionError) else f"{type(error).__name__}: "
        raise DefinitionError(f"{path}:{line}: {kind}{_message(error)}") from error
    finally:
        sys.modules.pop(name, None)
    return module


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
    found = _definitions(module, path)
    return {name: d for name, d in found.items() if Path(d.source).name == path.name}


def _definitions(module: ModuleType, path: Path) -> dict[str, Definition]:
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


def _message(error: BaseException) -> str:
    return error.msg if isinstance(error, SyntaxError) else str(error)


def _is_same_file(name: str | None, path: Path) -> bool:
    return name is not None and Path(name).resolve() == path.resolve()


def _line_in(path: Path, error: BaseException) -> int:
    """The last line of the file that was running when the error was raised."""
    if isinstance(error, SyntaxError) and _is_same_file(error.filename, path):
        return error.lineno or 1
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if _is_same_file(frame.filename, path)]
    return (lines[-1] if lines else None) or 1
