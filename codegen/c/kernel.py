"""A program as the statements of a C function: its nests of loops, one inside the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from sympy import Expr, Symbol

from codegen.c.accumulators import Accumulator, bounds
from codegen.c.expressions import RELATION, Printer, Text
from codegen.c.lines import Count, Line, Lines, in_blocks, indented, loop_over, with_workspace
from codegen.c.memory import Memory, kind_of
from codegen.c.nests import Contraction, Loop, Node, Statement
from codegen.c.products import multiplied
from codegen.c.schedule import Schedule, schedule
from codegen.c.spikes import Spike, spike_of
from codegen.c.storage import Path, Placed, homes, placed
from codegen.c.streams import Stream, in_lines, streams
from codegen.lowering.forms import Largest
from codegen.program import Program
from derive.language.expressions import ArgMax, Element, Index, Product
from derive.printing.text import text

Place = tuple[str, tuple[Expr, ...]]


@dataclass(frozen=True)
class Scope:
    """The loops around a place, and what was computed there of the lets without a statement."""

    loops: tuple[Loop, ...] = ()
    known: tuple[Place, ...] = ()
    few: bool = False
    """Whether sums over a few rows are accumulated before they join those of a block."""
    streams: tuple[Stream, ...] = ()
    """What the innermost loop writes a line at a time."""

    def inside(self, loop: Loop) -> Scope:
        return replace(self, loops=(*self.loops, loop))

    @property
    def opened(self) -> set[Index]:
        return {loop.index for loop in self.loops if not loop.tiled}

    def is_tiled(self, index: Index) -> bool:
        return any(loop.tiled and loop.index == index for loop in self.loops)


@dataclass(frozen=True)
class Kernel:
    """One program on its way to C."""

    plan: Schedule
    placed: tuple[Placed, ...]
    memory: Memory

    @classmethod
    def of(cls, program: Program) -> Kernel:
        plan = schedule(program)
        everything = placed(plan.nests)
        return cls(plan, everything, Memory(homes(program, plan), everything))

    def lines(self) -> list[str]:
        """The statements of the function's body."""
        return with_workspace(self._body(self.plan.nests, (), Scope()))

    # --- bodies ---

    def _body(self, nodes: Sequence[Node], path: Path, scope: Scope) -> Lines:
        lines = [*self.memory.declared(path)]
        for number, node in enumerate(nodes):
            here = (*path, number)
            light, scope = self._light(here, scope)
            lines += [*light, *self._formulas(node, here, scope)]
            if isinstance(node, Loop):
                lines += self._loop(node, here, scope)
            elif isinstance(node, Contraction):
                lines += multiplied(node, self.memory, self._printer(Scope()))
            else:
                lines += self._statement(Placed(node, here, scope.loops), scope)
        return lines

    def _light(self, here: Path, scope: Scope) -> tuple[Lines, Scope]:
        """Lines that compute first what the node at a place reads of the lets without a statement,
        and the scope in which that is known."""
        wanted: dict[Place, None] = {}

        def visit(value: Expr) -> None:
            for name, at in _elements(value):
                if name in self.plan.inlined and (name, at) not in wanted:
                    visit(self.plan.inlined[name].at(*at))
                    wanted[name, at] = None

        for one in self.placed:
            if one.path[: len(here)] == here:
                visit(one.statement.value)
        lines: list[Line] = []
        for name, at in wanted:
            plain = bool(at) and all(isinstance(i, Index) and i in scope.opened for i in at)
            if plain and all(name != other for other, _ in scope.known):
                value = self._printer(scope)(self.plan.inlined[name].at(*at))
                lines.append(f"const real {name} = {value};")
                scope = replace(scope, known=(*scope.known, (name, at)))
        return lines, scope

    def _printer(self, scope: Scope) -> Printer:
        around = scope.loops[-1:]
        inner = next((loop.index for loop in around if _is_innermost(loop)), None)
        return Printer(partial(self._element, scope), inner)

    def _element(self, scope: Scope, name: str, at: tuple[Expr, ...]) -> Text:
        if (name, at) in scope.known:
            return Text(name)
        printer = self._printer(scope)
        if name in self.plan.inlined:
            return printer.text(self.plan.inlined[name].at(*at))
        integer = self.memory.homes[name].tensor.integer
        return Text(self.memory.element(name, at, printer), integer=integer)

    def _formulas(self, node: Node, here: Path, scope: Scope) -> Lines:
        """What an innermost loop or a product of matrices computes, as a comment."""
        if isinstance(node, Contraction):
            return [f"/* {node.statement.formula} */"]
        if not isinstance(node, Loop) or not _is_innermost(node):
            return []
        formulas: list[str] = []
        for number, one in enumerate(node.body):
            if isinstance(one, Statement):
                spike = self._spike(Placed(one, (*here, number), (*scope.loops, node)))
                computed = one if spike is None else replace(one, value=spike.elsewhere)
                formulas.append(f"/* {computed.formula} */")
        return formulas

    # --- statements ---

    def _statement(self, one: Placed, scope: Scope) -> Lines:
        printer, tensor = self._printer(scope), one.statement.tensor
        if one.statement.how is not None:
            value = printer.text(one.statement.value)
            return Accumulator(one, self.memory, scope.few).added(value, printer)
        spike = self._spike(one)
        value = one.statement.value if spike is None else spike.elsewhere
        target = self.memory.element(tensor.name, one.statement.at, printer)
        for stream in scope.streams:
            if stream.statement is one.statement:
                target = stream.element(one.loops[-1].index)
        declared = f"const {kind_of(tensor)} " if self.memory.homes[tensor.name].is_local else ""
        return [f"{declared}{target} = {printer(value)};"]

    def _spike(self, one: Placed) -> Spike | None:
        """The one element of a loop that a delta changes, if it can be changed afterwards."""
        name = one.statement.tensor.name
        if one.statement.how is not None or not one.loops or not _is_innermost(one.loops[-1]):
            return None
        index = one.loops[-1].index
        if Scope(one.loops).is_tiled(index):  # the place may be in another tile
            return None
        if self.memory.homes[name].is_local:
            return None
        beside = [p for p in self.placed if p.path[:-1] == one.path[:-1]]
        if any(name == read for p in beside for read, _ in p.statement.elements):
            return None
        return spike_of(one.statement, index)

    # --- loops ---

    def _loop(self, loop: Loop, here: Path, scope: Scope) -> Lines:
        """A loop, with what is reduced over it before and after."""
        printer = self._printer(scope)
        inside = [p for p in self.placed if p.path[: len(here)] == here]
        accumulators = [
            Accumulator(p, self.memory) for p in inside if p.reduced_at == len(scope.loops)
        ]
        sums = [g for g in accumulators if g.is_sum]
        shared = not scope.loops and not any(p.statement.scatters for p in inside)
        shared = shared and len(sums) == len(accumulators)
        if loop.tiled:
            return self._tiled(loop, here, scope, inside, _pragma("for", inside) if shared else [])
        if shared and sums:
            return self._in_parts(loop, here, scope, sums, inside)
        low, high = bounds(loop.index, scope.is_tiled(loop.index))
        rows = [g for g in sums if g.in_rows]
        begun = [line for g in accumulators for line in g.begun(printer)]
        ended = [line for g in accumulators for line in g.ended(printer)]
        if rows:
            first = [line for g in rows for line in g.block_begun()]
            last = [line for g in rows for line in g.block_ended(printer)]
            iterations = self._rows(loop, here, scope, f"{loop.index}_block", f"{loop.index}_end")
            body = [*first, *iterations, *last]
            return [*begun, *in_blocks(loop.index, low, high, "BLOCK", body), *ended]
        return [*begun, *self._iterations(loop, here, scope, low, high, shared), *ended]

    def _tiled(
        self, loop: Loop, here: Path, scope: Scope, inside: Sequence[Placed], pragma: Lines
    ) -> Lines:
        index, size = loop.index, loop.index.size.name
        width = f"{index}_width"
        return [
            Count(width, f"tile_width({size}, {_rows_of(loop, inside)}, threads)"),
            *pragma,
            f"for (int64_t {index}_tile = 0; {index}_tile < {size}; {index}_tile += {width}) {{",
            f"    const int64_t {index}_end = least({index}_tile + {width}, {size});",
            *indented(self._body(loop.body, here, scope.inside(loop))),
            "}",
        ]

    def _in_parts(
        self,
        loop: Loop,
        here: Path,
        scope: Scope,
        sums: Sequence[Accumulator],
        inside: Sequence[Placed],
    ) -> Lines:
        """A loop that threads share by blocks, each of which leaves its part of every sum."""
        printer, index, size = self._printer(scope), loop.index, loop.index.size.name
        length, blocks = ("BLOCK", f"{index}_blocks")
        if _is_innermost(loop):
            length, blocks = ("SPAN", f"{index}_spans")
        iterations = self._iterations(
            loop, here, scope, f"{index}_start", f"{index}_end", short=True
        )
        return [
            Count(blocks, f"({size} + {length} - 1) / {length}"),
            *(g.parts_piece(blocks) for g in sums),
            *_pragma("for", inside),
            f"for (int64_t block = 0; block < {blocks}; block++) {{",
            f"    const int64_t {index}_start = block * {length};",
            f"    const int64_t {index}_end = least({index}_start + {length}, {size});",
            *indented([line for g in sums for line in g.part_begun()]),
            *indented(iterations),
            *indented([line for g in sums for line in g.part_ended()]),
            "}",
            *(line for g in sums for line in g.parts_added(blocks, printer)),
        ]

    def _iterations(
        self,
        loop: Loop,
        here: Path,
        scope: Scope,
        low: str,
        high: str,
        shared: bool = False,
        short: bool = False,
    ) -> Lines:
        """The loop itself, between two bounds; `short` says that they are at most SPAN apart."""
        index, inner = loop.index, scope.inside(loop)
        inside = [p for p in self.placed if p.path[: len(here)] == here]
        if not _is_innermost(loop):
            body = self._body(loop.body, here, inner)
            pragma = _pragma("for", inside) if shared else []
            return [*pragma, *loop_over(index, low, high, body)]
        printer = self._printer(scope)
        accumulators = [Accumulator(p, self.memory) for p in inside if p.statement.how is not None]
        spanned = [g for g in accumulators if g.spanned]
        pragma = self._simd(index, accumulators, spanned, printer)
        afterwards = self._afterwards(inside, scope, (low, high) if short else None)
        found = streams(loop, self.placed, self.memory, self.plan.inlined)
        if found and pragma and not spanned:
            body = self._body(loop.body, here, replace(inner, streams=found))
            return [
                *(stream.count() for stream in found),
                *(_pragma("for", inside) if shared else []),
                *in_lines(index, low, high, found, printer, pragma, body),
                *afterwards,
            ]
        body = self._body(loop.body, here, inner)
        if shared and pragma:
            pragma = _pragma("for simd", inside)
        elif shared:
            pragma = _pragma("for", inside)
        if not spanned:
            return [*pragma, *loop_over(index, low, high, body), *afterwards]
        first = [f"real {g.span} = 0;" for g in spanned]
        last = [line for g in spanned for line in g.flushed(printer)]
        if short:
            return [*first, *pragma, *loop_over(index, low, high, body), *last, *afterwards]
        iterations = [
            *first,
            *pragma,
            *loop_over(index, f"{index}_block", f"{index}_end", body),
            *last,
        ]
        return [*in_blocks(index, low, high, "SPAN", iterations), *afterwards]

    def _rows(self, loop: Loop, here: Path, scope: Scope, low: str, high: str) -> Lines:
        """A loop over rows that are added up: a few at a time, where it does nothing else.

        As many rows stream from memory at once, and what they come to is added once.
        """
        index = loop.index
        one_by_one = self._iterations(loop, here, scope, low, high)
        (inner, *others) = loop.body
        if others or not isinstance(inner, Loop) or not _is_innermost(inner):
            return one_by_one
        within = scope.inside(loop).inside(inner)
        inside = [p for p in self.placed if p.path[: len(here)] == here]
        accumulators = [Accumulator(p, self.memory) for p in inside if p.statement.how is not None]
        over = [g for g in accumulators if g.is_sum and g.in_rows and not g.spanned]
        if len(over) < len(inside) or any(index not in g.placed.statement.bound for g in over):
            return one_by_one
        printer = self._printer(within)
        body = self._body(inner.body, (*here, 0), replace(within, few=True))
        formulas = self._formulas(inner, (*here, 0), scope.inside(loop))
        few = f"{index}_few"
        joined = [
            *(f"real {g.few_name} = 0;" for g in accumulators),
            *loop_over(index, few, f"{few} + FEW", body),
            *(line for g in accumulators for line in g.few_added(printer)),
        ]
        together = loop_over(inner.index, *bounds(inner.index, scope.is_tiled(inner.index)), joined)
        return [
            f"for (int64_t {few} = {low}; {few} < {high}; {few} += FEW) {{",
            f"    if ({few} + FEW <= {high}) {{",
            *indented(indented([*formulas, "#pragma omp simd", *together])),
            "    } else {",
            *indented(indented(self._iterations(loop, here, scope, few, high))),
            "    }",
            "}",
        ]

    def _simd(
        self,
        index: Index,
        accumulators: Sequence[Accumulator],
        spanned: Sequence[Accumulator],
        printer: Printer,
    ) -> Lines:
        """The pragma by which a compiler uses vectors, if no iteration depends on another."""
        for g in accumulators:
            one = g.placed.statement
            if one.how in (ArgMax, Product):
                return []
            if g.scatters and any(not isinstance(i, Index) and i.has(index) for i in one.at):
                return []
        clauses = []
        if spanned:
            clauses.append(f"reduction(+ : {', '.join(g.span for g in spanned)})")
        largest = [g for g in accumulators if g.placed.statement.how is Largest]
        largest = [g for g in largest if index in g.placed.statement.bound]
        if any(g.in_rows for g in largest):  # an element would mean a section of an array
            return []
        if largest:
            clauses.append(f"reduction(max : {', '.join(g.into(printer) for g in largest)})")
        return [" ".join(["#pragma omp simd", *clauses])]

    def _afterwards(
        self, inside: Sequence[Placed], scope: Scope, part: tuple[str, str] | None
    ) -> Lines:
        """Lines that add to a loop's results what deltas do; `part` bounds the loop where it is not
        whole."""
        printer = self._printer(scope)
        lines: list[Line] = []
        for one in inside:
            if (found := self._spike(one)) is not None:
                at = tuple(found.place if i == found.index else i for i in one.statement.at)
                name = one.statement.tensor.name
                target = self.memory.element(name, at, printer)
                less = found.more.could_extract_minus_sign()
                sign, size = ("-=", -found.more) if less else ("+=", found.more)
                lines.append(f"/* {name}[{','.join(map(text, at))}] {sign} {text(size)} */")
                if part is not None:
                    low, high = part
                    place = printer.text(found.place).at(RELATION)
                    lines.append(f"if ({low} <= {place} && {place} < {high})")
                added = f"{target} {sign} {printer(size)};"
                lines.append(f"    {added}" if part else added)
        return lines


def _elements(value: Expr) -> list[Place]:
    found = [(e.tensor_name, tuple(e.indices)) for e in value.atoms(Element)]
    named = {name for name, _ in found}
    found += [
        (s.name, ()) for s in value.free_symbols if isinstance(s, Symbol) and s.name not in named
    ]
    return sorted(found, key=str)


def _is_innermost(loop: Loop) -> bool:
    return not any(isinstance(node, Loop) for node in loop.body)


def _rows_of(tile: Loop, inside: Sequence[Placed]) -> str:
    """How many rows a tile has: as many as the largest element that is read or written in it."""
    widest = max((p.statement.widest for p in inside), key=len)
    return " * ".join(i.size.name for i in widest if i != tile.index) or "1"


def _pragma(what: str, inside: Sequence[Placed]) -> Lines:
    """The pragma by which threads share a loop that has enough to do."""
    widest = max((p.statement for p in inside), key=lambda s: len(s.letters))
    iterations = " * ".join(i.size.name for i in widest.letters)
    return [f"#pragma omp parallel {what} num_threads(threads) if ({iterations} > PARALLEL)"]
