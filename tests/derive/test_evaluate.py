"""The evaluator against numbers worked out by hand and by the standard library."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import pytest
import sympy
from sympy import Expr

from derive import (
    Abs,
    And,
    ArgMax,
    Axis,
    Eq,
    Index,
    Let,
    Maximum,
    Mean,
    Ne,
    Not,
    Or,
    Product,
    Rational,
    StopGradient,
    Sum,
    Tensor,
    Where,
    define,
    delta,
    exp,
    log,
    pi,
    sqrt,
)
from derive.calculus.differentiate import partial
from derive.language.functions import FUNCTIONS
from derive.verification.arithmetic import Undefined
from derive.verification.evaluate import Array, evaluate, evaluate_expr

n, c = Index("n", Axis("n")), Index("c", Axis("c"))
i = n.another("i")
SIZES = {n.axis: 2, c.axis: 3}
x, row, scalar = Tensor("x", (n, c)), Tensor("row", (c,)), Tensor("scalar")
which = Tensor("which", (n,), integer=True)
VALUES = {
    "x": Array.of([[1, 2, 3], [-4, 5, 0]]),
    "row": Array.of([2, 3, 5]),
    "scalar": Array.of(7),
    "which": Array.of([2, 0]),
}


def value(expr: Expr, *letters: Index) -> Any:
    return evaluate_expr(expr, letters, VALUES, SIZES).nested()


@pytest.mark.parametrize(
    ("expr", "letters", "expected"),
    [
        (x[n, c] + scalar[()], (n, c), [[8, 9, 10], [3, 12, 7]]),
        (x[n, c] * row[c], (c, n), [[2, -8], [6, 15], [15, 0]]),
        (x[n, c] - row[c], (n, c), [[-1, -1, -2], [-6, 2, -5]]),
        (Sum(x[n, c], c), (n,), [6, 1]),
        (Sum(x[n, c], n), (c,), [-3, 7, 3]),
        (Sum(x[n, c], n, c), (), 7),
        (Sum(x[n, c], c) * Sum(x[n, c], c), (n,), [36, 1]),
        (Sum(x[n, c] * Sum(x[n, c], c), n), (c,), [2, 17, 18]),
        (Sum(row[c], n), (c,), [4, 6, 10]),
        (Mean(x[n, c], c), (n,), [2, 1 / 3]),
        (Product(x[n, c], c), (n,), [6, 0]),
        (Product(row[c], n), (c,), [4, 9, 25]),
        (Sum(x[n, c] * x[i, c], c), (n, i), [[14, 6], [6, 41]]),
        (Sum(Where(Ne(n, i), x[i, c], 0), i), (n, c), [[-4, 5, 0], [1, 2, 3]]),
        (x[n, which[n]], (n,), [3, -4]),
        (Sum(delta(c, which[n]) * row[c], n), (c,), [2, 0, 5]),
        (Sum(delta(c, which[n]) * x[n, c] * row[i], n, i), (c,), [-20, 0, 15]),
        (Sum(delta(c, n + i) * Where(x[n, c] > 0, x[n, c], 0), n, i), (c,), [1, 7, 0]),
        (ArgMax(x[n, c], c), (n,), [2, 1]),
        (ArgMax(0 * x[n, c], c), (n,), [0, 0]),
        (Maximum(x[n, c], c), (n,), [3, 5]),
        (n.size / (n.size - 1) * c.size, (), 6),
        (Rational(1, 4) * scalar[()], (), 1.75),
        (x[n, c] ** 2, (n, c), [[1, 4, 9], [16, 25, 0]]),
        (x[n, c] ** 0, (n, c), [[1, 1, 1], [1, 1, 1]]),
        (row[c] ** -1, (c,), [1 / 2, 1 / 3, 1 / 5]),
        (row[c] ** Rational(-3, 2), (c,), [2**-1.5, 3**-1.5, 5**-1.5]),
        (2 ** row[c], (c,), [4, 8, 32]),
        (sqrt(row[c]), (c,), [math.sqrt(2), math.sqrt(3), math.sqrt(5)]),
        (0.5 * scalar[()], (), 3.5),
        (pi * scalar[()], (), 7 * math.pi),
        (Where(And(x[n, c] > 0, x[n, c] < 3), 1, 0), (n, c), [[1, 1, 0], [0, 0, 0]]),
        (Where(Or(x[n, c] >= 3, Eq(x[n, c], 0)), 1, 0), (n, c), [[0, 0, 1], [0, 1, 1]]),
        (Where(Not(Eq(n, c)), 1, 0), (n, c), [[0, 1, 1], [1, 0, 1]]),
    ],
)
def test_an_expression_has_the_value_worked_out_by_hand(
    expr: Expr, letters: tuple[Index, ...], expected: Any
) -> None:
    found = evaluate_expr(expr, letters, VALUES, SIZES)
    wanted = Array.of(expected)
    assert found.shape == wanted.shape
    assert list(map(float, found.values)) == pytest.approx(list(map(float, wanted.values)))


def test_every_letter_of_an_expression_must_be_asked_for() -> None:
    with pytest.raises(ValueError, match="'c'"):
        value(x[n, c], n)


# Beyond the standard library's own functions: what the table's functions are, in double precision.
BY_NAME = {name: getattr(math, name) for name in dir(math)} | {
    "loggamma": math.lgamma,
    "Abs": abs,
    "sign": lambda v: math.copysign(1, v),
    "ceiling": math.ceil,
}


@pytest.mark.parametrize("function", [row.function for row in FUNCTIONS], ids=lambda f: f.__name__)
@pytest.mark.parametrize("at", ["0.3", "0.75", "1.5", "-0.6"])
def test_every_function_of_the_language_agrees_with_the_standard_library(
    function: Any, at: str
) -> None:
    try:
        expected = BY_NAME[function.__name__](float(at))
    except ValueError:
        expected = None
    point = {"scalar": Array((), (Decimal(at),))}
    if expected is None or (function is sympy.loggamma and float(at) < 0):
        with pytest.raises(Undefined):
            evaluate_expr(function(scalar[()]), (), point, {})
    else:
        found = evaluate_expr(function(scalar[()]), (), point, {}).nested()
        assert found == pytest.approx(expected, rel=1e-14)


def test_values_have_dozens_of_digits() -> None:
    e = evaluate_expr(exp(scalar[()] / 7), (), VALUES, SIZES)[()]
    assert (
        abs(e - Decimal("2.71828182845904523536028747135266249775724709369995"))
        < Decimal(10) ** -50
    )


def test_the_branch_that_is_not_taken_may_be_undefined() -> None:
    safe = Where(x[n, c] > 0, log(x[n, c]), 0)
    assert value(safe, n, c)[1] == [0, math.log(5), 0]


@pytest.mark.parametrize(
    "expr", [1 / x[n, c], log(x[n, c]), sqrt(x[n, c]), x[n, c] ** Rational(1, 3), exp(exp(exp(40)))]
)
def test_what_has_no_real_value_says_so(expr: Expr) -> None:
    with pytest.raises(Undefined):
        value(expr, n, c)


def test_the_mean_of_equal_numbers_is_that_number_exactly() -> None:
    ones = {"x": Array.of([[1, 1, 1], [1, 1, 1]])}
    spread = Mean(x[n, c], c) - x[n, c]
    assert set(evaluate_expr(spread, (n, c), ones, SIZES).values) == {0}
    with pytest.raises(Undefined):
        evaluate_expr(1 / spread, (n, c), ones, SIZES)


def test_an_undefined_let_is_named() -> None:
    y = Tensor("y", (n, c))
    with pytest.raises(Undefined, match="let 'y'"):
        evaluate([Let(y, 1 / x[n, c])], VALUES, SIZES)


def test_lets_are_evaluated_in_order_and_a_nudge_reaches_those_after() -> None:
    op = define("norm", "A row over its size.")
    m = op.axes("m")
    z = op.input("z", m)
    size = op.let("size", [], sqrt(Sum(z[m] ** 2, m)))
    unit = op.let("unit", [m], z[m] / size[()])
    definition = op.build(unit)
    values, sizes = {"z": Array.of([3, 4])}, {m.axis: 2}
    assert evaluate(definition.lets, values, sizes)["unit"].nested() == [0.6, 0.8]
    nudged = evaluate(definition.lets, values, sizes, {"size": Array.of(5)})
    assert (nudged["size"].nested(), nudged["unit"].nested()) == (10, [0.3, 0.4])


def test_a_stopped_gradient_reads_the_still_values() -> None:
    y = Tensor("y")
    let = Let(y, StopGradient(scalar[()] ** 2) + Abs(scalar[()]))
    still = {"scalar": Array.of(2)}
    assert evaluate([let], VALUES, SIZES)["y"].nested() == 56
    assert evaluate([let], VALUES, SIZES, still=still)["y"].nested() == 11


def test_an_array_is_made_from_nested_numbers_and_back() -> None:
    nested = [[[0.5, 1.0], [2.0, 3.0]], [[4.0, 5.0], [6.0, 7.0]]]
    array = Array.of(nested)
    assert (array.shape, array[1, 0, 1], array.nested()) == ((2, 2, 2), 5, nested)
    with pytest.raises(ValueError, match="one length"):
        Array.of([[1], [2, 3]])
    with pytest.raises(IndexError):
        array[0, 0, 2]


def test_a_wrong_number_of_indices_or_a_missing_name_is_an_error() -> None:
    with pytest.raises(ValueError, match="1 indices"):
        value(Tensor("x", (n,))[n], n)
    with pytest.raises(KeyError):
        value(Tensor("unheard_of", (n,))[n], n)


def test_a_function_without_a_derivative_says_where_its_rows_go() -> None:
    x = Tensor("x", (n,))
    with pytest.raises(NotImplementedError, match=r"language/functions\.py says which"):
        partial(sympy.gamma(x[n]), x, (i,))
