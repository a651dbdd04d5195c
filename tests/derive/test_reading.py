"""The text form of the language: what is written reads back, and mistakes point into the text."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy import Expr, Symbol

from derive import Axis, Definition, DefinitionError, Index, Sum, Tensor, library, log
from derive.language.definition import Let
from derive.notation.grammar import LONGEST, TextError, parse
from derive.notation.reading import read
from derive.notation.vocabulary import CALLS, SPELT
from derive.printing.writing import definition_text

pytestmark = pytest.mark.slow

BATCH_NORM = """
mean[c]    = mean_n(x[n,c])
var[c]     = mean_n((x[n,c] - mean[c])**2)
x_hat[n,c] = (x[n,c] - mean[c]) / sqrt(var[c] + 1e-5)
y[n,c]     = weight[c]*x_hat[n,c] + bias[c]
"""


n = Index("n", Axis("n"))
x = Tensor("x", (n,))

MATHEMATICS = ("name", "summary", "inputs", "options", "outputs", "wrt", "calls", "chunked")
"""What a text holds of a definition; how Python calls the operation is not said in it."""


def said(let: Let) -> tuple[object, ...]:
    """What a line says; whether its values are positive follows from it."""
    return let.name, let.tensor.integer, let.tensor.dims, let.value


def reading(text: str) -> Definition:
    """The only definition of a text."""
    (definition,) = read(text, library.load).values()
    return definition


def in_library(definition: Definition) -> bool:
    return definition.name in library.names()


@pytest.mark.parametrize("name", library.names())
def test_every_definition_of_the_library_reads_back_as_it_is(name: str) -> None:
    definition = library.load(name)
    again = read(definition_text(definition, in_library), library.load)[name]
    for part in MATHEMATICS:
        assert getattr(again, part) == getattr(definition, part)
    assert list(map(said, again.lets)) == list(map(said, definition.lets))


def bare(value: Expr) -> Expr:
    """A value without what is known of its names."""
    known = value.atoms(Symbol) - value.atoms(Index)
    return value.xreplace({symbol: Symbol(symbol.name) for symbol in known})


@pytest.mark.parametrize("name", library.names())
def test_every_variant_reads_back_but_for_facts_that_follow_from_its_lines(name: str) -> None:
    for variant in library.load(name).variants:
        again = read(definition_text(variant, in_library), library.load)[name]
        for part in (*MATHEMATICS, "updates"):
            assert getattr(again, part) == getattr(variant, part)
        assert [(let.name, let.tensor.dims) for let in again.lets] == [
            (let.name, let.tensor.dims) for let in variant.lets
        ]
        for let, own in zip(again.lets, variant.lets, strict=True):
            assert bare(let.value) == bare(own.value)


def test_what_is_used_is_written_out_where_the_reader_does_not_know_it() -> None:
    def unknown(name: str) -> Definition:
        raise DefinitionError(f"unknown operation {name!r}")

    text = definition_text(library.load("makemore_mlp"))
    found = read(text, unknown)
    assert [*found][-1] == "makemore_mlp" and "batch_norm" in found
    assert definition_text(found["makemore_mlp"]) == text


def test_what_two_definitions_use_is_written_once_before_both() -> None:
    text = """cc: Squares.
y[n] = x[n]**2

bb: Twice the squares.
inputs x[n]
use cc(x = x) as s
y[n] = 2*s[n]

