"""Activations, each element by itself: what a network puts between its layers."""

from derive import Max, Where, define, erf, exp, log, pi, sqrt, tanh

UNARY = "input: x"
IN_PLACE = "input: x, inplace=False"


def sigmoid(x):
    return 1 / (1 + exp(-x))


op = define("relu", "The positive part of each element.", IN_PLACE)
n = op.axes("n", "elements")
x = op.input("x", n)
relu = op.build(op.let("y", [n], Max(x[n], 0)))

op = define(
    "leaky_relu",
    "The positive part, and a slope below zero (Maas, Hannun and Ng, 2013).",
    "input: x, negative_slope=0.01, inplace=False",
)
n = op.axes("n", "elements")
x, negative_slope = op.input("x", n), op.option("negative_slope", 0.01)
leaky_relu = op.build(op.let("y", [n], Where(x[n] > 0, x[n], negative_slope * x[n])))

op = define(
    "elu",
    "Exponential linear unit (Clevert, Unterthiner and Hochreiter, 2015).",
    "input: x, alpha=1.0, inplace=False",
)
n = op.axes("n", "elements")
x, alpha = op.input("x", n), op.option("alpha", 1.0)
elu = op.build(op.let("y", [n], Where(x[n] > 0, x[n], alpha * (exp(x[n]) - 1))))

op = define(
    "selu", "Scaled exponential linear unit (Klambauer et al., 2017, equation 2).", IN_PLACE
)
n = op.axes("n", "elements")
x = op.input("x", n)
alpha, scale = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946
selu = op.build(op.let("y", [n], scale * Where(x[n] > 0, x[n], alpha * (exp(x[n]) - 1))))

op = define(
    "celu",
    "Continuously differentiable exponential linear unit (Barron, 2017).",
    "input: x, alpha=1.0, inplace=False",
)
n = op.axes("n", "elements")
x, alpha = op.input("x", n), op.option("alpha", 1.0)
celu = op.build(op.let("y", [n], Where(x[n] > 0, x[n], alpha * (exp(x[n] / alpha) - 1))))

op = define(
    "gelu",
    "Gaussian error linear unit (Hendrycks and Gimpel, 2016).",
    "input: x, approximate='none'",
)
n = op.axes("n", "elements")
x = op.input("x", n)
exact = x[n] * (1 + erf(x[n] / sqrt(2))) / 2
by_tanh = x[n] * (1 + tanh(sqrt(2 / pi) * (x[n] + 0.044715 * x[n] ** 3))) / 2
cases = {"none": ([n], exact), "tanh": ([n], by_tanh)}
gelu = op.build(op.cases("y", "approximate", cases, unknown="RuntimeError"))

op = define("silu", "Sigmoid linear unit (Hendrycks and Gimpel, 2016).", IN_PLACE)
n = op.axes("n", "elements")
x = op.input("x", n)
silu = op.build(op.let("y", [n], x[n] * sigmoid(x[n])))

op = define("mish", "x*tanh(softplus(x)) (Misra, 2019).", IN_PLACE)
n = op.axes("n", "elements")
x = op.input("x", n)
mish = op.build(op.let("y", [n], x[n] * tanh(log(1 + exp(x[n])))))

op = define(
    "softplus",
    "A smooth positive part, the identity above a threshold.",
    "input: x, beta=1.0, threshold=20.0",
)
n = op.axes("n", "elements")
x, beta, threshold = op.input("x", n), op.option("beta", 1.0), op.option("threshold", 20.0)
smooth = log(1 + exp(beta * x[n])) / beta
softplus = op.build(op.let("y", [n], Where(beta * x[n] > threshold, x[n], smooth)))

op = define("softsign", "x/(1 + |x|).", UNARY)
n = op.axes("n", "elements")
x = op.input("x", n)
softsign = op.build(op.let("y", [n], x[n] / (1 + abs(x[n]))))

op = define(
    "hardtanh",
    "Each element held between two bounds.",
    "input: x, min_val=-1.0, max_val=1.0, inplace=False",
)
n = op.axes("n", "elements")
x, min_val, max_val = op.input("x", n), op.option("min_val", -1.0), op.option("max_val", 1.0)
op.demand("min_val <= max_val")
below = Where(x[n] <= min_val, min_val, x[n])
hardtanh = op.build(op.let("y", [n], Where(x[n] >= max_val, max_val, below)))

op = define("hardsigmoid", "A sigmoid of straight lines.", IN_PLACE)
n = op.axes("n", "elements")
x = op.input("x", n)
line = Where(x[n] >= 3, 1, (x[n] + 3) / 6)
hardsigmoid = op.build(op.let("y", [n], Where(x[n] <= -3, 0, line)))

op = define("hardswish", "x times its hard sigmoid (Howard et al., 2019).", IN_PLACE)
n = op.axes("n", "elements")
x = op.input("x", n)
inner = Where(x[n] < 3, x[n] * (x[n] + 3) / 6, x[n])
hardswish = op.build(op.let("y", [n], Where(x[n] <= -3, 0, inner)))

op = define("logsigmoid", "The logarithm of a sigmoid.", UNARY)
n = op.axes("n", "elements")
x = op.input("x", n)
logsigmoid = op.build(op.let("y", [n], log(sigmoid(x[n]))))

op = define("tanhshrink", "x - tanh(x).", UNARY)
n = op.axes("n", "elements")
x = op.input("x", n)
tanhshrink = op.build(op.let("y", [n], x[n] - tanh(x[n])))

op = define("softshrink", "Each element nearer to zero by lambd.", "input: x, lambd=0.5")
n = op.axes("n", "elements")
x, lambd = op.input("x", n), op.option("lambd", 0.5, nonnegative=True)
op.demand("lambd >= 0", raises="RuntimeError")
lower = Where(x[n] >= -lambd, 0, x[n] + lambd)
softshrink = op.build(op.let("y", [n], Where(x[n] <= lambd, lower, x[n] - lambd)))

op = define(
    "prelu",
    "The positive part, and a learnt slope below zero.",
    "input: x, weight",
    autocast="lower",
)
n, c = op.axes("n c", "rest channel")
x, weight = op.input("x", n, c), op.input("weight", c, given="shared")
prelu = op.build(op.let("y", [n, c], Where(x[n, c] > 0, x[n, c], weight[c] * x[n, c])))
