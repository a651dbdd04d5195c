"""A derivation as plain data, for programs: numbers, strings, lists and dictionaries."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sympy import Expr

from derive.calculus.trace import Backward, Derivation
from derive.language.definition import Let
from derive.printing.arrange import Arrangement
from derive.printing.latex import latex
from derive.printing.story import Move, story
from derive.printing.text import arrangement_of, text
from derive.printing.writing import definition_text
from derive.simplification.cost import cost


def as_data(derivation: Derivation, steps: bool = True) -> dict[str, Any]:
    """A derivation as what JSON can hold; every formula both in index notation and in LaTeX."""
    definition, arrangement = derivation.definition, arrangement_of(derivation)
    told = story(derivation)
    found: dict[str, Any] = {
        "name": definition.name,
        "variant": definition.variant,
        "summary": definition.summary,
        "text": definition_text(definition),
        "inputs": [t.name for t in definition.inputs],
        "outputs": list(definition.outputs),
        "updates": dict(definition.updates),
        "gradients": {name: tensor.name for name, tensor in derivation.simplified.gradients},
        "definition": _lets(definition.lets, arrangement),
        "forward": _lets(derivation.forward, arrangement),
        "chain_rule": _lets(derivation.chunked.lets, arrangement),
        "gradient": _lets(derivation.backward.lets, arrangement),
        "verified": {
            "points": told.verification.points,
            "largest_error": told.verification.largest_error,
        },
        "cost": {
            "chunked": _cost(derivation.chunked, derivation),
            "simplified": _cost(derivation.simplified, derivation),
        },
    }
    if steps:
        found["steps"] = [_move(m, arrangement) for s in told.strands for m in s.moves]
    return found


def _formula(expr: Expr, arrangement: Arrangement) -> dict[str, str]:
    return {"text": text(expr, arrangement), "latex": latex(expr, arrangement)}


def _lets(lets: Iterable[Let], arrangement: Arrangement) -> list[dict[str, Any]]:
    return [
        {
            "name": let.name,
            "axes": [i.name for i in let.tensor.indices],
            **_formula(let.value, arrangement),
        }
        for let in lets
    ]


def _move(move: Move, arrangement: Arrangement) -> dict[str, Any]:
    step = move.step

    def equations(pairs: Iterable[tuple[Expr, Expr]]) -> list[list[dict[str, str]]]:
        return [[_formula(side, arrangement) for side in pair] for pair in pairs]

    return {
        "number": move.number,
        "rule": step.rule.name,
        "because": step.rule.because,
        "tensor": step.tensor.name,
        "before": _formula(step.before, arrangement),
        "after": _formula(step.after, arrangement),
        "using": equations(step.using),
        "since": equations(step.reasons),
        "points": move.verified.points,
        "largest_error": move.verified.largest_error,
    }


def _cost(backward: Backward, derivation: Derivation) -> dict[str, Any]:
    one = cost(backward, derivation)
    return {
        "passes": one.passes,
        "reductions": one.reductions,
        "residuals": list(one.residuals),
    }
