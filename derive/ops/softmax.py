"""Softmax, of the negative too."""

from derive import Sum, define, exp

SIGNATURE = "input: x, dim=None, _stacklevel=3, dtype=None"

op = define("softmax", "Softmax along a dimension.")
op.called(SIGNATURE, autocast="float32 on gpu")
n, k = op.axes("n k", "rest along")
x = op.input("x", n, k)
softmax = op.build(op.let("p", [n, k], exp(x[n, k]) / Sum(exp(x[n, k]), k)))

op = define("softmin", "Softmax of the negative, along a dimension.")
op.called(SIGNATURE, autocast="float32 on gpu")
n, k = op.axes("n k", "rest along")
x = op.input("x", n, k)
softmin = op.build(op.let("p", [n, k], exp(-x[n, k]) / Sum(exp(-x[n, k]), k)))
