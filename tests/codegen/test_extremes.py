"""Gradients and their gradients where exponentials overflow, powers vanish and branches meet."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from itertools import product
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from codegen.pipeline import compile
from derive.files import load_definitions
from gradsmith.proof.check import check

pytestmark = pytest.mark.slow

Function = Callable[[Tensor], Tensor]

NUMBERS = (0, 1, -1, 5, 17, -17, 40, -40, 89, -89, 100, -100, 710, -710, 1e4, -1e4)
FIRST = torch.zeros(2 * len(NUMBERS), dtype=torch.int64)


def function(name: str) -> Callable[..., Tensor]:
    return getattr(import_module(f"generated.{name}"), name)


def derivatives(of: Function, x: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient of a function's sum, and the gradient of what that weighs."""
    leaf = x.clone().requires_grad_()
    (first,) = torch.autograd.grad(of(leaf).sum(), leaf, create_graph=True)
    weights = torch.linspace(0.5, 1.5, first.numel(), dtype=x.dtype).reshape(x.shape)
    (second,) = torch.autograd.grad((first * weights).sum(), leaf)
    return first.detach(), second


CELLS = load_definitions(Path(__file__).parents[1] / "definitions" / "cells.grad")


def gradients(of: Callable[..., Tensor], *given: Tensor) -> list[Tensor]:
    """The value of a function and its gradients."""
    leaves = [x.clone().requires_grad_() for x in given]
    value = of(*leaves)
    return [value.detach(), *torch.autograd.grad(value.sum(), leaves)]


def beside_float64(name: str, plainly: Callable[..., Tensor], *given: Tensor) -> None:
    """Hold an operation in float32 against a formula that is safe, in float64."""
    emitted = getattr(compile(CELLS[name]), name)
    found = gradients(lambda *leaves: emitted(*leaves), *given)
    expected = gradients(plainly, *(x.double() for x in given))
    for mine, theirs in zip(found, expected, strict=True):
        scale = theirs.abs().max().item()
        torch.testing.assert_close(mine.double(), theirs, rtol=1e-4, atol=1e-5 * scale)


@pytest.mark.parametrize("target", ["torch", "c"])
@pytest.mark.parametrize("name", CELLS)
def test_an_operation_with_exponentials_is_proven(
    name: str, target: str, request: pytest.FixtureRequest
) -> None:
    if target == "c":
        request.getfixturevalue("c_compiler")
    assert all(row.passed for row in check(CELLS[name], target=target))


@pytest.mark.parametrize("x", [-6.0, -3.0, 0.0, 2.0])
def test_what_is_left_of_one_is_not_lost(x: float) -> None:
    def plainly(x: Tensor) -> Tensor:
        return -torch.log(torch.erfc(-x / 2**0.5) / 2).mean()

    beside_float64("probit", plainly, torch.tensor([x]))


@pytest.mark.parametrize("scale", [1.0, 30.0, 100.0])
def test_a_softmax_both_ways_has_its_gradient_at_any_temperature(scale: float) -> None:
    def plainly(u: Tensor, v: Tensor, t: Tensor) -> Tensor:
        s = t.exp() * (u @ v.T)
        return ((s.logsumexp(1) + s.logsumexp(0)) / 2 - s.diagonal()).mean()

    generator = torch.Generator().manual_seed(0)
    u, v = (torch.randn(5, 3, generator=generator) for _ in range(2))
    beside_float64("clip", plainly, u, v, torch.tensor(scale).log())


@pytest.mark.parametrize("z", [-100.0, -20.0, 0.0, 20.0, 100.0])
def test_an_exponential_meets_its_logarithm(z: float) -> None:
    def plainly(k: Tensor, r: Tensor, z: Tensor) -> Tensor:
        counts = torch.lgamma(k + r) - torch.lgamma(r) - torch.lgamma(k + 1)
        return -(counts - r * F.softplus(z) - k * F.softplus(-z)).mean()

    k, r = torch.tensor([3.0, 1.0]), torch.tensor([1.5, 2.0])
    beside_float64("negbin", plainly, k, r, torch.full((2,), z))


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_nothing_is_doubled_before_it_is_halved(approximate: str) -> None:
    assert function("gelu")(torch.tensor([2e38]), approximate=approximate) == 2e38


def test_pooling_is_a_softmax_at_large_scores() -> None:
    def plainly(h: Tensor, w: Tensor) -> Tensor:
        return ((h @ w).softmax(1)[..., None] * h).sum(1)

    generator = torch.Generator().manual_seed(0)
    h, w = 10 * torch.randn(2, 4, 3, generator=generator), 10 * torch.randn(3, generator=generator)
    beside_float64("pooled", plainly, h, w)


@pytest.mark.parametrize("scale", [1.0, 100.0, 1e4])
def test_nothing_is_attended_to_where_all_scores_are_low(scale: float) -> None:
    def plainly(x: Tensor) -> Tensor:
        none = torch.zeros(len(x), 1, dtype=x.dtype)
        return torch.cat([x, none], 1).softmax(1)[:, :-1]

    beside_float64("quiet", plainly, scale * torch.tensor([[1.0, -2.0], [-1.0, -0.5]]))


