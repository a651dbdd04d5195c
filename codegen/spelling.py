"""What the emitted languages have in common: comparisons, exact integers, the terms of sums."""

from __future__ import annotations

from typing import Any

import sympy
from sympy import Add, Basic, default_sort_key

from derive.printing.arrange import in_steps

EXACT = 2**53
"""No larger integers are all numbers of double precision."""

RELATIONS: dict[type[Basic], str] = {
    sympy.Gt: ">",
    sympy.Ge: ">=",
    sympy.Lt: "<",
    sympy.Le: "<=",
    sympy.Eq: "==",
    sympy.Ne: "!=",
}


def terms_of(total: Add) -> list[Any]:
    """The terms of a sum as they are written: what is added before what is taken away, the numbers
    last of each, and last of all what these would swallow."""

    def place(term: Any) -> tuple[bool, bool, Any]:
        return term.could_extract_minus_sign(), term.is_number, default_sort_key(term)

    terms, small = in_steps(total)
    return [*sorted(terms, key=place), *small]
