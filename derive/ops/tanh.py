"""The hyperbolic tangent."""

import derive
from derive import define

op = define("tanh", "Hyperbolic tangent of each element.")
op.called("input: x")
n, c = op.axes("n c", "rest last")  # of rows, as a network calls it: a step has their axes
x = op.input("x", n, c)

h = op.let("h", [n, c], derive.tanh(x[n, c]))

tanh = op.build(h)
