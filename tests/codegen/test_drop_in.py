"""A public function stands where PyTorch's stood: transforms, precision, layout, errors."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import forward_ad

from tests.codegen.drop_in import (
    LABELS,
    PUBLIC,
    SAMPLED,
    Call,
    calls,
    drawn,
    function,
    loss,
    native,
    updates,
)

pytestmark = pytest.mark.slow

# --- transforms ---


@pytest.mark.parametrize("name", PUBLIC)
def test_grad_and_vmap_and_the_compiler_see_through_a_function(name: str) -> None:
    call = next(c for c in calls(name) if not updates(name, c)).cast(torch.float64)
    first, of = call.given[call.first], loss(name, call)
    leaf = first.clone().requires_grad_()
    value = of(leaf)
    (expected,) = torch.autograd.grad(value, leaf)
    close = {"atol": 1e-12, "rtol": 1e-9, "equal_nan": True}
    torch.testing.assert_close(torch.func.grad(of)(first), expected, **close)
    both = torch.func.vmap(torch.func.grad(of))(torch.stack([first, first]))
    torch.testing.assert_close(both, torch.stack([expected, expected]), **close)
    torch.compiler.reset()
    compiled = torch.compile(of, fullgraph=True, backend="aot_eager")
    (found,) = torch.autograd.grad(compiled(leaf), leaf)
    torch.testing.assert_close(found, expected, **close)


@pytest.mark.parametrize("name", PUBLIC)
def test_jacobians_and_jacobians_of_those_are_autograds(name: str) -> None:
    some = [c for c in calls(name) if not updates(name, c) and c.given[c.first].numel()]
    call = min(some, key=lambda c: abs(c.given[c.first].numel() - 20)).cast(torch.float64)
    first, of = call.given[call.first], lambda x: call.at(function(name), x)
    close = {"atol": 1e-9, "rtol": 1e-7, "equal_nan": True}
    expected = torch.autograd.functional.jacobian(of, first)
    torch.testing.assert_close(torch.func.jacrev(of)(first), expected, **close)
    at_once = torch.autograd.functional.jacobian(of, first, vectorize=True)
    torch.testing.assert_close(at_once, expected, **close)
    twice = torch.func.jacrev(torch.func.jacrev(loss(name, call)))(first)
    hessian = torch.autograd.functional.hessian(loss(name, call), first)
    torch.testing.assert_close(twice, hessian, **close)


@pytest.mark.parametrize(
    ("name", "call", "kept"),
    [
        ("layer_norm", Call((drawn(64, 32), (32,), drawn(32), drawn(32))), 64 * 32 + 64 + 32),
        ("softmax", Call((drawn(64, 32), 1)), 64 * 32),
        ("cross_entropy", Call((drawn(64, 32), torch.arange(64) % 32)), 64 * 34),
        ("sigmoid", Call((drawn(64, 32),)), 64 * 32),
        ("relu", Call((drawn(64, 32),)), 64 * 32 / 8),  # a mask: a byte each
    ],
)
def test_no_more_is_kept_than_the_backward_pass_reads(name: str, call: Call, kept: float) -> None:
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    call = Call(
        tuple(
            v.clone().requires_grad_() if isinstance(v, Tensor) and v.is_floating_point() else v
            for v in call.given
        )
    )
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        function(name)(*call.given)
    assert sum(saved.values()) == 8 * kept


@pytest.mark.parametrize("name", ["sigmoid", "softmax", "tanh", "cross_entropy"])
def test_what_is_not_kept_may_be_changed(name: str) -> None:
    x = drawn(4, 3).requires_grad_()
    more = {"softmax": (1,), "cross_entropy": (LABELS,)}.get(name, ())
    between = 1 * x
    y = function(name)(between, *more)
    between.add_(1)
    (found,) = torch.autograd.grad(y.sin().sum(), x)
    (expected,) = torch.autograd.grad(native(name)(1 * x, *more).sin().sum(), x)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", PUBLIC)
def test_forward_mode_raises_and_says_so(name: str) -> None:
    call = calls(name)[0].cast(torch.float64)
    first = call.given[call.first]
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(first, torch.ones_like(first))
        with pytest.raises(RuntimeError, match="jvp"):
            call.at(function(name), dual)


# --- precision ---


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", SAMPLED)
def test_half_precision_comes_back_and_is_as_near_to_float64_as_pytorchs(
    name: str, dtype: torch.dtype
) -> None:
    for call in calls(name)[:8]:
        half = call.cast(dtype)
        exact = half.cast(torch.float64)
        truth = function(name)(*exact.given, **exact.named)
        found = function(name)(*half.given, **half.named)
        assert found.dtype == dtype
        off = (found.double() - truth).abs().nan_to_num(0, 0, 0)
        rounding = torch.finfo(dtype).eps * truth.abs() + torch.finfo(dtype).tiny
        assert (off <= rounding + 1e-5).all()  # float32 has its share


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", SAMPLED)
def test_autocast_gives_the_dtype_that_it_gives_pytorchs(name: str, dtype: torch.dtype) -> None:
    for call in calls(name)[:8]:
        given = call.cast(dtype)
        leaf = given.given[given.first].clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            mine = given.at(function(name), leaf)
            theirs = given.cast(dtype).at(native(name), leaf.detach())
        assert mine.dtype == theirs.dtype
        if mine.requires_grad and mine.numel():
            (gradient,) = torch.autograd.grad(mine.float().sum(), leaf)
            assert gradient.dtype == dtype


def test_matrix_products_stay_exact_under_autocast_in_both_passes() -> None:
    x, weight = (drawn(64, 64).float().requires_grad_() for _ in range(2))
    linear = function("linear")
    with torch.autocast("cpu", torch.bfloat16):
        y = linear(x, weight)
        (gradient,) = torch.autograd.grad(y.float().sum(), x)
    torch.testing.assert_close(y, (x @ weight.T).bfloat16())
    torch.testing.assert_close(gradient, weight.sum(0).expand(64, 64), rtol=1e-5, atol=1e-5)


# --- whose gradient ---


@pytest.mark.filterwarnings("ignore:reduction")
@pytest.mark.parametrize("name", SAMPLED)
def test_a_tensor_has_a_gradient_or_is_refused_one_as_in_pytorch(name: str) -> None:
    for call in {str(sorted(c.named.items())): c for c in reversed(calls(name))}.values():
        if name == "vector_norm" and 0 in (*call.given[1:2], call.named.get("ord")):
            continue  # the number of elements that are not zero has a gradient here, which is 0
        for place, value in enumerate(call.given):
            if isinstance(value, Tensor) and value.is_floating_point():
                mine, theirs = (_gradient(of, call, place) for of in (function(name), native(name)))
                assert type(mine) is type(theirs), f"argument {place} of {call}"
                if isinstance(mine, Tensor):
                    torch.testing.assert_close(mine, theirs, equal_nan=True)


def _gradient(of: Callable[..., Tensor], call: Call, place: int) -> Tensor | Exception | None:
    """The gradient of one argument of a call; None or an exception where it has none."""
    call = call.cast(torch.float64)
    leaf = call.given[place].requires_grad_()
    try:
        y = of(*call.given, **call.named)
    except (RuntimeError, ValueError) as refusal:
        return refusal
    return torch.autograd.grad(y.sum(), leaf, allow_unused=True)[0] if y.requires_grad else None


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_class_weights_have_a_gradient_beside_probabilities_alone(
    reduction: str, smoothing: float
) -> None:
    logits, target = drawn(4, 3), drawn(3, 4).T.softmax(1)
    pairs: list[list[Tensor]] = []
    for of in (function("cross_entropy"), F.cross_entropy):
        leaves = [t.clone().requires_grad_() for t in (logits, target, drawn(3).exp())]
        named: dict[str, Any] = {"reduction": reduction, "label_smoothing": smoothing}
        y = of(leaves[0], leaves[1], leaves[2], **named).sin().sum()
        first = torch.autograd.grad(y, leaves, create_graph=True)
        second = torch.autograd.grad(torch.stack([g.sin().sum() for g in first]).sum(), leaves)
        pairs.append([*first, *second])
        with pytest.raises(RuntimeError, match=r"requires a gradient|not differentiable"):
            of(leaves[0], LABELS, leaves[2], **named).sum().backward()
    for mine, theirs in zip(*pairs, strict=True):
        torch.testing.assert_close(mine, theirs)


# --- layout ---


@pytest.mark.parametrize("name", ["batch_norm", "relu", "gelu", "prelu"])
def test_channels_last_are_kept(name: str) -> None:
    x = drawn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last).requires_grad_()
    more: dict[str, tuple[Any, ...]] = {
        "batch_norm": (None, None, None, None, True),
        "prelu": (torch.full((3,), 0.2, dtype=x.dtype),),
    }
    given = more.get(name, ())
    mine, theirs = (f(x, *given) for f in (function(name), getattr(F, name)))
    assert mine.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(mine, theirs)
    pairs = [torch.autograd.grad((y * y).sum(), x)[0] for y in (mine, theirs)]
    torch.testing.assert_close(*pairs)


# --- values that are easily lost ---


AT_ZERO: dict[str, Callable[[Callable[..., Tensor]], list[Tensor]]] = {
    "vector_norm": lambda of: [of(X0, p) for p in (0.5, 0.9, 3.0, -1.0)],
    "normalize": lambda of: [of(X0, p) for p in (0.5, 3.0)],
    "pairwise_distance": lambda of: [of(X0, X0.flip(1), p, 0.0) for p in (0.5, 3.0)],
    "triplet_margin_loss": lambda of: [
        of(X0, X0.detach(), X0 + 0.5, p=p, eps=0.0) for p in (0.5, 3.0)
    ],
    "cosine_similarity": lambda of: [of(X0, X0.detach().flip(1), eps=eps) for eps in (1e-8, 9.0)],
}
X0 = torch.tensor([[0.0, 0.0, 1.0, -2.0], [3.0, 0.0, 0.0, 0.5]]).double().requires_grad_()


@pytest.mark.parametrize("name", AT_ZERO)
def test_a_norm_has_the_gradient_that_pytorchs_has_at_zero(name: str) -> None:
    theirs = torch.linalg.vector_norm if name == "vector_norm" else getattr(F, name)
    for pair in zip(AT_ZERO[name](function(name)), AT_ZERO[name](theirs), strict=True):
        torch.testing.assert_close(*pair)
        torch.testing.assert_close(*(torch.autograd.grad(y.sum(), X0)[0] for y in pair))


def test_an_integer_may_be_numpys() -> None:
    one = numpy.int64(1)
    x = drawn(4, 3)
    torch.testing.assert_close(function("logsumexp")(x, one), x.logsumexp(1))
    loss = function("cross_entropy")(x, LABELS, ignore_index=one)
    torch.testing.assert_close(loss, F.cross_entropy(x, LABELS, ignore_index=1))
    with pytest.raises(TypeError, match="ignore_index must be int, not float"):
        function("cross_entropy")(x, LABELS, ignore_index=1.0)


@pytest.mark.parametrize("name", ["vector_norm", "std", "var", "logsumexp"])
def test_what_is_not_a_number_stays_so(name: str) -> None:
    x = torch.tensor([[1.0, torch.nan, 2.0], [3.0, 1.0, 2.0]])
    assert function(name)(x, dim=1).isnan().tolist() == [True, False]


@pytest.mark.parametrize("name", ["smooth_l1_loss", "huber_loss", "mse_loss", "l1_loss"])
def test_a_loss_of_what_is_not_a_number_has_no_other_gradient(name: str) -> None:
    x = torch.tensor([torch.nan, 1.0])
    pairs = []
    for of in (function(name), getattr(F, name)):
        leaf = x.clone().requires_grad_()
        pairs.append(torch.autograd.grad(of(leaf, torch.zeros(2), reduction="sum"), leaf)[0])
    torch.testing.assert_close(*pairs, equal_nan=True)


@pytest.mark.parametrize("shape", [(0, 3), (1, 3), (2, 3)])
@pytest.mark.parametrize("correction", [0, 1, 5])
@pytest.mark.parametrize("name", ["var", "std"])
def test_a_variance_of_too_few_is_pytorchs(
    name: str, correction: int, shape: tuple[int, ...]
) -> None:
    x = torch.randn(shape, dtype=torch.float64)
    mine, theirs = (f(x, 0, correction=correction) for f in (function(name), getattr(torch, name)))
    torch.testing.assert_close(mine, theirs, equal_nan=True)


def test_smoothed_probabilities_meet_an_infinite_logit_as_in_pytorch() -> None:
    x = torch.tensor([[0.5, -torch.inf, 1.0]])
    target = torch.tensor([[1.0, 0.0, 0.0]])
    found = [
        f(x, target, label_smoothing=0.3) for f in (function("cross_entropy"), F.cross_entropy)
    ]
    assert all(value == torch.inf for value in found)


def test_the_second_derivative_below_the_bound_of_a_variance_is_pytorchs() -> None:
    x, target = drawn(2, 3), drawn(2, 3).flip(0)
    var = torch.tensor([[1e-3, 0.5, 1.0], [2.0, 1e-4, 0.3]], dtype=torch.float64)
    twice = []
    for of in (function("gaussian_nll_loss"), F.gaussian_nll_loss):
        leaf = var.clone().requires_grad_()
        (first,) = torch.autograd.grad(of(x, target, leaf, eps=1e-2), leaf, create_graph=True)
        twice.append(torch.autograd.grad(first.square().sum(), leaf)[0])
    torch.testing.assert_close(*twice)
    assert twice[0].all()


@pytest.mark.parametrize("name", ["std", "vector_norm"])
def test_a_second_derivative_at_zero_is_a_number(name: str) -> None:
    named = {"dim": 1} | ({"ord": 3} if name == "vector_norm" else {})
    x = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(function(name)(x, **named).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    assert second.isfinite().all()


# --- errors ---

X, Y = torch.randn(4, 3), torch.rand(4, 3)
WRONG: dict[str, tuple[str, tuple[Any, ...], dict[str, Any]]] = {
    "integers to an activation": ("gelu", (X.long(),), {}),
    "integers as logits": ("cross_entropy", (X.long(), LABELS), {}),
    "a weight of another dtype": ("cross_entropy", (X, LABELS), {"weight": torch.ones(3).double()}),
    "a weight of another size": ("cross_entropy", (X, LABELS), {"weight": torch.ones(2)}),
    "labels out of range": ("nll_loss", (X, LABELS + 1), {}),
    "labels of a type that does not index": ("nll_loss", (X, LABELS.short()), {}),
    "statistics of another dtype": (
        "batch_norm",
        (X, torch.zeros(3).double(), torch.ones(3).double()),
        {},
    ),
    "one value a channel": ("batch_norm", (X[:1], None, None, None, None, True), {}),
    "an epsilon below zero": ("batch_norm", (X, torch.zeros(3), torch.ones(3)), {"eps": -0.5}),
    "batches that do not meet": (
        "bilinear",
        (torch.ones(2, 4, 3), torch.ones(4, 2, 3), torch.ones(5, 3, 3)),
        {},
    ),
    "channels in no equal groups": ("group_norm", (X, 2), {}),
    "a shape that does not end so": ("layer_norm", (X, (4,)), {}),
    "a bias of another size": ("linear", (X, torch.ones(5, 3), torch.ones(4)), {}),
    "columns that do not meet": ("linear", (X, torch.ones(5, 4)), {}),
    "an unknown reduction": ("mse_loss", (X, Y), {"reduction": "max"}),
    "an unknown approximation": ("gelu", (X,), {"approximate": "sinh"}),
    "a dimension that is not there": ("softmax", (X, 2), {}),
    "probabilities above one": ("binary_cross_entropy", (Y + 1, Y), {}),
    "a target of another shape": ("binary_cross_entropy", (Y, Y[:1]), {}),
    "a target that would be broadcast": ("binary_cross_entropy_with_logits", (X, Y[:1]), {}),
    "targets of several dimensions": (
        "cosine_embedding_loss",
        (X[None], X[None], X[None, :, 0]),
        {},
    ),
    "a variance below zero": ("gaussian_nll_loss", (X, Y, -Y), {}),
    "a padding outside the table": ("embedding", (LABELS, X), {"padding_idx": 4}),
    "an odd size to halve": ("glu", (X,), {}),
    "more than there are places": (
        "batch_norm",
        (X, torch.zeros(3), torch.ones(3), None, None, False, 0.1, 1e-5, 0),
        {},
    ),
}


@pytest.mark.parametrize("name", ["var", "std"])
@pytest.mark.parametrize("given", [(), (0,), (0, True), (True,)])
def test_a_variance_is_told_once_what_it_divides_by(name: str, given: tuple[Any, ...]) -> None:
    told = {"correction": 1} if True in given else {"unbiased": True, "correction": 1}
    with pytest.raises(TypeError):
        getattr(torch, name)(X, *given, **told)
    with pytest.raises(TypeError, match="unbiased and correction exclude each other"):
        function(name)(X, *given, **told)


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_raises_what_pytorch_raises(case: str) -> None:
    name, given, named = WRONG[case]
    with pytest.raises(Exception) as theirs:
        getattr(F, name)(*given, **named)
    with pytest.raises(type(theirs.value)):
        getattr(import_module(f"generated.{name}"), name)(*given, **named)


# --- embedding ---


@pytest.mark.parametrize("padding", [None, 1, 0, -1])
def test_a_padding_is_looked_up_and_not_learnt(padding: int | None) -> None:
    tokens = torch.tensor([[0, 1, 4], [4, 1, 2]])
    pairs = []
    for of in (import_module("generated.embedding").embedding, F.embedding):
        weight = drawn(5, 3).requires_grad_()
        y = of(tokens, weight, padding_idx=padding)
        pairs.append((y.detach(), torch.autograd.grad((y * y).sum(), weight)[0]))
    for mine, theirs in zip(*pairs, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_what_an_embedding_does_not_do_is_refused() -> None:
    embedding = import_module("generated.embedding").embedding
    for named in ({"max_norm": 1.0}, {"sparse": True}, {"scale_grad_by_freq": True}):
        with pytest.raises(NotImplementedError, match="embedding wants"):
            embedding(LABELS, X, **named)


# --- rotary position embedding ---


def test_a_rotation_is_that_of_complex_numbers_and_has_its_gradient() -> None:
    x = drawn(2, 5, 8).requires_grad_()
    angle = torch.outer(torch.arange(5.0), torch.tensor([1.0, 0.3, 0.1, 0.03])).double()
    turned = function("rotary_embedding")(x, angle.cos(), angle.sin())
    a, b = x.chunk(2, -1)
    product = torch.complex(a, b) * torch.polar(torch.ones_like(angle), angle)
    expected = torch.cat((product.real, product.imag), -1)
    torch.testing.assert_close(turned, expected)
    cotangent = drawn(2, 5, 8).flip(0)
    pairs = [torch.autograd.grad(y, x, cotangent)[0] for y in (turned, expected)]
    torch.testing.assert_close(*pairs)


@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"])
def test_a_target_of_another_shape_is_broadcast_with_a_warning(name: str) -> None:
    of, rows, row = function(name), torch.zeros(3, 1), torch.arange(3.0)
    with pytest.warns(UserWarning, match=r"target has shape \[3\] and input \[3, 1\]"):
        found = of(rows, row)
    with pytest.warns(UserWarning, match="different to the input size"):
        torch.testing.assert_close(found, native(name)(rows, row))


def test_a_variance_may_be_a_number() -> None:
    of, x = function("gaussian_nll_loss"), torch.arange(3.0)
    torch.testing.assert_close(of(x, x + 1, 2.0), F.gaussian_nll_loss(x, x + 1, 2.0))
    with pytest.raises(ValueError, match="wants var >= 0"):
        of(x, x, -1.0)


def test_a_smoothing_of_one_has_second_derivatives() -> None:
    logits = drawn(4, 3).requires_grad_()
    weight = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    options = {"weight": weight, "reduction": "none", "label_smoothing": 1.0}
    found = []
    for losses in (
        function("cross_entropy")(logits, LABELS, ignore_index=None, **options),
        F.cross_entropy(logits, LABELS, **options),
    ):
        (first,) = torch.autograd.grad(losses.sum(), logits, create_graph=True)
        found += torch.autograd.grad(first.square().sum(), logits)
    torch.testing.assert_close(*found)
