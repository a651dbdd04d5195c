"""Results that are written past the caches.

A result that is larger than the caches is gone from them before anyone reads it, yet what it
overwrites is read from memory first: of a copy's traffic, a third. So what whole lines of memory
hold is made a line at a time and written by instructions that leave the caches alone; what is
before the first line and after the last is written as always. Where each element takes a function,
that would cost more than it saves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sympy import Integer

from codegen.c.expressions import Printer
from codegen.c.lines import Count, Lines, indented, loop_over
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
        """Whether it is written past the caches, and what its loop makes besides."""
        return f"{self.name}_past"

    @property
    def line(self) -> str:
        return f"{self.name}_line"

    @property
    def first(self) -> str:
        """Where the whole lines of memory begin."""
        return f"{self.name}_first"

    @property
    def last(self) -> str:
        """Where they end."""
        return f"{self.name}_last"

    def element(self, index: Index) -> str:
        """The element in the line that is being made."""
        return f"{self.line}[{index} - {index}_line]"

    @property
    def wanted(self) -> str:
        """Whether it is to be written past the caches."""
        array = self.memory.array(self.name)
        return f"past_caches({array.name}, {array.count})"

    def place(self, index: Index, at: str, printer: Printer) -> str:
        """The address of an element, `at` in place of the loop's letter."""
        letter = Integer(0) if at == "0" else index.another(at)
        letters = [letter if i == index else i for i in self.statement.at]
        return "&" + self.memory.element(self.name, letters, printer)

    def written(self, index: Index, printer: Printer) -> str:
        return f"stream({self.place(index, f'{index}_line', printer)}, {self.line});"


def streams(
    loop: Loop, everything: Sequence[Placed], memory: Memory, inlined: Mapping[str, Let]
) -> tuple[Stream, ...]:
    """The results of an innermost loop that are written once, in order, and not read again; and
    that lie in memory as the first of them does, so that their lines begin in the same places."""
    found = [
        one
        for one in loop.body
        if isinstance(one, Statement) and _is_streamed(one, loop.index, everything, memory, inlined)
    ]
    axes = [one.tensor.axes for one in found]
    return tuple(
        Stream(one, memory)
        for one, own in zip(found, axes, strict=True)
        if (own, one.at) == (axes[0], found[0].at)
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
    shared: Sequence[Lines],
    bodies: Sequence[Lines],
) -> Lines:
    """A loop in whole lines of memory, which the first of the two `bodies` makes, and around them.

    Lines begin where those of the first result do. The pragmas are of the loop over elements, and
    of the loops that threads share, over lines and over elements.
    """
    past, first, last, line = found[0].past, found[0].first, found[0].last, f"{index}_line"
    begins = f"before_line({found[0].place(index, low, printer)})"
    begins = begins if low == "0" else f"{low} + {begins}"
    of_a_line, of_an_element = bodies
    over_lines, over_elements = shared
    lines = [
        f"for (int64_t {line} = {first}; {line} < {last}; {line} += LINE) {{",
        *indented([f"real {s.line}[LINE];" for s in found]),
        *indented([*pragma, *loop_over(index, line, f"{line} + LINE", of_a_line)]),
        *indented([s.written(index, printer) for s in found]),
        "}",
    ]
    return [
        Count(past, " && ".join(s.wanted for s in found), kind="int"),
        f"const int64_t {first} = {past} ? least({begins}, {high}) : {high};",
        f"const int64_t {last} = {high} - ({high} - {first}) % LINE;",
        *([f"if ({past})", *indented(over_lines)] if over_lines else []),
        *(indented(lines) if over_lines else lines),
        f"for (int end = 0; end <= {past}; end++) {{ /* what no whole line holds */",
        *indented(
            [
                *(over_elements or pragma),
                *loop_over(
                    index, f"end ? {last} : {low}", f"(end ? {high} : {first})", of_an_element
                ),
            ]
        ),
        "}",
    ]
