"""Negative log likelihood: what log-probabilities say of the classes that were right."""

from derive import Sum, define, reductions

op = define(
    "nll_loss",
    "Negative log likelihood of integer targets, weighted by class.",
    "input: logprobs, target, weight=None, size_average=None, ignore_index: kept=-100, "
    "reduce=None, reduction='mean'",
)
n, k = op.axes("n k", "rest channel")
logprobs, target = op.input("logprobs", n, k), op.integers("target", n)
weight = op.input("weight", k, absent=1)
kept = op.input("kept", n, absent=1, given="mask")

counts = weight[target[n]] * kept[n]
each = -counts * logprobs[n, target[n]]
cases = reductions(each, n) | {"mean": ([], Sum(each, n) / Sum(counts, n))}
nll_loss = op.build(op.cases("loss", "reduction", cases), wrt=[logprobs], without=[weight, kept])
