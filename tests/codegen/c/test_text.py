"""How C reads: no parentheses twice, quotients outside the innermost loop, comments that are so."""

from __future__ import annotations

import re

import pytest

from codegen.c.module import wrapped
from codegen.pipeline import sources
from derive import Definition, library
from derive.notation.reading import read


def emitted(definition: Definition) -> str:
    return sources([definition], target="c")[f"{definition.name}.c"]


def function(name: str, text: str) -> str:
    """The first C function of a name."""
    return text[text.index(f"int {name}(") :].split("\n}\n")[0]


def written(text: str) -> str:
    (definition,) = read(text, library.load).values()
    return emitted(definition)


@pytest.fixture(scope="module")
def cross_entropy() -> str:
    return emitted(library.load("cross_entropy"))


def test_a_single_factor_is_in_parentheses_once(cross_entropy: str) -> None:
    assert "(grad_loss[0] / N) * (p - label_smoothing / K);" in cross_entropy


def test_a_mean_is_divided_outside_the_innermost_loop() -> None:
    forward = function("forward", written("y[n] = sum_c(x[n,c])/C\n"))
    assert re.search(r"y\[n\] = x_sum / C;|y\[n\] = \w+ / C;", forward)
    assert "(1 / " not in forward


def test_the_innermost_loop_multiplies_by_what_it_would_divide_by() -> None:
    forward = function("forward", written("options a, b\ny[n] = a*x[n]/b\n"))
    assert "(a / b) * x[n]" in forward


def test_a_number_over_an_element_is_one_division() -> None:
    assert "(real)0.5 / x[n]" in function("forward", written("y[n] = 1/(2*x[n])\n"))
    forward = function("forward", written("inputs m[n] (integer), x[n]\ny[n] = x[n] + 2/m[n]\n"))
    assert "2 / (real)m[n]" in forward


def test_a_loop_that_leaves_a_delta_out_says_what_it_computes(cross_entropy: str) -> None:
    backward = function("backward", cross_entropy)
    loop = backward.index("/* grad_logits[n,k] = grad_loss*p[n,k]/N */")
    spike = backward.index("/* grad_logits[n,target[n]] -= grad_loss/N */")
    assert loop < spike < backward.index("grad_logits[n * K + target[n]] -= grad_loss[0] / N;")


def test_a_line_is_broken_beside_subscripts(cross_entropy: str) -> None:
    assert not re.search(r"\[[^\]]*\n", cross_entropy)
    long = (
        "    sum = first[n * K + k] * second[(n * K + k) * L + l] + third[(n * K + k) * L + l] * "
    )
    long += "fourth[n * K + k];"
    pieces = wrapped(long)
    assert len(pieces) == 2 and " ".join(piece.strip() for piece in pieces) == long.strip()
    assert all(piece.count("[") == piece.count("]") for piece in pieces)


def test_a_subscript_that_fits_on_no_line_is_broken() -> None:
    pieces = wrapped("x[" + " + ".join(["offset"] * 20) + "] = 0;")
    assert len(pieces) > 1 and max(map(len, pieces)) <= 96
