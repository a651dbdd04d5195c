"""Functions that an inner loop would compute again and again have lets of their own.

    y[n,k] = x[n,k] * sigmoid(s[n])   ->   sigmoid_s[n] = sigmoid(s[n])
                                           y[n,k] = x[n,k] * sigmoid_s[n]

A compiler takes arithmetic out of a loop, but no function that chooses between values.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from sympy import Abs, Basic, Function, KroneckerDelta, sign

from codegen.lowering.forms import Along, Divisor, LogSumExp
from codegen.program import Program
from derive.language.definition import Let, Tensor
from derive.language.expressions import Binder, Index, free_indices, fresh_names, with_args
from derive.simplification.naming import word


def steady_apart(program: Program, besides: Iterable[str] = ()) -> Program:
    """The program with such lets, whose names are none of those `besides`."""
    if program.literal:
        return program
    taken = {*program.tensors, *program.option_names, *program.axes, *besides}
    taken |= {i.name for let in program.lets for i in let.value.atoms(Index)}
    known: dict[Basic, Let] = {}
    lets: list[Let] = []

    def walk(expr: Any, around: frozenset[Index]) -> Any:
        if not expr.args or isinstance(expr, Index):
            return expr
        own = free_indices(expr)
        if _is_function(expr) and expr.free_symbols and own < around:
            return named(expr, own)
        inside = around | set(_bound(expr))
        return with_args(expr, [walk(a, inside) for a in expr.args])

    def named(expr: Any, own: frozenset[Index]) -> Any:
        if expr not in known:
            (name,) = fresh_names([word(expr)], taken)
            taken.add(name)
            letters = tuple(i for i in order if i in own)
            known[expr] = Let(Tensor(name, letters), walk(expr, own))
            lets.append(known[expr])
        return known[expr].tensor.element

    for let in program.lets:
        bound = [i for e in let.value.atoms(Binder) for i in e.indices]
        order = tuple(dict.fromkeys((*let.tensor.indices, *bound)))
        lets.append(replace(let, value=walk(let.value, frozenset(let.tensor.indices))))
    return replace(program, lets=tuple(lets))


def _is_function(expr: Basic) -> bool:
    """Whether it takes longer to compute than to read."""
    light = isinstance(expr, Abs | sign | KroneckerDelta | Divisor)
    return isinstance(expr, Function | LogSumExp) and not light


def _bound(expr: Basic) -> tuple[Index, ...]:
    """The letters that run inside an expression only."""
    if isinstance(expr, Binder):
        return tuple(expr.indices)
    return (expr.index,) if isinstance(expr, Along) else ()
