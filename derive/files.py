"""A user's file of definitions: Python that builds them, or text in index notation."""

from __future__ import annotations

from pathlib import Path

from derive import library
from derive.language import Definition, DefinitionError
from derive.reading import read

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
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DefinitionError(f"{path}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DefinitionError(f"{path} cannot be read: {error}") from None
    try:
        return read(text, library.load, str(path))
    except DefinitionError as error:
        raise DefinitionError(f"{path}: {error}") from None
