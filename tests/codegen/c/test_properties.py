"""What loops in C compute does not depend on how it is asked: strides, threads, extremes, sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from derive import Definition, library
from gradsmith.emitted import Functions
from gradsmith.proof.samples import Sample, random_like, random_sample

pytestmark = pytest.mark.slow

NAMES = library.names()


def _is_elementwise(definition: Definition) -> bool:
    return [t.name for t in definition.inputs] == ["x"] and len(definition.axes) == 1


ELEMENTWISE = [name for name in NAMES if _is_elementwise(library.load(name))]


@pytest.fixture(autouse=True)
def _needs_a_compiler(c_compiler: None) -> None:
    pass


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def in_c(name: str) -> ModuleType:
    return import_module(f"generated.c.{name}")


def results(definition: Definition, sample: Sample) -> list[Tensor]:
    """Outputs, what is kept, and gradients, by forward and backward and by the joint function."""
    module = in_c(definition.name)
    functions = Functions.of(module, definition)
    *outputs, residuals = functions.forward(**sample.inputs, **sample.options)
    assert "in_torch" in vars(module) and type(residuals).__module__ == module.__name__
    kept = [value for value in residuals if isinstance(value, Tensor)]
    cotangents = random_like(outputs, Generator().manual_seed(1))
    found = [*outputs, *kept, *functions.backward(*cotangents, residuals)]
    if functions.value_and_grad is not None:
        value, gradients = functions.value_and_grad(**sample.inputs, **sample.options)
        found += [value, *gradients]
    return found


def identical(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a, b, 0, 0, equal_nan=True)


def many(definition: Definition, elements: int) -> Sample:
    """A sample with about as many elements in the largest tensor, its sizes all different."""
    rank = max(len(t.axes) for t in definition.tensors.values())
    each = int(elements ** (1 / rank))
    sizes = {axis: each + 3 + 2 * place for place, axis in enumerate(definition.axes)}
    return random_sample(definition, sizes, Generator().manual_seed(0)).to(torch.float32)


@pytest.mark.parametrize("name", NAMES)
def test_every_thread_does_its_part_and_the_sum_is_the_same_to_the_bit(
    name: str, threads: Callable[[int], None]
) -> None:
    definition = library.load(name)
    sample = many(definition, 150_000)
    threads(1)
    expected = results(definition, sample)
    for count in (2, 3, 3):
        threads(count)
        for mine, alone in zip(results(definition, sample), expected, strict=True):
            assert identical(mine, alone), count


@pytest.mark.parametrize("name", NAMES)
def test_inputs_of_any_strides_are_taken_and_not_written_to(name: str) -> None:
    definition = library.load(name)
    sizes = {axis: 3 + place for place, axis in enumerate(definition.axes)}
    plain = random_sample(definition, sizes, Generator().manual_seed(0))
    expected = results(definition, plain)
    for change in (_between, _transposed, _shifted):
        inputs = {name: change(value) for name, value in plain.inputs.items()}
        found = results(definition, Sample(inputs, plain.options, sizes))
        assert all(map(identical, found, expected))
        assert all(torch.equal(inputs[k], plain.inputs[k]) for k in inputs)


def _between(value: Tensor) -> Tensor:
    """Every second element of a larger tensor."""
    larger = torch.full([2 * size for size in value.shape], 77, dtype=value.dtype)
    view = larger[tuple(slice(None, None, 2) for _ in value.shape)]
    return view.copy_(value)


def _transposed(value: Tensor) -> Tensor:
    order = range(value.dim())[::-1]
    return value.permute(*order).contiguous().permute(*order)


def _shifted(value: Tensor) -> Tensor:
    """The same at an odd address."""
    flat = torch.empty(value.numel() + 1, dtype=value.dtype)[1:].view(value.shape)
    return flat.copy_(value)


def test_a_cotangent_of_any_strides_is_taken() -> None:
    module, x = in_c("softmax"), torch.randn(4, 5)
    _, residuals = module.forward(x)
    g = torch.randn(5, 4).T
    expected = module.backward(g.contiguous(), residuals).grad_x
    assert torch.equal(module.backward(g, residuals).grad_x, expected)
    one = torch.ones(()).expand(4, 5)
    assert module.backward(one, residuals).grad_x.abs().max() < 1e-6


# --- sizes ---


@pytest.mark.parametrize("shape", [(), (1,), (0,), (1, 1), (0, 4), (4, 0), (1, 5), (5, 1)])
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "tanh", "relu", "gelu", "softplus"])
def test_any_shape_is_that_of_pytorch(name: str, shape: tuple[int, ...]) -> None:
    along = {"dim": -1} if "softmax" in name else {}
    native = getattr(F, name, None) or getattr(torch, name)
    x = torch.linspace(-2, 2, torch.Size(shape).numel()).reshape(shape)
    functions = (getattr(in_c(name), name), native)
    found = [_gradient_of(lambda v, f=f: f(v, **along), x) for f in functions]
    for mine, theirs in zip(*found, strict=True):
        assert mine.shape == theirs.shape
        assert torch.allclose(mine, theirs, atol=1e-6)


def _gradient_of(function: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    leaf = x.clone().requires_grad_()
    y = function(leaf)
    weights = torch.linspace(1, 2, y.numel()).view(y.shape).to(y.dtype)
    (gradient,) = torch.autograd.grad(y, leaf, weights)
    return y.detach(), gradient


@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "smooth_l1_loss"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_sum_of_ten_million_is_as_exact_as_pytorchs(name: str, reduction: str) -> None:
    g = Generator().manual_seed(0)
    x, target = (torch.rand(10_000_000, generator=g) for _ in range(2))
    native = getattr(F, name)
    truth = native(x.double(), target.double(), reduction=reduction)
    mine = getattr(in_c(name), name)(x, target, reduction=reduction).double()
    theirs = native(x, target, reduction=reduction).double()
    one = truth * 2**-23
    assert (mine - truth).abs() <= torch.maximum((theirs - truth).abs(), one)


def test_a_long_reduction_along_either_dimension_is_as_exact_as_pytorchs() -> None:
    x = torch.randn(1_000_000, 3, generator=Generator().manual_seed(0)) + 10
    pairs = [(getattr(in_c(name), name), getattr(torch, name)) for name in ("var", "logsumexp")]
    for function, native in pairs:
        for value, dim in ((x, 0), (x.T.contiguous(), 1)):
            truth = native(value.double(), dim)
            mine, theirs = (f(value, dim).double() for f in (function, native))
            least = truth.abs() * 2**-22
            assert ((mine - truth).abs() <= torch.maximum((theirs - truth).abs(), least)).all()


# --- extremes ---

INF, NAN = torch.inf, torch.nan
SPECIAL = (0.0, -0.0, 1e-40, -1e-40, 1e-8, 3.0, -3.0, 50.0, -50.0, 1e4, -1e4, 1e38, -1e38)
ROWS = (
    [1e4, -1e4, 0.0],
    [-1e4, -1e4, -1e4],
    [3e38, 3e38, -3e38],
    [-INF, 0.0, 1.0],
    [-INF, -INF, 2.0],
    [NAN, 0.0, 1.0],
    [0.0, 0.0, 0.0],
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_a_function_of_extremes_is_as_torchs_file_has_it(name: str, dtype: torch.dtype) -> None:
    x = torch.tensor([*SPECIAL, INF, -INF, NAN] * 3, dtype=dtype)
    found = []
    for module in (in_c(name), import_module(f"generated.{name}")):
        y, residuals = module.forward(x)
        found.append((y, module.backward(torch.full_like(y, 2), residuals).grad_x))
    for mine, theirs in zip(*found, strict=True):
        least = 1e-37 if dtype == torch.float32 else 1e-300  # what is less may be flushed to zero
        assert torch.allclose(mine, theirs, 1e-5, least, equal_nan=True), [
            (at, a, b)
            for at, a, b in zip(x.tolist(), mine.tolist(), theirs.tolist(), strict=True)
            if not torch.allclose(torch.tensor(a), torch.tensor(b), 1e-5, least, equal_nan=True)
        ]


def test_tanh_stays_within_one() -> None:
    x = torch.linspace(0, 20, 1_000_001)
    y = in_c("tanh").tanh(torch.cat([x, -x]))
    assert y.abs().max() == 1


ALONG = ("softmax", "log_softmax", "logsumexp", "softmin")
# Where a logarithm is lost beside the largest logit, PyTorch's own gradient is wrong.
LOST = ("logsumexp", ROWS[2])


@pytest.mark.parametrize(
    ("name", "row"), [(name, row) for name in ALONG for row in ROWS if (name, row) != LOST]
)
def test_a_row_of_extremes_is_as_in_pytorch(name: str, row: list[float]) -> None:
    x = torch.tensor([row, [0.5, -1.0, 2.0]])
    native = getattr(F, name, None) or getattr(torch, name)
    assert not_farther(lambda v: getattr(in_c(name), name)(v, 1), lambda v: native(v, 1), x, 1e-6)


def not_farther(
    mine: Callable[[Tensor], Tensor],
    native: Callable[[Tensor], Tensor],
    x: Tensor,
    tolerance: float,
) -> bool:
    """Whether value and gradient are PyTorch's, or nearer to what it has in float64."""
    found = (_gradient_of(mine, x), _gradient_of(native, x), _gradient_of(native, x.double()))
    for a, b, truth in zip(*found, strict=True):
        if torch.allclose(a, b, tolerance, tolerance, equal_nan=True):
            continue
        off, theirs = ((v.double() - truth).abs() for v in (a, b))
        least = tolerance * max(1.0, truth.nan_to_num(0, 0, 0).abs().max().item())
        near = (off <= theirs.nan_to_num(torch.inf)) | (off <= least)
        same = (a == truth) | (a.isnan() & truth.isnan())
        if not (near | same).all():
            return False
    return True