aa: All of them.
inputs x[n]
use cc(x = x) as s
use bb(x = x) as t, u
y[n] = s[n] + u[n]
"""
    found = read(text, library.load)
    again = read(definition_text(found["aa"]), library.load)
    assert [*again] == ["cc", "bb", "aa"]
    assert again["aa"].lets == found["aa"].lets


def test_inputs_axes_and_the_output_go_without_saying() -> None:
    definition = reading(BATCH_NORM)
    assert [repr(t) for t in definition.inputs] == ["x[n, c]", "weight[c]", "bias[c]"]
    assert definition.outputs == ("y",)


def test_a_line_says_whose_gradients_are_wanted() -> None:
    text = "y[n] = where(m[n] > 0, x[n]*w[n], 0)"
    assert reading(text).wrt == ("m", "x", "w")
    assert reading(f"gradients x, w\n{text}").wrt == ("x", "w")


def test_a_tensor_at_which_another_is_indexed_holds_integers() -> None:
    definition = reading("loss = -mean_n(z[n,target[n]] - log(sum_k(exp(z[n,k]))))")
    assert {t.name: t.integer for t in definition.inputs} == {"target": True, "z": False}


MISTAKES = [
    ("inputs x[n], weight[n]\ny[n] = x[n] * wieght[n]", (2, 15), "did you mean 'weight'"),
    ("inputs x[n]\ny[n] = tan(x[n]) + tahn(x[n])", (2, 20), "unknown function 'tahn'"),
    ("y[n] = (x[n] + 1", (1, 17), "the text ends too soon; a bracket is not closed"),
    ("letters m\ny[n] = x[n]", (1, 10), "the line ends too soon; expected over"),
    ("y[n] = x[n] $ 2", (1, 13), "'$' does not belong here"),
    ("y[n] = x[n] / 0", (1, 8), "divides by zero"),
    ("y[n] = sum_k(x[n])", (1, 12), "unknown letter 'k'"),
    ("inputs x[n]\ny[n] = x[n,n]", (2, 8), "x[n] takes 1 index, got 2"),
    ("y[n] = exp(x[n], 2)", (1, 8), "exp takes 1 argument, got 2"),
    ("inputs x[n], w[k]\ny[n] = x[n]*w[k]", (2, 15), "neither on the left side nor summed"),
    ("y[n] = 9**9**9", (1, 8), "a power of constants"),
    ("y[n] = x[n] > 0", (1, 8), "a condition"),
    ("y[n] = x[n] * loggamma(999.5)", (1, 15), "this number is too large"),
    (f"y[n] = x[n]{' * 64**64' * 9}", (1, 8), "this number is too large"),
    (
        "inputs x[n], m\ny[n] = x[n] + m\nupdates m = y",
        (3, 9),
        "no let of real numbers over its axes",
    ),
    ("y[n] = x[n]\nupdates y = y", (2, 9), "only an input of real numbers is a buffer"),
    ("y[n] = x[n]*m[n]\nupdates m = y, m = y", (2, 16), "'m' is asked for twice"),
    ("y[n] = x[n]\nupdates m = y", (2, 9), "unknown name 'm'"),
    ("y[n] = a*x[n]", (1, 8), "unknown name 'a'; for a number that is given, a line: options a;"),
    ("inputs x[n]\ny[n] = a*x[n]", (2, 8), "an input without axes is declared in the inputs line"),
    ("inputs x[n]\ny[n] = a[n]*x[n]", (2, 8), "if it is an input, declare it in the inputs line"),
    ("y[n] = 2x[n]", (1, 8), "a product needs its sign, as in 2*x[n]"),
    ("y[n] = |x[n]|", (1, 8), "write abs(x)"),
    ("y[n] = mean(x[n])", (1, 8), "it runs over letters, as in mean_n(x[n])"),
    ("y = max(x[n])", (1, 5), "it runs over letters, as in max_n(x[n])"),
    ("y[n] = sigmoid(x[n])", (1, 8), "write 1 / (1 + exp(-x))"),
    ("y[n,k] = softmax_k(x[n,k])", (1, 10), "write exp(x[k]) / sum_k(exp(x[k]))"),
    ("y[n] = log2(x[n])", (1, 8), "write log(x) / log(2)"),
    ("y[n] = where(0 < x[n] < 1, x[n], 0)", (1, 23), "as in 0 < x[n] and x[n] < 1"),
    ("inputs x[t]\ny[t] = x[t-1]", (2, 1), "left out by a choice, where(..., x[t - 1], 0)"),
    ("y[t] = 2 * x[t-1]", (1, 12), "its axes are declared by a line such as: inputs x[s]"),
    ("y[i] = sum_k(x[i+k]*w[k])", (1, 14), "its axes are declared by a line such as: inputs x[s]"),
    ("inputs x[t], w[k]\ny = sum_k(x[k*k]*w[k])", (2, 13), "an index is a letter, a number"),
    ("h[t] = q*h[t-1] + x[t]", (1, 10), "'h' cannot read itself; there are no recurrences"),
    ("loss = loss + sum_n(x[n])", (1, 8), "'loss' cannot read itself"),
    ("h[t+1] = a[t]*h[t]", (1, 4), "a letter stands alone here, and there are no recurrences"),
    ("y[n] = z[n]\nz[n] = x[n]", (1, 8), "'z' is used before the line that makes it"),
    ("inputs x[n]\nx[n] = x[n] + 1", (2, 1), "already an input"),
    ("inputs x[i,d], p[i,j]\ny[i] = sum_{j,d}(p[i,j]*x[j,d])", (2, 27), "letters j over i"),
    ("y[n,n] = x[n]", (1, 1), "stands twice; it needs a second letter over its axis"),
    ("y[n] = where(x[n] > 0, x[n], -inf)", (1, 1), "'y' of 'operation' is -inf in places"),
    ("y[n] = x[n] * where(x[n] > 0, 0, -inf)", (1, 1), "what an exponential leaves out"),
    ("y[n] = max_k(where(x[n,k] > 0, x[n,k], -inf))", (1, 1), "what a maximum leaves out is a"),
    ("y[n] = x[n] * inf", (1, 1), "only -inf may be chosen, under an exp"),
    ("y = x[argmax_{n,k}(x[n,k]), 0]", (1, 1), "runs over 2 letters, and one is wanted"),
    ("inputs x[n], m\ny[n] = where(m, x[n], 0)", (2, 14), "a number stands where a condition"),
    ("y[n] = sum_k(delta(k, x[n])*w[k])", (1, 1), "holds no integers"),
    ("inputs p[n,k] (sums to one over m)\ny = sum_{n,k}(p[n,k])", (1, 8), "its letters: n, k"),
    ("inputs a[n] (symmetric)\ny[n] = a[n]", (1, 8), "two letters over one axis"),
    ("f: S.\noptions a\ny[n] = a*x[n]\n\ng: S.\ninputs x[n]\nuse f(x = x)", (7, 1), "option 'a'"),
    ("y[n] = (2*x[n])**10000000000", (1, 8), "this number is too large"),
    ("y[n] = (x[n]/3)**-10000000000", (1, 8), "this number is too large"),
    ("f: S.\ny[n] = x[n]\n\ng: S.\nuse f(x = z)", (5, 11), "unknown tensor 'z'; declare it"),
    ("f: S.\ny[n] = x[n]\n\ng: S.\ninputs x[n]\nuse f(x = z)", (6, 11), "no line makes it"),
    ("f: S.\ny[n] = x[n]\n\ng: S.\ninputs x[n]\nuse f(x = 2*x[n])", (6, 11), "tensor's name"),
    ("", (1, 1), "no definition"),
    ("a: S.\ny[n] = x[n]\n\na: T.\ny[n] = x[n]", (4, 1), "two definitions are named 'a'"),
    ("a: S.\ny[n] =\n\nb: T.\ny[n] = x[n]", (2, 7), "the line ends too soon"),
    ("y = sum_n(x[n]) + x[n]", (1, 21), "index 'n' of axis 'n' is neither on the left side"),
    ("y = sum_{n, k}(x[n])", (1, 13), "unknown letter 'k'"),
    ("y = sum_nk(x[n,k])", (1, 9), "several letters stand in braces: {n,k}"),
    ("y = sum_n,k(x[n,k])", (1, 10), "several letters stand in braces, as in sum_{n,k}"),
    ("y[n] = sum_{k<n}(x[k])", (1, 12), "leaves some out, as in sum_k(where(k < n, x[k], 0))"),
    ("y = sum_n x[n]", (1, 11), "sum_n needs its parentheses at once"),
    ("y = sum_n[x[n]]", (1, 5), "sum_n needs its parentheses, as in sum_n(x[n])"),
    ("y = sum_n(x[n]))", (1, 16), "there is nothing that it closes"),
    ("y = Sum(x[n], n)", (1, 5), "it runs over letters, as in sum_n(x[n])"),
    ("y[n] = sg(x[n])", (1, 8), "write stop_gradient(x)"),
    ("y[n] = round(x[n])", (1, 8), "write floor(x + 1/2)"),
    ("y[n] = x(n)", (1, 8), "the indices of a tensor stand in square brackets, as in x[n]"),
    ("y(n) = x[n]", (1, 2), "indices stand in square brackets"),
    ("y_i = exp(x_i)", (1, 11), "indices stand in square brackets, as in x[i]"),
    ("inputs x[n], W_q\ny[n] = x[n]*W_k", (2, 13), "did you mean 'W_q'"),
    ("y[n] = x[n,:]", (1, 12), "a letter runs over a whole axis"),
    ("y[n] = e**x[n]", (1, 8), "write exp(x) for e**x"),
    ("y[n] = \\exp(x[n])", (1, 8), "LaTeX is not read"),
    ("y[n] = torch.exp(x[n])", (1, 13), "nothing is called by a dot"),
    ("y[n] = x[n] \N{MINUS SIGN} 1", (1, 13), "write -"),
    ("y[n] = 2·x[n]", (1, 9), "write *"),
    ("y[n] = λ*x[n]", (1, 8), "a name is of plain letters"),
    ("y[n] = x[n] w[n]", (1, 13), "a product needs its sign"),
    ("y[n] == x[n]", (1, 7), "a line that makes something has one ="),
    ("y[n] := x[n]", (1, 6), "a line that makes something has one ="),
    ("y[n] = where(x[n] = 0, 1, 0)", (1, 19), "two numbers are compared by =="),
    ("Two norms: Both.\ny[n] = x[n]", (1, 5), "a header is one name and a colon"),
]


def test_what_is_masked_by_minus_infinity_is_left_out() -> None:
    masked = "z[n,k] = where(m[n,k] > 0, x[n,k], -inf)\nt[n] = log(sum_k(exp(z[n,k] / 2 + b[k])))"
    spelt = "t[n] = log(sum_k(where(m[n,k] > 0, exp(x[n,k] / 2 + b[k]), 0)))"
    inputs = "inputs x[n,k], m[n,k], b[k]\n"
    assert reading(inputs + masked).lets == reading(inputs + spelt).lets


@pytest.mark.parametrize(
    ("formula", "value"),
    [
        ("log(sum_n(2))", log(Sum(2, n))),
        ("2**sum_n(2)", 2 ** Sum(2, n)),
        ("sum_n(2)**2", Sum(2, n) ** 2),
        ("(2*x[n])**100", 2**100 * x[n] ** 100),
    ],
)
def test_what_is_bound_is_no_constant_that_is_computed(formula: str, value: Expr) -> None:
    assert reading(f"inputs x[n]\ny[n] = x[n] + {formula}").let("y").value == x[n] + value


def test_a_neighbour_that_may_not_be_there_is_a_choice() -> None:
    shifted = "letters u over t\ny[t] = sum_u({} * x[u])"
    delta, where = (reading(shifted.format(f)) for f in ("delta(u, t-1)", "where(u == t-1, 1, 0)"))
    assert delta.lets == where.lets


@pytest.mark.parametrize(("text", "place", "problem"), MISTAKES)
def test_a_mistake_is_told_with_its_line_and_column(
    text: str, place: tuple[int, int], problem: str
) -> None:
    with pytest.raises(TextError) as caught:
        reading(text)
    assert problem in str(caught.value)
    assert (caught.value.line, caught.value.column) == place


@pytest.mark.parametrize("name", SPELT)
def test_what_is_to_be_written_instead_of_a_function_can_be_read(name: str) -> None:
    assert name not in CALLS
    parse(f"y = {SPELT[name]}")


def test_the_caret_stands_below_the_mistake() -> None:
    with pytest.raises(TextError) as caught:
        reading("y[n] = 2 * tahn(x[n])")
    _, shown, caret = str(caught.value).splitlines()
    assert shown[caret.index("^") :].startswith("tahn")
    assert caret.strip() == "^~~~"


def test_of_a_line_on_which_nothing_is_no_excerpt_is_shown() -> None:
    with pytest.raises(TextError) as caught:
        reading("\n")
    assert str(caught.value) == "line 1, column 1: there is no definition here"


@pytest.mark.parametrize(
    "text",
    [
        "y[n] = __import__('os').system('true')",
        "y[n] = x[n].__class__",
        "y[n] = exec(x[n])",
        "y[n] = lambda[n]",
        "y[n] = x[n if True else 0]",
        f"y[n] = {'-' * 5000}x[n]",
        "y[n] = x[n]" + " + x[n]" * LONGEST,
        "y[n] = exp(exp(exp(exp(1000))))",
        "y[n] = 1e999999999 * x[n]",
        "y[n] = x[n]\x00",
    ],
)
def test_what_is_not_in_the_language_is_refused_and_never_run(text: str) -> None:
    with pytest.raises(TextError):
        reading(text)


PIECES = st.sampled_from(
    [
        *"xyznkc[](){},=+-*/^:;~#\n ",
        *("sum_n(", "max_{n,k}(", "exp(", "where(", "delta(n, k)", "stop_gradient("),
        *(
            "inputs ",
            "options ",
            "use ",
            "letters m over n",
            "outputs y",
            "updates x = y",
            "op: words\n",
        ),
        *("x[n]", "y[n,k]", "\ny[n] = ", "2", "1e-5", "**", " >= ", "not ", " and ", "batch_norm"),
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.lists(PIECES, max_size=25).map("".join), st.text(max_size=60)))
def test_no_text_does_more_than_be_read_or_refused(text: str) -> None:
    try:
        found = read(text, library.load)
    except TextError as error:
        assert error.line >= 1 and error.column >= 1
        return
    for name, definition in found.items():
        again = read(definition_text(definition), library.load)[name]
        assert definition_text(again) == definition_text(definition)


def test_nothing_that_coverage_suggests_crashes_the_reader(tmp_path: Path) -> None:
    if find_spec("atheris") is None:
        pytest.skip("there is no atheris here: it has wheels for Linux on x86-64")
    for name in library.names():
        (tmp_path / name).write_text(definition_text(library.load(name)))
    program = Path(__file__).with_name("fuzz_reading.py")
    bounds = ["-max_total_time=10", "-timeout=10", "-max_len=800", f"-artifact_prefix={tmp_path}/"]
    finished = subprocess.run(
        [sys.executable, program, *bounds, tmp_path],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert finished.returncode == 0, finished.stderr[-2000:]
    assert "Done" in finished.stderr
