"""What is read at computed indices, in both targets: convolutions, neighbours, lags."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from codegen.pipeline import compile, source
from derive.files import load_definitions
from derive.notation.reading import read
from gradsmith.proof.check import check

pytestmark = pytest.mark.slow

WINDOWS = load_definitions(Path(__file__).parents[1] / "definitions" / "windows.grad")


def correlation(x: Tensor) -> Tensor:
    return torch.stack([(x[: len(x) - k] * x[k:]).sum() for k in range(len(x))]) / len(x)


def gated(x: Tensor, w: Tensor) -> Tensor:
    return F.pad((w[:, None] * x[:, :-1]).logsumexp(0), (1, 0))


PYTORCH: dict[str, tuple[Callable[..., Tensor], tuple[tuple[int, ...], ...]]] = {
    "conv1d": (F.conv1d, ((2, 3, 9), (4, 3, 3), (4,))),
    "strided": (
        lambda x, w: F.conv2d(x[None], w, stride=2)[0],
        ((3, 9, 8), (2, 3, 3, 2)),
    ),
    "dilated": (lambda x, w: F.conv1d(x[:, None], w[None, None], dilation=2)[:, 0], ((2, 9), (3,))),
    "turned": (lambda x, w: F.conv1d(x[None, None], w.flip(0)[None, None])[0, 0], ((9,), (3,))),
    "causal": (
        lambda x, w: F.conv1d(F.pad(x, (w.shape[1] - 1, 0)), w.flip(1)[:, None], groups=len(w)),
        ((2, 3, 9), (3, 4)),
    ),
    "pooled": (
        lambda x, w: (x.unfold(1, len(w), 1) + w).amax(2),
        ((2, 9), (3,)),
    ),
    "crests": (
        lambda x, w: (x.unfold(1, len(w), 1) + w).amax(2).diff(dim=1) ** 2,
        ((2, 9), (3,)),
    ),
    "halved": (lambda x: F.avg_pool1d(x, 2), ((3, 9),)),
    "variation": (
        lambda x: x.diff(dim=0).abs().sum() + x.diff(dim=1).square().sum(),
        ((5, 4),),
    ),
    "before": (lambda x: x + F.pad(x[:, :-1], (1, 0)) ** 2, ((3, 5),)),
    "correlation": (correlation, ((7,),)),
    "gated": (gated, ((3, 6), (3,))),
}


def inputs(name: str) -> list[Tensor]:
    draw = torch.Generator().manual_seed(0)
    shapes = PYTORCH[name][1]
    return [torch.randn(s, generator=draw, dtype=torch.float64).requires_grad_() for s in shapes]


@pytest.mark.parametrize("target", ["torch", "c"])
@pytest.mark.parametrize("name", PYTORCH)
def test_values_and_two_orders_of_gradients_are_those_of_pytorch(
    name: str, target: str, c_compiler: None
) -> None:
    mine = getattr(compile(WINDOWS[name], target), name)
    theirs, given = PYTORCH[name][0], inputs(name)
    values = [function(*given) for function in (mine, theirs)]
    torch.testing.assert_close(*values)
    weights = torch.randn(values[0].shape, generator=torch.Generator().manual_seed(1)).double()
    firsts = [torch.autograd.grad(v**2, given, weights, create_graph=True) for v in values]
    torch.testing.assert_close(*firsts)
    norms = [torch.stack([(g**2).sum() for g in first]).sum() for first in firsts]
    seconds = [torch.autograd.grad(norm, given) for norm in norms]
    torch.testing.assert_close(*seconds)


@pytest.mark.parametrize("target", ["torch", "c"])
@pytest.mark.parametrize("name", ["layers", "before", "gated", "residual", "temporal"])
def test_they_are_proven_like_any_other(name: str, target: str, c_compiler: None) -> None:
    assert all(row.passed for row in check(WINDOWS[name], compile(WINDOWS[name], target)))


def test_a_convolution_is_a_product_with_a_view_of_what_it_slides_over() -> None:
    text = source(WINDOWS["conv1d"])
    forward = text[text.index("def forward") : text.index("def backward")]
    assert 'torch.einsum("nctk,ock->not", x.unfold(2, K, 1), w)' in forward
    assert "arange" not in forward


def test_neighbours_are_slices_and_go_back_by_padding() -> None:
    text = source(WINDOWS["variation"])
    assert "x[1 : I + 1] - x[:I]" in text
    assert "torch.nn.functional.pad(" in text


def test_what_a_choice_leaves_out_is_looked_up_on_the_axis() -> None:
    assert ".clamp(0, T - 1)" in source(WINDOWS["causal"])


@pytest.mark.parametrize("target", ["torch", "c"])
def test_an_axis_that_is_too_short_for_a_window_is_refused_with_both_lengths(
    target: str, c_compiler: None
) -> None:
    conv1d = compile(WINDOWS["conv1d"], target).conv1d
    x, w, b = torch.randn(2, 3, 2), torch.randn(4, 3, 3), torch.randn(4)
    with pytest.raises(RuntimeError, match="S must be at least K = 3, got 2"):
        conv1d(x, w, b)


@pytest.mark.parametrize("target", ["torch", "c"])
def test_axes_that_allow_different_lengths_of_another_one_are_refused(
    target: str, c_compiler: None
) -> None:
    residual = compile(WINDOWS["residual"], target).residual
    u, rows = torch.arange(25.0).reshape(5, 5), torch.zeros(3, 3)
    assert residual(u, rows).item() == 0
    for longer in (torch.zeros(9, 3), torch.zeros(2, 3)):
        told = f"src and u must agree on I, got P = {len(longer)} by src, H - 2 = 3 by u"
        with pytest.raises(RuntimeError, match=told):
            residual(u, longer)


@pytest.mark.parametrize("target", ["torch", "c"])
def test_what_is_looked_up_where_nothing_is_chosen_has_a_place(
    target: str, c_compiler: None
) -> None:
    lines = "inputs x[s], z[t]\ny[t] = z[t]*where(t > 0 and t <= S, x[t-1], 0)"
    (definition,) = read(lines, WINDOWS.__getitem__).values()
    shifted = compile(definition, target).operation
    assert shifted(torch.ones(2), torch.ones(4)).tolist() == [0, 1, 1, 0]
    with pytest.raises(RuntimeError, match="S must be at least 1, got 0"):
        shifted(torch.ones(0), torch.ones(4))


def test_transforms_and_the_compiler_see_through_a_convolution() -> None:
    conv1d = compile(WINDOWS["conv1d"]).conv1d
    x, w, b = inputs("conv1d")
    assert gradcheck(conv1d, (x, w, b)) and gradgradcheck(conv1d, (x, w, b))
    batched = torch.func.vmap(conv1d, (None, 0, None))(x, torch.stack([w, 2 * w]), b)
    torch.testing.assert_close(batched[1], F.conv1d(x, 2 * w, b))
    slope = torch.func.grad(lambda x: conv1d(x, w, b).square().sum())(x)
    torch.testing.assert_close(
        slope, torch.autograd.grad(F.conv1d(x, w, b).square().sum(), x)[0].detach()
    )
    compiled = torch.compile(conv1d, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, w, b), F.conv1d(x, w, b))
