"""Layer normalisation (Ba, Kiros and Hinton, 2016)."""

from derive import Mean, define, sqrt

op = define("layer_norm", "Layer normalisation over c.")
op.called("input: x, normalized_shape, weight=None, bias=None, eps=1e-5", autocast="float32 on gpu")
n, c = op.axes("n c", "rest features")
x = op.input("x", n, c)
weight, bias = op.input("weight", c, absent=1), op.input("bias", c, absent=0)
eps = op.option("eps", 1e-5, positive=True)

mean = op.let("mean", [n], Mean(x[n, c], c))
var = op.let("var", [n], Mean((x[n, c] - mean[n]) ** 2, c))
rstd = op.let("rstd", [n], 1 / sqrt(var[n] + eps))
x_hat = op.let("x_hat", [n, c], (x[n, c] - mean[n]) * rstd[n])
y = op.let("y", [n, c], weight[c] * x_hat[n, c] + bias[c])

layer_norm = op.build(y)
