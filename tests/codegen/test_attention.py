"""Masked attention, as a person would write its backward pass: one mask, and matrix products."""

from __future__ import annotations

import math

import pytest
import torch

from codegen.pipeline import compile, source
from derive import Definition, Sum, Where, define, exp, sqrt
from derive.derivation import derive


def attention() -> Definition:
    op = define("attention", "Causal attention, in heads.")
    b, h, i, d = op.axes("b h i d")
    j = i.another("j")
    q, k, v = (op.input(name, b, h, i, d) for name in "qkv")
    scores = Sum(q[b, h, i, d] * k[b, h, j, d], d) / sqrt(d.size)
    s = op.let("s", [b, h, i, j], Where(j <= i, scores, -1e9))
    p = op.let("p", [b, h, i, j], exp(s[b, h, i, j]) / Sum(exp(s[b, h, i, j]), j))
    return op.build(op.let("o", [b, h, i, d], Sum(p[b, h, i, j] * v[b, h, j, d], j)))


def test_the_gradient_of_the_scores_is_named_and_made_of_probabilities() -> None:
    lets = {let.name: str(let.value) for let in derive(attention()).backward.lets}
    assert "grad_s" in lets
    assert "exp" not in " ".join(lets.values())


def test_the_mask_is_put_on_the_scores_once() -> None:
    text = source(attention())
    body = text[text.index("def backward(") : text.index("def double_backward(")]
    assert body.count("torch.where") == 1
    assert body.count(" @ ") == 4


@pytest.mark.parametrize("target", ["torch", "c"])
@pytest.mark.parametrize("spread", [1.0, 30.0])
def test_the_gradients_are_those_of_pytorch_whatever_the_scores(
    target: str, spread: float, request: pytest.FixtureRequest
) -> None:
    if target == "c":
        request.getfixturevalue("c_compiler")
    generator = torch.Generator().manual_seed(0)
    q, k, v, grad_o = (
        torch.randn(2, 3, 9, 8, generator=generator).requires_grad_() for _ in range(4)
    )
    scaled = (spread * q).detach().requires_grad_()
    o = compile(attention(), target).attention(scaled, k, v)
    mask = torch.ones(9, 9).tril() == 1
    scores = (scaled @ k.mT / math.sqrt(8)).masked_fill(~mask, -1e9)
    expected = torch.softmax(scores, 3) @ v
    torch.testing.assert_close(o, expected, rtol=1e-4, atol=1e-5)
    found = torch.autograd.grad(o, (scaled, k, v), grad_o.detach())
    wanted = torch.autograd.grad(expected, (scaled, k, v), grad_o.detach())
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)
