"""Batch normalisation (Ioffe and Szegedy, 2015, algorithm 1)."""

from collections.abc import Mapping

from derive import Case, Expr, Index, Mean, Sum, define, sqrt


def either(letters: list[Index], of_input: Expr, running: Expr) -> Mapping[tuple[bool, bool], Case]:
    """A statistic of the input, or else the running one, which must be given."""
    by_input = {(True, given): (letters, of_input) for given in (False, True)}
    return by_input | {(False, True): (letters, running)}


op = define("batch_norm", "Batch normalisation over n.")
op.called(
    "input: x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, "
    "eps=1e-5, *, correction=0"
)
n, c = op.axes("n c", "rest channel")
x, weight = op.input("x", n, c), op.input("weight", c, absent=1)
bias = op.input("bias", c, absent=0)
running_mean = op.input("running_mean", c, absent=0)
running_var = op.input("running_var", c, absent=1, positive=True, given="paired")
eps, momentum = op.option("eps", 1e-5, positive=True), op.option("momentum", 0.1)
correction = op.option("correction", 0, nonnegative=True)
op.demand("training or running_mean is not None", raises="RuntimeError")
op.demand("input.dim() > 1 or input.numel() == 0", raises="RuntimeError")
op.demand("eps > 0 or (eps == 0 and not training)")
op.demand("N != 1 or C == 0 or not training")

choices = ("training", "running_mean")
mean = op.cases("mean", choices, either([c], Mean(x[n, c], n), running_mean[c]))
square = Sum((x[n, c] - mean[c]) ** 2, n)
var = op.cases("var", choices, either([c], square / (n.size - correction), running_var[c]))
rstd = op.let("rstd", [c], 1 / sqrt(var[c] + eps))
x_hat = op.let("x_hat", [n, c], (x[n, c] - mean[c]) * rstd[c])
y = op.let("y", [n, c], weight[c] * x_hat[n, c] + bias[c])

unbiased = op.let("unbiased", [c], square / (n.size - 1))
for old, now in ((running_mean, mean), (running_var, unbiased)):
    op.update(old, (1 - momentum) * old[c] + momentum * now[c], training=True)

batch_norm = op.build(y, wrt=[x, weight, bias], without=[running_mean])