@pytest.mark.parametrize("scale", [1.0, 100.0, 1e4])
def test_what_attends_to_nothing_may_be_learnt(scale: float) -> None:
    def plainly(a: Tensor, sink: Tensor, v: Tensor) -> Tensor:
        return torch.cat([a, sink.expand(len(a), 1)], 1).softmax(1)[:, :-1] @ v

    a, v = torch.tensor([[0.9, 0.01], [-0.5, -2.0]]), torch.tensor([[1.0, 2.0], [3.0, -1.0]])
    beside_float64("sinking", plainly, scale * a, torch.tensor(0.0), v)


@pytest.mark.parametrize("w", [-17.0, -10.0, 0.0, 1.5])
def test_an_exponent_is_not_got_back_from_its_exponential(w: float) -> None:
    def plainly(w: Tensor, h: Tensor, x: Tensor) -> Tensor:
        return (-w.exp()).exp() * h + x

    beside_float64("decay", plainly, torch.tensor([w]), torch.ones(2, 1), torch.ones(2, 1))


@pytest.mark.parametrize("scale", [1.0, 100.0, 1e4])
def test_a_product_of_sums_of_exponentials_is_a_sum_of_logarithms(scale: float) -> None:
    def plainly(a: Tensor, b: Tensor) -> Tensor:
        return F.softplus(a.logsumexp(0) + b.logsumexp(0))

    beside_float64("circle", plainly, *(scale * torch.tensor([[1.0, 0.5], [0.3, -0.2]])))


@pytest.mark.parametrize("scale", [1.0, 100.0, 1e4])
def test_the_weight_of_an_exponential_may_be_zero(scale: float) -> None:
    def plainly(x: Tensor, risk: Tensor, event: Tensor) -> Tensor:
        return (event * ((risk.log() + x).logsumexp(1) - x)).sum()

    x = scale * torch.tensor([0.5, -1.0, 1.0])
    risk = torch.tensor([[1.0, 1, 1], [0, 1, 0], [0, 1, 1]])
    emitted = compile(CELLS["cox"]).cox
    found = gradients(lambda x: emitted(x, risk, torch.ones(3)), x)
    expected = gradients(lambda x: plainly(x, risk.double(), torch.ones(3)), x.double())
    torch.testing.assert_close([g.double() for g in found], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 100.0, 1e4])
def test_a_weight_beside_one_is_safe_too_and_has_its_gradient(scale: float) -> None:
    def plainly(x: Tensor, w: Tensor) -> Tensor:
        return F.softplus((x + w.log()).logsumexp(0))

    beside_float64("sunk", plainly, scale * torch.tensor([1.0, 0.99]), torch.tensor([1.0, 2.0]))


@pytest.mark.parametrize("x", [-1e4, -100.0, -1.0, 0.0, 0.5, 100.0])
def test_a_hyperbolic_logarithm_and_tangent_do_not_overflow(x: float) -> None:
    def log_cosh(x: Tensor) -> Tensor:
        return torch.logaddexp(x, -x) - torch.tensor(2.0, dtype=x.dtype).log()

    beside_float64("log_cosh", log_cosh, torch.tensor([x]))
    beside_float64("hyperbolic", torch.tanh, torch.tensor([x]))


@pytest.mark.parametrize("x", [-1e4, -200.0, -1.0, 0.5, 200.0])
def test_no_gradient_divides_by_a_sigmoid_that_is_rounded_to_zero(x: float) -> None:
    def plainly(x: Tensor, b: Tensor) -> Tensor:
        return x * torch.sigmoid(b * x)

    given = torch.tensor([x]), torch.tensor(1.0)
    emitted = compile(CELLS["swish"]).swish
    for mine, theirs in zip(gradients(emitted, *given), gradients(plainly, *given), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-30)


@pytest.mark.parametrize("target", ["torch", "c"])
@pytest.mark.parametrize("x", [-100.0, 0.5, 30.0, 80.0])
def test_a_sigmoid_near_one_leaves_its_gradient_more_than_rounding(
    target: str, x: float, c_compiler: None
) -> None:
    def plainly(a: Tensor, b: Tensor) -> Tensor:
        return -F.logsigmoid(a - b)

    given = torch.tensor([x]), torch.tensor([0.0])
    emitted = partial(compile(CELLS["preference"], target).preference, beta=1.0)
    for mine, theirs in zip(gradients(emitted, *given), gradients(plainly, *given), strict=True):
        torch.testing.assert_close(mine.view(1), theirs, rtol=1e-5, atol=0.0)
    found, expected = gradients(function("logsigmoid"), given[0]), gradients(F.logsigmoid, given[0])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0.0)


