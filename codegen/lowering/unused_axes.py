"""Tensors without the axes that their values do not depend on.

A let may have a letter that its value ignores: `q[n,k] = p[n]`. What is made of it is
smaller than declared, so whoever reads it must know: a sum over k of q is K times q, no
reduction. Here such a let, unless it is handed on in its full shape, is declared
with the letters it needs, and read with those, so that every expression depends on exactly
the letters that it shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import replace
from typing import Any

from sympy import Basic, Integer, S, log

from codegen.lowering.forms import LogSoftmax, LogSumExp, Softmax
from codegen.program import Program
from derive.language.definition import Dim, Let, Tensor
from derive.language.expressions import ArgMax, Element, Index, free_indices, tensor_name, with_args


def narrowed(program: Program) -> Program:
    """The program, each let that it does not hand on over the axes that its value depends on."""
    narrow: dict[str, Tensor] = {}
    constants: dict[str, Basic] = {}
    lets: list[Let] = []
    for let in program.lets:
        value = reread(let.value, program.tensors, narrow, constants)
        needed = free_indices(value)
        if let.name in program.handed_on or needed >= set(let.tensor.indices):
            lets.append(let if value is let.value else Let(let.tensor, value))
        elif value in (S.true, S.false) or (let.tensor.integer and isinstance(value, Integer)):
            constants[let.name] = value
        else:
            narrow[let.name] = replace(let.tensor, dims=_kept(let.tensor.dims, needed))
            lets.append(Let(narrow[let.name], value))
    return replace(program, lets=tuple(lets)) if narrow or constants else program


def _kept(dims: tuple[Dim, ...], needed: Set[Index]) -> tuple[Dim, ...]:
    """The dimensions whose letters are needed, a composite one with those of its letters."""
    kept: list[Dim] = []
    for dim in dims:
        letters = tuple(i for i in (dim if isinstance(dim, tuple) else (dim,)) if i in needed)
        if letters:
            kept.append(letters[0] if len(letters) == 1 else letters)
    return tuple(kept)


def reread(
    expr: Any,
    tensors: Mapping[str, Tensor],
    narrow: Mapping[str, Tensor],
    constants: Mapping[str, Basic],
) -> Any:
    """An expression that reads narrowed tensors at the indices they still have."""
    if not narrow and not constants:
        return expr

    def walk(e: Basic) -> Any:
        name = tensor_name(e)
        if name in constants:
            return constants[name]
        if name in narrow and isinstance(e, Element):
            used = dict(zip(tensors[name].indices, map(walk, e.indices), strict=True))
            return narrow[name][tuple(used[i] for i in narrow[name].indices)]
        again = with_args(e, [walk(a) for a in e.args])
        return e if again is e else _idle(again)

    return walk(expr)


def _idle(expr: Any) -> Any:
    """What a normalisation, or a largest position, is along a letter its body ignores."""
    if isinstance(expr, Softmax | LogSoftmax) and expr.index not in free_indices(expr.body):
        size = expr.index.size
        return 1 / size if isinstance(expr, Softmax) else -log(size)
    if isinstance(expr, LogSumExp):
        for letter in expr.indices:
            if letter not in free_indices(expr.body):
                rest = [i for i in expr.indices if i != letter]
                inner = _idle(LogSumExp(expr.body, *rest)) if rest else expr.body
                return inner + log(letter.size)
    if isinstance(expr, ArgMax) and not set(expr.indices) & free_indices(expr.body):
        return S.Zero  # the first of equals
    return expr
