"""Names for C: a name of the program that C, a header or a loop uses already gets a `_`.

A compiler would not refuse all of these: as a parameter, `HUGE_VAL` declares a pointer to a
function; a size called `TILE` changes how long an array is; and a letter called `n_block` hides
the blocks of the loop over `n`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from codegen.c.functions import ELEMENTARY, FUNCTIONS
from codegen.lowering.renaming import Renaming
from codegen.program import Program
from derive.language.expressions import Axis, Index

_KEYWORDS = frozenset((
    *("auto", "break", "case", "char", "const", "continue", "default", "do", "double", "else"),
    *("enum", "extern", "float", "for", "goto", "if", "inline", "int", "long", "register"),
    *("restrict", "return", "short", "signed", "sizeof", "static", "struct", "switch"),
    *("typedef", "union", "unsigned", "void", "volatile", "while"),
))  # fmt: skip
_DEFINED = frozenset((
    *("real", "wide", "R", "ROOM", "TILE", "BLOCK", "FEW", "SPAN", "PARALLEL"),
    *("KEPT", "LINE", "PAST", "past_caches"),
    *("HEIGHT", "WIDTH", "DEPTH", "VARIANT", "DOUBLE", "Bits", "threads"),
    *("forward", "backward", "value_and_grad", "steps"),
    *("NULL", "INFINITY", "NAN", "EOF", "HUGE_VAL", "HUGE_VALF", "HUGE_VALL", "MATH_ERRNO"),
    *("MATH_ERREXCEPT", "math_errhandling", "EXIT_SUCCESS", "EXIT_FAILURE"),
    *("FP_NAN", "FP_INFINITE", "FP_ZERO", "FP_SUBNORMAL", "FP_NORMAL", "FP_ILOGB0", "FP_ILOGBNAN"),
    *("FP_FAST_FMA", "FP_FAST_FMAF", "FP_FAST_FMAL"),
    *("isnan", "isfinite", "int64_t", "int32_t", "uint32_t", "size_t", "free", "aligned_alloc"),
    *("omp_get_thread_num",),
))  # fmt: skip
_LOCAL = frozenset((
    *("workspace", "block", "i", "total", "samples", "losses", "count", "rows", "rate", "step"),
    *("sample", "place", "status"),
))  # fmt: skip
"""Variables of a function; no loop over a letter has anything to do with them."""

_LIBRARY = frozenset(f.removeprefix("R(").removesuffix(")") for f in FUNCTIONS.values()) | {
    *("sqrt", "pow", "exp", "log", "tanh"),
    *ELEMENTARY,
}
_TAKEN = _KEYWORDS | _DEFINED | _LIBRARY | {f"{name}f" for name in _LIBRARY}
_ENDINGS = (
    *("_total", "_rows", "_span", "_best", "_parts", "_threads", "_batch", "_few"),
    *("_tile", "_width", "_block", "_blocks", "_spans", "_start", "_end", "_each"),
    *("_line", "_stop", "_here", "_past"),
    *("_MIN", "_MAX"),
)
"""Endings of names that loops and sums make for themselves, or that headers define."""


def _is_taken(name: str) -> bool:
    return name in _TAKEN or name.endswith(_ENDINGS)


def spelling(program: Program) -> Renaming:
    """What is called otherwise in C: tensors, options and sizes by name, and letters."""
    letters = {s for let in program.lets for s in let.value.atoms(Index)}
    letters |= {i for t in program.tensors.values() for i in t.indices}
    names = {*program.tensors, *program.option_names}
    free = _Free({*names, *program.axes, *(i.name for i in letters)})
    axes = {axis: free.axis(axis, names) for axis in program.axes.values()}
    spelled = {n: free(n) for n in sorted(names) if _is_taken(n) or n in _LOCAL}
    hiding = {i.name for i in letters if _is_taken(i.name) or i.name in {*names, *program.axes}}
    renamed = {axis.name: other.name for axis, other in axes.items()}
    renamed |= {name: free(name) for name in sorted(hiding - renamed.keys())}
    sizes = {a.size.name: b.size.name for a, b in axes.items() if a != b}
    return Renaming(
        spelled | sizes,
        {i: Index(renamed.get(str(i), str(i)), axes[i.axis]) for i in letters},
    )


@dataclass
class _Free:
    """Makes names that nothing has."""

    used: set[str]

    def __call__(self, name: str) -> str:
        while name in self.used or _is_taken(name):
            name += "_"
        self.used.add(name)
        return name

    def axis(self, axis: Axis, names: Collection[str]) -> Axis:
        """An axis after which its size, and letters still to come, can be called."""
        name = axis.name
        if not any(_is_taken(n) for n in (name, axis.size.name)) and name not in names:
            return axis
        while {name, name.upper()} & self.used or _is_taken(name) or _is_taken(name.upper()):
            name += "_"
        self.used |= {name, name.upper()}
        return Axis(name)
