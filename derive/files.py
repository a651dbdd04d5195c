"""A user's file of definitions: Python that builds them, or text in index notation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from derive import library
from derive.language.definition import Definition, DefinitionError
from derive.notation.reading import read

TEXT = ".grad"
"""The ending of a file in the text form of the language."""


def load_definitions(path: str | Path) -> dict[str, Definition]:
    """Every definition of a file, by name, in its order: `.grad` is read, anything else executed.

    Raises:
        DefinitionError: the file is missing, is no definition, or has a mistake, with its line.
    """
    path = Path(path)
    if path.suffix != TEXT:
        return library.load_file(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DefinitionError(f"{path}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DefinitionError(f"{path} cannot be read: {error}") from None
    try:
        return read(text, library.load, str(path))
    except DefinitionError as error:
        raise DefinitionError(f"{path}: {error}") from None


def chosen(path: Path | None, names: Iterable[str]) -> list[Definition]:
    """The definitions of these names, each once, by default all, of a file or of the library.

    Raises:
        DefinitionError: there is none of a name, or the file has a mistake.
    """
    names = dict.fromkeys(names)
    if path is None:
        return [library.load(name) for name in names or library.names()]
    found = load_definitions(path)
    return [named(name, found, str(path)) for name in names or found]


def named(name: str, found: Mapping[str, Definition], where: str) -> Definition:
    """An operation, or a variant of one, as in `mse_loss[sum]`, among those found somewhere.

    Raises:
        DefinitionError: there is none.
    """
    operation, variant = library.parted(name)
    if operation not in found:
        raise DefinitionError(f"{where} has no operation {operation!r}; it has {', '.join(found)}")
    definition = found[operation]
    return definition if variant is None else library.variant_of(definition, variant)
