"""A user's file of definitions: Python that builds them, or text in index notation."""

from __future__ import annotations

import ast
import importlib.util
import sys
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType

from derive import library
from derive.language.builder import Builder
from derive.language.checks import NO_RECURRENCES
from derive.language.definition import Definition, DefinitionError
from derive.notation.reading import read_each

TEXT = ".grad"
"""The ending of a file in the text form of the language."""


def load_definitions(path: str | Path) -> dict[str, Definition]:
    """Every definition of a file, by name, in its order: `.grad` is read, anything else executed.

    Operations of the library that a file imports are not counted as its own.

    Raises:
        DefinitionError: the file is missing, is no definition, or has a mistake, with its line.
    """
    found = load_each(path)
    return {name: named(name, found, str(path)) for name in found}


def load_each(path: str | Path) -> Mapping[str, Definition | DefinitionError]:
    """As `load_definitions`; a mistake in one definition of a text stands in its place alone.

    Raises:
        DefinitionError: the file is missing, is no definition, or stops as it is executed.
    """
    path = Path(path)
    if path.suffix != TEXT:
        return _executed(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DefinitionError(f"{path}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DefinitionError(f"{path} cannot be read: {error}") from None
    try:
        found = read_each(text, library.load, str(path))
    except DefinitionError as error:
        raise DefinitionError(f"{path}: {error}") from None
    return {
        name: DefinitionError(f"{path}: {one}") if isinstance(one, DefinitionError) else one
        for name, one in found.items()
    }


def _executed(path: Path) -> dict[str, Definition]:
    module = execute(path)
    found = library.definitions_in(module, path)
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
        raise DefinitionError(f"{path}: a file of definitions is Python, .py, or text, {TEXT}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        line = _line_in(path, error)
        kind = "" if isinstance(error, DefinitionError) else f"{type(error).__name__}: "
        hint = f"; {NO_RECURRENCES}" if _reads_itself(path, line, error) else _hint(error)
        raise DefinitionError(f"{path}:{line}: {kind}{_message(error)}{hint}") from error
    finally:
        sys.modules.pop(name, None)
    return module


def chosen(path: Path | None, names: Iterable[str]) -> list[Definition]:
    """The definitions of these names, each once, by default all, of a file or of the library.

    Raises:
        DefinitionError: there is none of a name, or some of them have mistakes, all of which it
            tells.
    """
    found, mistakes = chosen_each(path, names)
    if mistakes:
        raise DefinitionError("\n".join(map(str, mistakes)))
    return found


def chosen_each(
    path: Path | None, names: Iterable[str]
) -> tuple[list[Definition], list[DefinitionError]]:
    """As `chosen`, with the mistakes beside the definitions that have none.

    Raises:
        DefinitionError: there is none of a name, or the file cannot be read or executed.
    """
    names = dict.fromkeys(names)
    if path is None:
        return [library.load(name) for name in names or library.names()], []
    found, definitions, mistakes = load_each(path), list[Definition](), list[DefinitionError]()
    for name in names or found:
        if isinstance(mistake := found.get(library.parted(name)[0]), DefinitionError):
            mistakes.append(mistake)
        else:
            definitions.append(named(name, found, str(path)))
    return definitions, mistakes


def named(name: str, found: Mapping[str, Definition | DefinitionError], where: str) -> Definition:
    """An operation, or a variant of one, as in `mse_loss[sum]`, among those found somewhere.

    Raises:
        DefinitionError: there is none, or it has a mistake.
    """
    operation, variant = library.parted(name)
    if operation not in found:
        has = ", ".join(map(repr, found))
        raise DefinitionError(f"{where} has no operation {operation!r}; it has {has}")
    definition = found[operation]
    if isinstance(definition, DefinitionError):
        raise definition
    return definition if variant is None else library.variant_of(definition, variant)


_MEANT = {
    "cannot determine truth value of Relational": "a choice is written Where(x[n] > 0, a, b)",
    "'Element' object is not iterable": "a sum over an axis is written Sum(x[n], n)",
    "'Element' object has no attribute": "write Sum(x[n], n), exp(x[n]), with derive's",
}
"""What is written otherwise in a definition, by how Python's own mistakes begin."""


def _hint(error: BaseException) -> str:
    found = [hint for begins, hint in _MEANT.items() if str(error).startswith(begins)]
    return f"; {found[0]}" if found else ""


def _message(error: BaseException) -> str:
    return error.msg if isinstance(error, SyntaxError) else str(error)


def _reads_itself(path: Path, line: int, error: BaseException) -> bool:
    """Whether a name is not there yet because the statement around the line is what makes it."""
    if not isinstance(error, NameError):
        return False
    return any(
        isinstance(statement, ast.Assign)
        and statement.lineno <= line <= (statement.end_lineno or line)
        and any(isinstance(made, ast.Name) and made.id == error.name for made in statement.targets)
        for statement in ast.walk(ast.parse(path.read_bytes()))
    )


def _is_same_file(name: str | None, path: Path) -> bool:
    return name is not None and Path(name).resolve() == path.resolve()


def _line_in(path: Path, error: BaseException) -> int:
    """The last line of the file that was running when the error was raised."""
    if isinstance(error, SyntaxError) and _is_same_file(error.filename, path):
        return error.lineno or 1
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if _is_same_file(frame.filename, path)]
    return (lines[-1] if lines else None) or 1
