"""LaTeX: formulas with the right bindings, and documents whose every bracket is closed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from sympy import Expr, Symbol

from derive import (
    Abs,
    And,
    ArgMax,
    Axis,
    Index,
    Option,
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
from derive.printing.latex import broken, escaped, latex
from derive.printing.paper import as_latex

pytestmark = pytest.mark.slow

n, c = (Index(name, Axis(name)) for name in "nc")
x, w = Tensor("x", (n, c)), Tensor("w", (c,))
which = Tensor("which", (n,), integer=True)
eps = Option("eps", 1e-5, positive=True).symbol


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        (x[n, c] - w[c], r"x_{n,c} - w_{c}"),
        (Sum(x[n, c], n) / n.size, r"\frac{1}{N} \, \sum_{n} x_{n,c}"),
        (Sum(x[n, c] - w[c], c), r"\sum_{c} \left(x_{n,c} - w_{c}\right)"),
        (
            Sum(x[n, c], c) * (1 - w[c]),
            r"\left(\sum_{c} x_{n,c}\right) \, \left(1 - w_{c}\right)",
        ),
        (eps * (x[n, c] + 1) / w[c], r"\frac{\varepsilon}{w_{c}} \, \left(1 + x_{n,c}\right)"),
        ((x[n, c] + 1) / w[c], r"\frac{1 + x_{n,c}}{w_{c}}"),
        (-x[n, c] / 2, r"-\frac{x_{n,c}}{2}"),
        (1 / sqrt(w[c] + eps), r"\frac{1}{\sqrt{w_{c} + \varepsilon}}"),
        ((w[c] + eps) ** Rational(3, 2), r"\left(w_{c} + \varepsilon\right)^{3/2}"),
        (x[n, c] ** 2, r"x_{n,c}^{2}"),
        (exp(-x[n, c]), r"\exp\left(-x_{n,c}\right)"),
        (tanh(x[n, c]) ** 2, r"\tanh\left(x_{n,c}\right)^{2}"),
        (Abs(x[n, c]), r"\left| x_{n,c} \right|"),
        (x[n, which[n]], r"x_{n,\mathrm{which}_{n}}"),
        (delta(c, which[n]), r"\delta_{c, \mathrm{which}_{n}}"),
        (Product(x[n, c], c), r"\prod_{c} x_{n,c}"),
        (ArgMax(x[n, c], c), r"\operatorname*{arg\,max}_{c} x_{n,c}"),
        (Rational(1, 2) + x[n, c], r"\frac{1}{2} + x_{n,c}"),
        (StopGradient(x[n, c]), r"\operatorname{stop}\left(x_{n,c}\right)"),
        (
            Where(And(x[n, c] >= 0, w[c] < 1), x[n, c], 0),
            r"\begin{cases} x_{n,c} & \text{if } w_{c} < 1 \land x_{n,c} \geq 0"
            r" \\ 0 & \text{otherwise} \end{cases}",
        ),
        (x[n.another("n_1"), c], r"x_{n_{1},c}"),
        (x[n.another("n_next"), c], r"x_{n_{\mathrm{next}},c}"),
        (x[n.another("n_1e5"), c], r"x_{n_{\mathrm{1e5}},c}"),
    ],
)
def test_a_formula_binds_as_the_expression_does(expr: Expr, expected: str) -> None:
    assert latex(expr) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("x", "x"),
        ("x_hat", r"\hat{x}"),
        ("grad_x_hat", r"\overline{\hat{x}}"),
        ("x_bar", r"\mathrm{x\_bar}"),
        ("eps", r"\varepsilon"),
        ("gamma", r"\gamma"),
        ("lambda_hat", r"\hat{\lambda}"),
        ("weight", r"\mathrm{weight}"),
        ("grad_weight", r"\overline{\mathrm{weight}}"),
        ("counts_sum", r"\mathrm{counts\_sum}"),
        ("W1", "W^{(1)}"),
        ("bndiff2", r"\mathrm{bndiff2}"),
    ],
)
def test_a_name_is_written_as_mathematics_does(name: str, expected: str) -> None:
    assert latex(Symbol(name)) == expected


def test_plain_words_are_escaped() -> None:
    assert escaped(r"100 % of a_b & {c} #1 $ ^ ~ \x") == (
        r"100 \% of a\_b \& \{c\} \#1 \$ \textasciicircum{} \textasciitilde{} \textbackslash{}x"
    )


def test_a_long_sum_is_broken_between_its_terms() -> None:
    assert broken(x[n, c] ** 2 + x[n, c] - w[c], line=14) == (
        "x_{n,c} + x_{n,c}^{2} \\\\\n&\\quad - w_{c}"
    )


def balanced(document: str) -> bool:
    """Whether braces, \\left with \\right and environments are closed in the order they open."""
    stack: list[str] = []
    pattern = r"\\begin\{(\w+\*?)\}|\\end\{(\w+\*?)\}|\\(left|right)\b|(?<!\\)([{}])"
    for begins, ends, bracket, brace in re.findall(pattern, document):
        opened = begins or (bracket if bracket == "left" else "") or (brace if brace == "{" else "")
        if opened:
            stack.append({"left": "right", "{": "}"}.get(opened, opened))
        elif not stack or stack.pop() != (ends or bracket or brace):
            return False
    return not stack


@pytest.mark.parametrize("name", ["batch_norm", "cross_entropy", "makemore_mlp_chunked"])
def test_a_document_is_whole_and_names_every_rule(name: str) -> None:
    derivation = derive(library.load(name))
    document = as_latex(derivation, steps=True)
    assert document.startswith("\\documentclass") and document.endswith("\\end{document}\n")
    assert balanced(document)
    for number, step in enumerate(derivation.steps, start=1):
        assert f"\\paragraph{{{number}. {step.rule.name}}} {step.rule.latex}" in document
    assert "$$" not in document


def test_a_document_compiles_where_there_is_a_latex(tmp_path: Path) -> None:
    if not (engine := shutil.which("pdflatex")):
        pytest.skip("there is no pdflatex here")
    op = define("every_kind", "100 % of the kinds of node & names_with_underscores.")
    rows, cols = op.axes("rows cols")
    other = rows.another("i")
    z, pick = op.input("z", rows, cols), op.integers("pick", rows)
    rate = op.option("decay_rate", 0.1, positive=True)
    top = op.let("top_value", [rows], z[rows, ArgMax(z[rows, cols], cols)])
    kinked = Where(And(z[rows, cols] > 0, z[rows, cols] < rate), Abs(z[rows, cols]), 0)
    y = op.let(
        "y_hat",
        [rows],
        Sum(kinked * exp(-rate * z[rows, cols]), cols)
        + StopGradient(top[rows]) * z[rows, pick[rows]]
        + Sum(delta(rows, other) * sqrt(1 + z[other, cols] ** 2), other, cols),
    )
    assert_compiles(engine, as_latex(derive(op.build(y)), steps=True), tmp_path)


def assert_compiles(engine: str, document: str, folder: Path) -> None:
    source = folder / "page.tex"
    source.write_text(document)
    finished = subprocess.run(
        [engine, "-interaction=nonstopmode", "-halt-on-error", source.name],
        cwd=folder,
        capture_output=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout.decode(errors="replace")[-2000:]


@pytest.mark.parametrize("name", library.names())
def test_every_operation_of_the_library_compiles_where_there_is_a_latex(
    tmp_path: Path, name: str
) -> None:
    if not (engine := shutil.which("pdflatex")):
        pytest.skip("there is no pdflatex here: apt-get install texlive-latex-recommended")
    usual, *variants = library.load(name).variants
    document = as_latex(derive(usual), steps=True)
    fragments = [as_latex(derive(variant), steps=True, fragment=True) for variant in variants]
    ending = "\\end{document}\n"
    assert document.endswith(ending)
    whole = "\n".join([document.removesuffix(ending), *fragments, ending])
    assert_compiles(engine, whole, tmp_path)
