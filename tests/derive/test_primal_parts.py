"""What both passes compute is kept, where that keeps no more than before."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sympy import Expr, acos, atanh, loggamma

from derive import Abs, Eq, Sum, Where, define, exp, log, sqrt
from derive.derivation import derive
from derive.language.definition import Definition


def kept(definition: Definition) -> list[str]:
    return [tensor.name for tensor in derive(definition).residuals()]


def test_a_difference_is_kept_in_place_of_its_two_sides() -> None:
    op = define("squared", "The square of a distance.")
    n = op.axes("n")
    x, target = op.input("x", n), op.input("target", n)
    definition = op.build(op.let("y", [n], (x[n] - target[n]) ** 2))
    assert kept(definition) == ["x_minus_target"]


def test_an_element_at_a_place_is_called_by_it() -> None:
    op = define("area", "The square of a box's width.")
    n, c = op.axes("n c")
    x = op.input("x", n, c)
    definition = op.build(op.let("y", [n], (x[n, 2] - x[n, 0]) ** 2))
    assert kept(definition) == ["x_2_minus_x_0"]


def test_a_difference_is_computed_again_where_its_sides_are_kept_anyhow() -> None:
    op = define("both", "A product of two numbers and their distance squared.")
    n = op.axes("n")
    x, target = op.input("x", n), op.input("target", n)
    value = (x[n] - target[n]) ** 2 * exp(x[n]) * exp(2 * target[n])
    definition = op.build(op.let("y", [n], value))
    assert "x_minus_target" not in kept(definition)


def test_a_sum_is_kept_rather_than_done_again() -> None:
    op = define("length", "The length of a row, and a number that is added.")
    n, k = op.axes("n k")
    x = op.input("x", n, k)
    total = Sum(x[n, k] ** 2, k)
    definition = op.build(op.let("y", [n], Where(Eq(total, 0), 0, sqrt(total))))
    assert kept(definition) == ["x", "x_squared_sum"]


def test_what_has_no_value_where_it_is_not_chosen_is_left_in_its_branch() -> None:
    op = define("entropy", "x log x, and nothing at 0.")
    n = op.axes("n")
    x = op.input("x", n, nonnegative=True)
    definition = op.build(op.let("y", [n], Where(Eq(x[n], 0), 0, x[n] * log(x[n]))))
    assert kept(definition) == ["x"]


@pytest.mark.parametrize("partial", [acos, atanh, loggamma, log])
def test_what_is_summed_where_it_has_a_value_is_not_summed_elsewhere(
    partial: Callable[[Expr], Expr],
) -> None:
    op = define("within", "A sum over a row, where all of it is within reach.")
    n, k = op.axes("n k")
    x = op.input("x", n, k)
    reached = op.let("s", [n], Sum(x[n, k] ** 2, k))
    inside = Sum(partial(x[n, k]), k) ** 2
    definition = op.build(op.let("y", [n], Where(reached[n] < 1, inside, 0)))
    assert all(let.value.has(Where) for let in derive(definition).forward if let.value.has(partial))


def test_a_gradient_that_is_made_of_others_is_written_so() -> None:
    op = define("between", "How far one number is from two others.")
    n = op.axes("n")
    a, b, c = (op.input(name, n) for name in "abc")
    definition = op.build(op.let("y", [n], Abs(a[n] - b[n]) + 3 * Abs(a[n] - c[n])))
    gradients = {let.name: str(let.value) for let in derive(definition).backward.lets}
    assert gradients["grad_a"] == "-grad_b[n] - grad_c[n]"
