"""The data set: a file of names, its vocabulary, and the contexts that predict each character.

Everything here follows the notebook: the same order of characters, the same shuffle, the same
80/10/10 split, the same context of three characters.
"""

from __future__ import annotations

import hashlib
import random
import unicodedata
from codecs import BOM_UTF8
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from gradsmith.errors import UserError

CONTEXT = 3
END = "."
"""The character that marks where a name ends; it has number 0."""


class DatasetError(UserError):
    """A names file that cannot be used; the message names the file, the line and the mistake."""


@dataclass(frozen=True)
class Split:
    """Examples of one split: contexts `X` of shape (N, 3) and next characters `Y` of shape (N)."""

    X: Tensor
    Y: Tensor

    def __len__(self) -> int:
        return len(self.Y)


@dataclass(frozen=True)
class Dataset:
    """A names file, ready for training. `digest` is the SHA-256 of its content."""

    vocabulary: tuple[str, ...]
    train: Split
    val: Split
    test: Split
    digest: str


def default_file() -> Path:
    """The names that come with gradsmith, found from this file: in a wheel they lie beside it,
    in a checkout beside its package."""
    here = Path(__file__).parents[1]
    candidates = [folder / "data" / "names.txt" for folder in (here, here.parent)]
    return next((file for file in candidates if file.is_file()), candidates[-1])


def read_names(file: Path) -> list[str]:
    """The names in a file, one a line, in its order.

    Raises DatasetError for a file that is missing, empty, has a blank line, one that is not
    UTF-8, holds the end mark or a control character, or fewer than three names.
    """
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise DatasetError(f"names file {file}: there is no such file") from None
    except OSError as error:
        raise DatasetError(f"names file {file}: cannot be read: {error.strerror}") from None
    if not content:
        raise DatasetError(f"names file {file}: is empty; wanted one name a line")
    lines = content.removeprefix(BOM_UTF8).removesuffix(b"\n").split(b"\n")
    names = [_name(file, number, line) for number, line in enumerate(lines, start=1)]
    if len(names) < 3:
        raise DatasetError(
            f"names file {file}: line {len(names)} is the last; wanted at least three names, "
            f"got {len(names)}"
        )
    return names


def _name(file: Path, number: int, line: bytes) -> str:
    try:
        name = line.removesuffix(b"\r").decode("utf-8")
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"names file {file}: line {number} is not UTF-8: byte {line[error.start]:#04x} "
            f"at column {error.start + 1}"
        ) from None
    if not name.strip():
        raise DatasetError(f"names file {file}: line {number} is blank; wanted a name")
    if END in name:
        raise DatasetError(
            f"names file {file}: line {number} has {END!r} in {name!r}, which marks a name's end"
        )
    # What is sampled is printed, and a terminal would obey it.
    controls = [i for i, c in enumerate(name) if unicodedata.category(c) == "Cc"]
    if controls:
        raise DatasetError(
            f"names file {file}: line {number} has the control character {name[controls[0]]!r} "
            f"at column {controls[0] + 1}"
        )
    return name


def vocabulary_of(names: Iterable[str]) -> tuple[str, ...]:
    """The characters by their number: the end mark, then those of the names in sorted order."""
    return (END, *sorted(set("".join(names))))


def examples(names: Sequence[str], vocabulary: Sequence[str]) -> Split:
    """Each character of each name, the end mark too, with the three characters before it."""
    number = {character: i for i, character in enumerate(vocabulary)}
    contexts: list[list[int]] = []
    following: list[int] = []
    for name in names:
        context = [0] * CONTEXT
        for character in name + END:
            contexts.append(context)
            following.append(number[character])
            context = [*context[1:], number[character]]
    X = torch.tensor(contexts, dtype=torch.int64).view(-1, CONTEXT)
    return Split(X, torch.tensor(following, dtype=torch.int64))


def load(file: Path | None = None, vocabulary: tuple[str, ...] | None = None) -> Dataset:
    """The data set made of a names file, the default one where none is given.

    With a vocabulary its numbers are used, and not those of the file's own characters. Raises
    DatasetError as `read_names` does, and for a character that the vocabulary does not have.
    """
    file = file or default_file()
    names = read_names(file)
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()
    vocabulary = vocabulary or vocabulary_of(names)
    for number, name in enumerate(names, start=1):
        if unknown := set(name).difference(vocabulary):
            raise DatasetError(
                f"names file {file}: line {number} has {min(unknown)!r}, which the model does not "
                f"know; it knows {' '.join(vocabulary[1:])}"
            )
    random.Random(42).shuffle(names)
    first, second = int(0.8 * len(names)), int(0.9 * len(names))
    parts = names[:first], names[first:second], names[second:]
    train, val, test = (examples(part, vocabulary) for part in parts)
    return Dataset(vocabulary, train, val, test, digest)
