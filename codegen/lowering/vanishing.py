"""What is multiplied by a part that may be none: `p*log(p)` is zero there.

    Softmax(z, k) * (LogSoftmax(z, k) + a)   ->  Softmax(z, k) * (Clamped(LogSoftmax(z, k)) + a)

A class whose score is -inf has no part in a softmax, and nothing times infinity is no number. So is
the logarithm of another softmax clamped, that is masked where this one is; and of two such that are
told from each other, both are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any

from sympy import Add, Basic, Expr, Mul, S

from codegen.lowering.forms import Clamped, LogSoftmax, Softmax
from derive.language.definition import Let
from derive.language.expressions import Element, Index, Where, with_args
from derive.language.substitute import substitute


def vanishing(lets: Sequence[Let], made: Sequence[Let]) -> list[Let]:
    """The lets in this form; `made` are those in safe form that they read, themselves if they do
    that of each other."""
    masked = {let.name: let for let in made if let.value.has(S.NegativeInfinity)}
    named = {
        let.name: replace(let, value=substitute(let.value, masked.values()))
        for let in made
        if isinstance(let.value, Softmax | LogSoftmax)
    }
    return [replace(let, value=_vanishing(let.value, named)) for let in lets]


def _vanishing(expr: Any, named: Mapping[str, Let]) -> Any:
    if not expr.args or isinstance(expr, Clamped):
        return expr
    expr = with_args(expr, [_vanishing(a, named) for a in expr.args])
    if isinstance(expr, Add):
        return _told_apart(expr, named)
    if not isinstance(expr, Mul):
        return expr
    meanings = (_meaning(_base(factor), named) for factor in expr.args)
    parts = [meaning for meaning in meanings if isinstance(meaning, Softmax)]
    return Mul(*(_clamped(f, parts, named) for f in expr.args)) if parts else expr


def _told_apart(total: Add, named: Mapping[str, Let]) -> Expr:
    """A sum in which no logarithm is taken from another that is -inf where it is."""
    masks: dict[Expr, set[tuple[Basic, int]]] = {}
    for term in total.args:
        meaning = _meaning(term.as_coeff_Mul()[1], named)
        if isinstance(meaning, LogSoftmax) and (found := _masks(meaning.body)):
            masks[term] = found
    signs = {term: term.as_coeff_Mul()[0].is_positive for term in masks}
    met = [a for a, b in permutations(masks, 2) if signs[a] != signs[b] and masks[a] == masks[b]]
    clamped = {a: number * Clamped(rest) for a in met for number, rest in [a.as_coeff_Mul()]}
    return Add(*(clamped.get(term, term) for term in total.args)) if clamped else total


def _base(factor: Expr) -> Expr:
    """What a factor is a positive power of; itself, where it is none."""
    base, power = factor.as_base_exp()
    return base if power.is_positive else factor


def _meaning(expr: Expr, named: Mapping[str, Let]) -> Expr:
    """What an element of a named softmax, or of its logarithm, stands for; else what is given."""
    if isinstance(expr, Element) and all(isinstance(i, Index) for i in expr.indices):
        return substitute(expr, named.values())
    return expr


def _clamped(expr: Any, parts: Sequence[Softmax], named: Mapping[str, Let]) -> Any:
    """An expression whose logarithms that are -inf where one of the parts is none are clamped."""
    if isinstance(expr, Clamped):
        return expr
    meaning = _meaning(expr, named)
    if isinstance(meaning, LogSoftmax) and any(_is_none_where(meaning, p) for p in parts):
        return Clamped(expr)
    return with_args(expr, [_clamped(a, parts, named) for a in expr.args])


def _is_none_where(logarithm: LogSoftmax, part: Softmax) -> bool:
    masks = _masks(logarithm.body)
    return logarithm.args == part.args or (bool(masks) and masks <= _masks(part.body))


def _masks(score: Expr) -> set[tuple[Basic, int]]:
    """The conditions on which a score is -inf, and whether they hold or fail then."""
    choices = [c for c in score.atoms(Where) if S.NegativeInfinity in c.branches]
    return {(c.condition, c.branches.index(S.NegativeInfinity)) for c in choices}
