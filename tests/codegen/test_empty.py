"""Over an axis of size 0 the gradient of a mean is what autograd has: a sum over nothing."""

from __future__ import annotations

import pytest
import torch

from codegen.pipeline import compile
from derive import Definition, Mean, Sum, define, library
from derive.notation.reading import read
from generated.kl_div import kl_div


def fit() -> Definition:
    op = define("fit", "Mean of squared errors of a linear model.")
    n, c = op.axes("n c")
    x, w, target = op.input("x", n, c), op.input("w", c), op.input("target", n)
    off = op.let("off", [n], Sum(x[n, c] * w[c], c) - target[n])
    return op.build(op.let("loss", [], Mean(off[n] ** 2, n)), wrt=[w])


@pytest.mark.parametrize("target", ["torch", "c"])
def test_a_mean_over_an_empty_batch_gives_parameters_no_gradient(
    target: str, c_compiler: None
) -> None:
    module = compile(fit(), target)
    x, w, right = torch.empty(0, 3), torch.randn(3), torch.empty(0)
    loss, residuals = module.forward(x, w, right)
    assert loss.isnan()
    assert module.backward(torch.ones(()), residuals).grad_w.tolist() == [0, 0, 0]
    loss, gradients = module.value_and_grad(x, w, right)
    assert loss.isnan()
    assert gradients.grad_w.tolist() == [0, 0, 0]


def test_a_sum_over_an_empty_axis_that_is_divided_by_another_is_zero() -> None:
    nothing = torch.empty(2, 0)
    assert kl_div(nothing, nothing, reduction="batchmean") == 0


@pytest.mark.parametrize("target", ["torch", "c"])
def test_the_logarithm_of_an_empty_axis_is_no_mistake(target: str, c_compiler: None) -> None:
    text = "biased: scores.\ny[n,t] = x[n,t] - log(T)\nz[n] = b[n]/log(T)\noutputs y, z"
    (definition,) = read(text, library.load).values()
    x, b = torch.empty(2, 0, requires_grad=True), torch.ones(2, requires_grad=True)
    y, z = compile(definition, target).biased(x, b)
    (y.sum() + z.sum()).backward()
    assert (y.shape, z.tolist()) == ((2, 0), [0, 0])
    assert b.grad is not None
    assert b.grad.tolist() == [0, 0]
