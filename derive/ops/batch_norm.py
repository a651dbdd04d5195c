"""Batch normalisation (Ioffe and Szegedy, 2015, algorithm 1)."""

from derive import Mean, Sum, define, sqrt

op = define("batch_norm", "Batch normalisation over n.")
n, c = op.axes("n c")
x, weight, bias = op.input("x", n, c), op.input("weight", c), op.input("bias", c)
eps = op.option("eps", 1e-5, positive=True)
correction = op.option("correction", 0, nonnegative=True)

mean = op.let("mean", [c], Mean(x[n, c], n))
var = op.let("var", [c], Sum((x[n, c] - mean[c]) ** 2, n) / (n.size - correction))
rstd = op.let("rstd", [c], 1 / sqrt(var[c] + eps))
x_hat = op.let("x_hat", [n, c], (x[n, c] - mean[c]) * rstd[c])
y = op.let("y", [n, c], weight[c] * x_hat[n, c] + bias[c])

batch_norm = op.build(y)
