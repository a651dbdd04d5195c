"""Where no gradient will be asked for, a function computes its value and nothing else."""

from __future__ import annotations

import pytest
import torch

from codegen import pipeline
from derive import Eq, Where, define, log, sin, sqrt
from generated import gelu
from gradsmith.timing.launches import launches
from tests.codegen.drop_in import PUBLIC, calls, function, updates


@pytest.mark.parametrize("name", PUBLIC)
def test_a_value_without_gradients_is_the_same(name: str) -> None:
    of = function(name)
    for call in (c for c in calls(name) if not updates(name, c)):
        expected = call.at(of, call.given[call.first])
        with torch.no_grad():
            found = call.at(of, call.given[call.first])
        torch.testing.assert_close(found, expected.detach(), equal_nan=True)


def test_nothing_is_worked_out_for_a_gradient_that_nobody_asks_for() -> None:
    x = torch.randn(4, 3, requires_grad=True)
    with torch.no_grad():
        alone = launches(lambda: gelu.gelu(x))
    assert len(alone) < len(launches(lambda: gelu.forward(x.detach().flatten())))
    assert "exp" not in alone.kernels


def test_a_definition_without_an_interface_has_its_value_alone_too() -> None:
    op = define("wave", "The square of a sine.")
    n = op.axes("n")
    x = op.input("x", n)
    module = pipeline.compile(op.build(op.let("y", [n], sin(x[n]) ** 2)))
    given = torch.randn(5, dtype=torch.float64)
    with torch.no_grad():
        found = module.wave(given)
    torch.testing.assert_close(found, given.sin() ** 2)
    with torch.no_grad():
        assert "cos" not in launches(lambda: module.wave(given)).kernels
    assert "cos" in launches(lambda: module.wave(given)).kernels


def test_a_choice_for_the_gradient_alone_is_in_no_value() -> None:
    op = define("root", "A root, with no gradient at zero.")
    n = op.axes("n")
    x = op.input("x", n, nonnegative=True)
    root = op.build(op.let("y", [n], Where(Eq(x[n], 0), 0, sqrt(x[n]))))
    text = pipeline.source(root)
    assert "    y = torch.sqrt(x)\n" in text[: text.index("def backward(")]
    given = torch.tensor([0.0, 4.0], requires_grad=True)
    pipeline.compile(root).root(given).sum().backward()
    assert given.grad is not None and given.grad.tolist() == [0.0, 0.25]


def test_a_choice_for_the_value_stays() -> None:
    op = define("entropy", "What a probability of nothing adds to an entropy is nothing.")
    n = op.axes("n")
    x = op.input("x", n, nonnegative=True)
    entropy = op.build(op.let("y", [n], Where(Eq(x[n], 0), 0, x[n] * log(x[n]))))
    assert pipeline.compile(entropy).entropy(torch.tensor([0.0, 1.0])).tolist() == [0.0, 0.0]
