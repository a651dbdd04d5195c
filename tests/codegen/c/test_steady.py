"""What an inner loop would compute again and again is computed before it."""

from __future__ import annotations

from codegen.pipeline import sources
from derive import Sum, define, exp, log, pi, tanh
from derive.language.builder import Builder
from derive.language.definition import Definition


def begun(name: str) -> Builder:
    return define(name, "An operation.")


def forward(definition: Definition) -> list[str]:
    """The lines of the forward pass in C."""
    text = sources([definition], target="c")[f"{definition.name}.c"]
    lines = text[text.index("int forward(") :].split("\n}\n")[0].split("\n")
    return [line.strip() for line in lines]


def test_a_function_of_fewer_letters_is_computed_in_the_outer_loop() -> None:
    op = begun("gated")
    n, k = op.axes("n k")
    x, s = op.input("x", n, k), op.input("s", n)
    lines = forward(op.build(op.let("y", [n, k], x[n, k] / (1 + exp(-s[n])))))
    outside = lines.index("const real sigmoid_s = sigmoid(s[n]);")
    assert outside < next(i for i, line in enumerate(lines) if line.startswith("for (int64_t k"))
    assert not any("sigmoid(" in line for line in lines[outside + 1 :])


def test_a_function_of_options_is_computed_before_all_loops() -> None:
    op = begun("scaled")
    n = op.axes("n")
    x, w = op.input("x", n), op.option("w", 1.0, positive=True)
    lines = forward(op.build(op.let("y", [n], tanh(x[n]) * log(1 + w))))
    (line,) = (line for line in lines if "vector_log1p(w)" in line)
    outside = lines.index(line)
    assert outside < next(i for i, line in enumerate(lines) if line.startswith("for "))


def test_a_logarithm_of_a_sum_is_taken_once_for_all_that_read_it() -> None:
    op = begun("less")
    n, k, m = op.axes("n k m")
    x, z = op.input("x", n, k), op.input("z", n, m)
    lines = forward(op.build(op.let("y", [n, k], x[n, k] * log(Sum(exp(z[n, m]), m)))))
    assert sum("vector_log(" in line for line in lines) == 1
    assert not any("y[n * K + k] = " in line and "vector_log(" in line for line in lines)


def test_a_number_stays_where_it_is() -> None:
    op = begun("shifted")
    n = op.axes("n")
    x = op.input("x", n)
    lines = forward(op.build(op.let("y", [n], tanh(x[n]) + log(2 * pi))))
    assert not any(line.startswith("const real") and "vector_log" in line for line in lines)
