"""Lines of C: loops around them, and the memory that they need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from derive.language.expressions import Index


@dataclass(frozen=True)
class Piece:
    """Memory that a function asks for: one for all, or one for each thread."""

    name: str
    kind: str
    count: str
    each: bool = False

    @property
    def room(self) -> str:
        count = f"threads * {self.count}" if self.each else self.count
        return f"ROOM({count}, {self.kind})"


@dataclass(frozen=True)
class Count:
    """A number that is worked out before memory is asked for, such as one of blocks."""

    name: str
    value: str
    kind: str = "int64_t"


Line = str | Piece | Count
"""A line of C; or what it needs, which stands among the lines until they are put together."""

Lines = Sequence[Line]


def with_workspace(lines: Sequence[Line]) -> list[str]:
    """Lines between what they need: counts and memory before them, and memory freed after them.

    Two loops over tiles of one axis have one width, that of the first.
    """
    counts: dict[str, Count] = {}
    for line in lines:
        if isinstance(line, Count):
            counts.setdefault(line.name, line)
    pieces = [*dict.fromkeys(line for line in lines if isinstance(line, Piece))]
    return [
        *(f"const {c.kind} {c.name} = {c.value};" for c in counts.values()),
        *allocated(pieces),
        *(line for line in lines if isinstance(line, str)),
        *(["free(workspace);"] if pieces else []),
    ]


def allocated(pieces: Sequence[Piece]) -> list[str]:
    """One allocation for all pieces, and where each begins."""
    if not pieces:
        return []
    total = " + ".join(piece.room for piece in pieces)
    lines = [
        f"char *const workspace = aligned_alloc(64, {total});",
        "if (workspace == NULL)",
        "    return 1;",
    ]
    place = "workspace"
    for piece in pieces:
        lines.append(f"{piece.kind} *const restrict {piece.name} = ({piece.kind} *){place};")
        place = f"((char *){piece.name} + {piece.room})"
    return lines


def loop_over(index: Index, low: str, high: str, body: Lines) -> Lines:
    return [
        f"for (int64_t {index} = {low}; {index} < {high}; {index}++) {{",
        *indented(body),
        "}",
    ]


def in_blocks(index: Index, low: str, high: str, length: str, body: Lines) -> Lines:
    block = f"{index}_block"
    return [
        f"for (int64_t {block} = {low}; {block} < {high}; {block} += {length}) {{",
        f"    const int64_t {index}_end = least({block} + {length}, {high});",
        *indented(body),
        "}",
    ]


def indented(lines: Sequence[Line]) -> Lines:
    return [f"    {line}" if isinstance(line, str) else line for line in lines]
