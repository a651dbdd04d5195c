"""What the backward pass makes again stands beside what it makes of its own."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from codegen.pipeline import compile
from derive import Definition, StopGradient, Sum, cos, define, log, tanh
from gradsmith.proof.check import check


def parts_of_the_same_name() -> Definition:
    """Forward and backward each share a power of x, and not the same one."""
    op = define("shares_powers", "A power of x in each pass.")
    n = op.axes("n")
    x = op.input("x", n)
    m = n.another("m")
    q = op.let("q", [n], x[n] ** 3 * Sum(x[m] ** 2, m))
    return op.build(op.let("s", [n], x[n] ** 3 / (q[n] ** 2 + 1) ** 3))


def a_part_of_fewer_axes() -> Definition:
    """What is made again depends on fewer letters than it was declared with."""
    op = define("ignores_letters", "A value of one row, along all rows.")
    n, k, c = op.axes("n k c")
    x, a, b = op.input("x", n, k, c), op.input("a", k, c), op.input("b", k)
    row = op.integers("row_n", c)
    q = op.let("q", [n, k, c], a[k, c] + b[k] + 2 * x[row[c], k, c])
    return op.build(op.let("s", [n, c], log(tanh(q[n, 0, c]) ** 2 + 1)))


def a_sum_along_nothing() -> Definition:
    """What is made again reads a sum that is declared along a letter, and is the same for all."""
    op = define("repeats_a_sum", "One sum, at every element.")
    n = op.axes("n")
    a, b, row = op.input("a", n), op.input("b", n), op.integers("row_n", n)
    p = op.let("p", [n], Sum(StopGradient(a[n.another("m")]), n.another("m")))
    return op.build(op.let("q", [n], cos(b[row[n]] * p[n])))


@pytest.mark.parametrize(
    "made", [parts_of_the_same_name, a_part_of_fewer_axes, a_sum_along_nothing]
)
def test_what_is_made_again_keeps_apart_from_what_is_made_anew(
    made: Callable[[], Definition],
) -> None:
    definition = made()
    assert all(row.passed for row in check(definition, compile(definition, "c")))
