"""Substitute values for the elements of tensors, under sums too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sympy import Expr, Symbol

from derive.language.definition import Tensor
from derive.language.expressions import Element, Index, with_args


def substitute(expr: Expr, values: Mapping[str, tuple[Tensor, Expr]]) -> Expr:
    """Replace each element of the named tensors by its value at the element's indices.

    An element under a sum may use the bound index, so its value comes to use it too.
    """
    if not values:
        return expr

    def walk(e: Any) -> Any:
        if isinstance(e, Element):
            indices = tuple(walk(i) for i in e.indices)
            if e.tensor_name in values:
                tensor, value = values[e.tensor_name]
                return value.xreplace(dict(zip(tensor.indices, indices, strict=True)))
            return e if indices == e.indices else Element(e.base, *indices)
        if isinstance(e, Symbol):
            if not isinstance(e, Index) and e.name in values:
                return values[e.name][1]
            return e
        return with_args(e, [walk(a) for a in e.args])

    return walk(expr)


def replace_exactly(expr: Expr, old: Expr, new: Expr) -> Expr:
    """Replace an expression wherever it stands letter for letter, under sums too."""

    def walk(e: Any) -> Any:
        return new if e == old else with_args(e, [walk(a) for a in e.args])

    return walk(expr)
