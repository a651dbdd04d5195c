"""The second derivative has formulas of its own, and autograd takes it from there."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib import import_module

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from codegen import pipeline
from derive import StopGradient, define, exp, library, sin
from derive.derivation import derive
from derive.second import backward_of
from gradsmith.check import check

Function = Callable[[Tensor], Tensor]

EMITTED = [name for name in library.names() if not library.load(name).chunked]


@pytest.mark.parametrize("name", EMITTED)
def test_every_emitted_module_has_it_for_each_variant(name: str) -> None:
    module = import_module(f"generated.{name}")
    for variant in library.load(name).variants:
        suffix = f"_{variant.variant}" if variant.variant else ""
        assert callable(getattr(module, f"double_backward{suffix}"))


def test_the_backward_pass_is_a_definition_with_the_cotangents_among_its_inputs() -> None:
    op = define("wave", "The sine of each element.")
    n = op.axes("n")
    x = op.input("x", n)
    backward = backward_of(derive(op.build(op.let("y", [n], sin(x[n])))))
    assert [t.name for t in backward.inputs] == ["x", "first_y"]
    assert backward.outputs == ("first_x",)
    assert backward.wrt == ("x", "first_y")


def layer_norm(x: Tensor) -> Tensor:
    centred = x - x.mean(1, keepdim=True)
    return centred * torch.rsqrt((centred**2).mean(1, keepdim=True) + 1e-5)


# PyTorch's own `layer_norm` is not right a third time, so its steps stand in for it.
TRUTH: dict[str, tuple[tuple[object, ...], Function]] = {
    "softmax": ((1,), lambda x: torch.softmax(x, 1)),
    "layer_norm": (((4,),), layer_norm),
    "gelu": ((), F.gelu),
    "logsumexp": ((1,), lambda x: torch.logsumexp(x, 1)),
}


@pytest.mark.parametrize("name", TRUTH)
def test_a_third_derivative_is_right(name: str) -> None:
    arguments, truth = TRUTH[name]
    operation = getattr(import_module(f"generated.{name}"), name)
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)

    def third(function: Function) -> Tensor:
        value = function(x)
        for _ in range(3):
            weights = torch.linspace(-1, 2, value.numel(), dtype=torch.float64)
            (value,) = torch.autograd.grad((value.flatten() * weights).sum(), x, create_graph=True)
        return value

    torch.testing.assert_close(third(lambda x: operation(x, *arguments)), third(truth))


def test_what_is_stopped_in_the_first_derivative_is_stopped_in_the_second() -> None:
    op = define("half_seen", "A product of which one factor is only looked at.")
    n = op.axes("n")
    x = op.input("x", n)
    definition = op.build(op.let("y", [n], exp(x[n]) * StopGradient(sin(x[n]) * math.pi)))
    module = pipeline.compile(definition, second_order=True)
    assert hasattr(module, "double_backward")
    assert all(row.passed for row in check(definition, module))
