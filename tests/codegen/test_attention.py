"""Masked attention, as a person would write its backward pass: one mask, and matrix products."""

from __future__ import annotations

import math

import pytest
import torch
from sympy import Expr, S, oo

from codegen.lowering.lower import lower
from codegen.pipeline import compile, source
from derive import Definition, Sum, Where, define, exp, library, sqrt
from derive.derivation import derive
from derive.language.expressions import Index
from derive.notation.reading import read


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


def test_products_of_matrices_are_written_in_the_order_of_what_they_give() -> None:
    text = source(attention())
    for line in (
        "o = p @ v",
        "grad_p = grad_o @ v.mT",
        "grad_v = p.mT @ grad_o",
        "grad_q = grad_s_masked @ k / D**0.5",
    ):
        assert f"    {line}\n" in text
    assert "q @ k.mT / D**0.5," in text
    assert ".mT.clone()" not in text and "mask.T" not in text


def padded() -> Definition:
    op = define("padded", "Attention with a bias, to what is there.")
    b, h, i, j, d = op.axes("b h i j d")
    q, k, v = op.input("q", b, h, i, d), op.input("k", b, h, j, d), op.input("v", b, h, j, d)
    bias, there = op.input("bias", h, i, j), op.input("there", b, j)
    scores = Sum(q[b, h, i, d] * k[b, h, j, d], d) + bias[h, i, j]
    s = op.let("s", [b, h, i, j], Where(there[b, j] > 0, scores, -oo))
    p = op.let("p", [b, h, i, j], exp(s[b, h, i, j]) / Sum(exp(s[b, h, i, j]), j))
    o = op.let("o", [b, h, i, d], Sum(p[b, h, i, j] * v[b, h, j, d], j))
    return op.build(o, wrt=[q, k, v, bias])


def test_what_several_products_of_matrices_multiply_first_is_multiplied_once() -> None:
    text = source(padded())
    body = text[text.index("def backward(") : text.index("def double_backward(")]
    assert body.count(" * p") == 2
    for line in (
        "grad_bias = grad_p_centred_times_p.sum(0)",
        "grad_k = grad_p_centred_times_p.mT @ q",
        "grad_q = grad_p_centred_times_p @ k",
    ):
        assert f"    {line}\n" in body


@pytest.mark.parametrize(
    "scores",
    [
        "where(s <= t, sum_d(q[t,d]*k[s,d])/sqrt(D), -inf)",
        "sum_d(q[t,d]*k[s,d])/sqrt(D) + where(s <= t, 0, -inf)",
    ],
    ids=["chosen", "added"],
)
def test_a_mask_of_minus_infinity_is_chosen_or_added_and_costs_no_second_product(
    scores: str,
) -> None:
    (definition,) = read(
        "attention: to what came before\ninputs q[t,d], k[s,d], v[s,e]\nletters s over t\n"
        f"a[t,s] = {scores}\nw[t,s] = exp(a[t,s])/sum_s(exp(a[t,s]))\n"
        "o[t,e] = sum_s(w[t,s]*v[s,e])",
        library.load,
    ).values()
    text = source(definition)
    body = text[text.index("def backward(") : text.index("def double_backward(")]
    assert body.count(" * w") == 2  # for the sum of each row, and for both products
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


@pytest.mark.parametrize("names", ["", "e", "ez", "ezn", "ezp"])
@pytest.mark.parametrize("target", ["torch", "c"])
def test_weights_are_a_softmax_whatever_of_them_has_a_name(
    target: str, names: str, c_compiler: None
) -> None:
    op = define("weighted", "Values weighted by exponentials, over the sum of these.")
    i, j, c = op.axes("i j c")
    s, v = op.input("s", i, j), op.input("v", j, c)

    def named(name: str, letters: list[Index], value: Expr) -> Expr:
        return op.let(name, letters, value)[tuple(letters)] if name in names else value

    e = named("e", [i, j], exp(s[i, j]))
    z = named("z", [i], Sum(e, j))
    if "p" in names:
        n, z = Sum(named("p", [i, j], e / z) * v[j, c], j), S.One
    else:
        n = named("n", [i, c], Sum(e * v[j, c], j))
    definition = op.build(op.let("y", [i, c], n / z))
    assert [t.name for t in lower(derive(definition)).residuals.tensors] == ["v", "p"]
    module = compile(definition, target)
    generator = torch.Generator().manual_seed(0)
    scores, values = (torch.randn(5, 5, generator=generator).requires_grad_() for _ in range(2))
    scaled = (300 * scores).detach().requires_grad_()
    found = torch.autograd.grad(module.weighted(scaled, values).square().sum(), (scaled, values))
    expected = (torch.softmax(scaled, 1) @ values).square().sum()
    torch.testing.assert_close(found, torch.autograd.grad(expected, (scaled, values)))
