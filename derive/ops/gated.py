"""Gated linear units: one half of the input decides how much of the other passes."""

from derive import define
from derive.ops.activations import gaussian, logistic

SIGNATURE = "input: (a, b), dim=-1"

op = define("glu", "a times the sigmoid of b (Dauphin et al., 2017).")
op.called(SIGNATURE)
n, k = op.axes("n k", "rest dim")
a, b = op.input("a", n, k), op.input("b", n, k)
glu = op.build(op.let("y", [n, k], a[n, k] * logistic(b[n, k])))

op = define("swiglu", "a, times its sigmoid, times b (Shazeer, 2020, section 2).")
op.called(SIGNATURE)
n, k = op.axes("n k", "rest dim")
a, b = op.input("a", n, k), op.input("b", n, k)
swiglu = op.build(op.let("y", [n, k], a[n, k] * logistic(a[n, k]) * b[n, k]))

op = define("geglu", "The GELU of a times b (Shazeer, 2020, section 2).")
op.called(SIGNATURE)
n, k = op.axes("n k", "rest dim")
a, b = op.input("a", n, k), op.input("b", n, k)
geglu = op.build(op.let("y", [n, k], gaussian(a[n, k]) * b[n, k]))
