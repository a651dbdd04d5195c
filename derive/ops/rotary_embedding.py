"""Rotary position embedding (Su et al., 2021)."""

from derive import define

op = define(
    "rotary_embedding", "Pairs of numbers, one of each half, turned by the angle of their position."
)
op.called("input: (a, b), cos, sin, dim=-1")
n = op.axes("n", "elements")
a, b, cos, sin = (op.input(name, n) for name in ("a", "b", "cos", "sin"))
first = op.let("first", [n], a[n] * cos[n] - b[n] * sin[n])
second = op.let("second", [n], a[n] * sin[n] + b[n] * cos[n])
rotary_embedding = op.build(first, second, wrt=[a, b])
