"""Group normalisation (Wu and He, 2018)."""

from derive import Mean, define, sqrt

op = define("group_norm", "Normalisation of each row's channels, a group at a time.")
op.called("input: x, num_groups, weight=None, bias=None, eps=1e-5", autocast="float32 on gpu")
n, g, c, s = op.axes("n g c s", "batch group within spatial")
x = op.input("x", n, g, c, s)
weight, bias = op.input("weight", g, c, absent=1), op.input("bias", g, c, absent=0)
eps = op.option("eps", 1e-5, positive=True)
op.demand("N * C * S != 1")

mean = op.let("mean", [n, g], Mean(x[n, g, c, s], c, s))
var = op.let("var", [n, g], Mean((x[n, g, c, s] - mean[n, g]) ** 2, c, s))
rstd = op.let("rstd", [n, g], 1 / sqrt(var[n, g] + eps))
x_hat = op.let("x_hat", [n, g, c, s], (x[n, g, c, s] - mean[n, g]) * rstd[n, g])
y = op.let("y", [n, g, c, s], weight[g, c] * x_hat[n, g, c, s] + bias[g, c])

group_norm = op.build(y)
