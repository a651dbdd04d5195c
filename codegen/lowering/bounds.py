"""Choices that keep a value from passing a bound: PyTorch computes each at once.

    Where(x <= a, a, x)   ->  AtLeast(x, a)
    Where(x >= a, a, x)   ->  AtMost(x, a)

The bound is a number or an option. What is not a number stays so, as it does where it is chosen.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sympy import Expr, Ge, Gt, Le, Lt
from sympy.core.relational import Relational

from codegen.lowering.forms import AtLeast, AtMost
from codegen.program import Program
from derive.language.definition import needed
from derive.language.expressions import Where, is_scalar
from derive.language.substitute import substitute

_FORMS = {Le: AtLeast, Lt: AtLeast, Ge: AtMost, Gt: AtMost}


def bounded(program: Program) -> Program:
    """The program, whose derivatives nobody asks for, in these forms, without the masks that
    nothing reads any more."""
    if program.literal:
        return program
    masks = [let for let in program.lets if not isinstance(let.value, Expr)]

    def at_bound(choice: Any) -> Any:
        asked, (bound, value) = substitute(choice.condition, masks), choice.branches
        if isinstance(asked, Relational) and is_scalar(bound) and not is_scalar(value):
            for one in (asked, asked.reversed):
                if one.args == (value, bound) and type(one) in _FORMS:
                    return _FORMS[type(one)](value, bound)
        return choice

    lets = tuple(
        replace(let, value=let.value.replace(lambda e: isinstance(e, Where), at_bound))
        for let in program.lets
    )
    return replace(program, lets=needed(lets, program.handed_on))
