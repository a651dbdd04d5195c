"""Results that are written past the caches.

A result that is larger than the caches is gone from them before anyone reads it, yet what it
overwrites is read from memory first: of a copy's traffic, a third. So a line of elements is made in
a buffer and written from there, by instructions that leave the caches alone. Where each element
takes a function, that would cost more than it saves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from codegen.c.expressions import Printer
from codegen.c.lines import Count, Line, Lines, indented, loop_over
from codegen.c.memory import Memory
from codegen.c.nests import Loop, Statement
from codegen.c.schedule import weight
from codegen.c.storage import Placed
from derive.language.definition import Let
from derive.language.expressions import Index
from derive.language.substitute import substitute

MOST = 20
"""As many additions and multiplications for each element leave it to memory how long they take."""


@dataclass(frozen=True)
class Stream:
    """A result that an innermost loop writes, one element after another."""

    statement: Statement
    memory: Memory

    @property
    def name(self) -> str:
        return self.statement.tensor.name

    @property
    def past(self) -> str:
        """Whether it is written past the caches."""
        return f"{self.name}_past"

    @property
    def here(self) -> str:
        """Where the line begins that is being made."""
        return f"{self.name}_here"

    @property
    def line(self) -> str:
        return f"{self.name}_line"

    def element(self, index: Index) -> str:
        return f"{self.here}[{index} - {index}_line]"

    def count(self) -> Count:
        elements = self.memory.array(self.name).count
        return Count(self.past, f"past_caches({elements})", kind="int")

    def _place(self, index: Index, printer: Printer) -> str:
        at = [index.another(f"{index}_line") if i == index else i for i in self.statement.at]
        return "&" + self.memory.element(self.name, at, printer)

    def begun(self, index: Index, printer: Printer) -> Lines:
        place = self._place(index, printer)
        return [
            f"real {self.line}[LINE];",
            f"real *const {self.here} = {self.past} ? {self.line} : {place};",
        ]

    def ended(self, index: Index, printer: Printer) -> Lines:
        place = self._place(index, printer)
        return [
            f"if ({self.past})",
            f"    stream({place}, {self.line}, {index}_stop - {index}_line);",
        ]


def streams(
    loop: Loop, everything: Sequence[Placed], memory: Memory, inlined: Mapping[str, Let]
) -> tuple[Stream, ...]:
    """The results of an innermost loop that are written once, in order, and not read again."""
    return tuple(
        Stream(one, memory)
        for one in loop.body
        if isinstance(one, Statement) and _is_streamed(one, loop.index, everything, memory, inlined)
    )


def _is_streamed(
    one: Statement,
    index: Index,
    everything: Sequence[Placed],
    memory: Memory,
    inlined: Mapping[str, Let],
) -> bool:
    name = one.tensor.name
    if one.how is not None or one.tensor.integer or not memory.homes[name].given:
        return False
    if not one.at or one.at[-1] != index or one.at.count(index) > 1:
        return False
    here = memory.homes[name].tensor.name
    shared = [t for t, home in memory.homes.items() if home.tensor.name == here]
    read = any(other in shared for p in everything for other, _ in p.statement.elements)
    writers = [p for p in everything if p.statement.tensor.name in shared]
    if read or len(writers) > 1:
        return False
    value = one.value
    while (further := substitute(value, inlined.values())) != value:
        value = further
    return weight(value) <= MOST


def in_lines(
    index: Index,
    low: str,
    high: str,
    found: Sequence[Stream],
    printer: Printer,
    pragma: Lines,
    body: Sequence[Line],
) -> Lines:
    """A loop in lines of elements, each of which is written whole."""
    line, stop = f"{index}_line", f"{index}_stop"
    return [
        f"for (int64_t {line} = {low}; {line} < {high}; {line} += LINE) {{",
        f"    const int64_t {stop} = least({line} + LINE, {high});",
        *indented([each for s in found for each in s.begun(index, printer)]),
        *indented([*pragma, *loop_over(index, line, stop, body)]),
        *indented([each for s in found for each in s.ended(index, printer)]),
        "}",
    ]
