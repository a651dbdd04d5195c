"""How a derivation is told: what a step changed, which steps are the main line, what proves it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree import ElementTree

import pytest
from latex2mathml.converter import convert
from sympy import Add, Expr

from derive import Sum, define, exp, library
from derive.calculus.rules import REDUCTION_IDENTITY
from derive.calculus.trace import Derivation
from derive.derivation import derive
from derive.printing.differences import changes
from derive.printing.marks import Marked, unmarked
from derive.printing.mathml import mathml
from derive.printing.paper import as_latex
from derive.printing.story import story
from derive.printing.text import arrangement_of, text

pytestmark = pytest.mark.slow

op = define("marks", "Expressions to compare.")
n, c = op.axes("n c")
a, b, d = op.input("a", n, c), op.input("b", n, c), op.input("d", c)
A, B, D = a[n, c], b[n, c], d[c]


def marked(expr: Expr) -> set[str]:
    return {text(part.part) for part in expr.atoms(Marked)}


@pytest.mark.parametrize(
    ("before", "after", "old", "new"),
    [
        (A * D + B, A * D**2 + B, {"d[c]"}, {"d[c]**2"}),
        (D * Sum(A * B, n) + A, D * Sum(A * A, n) + A, {"a[n,c]*b[n,c]"}, {"a[n,c]**2"}),
        (A + B + D, A + B, {"d[c]"}, set()),
        (A * D - B * D, D * (A - B), {"d[c]"}, {"d[c]"}),
        (A - B * D**2, A - B * D, {"d[c]**2"}, {"d[c]"}),
    ],
)
def test_what_a_step_changed_is_marked_and_nothing_else(
    before: Expr, after: Expr, old: set[str], new: set[str]
) -> None:
    sides = changes(before, after)
    assert [marked(side) for side in sides] == [old, new]


@pytest.mark.parametrize("name", library.names())
def test_marks_change_neither_an_expression_nor_how_it_is_written(name: str) -> None:
    derivation = derive(library.load(name))
    arrangement = arrangement_of(derivation)
    for step in derivation.steps:
        for side, of in zip(
            changes(step.before, step.after), (step.before, step.after), strict=True
        ):
            assert unmarked(side) == of
            without = re.sub(
                r'<mrow class="changed">(.*?)</mrow>', r"\1", mathml(side, arrangement)
            )
            assert without.count("<mi>") == mathml(of, arrangement).count("<mi>")


@pytest.mark.parametrize("name", library.names())
def test_mathml_is_well_formed_and_latex_reads_for_every_formula(name: str) -> None:
    derivations = [derive(definition) for definition in library.load(name).variants]
    for formula in {each for derivation in derivations for each in mathml_of(derivation)}:
        ElementTree.fromstring(f"<math>{formula}</math>")
    for formula in {each for derivation in derivations for each in latex_of(derivation)}:
        read = convert(formula)
        assert "\\" not in read  # nothing stayed unread
        assert ("<mtable" in read) or "align*" not in formula


def mathml_of(derivation: Derivation) -> Iterator[str]:
    exprs = [let.value for let in (*derivation.forward, *derivation.backward.lets)]
    exprs += [side for s in story(derivation).strands for move in s.moves for side in move.sides]
    for expr in exprs:
        yield mathml(expr, arrangement_of(derivation))


def latex_of(derivation: Derivation) -> Iterator[str]:
    document = as_latex(derivation, True)
    yield from re.findall(r"\\begin\{align\*\}.*?\\end\{align\*\}", document, re.S)
    yield from re.findall(r"(?<!\\)\$([^$]*)\$", document)


def test_the_main_line_is_what_argues_and_what_only_rewrites_stands_aside() -> None:
    told = story(derive(library.load("makemore_mlp")))
    assert [s.tensor.name for s in told.main] == ["grad_hprebn", "grad_logits"]
    assert [s.tensor.name for s in told.aside] == ["grad_hpreact"]


def test_a_cotangent_arrives_through_what_reads_its_tensor() -> None:
    told = story(derive(library.load("batch_norm")))
    through = {a.let.name: [t.name for t in a.through] for a in told.chain}
    assert through["grad_x"] == ["mean", "var", "x_hat"]
    assert through["grad_rstd"] == ["x_hat"]


def test_the_total_of_an_output_that_is_used_arrives_through_what_reads_the_output() -> None:
    both = define("both", "A part that is an output, and what is made of it.")
    i = both.axes("i")
    x = both.input("x", i)
    part = both.let("part", [i], exp(x[i]))
    told = story(derive(both.build(part, both.let("whole", [i], part[i] ** 2 + x[i]))))
    through = {a.let.name: [t.name for t in a.through] for a in told.chain}
    assert through == {"grad_part_total": ["whole"], "grad_x": ["part", "whole"]}


def test_why_a_sum_vanishes_is_told_from_the_let_that_it_follows_from() -> None:
    told = story(derive(library.load("batch_norm")))
    (step,) = [m.step for s in told.main for m in s.moves if m.step.reasons]
    said = [f"{text(left)} = {text(right)}" for left, right in (*step.reasons, *step.using)]
    assert said == [
        "mean[c] = sum_n(x[n,c])/N",
        "x[n,c] = x_hat[n,c]/rstd[c] + mean[c]",
        "mean[c] = mean[c] + sum_n(x_hat[n,c])/(N*rstd[c])",
        "sum_n(x_hat[n,c]) = 0",
    ]


def test_the_term_that_vanishes_is_told() -> None:
    told = story(derive(library.load("batch_norm")))
    (gone,) = [move.dropped for s in told.main for move in s.moves if move.dropped]
    assert [text(term) for term in gone] == [
        "rstd[c]*weight[c]*sum_n(grad_y[n,c]*x_hat[n,c])*sum_n(x_hat[n,c])/(N*(N - correction))"
    ]


def test_every_step_says_how_far_and_at_how_many_points_it_was_verified() -> None:
    told = story(derive(library.load("layer_norm")))
    for strand in told.strands:
        for move in strand.moves:
            assert move.verified.points == told.verification.points == 3
            assert move.verified.largest_error <= told.verification.largest_error < 1e-30


def test_terms_keep_their_order_whether_marked_or_not() -> None:
    total = A + B - D
    one = Add(A, Marked(B, "changed"), -D)
    assert [unmarked(t) for t in arrangement_terms(one)] == arrangement_terms(total)


def arrangement_terms(expr: Expr) -> list[Expr]:
    return arrangement_of(derive(library.load("tanh"))).terms(expr)


@pytest.mark.parametrize("name", ["rms_norm", "layer_norm", "group_norm", "batch_norm"])
def test_a_step_that_speaks_of_an_identity_shows_one(name: str) -> None:
    steps = derive(library.load(name)).steps
    assert all(step.using for step in steps if step.rule == REDUCTION_IDENTITY)
