"""Public functions that compute in C behave under autograd as those of torch's files do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from importlib import import_module
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.flop_counter import FlopCounterMode

from derive import library
from derive.verification.points import random_point, two_sizes
from gradsmith.emitted import Functions
from gradsmith.proof.samples import at_point

pytestmark = pytest.mark.slow

CallsOf = Callable[[ModuleType], Counter[str]]

NAMES = library.names()
PRIVATE = import_module("torch")  # what stands behind tensors that PyTorch makes itself


def in_c(name: str) -> ModuleType:
    return import_module(f"generated.c.{name}")


def in_torch(name: str) -> ModuleType:
    return import_module(f"generated.{name}")


@pytest.fixture(autouse=True)
def _needs_a_compiler(c_compiler: None) -> None:
    pass


@pytest.mark.parametrize("name", NAMES)
def test_a_second_derivative_is_right(name: str) -> None:
    definition, module = library.load(name), in_c(name)
    sizes, _ = two_sizes(definition)
    inputs = dict(at_point(definition, random_point(definition, sizes, 0, usual=True)).inputs)
    wanted = [inputs[k].requires_grad_() for k in definition.wrt if k in inputs]
    operation = Functions.of(module, definition).operation
    assert torch.autograd.gradgradcheck(lambda *_: operation(**inputs), wanted)


@pytest.mark.parametrize("name", ["elu", "celu", "selu"])
def test_a_second_derivative_is_finite_where_the_other_branch_overflows(name: str) -> None:
    x = torch.tensor([0.5, 2.0, 89.0, 200.0], requires_grad=True)
    (first,) = torch.autograd.grad(getattr(in_c(name), name)(x).sum(), x, create_graph=True)
    assert torch.autograd.grad(first.sum(), x)[0].tolist() == [0, 0, 0, 0]


def test_a_penalty_on_a_gradient_reaches_the_input() -> None:
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    gradients = []
    for function in (in_c("softmax").softmax, torch.softmax):
        loss = function(x, 1).square().sum()
        (first,) = torch.autograd.grad(loss, x, create_graph=True)
        (second,) = torch.autograd.grad(loss + first.square().sum(), x)
        gradients.append(second)
    assert torch.allclose(*gradients)


def test_forward_and_backward_are_in_c_where_autograd_calls_them(calls_of: CallsOf) -> None:
    module = in_c("layer_norm")
    calls = calls_of(module)
    x = torch.randn(4, 3, requires_grad=True)
    module.layer_norm(x, [3], None, None).sum().backward()
    assert calls == {"forward": 1, "backward": 1}
    assert x.grad is not None


def test_transforms_and_the_compiler_take_a_public_function() -> None:
    x, target = torch.randn(2, 4, 3), torch.randn(4, 3)
    softmax, mse_loss = in_c("softmax").softmax, in_c("mse_loss").mse_loss

    def loss(x: Tensor) -> Tensor:
        return mse_loss(softmax(x, 1), target)

    def native(x: Tensor) -> Tensor:
        return F.mse_loss(F.softmax(x, 1), target)

    for transform in (torch.func.grad, lambda f: torch.func.jacrev(torch.func.grad(f))):
        mine, theirs = (torch.func.vmap(transform(f))(x) for f in (loss, native))
        assert torch.allclose(mine, theirs, atol=1e-6)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    assert torch.allclose(compiled(x[0]), native(x[0]))
    leaf = x[0].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(compiled(leaf), leaf)
    assert torch.allclose(gradient, torch.func.grad(native)(x[0]))


def test_a_mode_that_looks_at_what_is_computed_sees_it() -> None:
    softmax, x = in_c("softmax").softmax, torch.randn(2, 5)
    graph = make_fx(lambda x: softmax(x, 1))(x)
    other = torch.randn(2, 5)
    assert torch.allclose(graph(other), F.softmax(other, 1))
    with FlopCounterMode(display=False) as mine:
        in_c("linear").linear(torch.randn(2, 4), torch.randn(3, 4), torch.randn(3))
    assert mine.get_total_flops() == 2 * 2 * 4 * 3


def test_a_transform_of_plain_forward_and_backward_is_right() -> None:
    module, x, g = in_c("tanh"), torch.randn(3, 4, 5), torch.randn(3, 4, 5)

    def gradient(x: Tensor, g: Tensor) -> Tensor:
        return module.backward(g, module.forward(x)[1]).grad_x

    mine = torch.func.vmap(gradient)(x, g)
    assert torch.allclose(mine, g * (1 - x.tanh() ** 2), atol=1e-6)


def test_forward_mode_raises_as_torchs_does() -> None:
    x = torch.randn(4, 3)

    def raised(function: Callable[[Tensor], Tensor]) -> type[Exception] | None:
        try:
            torch.func.jvp(function, (x,), (torch.ones_like(x),))
        except Exception as error:
            return type(error)
        return None

    mine, theirs = (raised(lambda v, m=m: m("softmax").softmax(v, 1)) for m in (in_c, in_torch))
    assert mine is theirs and mine is not None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_gives_what_torchs_file_gives(dtype: torch.dtype) -> None:
    x, weight = torch.randn(5, 7, dtype=dtype), torch.randn(7, dtype=dtype)
    results = []
    for module in (in_c("rms_norm"), in_torch("rms_norm")):
        leaf = x.clone().requires_grad_()
        y = module.rms_norm(leaf, [7], weight)
        y.backward(torch.ones_like(y))
        assert y.dtype == dtype
        results.append((y.detach(), leaf.grad))
    for mine, theirs in zip(*results, strict=True):
        assert mine is not None and theirs is not None
        assert torch.equal(mine, theirs)


def test_a_plain_forward_that_autograd_records_is_differentiable() -> None:
    module, x = in_c("log_softmax"), torch.randn(4, 3, requires_grad=True)
    y, residuals = module.forward(x)
    assert y.requires_grad and y.grad_fn is not None
    (gradient,) = torch.autograd.grad(y[:, 0].sum(), x)
    with torch.no_grad():
        y, residuals = module.forward(x)
        assert not y.requires_grad and type(residuals) is module.Residuals
    cotangent = torch.zeros(4, 3)
    cotangent[:, 0] = 1
    assert torch.allclose(module.backward(cotangent, residuals).grad_x, gradient, atol=1e-6)


def test_residuals_of_either_file_are_taken() -> None:
    mine, theirs = in_c("batch_norm"), in_torch("batch_norm")
    x, weight, bias, g = torch.randn(6, 3), torch.randn(3), torch.randn(3), torch.randn(6, 3)
    by_torch = theirs.forward(x, weight, bias)[1]
    by_c = mine.forward(x, weight, bias)[1]
    assert type(by_torch) is not type(by_c)
    for a, b in zip(mine.backward(g, by_torch), mine.backward(g, by_c), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda g: None, TypeError, "grad_y must be Tensor, not NoneType"),
        (lambda g: 1.0, TypeError, "grad_y must be Tensor, not float"),
        (lambda g: g.double(), TypeError, "grad_y must be a plain torch.float32 tensor on the CPU"),
        (lambda g: g.half(), TypeError, "got torch.float16 on cpu"),
        (lambda g: g.to("meta"), TypeError, "got torch.float32 on meta"),
        (lambda g: g.requires_grad_(), TypeError, "that autograd does not record"),
        (lambda g: g[:, :2], RuntimeError, r"grad_y must have shape \(N, C\) where N = 4, C = 3"),
        (lambda g: g.flatten(), RuntimeError, r"grad_y must have shape \(N, C\)"),
        (lambda g: g[None], RuntimeError, r"got \[1, 4, 3\]"),
    ],
)
def test_backward_refuses_a_gradient_of_another_kind(
    change: Callable[[Tensor], object], error: type[Exception], words: str
) -> None:
    module = in_c("layer_norm")
    _, residuals = module.forward(torch.randn(4, 3), torch.ones(3), torch.zeros(3))
    with pytest.raises(error, match=words):
        module.backward(change(torch.randn(4, 3)), residuals)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"x": None}, "x must be Tensor, not NoneType"),
        ({"weight": None}, "weight must be Tensor, not NoneType"),
        ({"bias": 1.0}, "bias must be Tensor, not float"),
        ({"x": [[1.0, 2.0, 3.0]]}, "x must be Tensor, not list"),
        ({"eps": "small"}, "eps must be a number, not str"),
        ({"eps": None}, "eps must be a number, not NoneType"),
        ({"eps": torch.ones(3)}, "eps must be a number, not Tensor"),
    ],
)
def test_forward_names_an_argument_of_another_kind(wrong: dict[str, object], words: str) -> None:
    given = {"x": torch.randn(4, 3), "weight": torch.ones(3), "bias": torch.zeros(3)}
    with pytest.raises(TypeError, match=words):
        in_c("layer_norm").forward(**{**given, **wrong})


def test_value_and_grad_names_an_argument_of_another_kind() -> None:
    with pytest.raises(TypeError, match="target must be Tensor, not int"):
        in_c("cross_entropy").value_and_grad(torch.randn(4, 3), 1)


def test_a_public_function_names_an_option_that_is_no_number() -> None:
    with pytest.raises(TypeError, match="eps must be a number, not str"):
        in_c("layer_norm").layer_norm(torch.randn(4, 3), (3,), eps="small")


def test_meta_tensors_are_torchs_to_shape() -> None:
    x = torch.empty(4, 3, device="meta", requires_grad=True)
    y = in_c("softmax").softmax(x, 1)
    assert y.device.type == "meta" and y.shape == (4, 3)
    y.sum().backward()
    assert x.grad is not None and x.grad.device.type == "meta"
    y, residuals = in_c("tanh").forward(x.detach())
    assert y.device.type == "meta"
    assert type(residuals) is in_torch("tanh").Residuals


def test_a_subclass_of_tensor_is_left_to_torch() -> None:
    class Named(Tensor):
        pass

    x = torch.randn(4, 3).as_subclass(Named)
    y, residuals = in_c("tanh").forward(x)
    assert isinstance(residuals, in_torch("tanh").Residuals)
    assert torch.allclose(y, x.tanh())
    parameter = torch.nn.Parameter(torch.randn(4, 3), requires_grad=False)
    assert type(in_c("tanh").forward(parameter)[1]) is in_c("tanh").Residuals


@pytest.mark.parametrize("shape", [(1,), (4,), (4, 3)])
def test_a_view_that_negates_is_read_as_it_is(shape: tuple[int, ...]) -> None:
    pairs = torch.view_as_complex(torch.randn(*shape, 2))
    for value in (pairs.conj().imag, PRIVATE._neg_view(torch.randn(shape))):
        assert value.is_neg()
        module, expected = in_c("relu"), torch.relu(value.clone())
        assert torch.equal(module.forward(value.view(-1))[0], expected.view(-1))
        leaf = torch.ones(value.numel(), requires_grad=True)
        (gradient,) = torch.autograd.grad(module.relu(leaf), leaf, value.view(-1))
        assert torch.equal(gradient, value.clone().view(-1))
        with pytest.raises(TypeError, match="grad_y must be a plain"):
            module.backward(value.view(-1), module.forward(leaf.detach())[1])


def test_zeros_without_memory_are_zeros() -> None:
    nothing = PRIVATE._efficientzerotensor((4,))
    assert torch.equal(in_c("relu").forward(nothing)[0], torch.zeros(4))


def test_what_autograd_saved_may_come_back_with_other_strides() -> None:
    x, g = torch.randn(4, 3, requires_grad=True), torch.randn(4, 3)

    def back(saved: Tensor) -> Tensor:
        return saved.T.contiguous().T if saved.dim() == 2 else saved

    with torch.autograd.graph.saved_tensors_hooks(lambda saved: saved, back):
        y = in_c("softmax").softmax(x, 1)
        (found,) = torch.autograd.grad(y, x, g)
    (expected,) = torch.autograd.grad(torch.softmax(x, 1), x, g)
    torch.testing.assert_close(found, expected)


def test_an_unused_output_costs_no_gradient_and_none_is_handled() -> None:
    x = torch.randn(4, 3, requires_grad=True)
    y = in_c("softmax").softmax(x, 1)
    assert torch.autograd.grad(y[:, :0].sum(), x)[0].eq(0).all()


def test_inference_mode_computes_in_c(calls_of: CallsOf) -> None:
    module = in_c("softmax")
    calls = calls_of(module)
    with torch.inference_mode():
        x = torch.randn(4, 3)
        assert torch.allclose(module.softmax(x, 1), x.softmax(1))
    assert calls["forward"] == 1
