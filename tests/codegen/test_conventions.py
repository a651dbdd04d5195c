"""Arguments that mean something by their name, and what docstrings say of all arguments."""

from __future__ import annotations

import inspect
import re
from types import ModuleType

import pytest
import torch

from codegen.pipeline import compile
from derive import Builder, Sum, define
from derive.language.conventions import CONVENTIONS


def meanings(module: ModuleType, name: str) -> dict[str, str]:
    """What the docstring of a public function says of each argument."""
    described = inspect.getdoc(getattr(module, name)) or ""
    arguments = described[described.index("\nArgs:\n") : described.index("\nReturns:\n")]
    return dict(re.findall(r"^    (\w+): (.*)$", arguments, re.MULTILINE))


def doubled(signature: str, *demands: str) -> ModuleType:
    op = define("doubled", "Twice each element.")
    op.called(signature)
    n = op.axes("n", "elements")
    x = op.input("x", n)
    for demand in demands:
        op.demand(demand, raises="NotImplementedError")
    return compile(op.build(op.let("y", [n], 2 * x[n])))


def test_an_argument_that_nothing_is_said_of_is_said_to_do_nothing() -> None:
    module = doubled("x, max_norm=None, sparse=False")
    told = meanings(module, "doubled")
    assert told["sparse"] == told["max_norm"] == "no part of the formulas."
    assert module.doubled(torch.ones(2), 1.0, True).tolist() == [2, 2]


def test_what_is_demanded_of_one_argument_is_said_of_it() -> None:
    module = doubled("x, max_norm=None, sparse=False, p=2.0", "max_norm is None and not sparse")
    told = meanings(module, "doubled")
    assert told["max_norm"] == "must be None."
    assert told["sparse"] == "must be False."
    assert told["p"] == "no part of the formulas."
    with pytest.raises(NotImplementedError):
        module.doubled(torch.ones(2), None, True)


def test_a_choice_means_what_the_definition_says_whatever_its_name() -> None:
    op = define("scattered", "A sum, or its square.")
    op.called("x, reduce='sum', keepdim=1.0")
    n, k = op.axes("n k", "rest last")
    x, keepdim = op.input("x", n, k), op.option("keepdim", 1.0)
    total = Sum(x[n, k], k) * keepdim
    y = op.cases("y", "reduce", {"sum": ([n], total), "square": ([n], total**2)})
    module = compile(op.build(y))
    told = meanings(module, "scattered")
    assert told["reduce"] == "'sum' or 'square'."
    assert told["keepdim"] == "a number."
    x = torch.tensor([[1.0, 2.0]])
    assert module.scattered(x, "square", keepdim=2.0).tolist() == [36]


def test_a_convention_is_none_without_what_it_needs() -> None:
    told = meanings(doubled("x, size_average=None, keepdim=False, dim=0"), "doubled")
    assert {*told.values()} == {"x[n].", "no part of the formulas."}


@pytest.mark.parametrize("name", CONVENTIONS)
def test_users_are_told_which_names_mean_something(name: str) -> None:
    assert f"`{name}`" in (Builder.called.__doc__ or "")
