"""Numbers that the types at hand do not hold are numbers all the same."""

from __future__ import annotations

import pytest
import torch
from sympy import Expr, pi, sqrt

from codegen.pipeline import compile, functions, source
from codegen.torch.scalars import scalar
from derive import Definition, Rational, define, library
from derive.derivation import derive
from derive.notation.reading import read


def reading(text: str) -> Definition:
    """The only definition of a text."""
    (definition,) = read(text, library.load).values()
    return definition


ROOTS: list[tuple[Expr, str]] = [
    (sqrt(2) / (2 * sqrt(pi)), "1 / (2 * torch.pi) ** 0.5"),
    (-sqrt(2) / (2 * sqrt(pi)), "-1 / (2 * torch.pi) ** 0.5"),
    (sqrt(2) / sqrt(pi), "(2 / torch.pi) ** 0.5"),
    (3 * sqrt(2) / sqrt(pi), "3 * (2 / torch.pi) ** 0.5"),
    (5 * sqrt(2 * pi), "5 * (2 * torch.pi) ** 0.5"),
    (sqrt(2), "2 ** 0.5"),
]


@pytest.mark.parametrize(("number", "written"), ROOTS, ids=[w for _, w in ROOTS])
def test_roots_of_numbers_are_one_root(number: Expr, written: str) -> None:
    assert scalar(number).text == written
    assert eval(written, {"torch": torch}) == pytest.approx(float(number), rel=1e-15)


def test_what_is_divided_by_a_root_is_written_so() -> None:
    text = source(reading("halved: S.\ny[n] = tanh(sqrt(2)*x[n]/2)"))
    assert "torch.tanh(x / 2**0.5)" in text


@pytest.mark.parametrize("target", ["torch", "c"])
def test_constants_beyond_64_bits_keep_their_value(target: str, c_compiler: None) -> None:
    op = define("scaled", "A polynomial with coefficients of many digits.")
    n = op.axes("n")
    x = op.input("x", n)
    large, small = 10**20 * x[n] + 2**64 * x[n] ** 2, Rational(3, 10**25) * x[n]
    module = compile(op.build(op.let("y", [n], large), op.let("z", [n], small)), target)
    x = torch.tensor([1.0, 2.0, -3.0], dtype=torch.float64)
    y, z, residuals = module.forward(x)
    torch.testing.assert_close(y, 1e20 * x + 2.0**64 * x**2)
    torch.testing.assert_close(z, 3e-25 * x, rtol=1e-12, atol=0)
    found = module.backward(torch.ones(3).double(), torch.ones(3).double(), residuals).grad_x
    torch.testing.assert_close(found, 1e20 + 2.0**65 * x)


@pytest.mark.parametrize("target", ["torch", "c"])
@pytest.mark.parametrize("small", ["0.00000001", "eps"])
def test_a_small_number_is_added_after_a_whole_one_that_would_swallow_it(
    small: str, target: str, c_compiler: None
) -> None:
    options = "options eps = 0.00000001 (positive)\n" if small == "eps" else ""
    definition = reading(f"safe: S.\n{options}y[n] = log(1 - p[n] + {small})")
    p = torch.tensor([1.0, 0.5, 0.0], requires_grad=True)
    found = compile(definition, target).safe(p)
    expected = torch.log((1 - p) + 1e-8)
    torch.testing.assert_close(found, expected)
    of = [torch.autograd.grad(y.sum(), p)[0] for y in (found, expected)]
    torch.testing.assert_close(*of)


@pytest.mark.parametrize("target", ["torch", "c"])
def test_positions_are_compared_as_integers_in_half_precision(
    target: str, c_compiler: None
) -> None:
    definition = reading("later: S.\nletters u over t\ny[t] = sum_u(where(u == t + 1, x[u], 0))")
    x = torch.randn(3000).half().requires_grad_()
    found = compile(definition, target).later(x)
    torch.testing.assert_close(found, torch.cat([x[1:], x.new_zeros(1)]))
    (gradient,) = torch.autograd.grad(found.sum(), x)
    assert gradient.tolist() == [0.0] + [1.0] * 2999
    assert "== torch.arange(T, device=grad_y.device) + 1" in functions(derive(definition))


@pytest.mark.parametrize("target", ["torch", "c"])
def test_what_a_difference_would_swallow_is_added_after_it(target: str, c_compiler: None) -> None:
    """A row is `eps` away from itself in each element, however large these are."""
    x = torch.full((1, 8), 100.0, requires_grad=True)
    distance = compile(library.load("pairwise_distance"), target).pairwise_distance(x, x.detach())
    (grad_x,) = torch.autograd.grad(distance.sum(), x)
    assert torch.allclose(distance, torch.tensor([8**0.5 * 1e-6]), rtol=1e-6, atol=0)
    assert torch.allclose(grad_x, torch.tensor(8**-0.5))


@pytest.mark.parametrize("target", ["torch", "c"])
@pytest.mark.parametrize(
    ("fact", "value", "wanted"),
    [
        ("positive", 0.0, "a number above zero, got 0.0"),
        ("positive", float("nan"), "a number above zero, got nan"),
        ("nonnegative", -1.0, "a number of zero or more, got -1.0"),
    ],
)
def test_an_option_of_another_sign_than_it_is_declared_with_is_refused(
    fact: str, value: float, wanted: str, target: str, c_compiler: None
) -> None:
    (definition,) = read(
        f"scaled: by an option\ninputs x[n]\noptions scale = 2.0 ({fact})\ny[n] = exp(scale*x[n])",
        library.load,
    ).values()
    scaled = compile(definition, target).scaled
    with pytest.raises(ValueError, match=f"scale must be {wanted}"):
        scaled(torch.ones(3), scale=value)


@pytest.mark.parametrize("target", ["torch", "c"])
def test_equal_numbers_less_their_mean_are_zero(target: str, c_compiler: None) -> None:
    definition = reading(
        "centred: rows.\nm[o] = sum_i(w[o,i])\nv[o] = mean_i((w[o,i] - m[o]/I)**2)\n"
        "y[o,i] = (w[o,i] - m[o]/I)/sqrt(v[o] + 1e-5)\noutputs y"
    )
    w = torch.full((2, 3), 7.0, requires_grad=True)
    found = compile(definition, target).centred(w)
    (gradient,) = torch.autograd.grad(found, w, torch.ones(2, 3))
    assert found.count_nonzero() == gradient.count_nonzero() == 0


def test_a_number_beside_a_quotient_is_added_to_it() -> None:
    lines = (
        "torch.reciprocal(x_minus_y**2 / c**2 + 1)",
        "q @ k.T / D**0.5 - (math.log(T) if T > 0 else -torch.inf)",
    )
    texts = (
        "cauchy: S.\noptions c = 1 (positive)\nl[n] = 1/(1 + (x[n] - y[n])**2/c**2)",
        "scores: S.\ninputs q[t,d], k[u,d]\nletters u over t\n"
        "s[t,u] = sum_d(q[t,d]*k[u,d])/sqrt(D) - log(T)",
    )
    for line, text in zip(lines, texts, strict=True):
        assert line in source(reading(text))
