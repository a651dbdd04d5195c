"""Names that C lets a program have: those of its keywords and of what a file defines get a `_`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sympy import Indexed, IndexedBase, Symbol

from codegen.c.functions import ELEMENTARY, FUNCTIONS
from codegen.program import Kept, Program
from derive.expressions import Index, Parameter
from derive.language import Dim, Let, Option, Tensor

_KEYWORDS = frozenset((
    *("auto", "break", "case", "char", "const", "continue", "default", "do", "double", "else"),
    *("enum", "extern", "float", "for", "goto", "if", "inline", "int", "long", "register"),
    *("restrict", "return", "short", "signed", "sizeof", "static", "struct", "switch"),
    *("typedef", "union", "unsigned", "void", "volatile", "while"),
))  # fmt: skip
_DEFINED = frozenset((
    *("real", "wide", "R", "ROOM", "TILE", "BLOCK", "FEW", "SPAN", "PARALLEL"),
    *("VARIANT", "DOUBLE"),
    *("HEIGHT", "WIDTH", "DEPTH", "NULL", "INFINITY", "NAN", "EOF", "Bits", "isnan", "isfinite"),
    *("int64_t", "int32_t", "uint32_t", "size_t", "free", "aligned_alloc", "omp_get_thread_num"),
    *("forward", "backward", "value_and_grad", "steps", "threads", "workspace", "block", "i"),
    *("total", "samples", "losses", "count", "rows", "rate", "step", "sample", "place", "status"),
))  # fmt: skip
_LIBRARY = frozenset(f.removeprefix("R(").removesuffix(")") for f in FUNCTIONS.values()) | {
    *("sqrt", "pow", "exp", "log", "tanh"),
    *ELEMENTARY,
}
_ENDINGS = (
    *("_total", "_rows", "_span", "_best", "_parts", "_threads", "_batch", "_few"),
    *("_tile", "_width", "_block", "_blocks", "_spans", "_start", "_end", "_each"),
)
"""What the names end with that loops and sums give to their own."""


def in_c(program: Program) -> Program:
    """The same program, nothing in it named as something that C or the file around it has."""
    letters = {s for let in program.lets for s in let.value.atoms(Index)}
    letters |= {i for t in program.tensors.values() for i in t.indices}
    names = [*program.tensors, *program.option_names]
    others = {i: i.another(f"{i.name}_") for i in letters if i.name in _KEYWORDS}
    return renamed(program, {name: f"{name}_" for name in names if _is_taken(name)}, others)


def renamed(
    program: Program, names: Mapping[str, str], letters: Mapping[Index, Index] | None = None
) -> Program:
    """The same program, with other names of tensors and options, and other letters."""
    if not names and not letters:
        return program
    names_of = _Renaming(names, letters or {})
    return replace(
        program,
        params=tuple(map(names_of.tensor, program.params)),
        options=tuple(map(names_of.option, program.options)),
        kept=names_of.kept(program.kept),
        keeps=names_of.kept(program.keeps),
        lets=tuple(
            Let(names_of.tensor(let.tensor), names_of.expression(let.value)) for let in program.lets
        ),
        results=tuple((name, names_of.tensor(tensor)) for name, tensor in program.results),
    )


def _is_taken(name: str) -> bool:
    return name in _KEYWORDS | _DEFINED | _LIBRARY or name.endswith(_ENDINGS)


class _Renaming:
    """New names of tensors and options, and new letters."""

    def __init__(self, names: Mapping[str, str], letters: Mapping[Index, Index]) -> None:
        self._names, self._letters = names, letters

    def tensor(self, tensor: Tensor) -> Tensor:
        name = self._names.get(tensor.name, tensor.name)
        return replace(tensor, name=name, dims=tuple(map(self._dim, tensor.dims)))

    def _dim(self, dim: Dim) -> Dim:
        if isinstance(dim, tuple):
            return tuple(self._letters.get(i, i) for i in dim)
        return self._letters.get(dim, dim)

    def option(self, option: Option) -> Option:
        return replace(option, name=self._names.get(option.name, option.name))

    def kept(self, kept: Kept) -> Kept:
        tensors = tuple(map(self.tensor, kept.tensors))
        return replace(kept, tensors=tensors, options=tuple(map(self.option, kept.options)))

    def expression(self, expr: Any) -> Any:
        if isinstance(expr, Index):
            return self._letters.get(expr, expr)
        if isinstance(expr, Indexed):
            base = IndexedBase(self.expression(expr.base.label))
            return Indexed(base, *map(self.expression, expr.indices))
        if isinstance(expr, Symbol):
            return self._symbol(expr)
        if not expr.args:
            return expr
        args = [self.expression(a) for a in expr.args]
        same = all(a is b for a, b in zip(args, expr.args, strict=True))
        return expr if same else expr.func(*args)

    def _symbol(self, symbol: Symbol) -> Symbol:
        if symbol.name not in self._names:
            return symbol
        kind = Parameter if isinstance(symbol, Parameter) else Symbol
        return kind(self._names[symbol.name], **symbol.assumptions0)
