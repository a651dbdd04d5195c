"""A symmetric contrastive loss (Radford et al., 2021): two softmaxes of the same scores, safely."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from codegen.pipeline import compile
from derive import Definition, Mean, Sum, define, exp, log
from gradsmith.proof.check import check

pytestmark = pytest.mark.slow


def contrastive() -> Definition:
    op = define("contrastive", "Each row belongs to the column of its place, and back.")
    i, d = op.axes("i d")
    j = i.another("j")
    a, b, t = op.input("a", i, d), op.input("b", i, d), op.input("t")
    s = op.let("s", [i, j], exp(t) * Sum(a[i, d] * b[j, d], d))
    rows = op.let("rows", [], Mean(log(Sum(exp(s[i, j]), j)) - s[i, i], i))
    columns = op.let("columns", [], Mean(log(Sum(exp(s[j, i]), j)) - s[i, i], i))
    return op.build(op.let("loss", [], (rows + columns) / 2))


@pytest.mark.parametrize("target", ["torch", "c"])
def test_scores_of_a_hundred_overflow_nowhere(target: str, c_compiler: None) -> None:
    module = compile(contrastive(), target)
    generator = torch.Generator().manual_seed(0)
    a, b = (F.normalize(torch.randn(8, 16, generator=generator)) for _ in range(2))
    leaves = [x.requires_grad_() for x in (a, b, torch.tensor(math.log(100)))]
    scores = leaves[2].exp() * (leaves[0] @ leaves[1].T)
    labels = torch.arange(8)
    expected = (F.cross_entropy(scores, labels) + F.cross_entropy(scores.T, labels)) / 2
    wanted = torch.autograd.grad(expected, leaves)
    loss = module.contrastive(*leaves)
    close = partial(torch.testing.assert_close, rtol=1e-4, atol=1e-4)
    close(loss, expected)
    close(torch.autograd.grad(loss, leaves), wanted)
    loss, gradients = module.value_and_grad(*(x.detach() for x in leaves))
    close(loss, expected.detach())
    close(tuple(gradients), wanted)


@pytest.mark.parametrize("target", ["torch", "c"])
def test_the_contrastive_loss_is_proven_like_any_other_operation(
    target: str, c_compiler: None
) -> None:
    definition = contrastive()
    assert all(row.passed for row in check(definition, compile(definition, target)))


@pytest.mark.parametrize("target", ["torch", "c"])
def test_a_weighted_mean_by_exponentials_overflows_nowhere(target: str, c_compiler: None) -> None:
    op = define("weighted", "A mean of w, weighted by exponentials that have a name.")
    n, j = op.axes("n j")
    x, w = op.input("x", n, j), op.input("w", n, j)
    e = op.let("e", [n, j], exp(x[n, j]))
    total = Sum(w[n, j] * e[n, j], j) / Sum(e[n, j], j)
    module = compile(op.build(op.let("y", [n], total)), target)
    x, w = torch.tensor([[90.0, 89.0, -30.0]]), torch.tensor([[1.0, 2.0, 3.0]])
    leaves = [t.requires_grad_() for t in (x, w)]
    expected = (torch.softmax(leaves[0], 1) * leaves[1]).sum(1)
    found = module.weighted(*leaves)
    torch.testing.assert_close(found, expected)
    wanted = torch.autograd.grad(expected.sum(), leaves)
    torch.testing.assert_close(torch.autograd.grad(found.sum(), leaves), wanted)
