"""The linear layer, with the weight laid out as PyTorch has it."""

from derive import Sum, define

op = define("linear", "Linear layer: the product with a weight's rows, and a bias.")
op.called("input: x, weight, bias=None", autocast="lower")
n, c, m = op.axes("n c m", "rest last")
x, weight = op.input("x", n, c), op.input("weight", m, c)
bias = op.input("bias", m, absent=0)

y = op.let("y", [n, m], Sum(x[n, c] * weight[m, c], c) + bias[m])

linear = op.build(y)
