"""A second moment from which the means are taken is worked out about the means."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from codegen.pipeline import compile
from derive import library
from derive.notation.reading import read

STANDARDISED = {
    "as a let": "v[n] = mean_c(x[n,c]**2) - mean_c(x[n,c])**2",
    "of lets": "q[n] = mean_c(x[n,c]**2)\nm[n] = mean_c(x[n,c])\nv[n] = q[n] - m[n]**2",
    "of sums": "m[n] = sum_c(x[n,c])\nv[n] = (sum_c(x[n,c]**2) - m[n]**2/C)/C",
    "not below zero": "v[n] = max(mean_c(x[n,c]**2) - mean_c(x[n,c])**2, 0)",
}
WRITTEN = {
    "variance": "y[c] = mean_n(x[n,c]**2) - m[c]**2",
    "of a sample": "y[c] = (sum_n(x[n,c]**2) - N*m[c]**2)/(N - 1)",
    "in one line": "y[c] = mean_n(x[n,c]**2) - mean_n(x[n,c])**2",
    "beside others": "y[c] = 1/sqrt(mean_n(x[n,c]**2) + 1e-5 - m[c]**2)",
}
OF = {
    "variance": lambda x: x.var(0, correction=0),
    "of a sample": lambda x: x.var(0),
    "in one line": lambda x: x.var(0, correction=0),
    "beside others": lambda x: (x.var(0, correction=0) + 1e-5).rsqrt(),
}


def far_from_zero(seed: int) -> torch.Tensor:
    """Numbers near 10,000 that single precision holds exactly."""
    draw = torch.Generator().manual_seed(seed)
    return 1e4 + torch.randint(-64, 64, (50, 3), generator=draw) / 64


@pytest.mark.parametrize("target", ["torch", "c"])
@pytest.mark.parametrize("written", WRITTEN)
def test_a_variance_of_moments_is_as_exact_as_one_of_differences(
    written: str, target: str, c_compiler: None
) -> None:
    text = (
        f"moments: of columns\ninputs x[n,c]\nm[c] = mean_n(x[n,c])\n{WRITTEN[written]}\noutputs y"
    )
    (definition,) = read(text, library.load).values()
    x = far_from_zero(0)
    found, exact = compile(definition, target).moments(x), OF[written](x.double())
    assert torch.allclose(found.double(), exact, rtol=1e-4)


@pytest.mark.parametrize("target", ["torch", "c"])
@pytest.mark.parametrize("written", STANDARDISED)
def test_rows_are_standardised_by_moments_as_by_differences(
    written: str, target: str, c_compiler: None
) -> None:
    (definition,) = read(
        f"rows: standardised\ninputs x[n,c]\n{STANDARDISED[written]}\n"
        "y[n,c] = (x[n,c] - mean_c(x[n,c]))/sqrt(v[n] + 1e-5)\noutputs y",
        library.load,
    ).values()
    x, weights = far_from_zero(0).T.contiguous(), torch.randn(2, 3, 50)

    def exactly(x: torch.Tensor) -> torch.Tensor:
        return (x - x.mean(1, keepdim=True)) / (x.var(1, correction=0, keepdim=True) + 1e-5).sqrt()

    found = derivatives(compile(definition, target).rows, x, weights)
    exact = derivatives(exactly, x.double(), weights.double())
    for one, other in zip(found, exact, strict=True):
        assert (one.double() - other).norm() < 1e-2 * other.norm()


def derivatives(
    function: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, weights: torch.Tensor
) -> list[torch.Tensor]:
    """The value, a first and a second derivative."""
    x = x.clone().requires_grad_()
    value = function(x)
    (first,) = torch.autograd.grad(value, x, weights[0], create_graph=True)
    return [value.detach(), first.detach(), *torch.autograd.grad(first, x, weights[1])]


def test_a_correlation_of_sums_is_as_exact_as_one_of_differences() -> None:
    (definition,) = read(
        "correlation: of sums\ninputs x[n], y[n]\na = sum_n(x[n])\nb = sum_n(y[n])\n"
        "r = (N*sum_n(x[n]*y[n]) - a*b)"
        "/sqrt((N*sum_n(x[n]**2) - a**2)*(N*sum_n(y[n]**2) - b**2))\noutputs r",
        library.load,
    ).values()
    x, y = far_from_zero(0)[:, :2].T
    exact = torch.corrcoef(torch.stack([x, y]).double())[0, 1]
    assert torch.allclose(compile(definition).correlation(x, y).double(), exact, rtol=1e-3)


def test_a_covariance_of_moments_is_as_exact_as_one_of_differences() -> None:
    (definition,) = read(
        "moments: of two columns\ninputs x[n,c], z[n,c]\nm[c] = mean_n(x[n,c])\n"
        "k[c] = mean_n(z[n,c])\ny[c] = mean_n(x[n,c]*z[n,c]) - m[c]*k[c]\noutputs y",
        library.load,
    ).values()
    x, z = far_from_zero(0), far_from_zero(1)
    exact = ((x.double() - x.double().mean(0)) * (z.double() - z.double().mean(0))).mean(0)
    assert torch.allclose(compile(definition).moments(x, z).double(), exact, rtol=1e-3)


def test_what_is_no_product_of_the_means_is_left_alone() -> None:
    (definition,) = read(
        "moments: not of the mean\ninputs x[n,c]\nm[c] = mean_n(x[n,c])\n"
        "y[c] = mean_n(x[n,c]**2) - 2*m[c]**2\noutputs y",
        library.load,
    ).values()
    x = torch.randn(50, 3, dtype=torch.float64)
    assert torch.allclose(compile(definition).moments(x), (x**2).mean(0) - 2 * x.mean(0) ** 2)
