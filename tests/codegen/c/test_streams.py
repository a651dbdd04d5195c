"""Results that are larger than the caches are written past them, and are the same."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from codegen.pipeline import sources
from derive import Definition, Sum, define, exp, library
from generated.c.batch_norm import batch_norm
from generated.c.layer_norm import layer_norm
from generated.c.relu import relu
from generated.c.softmax import softmax

ROWS, COLUMNS = 2053, 2063
"""Primes: no row but the first begins where a vector may, and the last line is not whole."""


def c_file(definition: Definition) -> str:
    return sources([definition], target="c")[f"{definition.name}.c"]


def scaled_and_summed() -> Definition:
    """A result that a sum reads again."""
    op = define("scaled_and_summed", "Each element, and their sum.")
    n = op.axes("n")
    x = op.input("x", n)
    y = op.let("y", [n], 2 * x[n])
    return op.build(y, op.let("s", [], Sum(y[n], n)))


def exponential() -> Definition:
    op = define("exponential", "The exponential of each element.")
    n = op.axes("n")
    x = op.input("x", n)
    return op.build(op.let("y", [n], exp(x[n])))


@pytest.mark.parametrize(
    ("definition", "result"),
    [(library.load("layer_norm"), "y"), (library.load("batch_norm"), "grad_x")],
)
def test_a_result_that_nothing_reads_again_is_written_past_the_caches(
    definition: Definition, result: str
) -> None:
    assert f"{result}_past = past_caches(N * C)" in c_file(definition)


@pytest.mark.parametrize("made", [scaled_and_summed, exponential])
def test_what_is_read_again_or_takes_longer_than_memory_is_not(
    made: Callable[[], Definition],
) -> None:
    assert "y_past" not in c_file(made())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("ours", "native"),
    [
        (relu, nn.functional.relu),
        (partial(softmax, dim=1), partial(torch.softmax, dim=1)),
        (
            partial(layer_norm, normalized_shape=[COLUMNS]),
            partial(nn.functional.layer_norm, normalized_shape=[COLUMNS]),
        ),
        (
            partial(batch_norm, running_mean=None, running_var=None, training=True),
            partial(nn.functional.batch_norm, running_mean=None, running_var=None, training=True),
        ),
    ],
    ids=["relu", "softmax", "layer_norm", "batch_norm"],
)
def test_what_is_written_past_the_caches_is_what_pytorch_makes(
    ours: Callable[[Tensor], Tensor],
    native: Callable[[Tensor], Tensor],
    dtype: torch.dtype,
    c_compiler: None,
) -> None:
    g = torch.Generator().manual_seed(3)
    x, grad_y = (torch.randn(ROWS, COLUMNS, generator=g, dtype=dtype) for _ in range(2))
    x.requires_grad_()
    tolerance = 1e-10 if dtype == torch.float64 else 1e-5
    (y, grad_x), expected = (_with_gradient(function, x, grad_y) for function in (ours, native))
    torch.testing.assert_close((y, grad_x), expected, atol=tolerance, rtol=tolerance)


def _with_gradient(
    function: Callable[[Tensor], Tensor], x: Tensor, grad_y: Tensor
) -> tuple[Tensor, Tensor]:
    y = function(x)
    (grad_x,) = torch.autograd.grad(y, x, grad_y)
    return y, grad_x