@pytest.mark.parametrize("target", [[0, 2], [2, 0], [1, 1]])
@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_a_cross_entropy_of_extremes_is_as_in_pytorch(
    reduction: str, row: list[float], target: list[int]
) -> None:
    x, labels = torch.tensor([row, [0.5, -1.0, 2.0]]), torch.tensor(target)
    functions = (in_c("cross_entropy").cross_entropy, F.cross_entropy)
    found = [_gradient_of(lambda v, f=f: f(v, labels, reduction=reduction), x) for f in functions]
    for mine, theirs in zip(*found, strict=True):
        assert torch.allclose(mine, theirs, atol=1e-6, equal_nan=True), (mine, theirs)


@pytest.mark.parametrize("value", [0.0, 5.0, 1e4, 1e30, NAN])
@pytest.mark.parametrize("name", ["layer_norm", "rms_norm", "batch_norm", "group_norm"])
def test_rows_without_variance_are_as_in_pytorch(name: str, value: float) -> None:
    x = torch.full((4, 6), value)
    x[1] = torch.linspace(-1, 1, 6)
    given: dict[str, tuple[Any, ...]] = {
        "layer_norm": ([6],),
        "rms_norm": ([6],),
        "group_norm": (2,),
        "batch_norm": (None, None, None, None, True),
    }
    mine, native = getattr(in_c(name), name), getattr(F, name)
    assert not_farther(lambda v: mine(v, *given[name]), lambda v: native(v, *given[name]), x, 1e-5)
