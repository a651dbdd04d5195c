"""A program computes nothing twice, and masks a cotangent rather than what it meets."""

from __future__ import annotations

import inspect
from types import ModuleType

import torch

from codegen.pipeline import compile
from derive import Eq, Max, Sum, Where, define, sin, sqrt
from gradsmith.kernels import launches


def backward(module: ModuleType) -> str:
    return inspect.getsource(module.backward)


def test_what_two_gradients_need_is_computed_once() -> None:
    op = define("wave", "The sine of a product.")
    n = op.axes("n")
    x, y = op.input("x", n), op.input("y", n)
    module = compile(op.build(op.let("z", [n], sin(x[n] * y[n]))))
    assert backward(module).count("torch.cos(") == 1


def test_a_mask_goes_onto_the_cotangent_where_several_gradients_read_it() -> None:
    op = define("ranked", "How far a product falls short of one.")
    n = op.axes("n")
    x, y = op.input("x", n), op.input("y", n)
    module = compile(op.build(op.let("z", [n], Max(1 - x[n] * y[n], 0))))
    assert backward(module).count("masked_fill") == 1


def test_one_sign_serves_two_gradients() -> None:
    op = define("apart", "How far two numbers are apart.")
    n = op.axes("n")
    x, y = op.input("x", n), op.input("y", n)
    module = compile(op.build(op.let("z", [n], abs(x[n] - y[n]))))
    _, residuals = module.forward(*torch.randn(2, 5))
    cotangent = torch.ones(5)
    found = launches(lambda: module.backward(cotangent, residuals))
    assert found.kernels == ("mul", "neg")


def test_a_power_that_is_not_chosen_does_not_reach_the_second_derivative() -> None:
    op = define("norm", "The norm of a row.")
    n, k = op.axes("n k")
    x = op.input("x", n, k)
    total = Sum(x[n, k] ** 2, k)
    module = compile(op.build(op.let("y", [n], Where(Eq(total, 0), 0, sqrt(total)))))
    leaf = torch.zeros(2, 3, requires_grad=True)
    (first,) = torch.autograd.grad(module.norm(leaf).sum(), leaf, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), leaf)
    assert second.isfinite().all()
