"""Indices that are computed from letters: convolutions, neighbours, strides, lags."""

from __future__ import annotations

from pathlib import Path

import pytest
from sympy import Basic, Integer

from derive import DefinitionError, Sum, define
from derive.derivation import derive
from derive.files import load_definitions
from derive.language.definition import Definition
from derive.language.expressions import Axis
from derive.language.places import Numbers, held, numbers
from derive.language.sizes import agreements, needs
from derive.notation.grammar import TextError
from derive.notation.reading import read
from derive.printing.text import text
from derive.printing.writing import definition_text

WINDOWS = load_definitions(Path(__file__).parents[1] / "definitions" / "windows.grad")


def one(source: str, **others: Definition) -> Definition:
    (definition,) = read(source, lambda name: {**WINDOWS, **others}[name]).values()
    return definition


def allowed(definition: Definition) -> dict[str, list[Numbers]]:
    return numbers(window for _, window in held(definition.lets, definition.tensors))


def gradients(definition: Definition) -> dict[str, str]:
    lets = {let.name: let for let in derive(definition).backward.lets}
    return {name: text(let.value) for name, let in lets.items()}


def test_a_convolution_sends_each_gradient_to_where_it_read() -> None:
    found = gradients(WINDOWS["conv1d"])
    assert found["grad_w"] == "sum_{n,t}(grad_y[n,o,t]*x[n,c,t+k])"
    assert found["grad_x"] == "sum_{o,t,k}(grad_y[n,o,t]*w[o,c,k]*delta(s, t+k))"


def test_a_maximum_over_a_window_sends_its_gradient_to_one_place() -> None:
    found = gradients(one("inputs x[n,s], w[k]\ny[n,t] = max_k(x[n,t+k])*sum_k(w[k])"))
    assert "delta(s, t+y_argmax[n,t])" in found["grad_x"]


@pytest.mark.parametrize(
    ("source", "sizes"),
    [
        ("inputs x[s], w[k]\ny[t] = sum_k(w[k]*x[t+k])", {"t": 8}),
        ("inputs x[s], w[k]\ny[t] = sum_k(w[k]*x[2*t+k])", {"t": 4}),
        ("inputs x[s], w[k]\ny[t] = sum_k(w[k]*x[t+3*k+1])", {"t": 3}),
        ("inputs x[s], w[k]\ny[t] = sum_k(w[k]*x[t-k+K-1])", {"t": 8}),
        ("inputs x[s]\ny = sum_i((x[i+2] - x[i+1] - x[i])**2)", {"i": 8}),
        ("inputs x[s]\ny[t] = x[2*t] + x[2*t+1]", {"t": 5}),
        ("inputs x[s], w[k]\nh[u] = sum_k(w[k]*x[u+k])\ny[t] = h[t+1] - h[t]", {"u": 8, "t": 7}),
        ("inputs x[s], z[r]\ny[t] = x[t+4]*z[t+1]", {"t": 6}),
        ("inputs x[s], w[k], z[t]\ny[t] = z[t]*sum_k(w[k]*x[t+k])", {}),
    ],
)
def test_an_axis_that_no_input_has_is_as_long_as_what_is_read_along_it_allows(
    source: str, sizes: dict[str, int]
) -> None:
    definition = one(source)
    known: dict[Basic, Basic] = {
        Axis(n).size: Integer(i) for n, i in (("s", 10), ("k", 3), ("r", 7))
    }
    for axis, extent in definition.extents.items():
        known[axis.size] = extent.xreplace(known)
    assert {axis.name: known[axis.size] for axis in definition.extents} == sizes


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("inputs x[s], z[r]\ny[t] = x[t+1]*z[t+2]", {"t": ["S - 1", "R - 2"]}),
        ("inputs x[s], z[r]\ny[t] = x[t+1]*x[t]*z[t]", {"t": ["S - 1", "R"]}),
        ("inputs x[s]\nh[u] = x[u+1]\ny[t] = h[t+1]*x[t]", {}),
        ("inputs x[s], z[r]\nh[u] = x[u+1]*z[u]\ny[t] = h[t+1]*z[t]", {"u": ["S - 1", "R"]}),
        ("inputs x[s], z[t]\ny[t] = x[t+1]*z[t]", {}),
    ],
)
def test_along_axes_that_do_not_decide_each_other_an_axis_has_one_length(
    source: str, wanted: dict[str, list[str]]
) -> None:
    definition = one(source)
    found = agreements(definition.windows, definition.given_axes)
    assert {a.name: [str(e.size) for e in found[a]] for a in found} == wanted
    fitted = definition.fitted(dict(zip(definition.axes, (3, 7, 4, 5), strict=False)))
    known = {axis.size: Integer(size) for axis, size in fitted.items()}
    for several in found.values():
        assert len({extent.size.xreplace(known) for extent in several}) == 1


