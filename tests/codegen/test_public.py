"""Public functions are called as PyTorch's are: any rank, older arguments, the same errors."""

import inspect
import itertools
import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from codegen.pipeline import compile
from codegen.program import CodegenError
from derive import Mean, define, library
from derive.files import load_definitions
from generated.batch_norm import batch_norm
from generated.cross_entropy import cross_entropy
from generated.instance_norm import instance_norm
from generated.linear import linear
from generated.mse_loss import mse_loss
from generated.smooth_l1_loss import smooth_l1_loss
from generated.softmax import softmax
from gradsmith.proof.check import check
from tests.codegen.drop_in import PUBLIC

pytestmark = pytest.mark.slow

OUTSIDE = '''
"""An operation of somebody else's."""

from derive import define, log, exp, reductions

op = define("gap", "How far apart the exponentials of two tensors are, softly.")
op.called("input: x, target, weight=None, slope=1.0, reduction='mean'")
n = op.axes("n", "elements")
x, target, weight = op.input("x", n), op.input("target", n), op.input("weight", n, absent=1)
slope = op.option("slope", 1.0, positive=True)
op.demand("slope > 0")
each = weight[n] * log(1 + exp(slope * (x[n] - target[n]))) / slope
gap = op.build(op.cases("loss", "reduction", reductions(each, n)), without=[weight])
'''


def public(name: str) -> Callable[..., Tensor]:
    return getattr(import_module(f"generated.{name}"), name)


FOLDER = Path(__file__).parents[2] / "generated"
SHAPES = ((4, 5), (5,), (4, 5, 3), (2, 5, 3, 2), (0, 5))


def result(function: Callable[..., Tensor], x: Tensor, *given: object, **named: object) -> object:
    """The value and the gradient of the first argument; of an error, its type."""
    x = x.clone().requires_grad_()
    try:
        value = function(x, *given, **named)
    except Exception as error:
        return type(error)
    cotangent = torch.randn(value.shape, generator=torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad(value, x, cotangent.to(value.dtype))
    return value.detach(), gradient


def same(mine: object, theirs: object) -> bool:
    if not isinstance(mine, tuple) or not isinstance(theirs, tuple):
        return mine is theirs
    pairs = list(zip(mine, theirs, strict=True))
    return all(a.dtype == b.dtype and torch.allclose(a, b, equal_nan=True) for a, b in pairs)


def test_an_operation_of_another_file_is_emitted_and_proven_and_takes_any_shape(
    tmp_path: Path,
) -> None:
    (tmp_path / "mine.py").write_text(OUTSIDE)
    definition = load_definitions(tmp_path / "mine.py")["gap"]
    module = compile(definition)
    assert {v.full_name for v in definition.variants} == {
        "gap",
        *(f"gap[{v}]" for v in ("sum", "none", "weight", "weight_sum", "weight_none")),
    }
    for variant in definition.variants:
        assert all(row.passed for row in check(variant, module))
    x, target = torch.randn(2, 3, 4), torch.randn(3, 1)
    assert module.gap(x, target, reduction="none").shape == (2, 3, 4)
    assert module.gap(x.bfloat16(), target.bfloat16()).dtype == torch.bfloat16
    with pytest.raises(ValueError, match="reduction must be one of mean, sum, none, got 'max'"):
        module.gap(x, target, reduction="max")
    with pytest.raises(ValueError, match=r"gap wants slope > 0, got slope = -1\.0"):
        module.gap(x, target, slope=-1.0)


@pytest.mark.parametrize("shape", SHAPES)
def test_cross_entropy_agrees_whatever_is_ignored_weighted_or_smoothed(
    shape: tuple[int, ...],
) -> None:
    generator = torch.Generator().manual_seed(0)
    x = 3 * torch.randn(shape, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 5, shape[:1] + shape[2:] if len(shape) > 1 else ())
    some = labels.clone()
    some.view(-1)[:1] = -100
    targets = (labels, some, torch.full_like(labels, -100), torch.rand(shape, dtype=x.dtype))
    weights = (None, torch.rand(5, dtype=x.dtype))
    for target, weight, reduction, smoothing in itertools.product(
        targets, weights, ("mean", "sum", "none"), (0.0, 0.3)
    ):
        named = {"weight": weight, "reduction": reduction, "label_smoothing": smoothing}
        mine, theirs = (result(f, x, target, **named) for f in (cross_entropy, F.cross_entropy))
        assert same(mine, theirs), (target, named)


@pytest.mark.parametrize(
    "target", [[0, 5, 1, 3], [0, -1, 1, 3], [0, 1, 2]], ids=["too large", "negative", "too few"]
)
def test_labels_that_make_no_sense_raise_as_in_pytorch(target: list[int]) -> None:
    x, labels = torch.randn(4, 5), torch.tensor(target)
    mine, theirs = (result(f, x, labels) for f in (cross_entropy, F.cross_entropy))
    assert mine is theirs and isinstance(mine, type)


def test_infinite_logits_are_as_safe_as_in_pytorch() -> None:
    x = torch.randn(4, 5, dtype=torch.float64)
    x[0, 1], x[1] = -torch.inf, 1e4 * x[1]
    for labels in ([0, 2, 1, 3], [1, 2, 1, 3]):
        target = torch.tensor(labels)
        assert same(result(cross_entropy, x, target), result(F.cross_entropy, x, target))


@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 5), (2, 3, 4, 4), (1, 3, 5), (1, 3)])
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_agrees_and_updates_the_running_statistics(
    shape: tuple[int, ...], training: bool
) -> None:
    x = torch.randn(shape, dtype=torch.float64)
    for weight, bias in itertools.product((None, torch.randn(3, dtype=x.dtype)), repeat=2):
        kept = [(torch.zeros(3, dtype=x.dtype), torch.ones(3, dtype=x.dtype)) for _ in range(2)]
        mine, theirs = (
            result(f, x, *statistics, weight, bias, training=training)
            for f, statistics in zip((batch_norm, F.batch_norm), kept, strict=True)
        )
        assert same(mine, theirs)
        assert all(torch.allclose(a, b) for a, b in zip(*kept, strict=True))


