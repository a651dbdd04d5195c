"""The linear layer, with the weight laid out as PyTorch has it."""

from derive import Sum, define

op = define("linear", "Linear layer: the product with a weight's rows, and a bias.")
n, c, m = op.axes("n c m")
x, weight, bias = op.input("x", n, c), op.input("weight", m, c), op.input("bias", m)

y = op.let("y", [n, m], Sum(x[n, c] * weight[m, c], c) + bias[m])

linear = op.build(y)
