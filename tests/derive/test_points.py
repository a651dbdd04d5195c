"""Random points keep what a definition says of its tensors, and differences are sharp there."""

from __future__ import annotations

from decimal import Decimal

import pytest

from derive import (
    Definition,
    Rational,
    StopGradient,
    Sum,
    Where,
    define,
    delta,
    exp,
    library,
    log,
    sqrt,
)
from derive.verification.arithmetic import Undefined
from derive.verification.evaluate import Array
from derive.verification.points import (
    Point,
    finite_difference,
    index_bounds,
    kinked_point,
    random_point,
    two_sizes,
)


def facts() -> Definition:
    op = define("facts", "A tensor with each fact.")
    n, c = op.axes("n c")
    i = n.another("i")
    a = op.input("a", n, i, symmetric=True)
    p = op.input("p", n, c, sums_to_one=c)
    q = op.input("q", c, positive=True)
    r = op.input("r", c, nonnegative=True)
    which = op.integers("which", n)
    beta = op.option("beta", 0.9, positive=True)
    steps = op.option("steps", 3, integer=True)
    y = op.let(
        "y",
        [n],
        Sum(p[n, c] * q[c] ** beta * sqrt(r[c]) ** steps, c) + r[which[n]] + Sum(a[n, i], i),
    )
    return op.build(y)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("which", [0, 1])
def test_a_point_keeps_the_facts_of_the_inputs(seed: int, which: int) -> None:
    definition = facts()
    point = random_point(definition, two_sizes(definition)[which], seed)
    a, p = point.values["a"], point.values["p"]
    size_n, size_c = p.shape
    assert all(a[i, j] == a[j, i] for i in range(size_n) for j in range(size_n))
    assert all(sum(p[i, j] for j in range(size_c)) == 1 for i in range(size_n))
    assert min(*p.values, *point.values["q"].values, *point.values["beta"].values) > 0
    assert min(point.values["r"].values) >= 0
    assert all(0 <= v < size_c for v in point.values["which"].values)
    assert isinstance(point.values["steps"].values[0], int)


def test_the_two_sizes_differ_from_each_other_and_are_at_least_three() -> None:
    for name in library.names():
        definition = library.load(name)
        rising, falling = two_sizes(definition)
        assert rising != falling
        for sizes in (rising, falling):
            assert len(set(sizes.values())) == len(definition.axes)
            assert min(sizes.values()) >= 3


def test_the_same_seed_gives_the_same_point() -> None:
    definition = facts()
    sizes = two_sizes(definition)[0]
    assert random_point(definition, sizes, 4) == random_point(definition, sizes, 4)
    assert random_point(definition, sizes, 4) != random_point(definition, sizes, 5)


@pytest.mark.parametrize("power", [Rational(1, 2), Rational(-1, 2)])
def test_a_point_is_found_inside_the_domain(power: Rational) -> None:
    op = define("narrow", "Defined on a part of the line only.")
    n = op.axes("n")
    x = op.input("x", n)
    y = op.let("y", [n], log(x[n]) + (1 - x[n] ** 2) ** power)
    definition = op.build(y)
    point = random_point(definition, two_sizes(definition)[0], 0)
    assert all(0 < v < 1 for v in point.values["x"].values)


def test_a_definition_without_a_value_anywhere_says_which_let_has_none() -> None:
    op = define("nowhere", "Defined nowhere.")
    n = op.axes("n")
    x = op.input("x", n)
    definition = op.build(op.let("y", [n], log(-exp(x[n]))))
    with pytest.raises(Undefined, match=r"'nowhere'.*let 'y'"):
        random_point(definition, two_sizes(definition)[0], 0)


def test_indices_stay_inside_the_smallest_axis_that_they_are_used_on() -> None:
    op = define("picked", "Picks from two tables.")
    n, k, m = op.axes("n k m")
    a, b, which = op.input("a", k), op.input("b", m), op.integers("which", n)
    definition = op.build(op.let("y", [n], a[which[n]] * b[which[n]]))
    assert index_bounds(definition, {n.axis: 9, k.axis: 5, m.axis: 4}) == {"which": range(4)}


