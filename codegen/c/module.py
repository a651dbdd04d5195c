"""The C functions of a module, ready for the template to lay out."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sympy import Expr, Symbol

from codegen.c.functions import ELEMENTARY, NEEDS
from codegen.c.kernel import Kernel
from codegen.c.memory import PLACE, REAL, kind_of
from codegen.c.names import spelling
from codegen.lowering.choices import without_needless
from codegen.program import Module, Program
from derive.language.definition import Tensor
from derive.language.expressions import ArgMax, names_used, tensor_name
from derive.language.places import held, numbers
from derive.language.windows import Window
from derive.printing.text import broken

_WIDTH = 96
_DECLARED = {
    "number": "{type} {name}",
    "read": "const {type} *restrict {name}",
    "written": "{type} *restrict {name}",
}
"""How a parameter is declared: a size, an option or a count; a tensor that is read, or written."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a C function.

    `name` is that of the definition, `spelled` what it is called in C; `type` is that of a number
    or of a tensor's elements, `use` a key of `_DECLARED`.
    """

    name: str
    spelled: str
    type: str
    use: str = "number"

    @property
    def is_tensor(self) -> bool:
        return self.use != "number"

    @property
    def declared(self) -> str:
        return _DECLARED[self.use].format(type=self.type, name=self.spelled)


@dataclass(frozen=True)
class Function:
    """One C function. What it returns is said at the top of each file, and by `guards`."""

    name: str
    says: str
    parameters: tuple[Parameter, ...]
    body: tuple[str, ...]

    @property
    def params(self) -> str:
        indent = " " * len(f"int {self.name}(")
        # A type and its name stay together.
        text = ", ".join(p.declared.replace(" ", "\0") for p in self.parameters)
        return filled(text, indent, _WIDTH - len(indent)).replace("\0", " ")


def function(program: Program, module: Module) -> Function:
    """A program of a module as a C function.

    Its parameters are the tensors that it reads, those that it makes, the sizes of axes, the
    options, and how many threads it may use.
    """
    renaming = spelling(program)
    named, spelled = renaming.program(program), renaming.names
    read = read_by(program)
    made = [tensor for tensor in made_by(program) if tensor not in read]
    rows = [
        *((t.name, kind_of(t), "read") for t in read),
        *((t.name, kind_of(t), "written") for t in made),
        *((name, PLACE, "number") for name in program.axes),
        *((o.name, REAL, "number") for o in (*program.options, *program.unpacked.options)),
    ]
    parameters = (
        *(Parameter(name, spelled.get(name, name), kind, use) for name, kind, use in rows),
        Parameter("threads", "threads", "int"),
    )
    lines = [*_index_guards(program, module, spelled), *guards(named), *Kernel.of(named).lines()]
    says = f"{', '.join(t.name for t in made)} from {', '.join(t.name for t in read)}."
    body = tuple(piece for line in lines for piece in wrapped(line))
    return Function(program.name, filled(says), parameters, body)


def read_by(program: Program) -> tuple[Tensor, ...]:
    """What a program is given: all of its own parameters, and what it uses of what was kept."""
    used = names_used(*(let.value for let in program.lets))
    return (*program.params, *(t for t in program.unpacked.tensors if t.name in used))


def made_by(program: Program) -> tuple[Tensor, ...]:
    """What a program returns and hands on, each tensor once."""
    made = (*(tensor for _, tensor in program.results), *program.saved.tensors)
    return tuple(dict.fromkeys(made))


def guards(program: Program) -> list[str]:
    """Lines that return -1 where the largest of nothing is asked for."""
    lines: list[str] = []
    for let in program.lets:
        if isinstance(let.value, ArgMax):
            empty = " || ".join(f"{i.size.name} == 0" for i in let.value.indices)
            lines += [f"if ({empty})", "    return -1;"]
    return lines


def _index_guards(program: Program, module: Module, spelled: Mapping[str, str]) -> list[str]:
    """Lines that return before anything is read or written out of range: k + 1 where the k-th
    argument, counted from 1, has elements that are no indices."""

    def said(size: Expr) -> str:
        return str(
            size.xreplace({s: Symbol(spelled.get(s.name, s.name)) for s in size.free_symbols})
        )

    def is_known(window: Window) -> bool:
        sizes = set().union(*(bound.free_symbols for bound in window.allowed))
        return {size.name for size in sizes} <= program.axes.keys()

    given = {tensor.name for tensor in module.inputs}
    windows = [window for _, window in module.held if is_known(window)]
    for _, window in held(program.lets, program.tensors):  # what a program was kept, besides
        if tensor_name(window.held) not in given and not window.guarded:
            windows.append(window)
    allowed = numbers(windows)
    lines: list[str] = []
    for place, tensor in enumerate(read_by(program), start=2):
        name = spelled.get(tensor.name, tensor.name)
        for first, end in allowed.get(tensor.name, ()) if tensor.integer else ():
            count = " * ".join(said(axis.size) for axis in tensor.axes) or "1"
            ends = (("<", first), (">=", end))
            outside = [f"{name}[i] {is_at} {said(at)}" for is_at, at in ends if at is not None]
            lines += [
                f"for (int64_t i = 0; i < {count}; i++)",
                f"    if ({' || '.join(outside)})",
                f"        return {place};",
            ]
    return lines


def functions(module: Module) -> tuple[Function, ...]:
    programs = (module.forward, module.backward, module.value_and_grad)
    return tuple(function(without_needless(p), module) for p in programs if p is not None)


def small_functions(functions: Iterable[Function]) -> set[str]:
    """The small functions that some functions call, and those that they call in turn."""
    text = "\n".join(line for f in functions for line in f.body)
    found = {name for name in ELEMENTARY if re.search(rf"\b{name}\(", text)}
    while more := {other for name in found for other in NEEDS.get(name, ())} - found:
        found |= more
    return found


def wrapped(line: str) -> list[str]:
    """A statement or a formula on lines that are not too long; a directive stays on one."""
    if line.lstrip().startswith("/*"):
        return broken(line, _WIDTH)
    if len(line) <= _WIDTH or line.lstrip().startswith("#"):
        return [line]
    indent = line[: len(line) - len(line.lstrip())]
    width = _WIDTH - len(indent)
    pieces = _pieces(_whole_subscripts(line.strip()), width)
    if any(len(piece) > width for piece in pieces):
        pieces = _pieces(line.strip(), width)
    return [indent + piece.replace("\0", " ") for piece in pieces]


def _pieces(text: str, width: int) -> list[str]:
    return textwrap.wrap(
        text,
        width,
        subsequent_indent="        ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _whole_subscripts(text: str) -> str:
    """A statement with zeros for spaces inside subscripts, where it is not to be broken."""
    depth, found = 0, ""
    for letter in text:
        depth += (letter == "[") - (letter == "]")
        found += "\0" if letter == " " and depth else letter
    return found


def filled(text: str, indent: str = " * ", width: int = _WIDTH) -> str:
    """Words on lines that are not too long, those after the first indented."""
    lines = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
    return f"\n{indent}".join(lines)
