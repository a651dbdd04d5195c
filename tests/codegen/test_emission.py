"""What every emitted module is: standalone arithmetic, deterministic, and differentiable again."""

import ast
from importlib import import_module
from pathlib import Path

import pytest
import torch

from codegen.pipeline import compile, source
from derive import Mean, define, exp, library
from derive.files import load_definitions
from derive.language.definition import DefinitionError
from derive.notation.reading import read
from derive.verification.points import random_point, two_sizes
from gradsmith.emitted import Functions
from gradsmith.proof.check import check
from gradsmith.proof.samples import at_point, random_sample

pytestmark = pytest.mark.slow

GENERATED = Path(__file__).parents[2] / "generated"
MODULES = sorted(p.stem for p in GENERATED.glob("*.py") if p.stem != "__init__")
VARIANTS = [v.full_name for name in MODULES for v in library.load(name).variants]
DEFINITIONS = Path(__file__).parents[1] / "definitions"
SOFTMAXES = (
    "attention",
    "pooling",
    "pointer",
    "focal",
    "binary_cross_entropy",
    "kl_temperature",
    "label_smoothing",
    "nll_inline",
    "nll_probabilities",
    "nll_steps",
    "softmax_row",
)
ALLOWED_IMPORTS = {"collections.abc", "math", "operator", "warnings", "typing", "torch"}
BANNED = ("functional", "func", "ops", "grad", "_C")


@pytest.mark.parametrize("name", MODULES)
def test_an_emitted_module_imports_torch_and_nothing_else(name: str) -> None:
    tree = ast.parse((GENERATED / f"{name}.py").read_text())
    imported = {
        a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names
    }
    imported |= {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert imported <= ALLOWED_IMPORTS


@pytest.mark.parametrize("name", MODULES)
def test_a_gradient_is_computed_from_arithmetic(name: str) -> None:
    tree = ast.parse((GENERATED / f"{name}.py").read_text())
    backward = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "backward")
    attributes = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    assert not attributes & set(BANNED)
    called = attributes - {"save_for_backward"}
    assert not any(attribute.endswith("_backward") for attribute in called)
    assert name not in {n.attr for n in ast.walk(backward) if isinstance(n, ast.Attribute)}


def _inputs(name: str) -> dict[str, torch.Tensor]:
    definition = library.load(name)
    sizes, _ = two_sizes(definition)
    return dict(at_point(definition, random_point(definition, sizes, 0, usual=True)).inputs)


@pytest.mark.parametrize("name", MODULES)
def test_backward_writes_to_none_of_its_arguments(name: str) -> None:
    module = import_module(f"generated.{name}")
    *outputs, residuals = module.forward(**_inputs(name))
    cotangents = [torch.randn(output.shape, dtype=output.dtype) for output in outputs]
    given = (*cotangents, *residuals)
    before = [r.clone() if isinstance(r, torch.Tensor) else r for r in given]
    first = module.backward(*cotangents, residuals)
    second = module.backward(*cotangents, residuals)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    for kept, now in zip(before, given, strict=True):
        assert torch.equal(kept, now) if isinstance(kept, torch.Tensor) else kept == now


@pytest.mark.parametrize("name", MODULES)
def test_forward_does_not_write_to_its_inputs(name: str) -> None:
    inputs = _inputs(name)
    before = {k: v.clone() for k, v in inputs.items()}
    import_module(f"generated.{name}").forward(**inputs)
    assert all(torch.equal(inputs[k], before[k]) for k in inputs)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_second_derivative_is_right(name: str) -> None:
    definition = library.load(name)
    inputs = _inputs(name)
    wanted = [inputs[k].requires_grad_() for k in definition.wrt if k in inputs]
    module = import_module(f"generated.{definition.name}")
    operation = Functions.of(module, definition).operation
    assert torch.autograd.gradgradcheck(lambda *_: operation(**inputs), wanted)


def test_a_penalty_on_a_gradient_reaches_the_input() -> None:
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    softmax = import_module("generated.softmax").softmax
    gradients = []
    for function in (softmax, lambda v: torch.softmax(v, 1)):
        loss = function(x).square().sum()
        (first,) = torch.autograd.grad(loss, x, create_graph=True)
        (second,) = torch.autograd.grad(loss + first.square().sum(), x)
        gradients.append(second)
    assert torch.allclose(*gradients)


def test_the_functional_transforms_see_through_it() -> None:
    logits, target = torch.randn(4, 3, dtype=torch.float64), torch.tensor([0, 2, 1, 1])
    ours = import_module("generated.cross_entropy").cross_entropy
    theirs = torch.nn.functional.cross_entropy
    assert torch.allclose(
        torch.func.grad(ours)(logits, target), torch.func.grad(theirs)(logits, target)
    )


def test_logits_of_any_size_give_finite_gradients() -> None:
    logits = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4]])
    module = import_module("generated.cross_entropy")
    loss, gradients = module.value_and_grad(logits, torch.tensor([0, 1]))
    leaf = logits.clone().requires_grad_()
    expected = torch.nn.functional.cross_entropy(leaf, torch.tensor([0, 1]))
    expected.backward()
    assert torch.allclose(loss, expected.detach())
    assert leaf.grad is not None
    assert torch.allclose(gradients.grad_logits, leaf.grad)


