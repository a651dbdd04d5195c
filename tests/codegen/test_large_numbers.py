"""Numbers that no integer of 64 bits holds are numbers all the same."""

from __future__ import annotations

import pytest
import torch

from codegen.pipeline import compile
from derive import Rational, define


@pytest.mark.parametrize("target", ["torch", "c"])
def test_constants_beyond_64_bits_keep_their_value(target: str, c_compiler: None) -> None:
    op = define("scaled", "A polynomial with coefficients of many digits.")
    n = op.axes("n")
    x = op.input("x", n)
    large, small = 10**20 * x[n] + 2**64 * x[n] ** 2, Rational(3, 10**25) * x[n]
    module = compile(op.build(op.let("y", [n], large), op.let("z", [n], small)), target)
    x = torch.tensor([1.0, 2.0, -3.0], dtype=torch.float64)
    y, z, residuals = module.forward(x)
    torch.testing.assert_close(y, 1e20 * x + 2.0**64 * x**2)
    torch.testing.assert_close(z, 3e-25 * x, rtol=1e-12, atol=0)
    found = module.backward(torch.ones(3).double(), torch.ones(3).double(), residuals).grad_x
    torch.testing.assert_close(found, 1e20 + 2.0**65 * x)