def test_batch_norm_wants_both_statistics_or_none_and_some_in_evaluation() -> None:
    x, statistic = torch.randn(4, 3), torch.zeros(3)
    with pytest.raises(ValueError, match="given together"):
        batch_norm(x, statistic, None, training=True)
    with pytest.raises(RuntimeError, match="training or running_mean is not None"):
        batch_norm(x, None, None)


def test_instance_norm_updates_the_running_statistics() -> None:
    x = torch.randn(2, 3, 4)
    kept = [(torch.zeros(3), torch.ones(3)) for _ in range(2)]
    for function, statistics in zip((instance_norm, F.instance_norm), kept, strict=True):
        function(x, *statistics)
    assert all(torch.allclose(a, b) for a, b in zip(*kept, strict=True))


def test_what_has_no_gradient_says_so() -> None:
    x, statistic = torch.randn(4, 3), torch.zeros(3, requires_grad=True)
    with pytest.raises(RuntimeError, match="running_mean requires a gradient"):
        batch_norm(x, statistic, torch.ones(3))


def test_transforms_and_the_compiler_take_a_public_function() -> None:
    x = torch.randn(2, 4, 3)
    target = torch.randn(4, 3)

    def loss(x: Tensor) -> Tensor:
        return mse_loss(softmax(x, 1), target)

    def native(x: Tensor) -> Tensor:
        return F.mse_loss(F.softmax(x, 1), target)

    for transform in (torch.func.grad, lambda f: torch.func.jacrev(torch.func.grad(f))):
        mine, theirs = (torch.func.vmap(transform(f))(x) for f in (loss, native))
        assert torch.allclose(mine, theirs, atol=1e-6)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    assert torch.allclose(compiled(x[0]), native(x[0]))


@pytest.mark.parametrize(
    ("ours", "theirs", "named", "what"),
    [
        (linear, F.linear, {"input": 1.0}, "input must be Tensor, not float"),
        (linear, F.linear, {"weight": None}, "weight must be Tensor, not NoneType"),
        (linear, F.linear, {"bias": [1.0]}, "bias must be Tensor, not list"),
        (cross_entropy, F.cross_entropy, {"weight": 1}, "weight must be Tensor, not int"),
        (
            cross_entropy,
            F.cross_entropy,
            {"ignore_index": 1.5},
            "ignore_index must be int, not float",
        ),
    ],
)
def test_what_is_no_tensor_is_refused_by_its_name(
    ours: Callable[..., Tensor], theirs: Callable[..., Tensor], named: dict[str, object], what: str
) -> None:
    second = {"weight": torch.ones(4, 4)} if ours is linear else {"target": torch.zeros(3).long()}
    given = {"input": torch.ones(3, 4), **second, **named}
    with pytest.raises(TypeError):
        theirs(**given)
    with pytest.raises(TypeError, match=what):
        ours(**given)