@pytest.mark.parametrize("file", ["layers", "losses", "written_otherwise"])
def test_a_softmax_is_safe_in_whatever_way_it_is_written(file: str) -> None:
    written = load_definitions(DEFINITIONS / f"{file}.py")
    for definition in (written[n] for n in SOFTMAXES if n in written):
        sample = random_sample(definition, dict.fromkeys(definition.axes, 5), torch.Generator())
        inputs = [v * 1e3 if v.is_floating_point() else v for v in sample.inputs.values()]
        module = compile(definition)
        *outputs, residuals = module.forward(*inputs)
        gradients = module.backward(*map(torch.ones_like, outputs), residuals)
        assert all(t.isfinite().all() for t in (*outputs, *gradients)), definition.name


def test_a_wrong_shape_or_dtype_is_named() -> None:
    forward = import_module("generated.batch_norm").forward
    x = torch.randn(4, 3)
    with pytest.raises(RuntimeError, match=r"weight must have shape \(C,\) where C = 3, got \[2\]"):
        forward(x, torch.ones(2), torch.ones(3))
    with pytest.raises(
        NotImplementedError, match=r"x must have a floating-point dtype, got torch\.int64"
    ):
        forward(x.long(), torch.ones(3), torch.ones(3))
    with pytest.raises(RuntimeError, match=r"bias must have the dtype of x, torch\.float32, got"):
        forward(x, torch.ones(3), torch.ones(3).double())
    with pytest.raises(
        RuntimeError, match=r"target must have dtype torch\.int64, got torch\.uint8"
    ):
        import_module("generated.cross_entropy").forward(x, torch.zeros(4, dtype=torch.uint8))
    module = import_module("generated.batch_norm")
    _, residuals = module.forward(x, torch.ones(3), torch.ones(3))
    with pytest.raises(RuntimeError, match=r"grad_y must have shape \(N, C\) where N = 4, C = 3"):
        module.backward(torch.ones(3, 4), residuals)


@pytest.mark.parametrize("wrong", [1.0, None, [1.0]])
def test_a_gradient_that_is_no_tensor_is_refused_by_its_name(wrong: object) -> None:
    module = import_module("generated.cross_entropy")
    _, residuals = module.forward(torch.randn(4, 3), torch.tensor([0, 2, 1, 0]))
    kind = type(wrong).__name__
    with pytest.raises(TypeError, match=f"grad_loss must be Tensor, not {kind}"):
        module.backward(wrong, residuals)


def test_compile_gives_a_module_in_memory() -> None:
    op = define("bump", "A smooth bump.")
    n = op.axes("n")
    x = op.input("x", n)
    loss = op.build(op.let("loss", [], Mean(exp(-(x[n] ** 2)), n)))
    module = compile(loss)
    x_value = torch.randn(5, dtype=torch.float64)
    value, gradients = module.value_and_grad(x_value)
    assert torch.allclose(value, torch.exp(-(x_value**2)).mean())
    expected = -2 * x_value * torch.exp(-(x_value**2)) / 5
    assert torch.allclose(gradients.grad_x, expected)
    assert "def bump(" in source(loss)


@pytest.mark.parametrize("name", ["x; import os", "class", "torch", "a b", "", "x\n"])
def test_a_hostile_name_never_reaches_a_template(name: str) -> None:
    with pytest.raises(DefinitionError):
        define(name, "An operation.")
    op = define("fine", "An operation.")
    n = op.axes("n")
    with pytest.raises(DefinitionError):
        op.input(name, n)


def test_an_output_that_repeats_what_backward_reads_keeps_its_gradient() -> None:
    op = define("repeated", "The exponential, under two names.")
    n = op.axes("n")
    x = op.input("x", n)
    e = op.let("e", [n], exp(x[n]))
    module = compile(op.build(op.let("y", [n], e[n])))
    leaf = torch.tensor([0.5, -1.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(module.repeated(leaf).sum(), leaf)
    torch.testing.assert_close(gradient, leaf.detach().exp())


def test_nothing_is_computed_of_what_gradients_stop_at() -> None:
    text = """
        letters j over k
        inputs x[n,k], pick[k] (integer)
        p[n,k] = sum_j(exp(x[n,j])*(1 - delta(j, pick[k]))) / sum_j(exp(x[n,j]))
        q[k] = stop_gradient(p[0,pick[k]])
    """
    (definition,) = read(text, library.load).values()
    module = compile(definition)
    assert all(row.passed for row in check(definition, module))
    x = torch.randn(2, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(
        module.operation(x, torch.tensor([0, 2, 1])).sum(), x, allow_unused=True
    )
    assert gradient is None or not gradient.any()


def calls_of(function: str, tree: ast.AST) -> list[tuple[list[str], list[str]]]:
    """What each call of a function is given, and what it is unpacked into."""
    return [
        (
            [n.id for n in node.value.args if isinstance(n, ast.Name)],
            [n.id for n in ast.walk(node.targets[0]) if isinstance(n, ast.Name)],
        )
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
        if isinstance(node.value.func, ast.Name) and node.value.func.id == function
    ]


@pytest.mark.parametrize("name", ["tanh", "layer_norm", "linear"])
def test_the_second_order_is_called_with_the_names_that_it_has(name: str) -> None:
    """The cotangent of a kept output is not called as the seed, which is given beside it."""
    tree = ast.parse(source(library.load(name)))
    doubles = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("double_backward")
    ]
    assert doubles
    for double in doubles:
        ((given, found),) = calls_of(double.name, tree)
        assert given == [argument.arg for argument in double.args.args]
        assert not set(given) & set(found)
