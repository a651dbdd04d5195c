"""What equals its own transpose is written one way round, and terms that then are equal join."""

from __future__ import annotations

from pathlib import Path

import pytest

from derive import library
from derive.calculus.rules import SYMMETRY
from derive.calculus.trace import Derivation
from derive.derivation import derive
from derive.files import load_definitions
from derive.notation.reading import read
from derive.printing.text import arrangement_of, text

SYMMETRIC = load_definitions(Path(__file__).parents[1] / "definitions" / "symmetric.grad")

GRADIENTS = {
    ("mean_distance", "x"): (
        "2*grad_y*sum_m(where(n != m, 1/sqrt(x_difference_squared_sum[n,m]), 0)"
        "*(x[n,d] - x[m,d]))/N**2"
    ),
    ("repulsion", "q"): "grad_e*sum_j(q[j]*where(i != j, 1/sqrt(r2[i,j]), 0))",
    ("kernel", "y"): "2*grad_q*sum_m(y[m]*k[n,m])",
    ("kernel", "x"): "2*grad_q*y[n]*sum_m(y[m]*k[n,m]*(x[m,d] - x[n,d]))",
    ("orthogonality", "z"): "2*sum_m(grad_g[n,m]*z[m,d])",
}


def gradient(derivation: Derivation, name: str) -> str:
    (let,) = (let for let in derivation.backward.lets if let.name == f"grad_{name}")
    return text(let.value, arrangement_of(derivation))


@pytest.mark.parametrize(("name", "by"), GRADIENTS)
def test_a_gradient_has_one_sum_for_both_ways_round(name: str, by: str) -> None:
    assert gradient(derive(SYMMETRIC[name]), by) == GRADIENTS[name, by]


def test_differences_and_their_signs_are_written_one_way_round() -> None:
    grad_x = gradient(derive(SYMMETRIC["on_a_line"]), "x")
    assert grad_x.count("sum") == 1 and "i != j" in grad_x


@pytest.mark.parametrize("name", ["mean_distance", "kernel", "orthogonality"])
def test_the_derivation_says_so(name: str) -> None:
    steps = [step for step in derive(SYMMETRIC[name]).steps if step.rule == SYMMETRY]
    assert steps


@pytest.mark.parametrize("name", ["gaussian_nll_loss", "capped_cross_entropy", "batch_norm"])
def test_no_derivation_says_so_of_what_has_no_transpose(name: str) -> None:
    assert all(step.rule != SYMMETRY for step in derive(library.load(name)).steps)


def test_what_does_not_equal_its_transpose_keeps_both_sums() -> None:
    definition = """
        inputs x[n,d], z[n,d]
        letters m over n
        s[n,m] = sum_d(x[n,d]*z[m,d])
        y = sum_{n,m}(exp(s[n,m])*x[m,1])
    """
    (asymmetric,) = read(definition, library.load).values()
    assert all(step.rule != SYMMETRY for step in derive(asymmetric).steps)


def test_orders_join_only_where_all_else_is_equal() -> None:
    definition = """
        inputs x[i], w[i]
        letters j over i
        y = sum_{i,j}(where(i < j, w[i]*(x[i] - x[j])**4, 0))
    """
    (weighted,) = read(definition, library.load).values()
    grad_x = gradient(derive(weighted), "x")
    assert "i != j" not in grad_x and grad_x.count("sum") >= 2