X = torch.ones(4, 3)
STATISTICS = {"running_mean": torch.zeros(3), "running_var": torch.ones(3)}


@pytest.mark.parametrize(
    ("name", "given", "what"),
    [
        ("batch_norm", {"input": X, **STATISTICS, "training": 1}, "training must be bool, not int"),
        ("kl_div", {"input": X, "target": X, "log_target": 1}, "log_target must be bool, not"),
        ("logsumexp", {"input": X, "dim": 1, "keepdim": 1}, "keepdim must be bool, not int"),
        ("logsumexp", {"input": X, "dim": True}, "dim must be int, not bool"),
        ("logsumexp", {"input": X, "dim": [1.0]}, "dim must be int, not float"),
        ("softmax", {"input": X, "dim": True}, "dim must be int, not bool"),
        ("glu", {"input": X.T, "dim": 0.5}, "dim must be int, not float"),
        ("group_norm", {"input": X, "num_groups": True}, "num_groups must be int, not bool"),
        (
            "embedding",
            {"input": torch.zeros(3).long(), "weight": X, "padding_idx": 1.0},
            "padding_idx must be int, not float",
        ),
        ("elu", {"input": X, "alpha": "a"}, "alpha must be a number, not str"),
    ],
)
def test_what_is_of_another_kind_is_refused_by_its_name(
    name: str, given: dict[str, object], what: str
) -> None:
    ours, theirs = public(name), getattr(F, name, None) or getattr(torch, name)
    with pytest.raises(TypeError):
        theirs(**given)
    with pytest.raises(TypeError, match=what):
        ours(**given)


@pytest.mark.parametrize("momentum", [None, "a", [0.1], True])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("statistics", [{"running_mean": None, "running_var": None}, STATISTICS])
def test_a_number_is_one_even_where_it_is_not_used(
    momentum: object, training: bool, statistics: dict[str, Tensor | None]
) -> None:
    with pytest.raises(TypeError, match="momentum must be a number, not"):
        public("batch_norm")(X, **statistics, training=training, momentum=momentum)


@pytest.mark.parametrize(
    "name", ["cross_entropy", "nll_loss", "focal_loss", "capped_cross_entropy"]
)
def test_a_number_has_no_classes(name: str) -> None:
    error = IndexError if name == "cross_entropy" else ValueError
    with pytest.raises(error, match=r"wants .*input\.dim\(\) > 0, got .*input of shape \[\]"):
        public(name)(torch.tensor(1.0), torch.tensor(0))


@pytest.mark.parametrize("shape", [(3,), (1,)])
def test_statistics_of_channels_want_a_dimension_for_them(shape: tuple[int]) -> None:
    x = torch.ones(shape)
    mean, var = (statistic[: shape[0]] for statistic in STATISTICS.values())
    with pytest.raises(RuntimeError):
        F.batch_norm(x, mean, var)
    with pytest.raises(RuntimeError, match=r"wants input\.dim\(\) > 1"):
        public("batch_norm")(x, mean, var)
    with pytest.raises(IndexError):
        F.instance_norm(x, mean, var, use_input_stats=False)
    with pytest.raises(IndexError, match=r"wants input\.dim\(\) > 1"):
        public("instance_norm")(x, mean, var, use_input_stats=False)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum", "batchmean"])
def test_columns_are_broadcast_and_rows_are_the_first_tensors(reduction: str) -> None:
    x, target = torch.randn(4, 1), torch.rand(4, 3)
    mine = public("kl_div")(x, target, reduction=reduction)
    assert torch.allclose(mine, F.kl_div(x, target, reduction=reduction))
    refused = re.escape("input must have the first dimension of [4, 3], got shape [3]")
    with pytest.raises(RuntimeError, match=refused):
        public("kl_div")(x[:3, 0], target, reduction=reduction)


def test_no_file_promises_an_error_that_nothing_in_it_raises() -> None:
    for name in library.names():
        text = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
        for error in ("ValueError", "IndexError", "AssertionError", "NotImplementedError"):
            raises = f"raise {error}(" in text or f"error = {error}" in text
            assert (f" {error}: " in text) == raises, (name, error)
        assert ("# Second order only" in text) == ("def residuals_backward" in text)


