"""What a choice leaves out is left out of the gradients, too, whatever it would be there."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from codegen.pipeline import compile
from derive import Definition, library
from derive.notation.reading import read


def written(text: str) -> Definition:
    (definition,) = read(text, library.load).values()
    return definition


LEFT_OUT = {
    "a root": ("r[n] = sqrt(g[n])\ny[n] = where(g[n] > 0, g[n]*r[n], 0)", [-1.0, 0.0, 4.0], 3.0),
    "a logarithm": ("l[n] = log(g[n])\ny[n] = where(g[n] > 0, g[n]*l[n], 0)", [-1.0, 0.0, 1.0], 1),
    "a quotient": ("r[n] = 1/g[n]\ny[n] = where(g[n] > 0, r[n], 0)", [-1.0, 0.0, 2.0], -0.25),
}


@pytest.mark.parametrize("target", ["torch", "c"])
@pytest.mark.parametrize(("text", "given", "slope"), LEFT_OUT.values(), ids=LEFT_OUT)
def test_a_let_is_differentiated_where_it_is_chosen(
    text: str, given: list[float], slope: float, target: str, c_compiler: None
) -> None:
    g = torch.tensor(given, requires_grad=True)
    y = compile(written(text), target).operation(g)
    (gradient,) = torch.autograd.grad(y.sum(), g)
    assert gradient.tolist() == [0, 0, slope]


@pytest.mark.parametrize("target", ["torch", "c"])
def test_a_logarithm_beside_an_exponential_stays_behind_what_it_asks_for(
    target: str, c_compiler: None
) -> None:
    text = "l[n] = log(g[n])\ny[n] = where(g[n] > 0, exp(a[n])*l[n], 0)"
    given = {"g": torch.tensor([-1.0, 0.0, 1.0]), "a": torch.tensor([1.0, 2.0, 0.0])}
    definition = written(text)
    leaves = [given[tensor.name].requires_grad_() for tensor in definition.inputs]
    y = compile(definition, target).operation(*leaves)
    found = dict(zip(given, torch.autograd.grad(y.sum(), list(given.values())), strict=True))
    assert found["g"].tolist() == [0, 0, 1]
    assert found["a"].tolist() == [0, 0, 0]


NORM = "s[b] = sqrt(sum_n(x[b,n]**2))\n"
DIRECTION = f"{NORM}y[b,n] = where(s[b] > 0, x[b,n]/s[b], 0)"
CLIPPED = f"{NORM}y[b,n] = x[b,n]*min(1, 1/s[b])"


@pytest.mark.parametrize("target", ["torch", "c"])
@pytest.mark.parametrize(("text", "at_zero"), [(DIRECTION, 0.0), (CLIPPED, 1.0)])
def test_a_row_of_zeros_has_the_gradient_of_what_is_chosen_for_it(
    text: str, at_zero: float, target: str, c_compiler: None
) -> None:
    x = torch.tensor([[0.0, 0.0], [3.0, 4.0]], requires_grad=True)
    y = compile(written(text), target).operation(x)
    (gradient,) = torch.autograd.grad(y[:, 0].sum(), x)
    assert gradient[0].tolist() == [at_zero, 0]
    direction = F.normalize(x[1:])[:, 0]
    (expected,) = torch.autograd.grad(direction.sum(), x)
    assert torch.allclose(gradient[1], expected[1])


def test_a_second_derivative_leaves_out_what_the_first_does() -> None:
    text = "y[i] = where(g[i] > 0, g[i]*log(g[i])*a[i]*sum_j(a[j]), 0)"
    function = compile(written(text)).operation

    def second(g: Tensor, a: Tensor) -> list[Tensor]:
        g, a = g.requires_grad_(), a.requires_grad_()
        given = function(g, a).sum()
        first = torch.autograd.grad(given, (g, a), create_graph=True)
        squares = torch.stack([each.square().sum() for each in first])
        return list(torch.autograd.grad(squares.sum(), (g, a)))

    a = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    left_out = second(torch.tensor([-1.0, 0.2, 0.8], dtype=torch.float64), a.clone())
    nothing = second(torch.tensor([0.0, 0.2, 0.8], dtype=torch.float64), a.clone())
    one = second(torch.tensor([1.0, 0.2, 0.8], dtype=torch.float64), a.clone())
    for mine, other, chosen in zip(left_out, nothing, one, strict=True):
        assert mine.isfinite().all()
        assert torch.equal(mine, other)
        assert not torch.allclose(mine, chosen)
    assert left_out[0][0] == 0


HARD = """p[n] = 1/(1 + exp(-x[n]))
loss[n] = where(t[n] > 1/2, -log(p[n]), -log(1 - p[n]))"""


@pytest.mark.parametrize("target", ["torch", "c"])
def test_a_choice_of_two_logarithms_is_as_safe_as_their_sum(target: str, c_compiler: None) -> None:
    x = torch.tensor([-1e4, -100.0, -20.0, 0.0, 20.0, 100.0, 1e4], requires_grad=True)
    t = torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    function = compile(written(HARD), target).operation
    loss = function(x, t)
    assert torch.allclose(loss, F.binary_cross_entropy_with_logits(x, t, reduction="none"))
    (gradient,) = torch.autograd.grad(loss.sum(), x, create_graph=True)
    assert torch.allclose(gradient, x.sigmoid() - t)
    (again,) = torch.autograd.grad(gradient.sum(), x)
    assert torch.allclose(again, x.sigmoid() * (-x).sigmoid())


def test_the_logarithm_of_a_choice_is_the_choice_of_their_logarithms() -> None:
    text = """p[n] = 1/(1 + exp(-x[n]))
    right[n] = where(t[n] > 1/2, p[n], 1 - p[n])
    loss[n] = -log(right[n])"""
    x, t = torch.tensor([-100.0, 200.0, -200.0]), torch.tensor([1.0, 0.0, 0.0])
    loss = compile(written(text)).operation(x, t)
    assert torch.allclose(loss, F.binary_cross_entropy_with_logits(x, t, reduction="none"))
