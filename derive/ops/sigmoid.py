"""The logistic sigmoid."""

from derive import define, exp

op = define("sigmoid", "Logistic sigmoid of each element.")
op.called("input: x")
n, c = op.axes("n c", "rest last")
x = op.input("x", n, c)

s = op.let("s", [n, c], 1 / (1 + exp(-x[n, c])))

sigmoid = op.build(s)
