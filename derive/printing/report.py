"""A whole derivation on a page: the definition, the steps, the gradient and what it costs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from derive.calculus.trace import Derivation, Step
from derive.printing.arrange import Arrangement
from derive.printing.text import arrangement_of, broken, declaration, equations, lets_text, text
from derive.simplification.cost import cost


def as_text(derivation: Derivation, steps: bool = False, columns: int | None = None) -> str:
    """A derivation in plain text; with `steps`, each with its rule and why that holds.

    Where it is read in so many `columns`, a term that is longer is broken as well.
    """
    width = _WIDTH if columns is None else columns - 2
    definition, arrangement = derivation.definition, arrangement_of(derivation)
    given = ", ".join(map(declaration, definition.inputs))
    options = ", ".join(map(declaration, definition.options))
    lines = [f"{definition.full_name}: {definition.summary}", "", "Definition"]
    lines += [f"  inputs   {given}"]
    lines += [f"  options  {options}"] if options else []
    becomes = ", ".join(f"{buffer} = {let}" for buffer, let in definition.updates)
    lines += [f"  updates  {becomes}"] if becomes else []
    lines += ["", *_indented(lets_text(definition.lets, arrangement, width))]
    if steps:
        chain = lets_text(derivation.chunked.lets, arrangement, width)
        lines += ["", "Chain rule, a line for each cotangent", *_indented(chain)]
        lines += ["", "Simplification"] if derivation.steps else []
        earlier = [None, *derivation.steps]
        for number, (last, step) in enumerate(zip(earlier, derivation.steps, strict=False), 1):
            lines += ["", *_rule_text(number, step, columns or _UNBOUNDED)]
            lines += _indented(_step_text(last, step, arrangement, width - 5), 5)
    if derivation.forward != definition.lets:
        lines += ["", "Forward, with what the gradient reuses"]
        lines += _indented(lets_text(derivation.forward, arrangement, width))
    gradient = lets_text(derivation.backward.lets, arrangement, width) or [_GIVEN]
    lines += ["", "Gradient", *_indented(gradient)]
    lines += ["", "Cost of the backward pass", *_indented(_cost_text(derivation))]
    if columns is not None:
        lines = [piece for line in lines for piece in broken(line, columns)]
    return "\n".join(lines) + "\n"


_WIDTH = 110
_UNBOUNDED = 1 << 30
_GIVEN = "what the backward pass is given, as it is"


def _indented(lines: Iterable[str], by: int = 2) -> list[str]:
    return [" " * by + line for line in lines]


def _rule_text(number: int, step: Step, columns: int) -> list[str]:
    """A step's rule and why it holds, words below words."""
    said = f"  {number}. {step.rule.name}: {step.rule.because}"
    return textwrap.wrap(said, columns, subsequent_indent=" " * 5)


def _step_text(last: Step | None, step: Step, arrangement: Arrangement, width: int) -> list[str]:
    """What a step makes of a cotangent, below what it was unless the last step said so."""
    head = text(step.tensor.element)
    goes_on = last is not None and (last.tensor, last.after) == (step.tensor, step.before)
    sides = [step.after] if goes_on else [step.before, step.after]
    heads = [head, *[""] * (len(sides) - 1)]
    using = [
        f"using {text(left, arrangement)} = {text(right, arrangement)}"
        for left, right in step.using
    ]
    return using + equations(list(zip(heads, sides, strict=True)), arrangement, width)


def _cost_text(derivation: Derivation) -> list[str]:
    lines = [f"{'':<12}{'passes':>6}  {'reductions':>10}  residuals"]
    passes = {"chunked": derivation.chunked, "simplified": derivation.simplified}
    for name, backward in passes.items():
        one = cost(backward, derivation)
        kept = ", ".join(one.residuals) or "none"
        lines.append(f"{name:<12}{one.passes:>6}  {one.reductions:>10}  {kept}")
    return lines