@pytest.mark.parametrize("target", ["torch", "c"])
def test_integers_are_compared_as_integers(target: str, c_compiler: None) -> None:
    hard, labels = compile(CELLS["hard"], target).hard, torch.tensor([0, 0, 1, 1])
    z = torch.tensor([[0.0, 0.0], [1.0, 0.0], [3.0, 0.0], [3.5, 0.0]])
    assert hard(z, labels + 2**24) == hard(z, labels)


def scores() -> Tensor:
    return torch.tensor([[number, 0.0, other] for number in NUMBERS for other in (0.0, -1e4)])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["softplus", "silu", "gelu", "logsigmoid", "sigmoid", "tanh"])
def test_an_activation_has_both_derivatives_at_any_number(name: str, dtype: torch.dtype) -> None:
    theirs: Function = getattr(F, name)
    found = derivatives(function(name), torch.tensor(NUMBERS, dtype=dtype))
    expected = derivatives(theirs, torch.tensor(NUMBERS, dtype=torch.float64))
    for mine, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(mine.double(), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(("target", "pos_weight"), [*product((0.0, 0.3, 1.0), (None, 2.0))])
def test_a_cross_entropy_of_a_logit_does(
    target: float, pos_weight: float | None, reduction: str, dtype: torch.dtype
) -> None:
    def loss(of: Callable[..., Tensor], x: Tensor) -> Tensor:
        weight = None if pos_weight is None else torch.full_like(x, pos_weight)
        return of(x, torch.full_like(x, target), pos_weight=weight, reduction=reduction)

    name = "binary_cross_entropy_with_logits"
    x = torch.tensor(NUMBERS, dtype=torch.float64)
    found = derivatives(partial(loss, function(name)), x.to(dtype))
    expected = derivatives(partial(loss, getattr(F, name)), x)
    for mine, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(mine.double(), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(("smoothing", "weighted"), [*product((0.0, 0.1), (False, True))])
def test_a_cross_entropy_of_many_logits_does(
    smoothing: float, weighted: bool, reduction: str, dtype: torch.dtype
) -> None:
    def loss(of: Callable[..., Tensor], x: Tensor) -> Tensor:
        weight = torch.tensor([0.2, 1.0, 3.0], dtype=x.dtype) if weighted else None
        named = {"weight": weight, "label_smoothing": smoothing, "reduction": reduction}
        return of(x, FIRST, **named)

    found = derivatives(partial(loss, function("cross_entropy")), scores().to(dtype))
    expected = derivatives(partial(loss, F.cross_entropy), scores().double())
    for mine, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(mine.double(), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 1.5, 2.0])
def test_a_focal_loss_of_what_is_wholly_right_is_flat(gamma: float) -> None:
    loss = partial(function("focal_loss"), target=FIRST, gamma=gamma)
    first, second = derivatives(loss, scores())
    assert first.isfinite().all() and second.isfinite().all()
    if gamma == 0:
        expected, _ = derivatives(partial(F.cross_entropy, target=FIRST), scores())
        torch.testing.assert_close(first, expected)


@pytest.mark.parametrize("name", ["smooth_l1_loss", "huber_loss"])
def test_a_loss_that_is_square_at_its_target_is_curved_there(name: str) -> None:
    target = torch.tensor([0.0, 0.2])
    _, second = derivatives(partial(function(name), target=target), torch.tensor([0.0, 0.5]))
    _, expected = derivatives(partial(getattr(F, name), target=target), torch.tensor([0.0, 0.5]))
    torch.testing.assert_close(second, expected)


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_a_distance_may_be_the_largest_difference(swap: bool, reduction: str) -> None:
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randn(6, 4, generator=generator).requires_grad_() for _ in range(3)]
    theirs: Callable[..., Tensor] = F.triplet_margin_loss
    named = {"p": float("inf"), "swap": swap, "reduction": reduction}
    found = function("triplet_margin_loss")(*rows, **named)
    expected = theirs(*rows, **named)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        torch.autograd.grad(found.sum(), rows), torch.autograd.grad(expected.sum(), rows)
    )
    with pytest.raises(ValueError, match="p > 0"):
        function("triplet_margin_loss")(*rows, p=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_normalised_with_the_epsilon_of_what_it_is_computed_in(
    dtype: torch.dtype,
) -> None:
    x = (torch.randn(3, 8, generator=torch.Generator().manual_seed(0)) * 0.01).to(dtype)
    torch.testing.assert_close(function("rms_norm")(x, (8,)), F.rms_norm(x, (8,)))


@pytest.mark.parametrize("target", [0.0, 0.5, 1.0])
def test_a_cross_entropy_of_a_vanishing_probability_has_a_gradient(target: float) -> None:
    x = torch.tensor([0.0, 1e-45, 1e-40, 1e-38, 1e-37, 1e-20], requires_grad=True)
    loss = function("binary_cross_entropy")(x, torch.full_like(x, target), reduction="none")
    expected = F.binary_cross_entropy(x, torch.full_like(x, target), reduction="none")
    torch.testing.assert_close(loss, expected)
    assert torch.autograd.grad(loss.sum(), x)[0].isfinite().all()
