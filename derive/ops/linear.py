"""The linear layer, with the weight laid out as PyTorch has it."""

from derive import Sum, define

op = define("linear", "Linear layer: the product with a weight's rows, and a bias.")
n, i, o = op.axes("n i o")
x, weight, bias = op.input("x", n, i), op.input("weight", o, i), op.input("bias", o)

y = op.let("y", [n, o], Sum(x[n, i] * weight[o, i], i) + bias[o])

linear = op.build(y)
