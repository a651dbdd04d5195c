"""The forward pass works out what a cotangent is multiplied by, where no more is kept for that."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch
from sympy.logic.boolalg import Boolean
from torch import Tensor

from codegen.lowering.lower import lower
from codegen.lowering.second_order import with_second_order
from codegen.pipeline import compile
from codegen.program import Module
from derive import StopGradient, Sum, Where, cos, define, exp, library, log, sin, sqrt, tanh
from derive.derivation import derive
from derive.notation.reading import read
from gradsmith.proof.check import check
from gradsmith.timing.launches import launches

pytestmark = pytest.mark.slow


def kept(module: ModuleType, *inputs: Tensor) -> dict[str, Tensor]:
    return module.forward(*inputs)[-1]._asdict()


def sizes(module: Module) -> list[int]:
    """The bytes of each tensor that is kept for both orders, where each axis has 100 places."""
    masks = {let.name for let in module.forward.lets if isinstance(let.value, Boolean)}
    tensors = (*module.residuals.tensors, *module.again)
    width = {t.name: 1 if t.name in masks else 8 if t.integer else 4 for t in tensors}
    return [width[t.name] * 100 ** len(t.indices) for t in tensors]


def is_no_more(found: Module, than: Module) -> bool:
    mine, others = sizes(found), sizes(than)
    return len(mine) <= len(others) and sum(mine) <= sum(others)


@pytest.mark.parametrize("name", library.names())
def test_no_more_is_kept_than_without_it(name: str) -> None:
    for variant in library.load(name).variants:
        derivation = derive(variant)
        ahead, plain = (lower(derivation, ahead=early) for early in (True, False))
        now = with_second_order(ahead, derivation)
        # The second order only adds to what is kept: it need not be derived where the first keeps
        # as much by itself.
        enough = is_no_more(now, plain)
        assert enough or is_no_more(now, with_second_order(plain, derivation)), variant.full_name


@pytest.mark.parametrize("name", ["gelu", "mish", "leaky_relu", "hardsigmoid"])
def test_an_activation_keeps_its_derivative_and_its_gradient_is_one_product(name: str) -> None:
    module = compile(library.load(name))
    x = torch.randn(5)
    _, residuals = module.forward(x)
    assert list(residuals._asdict()) == ["dy_dx"]
    assert launches(lambda: module.backward(x, residuals)).kernels == ("mul",)


def test_a_derivative_that_would_keep_the_input_for_the_second_order_is_not_kept() -> None:
    (residual,) = kept(compile(library.load("tanhshrink")), torch.randn(5))
    assert residual == "tanh_x"


def test_a_function_of_what_is_kept_takes_its_place() -> None:
    op = define("bounded_margin", "How far a number is from where it should be, at most.")
    n = op.axes("n")
    x, sign = op.input("x", n), op.input("sign", n)
    loss = op.let("loss", [n], log(2 + tanh(sign[n] * x[n])))
    module = compile(op.build(loss, wrt=[x]))
    assert set(kept(module, *torch.randn(2, 5))) == {"sign", "tanh_sign_times_x"}


def test_two_factors_take_the_place_of_two_residuals() -> None:
    op = define("gated", "What a wave and an exponential make of each other.")
    n = op.axes("n")
    a, b = op.input("a", n), op.input("b", n)
    module = compile(op.build(op.let("y", [n], exp(exp(a[n])) * sin(exp(b[n])))))
    y, residuals = module.forward(*torch.randn(2, 5))
    assert set(residuals._asdict()) == {"dy_da", "dy_db"}
    assert launches(lambda: module.backward(y, residuals)).kernels == ("mul", "mul")


def test_a_derivative_that_is_0_or_1_is_kept_as_a_mask() -> None:
    op = define("kept_low", "A number whose exponential's cosine is above a bound.")
    n = op.axes("n")
    x = op.input("x", n)
    wave = op.let("wave", [n], cos(exp(x[n])))
    module = compile(op.build(op.let("y", [n], Where(wave[n] > 0, x[n], 0))))
    (mask,) = kept(module, torch.randn(5)).values()
    assert mask.dtype == torch.bool


def test_what_is_returned_is_not_kept_a_second_time() -> None:
    op = define("share", "One exponential, of the sum of many.")
    n = op.axes("n")
    x, b = op.input("x", n), op.input("b")
    module = compile(op.build(op.let("q", [], exp(b[()]) / Sum(exp(x[n]), n))))
    assert "q" in module.Residuals._fields
    leaf = torch.randn((), requires_grad=True)
    share = module.share(torch.randn(3), leaf)
    share.backward()  # autograd follows what is returned, not what is only kept
    assert leaf.grad == share


def test_two_outputs_that_are_one_are_two_tensors() -> None:
    op = define("twins", "A number, and the same to look at only.")
    n = op.axes("n")
    x = op.input("x", n)
    p = op.let("p", [n], exp(x[n]))
    module = compile(op.build(op.let("r", [n], StopGradient(p[n])), p))
    leaf = torch.randn(3, requires_grad=True)
    module.twins(leaf)[0].sum().backward()
    assert leaf.grad is None or not leaf.grad.any()


MASKED = {
    "rows": "inputs b[k], g[n,k] (integer)\ny[n] = sum_k(where(g[n,k] == 1, b[k], 0))",
    "turned": "inputs x[n,k], g[k,n] (integer)\ny[n,k] = where(g[k,n] == 1, x[n,k], 0)",
    "both": "inputs x[n,k], p[n] (integer), q[k] (integer)\n"
    "y[n,k] = where(p[n] == 1 and q[k] == 1, x[n,k], 0)",
    "either": "inputs x[n], p[n] (integer), q[n] (integer)\n"
    "y[n] = where(p[n] == 1 or q[n] == 1, x[n]**3, 0)",
    "clipped": "inputs x[n]\ny[n] = min(max(x[n], -1), 1)",
    "rounded": "inputs x[n]\nc[n] = min(max(x[n], 0), 1)\n"
    "y[n] = c[n] + stop_gradient(floor(c[n]*255 + 1/2)/255 - c[n])",
    "counted": "inputs x[n,k], m[n,k] (integer)\nc[n] = sum_k(where(m[n,k] == 1, 1, 0))\n"
    "s[n] = sum_k(where(m[n,k] == 1, exp(x[n,k]), 0))\ny[n] = where(c[n] > 0, log(s[n]), 0)",
    "inverted": "inputs x[n,k], m[n,k] (integer)\nc[n] = sum_k(where(m[n,k] == 1, 1, 0))\n"
    "s[n] = sum_k(where(m[n,k] == 1, exp(x[n,k]), 0))\ny[n] = where(c[n] > 0, 1/s[n], 0)",
}


@pytest.mark.parametrize("name", MASKED)
def test_masks_and_what_they_guard_are_right_in_every_order(name: str) -> None:
    definition = read(f"{name}: What masks let through.\n{MASKED[name]}", library.load)[name]
    assert all(row.passed for row in check(definition, compile(definition)))


def test_a_part_that_two_passes_share_has_a_name_in_both() -> None:
    op = define("shared_root", "A root of a row, times what stands around it.")
    n, c = op.axes("n c")
    a, b, f = op.input("a", n, c), op.input("b", c), op.input("f")
    root = sqrt(exp(tanh(a[0, c] * a[n, c])) ** 2 + 2)
    y = op.let("y", [n, c], (a[0, c] + b[c]) * root * (f[()] + a[n, c]))
    definition = op.build(y)
    assert all(row.passed for row in check(definition, compile(definition)))


def test_a_mask_counts_as_a_number_where_one_is_read() -> None:
    op = define("first_row", "The first row of a wave, where another row's is positive.")
    n, k = op.axes("n k")
    a, b = op.input("a", n, k), op.input("b", k)
    wave = op.let("wave", [k], cos(exp(b[k])))
    y = op.let("y", [k], Where(wave[k] > 0, a[0, k] + wave[k], sin(a[0, k])))
    definition = op.build(y)
    assert all(row.passed for row in check(definition, compile(definition)))


@pytest.mark.parametrize("name", ["hardswish", "linear", "bilinear"])
def test_where_the_inputs_do_nothing_else_is_kept(name: str) -> None:
    definition = library.load(name)
    inputs = {tensor.name for tensor in definition.inputs}
    assert inputs.issuperset(compile(definition).Residuals._fields)
