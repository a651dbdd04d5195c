"""Which loops compute a program: as few passes over memory as its data dependences allow.

Statements are taken in order. A loop over an axis takes in every later statement over that axis
whose sources are complete where it reads them: made before the loop, or by the same iteration of
it. Of the axes that could be the outermost, the one that takes in most is chosen, and the same
happens inside. The axis along which memory is contiguous comes innermost; where it alone takes
in most, as in a normalisation over the rows of a matrix, it is cut into tiles that stay in
the cache, and each tile goes through all of the statements.

A let that is light and elementwise has no statement: it is computed wherever it is read.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import sympy
from sympy import Add, Basic, Expr, Mul, Number, Pow, Symbol

from codegen.c.contraction import depth_of
from codegen.c.explicit import is_reduction
from codegen.c.functions import FUNCTIONS
from codegen.c.nests import Contraction, Loop, Node, Statement, statement
from codegen.lowering.forms import Finite
from codegen.program import Program
from derive.language.definition import Let
from derive.language.expressions import Element, Index, Sum, free_indices, fresh_names, names_used

_LIGHT = 12
"""As many additions, multiplications and comparisons cost less than going to memory."""


@dataclass(frozen=True)
class Schedule:
    """The nests of a program, in order, and the lets that are computed where they are read."""

    nests: tuple[Node, ...]
    inlined: dict[str, Let]


def schedule(program: Program) -> Schedule:
    """Choose the loops of an explicit program."""
    inlined = _inlined(program)
    statements = [statement(let, inlined) for let in program.lets if let.name not in inlined]
    return Schedule(tuple(_nested(statements, frozenset(), frozenset())), inlined)


# --- what has no statement of its own ---


def _inlined(program: Program) -> dict[str, Let]:
    handed = program.handed_on
    multiplied: set[str] = set()
    for let in program.lets:
        if (operands := operands_of(statement(let, {}))) is not None:
            multiplied |= {o.tensor_name for o in operands}
    return {
        let.name: let
        for let in program.lets
        if let.name not in handed | multiplied and not let.tensor.integer
        if not is_reduction(let.value) and weight(let.value) <= _LIGHT
        if all(_rank(other) <= _rank(let) for other in program.lets if _reads(other, let))
    }


def _reads(let: Let, other: Let) -> bool:
    return other.name in names_used(let.value)


def _rank(let: Let) -> int:
    """The number of letters that a let runs over."""
    bound = let.value.indices if is_reduction(let.value) else ()
    return len({*let.tensor.indices, *bound})


def weight(value: Basic) -> float:
    """How much arithmetic an elementwise value is; functions are too heavy to repeat."""
    if isinstance(value, Symbol | Number | Element):
        return 0
    inside = sum(weight(a) for a in value.args)
    if isinstance(value, Add | Mul):
        return inside + len(value.args) - 1
    if isinstance(value, Pow):
        return inside + (abs(int(value.exp)) if value.exp.is_Integer else 2 * _LIGHT)
    return inside + (2 * _LIGHT if value.func in _HEAVY else 1)


_HEAVY = frozenset(FUNCTIONS) - {sympy.Abs, sympy.sign, Finite}


# --- loops ---


def _nested(
    statements: Sequence[Statement], opened: frozenset[Index], tiled: frozenset[Index]
) -> list[Node]:
    """Loops around statements, those over the letters `opened` being there already."""
    nodes: list[Node] = []
    left = list(statements)
    while left:
        first = _next(left, opened)
        if not opened and (operands := operands_of(first)) is not None:
            nodes.append(Contraction(first, *operands))
            left.remove(first)
            continue
        unopened = [i for i in first.letters if i not in opened]
        if not unopened:
            nodes.append(first)
            left.remove(first)
            continue
        index, tile, group = _widest(first, left, unopened, opened, tiled)
        taken = {s.tensor.name for s in group}
        left = [s for s in left if s.tensor.name not in taken]
        inner = (opened, tiled | {index}) if tile else (opened | {index}, tiled)
        nodes.append(Loop(index, tuple(_nested(group, *inner)), tile))
    return nodes


def _next(left: Sequence[Statement], opened: frozenset[Index]) -> Statement:
    """The statement that comes next: the first one, unless another can be made at once and is
    waited for: left for later, it would part those before it from its readers. It is over fewer
    letters, or over other axes, and so in no loop of the first one.
    """
    first, names = left[0], {s.tensor.name for s in left}
    waited_for = {name for s in left for name, _ in s.elements}
    own = {i.axis for i in first.letters if i not in opened}
    for one in left[1:] if own else ():
        axes = {i.axis for i in one.letters if i not in opened}
        at_once = not names & {name for name, _ in one.elements}
        if at_once and one.tensor.name in waited_for and (axes < own or own.isdisjoint(axes)):
            return one
    return first


def _widest(
    first: Statement,
    left: Sequence[Statement],
    unopened: Sequence[Index],
    opened: frozenset[Index],
    tiled: frozenset[Index],
) -> tuple[Index, bool, list[Statement]]:
    """The loop around the first statement that takes in most."""
    found: list[tuple[Index, bool, list[Statement]]] = []
    for index in unopened:
        last = len(unopened) == 1
        tile = index == first.contiguous and not last
        if tile and (index in tiled or index in first.bound):
            continue
        group = _group(left, index, opened, tiled, tile)
        found.append((index, tile, group))

    def worth(candidate: tuple[Index, bool, list[Statement]]) -> tuple[int, bool, int]:
        index, tile, group = candidate
        outer = first.widest.index(index) if index in first.widest else len(first.widest)
        return sum(1 + len(s.letters) for s in group), not tile, -outer

    return max(found, key=worth)


def _group(
    left: Sequence[Statement],
    index: Index,
    opened: frozenset[Index],
    tiled: frozenset[Index],
    tile: bool,
) -> list[Statement]:
    """The statements that one loop over an index takes in, each with that letter for its own."""
    group: dict[str, Statement] = {}
    outside: set[str] = set()
    for one in left:
        aligned = _aligned(one, index, opened, tiled, tile, group, outside)
        if aligned is None:
            outside.add(one.tensor.name)
        else:
            group[one.tensor.name] = aligned
    return list(group.values())


def _aligned(
    one: Statement,
    index: Index,
    opened: frozenset[Index],
    tiled: frozenset[Index],
    tile: bool,
    group: dict[str, Statement],
    outside: Collection[str],
) -> Statement | None:
    """A statement with the loop's index for one of its letters, if it may run in the loop."""
    if any(name in outside for name, _ in one.elements):
        return None
    if not opened and operands_of(one) is not None:
        return None
    unopened = [i for i in one.letters if i not in opened]
    letters = [i for i in unopened if i.axis == index.axis]
    for letter in sorted(letters, key=lambda i: i != index):
        last = len(unopened) == 1
        if letter != index and {letter, index} & tiled:  # a tile is of one letter
            continue
        if tile and (letter in one.bound or letter not in one.at):
            continue
        if not tile and letter == one.contiguous and not last:
            continue
        if not all(_is_local(group.get(name), at, letter, index) for name, at in one.elements):
            continue
        return _with_letter(one, letter, index)
    return None