def test_sizes_are_fitted_so_that_every_window_lies_on_its_axis() -> None:
    definition = one("inputs x[s], w[k]\ny[t] = sum_k(w[k]*x[t+k])")
    fitted = definition.fitted(dict.fromkeys(definition.axes, 4))
    assert {axis.name: size for axis, size in fitted.items()} == {"s": 7, "k": 4, "t": 4}


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("y[s] = x[s+1]", "may be as large as S"),
        ("h[u] = x[u+1]; y = sum_u(h[u+1])", "may be as large as U"),
        ("y[t] = x[t-1]", "left out by a choice, where(..., x[t - 1], 0)"),
        ("y = sum_{s,k}(x[s*k]*w[k])", "an index is a letter, a number"),
        ("y = sum_s(x[s/2])", "an index is a letter, a number"),
        ("y = sum_{i,j}(x[i+j])", "nothing says how long axis 'i' is"),
        ("y[s] = x[s] + y[s-1]", "cannot read itself"),
        ("y[t] = x[t+2*o[t]]", "an index is a letter, a number"),
        ("y[t] = x[t+shift]", "an index is a letter, a number"),
    ],
)
def test_an_index_that_is_none_is_refused_where_it_stands(line: str, told: str) -> None:
    declared = "inputs x[s], w[k], o[m] (integer)\noptions shift (integer)\n"
    with pytest.raises(TextError) as refused:
        one(declared + line)
    assert told in str(refused.value)


def test_a_letter_of_an_input_is_not_taken_for_a_place_on_another_axis() -> None:
    op = define("swapped", "The letters stand the wrong way round.")
    n, c = op.axes("n c")
    x = op.input("x", n, c)
    with pytest.raises(DefinitionError, match="index 'c' of axis 'c' is used on axis 'n'"):
        op.let("y", [n, c], x[c, n])


@pytest.mark.parametrize(
    "lines",
    [
        "d[t,b] = r[t,b] + v[t+1,b] - v[t,b]",
        "d[t,b] = r[t,b] + v[t+1,b] - v[t+0,b]",
        "now[t,b] = v[t,b]\nd[t,b] = r[t,b] + v[t+1,b] - now[t,b]",
    ],
)
def test_a_letter_stands_alone_where_it_is_moved_along_the_same_axis(lines: str) -> None:
    definition = one(f"inputs r[t,b], v[s,b]\n{lines}")
    assert "delta(s, t+1)" in gradients(definition)["grad_v"]
    used = one("inputs a[t,b], w[s,b]\nuse td(r = a, v = w)\ny[t,b] = d[t,b]**2", td=definition)
    assert needs(used.windows, used.given_axes) == {Axis("s"): [Axis("t").size + 1]}


def test_the_same_is_so_in_python_from_the_line_on_that_moves_it() -> None:
    op = define("td", "How much a value was wrong.")
    t, s = op.axes("t s")
    r, v = op.input("r", t), op.input("v", s)
    d = op.let("d", [t], r[t] + v[t + 1] - v[t])
    later = op.let("later", [t], d[t] * v[t])
    assert op.build(later).fitted({Axis("t"): 4, Axis("s"): 2})[Axis("s")] == 5


