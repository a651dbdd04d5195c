"""Negative log likelihood: what log-probabilities say of the classes that were right."""

from derive import Eq, Sum, Where, define, reductions
from derive.ops.cross_entropy import mean_of

op = define("nll_loss", "Negative log likelihood of integer targets, weighted by class.")
op.called(
    "input: logprobs, target, weight=None, size_average=None, ignore_index: kept=-100, "
    "reduce=None, reduction='mean'",
    autocast="float32",
)
n, k = op.axes("n k", "rest channel")
logprobs, target = op.input("logprobs", n, k), op.integers("target", n)
weight = op.input("weight", k, absent=1)
kept = op.input("kept", n, absent=1, given="mask")
op.demand("input.dim() > 0")

each = Where(Eq(kept[n], 0), 0, -weight[target[n]] * logprobs[n, target[n]])
mean = mean_of(Sum(each, n), Sum(weight[target[n]] * kept[n], n))
cases = reductions(each, n) | {"mean": ([], mean)}
nll_loss = op.build(op.cases("loss", "reduction", cases), wrt=[logprobs], without=[weight, kept])
