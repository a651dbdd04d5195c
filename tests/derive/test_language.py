"""The language: what it says of a mistake, and what it makes of a definition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sympy

from derive import (
    And,
    ArgMax,
    Builder,
    Definition,
    DefinitionError,
    Index,
    Max,
    Maximum,
    Mean,
    Minimum,
    Product,
    Sum,
    Where,
    define,
    delta,
    exp,
)

Mistake = Callable[[], object]


def begun() -> tuple[Builder, Index, Index]:
    op = define("scaled", "Scales columns.")
    n, c = op.axes("n c")
    op.input("x", n, c)
    return op, n, c


def wrong_axis() -> object:
    op = define("scaled", "Scales columns.")
    n, c = op.axes("n c")
    x, weight = op.input("x", n, c), op.input("weight", c)
    return op.let("y", [n, c], weight[n] * x[n, c])


def indices_exchanged() -> object:
    op = define("scaled", "Scales columns.")
    n, c = op.axes("n c")
    return op.let("y", [n, c], op.input("x", n, c)[c, n])


def unknown_name() -> object:
    op, n, c = begun()
    other = define("other", "Another.")
    other.axes("n c")
    return op.let("y", [n, c], other.input("z", n, c)[n, c])


def tensor_of_another() -> object:
    op, n, c = begun()
    other = define("other", "Another.")
    other.axes("n c")
    return op.let("y", [n, c], other.input("x", n, c, positive=True)[n, c])


def repeated_let() -> object:
    op, n, c = begun()
    op.let("y", [n], n.size)
    return op.let("y", [c], c.size)


def repeated_input() -> object:
    op, n, _ = begun()
    return op.input("x", n)


def repeated_axis() -> object:
    op, _, _ = begun()
    return op.axes("n")


def an_axis_as_a_name() -> object:
    op, _, _ = begun()
    return op.input("n")


def size_as_a_name() -> object:
    op, n, _ = begun()
    return op.input("N", n)


def axis_missing_on_the_left() -> object:
    op = define("scaled", "Scales columns.")
    n, c = op.axes("n c")
    return op.let("y", [n], op.input("x", n, c)[n, c] ** 2)


def letter_twice_on_the_left() -> object:
    op, n, _ = begun()
    return op.let("y", [n, n], n.size)


def letter_of_another_axis() -> object:
    op = define("scaled", "Scales columns.")
    n, c = op.axes("n c")
    x = op.input("x", n, c)
    i = n.another("c")
    return op.let("y", [c], Sum(x[i, c], i))


def axis_of_another_definition() -> object:
    op, n, _ = begun()
    m = define("other", "Another.").axes("m")
    return op.let("y", [n], Sum(1, m))


def unsupported_function() -> object:
    op = define("scaled", "Scales columns.")
    n = op.axes("n")
    return op.let("y", [n], sympy.Heaviside(op.input("x", n)[n]))


def undefined_function() -> object:
    op = define("scaled", "Scales columns.")
    n = op.axes("n")
    return op.let("y", [n], sympy.Function("mystery")(op.input("x", n)[n]))


def infinity() -> object:
    op = define("scaled", "Scales columns.")
    n = op.axes("n")
    x = op.input("x", n)
    return op.build(op.let("y", [n], Where(x[n] > 0, x[n], -sympy.oo)))


def too_few_indices() -> object:
    op = define("scaled", "Scales columns.")
    n, c = op.axes("n c")
    return op.let("y", [n], op.input("x", n, c)[n])


def no_indices() -> object:
    op = define("scaled", "Scales columns.")
    n, c = op.axes("n c")
    return op.let("y", [n, c], exp(op.input("x", n, c)))


def arithmetic_on_an_index() -> object:
    op = define("scaled", "Scales columns.")
    n = op.axes("n")
    return op.let("y", [n], op.input("x", n)[n + 1])


def a_real_tensor_as_an_index() -> object:
    op = define("scaled", "Scales columns.")
    n = op.axes("n")
    x = op.input("x", n)
    return op.let("y", [n], x[x[n]])


def a_summary_of_two_lines() -> object:
    return define("scaled", "Scales columns.\ny[n] = 2*x[n]")


def text_for_an_expression() -> object:
    op, n, c = begun()
    return op.let("y", [n, c], "x[n, c]")


def a_condition_for_a_value() -> object:
    op = define("scaled", "Scales columns.")
    n = op.axes("n")
    return op.let("y", [n], op.input("x", n)[n] > 0)


def integers_asked_for() -> object:
    op = define("picked", "Picks.")
    n, c = op.axes("n c")
    x, which = op.input("x", n, c), op.integers("which", n)
    return op.build(op.let("y", [n], x[n, which[n]]), wrt=[x, which])


def only_integers() -> object:
    op = define("squared", "Squares.")
    n = op.axes("n")
    return op.build(op.let("y", [n], op.integers("which", n)[n] ** 2))


def gradient_asked_for_twice() -> object:
    op = define("squared", "Squares.")
    n = op.axes("n")
    x = op.input("x", n)
    return op.build(op.let("y", [n], x[n] ** 2), wrt=[x, x])


def empty() -> object:
    op, _, _ = begun()
    return op.build()


def nothing_asked_of_it() -> object:
    op, n, _ = begun()
    op.let("y", [n], n.size)
    return op.build()


def an_input_for_an_output() -> object:
    op = define("scaled", "Scales columns.")
    n = op.axes("n")
    x = op.input("x", n)
    op.let("y", [n], x[n] ** 2)
    return op.build(x)


def integers_for_an_output() -> object:
    op = define("largest", "Where each row is largest.")
    n, c = op.axes("n c")
    x = op.input("x", n, c)
    return op.build(op.let("best", [n], ArgMax(x[n, c], c)))


def argmax_of_a_constant() -> object:
    op, n, c = begun()
    return op.let("y", [n], ArgMax(n, c))


def argmax_over_two_letters() -> object:
    op = define("largest", "Where the largest of all stands.")
    n, c = op.axes("n c")
    x = op.input("x", n, c)
    return op.let("best", [], ArgMax(x[n, c], n, c))


def a_number_for_a_condition() -> object:
    op = define("chosen", "The chosen elements.")
    n = op.axes("n")
    x = op.input("x", n)
    return op.let("y", [n], Where(x[n], x[n], 0))


def a_number_among_conditions() -> object:
    op = define("chosen", "The chosen elements.")
    n = op.axes("n")
    x, gate = op.input("x", n), op.input("gate")
    return op.let("y", [n], Where(And(gate[()], x[n] > 0), x[n], 0))


def delta_of_a_real_tensor() -> object:
    op = define("picked", "The weight that each element names.")
    n, k = op.axes("n k")
    x, w = op.input("x", n), op.input("w", k)
    return op.let("y", [n, k], delta(k, x[n]) * w[k])


def a_sum_of_one_over_a_letter_that_it_has_not() -> object:
    op = define("expected", "Expected values.")
    n, k, m = op.axes("n k m")
    return op.input("p", n, k, sums_to_one=m)


def symmetric_over_two_axes() -> object:
    op = define("paired", "Pairs.")
    n, k = op.axes("n k")
    return op.input("a", n, k, symmetric=True)


def scaled_by_an_option() -> Definition:
    op = define("scaled", "Scales by a rate that has no default.")
    n = op.axes("n")
    x, rate = op.input("x", n), op.option("rate")
    return op.build(op.let("y", [n], rate * x[n]))


def an_option_left_out_of_a_call() -> object:
    op = define("caller", "Uses another.")
    return op.call(scaled_by_an_option(), {"x": op.input("z", op.axes("n"))})


def no_gradient_asked_for() -> object:
    op, n, _ = begun()
    return op.build(op.let("y", [n], n.size), wrt=[])


def no_signature() -> object:
    return define("scaled", "Scales columns.").called("x y z")


def more_roles_than_axes() -> object:
    return define("scaled", "Scales columns.").axes("n c", "rest channel last")


def paired_with_nothing() -> object:
    op = define("scaled", "Scales columns.")
    return op.input("x", op.axes("n"), given="paired")


def axes_without_roles() -> object:
    op = define("scaled", "Scales columns.")
    op.called("x")
    n = op.axes("n")
    return op.build(op.let("y", [n], op.input("x", n)[n]))


def two_results() -> object:
    op = define("moments", "Both of them.")
    op.called("x")
    n, c = op.axes("n c", "rest last")
    x = op.input("x", n, c)
    mean = op.let("mean", [n], Mean(x[n, c], c))
    return op.build(mean, op.let("square", [n], Mean(x[n, c] ** 2, c)))


def an_update_by_no_choice() -> object:
    op = define("scaled", "Scales columns.")
    op.called("x, buffer")
    n, c = op.axes("n c", "rest last")
    x, buffer = op.input("x", n, c), op.input("buffer", c)
    y = op.let("y", [n, c], x[n, c])
    op.update(buffer, Mean(x[n, c], n), training=True)
    return op.build(y, wrt=[x])


def a_constant_that_holds_integers() -> object:
    op = define("picked", "Picks an element.")
    return op.constant(op.integers("target", op.axes("n")))


def a_constant_of_no_signature() -> object:
    op = define("scaled", "Scales columns.")
    return op.constant(op.input("weight", op.axes("n")))


def a_constant_for_no_value() -> object:
    op = define("scaled", "Scales columns.")
    op.called("x, weight=None")
    n, c = op.axes("n c", "rest last")
    x, weight = op.input("x", n, c), op.input("weight", c, absent=1)
    op.constant(weight, weight="given")
    return op.build(op.let("y", [n, c], weight[c] * x[n, c]))


def a_constant_by_no_choice() -> object:
    op = define("scaled", "Scales columns.")
    op.called("x, weight")
    n, c = op.axes("n c", "rest last")
    x, weight = op.input("x", n, c), op.input("weight", c)
    op.constant(weight, training=True)
    return op.build(op.let("y", [n, c], weight[c] * x[n, c]))


def an_epsilon_with_a_default() -> object:
    op = define("scaled", "Scales columns.")
    op.called("x, eps=1e-5")
    n = op.axes("n", "elements")
    x, eps = op.input("x", n), op.option("eps", 1e-6, given="epsilon")
    return op.build(op.let("y", [n], x[n] + eps))


def an_option_given_as_a_tensor() -> object:
    return define("scaled", "Scales columns.").option("eps", 1e-6, given="rowwise")


MISTAKES: dict[Mistake, tuple[str, ...]] = {
    an_epsilon_with_a_default: ("'scaled'", "'eps'", "must be None", "1e-05"),
    an_option_given_as_a_tensor: ("'eps'", "'rowwise'", "epsilon"),
    no_signature: ("'scaled'", "'x y z'", "signature"),
    more_roles_than_axes: ("'n c'", "'rest channel last'"),
    paired_with_nothing: ("'x'", "before it that may be absent"),
    axes_without_roles: ("'scaled'", "roles", "op.axes('n c', 'rest last')"),
    two_results: ("'moments'", "mean, square"),
    an_update_by_no_choice: ("'buffer'", "'training'"),
    a_constant_that_holds_integers: ("'target'", "'picked'", "real numbers"),
    a_constant_of_no_signature: ("'weight'", "'scaled'", "op.called", "wrt"),
    a_constant_for_no_value: ("'weight'", "'scaled'", "is never 'given'", "True, False"),
    a_constant_by_no_choice: ("'weight'", "'scaled'", "'training'", "there are none"),
    wrong_axis: ("'y'", "'n'", "axis 'c'", "weight[c]"),
    indices_exchanged: ("'y'", "axis 'n'", "x[n, c]", "x[c, n]"),
    unknown_name: ("'y'", "unknown name 'z'", "x"),
    tensor_of_another: ("'y'", "'x'", "another definition"),
    repeated_let: ("let 'y'", "already a let"),
    repeated_input: ("input 'x'", "already an input"),
    repeated_axis: ("axis 'n'", "already an axis"),
    an_axis_as_a_name: ("input 'n'", "already an axis"),
    size_as_a_name: ("input 'N'", "the size of an axis"),
    axis_missing_on_the_left: ("'y'", "index 'c' of axis 'c'", "left side"),
    letter_twice_on_the_left: ("'y'", "index 'n' of axis 'n'", "twice"),
    letter_of_another_axis: ("'y'", "letter 'c' over axis 'n'"),
    axis_of_another_definition: ("'y'", "axis 'm'", "not declared"),
    unsupported_function: ("'y'", "unsupported function 'Heaviside'", "supported: exp"),
    undefined_function: ("'y'", "unsupported function 'mystery'"),
    infinity: ("'y'", "-inf in places"),
    too_few_indices: ("'y'", "x[n, c] takes 2 indices, got 1"),
    no_indices: ("x[n, c] is used without its indices",),
    arithmetic_on_an_index: (
        "'y'",
        "n + 1 on axis 'n'",
        "may be as large as N",
        "left out by a choice",
    ),
    a_real_tensor_as_an_index: ("'y'", "x[n] on axis 'n'", "integer tensor"),
    a_summary_of_two_lines: ("'scaled'", "one line", "'Scales columns.\\ny[n] = 2*x[n]'"),
    text_for_an_expression: ("'y'", "'x[n, c]' is not an expression"),
    a_condition_for_a_value: ("'y'", "must be a real expression"),
    integers_asked_for: ("'picked'", "'which'", "integer tensor cannot be differentiated"),
    only_integers: ("'squared'", "no real input"),
    gradient_asked_for_twice: ("'squared'", "'x'", "twice"),
    empty: ("'scaled' is empty",),
    nothing_asked_of_it: ("'scaled' is empty", "output"),
    an_input_for_an_output: ("output 'x'", "not one of its lets"),
    integers_for_an_output: ("output 'best'", "integers"),
    argmax_over_two_letters: ("'best'", "runs over 2 letters, and one is wanted", "ArgMax(x[n, c]"),
    a_number_for_a_condition: ("'y'", "x[n] stands where a condition does", "x[n] > 0"),
    a_number_among_conditions: ("'y'", "gate stands where a condition does"),
    delta_of_a_real_tensor: ("'y'", "x[n] in", "holds no integers", "delta"),
    a_sum_of_one_over_a_letter_that_it_has_not: ("'p'", "over 'm'", "its letters: n, k"),
    symmetric_over_two_axes: ("'a'", "symmetric", "two letters over one axis", "a[n, k]"),
    an_option_left_out_of_a_call: ("'scaled' in 'caller'", "option 'rate'", "no default"),
    no_gradient_asked_for: ("'scaled'", "wrt is empty", "leave it out"),
    argmax_of_a_constant: ("'y'", "does not depend on 'c'"),
}


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
def test_a_mistake_is_named_with_its_let_and_its_axis(mistake: Mistake) -> None:
    with pytest.raises(DefinitionError) as caught:
        mistake()
    for part in MISTAKES[mistake]:
        assert part in str(caught.value)


BEGINNINGS: dict[str, Callable[[str], object]] = {
    "operation": lambda name: define(name, "Fine."),
    "axis": lambda name: define("fine", "Fine.").axes(name),
    "input": lambda name: define("fine", "Fine.").input(name),
    "option": lambda name: define("fine", "Fine.").option(name),
    "let": lambda name: define("fine", "Fine.").let(name, [], 1),
}


@pytest.mark.parametrize(
    "name", ["2x", "x-y", "lambda", "match", "grad_x", "');import-os", "é", "_x", "x.y"]
)
@pytest.mark.parametrize("kind", BEGINNINGS)
def test_a_name_that_is_no_plain_identifier_never_gets_further(kind: str, name: str) -> None:
    with pytest.raises(DefinitionError, match="name"):
        BEGINNINGS[kind](name)


@pytest.mark.parametrize(
    "name", ["torch", "empty", "isinstance", "range", "RuntimeError", "value_and_grad"]
)
@pytest.mark.parametrize("kind", [kind for kind in BEGINNINGS if kind != "axis"])
def test_a_name_that_emitted_code_uses_is_of_axes_alone(kind: str, name: str) -> None:
    with pytest.raises(DefinitionError, match="what the emitted code calls something of its own"):
        BEGINNINGS[kind](name)
    if name == name.lower():
        BEGINNINGS["axis"](name)


def test_a_definition_stands_in_the_file_that_begins_it() -> None:
    assert define("fine", "Fine.").source == __file__
    assert Builder("fine", "Fine.").source == __file__
    told: dict[str, Any] = {}
    exec(compile("from derive import Builder\nop = Builder('a', 'b')", "<cell>", "exec"), told)
    assert told["op"].source == "<cell>"


@pytest.mark.parametrize("name", ["c", "loader"])
def test_no_operation_has_the_name_of_a_file_beside_it(name: str) -> None:
    why = f"operation name '{name}' is what stands beside the emitted files .*; use another name"
    with pytest.raises(DefinitionError, match=why):
        define(name, "Fine.")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("output", "what the emitted code calls something of its own"),
        ("lambda", "a word of Python, which is what is emitted"),
    ],
)
def test_a_name_that_is_taken_is_refused_with_the_reason_and_the_way_out(
    name: str, why: str
) -> None:
    op = define("fine", "Fine.")
    with pytest.raises(DefinitionError, match=f"input name '{name}' is {why}; use another name"):
        op.input(name, op.axes("n"))


def test_a_let_has_not_the_name_of_its_own_letter() -> None:
    op = define("summed", "Sums of rows.")
    i, n = op.axes("i n")
    k = n.another("k")
    x = op.input("x", i, n)
    with pytest.raises(DefinitionError, match="let 'k' has the name of a letter in it"):
        op.let("k", [i], Sum(x[i, k], k))


def test_a_delta_compares_letters_of_one_axis() -> None:
    op = define("skewed", "A diagonal of no square.")
    n, k = op.axes("n k")
    x = op.input("x", n, k)
    with pytest.raises(DefinitionError, match="compares letters of axis 'k' and axis 'n'"):
        op.let("y", [k], Sum(delta(n, k) * x[n, k], n))


def test_a_literal_index_counts_from_zero() -> None:
    op = define("last", "The last column.")
    n, k = op.axes("n k")
    x = op.input("x", n, k)
    with pytest.raises(DefinitionError, match="a literal index counts from 0"):
        op.let("y", [n], x[n, -1])


@pytest.mark.parametrize("name", ["", "a b", "x\n", "\tx"])
@pytest.mark.parametrize("kind", ["operation", "input", "option", "let"])
def test_no_white_space_gets_into_a_name(kind: str, name: str) -> None:
    with pytest.raises(DefinitionError, match="is not an identifier"):
        BEGINNINGS[kind](name)


def test_a_comparison_that_python_has_already_made_is_refused() -> None:
    op = define("safe", "One at zero.")
    n = op.axes("n")
    x = op.input("x", n)
    with pytest.raises(TypeError, match="Eq"):
        Where(x[n] == 0, 1, x[n])


def test_a_sum_runs_over_indices_only() -> None:
    _, n, c = begun()
    letter: Any = "c"
    with pytest.raises(TypeError, match="'c'"):
        Sum(n * c, letter)


def softmax() -> Definition:
    op = define("soft", "Softmax.")
    n, k = op.axes("n k")
    x = op.input("x", n, k)
    total = op.let("total", [n], Sum(exp(x[n, k]), k))
    return op.build(op.let("p", [n, k], exp(x[n, k]) / total[n]))


def test_a_call_brings_in_the_callees_lets_on_the_callers_axes() -> None:
    op = define("attended", "Rows attended to.")
    q, m = op.axes("q m")
    scores, values = op.input("scores", q, m), op.input("values", m)
    p = op.call(softmax(), {"x": scores}, names={"p": "attention"})
    out = op.build(op.let("y", [q], Sum(p[q, m] * values[m], m)))
    assert [let.name for let in out.lets] == ["total", "attention", "y"]
    assert out.let("total").value == Sum(exp(scores[q, m]), m)
    assert out.calls[0].lets == ("total", "attention")


def test_a_call_keeps_the_callers_letters_apart_from_the_callees() -> None:
    similar = define("similar", "Each row's share of the product with every other row.")
    n, c = similar.axes("n c")
    i = n.another("i")
    z = similar.input("z", n, c)
    s = similar.let("s", [n, i], Sum(z[n, c] * z[i, c], c))
    callee = similar.build(similar.let("y", [n], Sum(s[n, i] ** 2, i)))

    op = define("caller", "Calls with other axes, two of them named as the callee's letters.")
    i, n = op.axes("i n")
    rows = op.input("rows", i, n)
    op.call(callee, {"z": rows})
    other = i.another("i_1")
    assert op.build(op.let("out", [], Sum(op._lets["y"].tensor[i], i))).let("s").value == Sum(
        rows[i, n] * rows[other, n], n
    )


@pytest.mark.parametrize(
    ("inputs", "names", "message"),
    [
        ({}, {}, "takes the inputs"),
        ({"z": "scores"}, {}, "takes the inputs"),
        ({"x": "values"}, {}, "input 'x' wants"),
        ({"x": "scores"}, {"q": "attention"}, "unknown name 'q'"),
        ({"x": "scores"}, {"p": "scores"}, "already an input"),
    ],
)
def test_a_wrong_call_names_the_callee_and_the_mistake(
    inputs: dict[str, str], names: dict[str, str], message: str
) -> None:
    op = define("attended", "Rows attended to.")
    q, m = op.axes("q m")
    tensors = {"scores": op.input("scores", q, m), "values": op.input("values", m)}
    with pytest.raises(DefinitionError, match=message):
        op.call(softmax(), {name: tensors[ours] for name, ours in inputs.items()}, names=names)


def test_a_maximum_is_a_gather_at_a_named_argmax() -> None:
    op = define("largest", "The largest of each row.")
    n, c = op.axes("n c")
    x = op.input("x", n, c)
    out = op.build(op.let("y", [n], Maximum(x[n, c], c)))
    assert [let.name for let in out.lets] == ["y_argmax", "y"]
    assert out.let("y_argmax").value == ArgMax(x[n, c], c)
    assert out.tensors["y_argmax"].integer


def test_where_what_a_max_compares_is_equal_a_number_is_taken_before_a_tensor() -> None:
    op = define("positive", "The positive part.")
    n = op.axes("n")
    x = op.input("x", n)
    for number, written in enumerate((Max(x[n], 0), Max(0, x[n]))):
        y = op.let(f"y{number}", [n], written)
        assert op.build(y).let(y.name).value == Where(sympy.Ge(0, x[n]), 0, x[n])


def test_what_a_largest_sum_is_chosen_from_is_summed_once() -> None:
    op = define("maxout", "The largest of several affine maps.")
    n, i, o, k = op.axes("n i o k")
    x, w, b = op.input("x", n, i), op.input("w", i, o, k), op.input("b", o, k)
    affine = Sum(x[n, i] * w[i, o, k], i) + b[o, k]
    out = op.build(op.let("y", [n, o], Maximum(affine, k)))
    assert [let.name for let in out.lets] == ["y_each", "y_argmax", "y"]
    assert out.tensors["y_each"].indices == (n, o, k)
    assert not out.let("y").value.has(Sum)


def test_an_argmax_can_be_named_and_used_as_an_index() -> None:
    op = define("largest", "The largest of each row.")
    n, c = op.axes("n c")
    x = op.input("x", n, c)
    best = op.let("best", [n], ArgMax(x[n, c], c))
    out = op.build(op.let("y", [n], x[n, best[n]]))
    assert [(let.name, let.tensor.integer) for let in out.lets] == [("best", True), ("y", False)]


def test_a_composite_dimension_is_storage_only() -> None:
    op = define("flat", "A layer on flattened contexts.")
    n, t, d, j = op.axes("n t d j")
    x, weight = op.input("x", n, t, d), op.input("weight", (t, d), j)
    out = op.build(op.let("y", [n, j], Sum(x[n, t, d] * weight[(t, d), j], t, d)))
    assert out.tensors["weight"].indices == (t, d, j)
    assert out.lets[0].value == Sum(x[n, t, d] * weight[t, d, j], t, d)


def test_a_let_is_known_to_be_positive_where_its_value_is() -> None:
    assert softmax().tensors["total"].positive
    op = define("plain", "A mean of squares.")
    n = op.axes("n")
    x = op.input("x", n)
    out = op.build(op.let("y", [], Mean(x[n] ** 2, n)))
    assert out.tensors["y"].nonnegative
    assert not out.tensors["y"].positive


def test_the_wanted_gradients_can_be_chosen_afterwards() -> None:
    definition = softmax()
    assert definition.with_wrt("x").wrt == ("x",)
    with pytest.raises(DefinitionError, match="'z' in 'soft': unknown name"):
        definition.with_wrt("z")


SLIPS: dict[str, tuple[Callable[..., Any], type[Exception], str]] = {
    "an axis by name": (lambda x, n, c: Mean(x[n, c], n.name), TypeError, "'n' is none"),
    "an index twice": (lambda x, n, c: Sum(x[n, c], n, n), ValueError, "runs over 'n' twice"),
    "no index": (lambda x, n, c: Sum(x[n, c]), DefinitionError, "let 'y': .* over no index"),
    "a maximum over nothing": (lambda x, n, c: Maximum(x[n, c]), ValueError, "over no index"),
    "a minimum over nothing": (lambda x, n, c: Minimum(x[n, c]), ValueError, "over no index"),
    "a mean over nothing": (lambda x, n, c: Mean(x[n, c]), DefinitionError, "over no index"),
    "a product over nothing": (lambda x, n, c: Product(x[n, c]), DefinitionError, "over no index"),
    "an argmax over nothing": (lambda x, n, c: ArgMax(x[n, c]), DefinitionError, "over no index"),
    "a division by zero": (lambda x, n, c: x[n, c] / 0, DefinitionError, "let 'y' holds zoo"),
    "no number": (lambda x, n, c: x[n, c] * float("nan"), DefinitionError, "let 'y' holds nan"),
    "a bare tensor": (lambda x, n, c: 2 * x, DefinitionError, "without its indices"),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_of_the_pen_is_named(slip: str) -> None:
    write, error, message = SLIPS[slip]
    op = define("slip", "A definition with a mistake.")
    n, c = op.axes("n c")
    x = op.input("x", n, c)
    with pytest.raises(error, match=message):
        op.build(op.let("y", [n, c], write(x, n, c)))


def test_a_tensor_without_axes_is_a_number() -> None:
    op = define("ratio", "A ratio of two numbers.")
    a, b = op.input("a"), op.input("b", nonzero=True)
    y = op.let("y", [], 1 - a / b + 2 * b**2 - (-a) * b)
    assert op.build(y).let("y").value == 1 - a[()] / b[()] + 2 * b[()] ** 2 + a[()] * b[()]


def half(**facts: Any) -> Definition:
    op = define("half", "Times a number.")
    n = op.axes("n")
    x, eps = op.input("x", n), op.option("eps", 0.5, **facts)
    return op.build(op.let("y", [n], sympy.sqrt(eps**2) * x[n]))


@pytest.mark.parametrize(
    ("default", "facts", "wanted"),
    [
        (-2, {"positive": True}, "a number above zero, got -2"),
        (-0.5, {"nonnegative": True}, "a number of zero or more, got -0.5"),
        (2.5, {"integer": True}, "an integer, got 2.5"),
        (True, {}, "a number, got True"),
        ("two", {}, "a number, got 'two'"),
    ],
)
def test_a_default_is_a_number_that_the_facts_hold_of(
    default: Any, facts: dict[str, Any], wanted: str
) -> None:
    with pytest.raises(DefinitionError, match=f"option 'a': its default must be {wanted}"):
        define("scaled", "Scales.").option("a", default, **facts)


def test_an_option_is_passed_on_to_a_callee_only_if_it_is_as_the_callee_has_it() -> None:
    op = define("caller", "Calls.")
    n = op.axes("n")
    x = op.input("x", n)
    op.option("eps", -0.5)
    with pytest.raises(DefinitionError, match="option 'eps' must be a number above zero, got eps"):
        op.call(half(positive=True), {"x": x})
    y = op.call(half(), {"x": x})
    (own,) = (s for s in op.build(y).lets[0].value.free_symbols if s.name == "eps")
    assert own.is_positive is None


def test_an_option_is_given_what_is_known_to_be_as_the_callee_has_it() -> None:
    op = define("caller", "Calls.")
    n = op.axes("n")
    x, b = op.input("x", n), op.option("b", 3.0, positive=True)
    with pytest.raises(
        DefinitionError, match="option 'eps' must be a number above zero, got b - 2"
    ):
        op.call(half(positive=True), {"x": x}, {"eps": b - 2})
    y = op.call(half(positive=True), {"x": x}, {"eps": b + 2})
    assert op.build(y).lets[0].value == (b + 2) * x[n]


def test_an_index_that_was_refused_as_another_number_is_taken_as_an_integer() -> None:
    op = define("picked", "One column.")
    n, k = op.axes("n k")
    x = op.input("x", n, k)
    for wrong in (1.0, True):
        with pytest.raises(DefinitionError, match="an index is a letter, a number"):
            op.let("y", [n], x[n, wrong])
    assert op.let("y", [n], x[n, 1]).name == "y"


def test_a_maximum_under_a_sum_is_found_once_for_each_letter() -> None:
    op = define("maxima", "The sum of maxima.")
    n, k = op.axes("n k")
    x = op.input("x", n, k)
    definition = op.build(op.let("y", [], Sum(Maximum(x[n, k], k), n)))
    assert [let.name for let in definition.lets] == ["y_argmax", "y"]
    assert not definition.let("y").value.has(ArgMax)


def test_a_power_is_the_fraction_that_its_exponent_is() -> None:
    op = define("powers", "Powers.")
    n = op.axes("n")
    x = op.input("x", n)
    definition = op.build(op.let("y", [n], x[n] ** 2.0 + (1 + x[n] ** 4) ** -0.5))
    assert definition.lets[0].value == x[n] ** 2 + 1 / sympy.sqrt(1 + x[n] ** 4)