@pytest.mark.parametrize(
    "line",
    ["d[t,b] = r[t,b] - v[t,b]", "d[t,b] = r[t,b] - v[t+0,b]", "d[s] = v[s+1,s]"],
)
def test_a_letter_that_is_not_moved_there_is_a_mistake(line: str) -> None:
    with pytest.raises(TextError, match=r"'(t|s)'"):
        one(f"inputs r[t,b], v[s,b]\n{line}")


def test_a_definition_that_is_used_brings_its_axes_with_it() -> None:
    op = define("twice", "A convolution of a convolution.")
    n, s, k, m = op.axes("n s k m")
    x, w, v = op.input("x", n, s), op.input("w", k), op.input("v", m)
    h = op.call(WINDOWS["turned_row"], {"x": x, "w": w}, names={"y": "h"})
    z = op.call(WINDOWS["turned_row"], {"x": h, "w": v}, names={"y": "z"})
    t = z.indices[1]
    definition = op.build(op.let("y", [], Sum(z[n, t] ** 2, n, t)))
    assert [str(size) for size in definition.extents.values()] == ["-K + S + 1", "-M + T + 1"]
    assert set(gradients(definition)) >= {"grad_x", "grad_w", "grad_v"}


@pytest.mark.parametrize("name", WINDOWS)
def test_what_is_written_is_read_back_as_it_was(name: str) -> None:
    definition = WINDOWS[name]
    again = read(definition_text(definition), lambda other: WINDOWS[other])[name]
    assert (again.lets, again.windows) == (definition.lets, definition.windows)


def test_an_integer_tensor_says_where_a_window_begins() -> None:
    definition = one("inputs x[s], w[t], start[n] (integer)\ny[n] = sum_t(w[t]*x[start[n]+t])")
    assert gradients(definition) == {
        "grad_x": "sum_{n,t}(grad_y[n]*w[t]*delta(s, t+start[n]))",
        "grad_w": "sum_n(grad_y[n]*x[t+start[n]])",
    }
    s, t = Axis("s"), Axis("t")
    assert needs(definition.windows, definition.given_axes) == {s: [t.size]}
    assert allowed(definition) == {"start": [(0, s.size - t.size + 1)]}


def test_the_numbers_of_a_tensor_are_those_that_every_place_allows() -> None:
    definition = one("inputs x[t], at[n] (integer)\ny[n] = x[at[n]+1] - x[at[n]-1] + x[at[n]]")
    assert allowed(definition) == {"at": [(1, Axis("t").size - 1)]}


@pytest.mark.parametrize(
    ("value", "first", "beyond"),
    [
        ("where(at[n] > 0, x[at[n]-1], 0)", None, 1),
        ("where(at[n]+2 < T, x[at[n]+1], 0)", -1, None),
        ("where(at[n]+1 >= T, 0, x[at[n]+1])", -1, None),
        ("where(at[n] > 3, x[at[n]+1], 0)", None, -1),
        ("where(at[n] > -3, x[at[n]+1], 0)", -1, -1),
    ],
)
def test_a_choice_sees_to_the_side_that_it_asks_about(
    value: str, first: int | None, beyond: int | None
) -> None:
    definition = one(f"inputs x[t], at[n] (integer)\ny[n] = {value}")
    end = None if beyond is None else Axis("t").size + beyond
    assert allowed(definition) == {"at": [(first, end)]}


@pytest.mark.parametrize("place", ["at[n] + to[n]", "2*at[n]", "at[n]*k", "v[n] + 1"])
def test_a_place_is_one_integer_that_a_tensor_holds_and_what_letters_add_to_it(place: str) -> None:
    lines = "inputs x[t], v[n], at[n] (integer), to[n] (integer), w[k]"
    with pytest.raises(TextError, match="an index is a letter, a number, an element of an"):
        one(f"{lines}\ny[n] = sum_k(w[k]*x[{place}])")
