"""The bilinear layer: a product of two vectors through a weight."""

from derive import Sum, define

op = define(
    "bilinear",
    "Bilinear layer: input1 times each matrix of the weight times input2, and a bias.",
    "input1, input2, weight, bias=None",
)
n, i, j = op.axes("n i j", "rest last last")
m = op.axes("m")
input1, input2 = op.input("input1", n, i), op.input("input2", n, j)
weight, bias = op.input("weight", m, i, j), op.input("bias", m, absent=0)

product = Sum(input1[n, i] * weight[m, i, j] * input2[n, j], i, j)
bilinear = op.build(op.let("y", [n, m], product + bias[m]))
