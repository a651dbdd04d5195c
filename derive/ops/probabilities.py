"""Losses between probabilities, or between logits and probabilities."""

from derive import REDUCTION, Eq, Max, StopGradient, Sum, Where, define, exp, log, pi, reductions
from derive.ops.activations import logistic

op = define("binary_cross_entropy", "Cross-entropy of probabilities; a logarithm is at least -100.")
op.called(f"input: x, target, weight=None, {REDUCTION}", autocast="float32")
n = op.axes("n", "elements")
x, target = op.input("x", n), op.input("target", n, given="whole")
weight = op.input("weight", n, absent=1)
op.demand("(x >= 0) & (x <= 1)", raises="RuntimeError")
op.demand("(target >= 0) & (target <= 1)", raises="RuntimeError")
low = Where(x[n] < 1.2e-38, StopGradient(Max(log(x[n]), -100)), log(x[n]))  # 1/x overflows
yes, no = op.let("yes", [n], low), op.let("no", [n], Max(log(1 - x[n]), -100))
each = -weight[n] * (target[n] * yes[n] + (1 - target[n]) * no[n])
loss = op.cases("loss", "reduction", reductions(each, n))
binary_cross_entropy = op.build(loss, wrt=[x, target], without=[weight])

op = define("binary_cross_entropy_with_logits", "Cross-entropy of a sigmoid.")
op.called(f"input: x, target, weight=None, {REDUCTION}, pos_weight=None", autocast="float32")
n = op.axes("n", "elements")
x, target = op.input("x", n), op.input("target", n, given="whole")
weight, pos_weight = op.input("weight", n, absent=1), op.input("pos_weight", n, absent=1)
s = op.let("s", [n], logistic(x[n]))
each = -weight[n] * (pos_weight[n] * target[n] * log(s[n]) + (1 - target[n]) * log(1 - s[n]))
loss = op.cases("loss", "reduction", reductions(each, n))
binary_cross_entropy_with_logits = op.build(loss, wrt=[x, target], without=[weight, pos_weight])

op = define("kl_div", "Kullback-Leibler divergence of a target from log-probabilities.")
op.called(f"input: x, target, {REDUCTION}, log_target=False", autocast="float32")
n, k = op.axes("n k", "rows columns")
x, target = op.input("x", n, k), op.input("target", n, k, nonnegative=True)
entropy = Where(Eq(target[n, k], 0), 0, target[n, k] * log(target[n, k]))
plain = entropy - target[n, k] * x[n, k]
by_log = exp(target[n, k]) * (target[n, k] - x[n, k])
each = op.cases("each", "log_target", {False: ([n, k], plain), True: ([n, k], by_log)})
cases = reductions(each[n, k], n, k) | {"batchmean": ([], Sum(each[n, k], n, k) / n.size)}
kl_div = op.build(op.cases("loss", "reduction", cases))

op = define("poisson_nll_loss", "Negative log likelihood of Poisson counts.")
op.called(
    "input: x, target, log_input=True, full=False, size_average=None, eps=1e-8, reduce=None, "
    "reduction='mean'",
    autocast="float32",
)
n = op.axes("n", "elements")
x, target = op.input("x", n), op.input("target", n, nonnegative=True)
eps = op.option("eps", 1e-8, positive=True)
rate = op.let("rate", [n], exp(x[n]))
by_log, plain = rate[n] - target[n] * x[n], x[n] - target[n] * log(x[n] + eps)
short = op.cases("short", "log_input", {True: ([n], by_log), False: ([n], plain)})
stirling = target[n] * log(target[n]) - target[n] + log(2 * pi * target[n]) / 2
whole = short[n] + Where(target[n] > 1, stirling, 0)
each = op.cases("each", "full", {False: ([n], short[n]), True: ([n], whole)})
poisson_nll_loss = op.build(op.cases("loss", "reduction", reductions(each[n], n)))

op = define("gaussian_nll_loss", "Negative log likelihood of a Gaussian (Nix and Weigend, 1994).")
op.called(
    "input: x, target, var, full=False, eps=1e-6, reduction='mean'", autocast="float32 on gpu"
)
n = op.axes("n", "elements")
x, target = op.input("x", n), op.input("target", n)
var = op.input("var", n, nonnegative=True, given="rowwise")
op.demand("var >= 0")
eps = op.option("eps", 1e-6, positive=True)
# The bound is not differentiated: below it the gradient is that of the variance itself.
safe = op.let("safe", [n], var[n] + StopGradient(Max(eps - var[n], 0)))
short = (log(safe[n]) + (x[n] - target[n]) ** 2 / safe[n]) / 2
each = op.cases("each", "full", {False: ([n], short), True: ([n], short + log(2 * pi) / 2)})
gaussian_nll_loss = op.build(op.cases("loss", "reduction", reductions(each[n], n)))

op = define("soft_margin_loss", "log(1 + exp(-target*x)), target 1 or -1.")
op.called(f"input: x, target, {REDUCTION}", autocast="float32")
n = op.axes("n", "elements")
x, target = op.input("x", n), op.input("target", n)
loss = op.cases("loss", "reduction", reductions(log(1 + exp(-target[n] * x[n])), n))
soft_margin_loss = op.build(loss, wrt=[x])
