"""A name says what is computed."""

from __future__ import annotations

from typing import Any

import pytest
from sympy import Abs, Expr, Symbol, erf, exp, log, sqrt, tanh

from derive import Mean, Sum, Where, define
from derive.derivation import derive
from derive.language.definition import Tensor
from derive.language.expressions import Parameter
from derive.library import load
from derive.notation.reading import read
from derive.simplification.naming import word

_OP = define("named", "What names are given to.")
N, C = _OP.axes("n c")
X, Y, Z, B, R, TARGET = (
    _OP.input("x", N, C),
    _OP.input("y", N, C),
    _OP.input("z", N, C),
    _OP.input("b", C),
    _OP.input("r", N),
    _OP.input("target", N, integer=True),
)
EPS = Parameter("eps", real=True)


def tensor(name: str) -> Expr:
    """An element of a tensor that has the letters of x."""
    return Tensor(name, (N, C)).element


x, y, z = X[N, C], Y[N, C], Z[N, C]
g, h = tensor("grad_y"), tensor("grad_x_hat")
LOSS = Symbol("grad_loss", real=True)

EXACT: list[tuple[Any, str]] = [
    (exp(x), "exp_x"),
    (exp(-x), "exp_neg_x"),
    (exp(x / EPS), "exp_scaled_x"),
    (erf(sqrt(2) * x / 2), "erf_scaled_x"),
    (exp(-(x**2) / 2), "exp_scaled_x_squared"),
    (exp(x - y), "exp_x_minus_y"),
    (log(1 + exp(x)), "softplus_x"),
    (tanh(log(1 + exp(-x))), "tanh_softplus_neg_x"),
    (1 / (1 + exp(-x)), "sigmoid_x"),
    (1 / (1 + Abs(x)), "inv_one_plus_abs_x"),
    (x - y, "x_minus_y"),
    (x + EPS, "x_plus_eps"),
    (EPS - x, "eps_minus_x"),
    (x**2 - 1, "x_squared_minus_one"),
    (1 - x**2, "one_minus_x_squared"),
    (1 + 2 * EPS * x, "one_plus_x_scaled"),
    (x * y, "x_times_y"),
    (x / y, "x_over_y"),
    (1 / (x * y), "inv_x_times_inv_y"),
    (2 * x * y, "x_times_y_scaled"),
    (Sum(x, C), "x_sum"),
    (Mean(h, C), "grad_x_hat_mean"),
    (Sum(x * y, C), "x_dot_y"),
    (Sum(tensor("x_centred") ** 2, C), "x_centred_squared_sum"),
    (X[N, 0], "x_0"),
    (B[TARGET[N]], "b_at_target"),
    (Where(y > 0, x, 0), "x_masked"),
    (Where(y > 0, x, EPS), "x_or_eps"),
    (X[N, C] - X[C.another("m"), C], "x_difference"),
]


@pytest.mark.parametrize(("expr", "name"), EXACT, ids=[name for _, name in EXACT])
def test_a_short_name_says_exactly_what_is_computed(expr: Any, name: str) -> None:
    assert word(expr) == name


LOOSE: list[tuple[Any, str]] = [
    (tanh(x + 0.044715 * x**3), "tanh_inner"),
    (x * y * z, "x_scaled"),
    (x + y + z, "x_adjusted"),
    (x * y + z**2 * x, "x_terms"),
    (Sum(x * (1 - y) * z, C), "x_scaled_sum"),
]


@pytest.mark.parametrize(("expr", "name"), LOOSE, ids=[name for _, name in LOOSE])
def test_where_that_would_be_long_a_name_says_no_more_than_is_so(expr: Any, name: str) -> None:
    assert word(expr) == name


GRADIENTS: list[tuple[Any, str]] = [
    (y * g, "grad_y_times_y"),
    (LOSS * x, "grad_loss_times_x"),
    (LOSS / x, "grad_loss_over_x"),
    (g / (x * z), "grad_y_scaled"),
    (-g, "grad_y_scaled"),
    (Sum(h, C), "grad_x_hat_sum"),
    (Sum(x * g, C), "grad_y_dot_x"),
    (g + h - R[N] * x, "grad_x_hat_adjusted"),
    (x * (g - h), "grad_x_hat_scaled"),
    (tensor("grad_" + 30 * "a") * tensor(30 * "b"), f"grad_{30 * 'a'}_scaled"),
    (tensor("grad_" + 60 * "a") * x, "grad_scaled"),
]


@pytest.mark.parametrize(("expr", "name"), GRADIENTS, ids=[name for _, name in GRADIENTS])
def test_what_is_made_of_a_cotangent_is_called_a_gradient(expr: Any, name: str) -> None:
    assert word(expr) == name


def test_only_what_something_is_subtracted_from_is_centred() -> None:
    assert word(x - B[C]) == "x_centred"
    assert word(x + B[C]) == "x_shifted"
    assert word(tensor("x_centred") - B[C]) == "x_centred"
    assert word(h - R[N]) == "grad_x_hat_centred"


def _made(text: str) -> dict[str, Expr]:
    (definition,) = read(f"made: of steps\n{text}", load).values()
    found = derive(definition)
    written = {let.name for let in definition.lets}
    return {let.name: let.value for let in found.forward if let.name not in written}


ROOTS = {
    "rstd": "m[n] = sum_c(x[n,c])/C\n"
    "y[n,c] = (x[n,c] - m[n])/sqrt(sum_c((x[n,c] - m[n])**2)/C + 1/10)",
    "inv_rms_x": "y[n,c] = x[n,c]/sqrt(sum_c(x[n,c]**2)/C + 1/10)",
    "inv_norm_x": "y[n,c] = x[n,c]/sqrt(sum_c(x[n,c]**2))",
    "inv_root_r": "y[n,c] = x[n,c]/sqrt(r[n])",
}


@pytest.mark.parametrize("name", ROOTS)
def test_what_divides_by_a_root_is_called_after_what_is_under_it(name: str) -> None:
    assert name in _made(ROOTS[name])


def test_what_is_called_a_variance_has_a_deviation() -> None:
    assert "rstd" in _made("y[n,c] = x[n,c]/sqrt(bnvar[c] + 1/10)")
