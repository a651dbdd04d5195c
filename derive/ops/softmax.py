"""Softmax."""

from derive import Sum, define, exp

op = define("softmax", "Softmax over k.")
n, k = op.axes("n k")
x = op.input("x", n, k)

p = op.let("p", [n, k], exp(x[n, k]) / Sum(exp(x[n, k]), k))

softmax = op.build(p)
