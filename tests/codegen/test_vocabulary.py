"""The printer has a right form for every word of the language, wherever it stands."""

import importlib.util
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from codegen.pipeline import compile, source
from codegen.program import CodegenError
from derive import Definition, Product, Rational, StopGradient, Sum, define
from derive.verification.points import random_point, two_sizes
from gradsmith.proof import reference
from gradsmith.proof.check import check
from gradsmith.proof.samples import at_point

pytestmark = pytest.mark.slow

CallsOf = Callable[[ModuleType], Counter[str]]


def _loaded(path: Path) -> ModuleType:
    """A module beside this one: without packages, pytest imports tests by their path."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


OPERATIONS: list[Definition] = _loaded(Path(__file__).with_name("vocabulary.py")).OPERATIONS
NAMES = [definition.name for definition in OPERATIONS]


@pytest.mark.parametrize("definition", OPERATIONS, ids=NAMES)
def test_the_emitted_module_has_the_values_and_gradients_of_its_definition(
    definition: Definition,
) -> None:
    problems = {row.input: row.problems for row in check(definition) if not row.passed}
    assert not problems


@pytest.mark.parametrize("definition", OPERATIONS, ids=NAMES)
def test_the_module_in_c_has_the_values_and_gradients_of_its_definition(
    definition: Definition, calls_of: CallsOf
) -> None:
    module = compile(definition, "c")
    calls = calls_of(module)
    problems = {row.input: row.problems for row in check(definition, module) if not row.passed}
    assert not problems
    assert calls["forward"] and calls["backward"]


# Numbers that are differenced do not see where a gradient is stopped.
STOPPED = [d for d in OPERATIONS if any(let.value.has(StopGradient) for let in d.lets)]


@pytest.mark.parametrize(
    "definition", [d for d in OPERATIONS if d not in STOPPED], ids=lambda d: d.name
)
def test_what_is_emitted_can_be_differentiated_again(definition: Definition) -> None:
    function = getattr(compile(definition), definition.name)
    point = random_point(definition, two_sizes(definition)[0], seed=0)
    sample = at_point(definition, point).to(torch.float64, requires_grad=True)
    wrt = {name: sample.inputs[name] for name in definition.wrt}

    def of_the_inputs(*values: torch.Tensor) -> torch.Tensor:
        given = dict(zip(wrt, values, strict=True))
        return function(**{**sample.inputs, **given}, **sample.options)

    assert torch.autograd.gradgradcheck(of_the_inputs, tuple(wrt.values()), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("definition", STOPPED, ids=lambda d: d.name)
def test_a_stopped_gradient_stays_stopped_when_differentiated_again(
    definition: Definition,
) -> None:
    point = random_point(definition, two_sizes(definition)[0], seed=0)
    sample = at_point(definition, point).to(torch.float64, requires_grad=True)
    leaves = [sample.inputs[name] for name in definition.wrt]
    values = reference.forward(definition, sample.inputs, sample.options, sample.sizes)
    function = getattr(compile(definition), definition.name)
    twice = []
    for output in (
        function(**sample.inputs, **sample.options),
        *map(values.get, definition.outputs),
    ):
        assert isinstance(output, torch.Tensor)
        loss = output.square().sum()  # its cotangent depends on the inputs
        first = torch.autograd.grad(loss, leaves, create_graph=True)
        again = torch.stack([f.square().sum() for f in first]).sum()
        twice.append(torch.autograd.grad(again, leaves))
    for mine, expected in zip(*twice, strict=True):
        torch.testing.assert_close(mine, expected)


def test_a_size_that_no_tensor_shows_is_refused() -> None:
    op = define("unseen", "A sum over an axis that no input has.")
    n, c = op.axes("n c")
    x = op.input("x", n)
    with pytest.raises(CodegenError, match="the size of axis 'c' is needed"):
        source(op.build(op.let("y", [n], x[n] * Sum(Rational(1, 2), c))))
    op = define("unsplit", "A composite dimension that nothing says how to split.")
    n, t, d = op.axes("n t d")
    x = op.input("x", n, (t, d))
    with pytest.raises(CodegenError, match=r"axis '[td]' is needed.*x\[n, \(t d\)\]; one of them"):
        source(op.build(op.let("y", [n, t, d], x[n, t, d] ** 2)))


def test_a_summary_cannot_end_the_docstring_that_it_stands_in() -> None:
    summary = 'Doubles"""; import os  # \\" and "quotes"'
    op = define("doubled", summary)
    n = op.axes("n")
    x = op.input("x", n)
    module = compile(op.build(op.let("y", [n], 2 * x[n])))
    assert not hasattr(module, "os")
    assert "quotes" in (module.__doc__ or "")


def test_logits_of_any_size_are_safe_in_whatever_way_they_are_written() -> None:
    for name in ("exponentials_under_names", "weighted_mean_by_softmax", "softplus_times"):
        definition = next(d for d in OPERATIONS if d.name == name)
        inputs = {
            t.name: torch.tensor([[900.0, -900.0, 0.0], [-800.0, 800.0, 800.0]])
            for t in definition.inputs
        }
        module = compile(definition)
        y, residuals = module.forward(**inputs)
        gradients = module.backward(torch.ones_like(y), residuals)
        assert y.isfinite().all(), name
        assert all(g.isfinite().all() for g in gradients), name


def test_a_product_with_a_zero_in_it_has_its_gradient() -> None:
    op = define("product", "The product of each row.")
    n, c = op.axes("n c")
    x = op.input("x", n, c)
    module = compile(op.build(op.let("y", [n], Product(x[n, c], c))))
    value = torch.tensor([[2.0, 0.0, 3.0]], requires_grad=True)
    value.prod(1).backward()
    _, residuals = module.forward(value.detach())
    assert value.grad is not None
    assert torch.equal(module.backward(torch.ones(1), residuals).grad_x, value.grad)
