"""A whole derivation on a page: the definition, the steps, the gradient and what it costs."""

from __future__ import annotations

from collections.abc import Iterable

from derive.arrange import Arrangement
from derive.cost import Cost, cost
from derive.language import Let
from derive.latex import broken, escaped, latex, let_latex
from derive.rules import BY_NAME
from derive.text import arrangement_of, declaration, equations, lets_text, text
from derive.trace import Derivation, Step


def as_text(derivation: Derivation, steps: bool = False) -> str:
    """A derivation in plain text; with `steps`, each with its rule and why that holds."""
    definition, arrangement = derivation.definition, arrangement_of(derivation)
    given = ", ".join(map(declaration, definition.inputs))
    options = ", ".join(map(declaration, definition.options))
    lines = [f"{definition.name}: {definition.summary}", "", "Definition", f"  inputs   {given}"]
    lines += [f"  options  {options}"] if options else []
    lines += ["", *_indented(lets_text(definition.lets, arrangement, _WIDTH))]
    if steps:
        chain = lets_text(derivation.chunked.lets, arrangement, _WIDTH)
        lines += ["", "Chain rule, a line for each cotangent", *_indented(chain)]
        lines += ["", "Simplification"]
        for number, step in enumerate(derivation.steps, start=1):
            lines += ["", f"  {number}. {step.rule}: {BY_NAME[step.rule].because}"]
            lines += _indented(_step_text(step, arrangement), 5)
    if _proposed(derivation):
        lines += ["", "Forward, with what the gradient reuses"]
        lines += _indented(lets_text(derivation.forward, arrangement, _WIDTH))
    gradient = lets_text(derivation.backward.lets, arrangement, _WIDTH) or [_GIVEN]
    lines += ["", "Gradient", *_indented(gradient)]
    lines += ["", "Cost of the backward pass", *_indented(_cost_text(derivation))]
    return "\n".join(lines) + "\n"


def as_latex(derivation: Derivation, steps: bool = False) -> str:
    """A derivation as a LaTeX document; with `steps`, each with its rule and why that holds."""
    definition, arrangement = derivation.definition, arrangement_of(derivation)
    parts = [
        rf"\section*{{\texttt{{{escaped(definition.name)}}}}}",
        escaped(definition.summary),
        r"A bar marks a cotangent: $\overline{x} = \partial L / \partial x$ for the loss $L$.",
        r"\subsection*{Definition}",
        _align(let_latex(let, arrangement) for let in definition.lets),
    ]
    if steps:
        parts.append(r"\subsection*{Chain rule, a line for each cotangent}")
        parts.append(_align(let_latex(let, arrangement) for let in derivation.chunked.lets))
        parts.append(r"\subsection*{Simplification}")
        for number, step in enumerate(derivation.steps, start=1):
            parts.append(
                rf"\paragraph{{{number}. {escaped(step.rule)}}} {BY_NAME[step.rule].latex}"
            )
            parts.append(_using_latex(step, arrangement))
            parts.append(_align(_step_latex(step, arrangement)))
    if _proposed(derivation):
        parts.append(r"\subsection*{Forward, with what the gradient reuses}")
        parts.append(_align(let_latex(let, arrangement) for let in derivation.forward))
    parts.append(r"\subsection*{Gradient}")
    gradient = [let_latex(let, arrangement) for let in derivation.backward.lets]
    parts.append(_align(gradient) or f"{_GIVEN.capitalize()}.")
    parts += [r"\subsection*{Cost of the backward pass}", _cost_latex(derivation)]
    body = "\n\n".join(part for part in parts if part)
    return f"{_PREAMBLE}\n\\begin{{document}}\n\n{body}\n\n\\end{{document}}\n"


_WIDTH = 110
_GIVEN = "what the backward pass is given, as it is"
_PREAMBLE = r"""\documentclass{article}
\usepackage{amsmath}
\usepackage[a4paper, margin=2cm]{geometry}
\allowdisplaybreaks
\setlength{\parindent}{0pt}
\setlength{\parskip}{6pt}"""


def _proposed(derivation: Derivation) -> bool:
    """Whether the simplification changed the forward pass: it names more, or says it otherwise."""
    return derivation.forward != derivation.definition.lets


def _indented(lines: Iterable[str], by: int = 2) -> list[str]:
    return [" " * by + line for line in lines]


def _step_text(step: Step, arrangement: Arrangement) -> list[str]:
    head = text(step.tensor.element)
    using = [
        f"using {text(left, arrangement)} = {text(right, arrangement)}"
        for left, right in step.using
    ]
    return using + equations([(head, step.before), ("", step.after)], arrangement, _WIDTH - 5)


def _step_latex(step: Step, arrangement: Arrangement) -> list[str]:
    before = let_latex(Let(step.tensor, step.before), arrangement)
    return [before, f"&= {broken(step.after, arrangement)}"]


def _using_latex(step: Step, arrangement: Arrangement) -> str:
    equations = [
        f"${latex(left, arrangement)} = {latex(right, arrangement)}$" for left, right in step.using
    ]
    return f"Here {', '.join(equations)}." if equations else ""


def _costs(derivation: Derivation) -> tuple[tuple[str, Cost], ...]:
    return (
        ("chunked", cost(derivation.chunked, derivation)),
        ("simplified", cost(derivation.simplified, derivation)),
    )


def _cost_text(derivation: Derivation) -> list[str]:
    lines = [f"{'':<12}{'passes':>6}  {'reductions':>10}  residuals"]
    for name, one in _costs(derivation):
        kept = ", ".join(one.residuals) or "none"
        lines.append(f"{name:<12}{one.passes:>6}  {one.reductions:>10}  {kept}")
    return lines


def _cost_latex(derivation: Derivation) -> str:
    rows = [
        rf"{name} & {one.passes} & {one.reductions} & "
        + (", ".join(f"${latex(derivation.tensors[r].symbol)}$" for r in one.residuals) or "none")
        + r" \\"
        for name, one in _costs(derivation)
    ]
    head = (
        r"\begin{tabular}{lrrp{0.6\textwidth}}"
        + "\n"
        + r" & passes & reductions & residuals \\ \hline"
    )
    return "\n".join([head, *rows, r"\end{tabular}"])


def _align(rows: Iterable[str]) -> str:
    rows = list(rows)
    body = " \\\\\n".join(rows)
    return f"\\begin{{align*}}\n{body}\n\\end{{align*}}" if rows else ""
