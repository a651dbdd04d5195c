"""A power of a quotient is right where the powers of what is divided are not."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from codegen.pipeline import compile
from derive import library
from derive.notation.reading import read


def emitted(text: str, target: str = "torch") -> Any:
    (definition,) = read(f"quotient: of powers\n{text}", library.load).values()
    return compile(definition, target)


def normal(y: Tensor, mu: Tensor, s: Tensor) -> Tensor:
    return (((y - mu) / s) ** 2 / 2 + s.log()).mean()


def pairs(r: Tensor, e: Tensor, sig: Tensor) -> Tensor:
    return (4 * e * ((sig / r) ** 12 - (sig / r) ** 6)).sum()


def rational(x: Tensor, z: Tensor, width: Tensor) -> Tensor:
    return 1 / (1 + (((x - z) / width) ** 2).sum() / 2)


def cubed(sig: Tensor, d: Tensor) -> Tensor:
    return (sig**2 / d) ** 3


NORMAL = """inputs y[n], mu[n], s[n]
loss = mean_n(((y[n] - mu[n])/s[n])**2/2 + log(s[n]))"""
PAIRS = """inputs r[n], e, sig
u = sum_n(4*e*((sig/r[n])**12 - (sig/r[n])**6))"""
RATIONAL = """inputs x[d], z[d], l[d]
k = 1/(1 + sum_d(((x[d] - z[d])/l[d])**2)/2)"""
CUBED = "inputs sig, d[n]\ny[n] = (sig**2/d[n])**3"

CASES: dict[str, tuple[str, Callable[..., Tensor], list[Any]]] = {
    "narrow": (NORMAL, normal, [[1e-25, 2e-25], [0.0, 1e-25], [1e-25, 2e-25]]),
    "wide": (NORMAL, normal, [[1e25, 3e25], [0.0, 1e25], [1e25, 1e25]]),
    "lennard_jones": (PAIRS, pairs, [[3.8e-10, 4.4e-10], 1.65e-21, 3.4e-10]),
    "rational": (RATIONAL, rational, [[1e-25, 2e-25], [0.0, 1e-25], [1e-25, 2e-25]]),
    "cubed": (CUBED, cubed, [1e-8, [1e-16, 2e-16]]),
}


@pytest.mark.parametrize("target", ["torch", "c"])
@pytest.mark.parametrize("name", CASES)
def test_value_and_gradients_are_those_of_the_formula_as_it_is_typed(
    name: str, target: str, c_compiler: None
) -> None:
    text, plainly, given = CASES[name]
    results: list[list[Tensor]] = []
    for of, dtype in ((emitted(text, target).quotient, torch.float32), (plainly, torch.float64)):
        leaves = [torch.tensor(x).to(dtype, copy=True).requires_grad_() for x in given]
        value = of(*leaves)
        results.append([value, *torch.autograd.grad(value.sum(), leaves)])
    for mine, theirs in zip(*results, strict=True):
        bound = 1e-5 * theirs.abs().max().item()
        torch.testing.assert_close(mine.double(), theirs, rtol=1e-4, atol=bound)


def test_a_quotient_is_made_once_and_kept() -> None:
    module = emitted(NORMAL)
    forward, backward = map(inspect.getsource, (module.forward, module.backward))
    assert forward.count("y_minus_mu_over_s = (y - mu) / s") == 1
    assert " s**" not in forward + backward


def test_an_option_divides_first() -> None:
    text = "inputs x[n]\noptions c = 2 (positive)\ny[n] = (x[n]/c)**2"
    found = emitted(text).quotient(torch.tensor([1e-25, 2e-25]), c=1e-25)
    torch.testing.assert_close(found, torch.tensor([1.0, 4.0]))


@pytest.mark.parametrize("target", ["torch", "c"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_force_is_right_where_the_length_that_divides_is_an_option_in_metres(
    target: str, dtype: torch.dtype, c_compiler: None
) -> None:
    text = """inputs r[n]
options e = 1.65e-21 (positive), sig = 3.4e-10 (positive)
u = sum_n(4*e*((sig/r[n])**12 - (sig/r[n])**6))"""
    e, sig = (torch.tensor(value).double() for value in (1.65e-21, 3.4e-10))
    results: list[list[Tensor]] = []
    for of in (emitted(text, target).quotient, lambda r: pairs(r.double(), e, sig)):
        r = torch.tensor([3.4e-10, 3.8e-10, 4.4e-10, 1e-9], dtype=dtype).requires_grad_()
        value = of(r)
        (force,) = torch.autograd.grad(value, r, create_graph=True)
        (bend,) = torch.autograd.grad(force[1], r)
        results.append([found.double() for found in (value, force, bend)])
    for mine, theirs in zip(*results, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=0)


@pytest.mark.parametrize(
    "text",
    [
        "inputs x[n], c\ny = sum_n((x[n]/c)**2)",  # one square of c is enough
        "inputs x[n,d], l[d]\ny[n] = sum_d((x[n,d]/l[d])**2)",  # a product of a matrix
        "inputs x[n]\noptions c = 2 (positive)\ny[n] = 3*(x[n]/c)**2",  # 3/c**2 is one number
        "inputs a[n], b[n]\ny[n] = a[n]**2/b[n]**2 + a[n]**2*sin(1/b[n]**2)",  # both are there
    ],
)
def test_no_quotient_costs_a_kernel_for_squares(text: str) -> None:
    forward = inspect.getsource(emitted(text).forward)
    assert not any(name in forward for name in ("x_over_", "a_over_", "x_scaled"))
