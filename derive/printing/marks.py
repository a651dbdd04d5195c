"""Marks on parts of an expression, which printers show and mathematics does not see.

A mark says something of the part for whoever reads it: that a step changed it, or which line of
the emitted code computes it.
"""

from __future__ import annotations

from functools import lru_cache

from sympy import Basic, Expr, Symbol


class Marked(Expr):
    """A part of an expression with a mark on it: `Marked(part, "changed")`."""

    is_commutative = True
    is_real = True

    def __new__(cls, part: Expr, mark: str | Symbol) -> Marked:
        label = mark if isinstance(mark, Symbol) else Symbol(mark)
        return Expr.__new__(cls, part, label)

    @property
    def part(self) -> Expr:
        return self.args[0]

    @property
    def mark(self) -> str:
        return self.args[1].name

    @property
    def free_symbols(self) -> set[Basic]:
        return self.part.free_symbols


@lru_cache(maxsize=50_000)
def unmarked(expr: Expr) -> Expr:
    """The expression without its marks."""
    if not expr.has(Marked):
        return expr
    return expr.replace(lambda e: isinstance(e, Marked), lambda e: unmarked(e.part))
