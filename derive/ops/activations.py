"""Activations, each element by itself: what a network puts between its layers."""

from derive import Builder, Expr, Index, Max, Tensor, Where, define, erf, exp, log, pi, sqrt, tanh

UNARY = "input: x"
IN_PLACE = "input: x, inplace=False"


def elementwise(name: str, summary: str) -> tuple[Builder, Index, Tensor]:
    """The start of an operation on each element of x by itself."""
    op = define(name, summary)
    n = op.axes("n", "elements")
    return op, n, op.input("x", n)


def logistic(x: Expr) -> Expr:
    return 1 / (1 + exp(-x))


def gaussian(x: Expr) -> Expr:
    """x times the probability that a standard Gaussian is below it."""
    return x * (1 + erf(x / sqrt(2))) / 2


op, n, x = elementwise("sigmoid", "Logistic sigmoid of each element.")
op.called(UNARY)
sigmoid = op.build(op.let("s", [n], logistic(x[n])))


op, n, x = elementwise("relu", "The positive part of each element.")
op.called(IN_PLACE)
relu = op.build(op.let("y", [n], Max(x[n], 0)))

op, n, x = elementwise("leaky_relu", "The positive part, a slope below zero (Maas et al., 2013).")
op.called("input: x, negative_slope=0.01, inplace=False")
negative_slope = op.option("negative_slope", 0.01)
leaky_relu = op.build(op.let("y", [n], Where(x[n] > 0, x[n], negative_slope * x[n])))

op, n, x = elementwise("elu", "Exponential linear unit (Clevert et al., 2015).")
op.called("input: x, alpha=1.0, inplace=False")
alpha = op.option("alpha", 1.0)
elu = op.build(op.let("y", [n], Where(x[n] > 0, x[n], alpha * (exp(x[n]) - 1))))

op, n, x = elementwise("selu", "Scaled exponential linear unit (Klambauer et al., 2017, eq. 2).")
op.called(IN_PLACE)
alpha, scale = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946
selu = op.build(op.let("y", [n], scale * Where(x[n] > 0, x[n], alpha * (exp(x[n]) - 1))))

op, n, x = elementwise("celu", "Continuously differentiable ELU (Barron, 2017).")
op.called("input: x, alpha=1.0, inplace=False")
alpha = op.option("alpha", 1.0)
op.demand("alpha != 0", raises="RuntimeError")
celu = op.build(op.let("y", [n], Where(x[n] > 0, x[n], alpha * (exp(x[n] / alpha) - 1))))

op, n, x = elementwise("gelu", "Gaussian error linear unit (Hendrycks and Gimpel, 2016).")
op.called("input: x, approximate='none'")
by_tanh = x[n] * (1 + tanh(sqrt(2 / pi) * (x[n] + 0.044715 * x[n] ** 3))) / 2
cases = {"none": ([n], gaussian(x[n])), "tanh": ([n], by_tanh)}
gelu = op.build(op.cases("y", "approximate", cases, unknown="RuntimeError"))

op, n, x = elementwise("silu", "Sigmoid linear unit (Hendrycks and Gimpel, 2016).")
op.called(IN_PLACE)
silu = op.build(op.let("y", [n], x[n] * logistic(x[n])))

op, n, x = elementwise("mish", "x*tanh(softplus(x)) (Misra, 2019).")
op.called(IN_PLACE)
mish = op.build(op.let("y", [n], x[n] * tanh(log(1 + exp(x[n])))))

op, n, x = elementwise("softplus", "A smooth positive part, the identity above a threshold.")
op.called("input: x, beta=1.0, threshold=20.0", autocast="float32 on gpu")
beta, threshold = op.option("beta", 1.0), op.option("threshold", 20.0)
smooth = log(1 + exp(beta * x[n])) / beta
softplus = op.build(op.let("y", [n], Where(beta * x[n] > threshold, x[n], smooth)))

op, n, x = elementwise("softsign", "x/(1 + |x|).")
op.called(UNARY)
softsign = op.build(op.let("y", [n], x[n] / (1 + abs(x[n]))))

op, n, x = elementwise("hardtanh", "Each element held between two bounds.")
op.called("input: x, min_val=-1.0, max_val=1.0, inplace=False")
min_val, max_val = op.option("min_val", -1.0), op.option("max_val", 1.0)
op.demand("min_val <= max_val")
below = Where(x[n] <= min_val, min_val, x[n])
hardtanh = op.build(op.let("y", [n], Where(x[n] >= max_val, max_val, below)))

op, n, x = elementwise("hardsigmoid", "A sigmoid of straight lines.")
op.called(IN_PLACE)
line = Where(x[n] >= 3, 1, (x[n] + 3) / 6)
hardsigmoid = op.build(op.let("y", [n], Where(x[n] <= -3, 0, line)))

op, n, x = elementwise("hardswish", "x times its hard sigmoid (Howard et al., 2019).")
op.called(IN_PLACE)
inner = Where(x[n] < 3, x[n] * (x[n] + 3) / 6, x[n])
hardswish = op.build(op.let("y", [n], Where(x[n] <= -3, 0, inner)))

op, n, x = elementwise("logsigmoid", "The logarithm of a sigmoid.")
op.called(UNARY)
logsigmoid = op.build(op.let("y", [n], log(logistic(x[n]))))

op, n, x = elementwise("tanhshrink", "x - tanh(x).")
op.called(UNARY)
tanhshrink = op.build(op.let("y", [n], x[n] - tanh(x[n])))

op, n, x = elementwise("softshrink", "Each element nearer to zero by lambd.")
op.called("input: x, lambd=0.5")
lambd = op.option("lambd", 0.5, nonnegative=True)
op.demand("lambd >= 0", raises="RuntimeError")
lower = Where(x[n] >= -lambd, 0, x[n] + lambd)
softshrink = op.build(op.let("y", [n], Where(x[n] <= lambd, lower, x[n] - lambd)))

op = define("prelu", "The positive part, and a learnt slope below zero.")
op.called("input: x, weight", autocast="lower")
n, c = op.axes("n c", "rest channel")
x, weight = op.input("x", n, c), op.input("weight", c, given="shared")
prelu = op.build(op.let("y", [n, c], Where(x[n, c] > 0, x[n, c], weight[c] * x[n, c])))
