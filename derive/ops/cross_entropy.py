"""Cross-entropy with integer targets, the mean over the batch."""

from derive import Mean, Sum, define, exp, log

op = define("cross_entropy", "Cross-entropy of logits with integer targets, mean over the batch.")
n, k = op.axes("n k")
logits, target = op.input("logits", n, k), op.integers("target", n)

logprobs = op.let("logprobs", [n, k], logits[n, k] - log(Sum(exp(logits[n, k]), k)))
loss = op.let("loss", [], -Mean(logprobs[n, target[n]], n))

cross_entropy = op.build(loss)
