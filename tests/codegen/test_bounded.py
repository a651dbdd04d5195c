"""A value that is kept from passing a bound is clamped, where nobody differentiates that."""

from __future__ import annotations

import pytest
import torch

from codegen.pipeline import compile, source
from derive import Max, Min, Where, define, library
from derive.language.definition import Definition
from derive.notation.reading import read


def definition(text: str) -> Definition:
    (found,) = read(f"op: Bounded.\n{text}", library.load).values()
    return found


@pytest.mark.parametrize(
    ("text", "emitted"),
    [
        ("y[n] = max(x[n], 0)", "y = x.clamp(min=0)"),
        ("y[n] = min(x[n], 3)", "y = x.clamp(max=3)"),
        ("y[n] = min(max(x[n], -0.5), 1.5)", "y = x_chosen.clamp(max=1.5)"),
        ("y[n] = where(x[n] < 0.5, 0.5, x[n])", "y = x.clamp(min=0.5)"),
        ("y = sum_n(max(1 - x[n], 0))", "y = one_minus_x.clamp(min=0).sum()"),
    ],
)
def test_a_bound_is_a_clamp(text: str, emitted: str) -> None:
    assert emitted in source(definition(text))


@pytest.mark.parametrize(
    "text",
    [
        "y[n] = where(x[n] > 0, x[n], 0)",  # 0 where x is not a number
        "y[n] = where(x[n] < 0, 1, x[n])",
        "y[n] = max(x[n], z[n])",
    ],
)
def test_another_choice_is_none(text: str) -> None:
    assert "clamp" not in source(definition(text))


def test_bounds_are_met_in_the_order_that_is_written() -> None:
    op = define("held", "The lower bound is met last.")
    n = op.axes("n")
    x, low, high = op.input("x", n), op.option("low", 2.0), op.option("high", 1.0)
    held = compile(op.build(op.let("y", [n], Max(Min(x[n], high), low))))
    assert held.held(torch.tensor([0.0, 1.5, 3.0])).tolist() == [2.0, 2.0, 2.0]


def test_what_is_not_a_number_stays_so_and_a_mask_that_nothing_reads_goes() -> None:
    op = define("relu_like", "The positive part, and how steep it is.")
    n = op.axes("n")
    x = op.input("x", n)
    y = op.let("y", [n], Where(x[n] <= 0, 0, x[n]))
    module = compile(op.build(y))
    found = module.relu_like(torch.tensor([torch.nan, -1.0, 2.0]))
    assert found.isnan().tolist() == [True, False, False]
    assert found[1:].tolist() == [0.0, 2.0]
    value = source(op.build(y)).split("def _value")[1].split("return")[0]
    assert "y = x.clamp(min=0)" in value
    assert "x_not_positive" not in value
