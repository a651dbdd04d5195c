"""Activations that the library does not have."""

from collections.abc import Callable

from derive import Definition, Expr, Rational, Where, define, erf, exp, log, pi, sqrt, tanh


def elementwise(name: str, summary: str, formula: Callable[[Expr], Expr]) -> Definition:
    """An operation of one input over n and c, from its formula."""
    op = define(name, summary)
    n, c = op.axes("n c")
    x = op.input("x", n, c)
    return op.build(op.let("y", [n, c], formula(x[n, c])))


softplus = elementwise("softplus", "Softplus.", lambda x: log(1 + exp(x)))
gelu = elementwise("gelu", "Gaussian error linear unit.", lambda x: x * (1 + erf(x / sqrt(2))) / 2)
gelu_tanh = elementwise(
    "gelu_tanh",
    "Gaussian error linear unit, by its tanh approximation.",
    lambda x: x / 2 * (1 + tanh(sqrt(2 / pi) * (x + Rational(44715, 10**6) * x**3))),
)
relu = elementwise("relu", "Rectified linear unit.", lambda x: Where(x > 0, x, 0))
elu = elementwise("elu", "Exponential linear unit.", lambda x: Where(x > 0, x, exp(x) - 1))
mish = elementwise("mish", "Mish.", lambda x: x * tanh(log(1 + exp(x))))

op = define("silu", "Sigmoid linear unit, its sigmoid under a name.")
n, c = op.axes("n c")
x = op.input("x", n, c)
s = op.let("s", [n, c], 1 / (1 + exp(-x[n, c])))
silu = op.build(op.let("y", [n, c], x[n, c] * s[n, c]))

op = define("glu", "Gated linear unit of two inputs.")
n, c = op.axes("n c")
a, b = op.input("a", n, c), op.input("b", n, c)
gate = op.let("gate", [n, c], 1 / (1 + exp(-b[n, c])))
glu = op.build(op.let("y", [n, c], a[n, c] * gate[n, c]))
