"""Where each tensor of a schedule lives: as little memory as its readers leave it.

What is handed on is an argument of the function. Anything else is a local variable where all
of its readers stand inside the same iteration of the loops over its letters, and else an array over
the letters that are left: one for the whole function, or one for each iteration of a loop.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from codegen.c.nests import Contraction, Loop, Node, Statement
from codegen.c.schedule import Schedule
from codegen.program import Program
from derive.language.definition import Tensor
from derive.language.expressions import Index

Path = tuple[int, ...]
"""Where a node stands: its place at the top, its place in the loop that stands there, and on."""


@dataclass(frozen=True)
class Home:
    """Where a tensor lives.

    `given` says that it is an argument, over all of its axes. Otherwise it is declared in the
    body at `body`, over the axes at `places` among its own; without any it is a local variable.
    `tiled` is the letter, among its own as the loops name them, of which it has one tile.
    """

    tensor: Tensor
    places: tuple[int, ...]
    body: Path = ()
    given: bool = False
    tiled: Index | None = None

    @property
    def is_local(self) -> bool:
        return not self.given and not self.places


@dataclass(frozen=True)
class Placed:
    """A statement, where it stands, and the loops around it from the outside in."""

    statement: Statement
    path: Path
    loops: tuple[Loop, ...]

    @property
    def reduced_at(self) -> int | None:
        """How many loops stand around the outermost one that the statement reduces over."""
        for depth, loop in enumerate(self.loops):
            if not loop.tiled and loop.index in self.statement.bound:
                return depth
        return None

    @property
    def made_in(self) -> Path:
        """The body in which the statement's result is complete."""
        depth = self.reduced_at
        return self.path[:-1] if depth is None else self.path[:depth]


def placed(nodes: tuple[Node, ...]) -> tuple[Placed, ...]:
    """Every statement of some nests, in order."""
    return tuple(_placed(nodes, (), ()))


def _placed(nodes: tuple[Node, ...], path: Path, loops: tuple[Loop, ...]) -> Iterator[Placed]:
    for number, node in enumerate(nodes):
        here = (*path, number)
        if isinstance(node, Loop):
            yield from _placed(node.body, here, (*loops, node))
        else:
            one = node.statement if isinstance(node, Contraction) else node
            yield Placed(one, here, loops)


def homes(program: Program, schedule: Schedule) -> Mapping[str, Home]:
    """Where each tensor that a statement makes, or that the program is given, lives."""
    handed = program.handed_on
    everything = placed(schedule.nests)
    found = {t.name: _given(t) for t in (*program.params, *program.unpacked.tensors)}
    for one in everything:
        tensor = one.statement.tensor
        if tensor.name in handed:
            found[tensor.name] = _given(tensor)
            continue
        body = one.made_in
        for other in everything:
            if any(name == tensor.name for name, _ in other.statement.elements):
                body = _common(body, other.path[:-1])
        around = one.loops[: len(body)]
        places = unopened(one.statement, around)
        found[tensor.name] = Home(tensor, places, body, tiled=tile_of(one.statement, around))
    lent: set[str] = set()
    for place, one in enumerate(everything):
        output = _lent(place, everything, found)
        if output is not None and output.name not in lent:
            found[one.statement.tensor.name] = found[output.name]
            lent.add(output.name)
    return found


def _lent(place: int, everything: tuple[Placed, ...], found: Mapping[str, Home]) -> Tensor | None:
    """The result whose memory a row may use, since it is computed from the row, element by
    element, after everything else has read it."""
    one = everything[place].statement
    home = found[one.tensor.name]
    if one.how is not None or home.given or not home.places or not home.body:
        return None
    readers = [
        (number, other.statement)
        for number, other in enumerate(everything)
        if any(name == one.tensor.name for name, _ in other.statement.elements)
    ]
    last, reader = readers[-1]
    result = reader.tensor
    if reader.how is not None or not found[result.name].given or reader.at != one.at:
        return None
    if result.axes != one.tensor.axes or result.integer or one.tensor.integer:
        return None
    own = all(
        at == one.at
        for _, other in readers
        for name, at in other.elements
        if name == one.tensor.name
    )
    before = [other.statement for other in everything[:last]]
    touched = {s.tensor.name for s in before} | {name for s in before for name, _ in s.elements}
    return result if own and result.name not in touched else None


def _given(tensor: Tensor) -> Home:
    return Home(tensor, tuple(range(len(tensor.indices))), given=True)


def unopened(one: Statement, loops: tuple[Loop, ...]) -> tuple[int, ...]:
    """The places, in what a statement makes, of the letters that some loops do not run over."""
    opened = {loop.index for loop in loops if not loop.tiled}
    return tuple(place for place, index in enumerate(one.at) if index not in opened)


def tile_of(one: Statement, loops: tuple[Loop, ...]) -> Index | None:
    """The letter of a statement of which some loops leave one tile."""
    tiled = [loop.index for loop in loops if loop.tiled]
    opened = {loop.index for loop in loops if not loop.tiled}
    return next((i for i in tiled if i in one.at and i not in opened), None)


def _common(first: Path, second: Path) -> Path:
    length = 0
    while length < min(len(first), len(second)) and first[length] == second[length]:
        length += 1
    return first[:length]
