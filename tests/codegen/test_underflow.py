"""Parts of a softmax that are rounded to zero are neither divided by nor taken logarithms of."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from codegen.pipeline import compile
from derive import library
from derive.notation.reading import read

SOFTMAX = "p[n,k] = exp(x[n,k])/sum_k(exp(x[n,k]))\n"
TWO = f"inputs x[n,k], y[n,k]\n{SOFTMAX}q[n,k] = exp(y[n,k])/sum_k(exp(y[n,k]))\n"

LEFT = f"""left: what a label leaves of one
inputs x[n,k], y[n] (integer)
{SOFTMAX}loss = -mean_n(log(1 - p[n,y[n]]))"""
BALANCED = """balanced: a softmax of scores that are weighted by counts
inputs x[n,k], c[k] (positive)
q[n,k] = c[k]*exp(x[n,k])/sum_k(c[k]*exp(x[n,k]))
loss = -mean_n(log(q[n,1]))"""
PARTIAL = f"""partial: one of several labels
inputs x[n,k], m[n,k] (integer)
{SOFTMAX}loss = -mean_n(log(sum_k(where(m[n,k] == 1, p[n,k], 0))))"""
MEAN = f"""mean: how often a class is met
inputs x[n,k]
{SOFTMAX}loss = -log(mean_n(p[n,0]))"""
ROOTS = f"""roots: how far two softmaxes are apart (Bhattacharyya, 1943)
{TWO}loss = -mean_n(log(sum_k(sqrt(p[n,k]*q[n,k]))))"""
POWERS = f"""powers: the same by powers (Renyi, 1961)
options a = 2 (positive)
{TWO}loss = mean_n(log(sum_k(p[n,k]**a*q[n,k]**(1-a))))/(a-1)"""

MIXED = f"""mixed: a label by either of two softmaxes, weighted by an option that may be any number
inputs x[n,k], z[n,k], y[n] (integer)
options w = 0.3 (positive)
{SOFTMAX}q[n,k] = exp(z[n,k])/sum_k(exp(z[n,k]))
loss = -mean_n(log(w*p[n,y[n]] + (1 - w)*q[n,y[n]]))"""

LABELS = torch.tensor([0, 2])
MASK = torch.tensor([[1, 0, 1], [0, 1, 1]])
COUNTS = torch.tensor([1.0, 2.0, 3.0])


def left(x: Tensor) -> Tensor:
    others = x.masked_fill(F.one_hot(LABELS, 3) == 1, -torch.inf)
    return -(others.logsumexp(1) - x.logsumexp(1)).mean()


def balanced(x: Tensor) -> Tensor:
    return -F.log_softmax(x + COUNTS.double().log(), 1)[:, 1].mean()


def partial(x: Tensor) -> Tensor:
    return -F.log_softmax(x, 1).masked_fill(MASK != 1, -torch.inf).logsumexp(1).mean()


def mean(x: Tensor) -> Tensor:
    return -(F.log_softmax(x, 1)[:, 0].logsumexp(0) - torch.tensor(2.0).log())


def roots(x: Tensor, y: Tensor) -> Tensor:
    return -((F.log_softmax(x, 1) + F.log_softmax(y, 1)) / 2).logsumexp(1).mean()


def powers(x: Tensor, y: Tensor) -> Tensor:
    return (2 * F.log_softmax(x, 1) - F.log_softmax(y, 1)).logsumexp(1).mean()


def mixed(x: Tensor, z: Tensor) -> Tensor:
    at = torch.arange(2), LABELS
    parts = [F.log_softmax(x, 1)[at] + math.log(0.3), F.log_softmax(z, 1)[at] + math.log(0.7)]
    return -torch.stack(parts).logsumexp(0).mean()


FAR = torch.tensor([[-200.0, 10.0, -150.0], [0.0, -110.0, 40.0]])
NEAR = torch.tensor([[0.5, -0.3, 1.0], [0.2, 0.1, -0.7]])
CASES: dict[str, tuple[str, Callable[..., Tensor], list[Tensor], list[Tensor]]] = {
    "left": (LEFT, left, [torch.tensor([[20.0, 0, 0], [-3.0, 0, 90.0]])], [LABELS]),
    "balanced": (BALANCED, balanced, [FAR.flip(0)], [COUNTS]),
    "partial": (PARTIAL, partial, [FAR], [MASK]),
    "mean": (MEAN, mean, [FAR], []),
    "roots": (ROOTS, roots, [FAR, FAR.flip(1)], []),
    "mixed": (MIXED, mixed, [FAR, FAR - 3 * FAR.sign()], [LABELS]),
    "powers": (POWERS, powers, [FAR, FAR.flip(1)], []),
}


@pytest.mark.parametrize("target", ["torch", "c"])
@pytest.mark.parametrize("near", [True, False], ids=["near", "far"])
@pytest.mark.parametrize("name", CASES)
def test_parts_that_are_rounded_to_zero_have_logarithms_and_gradients_of_both_orders(
    name: str, near: bool, target: str, c_compiler: None
) -> None:
    text, carefully, far, others = CASES[name]
    (definition,) = read(text, library.load).values()
    emitted = getattr(compile(definition, target), name)
    given = [NEAR.roll(i, 1) for i in range(len(far))] if near else far
    results = []
    for of, dtype in ((emitted, torch.float32), (carefully, torch.float64)):
        leaves = [x.to(dtype, copy=True).requires_grad_() for x in given]
        value = of(*leaves, *others) if of is emitted else of(*leaves)
        first = torch.autograd.grad(value, leaves, create_graph=True)
        bent = torch.stack([(g * (1 + x / 100)).sum() for g, x in zip(first, given, strict=True)])
        second = torch.autograd.grad(bent.sum(), leaves)
        results.append([found.double() for found in (value, *first, *second)])
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-6)
