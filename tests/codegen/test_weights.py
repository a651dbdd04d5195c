"""What weighs by exponentials is derived as a softmax, however the weights are written down."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from codegen.pipeline import compile, source
from derive import library
from derive.files import load_definitions
from derive.notation.reading import read
from gradsmith.proof.check import check

pytestmark = pytest.mark.slow

WEIGHTS = load_definitions(Path(__file__).parents[1] / "definitions" / "weights.grad")
NEAR = torch.eye(5).roll(1, 0) + torch.eye(5)


def causal(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    later = torch.ones(5, 5).triu(1) == 1
    return torch.softmax((q @ k.T).masked_fill(later, -torch.inf), 1) @ v


def weighted(s: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    return torch.softmax(s + mask.log(), 1) @ v


def graph(h: Tensor, a: Tensor, b: Tensor, near: Tensor) -> Tensor:
    e = F.leaky_relu((h @ a)[:, None] + h @ b, 0.2)
    return torch.softmax(e.masked_fill(near != 1, -torch.inf), 1) @ h


def smoother(x: Tensor, c: Tensor, t: Tensor) -> Tensor:
    return torch.softmax(-((x[:, None] - c) ** 2).sum(2), 1) @ t


def pairs(a: Tensor, p: Tensor) -> Tensor:
    return F.cross_entropy(a @ p.T, torch.arange(5))


def others(s: Tensor) -> Tensor:
    own = torch.eye(5) == 1
    return s.masked_fill(own, -torch.inf).logsumexp(1) - s.masked_fill(own, 0).sum(1) / 4


def called(s: Tensor, v: Tensor) -> Tensor:
    later = torch.ones(5, 5).triu(1) == 1
    return torch.softmax(s.masked_fill(later, -torch.inf), 1) @ v


def oblong(x: Tensor) -> Tensor:
    return (x**2).masked_fill(torch.eye(5, 3) == 1, 0)


def window(s: Tensor, m: Tensor) -> Tensor:
    later = torch.ones(5, 5).triu(1) == 1
    return (2 * s).masked_fill(later | (m != 1), -torch.inf).logsumexp(1)


CASES: dict[str, tuple[Callable[..., Tensor], list[tuple[int, ...]]]] = {
    "causal": (causal, [(5, 3), (5, 3), (5, 2)]),
    "weighted": (weighted, [(5, 4), (4, 2), (5, 4)]),
    "graph": (graph, [(5, 3), (3,), (3,)]),
    "smoother": (smoother, [(5, 3), (4, 3), (4,)]),
    "pairs": (pairs, [(5, 3), (5, 3)]),
    "others": (others, [(5, 5)]),
    "window": (window, [(5, 5)]),
    "oblong": (oblong, [(5, 3)]),
    "called": (called, [(5, 5), (5, 2)]),
}
FIXED = {"graph": [NEAR.long()], "window": [torch.tensor([1, 0, 1, 1, 0])]}


@pytest.mark.parametrize("target", ["torch", "c"])
@pytest.mark.parametrize("spread", [1.0, 300.0])
@pytest.mark.parametrize("name", CASES)
def test_the_gradients_of_two_orders_are_those_of_a_softmax_whatever_the_scores(
    name: str, spread: float, target: str, c_compiler: None
) -> None:
    plainly, shapes = CASES[name]
    generator = torch.Generator().manual_seed(0)
    given = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    given[0] *= spread
    if name == "weighted":
        given[-1] = given[-1].abs()
    fixed = FIXED.get(name, [])
    emitted = getattr(compile(WEIGHTS[name], target), name)
    results = []
    for of in (emitted, plainly):
        leaves = [x.clone().requires_grad_() for x in given]
        value = of(*leaves, *fixed)
        seed = torch.linspace(0.5, 1.5, value.numel(), dtype=value.dtype).reshape(value.shape)
        first = torch.autograd.grad(value, leaves, seed, create_graph=True)
        bent = torch.stack([g.tanh().sum() for g in first]).sum()
        results.append((value, *first, *torch.autograd.grad(bent, leaves)))
    torch.testing.assert_close(*results, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("target", ["torch", "c"])
@pytest.mark.parametrize("name", CASES)
def test_they_are_proven_like_any_other(name: str, target: str, c_compiler: None) -> None:
    definition = WEIGHTS[name]
    assert all(row.passed for row in check(definition, compile(definition, target)))


@pytest.mark.parametrize("name", CASES)
def test_no_backward_pass_reads_an_exponential(name: str) -> None:
    text = source(WEIGHTS[name])
    body = text[text.index("def backward(") : text.index("def double_backward(")]
    assert not re.search(r"torch\.exp\((?!\s*\w+\s+- torch\.logaddexp)", body)  # at most 1
    assert "w_sum" not in body


def test_what_lies_on_a_diagonal_is_put_there() -> None:
    text = source(WEIGHTS["pairs"])
    assert " - torch.diag_embed(torch.sigmoid(logsumexp_s_centred_masked))" in text


@pytest.mark.parametrize("target", ["torch", "c"])
def test_a_row_without_others_has_a_gradient_of_zero(target: str, c_compiler: None) -> None:
    leaves = [torch.randn(1, 3, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    loss = compile(WEIGHTS["pairs"], target).pairs(*leaves)
    gradients = torch.autograd.grad(loss, leaves)
    assert [loss.item(), *(g.abs().sum().item() for g in gradients)] == [0, 0, 0]


def test_a_mask_of_letters_is_made_once() -> None:
    text = source(WEIGHTS["others"])
    forward = text[text.index("def forward(") : text.index("def backward(")]
    assert "diagonal = torch.eye(I, dtype=torch.bool, device=s.device)" in forward
    assert forward.count("torch.eye") == 1
    assert forward.count("masked_fill(diagonal") == 2


def test_what_is_proposed_is_not_called_as_the_cotangent_of_another_proposal_is() -> None:
    """Of the second order of a variance of weights, two are sums: of p, and of a cotangent of p."""
    (definition,) = read(
        "spread: the variance of what squares weigh\ninputs x[i], c[k], lb\n"
        "p[i,k] = exp(-exp(lb)*(x[i] - c[k])**2)/sum_k(exp(-exp(lb)*(x[i] - c[k])**2))\n"
        "m[i] = sum_k(p[i,k]*c[k])\nv[i] = sum_k(p[i,k]*(c[k] - m[i])**2)\noutputs m, v",
        library.load,
    ).values()
    spread = compile(definition).spread
    draw = torch.Generator().manual_seed(0)
    given = [torch.randn(n, generator=draw, dtype=torch.float64) for n in ((4,), (3,), ())]
    assert torch.autograd.gradgradcheck(spread, [g.requires_grad_() for g in given])
