"""Substitute values for the elements of tensors, under sums too."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sympy import Expr, Symbol

from derive.language.definition import Let
from derive.language.expressions import Element, Index, names_in, with_args


def substitute(expr: Expr, lets: Iterable[Let]) -> Expr:
    """Replace each element of the lets' tensors by the let's value at the element's indices.

    An element under a sum may use the bound index, so its value comes to use it too.
    """
    by_name = {let.name: let for let in lets}
    if not by_name:
        return expr

    def walk(e: Any) -> Any:
        if by_name.keys().isdisjoint(names_in(e)):
            return e
        if isinstance(e, Element):
            indices = tuple(walk(i) for i in e.indices)
            if e.tensor_name in by_name:
                return by_name[e.tensor_name].at(*indices)
            return e if indices == e.indices else Element(e.base, *indices)
        if isinstance(e, Symbol):
            return e if isinstance(e, Index) else by_name[e.name].value
        return with_args(e, [walk(a) for a in e.args])

    return walk(expr)


def replace_exactly(expr: Expr, old: Expr, new: Expr) -> Expr:
    """Replace an expression wherever it stands letter for letter, under sums too."""

    def walk(e: Any) -> Any:
        return new if e == old else with_args(e, [walk(a) for a in e.args])

    return walk(expr)
