"""Instance normalisation (Ulyanov, Vedaldi and Lempitsky, 2016)."""

from derive import Mean, Sum, define, sqrt
from derive.ops.batch_norm import either

op = define("instance_norm", "Normalisation of each channel of each row by itself.")
op.called(
    "input: x, running_mean=None, running_var=None, weight=None, bias=None, use_input_stats=True, "
    "momentum=0.1, eps=1e-5"
)
n, c, s = op.axes("n c s", "batch channel spatial")
x = op.input("x", n, c, s)
weight, bias = op.input("weight", c, absent=1), op.input("bias", c, absent=0)
running_mean = op.input("running_mean", c, absent=0)
running_var = op.input("running_var", c, absent=1, positive=True, given="paired")
eps, momentum = op.option("eps", 1e-5, positive=True), op.option("momentum", 0.1)
op.demand("use_input_stats or running_mean is not None", raises="RuntimeError")
op.demand("input.dim() > 1 or use_input_stats", raises="IndexError")
op.demand("S != 1 or not use_input_stats")

choices = ("use_input_stats", "running_mean")
mean = op.cases("mean", choices, either([n, c], Mean(x[n, c, s], s), running_mean[c]))
square = Sum((x[n, c, s] - mean[n, c]) ** 2, s)
var = op.cases("var", choices, either([n, c], square / s.size, running_var[c]))
rstd = op.let("rstd", [n, c], 1 / sqrt(var[n, c] + eps))
x_hat = op.let("x_hat", [n, c, s], (x[n, c, s] - mean[n, c]) * rstd[n, c])
y = op.let("y", [n, c, s], weight[c] * x_hat[n, c, s] + bias[c])

unbiased = op.let("unbiased", [n, c], square / (s.size - 1))
for old, now in ((running_mean, mean), (running_var, unbiased)):
    op.update(old, (1 - momentum) * old[c] + momentum * Mean(now[n, c], n), use_input_stats=True)

instance_norm = op.build(y, wrt=[x, weight, bias], without=[running_mean])
