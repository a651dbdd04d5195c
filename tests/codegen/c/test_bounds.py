"""Nothing is read or written out of range, or before it is there."""

from __future__ import annotations

import pytest
import torch

from codegen.pipeline import compile
from derive import Definition, Sum, define, delta, exp, log

pytestmark = pytest.mark.usefixtures("c_compiler")


def marked(place: object = 5) -> Definition:
    op = define("marked", "Twice x, and one more at a place.")
    n, k = op.axes("n k")
    x = op.input("x", n, k)
    if place == "o":
        place = op.option("o", 2, integer=True)
    return op.build(op.let("y", [n, k], 2 * x[n, k] + delta(k, place)))


@pytest.mark.parametrize("sizes", [(3, 2), (3, 5), (3, 8)])
def test_a_delta_with_a_number_changes_what_is_there(sizes: tuple[int, int]) -> None:
    module = compile(marked(), "c")
    x = torch.randn(sizes)
    y, _ = module.forward(x)
    expected = 2 * x
    expected[:, 5:6] += 1
    assert torch.equal(y, expected)


@pytest.mark.parametrize("o", [0, 3, 4, 9])
def test_a_delta_with_an_option_changes_what_is_there(o: int) -> None:
    module = compile(marked("o"), "c")
    x = torch.randn(3, 4)
    y, _ = module.forward(x, o=o)
    expected = 2 * x
    expected[:, o : o + 1] += 1
    assert torch.equal(y, expected)


@pytest.mark.parametrize("target", ["torch", "c"])
def test_an_axis_too_short_for_a_literal_index_is_refused(target: str) -> None:
    op = define("third", "The third column.")
    n, k = op.axes("n k")
    x = op.input("x", n, k)
    module = compile(op.build(op.let("y", [n], 2 * x[n, 2])), target)
    y, residuals = module.forward(torch.arange(6.0).view(2, 3))
    assert y.tolist() == [4, 10]
    assert module.backward(torch.ones(2), residuals).grad_x.tolist() == [[0, 0, 2], [0, 0, 2]]
    with pytest.raises(IndexError, match="K must be larger than 2, got 2"):
        module.forward(torch.ones(3, 2))


def test_what_cancels_is_computed_before_it_is_read() -> None:
    op = define("cancelled", "A quotient that is multiplied by what it was divided by.")
    i = op.axes("i")
    j = i.another("j")
    x = op.input("x", i, j)
    r = op.let("r", [i], Sum(x[i, j] ** 2, j))
    c = op.let("c", [j], Sum(x[i, j] ** 2, i))
    p = op.let("p", [i, j], x[i, j] / c[j])
    y = op.let("y", [], Sum(p[i, j] * c[j] / r[i], i, j))
    module = compile(op.build(y, op.let("q", [i, j], p[i, j] * r[i])), "c")
    x = torch.rand(40, 40, dtype=torch.float64) + 0.5
    y, q, _ = module.forward(x)
    rows, columns = (x**2).sum(1, keepdim=True), (x**2).sum(0)
    torch.testing.assert_close(y, (x / rows).sum())
    torch.testing.assert_close(q, x / columns * rows)


def test_a_log_sum_exp_over_axes_apart_is_shifted_in_each_row() -> None:
    op = define("pooled", "Log-sum-exp over the first and the last axis, and over the last.")
    a, n, b = op.axes("a n b")
    x = op.input("x", a, n, b)
    both = op.let("y", [n], log(Sum(exp(3 * x[a, n, b]), a, b)))
    module = compile(op.build(both, op.let("z", [a, n], log(Sum(exp(3 * x[a, n, b]), b)))), "c")
    x = 120 + torch.rand(4, 5, 6)
    y, z, _ = module.forward(x)
    torch.testing.assert_close(y, torch.logsumexp(3 * x, (0, 2)))
    torch.testing.assert_close(z, torch.logsumexp(3 * x, 2))
