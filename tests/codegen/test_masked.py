"""Exponentials that are chosen or left out overflow nowhere, forward or backward."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from codegen.pipeline import compile
from derive import Definition, Eq, Sum, Where, define, exp, library, log
from derive.notation.reading import read


def softmax() -> Definition:
    op = define("masked", "A softmax over what a mask lets through.")
    n, k = op.axes("n k")
    x, mask = op.input("x", n, k), op.integers("mask", n, k)
    e = op.let("e", [n, k], Where(Eq(mask[n, k], 1), exp(x[n, k]), 0))
    return op.build(op.let("p", [n, k], e[n, k] / Sum(e[n, k], k)))


def logsumexp() -> Definition:
    op = define("masked", "The logarithm of the exponentials that a mask lets through.")
    n, k = op.axes("n k")
    x, mask = op.input("x", n, k), op.integers("mask", n, k)
    chosen = Where(Eq(mask[n, k], 1), exp(x[n, k]), 0)
    return op.build(op.let("y", [n], log(Sum(chosen, k))))


@pytest.mark.parametrize("target", ["torch", "c"])
@pytest.mark.parametrize(
    ("definition", "native"), [(softmax(), torch.softmax), (logsumexp(), torch.logsumexp)]
)
def test_a_mask_keeps_the_exponentials_safe(
    definition: Definition, native: Callable[..., torch.Tensor], target: str, c_compiler: None
) -> None:
    x = torch.tensor([[1e4, -1e4, 90.0], [-500.0, 3.0, 9e3]], requires_grad=True)
    mask = torch.tensor([[1, 1, 0], [1, 1, 0]])
    found = compile(definition, target).masked(x, mask)
    expected = native(x.masked_fill(mask != 1, -torch.inf), 1)
    torch.testing.assert_close(found, expected)
    seed = torch.arange(1.0, found.numel() + 1).reshape(found.shape)
    gradients = [torch.autograd.grad(y, x, seed)[0] for y in (found, expected)]
    torch.testing.assert_close(*gradients)


PADDED = """padded: attention whose scores are written where they are masked
letters u over t
inputs q[t,c], k[u,c], v[u,d], m[u] (integer)
z[t,u] = where(m[u] == 1, sum_c(q[t,c]*k[u,c]), -inf)
p[t,u] = exp(z[t,u])/sum_u(exp(z[t,u]))
y[t,d] = sum_u(p[t,u]*v[u,d])
"""


@pytest.mark.parametrize("target", ["torch", "c"])
@pytest.mark.parametrize("spread", [1.0, 30.0])
def test_scores_in_a_mask_have_the_softmaxs_gradients_of_both_orders(
    spread: float, target: str, c_compiler: None
) -> None:
    drawn = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(4, 3, generator=drawn, dtype=torch.float64) for _ in range(3))
    leaves = [t.requires_grad_() for t in (spread * q, spread * k, v)]
    mask = torch.tensor([1, 0, 1, 1])
    found = compile(read(PADDED, library.load)["padded"], target).padded(*leaves, mask)
    scores = (leaves[0] @ leaves[1].T).masked_fill(mask != 1, -torch.inf)
    results = []
    for y in (found, torch.softmax(scores, 1) @ leaves[2]):
        first = torch.autograd.grad(y.sin().sum(), leaves, create_graph=True)
        second = torch.autograd.grad(torch.stack([g.tanh().sum() for g in first]).sum(), leaves)
        results.append((y, *first, *second))
    torch.testing.assert_close(*results)


ENTROPY = """entropy: how undecided a policy is
inputs x[n,k]
p[n,k] = exp(x[n,k])/sum_k(exp(x[n,k]))
h[n] = -sum_k(p[n,k]*log(p[n,k]))

divergence: two policies over what a mask lets through
inputs x[n,k], y[n,k], m[n,k] (integer)
p[n,k] = exp(where(m[n,k] == 1, x[n,k], -inf))/sum_k(exp(where(m[n,k] == 1, x[n,k], -inf)))
q[n,k] = exp(where(m[n,k] == 1, y[n,k], -inf))/sum_k(exp(where(m[n,k] == 1, y[n,k], -inf)))
h[n] = sum_k(where(m[n,k] == 1, p[n,k]*log(p[n,k]/q[n,k]), 0))
"""


@pytest.mark.parametrize("target", ["torch", "c"])
def test_what_has_no_part_adds_nothing_to_an_entropy(target: str, c_compiler: None) -> None:
    x = torch.tensor([[1.0, -torch.inf, 2.0, -3.0], [1e4, 0.0, -torch.inf, -1e4]])
    entropy = compile(read(ENTROPY, library.load)["entropy"], target).entropy
    found, expected = (
        _to_second_order(entropies, scores.double())
        for entropies, scores in ((entropy, x), (_entropies_of_finite, x.clamp(min=-1e5)))
    )
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("target", ["torch", "c"])
def test_what_two_policies_both_leave_out_does_not_divide_them(
    target: str, c_compiler: None
) -> None:
    drawn = torch.Generator().manual_seed(0)
    x, y = (torch.randn(2, 5, generator=drawn, dtype=torch.float64) for _ in range(2))
    mask = torch.tensor([1, 0, 1, 1, 0]).expand(2, 5)
    divergence = compile(read(ENTROPY, library.load)["divergence"], target).divergence
    leaves = [t.requires_grad_() for t in (x, y)]
    found = divergence(*leaves, mask)
    p, q = (torch.log_softmax(t[:, mask[0] == 1], 1) for t in leaves)
    expected = (p.exp() * (p - q)).sum(1)
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(h.sum(), leaves) for h in (found, expected)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("target", ["torch", "c"])
def test_a_teacher_may_leave_classes_out(target: str, c_compiler: None) -> None:
    drawn = torch.Generator().manual_seed(0)
    logits, teacher = (torch.randn(3, 4, generator=drawn) for _ in range(2))
    logits.requires_grad_()
    teacher[0, 2] = teacher[2, 0] = -torch.inf
    found = compile(library.load("distillation_loss"), target).forward(logits, teacher)[0]
    p, wanted = (torch.log_softmax(logits / 2, 1), torch.softmax(teacher / 2, 1))
    torch.testing.assert_close(found, 4 * F.kl_div(p, wanted, reduction="batchmean"))


def _entropies_of_finite(scores: torch.Tensor) -> torch.Tensor:
    logarithms = torch.log_softmax(scores, 1)
    return -(logarithms.exp() * logarithms).sum(1)


def _to_second_order(
    function: Callable[[torch.Tensor], torch.Tensor], at: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """A value, its gradient, and that of a function of its gradient."""
    leaf = at.clone().requires_grad_()
    value = function(leaf)
    (first,) = torch.autograd.grad(value.sum(), leaf, create_graph=True)
    (second,) = torch.autograd.grad(first.tanh().sum(), leaf)
    return value, first, second
