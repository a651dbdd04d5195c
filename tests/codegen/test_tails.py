"""Elementary functions have values and gradients where exponentials overflow, or come near one."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from codegen.pipeline import compile
from derive import library
from derive.notation.reading import read

LOGISTIC = "p[n] = 1/(1 + exp(-x[n]))\n"


def entropy(x: Tensor) -> Tensor:
    return -x.sigmoid() * F.logsigmoid(x) - (-x).sigmoid() * F.logsigmoid(-x)


def secant(x: Tensor) -> Tensor:
    return 2 * (-x.abs()).exp() / (1 + (-2 * x.abs()).exp())


def log_sinh(x: Tensor) -> Tensor:
    return x.abs() + (-torch.expm1(-2 * x.abs())).log() - torch.tensor(2.0).log()


def log_sinh_share(x: Tensor) -> Tensor:
    return log_sinh(x) - x.abs().log()


def log_erfc(x: Tensor) -> Tensor:
    return torch.special.log_ndtr(-(2**0.5) * x) + math.log(2)


BOTH = [-100.0, -17.0, -1.0, 1e-3, 0.5, 17.0, 20.0, 100.0]
FAR = [-20.0, -10.0, -5.0, -1.0, 0.0, 1.0, 5.0, 10.0, 20.0]
CASES: dict[str, tuple[str, Callable[[Tensor], Tensor], list[float]]] = {
    "tangent": ("y[n] = (exp(x[n]) - 1)/(exp(x[n]) + 1)", lambda x: (x / 2).tanh(), BOTH),
    "tangent_of_minus": ("y[n] = (1 - exp(-2*x[n]))/(1 + exp(-2*x[n]))", torch.tanh, BOTH),
    "quotient": ("y[n] = exp(x[n])/(exp(x[n]) - 1)", lambda x: -1 / torch.expm1(-x), BOTH[2:]),
    "softplus_inverse": (
        "y[n] = log(exp(x[n]) - 1)",
        lambda x: x + (-torch.expm1(-x)).log(),
        BOTH[3:],
    ),
    "secant": ("y[n] = 1/cosh(x[n])", secant, [*BOTH, 1e4]),
    "log_sinh": ("y[n] = log(abs(sinh(x[n])))", log_sinh, BOTH),
    "log_sinh_alone": ("y[n] = log(sinh(x[n]))", log_sinh, BOTH[4:]),
    "von_mises_fisher": ("y[n] = log(sinh(x[n])/x[n])", log_sinh_share, [*BOTH[:3], *BOTH[4:]]),
    "weighed_sinh": (
        "y[n] = log(exp(-x[n])*sinh(x[n]))",
        lambda x: (-torch.expm1(-2 * x)).log() - torch.tensor(2.0).log(),
        BOTH[4:],
    ),
    "log_normal": (
        "y[n] = log((1 + erf(x[n]/sqrt(2)))/2)",
        torch.special.log_ndtr,
        FAR,
    ),
    "log_normal_of_a_name": (
        "p[n] = (1 + erf(x[n]/sqrt(2)))/2\ny[n] = log(p[n])",
        torch.special.log_ndtr,
        FAR,
    ),
    "log_erfc": ("y[n] = log(erfc(x[n]))", log_erfc, FAR[1:-1]),
    "log_erfc_of_a_name": ("e[n] = erfc(x[n])\ny[n] = log(e[n])", log_erfc, FAR[1:-1]),
    "log_of_one_less_erf": ("y[n] = log((1 - erf(x[n]))/2) + log(2)", log_erfc, FAR[1:-1]),
    "weighed_tail": (
        "y[n] = log(exp(x[n]**2)*erfc(x[n]))",
        lambda x: torch.special.erfcx(x).log(),
        FAR[2:6],
    ),
    "entropy": (LOGISTIC + "y[n] = -p[n]*log(p[n]) - (1 - p[n])*log(1 - p[n])", entropy, BOTH[1:7]),
    "logit": (LOGISTIC + "y[n] = log(p[n]/(1 - p[n]))", lambda x: x * 1, BOTH),
    "odds": (LOGISTIC + "y[n] = p[n]/(1 - p[n])", torch.exp, BOTH[2:7]),
}


SMALL = ("entropy", "odds", "log_normal", "log_normal_of_a_name")
"""Those of which what is small is right, too."""


@pytest.mark.parametrize("target", ["torch", "c"])
@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_of_both_orders_are_those_of_a_careful_hand(
    name: str, target: str, c_compiler: None
) -> None:
    text, carefully, at = CASES[name]
    (definition,) = read(f"{name}: of x\ninputs x[n]\n{text}", library.load).values()
    emitted = getattr(compile(definition, target), name)
    results = []
    for of, dtype in ((emitted, torch.float32), (carefully, torch.float64)):
        x = torch.tensor(at, dtype=torch.float32).to(dtype, copy=True).requires_grad_()
        value = of(x)
        (first,) = torch.autograd.grad(value.sum(), x, create_graph=True)
        second = torch.autograd.grad((first**2).sum(), x)[0] if first.requires_grad else 0 * x
        results.append([found.double() for found in (value, first, second)])
    torch.testing.assert_close(*results, rtol=2e-5, atol=1e-6)
    if name in SMALL:
        (value, first, _), wanted = results
        torch.testing.assert_close([value, first], wanted[:2], rtol=2e-5, atol=1e-12)


def test_the_gradient_of_a_sigmoid_alone_costs_no_other_sigmoid() -> None:
    (definition,) = read(
        f"plain: of x\ninputs x[n]\n{LOGISTIC}y[n] = p[n]**3", library.load
    ).values()
    assert inspect.getsource(compile(definition)).count("torch.sigmoid(") == 1


@pytest.mark.parametrize("target", ["torch", "c"])
def test_a_probit_regression_learns_from_what_is_far_out_on_either_side(
    target: str, c_compiler: None
) -> None:
    lines = (
        "probit: A regression of labels.\ninputs u[n], y[n]\np[n] = (1 + erf(u[n]/sqrt(2)))/2\n"
        "loss = -sum_n(y[n]*log(p[n]) + (1 - y[n])*log(1 - p[n]))"
    )
    (definition,) = read(lines, library.load).values()
    probit = compile(definition, target).probit
    results = []
    for dtype in (torch.float32, torch.float64):
        u = torch.tensor([*FAR, -40.0, 40.0] * 2, dtype=dtype).requires_grad_()
        y = (torch.arange(len(u)) < len(u) // 2).to(dtype)
        log_p, log_q = map(torch.special.log_ndtr, (u, -u))
        loss = probit(u, y) if dtype == torch.float32 else -(y * log_p + (1 - y) * log_q).sum()
        results.append([loss.double(), *torch.autograd.grad(loss, u)])
        results[-1][1] = results[-1][1].double()
    torch.testing.assert_close(*results, rtol=2e-5, atol=1e-6)
