"""The cost of a backward pass, counted on derivations whose cost is known."""

from __future__ import annotations

import pytest

from derive import define, exp, library
from derive.derivation import derive
from derive.simplification.cost import Cost, cost, largest_rank
from derive.simplification.work import NOMINAL_SIZE, work


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cross_entropy", Cost(passes=1, reductions=0, residuals=("target", "p"))),
        ("batch_norm", Cost(passes=3, reductions=2, residuals=("weight", "rstd", "x_hat"))),
        ("layer_norm", Cost(passes=6, reductions=4, residuals=("weight", "rstd", "x_hat"))),
        ("softmax", Cost(passes=2, reductions=1, residuals=("p",))),
        ("tanh", Cost(passes=1, reductions=0, residuals=("h",))),
    ],
)
def test_the_simplified_pass_costs_what_an_experts_does(name: str, expected: Cost) -> None:
    derivation = derive(library.load(name))
    assert cost(derivation.simplified, derivation) == expected


@pytest.mark.parametrize("name", library.names())
def test_simplification_never_costs_more(name: str) -> None:
    derivation = derive(library.load(name))
    chunked, simplified = (cost(b, derivation) for b in (derivation.chunked, derivation.simplified))
    assert simplified.passes <= chunked.passes
    assert simplified.reductions <= chunked.reductions


def test_a_scatter_is_a_pass_and_no_reduction() -> None:
    derivation = derive(library.load("embedding"))
    assert largest_rank(derivation.definition) == 3
    found = cost(derivation.simplified, derivation)
    assert (found.passes, found.reductions) == (1, 0)


def test_a_tensor_that_is_read_at_several_letters_costs_its_largest_read() -> None:
    op = define("read", "An element of each row, and all of them.")
    n, k = op.axes("n k")
    x, t = op.input("x", n, k), op.integers("t", n)
    gathered, whole = exp(x[n, t[n]]), exp(x[n, k])
    function_of_rows = 4 * NOMINAL_SIZE
    expected = work([whole]) + function_of_rows
    assert work([gathered, whole]) == work([whole, gathered]) == expected
