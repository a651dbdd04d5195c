"""The logarithm of softmax."""

from derive import Sum, define, exp, log

op = define("log_softmax", "Logarithm of softmax over k.")
n, k = op.axes("n k")
x = op.input("x", n, k)

logprobs = op.let("logprobs", [n, k], x[n, k] - log(Sum(exp(x[n, k]), k)))

log_softmax = op.build(logprobs)
