"""What docstrings of emitted functions say is so: the errors that they raise, what they call."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable

import pytest
import torch

from codegen.pipeline import compile
from derive import define, library
from derive.notation.reading import read

op = define("weighted", "Each element times a weight.")
op.called("input: x, weight=None, power=1")
n = op.axes("n", "elements")
x, weight = op.input("x", n), op.input("weight", n, absent=1)
cases = {1: ([n], weight[n] * x[n]), 2: ([n], weight[n] * x[n] ** 2)}
WEIGHTED = op.build(op.cases("y", "power", cases, unknown="RuntimeError"))
MODULE = compile(WEIGHTED)


def raised(function: Callable[..., object]) -> set[str]:
    """The errors that a docstring speaks of."""
    return set(re.findall(r"^    (\w+Error): \S", inspect.getdoc(function) or "", re.MULTILINE))


@pytest.mark.parametrize("function", [MODULE.weighted, MODULE.forward, MODULE.forward_no_weight])
@pytest.mark.parametrize(
    ("given", "error"),
    [
        (torch.ones(2, dtype=torch.int64), NotImplementedError),
        (torch.ones(2, 2, 2), RuntimeError),
    ],
)
def test_an_error_that_is_raised_is_one_that_the_docstring_speaks_of(
    function: Callable[..., object], given: torch.Tensor, error: type[Exception]
) -> None:
    both = [given] if function is MODULE.forward_no_weight else [given, torch.ones(3)]
    with pytest.raises(error):
        function(*both)
    assert error.__name__ in raised(function)


def test_a_value_that_is_refused_is_spoken_of() -> None:
    assert "or a value is refused" in (MODULE.weighted.__doc__ or "")
    with pytest.raises(RuntimeError, match="power must be one of 1, 2"):
        MODULE.weighted(torch.ones(2), power=3)


@pytest.mark.parametrize("suffix", ["", "_no_weight", "_power_2"])
def test_a_backward_pass_is_given_the_residuals_of_its_own_forward(suffix: str) -> None:
    told = getattr(MODULE, f"backward{suffix}").__doc__
    assert f"residuals: those that `forward{suffix}` returned." in told


POSITIONS = """inputs w[o,c,k], x[n,c,s], position[t,k] (integer)
y[n,o,t] = sum_{c,k}(w[o,c,k]*x[n,c,position[t,k]])
"""


@pytest.mark.parametrize("target", ["torch", "c"])
def test_a_gradient_is_known_to_be_a_tensor_before_a_size_is_read_off_it(
    target: str, c_compiler: None
) -> None:
    (definition,) = read(POSITIONS, library.load).values()
    module = compile(definition, target)
    given = torch.randn(2, 3, 2), torch.randn(2, 3, 5), torch.randint(0, 5, (4, 2))
    _, residuals = module.forward(*given)
    with pytest.raises(TypeError, match="grad_y must be Tensor, not float"):
        module.backward(1.0, residuals)