def test_a_tensor_that_requires_a_gradient_is_no_number() -> None:
    theirs: Callable[..., Tensor] = F.smooth_l1_loss
    ours: Callable[..., Tensor] = smooth_l1_loss
    beta = torch.tensor(2.0, requires_grad=True)
    with pytest.raises(TypeError):
        theirs(torch.ones(3), torch.zeros(3), beta=beta)
    with pytest.raises(TypeError, match="beta must be a number, not a Tensor that requires"):
        ours(torch.ones(3), torch.zeros(3), beta=beta)


def test_shapes_that_do_not_broadcast_are_named() -> None:
    what = r"shapes that broadcast are wanted, got input \[3, 4\], target \[3, 5\]"
    with pytest.raises(RuntimeError, match=what), pytest.warns(UserWarning):
        mse_loss(torch.ones(3, 4), torch.ones(3, 5))


@pytest.mark.parametrize("letters", ["nc", "s"])
def test_a_result_that_has_no_shape_of_the_callers_is_refused(letters: str) -> None:
    op = define("pooled", "Means that a caller's tensor has no dimensions for.")
    op.called("x")
    axes = dict(zip("ncs", op.axes("n c s", "batch channel spatial"), strict=True))
    x = op.input("x", *axes.values())
    over = [axes[letter] for letter in "ncs" if letter not in letters]
    kept = [axes[letter] for letter in letters]
    definition = op.build(op.let("y", kept, Mean(x[tuple(axes.values())], *over)))
    with pytest.raises(CodegenError, match=r"'y' must be over axes of the roles \(batch, channel"):
        compile(definition)


@pytest.mark.parametrize("logits", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("target", [torch.bfloat16, torch.float32, torch.float64])
def test_probabilities_have_a_part_in_the_dtype(logits: torch.dtype, target: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 3, generator=generator).to(logits).requires_grad_()
    p = torch.softmax(torch.randn(4, 3, generator=generator), 1).to(target)
    found, expected = cross_entropy(x, p), F.cross_entropy(x, p)
    gradients = [torch.autograd.grad(loss, x)[0] for loss in (found, expected)]
    half = torch.bfloat16 in (logits, target)  # PyTorch's intermediates are in half precision
    rtol, atol = (2e-2, 1e-3) if half else (1e-5, 1e-6)
    torch.testing.assert_close(found, expected, rtol=rtol, atol=atol)
    torch.testing.assert_close(*gradients, rtol=rtol, atol=atol)


def test_a_value_without_a_case_is_named_with_those_that_have_one() -> None:
    op = define("chosen", "A power and a sign, each out of two.")
    op.called("x, power=2, side='left'")
    n = op.axes("n", "elements")
    x = op.input("x", n)
    y = op.cases("y", "power", {2: ([n], x[n] ** 2), 3: ([n], x[n] ** 3)})
    sides = {"left": ([n], -y[n]), "right": ([n], y[n])}
    chosen = compile(op.build(op.cases("z", "side", sides))).chosen
    torch.testing.assert_close(chosen(torch.tensor([2.0]), 3, "right"), torch.tensor([8.0]))
    with pytest.raises(ValueError, match="power must be one of 2, 3, got 4"):
        chosen(torch.tensor([2.0]), 4)
    with pytest.raises(ValueError, match="side must be one of left, right, got 'up'"):
        chosen(torch.tensor([2.0]), 3, "up")


@pytest.mark.parametrize(
    ("name", "device", "expected"),
    [
        ("softmax", "cpu", torch.float16),
        ("softmax", "cuda", torch.float32),
        ("mse_loss", "cpu", torch.float32),
        ("mse_loss", "cuda", torch.float32),
        ("linear", "cuda", torch.bfloat16),
    ],
)
def test_what_autocast_does_depends_on_the_device(
    name: str, device: str, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = import_module(f"generated.{name}")
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device: True)
    monkeypatch.setattr(torch, "get_autocast_dtype", lambda device: torch.bfloat16)
    there = SimpleNamespace(device=SimpleNamespace(type=device))
    (to,) = set(re.findall(r'_autocast\(.*, "(.*)"\)', Path(str(module.__file__)).read_text()))
    assert module._autocast(torch.float16, there, to) == expected
    assert module._autocast(torch.float64, there, to) == torch.float64


@pytest.mark.parametrize("name", PUBLIC)
def test_a_docstring_says_what_every_argument_is(name: str) -> None:
    of = getattr(import_module(f"generated.{name}"), name)
    described = inspect.getdoc(of) or ""
    arguments = described[described.index("\nArgs:\n") : described.index("\nReturns:\n")]
    told = re.findall(r"^    (\w+): \S", arguments, re.MULTILINE)
    assert told == [*inspect.signature(of).parameters]
