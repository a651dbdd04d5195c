"""Names that C has already: a definition may use them all the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Generator, Tensor

from codegen.pipeline import compile, sources
from derive import Definition, Mean, Sum, define, exp, log, sqrt
from gradsmith.emitted import Functions
from gradsmith.proof.samples import random_like, random_sample

NAMES = [  # of letters, then of tensors
    (("block", "span"), ("double", "double_")),
    (("tile", "narrow"), ("HUGE_VAL", "INT_MAX")),
    (("double", "variant"), ("sqrtf", "expf")),
    (("infinity", "null"), ("exp", "vector_exp")),
    (("n_block", "n"), ("x_total", "x")),
    (("line", "past"), ("x_past", "y_line")),
    (("n_line", "n_stop"), ("stream", "past_caches")),
    (("least", "square"), ("threads", "i")),
    (("exp", "sqrt"), ("FP_NAN", "least")),
    (("real", "wide"), ("input", "weight")),
    (("threads", "i"), ("input", "weight")),
    (("x", "w"), ("input", "weight")),
    (("int", "omp_get_thread_num"), ("input", "weight")),
]

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("names")]


@pytest.fixture(autouse=True)
def _compiled_quickly(quickly_built: Path) -> None:
    pass


def normalised(letters: tuple[str, str], tensors: tuple[str, str]) -> Definition:
    """A normalisation, a softmax and a product of matrices."""
    op = define("normalised", "Normalised, and what is made of it.")
    n, c = op.axes(" ".join(letters))
    m = n.another("second")
    x, w = op.input(tensors[0], n, c), op.input(tensors[1], c)
    mean = op.let("mean", [c], Mean(x[n, c], n))
    var = op.let("var", [c], Mean((x[n, c] - mean[c]) ** 2, n))
    y = op.let("y", [n, c], (x[n, c] - mean[c]) / sqrt(var[c] + 1) * w[c])
    p = op.let("p", [n, c], exp(y[n, c]) / Sum(exp(y[n, c]), c))
    scores = op.let("scores", [n, m], Sum(p[n, c] * x[m, c], c))
    return op.build(op.let("squares", [n], Sum(scores[n, m] ** 2, m)), p)


def results(definition: Definition, target: str, *rows: int) -> list[Tensor]:
    """Outputs and gradients, for each number of rows."""
    functions = Functions.of(compile(definition, target), definition)
    found: list[Tensor] = []
    for count in rows:
        sizes = dict(zip(definition.axes, (count, 4), strict=True))
        sample = random_sample(definition, sizes, Generator().manual_seed(0)).to(torch.float64)
        *outputs, residuals = functions.forward(**sample.inputs, **sample.options)
        cotangents = random_like(outputs, Generator().manual_seed(1))
        found += [*outputs, *functions.backward(*cotangents, residuals)]
    return found


ROWS = (3, 300)
"""Fewer than a block, and more."""


@pytest.fixture(scope="module")
def expected() -> list[Tensor]:
    """What torch computes under names that nobody has."""
    return results(normalised(("n", "c"), ("input", "weight")), "torch", *ROWS)


@pytest.mark.parametrize(("letters", "tensors"), NAMES, ids="-".join)
def test_what_is_computed_does_not_depend_on_names(
    letters: tuple[str, str], tensors: tuple[str, str], expected: list[Tensor]
) -> None:
    found = results(normalised(letters, tensors), "c", *ROWS)
    torch.testing.assert_close(found, expected)


def test_what_the_backward_pass_names_is_no_residual() -> None:
    """Both passes have a sum that is best called `x_sum`."""
    op = define("twice", "The squares of what is normalised.")
    n, c = op.axes("n c")
    x, w = op.input("x", n, c), op.input("w", c)
    mean = op.let("mean", [c], Mean(x[n, c], n))
    var = op.let("var", [c], Mean((x[n, c] - mean[c]) ** 2, n))
    y = op.let("y", [n, c], (x[n, c] - mean[c]) / sqrt(var[c] + 1) * w[c])
    definition = op.build(op.let("squares", [n], Sum(y[n, c] ** 2, c)))
    torch.testing.assert_close(results(definition, "c", 5), results(definition, "torch", 5))
    residuals = compile(definition, "c").Residuals._fields
    assert residuals == ("x", "w", "mean", "rstd")


def test_a_comment_names_a_function_as_it_is_called() -> None:
    op = define("named", "Functions in safe form.")
    n = op.axes("n")
    x, z = op.input("x", n), op.input("z", n)
    either = op.let("either", [n], log(exp(x[n]) + exp(z[n])))
    definition = op.build(op.let("y", [n], either[n] * log(1 + x[n]) / (1 + exp(-z[n]))))
    text = sources([definition], target="c")["named.c"]
    assert "either[n] = log_add_exp(x[n], z[n])" in text
    assert not any(name in text for name in ("LogAddExp", "Log1p", "Sigmoid"))