def _is_local(source: Statement | None, at: tuple[Expr, ...], letter: Index, index: Index) -> bool:
    """Whether what an iteration reads of a source was made by the same iteration."""
    if source is None:
        return True
    if index in source.bound or index not in source.at:
        return False
    return all(read == letter for own, read in zip(source.at, at, strict=True) if own == index)


def _with_letter(one: Statement, letter: Index, index: Index) -> Statement:
    """A statement whose letter is the loop's, another letter of that name out of its way."""
    if letter == index:
        return one
    used = {i.name for i in one.reads.atoms(Index)} | {i.name for i in one.letters} | {index.name}
    (name,) = fresh_names([index.axis.name], used)
    return one.renamed({letter: index, index: index.another(name)})


# --- products of matrices ---


def operands_of(one: Statement) -> tuple[Element, Element] | None:
    """The two tensors of a sum of their products that is a product of matrices: each has a free
    letter that the other has not, both have all of the bound ones, and there are no others."""
    factors = Mul.make_args(one.value)
    if one.how is not Sum or one.scatters or len(factors) != 2:
        return None
    left, right = factors
    for factor in factors:
        if not isinstance(factor, Element) or not all(isinstance(i, Index) for i in factor.indices):
            return None
        if len(set(factor.indices)) < len(factor.indices):
            return None
    own, other, bound = free_indices(left), free_indices(right), set(one.bound)
    if not bound <= own & other or not own - other or not other - own:
        return None
    if not set(one.at) <= own | other:
        return None
    if depth_of(one.bound, left.indices, right.indices) is None:
        return None
    return left, right
