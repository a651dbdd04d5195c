"""Public functions on a GPU: what they give on the CPU, and PyTorch's dtypes under autocast."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.codegen.drop_in import PUBLIC, SAMPLED, Call, calls, function, loss, native, updates

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

REFUSED = "binary_cross_entropy"
"""PyTorch refuses it under CUDA's autocast, since it computes in the lower precision."""


def on_gpu(call: Call) -> Call:
    def moved(value: Any) -> Any:
        return value.cuda() if isinstance(value, Tensor) else value

    return Call(tuple(map(moved, call.given)), {k: moved(v) for k, v in call.named.items()})


def derivatives(name: str, call: Call) -> list[Tensor]:
    """The value, its gradient by the first real tensor, and that one's gradient."""
    leaf = call.given[call.first].clone().requires_grad_()
    value = call.at(function(name), leaf)
    (first,) = torch.autograd.grad(value.sin().sum(), leaf, create_graph=True)
    if not first.requires_grad:
        return [value, first]
    (second,) = torch.autograd.grad(first.sin().sum(), leaf, materialize_grads=True)
    return [value, first, second]


@pytest.mark.parametrize("name", PUBLIC)
def test_value_and_derivatives_are_those_of_the_cpu(name: str) -> None:
    for call in calls(name)[:6]:
        if updates(name, call):
            continue
        call = call.cast(torch.float64)
        for there, here in zip(
            derivatives(name, on_gpu(call)), derivatives(name, call), strict=True
        ):
            torch.testing.assert_close(there.cpu(), here, atol=1e-9, rtol=1e-7, equal_nan=True)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("low", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", [name for name in SAMPLED if name != REFUSED])
def test_autocast_gives_the_dtype_that_it_gives_pytorchs(name: str, low: torch.dtype) -> None:
    for call in calls(name)[:8]:
        for dtype in (torch.float32, low):
            given = on_gpu(call).cast(dtype)
            leaf = given.given[given.first].clone().requires_grad_()
            with torch.autocast("cuda", low):
                mine = given.at(function(name), leaf)
                theirs = given.cast(dtype).at(native(name), leaf.detach())
            assert mine.dtype == theirs.dtype
            if mine.requires_grad and mine.numel():
                (gradient,) = torch.autograd.grad(mine.float().sum(), leaf)
                assert gradient.dtype == dtype


@pytest.mark.parametrize("name", PUBLIC)
def test_the_compiler_sees_through_a_function(name: str) -> None:
    call = next(c for c in calls(name) if not updates(name, c)).cast(torch.float64)
    call = on_gpu(call)
    leaf, of = call.given[call.first].clone().requires_grad_(), loss(name, call)
    torch.compiler.reset()
    values = of(leaf), torch.compile(of, fullgraph=True)(leaf)
    plain, compiled = (torch.autograd.grad(value, leaf)[0] for value in values)
    torch.testing.assert_close(compiled, plain, atol=1e-9, rtol=1e-7, equal_nan=True)
