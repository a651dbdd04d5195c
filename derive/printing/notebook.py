"""How definitions, derivations and steps show themselves in a notebook: in LaTeX and in HTML."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from sympy import Expr

from derive.calculus.trace import Derivation, Step
from derive.language.definition import Definition, Let
from derive.language.shown import html_of, latex_of
from derive.printing import mathml
from derive.printing.arrange import Arrangement
from derive.printing.differences import changes
from derive.printing.latex import latex, let_latex
from derive.printing.story import Move, story
from derive.printing.text import arrangement_of, declaration
from derive.printing.writing import arrangement_of_definition

_STYLE = """<style>
.gradsmith .changed { background: #fde9b5; color: #1d1f24; border-radius: 3px }
.gradsmith .bar { border-top: .065em solid; padding-top: .1em }
</style>"""


def register() -> None:
    """Have definitions, derivations and steps show themselves as written here."""
    latex_of.register(Definition, definition_latex)
    latex_of.register(Derivation, derivation_latex)
    latex_of.register(Step, step_latex)
    html_of.register(Definition, definition_html)
    html_of.register(Derivation, derivation_html)
    html_of.register(Step, step_html)


def definition_latex(definition: Definition) -> str:
    """The lets of a definition, one below the other."""
    return _aligned(_let_rows(definition.lets, arrangement_of_definition(definition)))


def definition_html(definition: Definition) -> str:
    """Name, summary, inputs, options and lets."""
    arrangement = arrangement_of_definition(definition)
    return _page(_opening(definition) + _table(_sides(definition.lets), arrangement))


def derivation_latex(derivation: Derivation) -> str:
    """The gradient, one line for each let of the backward pass."""
    return _aligned(_let_rows(derivation.backward.lets, arrangement_of(derivation)))


def derivation_html(derivation: Derivation) -> str:
    """The definition, the gradient, and below a heading that opens the steps that led to it."""
    definition, arrangement = derivation.definition, arrangement_of(derivation)
    told = story(derivation)
    moves = [_move(move, arrangement) for strand in told.strands for move in strand.moves]
    proof = told.verification
    said = f"{len(moves)} steps, verified at {proof.points} points to {proof.largest_error:.1e}"
    parts = [
        _opening(definition),
        _table(_sides(definition.lets), arrangement),
        "<p><b>Gradient</b></p>",
        _table(_sides(derivation.backward.lets), arrangement),
        f"<details><summary>{said}</summary>{''.join(moves)}</details>" if moves else "",
    ]
    return _page("".join(parts))


def step_latex(step: Step) -> str:
    """Both sides of a step, one below the other."""
    head = latex(step.tensor.element)
    return _aligned([f"{head} &= {latex(step.before)}", f"&= {latex(step.after)}"])


def step_html(step: Step) -> str:
    """The rule, why it holds, and both sides with what differs marked."""
    return _page(_step(step, Arrangement()))


def _opening(definition: Definition) -> str:
    given = map(declaration, (*definition.inputs, *definition.options))
    inputs = ", ".join(f"<code>{escape(one)}</code>" for one in given)
    return f"<p><b>{escape(definition.full_name)}</b>: {escape(definition.summary)}<br>{inputs}</p>"


def _move(move: Move, arrangement: Arrangement) -> str:
    return _step(move.step, arrangement, f"{move.number}. ")


def _step(step: Step, arrangement: Arrangement, number: str = "") -> str:
    before, after = changes(step.before, step.after)
    using = ", ".join(mathml.equation(left, right, arrangement) for left, right in step.using)
    because = f"{step.rule.because}{': ' if using else ''}{using}"
    sides = [(mathml.mathml(step.tensor.element), before), ("", after)]
    return f"<p>{number}<b>{step.rule.name}</b>, {because}</p>{_table(sides, arrangement)}"


def _sides(lets: Iterable[Let]) -> list[tuple[str, Expr]]:
    return [(mathml.mathml(let.tensor.element), let.value) for let in lets]


def _table(sides: Iterable[tuple[str, Expr]], arrangement: Arrangement) -> str:
    """Equations with their equals signs one below the other."""
    cell = '<td style="text-align:{};border:0;padding:.15em .2em">{}</td>'
    rows = [
        f'<tr style="background:none">{cell.format("right", mathml.inline(left))}'
        f"{cell.format('center', '=')}{cell.format('left', _displayed(right, arrangement))}</tr>"
        for left, right in sides
    ]
    return f'<table style="margin:.3em 0">{"".join(rows)}</table>'


def _displayed(expr: Expr, arrangement: Arrangement) -> str:
    terms = mathml.terms(expr, arrangement)
    return " ".join(f'<math displaystyle="true">{term}</math>' for term in terms)


def _page(content: str) -> str:
    return f'<div class="gradsmith">{_STYLE}{content}</div>'


def _let_rows(lets: Iterable[Let], arrangement: Arrangement) -> list[str]:
    return [let_latex(let, arrangement) for let in lets]


def _aligned(rows: Iterable[str]) -> str:
    content = " \\\\\n".join(rows)
    return f"$$\\begin{{aligned}}\n{content}\n\\end{{aligned}}$$"
