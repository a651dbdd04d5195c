"""What a notebook shows of a definition, a derivation and a step."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from latex2mathml.converter import convert

from derive import Definition, define, library
from derive.calculus.trace import Derivation, Step
from derive.derivation import derive
from derive.language.shown import Shown

BATCH_NORM = derive(library.load("batch_norm"))
SHOWN = [BATCH_NORM.definition, BATCH_NORM, *BATCH_NORM.steps]


@pytest.mark.parametrize("shown", SHOWN, ids=lambda shown: type(shown).__name__)
def test_its_latex_is_one_displayed_formula_that_reads(
    shown: Definition | Derivation | Step,
) -> None:
    formula = shown._repr_latex_()
    assert formula.startswith("$$") and formula.endswith("$$")
    assert "<mtable" in convert(formula.strip("$").replace("aligned", "align*"))


@pytest.mark.parametrize("shown", SHOWN, ids=lambda shown: type(shown).__name__)
def test_its_html_is_closed_and_names_what_it_shows(shown: Definition | Derivation | Step) -> None:
    page = shown._repr_html_()
    ElementTree.fromstring(page.replace("<br>", "<br/>"))
    assert (shown.rule.name if isinstance(shown, Step) else "batch_norm") in page


def test_a_derivation_tells_its_steps_and_how_they_were_verified() -> None:
    page = BATCH_NORM._repr_html_()
    assert "5 steps, verified at 3 points" in page
    assert 'class="changed"' in page


def test_a_second_letter_may_have_a_word_for_its_number() -> None:
    op = define("pairs", "Products of neighbours.")
    i = op.axes("i")
    i_next = i.another("i_next")
    x = op.input("x", i)
    pairs = op.build(op.let("y", [i, i_next], x[i] * x[i_next]))
    ElementTree.fromstring(pairs._repr_html_().replace("<br>", "<br/>"))
    assert r"x_{i_{\mathrm{next}}}" in pairs._repr_latex_()
    assert "<mi>next</mi>" in pairs._repr_html_()


def test_what_nothing_writes_has_no_such_form() -> None:
    class Bare(Shown):
        pass

    with pytest.raises(NotImplementedError, match="nothing writes Bare in LaTeX"):
        Bare()._repr_latex_()
    with pytest.raises(NotImplementedError, match="nothing writes Bare in HTML"):
        Bare()._repr_html_()
