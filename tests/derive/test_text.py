"""Plain text: expressions as a person writes them, and pages of derivations."""

from __future__ import annotations

import pytest
from sympy import Expr, Ge, Max, Min

from derive import (
    Abs,
    And,
    ArgMax,
    Axis,
    Index,
    Let,
    Ne,
    Option,
    Or,
    Product,
    Rational,
    StopGradient,
    Sum,
    Tensor,
    Where,
    define,
    delta,
    exp,
    library,
    sqrt,
    tanh,
)
from derive.derivation import derive
from derive.language.functions import as_where
from derive.printing.arrange import Arrangement
from derive.printing.report import as_text
from derive.printing.text import broken, declaration, equations, lets_text, text

n, c, t, d = (Index(name, Axis(name)) for name in "nctd")
i = n.another("i")
x, g, w = Tensor("x", (n, c)), Tensor("grad_x", (n, c)), Tensor("w", (c,))
mean, scalar = Tensor("mean", (c,)), Tensor("loss")
which = Tensor("which", (n,), integer=True)
eps = Option("eps", 1e-5, positive=True).symbol
N, C = n.size, c.size


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        (x[n, c] - mean[c], "x[n,c] - mean[c]"),
        (mean[c] - x[n, c], "mean[c] - x[n,c]"),
        (-mean[c] - x[n, c], "-mean[c] - x[n,c]"),
        (1 - x[n, c] ** 2, "1 - x[n,c]**2"),
        (x[n, c] ** 2 - 1, "x[n,c]**2 - 1"),
        (w[c] + eps, "w[c] + eps"),
        (g[n, c] * w[c] * (1 - x[n, c]), "w[c]*grad_x[n,c]*(1 - x[n,c])"),
        (Sum(x[n, c] * w[c], c), "sum_c(w[c]*x[n,c])"),
        (Sum(x[n, c], n, c) / (N * C), "sum_{n,c}(x[n,c])/(C*N)"),
        (Product(x[n, c], c), "prod_c(x[n,c])"),
        (ArgMax(x[n, c], c), "argmax_c(x[n,c])"),
        (x[n, which[n]], "x[n,which[n]]"),
        (delta(c, which[n]), "delta(c, which[n])"),
        (delta(n, i), "delta(i, n)"),
        (-x[n, c] / 2, "-x[n,c]/2"),
        (-3 * x[n, c] / 2, "-3*x[n,c]/2"),
        (x[n, c] / (N - 1), "x[n,c]/(N - 1)"),
        (-scalar[()] * (x[n, c] + 1) / w[c], "-loss*(1 + x[n,c])/w[c]"),
        (x[n, c] ** -2, "1/x[n,c]**2"),
        (sqrt(w[c] + eps), "sqrt(w[c] + eps)"),
        (1 / sqrt(w[c] + eps), "1/sqrt(w[c] + eps)"),
        ((w[c] + eps) ** Rational(-3, 2), "1/(w[c] + eps)**(3/2)"),
        ((x[n, c] + 1) ** x[n, c], "(1 + x[n,c])**x[n,c]"),
        (2 ** x[n, c], "2**x[n,c]"),
        (exp(-x[n, c]), "exp(-x[n,c])"),
        (tanh(x[n, c]) * Abs(x[n, c]), "abs(x[n,c])*tanh(x[n,c])"),
        (Rational(44715, 1000000) * x[n, c], "0.044715*x[n,c]"),
        (x[n, c] * 0.5, "0.5*x[n,c]"),
        (-x[n, c] * 0.5, "-0.5*x[n,c]"),
        (x[n, c] / 3, "x[n,c]/3"),
        (Where(x[n, c] > 0, x[n, c], 0), "where(x[n,c] > 0, x[n,c], 0)"),
        (as_where(Max(x[n, c], 0)), "max(x[n,c], 0)"),
        (as_where(Min(w[c], x[n, c])), "min(w[c], x[n,c])"),
        (as_where(Min(Max(x[n, c], -1), 1)), "min(max(x[n,c], -1), 1)"),
        (Where(x[n, c] >= 0, x[n, c], 0), "where(x[n,c] >= 0, x[n,c], 0)"),
        (Where(Ge(0, x[n, c], evaluate=False), 0, 1), "where(x[n,c] <= 0, 0, 1)"),
        (1 - x[n, c] + Rational(1, 10**8), "1 - x[n,c] + 1e-08"),
        (1 - x[n, c] + eps, "1 - x[n,c] + eps"),
        (Where(Ne(n, i), 1, 0), "where(i != n, 1, 0)"),
        (
            Where(And(x[n, c] > 0, Or(x[n, c] < 1, w[c] > 2)), 1, 0),
            "where((w[c] > 2 or x[n,c] < 1) and x[n,c] > 0, 1, 0)",
        ),
        (StopGradient(x[n, c]), "stop_gradient(x[n,c])"),
        (scalar[()] * x[n, c], "loss*x[n,c]"),
    ],
)
def test_an_expression_is_written_as_a_person_writes_it(expr: Expr, expected: str) -> None:
    assert text(expr) in (expected, expected.replace("i != n", "n != i"))


def test_tensors_stand_in_the_order_of_their_declaration() -> None:
    product = w[c] * mean[c]
    assert text(product, Arrangement({"w": 0, "mean": 1})) == "w[c]*mean[c]"
    assert text(product, Arrangement({"mean": 0, "w": 1})) == "mean[c]*w[c]"


