"""Pages as HTML: each one file, its style and script inside, that asks nothing of a network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup
from sympy import Basic, Expr

from derive.calculus.trace import Derivation
from derive.printing import mathml, paper
from derive.printing.arrange import Arrangement
from derive.printing.measure import fitted, width
from derive.printing.text import arrangement_of, declaration
from derive.printing.writing import definition_text
from derive.simplification.cost import cost
from gradsmith.pages import font
from gradsmith.pages.page import Page
from gradsmith.pages.variants import Listed

_HERE = Path(__file__).parent
_UNITS = ("bytes", "KiB", "MiB", "GiB")


def operation(
    page: Page,
    steps: bool = True,
    fragment: bool = False,
    index: str = "",
    siblings: Sequence[Listed] = (),
) -> str:
    """The page of one definition.

    Without `steps` the derivation between the chain rule and the gradient is left out. A
    `fragment` is the page's content alone, to be put into another page. `index` is the address
    of the page that lists the operations, where there is one; `siblings` are the definitions of
    the same operation that have pages beside it.
    """
    return _render(
        "operation.html.jinja",
        page,
        steps=steps,
        fragment=fragment,
        index=index,
        siblings=siblings,
    )


def article(page: Page) -> str:
    """The content of an operation's page alone, without style or script."""
    return _render("article.html.jinja", page, steps=True, siblings=())


def playground(examples: Mapping[str, str]) -> str:
    """The page on which a person types; `examples` are texts to start from, by name."""
    template = _environment().get_template("playground.html.jinja")
    return template.render(examples=dict(examples))


def _render(template: str, page: Page, **more: object) -> str:
    derivation = page.story.derivation
    return (
        _environment()
        .get_template(template)
        .render(
            arrangement=page.arrangement,
            page=page,
            story=page.story,
            derivation=derivation,
            definition=derivation.definition,
            seeds=derivation.seeds,
            counts=[
                ("chunked", cost(derivation.chunked, derivation)),
                ("simplified", cost(derivation.simplified, derivation)),
            ],
            latex=paper.body(derivation, steps=True),
            text=definition_text(derivation.definition),
            **more,
        )
    )


@dataclass(frozen=True)
class Card:
    """An operation in the list: its name, its summary, its gradient, and what a search finds.

    `variants` is how many definitions it has.
    """

    name: str
    summary: str
    gradient: Markup
    words: str
    variants: int


def card(derivation: Derivation, siblings: Sequence[Listed]) -> Card:
    """The card of an operation, with the gradient that took the most steps."""
    definition, arrangement = derivation.definition, arrangement_of(derivation)
    stepped = Counter(step.tensor.name for step in derivation.steps)
    asked = [tensor.name for _, tensor in derivation.backward.gradients]
    lets = [let for let in derivation.backward.lets if let.name in asked]
    gradient = Markup()
    if lets:
        let = max(lets, key=lambda let: (stepped[let.name], -asked.index(let.name)))
        left = _math(f"{mathml.mathml(let.tensor.element)}<mo>=</mo>")
        gradient = Markup('<div class="parts">{}{}</div>').format(
            left, display(let.value, arrangement)
        )
    words = [definition.name, definition.name.replace("_", " "), definition.summary]
    words += [*definition.tensors, *(step.rule.name for step in derivation.steps)]
    words += [word for one in siblings for word in (one.name, one.words)]
    found = " ".join(dict.fromkeys(" ".join(words).lower().split()))
    return Card(definition.name, definition.summary, gradient, found, len(siblings))


def index(cards: Iterable[Card]) -> str:
    """The page that lists operations."""
    return _environment().get_template("index.html.jinja").render(cards=list(cards))


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=True,
    )
    made.filters["math"] = _math_filter
    made.filters["display"] = _display_filter
    made.filters["equation"] = _equation_filter
    made.filters["name"] = lambda name: _math(mathml.name_mathml(name))
    made.filters["declared"] = declaration
    made.filters["bytes"] = in_bytes
    made.filters["short"] = lambda number: f"{number:.1e}" if number else "0"
    made.globals["asset"] = _asset
    made.globals["font"] = lambda: Markup(font.face())
    return made


@pass_context
def _math_filter(context: Context, expr: Basic) -> Markup:
    return _math(mathml.mathml(expr, context["arrangement"]))


@pass_context
def _display_filter(context: Context, expr: Basic, beside: Expr | None = None) -> Markup:
    """A right side; `beside` is the left one, where code stands beside both."""
    arrangement = context["arrangement"]
    if beside is None:
        return display(expr, arrangement)
    return display(expr, arrangement, _HALF - width(beside, arrangement))


@pass_context
def _equation_filter(context: Context, sides: tuple[Expr, Expr]) -> Markup:
    return Markup(mathml.equation(sides[0], sides[1], context["arrangement"]))


def _asset(name: str) -> Markup:
    """A file of ours, to stand inside a page."""
    return Markup((_HERE / "templates" / name).read_text(encoding="utf-8"))


def _math(content: str) -> Markup:
    return Markup(mathml.inline(content))


_LINE, _HALF = 84, 52
"""How many letters stand in a line of a page, and beside the code."""


def display(expr: Basic, arrangement: Arrangement, most: float = _LINE) -> Markup:
    """A displayed right side: one formula a term, so that a long sum goes on in the next row.

    A term of more than `most` letters is broken into rows.
    """
    if not isinstance(expr, Expr):
        return _math(mathml.mathml(expr, arrangement))
    fits = (fitted(term, arrangement, most) for term in arrangement.terms(expr))
    broken = frozenset[tuple[Expr, int]]().union(*(fit.rows for fit in fits))
    terms = mathml.terms(expr, replace(arrangement, rows=broken))
    return Markup("").join(
        Markup(f'<math class="part" displaystyle="true">{term}</math>') for term in terms
    )


def in_bytes(number: float) -> str:
    """A number of bytes in the unit that suits it: `772 KiB`."""
    place = 0
    while number >= 1024 and place < len(_UNITS) - 1:
        number, place = number / 1024, place + 1
    return f"{number:.3g} {_UNITS[place]}" if number < 999.5 else f"{number:.0f} {_UNITS[place]}"