def test_indices_to_which_something_is_added_stay_inside_with_it() -> None:
    op = define("moved", "Picks what comes before and after.")
    n, k = op.axes("n k")
    a, at = op.input("a", k), op.integers("at", n)
    beside = Where(at[n] > 1, a[at[n] - 2], 0)
    between = op.build(op.let("y", [n], a[at[n] + 1] - a[at[n] - 1] + beside))
    assert index_bounds(between, {n.axis: 9, k.axis: 5}) == {"at": range(1, 4)}


def test_two_ends_of_an_edge_are_different_points() -> None:
    op = define("edges", "How long edges are.")
    m, p = op.axes("m p")
    r, i, j = op.input("r", p), op.integers("i", m), op.integers("j", m)
    definition = op.build(op.let("d", [m], sqrt((r[i[m]] - r[j[m]]) ** 2)))
    for seed in range(20):
        values = random_point(definition, {m.axis: 9, p.axis: 3}, seed).values
        assert all(a != b for a, b in zip(values["i"].values, values["j"].values, strict=True))


def test_there_is_something_at_each_place_where_a_mean_needs_it() -> None:
    op = define("middle", "Means by label.")
    m, q = op.axes("m q")
    x, w, label = op.input("x", m), op.input("w", q), op.integers("label", m)
    here = delta(q, label[m])
    middle = op.let("middle", [q], w[q] * Sum(here * x[m], m) / Sum(here, m))
    definition = op.build(middle)
    for sizes in two_sizes(definition):
        assert sizes[m.axis] > sizes[q.axis]
        labels = random_point(definition, sizes, 0).values["label"].values
        assert {*labels} == {*range(sizes[q.axis])}


def test_labels_that_are_compared_may_be_equal() -> None:
    op = define("agreed", "The scores of what two people call the same.")
    m, p = op.axes("m p")
    r, i, j = op.input("r", p), op.integers("i", m), op.integers("j", m)
    definition = op.build(op.let("d", [], Sum(r[i[m]] * r[j[m]] * delta(i[m], j[m]), m)))
    values = random_point(definition, {m.axis: 9, p.axis: 3}, 0).values
    assert any(a == b for a, b in zip(values["i"].values, values["j"].values, strict=True))


def test_a_kinked_point_has_ties_and_zeros() -> None:
    definition = library.load("softmax")
    point = kinked_point(definition, 0)
    assert point is not None
    assert set(point.values["x"].values) == {-1, 0, 1}


def test_a_finite_difference_is_sharp_to_two_dozen_digits() -> None:
    op = define("cube", "A cube.")
    n = op.axes("n")
    x = op.input("x", n)
    definition = op.build(op.let("y", [n], x[n] ** 3))
    point = Point({n.axis: 3}, {"x": Array.of([1, 2, 3])})
    found = finite_difference(
        definition.lets, point, {"x": Array.of([1, 0, 2])}, {"y": Array.of([1, 1, 1])}
    )
    assert abs(found - (3 + 2 * 27)) < Decimal("1e-24")


def test_a_let_can_be_moved_beside_what_its_own_value_does() -> None:
    op = define("chain", "A square, doubled.")
    x = op.input("x")
    a = op.let("a", [], x[()] ** 2)
    definition = op.build(op.let("y", [], 2 * a[()]))
    point, one = Point({}, {"x": Array.of(3)}), Array.of(1)
    assert finite_difference(definition.lets, point, {"a": one}, {"y": one}) == 2
    both = finite_difference(definition.lets, point, {"a": one, "x": one}, {"y": one})
    assert both == pytest.approx(14)


def test_a_stopped_gradient_is_held_still() -> None:
    op = define("half", "Half of the gradient of a square.")
    x = op.input("x")
    definition = op.build(op.let("y", [], StopGradient(x[()]) * x[()]))
    point, one = Point({}, {"x": Array.of(5)}), Array.of(1)
    assert finite_difference(definition.lets, point, {"x": one}, {"y": one}) == 5
