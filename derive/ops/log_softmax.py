"""The logarithm of softmax."""

from derive import Sum, define, exp, log

op = define("log_softmax", "Logarithm of softmax along a dimension.")
op.called("input: x, dim=None, _stacklevel=3, dtype=None", autocast="float32 on gpu")
n, k = op.axes("n k", "rest along")
x = op.input("x", n, k)

logprobs = op.let("logprobs", [n, k], x[n, k] - log(Sum(exp(x[n, k]), k)))

log_softmax = op.build(logprobs)
