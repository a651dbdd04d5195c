"""The bilinear layer: a product of two vectors through a weight."""

from derive import Sum, define

op = define(
    "bilinear", "Bilinear layer: input1 times each matrix of the weight times input2, and a bias."
)
op.called("input1, input2, weight, bias=None")
n, p, q = op.axes("n p q", "rest last last")
m = op.axes("m")
input1, input2 = op.input("input1", n, p), op.input("input2", n, q)
weight, bias = op.input("weight", m, p, q), op.input("bias", m, absent=0)

product = Sum(input1[n, p] * weight[m, p, q] * input2[n, q], p, q)
bilinear = op.build(op.let("y", [n, m], product + bias[m]))
