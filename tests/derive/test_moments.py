"""Second moments from which the means are taken become moments about the means."""

from __future__ import annotations

from derive import Mean, Sum, define, exp
from derive.calculus.rules import MOMENTS
from derive.derivation import derive
from derive.simplification.moments import about_the_mean


def test_a_covariance_matrix_is_one_of_differences() -> None:
    op = define("covariance", "Of columns, by moments.")
    n, d = op.axes("n d")
    e = d.another("e")
    x = op.input("x", n, d)
    mean = op.let("mean", [d], Mean(x[n, d], n))
    value = Mean(x[n, d] * x[n, e], n) - mean[d] * mean[e]
    definition = op.build(op.let("c", [d, e], value))
    found = about_the_mean(definition).lets[-1].value
    apart = (x[n, d] - Mean(x[n, d], n)) * (x[n, e] - Mean(x[n, e], n))
    assert found == Mean(apart, n)


def test_what_has_no_part_in_a_moment_stays_as_it_is_written() -> None:
    op = define("beside", "A variance beside something else.")
    n = op.axes("n")
    x = op.input("x", n)
    mean = op.let("mean", [], Mean(x[n], n))
    beside = mean * (1 + mean) * exp(mean)
    definition = op.build(op.let("y", [], Mean(x[n] ** 2, n) + beside - mean**2))
    found = about_the_mean(definition).lets[-1].value
    assert found == beside + Mean((x[n] - Mean(x[n], n)) ** 2, n)


def test_what_is_no_product_of_the_means_is_left_alone() -> None:
    op = define("no_variance", "A square of a sum, less a sum of squares.")
    n = op.axes("n")
    x = op.input("x", n)
    definition = op.build(op.let("y", [], Sum(x[n], n) ** 2 - Sum(x[n] ** 2, n)))
    assert about_the_mean(definition) == definition


def test_a_let_whose_gradient_is_wanted_is_not_seen_through() -> None:
    op = define("variance", "A variance, by two means.")
    n = op.axes("n")
    x = op.input("x", n)
    mean = op.let("mean", [], Mean(x[n], n))
    square = op.let("square", [], Mean(x[n] ** 2, n))
    definition = op.build(op.let("y", [], square - mean**2))
    derivation = derive(definition.with_wrt("square", "x"))
    (wanted, _) = (tensor for _, tensor in derivation.simplified.gradients)
    (found,) = (let for let in derivation.simplified.lets if let.tensor == wanted)
    assert found.value == derivation.seeds[0].element


def test_that_a_moment_is_about_the_mean_is_a_step() -> None:
    op = define("variance", "A variance by moments.")
    n = op.axes("n")
    x = op.input("x", n)
    definition = op.build(op.let("y", [], Mean(x[n] ** 2, n) - Mean(x[n], n) ** 2))
    first, *_ = derive(definition).steps
    assert (first.rule, first.tensor) == (MOMENTS, definition.lets[-1].tensor)


def test_differences_from_a_mean_are_not_added_up_where_nothing_is_multiplied_out() -> None:
    op = define("similarity", "Of two rows, by their means and moments.")
    p = op.axes("p")
    x, y = op.input("x", p), op.input("y", p)
    mx, my = op.let("mx", [], Mean(x[p], p)), op.let("my", [], Mean(y[p], p))
    sx = op.let("sx", [], Mean(x[p] ** 2, p) - mx**2)
    sy = op.let("sy", [], Mean(y[p] ** 2, p) - my**2)
    sxy = op.let("sxy", [], Mean(x[p] * y[p], p) - mx * my)
    above = (2 * mx * my + 1) * (2 * sxy + 1)
    definition = op.build(op.let("q", [], above / ((mx**2 + my**2 + 1) * (sx + sy + 1))))
    assert not any(let.value.has(Sum) for let in derive(definition).simplified.lets)
