"""Root mean square normalisation (Zhang and Sennrich, 2019)."""

from derive import Mean, define, sqrt

op = define("rms_norm", "Root mean square normalisation over c.")
op.called("input: x, normalized_shape, weight=None, eps=None")
n, c = op.axes("n c", "rest features")
x, weight = op.input("x", n, c), op.input("weight", c, absent=1)
eps = op.option("eps", 1e-6, positive=True, given="epsilon")

mean_square = op.let("mean_square", [n], Mean(x[n, c] ** 2, c))
rstd = op.let("rstd", [n], 1 / sqrt(mean_square[n] + eps))
x_hat = op.let("x_hat", [n, c], x[n, c] * rstd[n])
y = op.let("y", [n, c], weight[c] * x_hat[n, c])

rms_norm = op.build(y)
