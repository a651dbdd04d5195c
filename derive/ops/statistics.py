"""Variances and logarithms of sums along dimensions."""

from derive import Eq, Max, Mean, Sum, Where, define, exp, log, sqrt

op = define("logsumexp", "The logarithm of a sum of exponentials.")
op.called("input: x, dim, keepdim=False", autocast="float32 on gpu")
n, k = op.axes("n k", "rest dim")
x = op.input("x", n, k)
logsumexp = op.build(op.let("y", [n], log(Sum(exp(x[n, k]), k))))

SIGNATURE = "input: x, dim=None, unbiased=None, keepdim=False, *, correction=None"

op = define("var", "The variance: the mean square distance from the mean.")
op.called(SIGNATURE)
n, k = op.axes("n k", "rest dim")
x, correction = op.input("x", n, k), op.option("correction", 1)
mean = op.let("mean", [n], Mean(x[n, k], k))
var = op.build(op.let("y", [n], Sum((x[n, k] - mean[n]) ** 2, k) / Max(k.size - correction, 0)))

op = define("std", "The standard deviation: the square root of the variance.")
op.called(SIGNATURE)
n, k = op.axes("n k", "rest dim")
x, correction = op.input("x", n, k), op.option("correction", 1)
mean = op.let("mean", [n], Mean(x[n, k], k))
square = op.let("square", [n], Sum((x[n, k] - mean[n]) ** 2, k) / Max(k.size - correction, 0))
# Where nothing varies the derivative is 0, as PyTorch has it.
std = op.build(op.let("y", [n], Where(Eq(square[n], 0), 0, sqrt(square[n]))))