def test_equals_signs_stand_one_below_the_other() -> None:
    y = Tensor("y", (n, c))
    lets = [Let(mean, Sum(x[n, c], n) / N), Let(y, x[n, c] - mean[c])]
    assert lets_text(lets) == ["mean[c] = sum_n(x[n,c])/N", "y[n,c]  = x[n,c] - mean[c]"]
    assert lets_text(lets)[1] == "y[n,c]  = x[n,c] - mean[c]"


def test_a_long_sum_goes_on_in_the_next_row_between_its_terms() -> None:
    value = x[n, c] ** 2 - w[c] + mean[c]
    assert equations([("y[n,c]", value)], width=28) == [
        "y[n,c] = x[n,c]**2 + mean[c]",
        "         - w[c]",
    ]


@pytest.mark.parametrize(
    ("width", "pieces"),
    [
        (40, ["y[n] = a[n]*(b[n] - c[n]*(d[n] + e[n]))"]),
        (36, ["y[n] = a[n]", "       *(b[n] - c[n]*(d[n] + e[n]))"]),
        (30, ["y[n] = a[n]", "       *(b[n]", "         - c[n]*(d[n] + e[n]))"]),
    ],
)
def test_a_long_line_is_broken_inside_of_as_few_brackets_as_possible(
    width: int, pieces: list[str]
) -> None:
    assert broken("y[n] = a[n]*(b[n] - c[n]*(d[n] + e[n]))", width) == pieces


def test_a_comment_is_broken_behind_where_it_begins() -> None:
    assert broken("    /* grad[n,c] += a[n]*where(b[n] > 0, c[n], d[n]) */", 40) == [
        "    /* grad[n,c] += a[n]",
        "                    *where(b[n] > 0,",
        "                           c[n],",
        "                           d[n]) */",
    ]


def test_what_has_no_place_to_be_broken_stays_whole() -> None:
    assert broken("y[n] = x[n]**2", 10) == ["y[n] = x[n]**2"]
    assert broken("         - where(a[n] > 0, b[n], 0)", 30) == [
        "         - where(a[n] > 0,",
        "                 b[n], 0)",
    ]


@pytest.mark.parametrize(
    ("thing", "expected"),
    [
        (Tensor("W", ((t, d), c)), "W[(t d),c]"),
        (Tensor("b"), "b"),
        (which, "which[n] (integer)"),
        (
            Tensor("p", (n, c), nonnegative=True, sums_to_one=c),
            "p[n,c] (nonnegative, sums to one over c)",
        ),
        (Tensor("a", (n, i), symmetric=True), "a[n,i] (symmetric)"),
        (Option("eps", 1e-5, positive=True), "eps = 1e-05 (positive)"),
        (Option("steps", integer=True), "steps (integer)"),
    ],
)
def test_a_declaration_says_what_is_known(thing: Tensor | Option, expected: str) -> None:
    assert declaration(thing) == expected


# --- pages ---


def test_the_page_of_batch_norm_holds_its_definition_its_gradient_and_its_cost() -> None:
    page = as_text(derive(library.load("batch_norm")))
    assert "x_hat[n,c] = rstd[c]*(x[n,c] - mean[c])" in page
    assert (
        "grad_x[n,c]    = weight[c]*rstd[c]"
        "*(grad_y[n,c] - grad_bias[c]/N - grad_weight[c]*x_hat[n,c]/(N - correction))"
    ) in page
    assert "simplified       3           2  weight, rstd, x_hat" in page
    assert "Simplification" not in page


@pytest.mark.parametrize("name", ["batch_norm", "softmax", "linear"])
def test_each_step_is_shown_with_its_rule_and_its_reason(name: str) -> None:
    derivation = derive(library.load(name))
    page = as_text(derivation, steps=True)
    for number, step in enumerate(derivation.steps, start=1):
        assert f"{number}. {step.rule.name}: {step.rule.because}" in page
    for let in derivation.chunked.lets:
        assert f"  {text(let.tensor.element)}" in page


def test_a_step_says_what_it_is_the_first_to_name() -> None:
    page = as_text(derive(library.load("cross_entropy")), steps=True)
    step = page[page.index("change of variables") : page.index("factor: ")]
    assert "using p[n,k] = exp(logits[n,k])/sum_k(exp(logits[n,k]))" in step


def test_no_heading_stands_over_nothing() -> None:
    op = define("twice", "Twice as much.")
    n = op.axes("n")
    double = op.build(op.let("y", [n], 2 * op.input("x", n)[n]))
    assert "Simplification" not in as_text(derive(double), steps=True)


def test_no_line_of_a_page_ends_in_blanks() -> None:
    for name in ("cross_entropy", "makemore_mlp_chunked"):
        page = as_text(derive(library.load(name)), steps=True)
        assert page.endswith("\n") and not page.endswith("\n\n")
        assert all(line == line.rstrip() for line in page.splitlines())


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_a_page_fits_the_terminal_it_is_read_in(columns: int) -> None:
    derivation = derive(library.load("batch_norm"))
    page = as_text(derivation, steps=True, columns=columns)
    assert max(map(len, page.splitlines())) <= columns
    as_it_is = as_text(derivation, steps=True)
    assert "".join(page.split()) == "".join(as_it_is.split())
