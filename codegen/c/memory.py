"""How the memory of a kernel is written in C: arrays, where an element lies, what is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sympy import Expr

from codegen.c.expressions import Printer
from codegen.c.lines import Lines, Piece
from codegen.c.storage import Home, Path, Placed
from derive.language.definition import Tensor
from derive.language.expressions import Axis, Index

REAL, WIDE, PLACE = "real", "wide", "int64_t"


def kind_of(tensor: Tensor) -> str:
    return PLACE if tensor.integer else REAL


@dataclass(frozen=True)
class Array:
    """Memory over some axes, in order; of the letter `tiled` it has one tile.

    `letters` are those that run over its axes where it is used.
    """

    name: str
    kind: str
    axes: tuple[Axis, ...]
    letters: tuple[Expr, ...]
    tiled: Index | None = None

    @property
    def extents(self) -> list[str]:
        return [
            "TILE" if letter == self.tiled else axis.size.name
            for axis, letter in zip(self.axes, self.letters, strict=True)
        ]

    @property
    def count(self) -> str:
        """How many elements there are: a product, or one number."""
        return " * ".join(self.extents) or "1"

    def at(self, indices: Sequence[Expr], printer: Printer) -> str:
        """`name[n * K + k]`."""
        if not self.axes:
            return f"{self.name}[0]"
        places = [
            index - start(self.tiled) if self.tiled is not None and letter == self.tiled else index
            for index, letter in zip(indices, self.letters, strict=True)
        ]
        return f"{self.name}[{printer.position(places, self.extents[1:])}]"


def start(index: Index) -> Index:
    """Where a tile of an index begins."""
    return index.another(f"{index.name}_tile")


@dataclass(frozen=True)
class Memory:
    """The arrays of one function."""

    homes: Mapping[str, Home]
    placed: Sequence[Placed]

    def array(self, name: str) -> Array:
        """The array that a tensor lives in."""
        home = self.homes[name]
        at = next((p.statement.at for p in self.placed if p.statement.tensor.name == name), None)
        letters = at or home.tensor.indices
        return Array(
            home.tensor.name,
            kind_of(home.tensor),
            tuple(home.tensor.axes[place] for place in home.places),
            tuple(letters[place] for place in home.places),
            home.tiled,
        )

    def element(self, name: str, at: Sequence[Expr], printer: Printer) -> str:
        """How an element of a tensor is read or written."""
        home = self.homes[name]
        if home.is_local:
            return name
        return self.array(name).at([at[place] for place in home.places], printer)

    def declared(self, body: Path) -> Lines:
        """The arrays that belong to a body: at the top, they are pieces of the workspace."""
        arrays = [
            self.array(name)
            for name, home in self.homes.items()
            if home.body == body and not home.given and home.places
        ]
        if body:
            return [line for array in arrays for line in self.room(array)]
        return [Piece(a.name, a.kind, a.count) for a in arrays]

    def room(self, array: Array) -> Lines:
        """An array inside a loop: on the stack for one tile, else in the thread's memory."""
        if array.extents == ["TILE"]:
            return [f"{array.kind} {array.name}[TILE];"]
        every = f"{array.name}_of_threads"
        piece = Piece(every, array.kind, array.count, each=True)
        place = f"{every} + omp_get_thread_num() * {array.count}"
        return [piece, f"{array.kind} *const restrict {array.name} = {place};"]
