"""What was emitted before, by what it was emitted from: an unchanged definition costs a look.

A text depends on its definition, on the command in its header, and on the programs that make
it: derive, codegen with its templates, SymPy and ruff. The key is a hash of all of them.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

import derive
from codegen.writer import write_whole

_ROOMS = (Path(derive.__file__).parent, Path(__file__).parent)
_SUFFIXES = (".py", ".jinja", ".lark")


@dataclass(frozen=True)
class Cache:
    """A folder of texts by key, made when the first is kept."""

    folder: Path

    def find(self, key: str) -> str | None:
        """The text that was kept under a key; None where there is none that can be read."""
        try:
            return (self.folder / key).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return None

    def keep(self, key: str, text: str) -> None:
        """Keep a text, whole or not at all: a folder that cannot be written to keeps nothing."""
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(self.folder / key, text.encode())


def key(*parts: str) -> str:
    """The name under which a text made of these parts is kept."""
    return hashlib.sha256("\0".join((_programs(), *parts)).encode()).hexdigest()


@cache
def _programs() -> str:
    """A hash of everything that turns a definition into a text."""
    found = hashlib.sha256()
    for package in ("sympy", "ruff"):
        found.update(f"{package} {metadata.version(package)}\n".encode())
    for room in _ROOMS:
        for file in sorted(room.rglob("*")):
            if file.suffix in _SUFFIXES and file.parent.name != "ops":
                found.update(f"{file.relative_to(room)}\n".encode() + file.read_bytes())
    return found.hexdigest()
