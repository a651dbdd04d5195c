"""Several exponentials in one formula: the gradients are those that one writes with care."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from codegen.pipeline import compile
from derive import library
from derive.derivation import derive
from derive.files import load_definitions
from derive.notation.reading import read
from gradsmith.proof.check import check

pytestmark = pytest.mark.slow

DEFINITIONS = Path(__file__).parents[1] / "definitions" / "exponentials.grad"
EXPONENTIALS = load_definitions(DEFINITIONS)


def siglip(u: Tensor, v: Tensor, t: Tensor, b: Tensor) -> Tensor:
    signs = 1 - 2 * torch.eye(5, dtype=u.dtype)
    return -F.logsigmoid(-signs * (t.exp() * u @ v.T + b)).sum(1).mean()


def nearness(x: Tensor, y: Tensor) -> Tensor:
    apart = ((x[:, None] - y) ** 2).sum(2)
    return (-2 * apart).flatten().logsumexp(0) - torch.tensor(apart.numel()).log()


def slopes(s: Tensor, m: Tensor) -> Tensor:
    later = torch.ones(5, 5).triu(1) == 1
    far = torch.arange(5)[:, None] - torch.arange(5)
    return torch.softmax((s - m * far).masked_fill(later, -torch.inf), 1)


def soft_minimum(a: Tensor, b: Tensor) -> Tensor:
    return -torch.stack([-a, -b]).logsumexp(0)


def logistics(x: Tensor, weight: Tensor, mu: Tensor, s: Tensor) -> Tensor:
    z = (x[:, None] - mu) * torch.exp(-s)
    p = F.log_softmax(weight, 1) - z - s + 2 * F.logsigmoid(z)
    return -p.logsumexp(1).mean()


def regression(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    return -F.logsigmoid(-(x @ w + b)).sum()


def graph(z: Tensor, a: Tensor, b: Tensor) -> Tensor:
    e = F.leaky_relu((z @ a)[:, None] + z @ b, 0.2)
    return torch.softmax(e.masked_fill(torch.ones(5, 5).triu(1) == 1, -torch.inf), 1) @ z


def earlier(s: Tensor) -> Tensor:
    left_out = s.masked_fill(torch.ones(5, 5).tril(-1) == 0, torch.inf)
    return torch.cat([torch.zeros(5, 1, dtype=s.dtype), -left_out], 1).logsumexp(1).mean()


def rendering(x: Tensor, colour: Tensor) -> Tensor:
    density = -F.logsigmoid(-x)
    passed = torch.exp(-torch.cat([torch.zeros_like(x[:, :1]), density.cumsum(1)[:, :-1]], 1))
    return ((1 - torch.exp(-density)) * passed * colour).sum(1)


def paths(a: Tensor) -> Tensor:
    before = torch.cat([torch.full_like(a[:1], -torch.inf), a[:-1]])
    return torch.stack([a, before]).logsumexp(0)


def either(a: Tensor, b: Tensor) -> Tensor:
    return torch.cat([a, b], 1).logsumexp(1)


def gate(h: Tensor, k: Tensor, x: Tensor) -> Tensor:
    new = torch.where(x >= 0, torch.log(x.relu() + 0.5), F.logsigmoid(x))
    return torch.stack([F.logsigmoid(-k) + h, F.logsigmoid(k) + new]).logsumexp(0)


def towards_one(h: Tensor, k: Tensor) -> Tensor:
    return torch.stack([F.logsigmoid(-k) + h, F.logsigmoid(k)]).logsumexp(0)


def weighted_pair(a: Tensor, w: Tensor, b: Tensor) -> Tensor:
    return torch.stack([a + w.log(), b]).logsumexp(0)


def tempered(x: Tensor, t: Tensor) -> Tensor:
    return torch.softmax(x * torch.exp(-t), 1)


CASES: dict[str, tuple[Callable[..., Tensor], list[tuple[int, ...]]]] = {
    "siglip": (siglip, [(5, 3), (5, 3), (), ()]),
    "nearness": (nearness, [(5, 3), (4, 3)]),
    "slopes": (slopes, [(5, 5), ()]),
    "soft_minimum": (soft_minimum, [(6,), (6,)]),
    "logistics": (logistics, [(5,), (5, 3), (5, 3), (5, 3)]),
    "regression": (regression, [(5, 3), (3,), ()]),
    "graph": (graph, [(5, 3), (3,), (3,)]),
    "earlier": (earlier, [(5, 5)]),
    "paths": (paths, [(6,)]),
    "either": (either, [(4, 3), (4, 3)]),
    "rendering": (rendering, [(4, 6), (4, 6)]),
    "gate": (gate, [(6,), (6,), (6,)]),
    "towards_one": (towards_one, [(6,), (6,)]),
    "tempered": (tempered, [(5, 3), ()]),
    "weighted_pair": (weighted_pair, [(6,), (6,), (6,)]),
}


@pytest.mark.parametrize("target", ["torch", "c"])
@pytest.mark.parametrize("spread", [1.0, 1e4])
@pytest.mark.parametrize("name", CASES)
def test_values_and_two_orders_of_gradients_are_right_however_large_the_exponents(
    name: str, spread: float, target: str, c_compiler: None
) -> None:
    plainly, shapes = CASES[name]
    generator = torch.Generator().manual_seed(0)
    given = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    given[0] *= spread
    positive = [tensor.positive for tensor in EXPONENTIALS[name].inputs]
    given = [x.abs() if above else x for x, above in zip(given, positive, strict=True)]
    emitted = getattr(compile(EXPONENTIALS[name], target), name)
    results = []
    for of in (emitted, plainly):
        leaves = [x.clone().requires_grad_() for x in given]
        value = of(*leaves)
        seed = torch.linspace(0.5, 1.5, value.numel(), dtype=value.dtype).reshape(value.shape)
        first = torch.autograd.grad(value, leaves, seed, create_graph=True)
        bent = torch.stack([g.tanh().sum() for g in first]).sum()
        second = torch.autograd.grad(bent, leaves)
        results.append((value, *first, *second))
    torch.testing.assert_close(*results, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("target", ["torch", "c"])
@pytest.mark.parametrize("name", CASES)
def test_they_are_proven_like_any_other(name: str, target: str, c_compiler: None) -> None:
    definition = EXPONENTIALS[name]
    assert all(row.passed for row in check(definition, compile(definition, target)))


HOLD = """hold: the zero-order hold of a rate
inputs a[n], step[n], b[n]
rate[n] = -exp(a[n])
kept[n] = exp(step[n]*rate[n])
held[n] = (kept[n] - 1) / rate[n] * b[n]
y[n] = kept[n] + held[n]"""


@pytest.mark.parametrize("target", ["torch", "c"])
def test_one_is_not_taken_from_an_exponential_that_has_a_name(
    target: str, c_compiler: None
) -> None:
    (definition,) = read(HOLD, library.load).values()
    a, b, step = torch.zeros(3), torch.ones(3), torch.tensor([1e-3, 1e-6, 1e-9])
    held = compile(definition, target).hold(a, step, 1e9 * b) - torch.exp(-step)
    torch.testing.assert_close(held, -1e9 * torch.expm1(-step), rtol=1e-5, atol=1)


STATE = """state: the zero-order hold of a diagonal state space (Gu et al., 2022)
inputs a[h], dt[n,h], b[n,h], h0[n,h]
d[n,h] = dt[n,h]*a[h]
y[n,h] = exp(d[n,h])*h0[n,h] + (exp(d[n,h]) - 1)/a[h]*b[n,h]"""


@pytest.mark.parametrize("target", ["torch", "c"])
def test_nor_is_it_where_the_exponential_is_read_beside(target: str, c_compiler: None) -> None:
    (definition,) = read(STATE, library.load).values()
    rate, step, one = torch.tensor([-1e-6]), torch.tensor([[0.5], [1.0]]), torch.ones(2, 1)
    given = [x.requires_grad_() for x in (rate, step, one, one.clone())]
    y = compile(definition, target).state(*given)
    torch.testing.assert_close(y, 1 + step)
    gradients = torch.autograd.grad(y.sum(), given[1:])
    torch.testing.assert_close(gradients, (one, step, one))


def test_an_exponential_is_stored_as_what_it_is_of() -> None:
    (definition,) = read(STATE, library.load).values()
    exponential = next(let for let in derive(definition).forward if let.name == "exp_d")
    assert [letter.name for letter in exponential.tensor.indices] == ["n", "h"]


QUADRATIC = """quadratic: a rational quadratic kernel (Rasmussen and Williams, 2006)
inputs r[n], a
k[n] = (1 + r[n]*exp(-a)/2)**(-exp(a))"""


@pytest.mark.parametrize("target", ["torch", "c"])
def test_a_large_power_of_what_is_near_one_tells_it_from_one(target: str, c_compiler: None) -> None:
    (definition,) = read(QUADRATIC, library.load).values()
    r, a = torch.tensor([0.5, 1.0, 2.0], requires_grad=True), torch.tensor(16.0)
    k = compile(definition, target).quadratic(r, a)
    torch.testing.assert_close(k, torch.exp(-r / 2))
    torch.testing.assert_close(torch.autograd.grad(k.sum(), r)[0], -torch.exp(-r / 2) / 2)


CLIPPED = """clipped: a weight that is clipped from above
inputs l[n], r[n], v[n]
rho[n] = min(1, exp(l[n]))
d[n] = rho[n]*(r[n] - v[n])
loss = mean_n(d[n]**2)/2"""


@pytest.mark.parametrize("target", ["torch", "c"])
def test_no_gradient_divides_by_a_clipped_exponential(target: str, c_compiler: None) -> None:
    (definition,) = read(CLIPPED, library.load).values()
    low = torch.tensor([-120.0, -1.0, 1.0])
    _, gradients = compile(definition, target).value_and_grad(low, torch.ones(3), torch.zeros(3))
    rho = low.exp().where(low < 0, 0)
    torch.testing.assert_close(gradients.grad_l, rho**2 / 3)


STUDENT = """student: how unlikely a point is where the tails are heavy
inputs y[n], mu[n], ls[n]
options nu = 4 (positive)
z[n] = (y[n] - mu[n])*exp(-ls[n])
loss = mean_n(ls[n] + (nu + 1)/2*log(1 + z[n]**2/nu))"""


@pytest.mark.parametrize("target", ["torch", "c"])
def test_what_has_a_name_is_read_where_writing_it_out_makes_nothing_safe(
    target: str, c_compiler: None
) -> None:
    (definition,) = read(STUDENT, library.load).values()
    given = torch.tensor([[3e-25, 1e-24], [0.0, 0.0], [-55.0, -55.0]])
    loss, gradients = compile(definition, target).value_and_grad(*given)
    leaves = [row.double().requires_grad_() for row in given]
    z = (leaves[0] - leaves[1]) * torch.exp(-leaves[2])
    expected = (leaves[2] + 2.5 * torch.log1p(z**2 / 4)).mean()
    wanted = torch.autograd.grad(expected, leaves)
    found = [loss, *gradients]
    torch.testing.assert_close(
        [g.double() for g in found], [expected.detach(), *wanted], rtol=1e-5, atol=0
    )


COUNTS = """counts: a negative binomial whose two parameters are exponentials
inputs eta[n], lr[n], y[n]
r[n] = exp(lr[n])
mu[n] = exp(eta[n])
loss = -mean_n(r[n]*log(r[n]/(r[n] + mu[n])) + y[n]*log(mu[n]/(r[n] + mu[n])))"""


@pytest.mark.parametrize("target", ["torch", "c"])
@pytest.mark.parametrize("written_out", [False, True])
def test_an_exponential_meets_the_sum_that_divides_it_where_another_does_not(
    written_out: bool, target: str, c_compiler: None
) -> None:
    text = COUNTS
    if written_out:
        head, inputs, *_, loss = COUNTS.splitlines()
        loss = loss.replace("r[n]", "exp(lr[n])").replace("mu[n]", "exp(eta[n])")
        text = f"{head}\n{inputs}\n{loss}"
    (definition,) = read(text, library.load).values()
    given = torch.tensor([[100.0, 1.0, -100.0], [0.0, 0.5, 0.0], [3.0, 3.0, 3.0]])
    _, gradients = compile(definition, target).value_and_grad(*given)
    eta, lr, y = leaves = [row.double().requires_grad_() for row in given]
    plainly = -(lr.exp() * F.logsigmoid(lr - eta) + y * F.logsigmoid(eta - lr)).mean()
    wanted = torch.autograd.grad(plainly, leaves)
    for mine, theirs in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(mine.double(), theirs, rtol=1e-5, atol=1e-6)


MIXTURE = """mixture: how likely a point is where each part has a probability
inputs a[n,k], m[n,k], y[n]
w[n,k] = exp(a[n,k])/sum_k(exp(a[n,k]))
f[n] = sum_k(w[n,k]*exp(-(y[n] - m[n,k])**2/2))
loss = -mean_n(log(f[n]))"""


@pytest.mark.parametrize("target", ["torch", "c"])
def test_a_part_of_a_mixture_may_be_nearer_than_it_is_unlikely(
    target: str, c_compiler: None
) -> None:
    (definition,) = read(MIXTURE, library.load).values()
    a, m = torch.tensor([[[0.0, -800.0]], [[60.0, 0.0]]], dtype=torch.float64)
    loss, gradients = compile(definition, target).value_and_grad(a, m, torch.zeros(1).double())
    assert loss.item() == 800
    assert gradients.grad_a.tolist() == [[1, -1]]


@pytest.mark.parametrize("target", ["torch", "c"])
def test_what_is_added_to_an_exponential_is_not_taken_away_again(
    target: str, c_compiler: None
) -> None:
    (definition,) = read("above: x\ny[n] = log(exp(x[n]) + 1e-6)", library.load).values()
    x = torch.tensor([-30.0, 0.0, 30.0, 200.0], requires_grad=True)
    compile(definition, target).above(x).sum().backward()
    expected = torch.sigmoid(x.detach().double() - math.log(1e-6)).float()
    torch.testing.assert_close(x.grad, expected, rtol=1e-5, atol=0)
