"""What cotangents are called: that of `x` is `grad_x`, and no definition has such a name itself."""

from __future__ import annotations

from sympy import Basic

from derive.language.expressions import names_used

PREFIX = "grad_"
"""What the name of a cotangent begins with."""

FIRST_ORDER = f"first_{PREFIX}"
"""What the name of one begins with in a backward pass that is differentiated itself."""


def cotangent_name(name: str) -> str:
    return PREFIX + name


def is_cotangent(name: str) -> bool:
    return name.startswith(PREFIX)


def primal_name(name: str) -> str:
    """What a cotangent is that of; another name is itself."""
    return name.removeprefix(PREFIX)


def cotangents_in(expr: Basic) -> frozenset[str]:
    """The names of the cotangents that an expression reads."""
    return frozenset(filter(is_cotangent, names_used(expr)))
