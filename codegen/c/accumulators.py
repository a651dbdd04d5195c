"""Accumulators: what the iterations of a loop are reduced into, and where the result goes.

A sum is accumulated in three stages, so that a long one is as exact as a short one. The innermost
loop adds in single precision, over at most SPAN iterations; or, where it runs over a letter of the
result, an outer loop adds rows, over at most BLOCK iterations. Both are added to a `wide` total. A
loop that threads share leaves the part of each of its blocks, and the parts are added in order:
the result does not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from sympy import And, Expr, true
from sympy.logic.boolalg import Boolean

from codegen.c.expressions import UNARY, Printer, Text
from codegen.c.lines import Lines, Piece
from codegen.c.memory import REAL, WIDE, Array, Memory
from codegen.c.nests import Loop
from codegen.c.storage import Placed, tile_of, unopened
from codegen.lowering.forms import Largest
from derive.language.expressions import ArgMax, Axis, Guarded, Index, Product, Sum
from derive.language.windows import Window

_EMPTY = {Largest: "-INFINITY", ArgMax: "-INFINITY", Product: "1"}
"""What a reduction begins with, but for a sum."""


@dataclass(frozen=True)
class Accumulator:
    """Where a reduction is accumulated among the loops around it."""

    placed: Placed
    memory: Memory
    few: bool = False
    """Whether what is added up over a few rows is held apart at first."""

    @property
    def name(self) -> str:
        return self.placed.statement.tensor.name

    @property
    def is_sum(self) -> bool:
        return self.placed.statement.how is Sum and not self.scatters

    @property
    def scatters(self) -> bool:
        return self.placed.statement.scatters

    @cached_property
    def depth(self) -> int:
        """How many loops stand around the outermost one that is reduced over."""
        depth = self.placed.reduced_at
        assert depth is not None, f"{self.name} is a reduction"
        return depth

    @cached_property
    def _around(self) -> tuple[Loop, ...]:
        return self.placed.loops[: self.depth]

    @cached_property
    def places(self) -> tuple[int, ...]:
        """The places of the result's letters that loops inside the outermost one run over."""
        return unopened(self.placed.statement, self._around)

    @property
    def in_rows(self) -> bool:
        return bool(self.places)

    @property
    def spanned(self) -> bool:
        """Whether the innermost loop around it is reduced over."""
        loop = self.placed.loops[-1]
        innermost = not any(isinstance(node, Loop) for node in loop.body)
        return self.is_sum and innermost and loop.index in self.placed.statement.bound

    @property
    def letters(self) -> tuple[Index, ...]:
        at = self.placed.statement.at
        return tuple(i for i in (at[p] for p in self.places) if isinstance(i, Index))

    def array(self, name: str, kind: str) -> Array:
        """An array of the shape of what is accumulated."""
        one = self.placed.statement
        axes = tuple(one.tensor.axes[p] for p in self.places)
        at = tuple(one.at[p] for p in self.places)
        return Array(name, kind, axes, at, tile_of(one, self._around))

    @cached_property
    def total(self) -> Array:
        return self.array(f"{self.name}_total", WIDE)

    @cached_property
    def rows(self) -> Array:
        return self.array(f"{self.name}_rows", REAL)

    @cached_property
    def best(self) -> Array:
        """Where the largest value so far stands, or the product, if not in the result's place."""
        return self.array(f"{self.name}_best", REAL)

    @property
    def span(self) -> str:
        return f"{self.name}_span"

    @property
    def few_name(self) -> str:
        return f"{self.name}_few"

    @property
    def parts(self) -> str:
        return f"{self.name}_parts"

    def target(self, printer: Printer) -> str:
        """The element or the variable that the result goes to, as C."""
        return self.memory.element(self.name, self.placed.statement.at, printer)

    def into(self, printer: Printer) -> str:
        """The element or the variable that an iteration of the innermost loop adds to, multiplies
        or replaces, as C."""
        at = [self.placed.statement.at[p] for p in self.places]
        if self.few:
            return self.few_name
        if self.is_sum and self.spanned:
            return self.span
        if self.is_sum:
            return self.rows.at(at, printer) if self.in_rows else self.total.name
        if self.placed.statement.how is ArgMax:
            return self.best.at(at, printer) if self.in_rows else self.best.name
        if self.in_rows or self.scatters or self.memory.homes[self.name].is_local:
            return self.target(printer)
        return self.best.name

    def added(self, value: Text, printer: Printer) -> list[str]:
        """The statement by which one value contributes."""
        into, one = self.into(printer), self.placed.statement
        if one.how is Sum:
            inside = And(*map(_inside, one.at, one.tensor.axes))
            guard = "" if inside == true else f"if ({printer(inside)}) "
            return [f"{guard}{into} += {value.code};"]
        if one.how is Product:
            return [f"{into} = {into} * {value.at(UNARY)};"]
        if one.how is Largest:
            return [f"{into} = larger({into}, {value.code});"]
        (bound,) = one.bound
        return [
            f"if (exceeds({value.code}, {into})) {{",
            f"    {into} = {value.code};",
            f"    {self.target(printer)} = {bound};",
            "}",
        ]

    # --- sums ---

    def begun(self, printer: Printer) -> Lines:
        """Lines before the outermost loop: what the reduction begins with."""
        if not self.is_sum:
            return self._begun_otherwise(printer)
        if not self.in_rows:
            return [f"wide {self.total.name} = 0;"]
        return [*self.memory.room(self.total), *self.over(self.total, "0")]

    def block_begun(self) -> Lines:
        return [*self.memory.room(self.rows), *self.over(self.rows, "0")]

    def few_added(self, printer: Printer) -> list[str]:
        return [f"{self.rows.at(self._own, printer)} += {self.few_name};"]

    def block_ended(self, printer: Printer) -> list[str]:
        at = self._own
        rows = self.rows.at(at, printer)
        return self._each([f"{self.total.at(at, printer)} += {rows};"])

    def flushed(self, printer: Printer) -> list[str]:
        """The line after the innermost loop that adds on what it added up."""
        into = self.rows.at(self._own, printer) if self.in_rows else self.total.name
        return [f"{into} += {self.span};"]

    def ended(self, printer: Printer) -> list[str]:
        """Lines after the outermost loop: the result, where it is not in its place already."""
        if not self.is_sum:
            return self._ended_otherwise(printer)
        if not self.in_rows:
            return self._result(self.total.name, printer)
        total = self.total.at(self._own, printer)
        return self._each([f"{self.target(printer)} = {total};"])

    # --- sums whose blocks are shared among threads ---

    def parts_piece(self, blocks: str) -> Piece:
        """Memory for the parts of all blocks."""
        if self.in_rows:
            return Piece(self.parts, REAL, f"{blocks} * {self.rows.count}")
        return Piece(self.parts, WIDE, blocks)

    def part_begun(self) -> list[str]:
        """Lines at the start of a block: a total of its own, or rows of its own."""
        if not self.in_rows:
            return [f"wide {self.total.name} = 0;"]
        place = f"{self.parts} + block * {self.rows.count}"
        declared = f"real *const restrict {self.rows.name} = {place};"
        return [declared, *self.over(self.rows, "0")]

    def part_ended(self) -> list[str]:
        return [] if self.in_rows else [f"{self.parts}[block] = {self.total.name};"]

    def parts_added(self, blocks: str, printer: Printer) -> list[str]:
        """Lines that add up the parts of all blocks, in order."""
        each = f"for (int64_t block = 0; block < {blocks}; block++)"
        if not self.in_rows:
            total = self.total.name
            lines = [f"wide {total} = 0;", each, f"    {total} += {self.parts}[block];"]
            return [*lines, *self._result(total, printer)]
        count = self.rows.count
        return [
            f"for (int64_t i = 0; i < {count}; i++) {{",
            "    wide total = 0;",
            f"    {each}",
            f"        total += {self.parts}[block * {count} + i];",
            f"    {self.name}[i] = total;",
            "}",
        ]

    # --- anything else ---

    def _begun_otherwise(self, printer: Printer) -> Lines:
        empty = _EMPTY.get(self.placed.statement.how, "0")
        home = self.memory.homes[self.name]
        if self.scatters:
            return self._cleared(empty, printer)
        if self.placed.statement.how is ArgMax:
            if self.in_rows:
                first = self._each([f"{self.target(printer)} = 0;"])
                return [
                    *self.memory.room(self.best),
                    *self.over(self.best, empty),
                    *first,
                ]
            target = self.target(printer)
            declared = f"int64_t {target} = 0;" if home.is_local else f"{target} = 0;"
            return [f"real {self.best.name} = {empty};", declared]
        if self.in_rows:
            return self._each([f"{self.target(printer)} = {empty};"])
        name = self.target(printer) if home.is_local else self.best.name
        return [f"real {name} = {empty};"]

    def _cleared(self, empty: str, printer: Printer) -> list[str]:
        """Lines that empty whatever values may go to, where the loops around it are."""
        if not self._around:
            return self.over(self.memory.array(self.name), empty)
        one = self.placed.statement
        at = list(one.at)
        for place in self.places:
            if not isinstance(at[place], Index):
                letter = one.tensor.indices[place]
                at[place] = letter.another(f"{letter}_each")
        letters = [i for i in (at[p] for p in self.places) if isinstance(i, Index)]
        target = self.memory.element(self.name, at, printer)
        return self._each([f"{target} = {empty};"], letters)

    def _ended_otherwise(self, printer: Printer) -> list[str]:
        how, home = self.placed.statement.how, self.memory.homes[self.name]
        if self.in_rows or self.scatters or how is ArgMax or home.is_local:
            return []
        return self._result(self.best.name, printer)

    # --- spelling ---

    @property
    def _own(self) -> list[Expr]:
        return [self.placed.statement.at[p] for p in self.places]

    def _result(self, value: str, printer: Printer) -> list[str]:
        declared = "const real " if self.memory.homes[self.name].is_local else ""
        return [f"{declared}{self.target(printer)} = {value};"]

    def over(self, array: Array, value: str) -> list[str]:
        """Lines that set every element of an array to a value."""
        used = (
            f"{array.tiled}_end - {array.tiled}_tile" if array.extents == ["TILE"] else array.count
        )
        return [f"for (int64_t i = 0; i < {used}; i++)", f"    {array.name}[i] = {value};"]

    def _each(self, lines: list[str], letters: Sequence[Index] | None = None) -> list[str]:
        """Lines for every value of some letters, by default those of what is accumulated."""
        tiled = tile_of(self.placed.statement, self._around)
        for letter in reversed(self.letters if letters is None else letters):
            low, high = bounds(letter, letter == tiled)
            lines = [
                f"for (int64_t {letter} = {low}; {letter} < {high}; {letter}++) {{",
                *(f"    {line}" for line in lines),
                "}",
            ]
        return lines


def _inside(at: Expr, axis: Axis) -> Boolean:
    """The condition that a place lies on its axis, if it may not."""
    return Window.of(at, "", axis).inside if isinstance(at, Guarded) else true


def bounds(index: Index, tiled: bool) -> tuple[str, str]:
    """Where a loop over an index begins and ends: those of a tile, where there is one."""
    return (f"{index}_tile", f"{index}_end") if tiled else ("0", index.size.name)
