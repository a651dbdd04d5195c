"""Cross-entropy with integer targets, or with probabilities of all classes."""

from derive import OTHERWISE, Sum, Where, define, exp, log, reductions

op = define(
    "cross_entropy",
    "Cross-entropy of logits with integer targets, mean over the batch.",
    "input: logits, target: target | probabilities, weight=None, size_average=None, "
    "ignore_index: kept=-100, reduce=None, reduction='mean', label_smoothing=0.0",
)
n, k = op.axes("n k", "rest channel")
logits, target = op.input("logits", n, k), op.integers("target", n)
probabilities, weight = op.input("probabilities", n, k), op.input("weight", k, absent=1)
kept = op.input("kept", n, absent=1, given="mask")
smoothing = op.option("label_smoothing", 0.0, nonnegative=True)
op.demand("0 <= label_smoothing <= 1", raises="RuntimeError")

logprobs = op.let("logprobs", [n, k], logits[n, k] - log(Sum(exp(logits[n, k]), k)))
right = -weight[target[n]] * logprobs[n, target[n]]
likely = -Sum(weight[k] * probabilities[n, k] * logprobs[n, k], k)
uniform = -Sum(weight[k] * logprobs[n, k], k) / k.size
total = Sum(weight[target[n]] * kept[n], n)

cases = {}
for smooth in (0, OTHERWISE):
    by_label, by_class = (
        e if smooth == 0 else (1 - smoothing) * e + smoothing * uniform for e in (right, likely)
    )
    counted = Where(kept[n] > 0, by_label, 0)
    labels = reductions(counted, n) | {"mean": ([], Sum(counted, n) / total)}
    cases |= {(True, r, smooth): case for r, case in labels.items()}
    cases |= {(False, r, smooth): case for r, case in reductions(by_class, n).items()}
loss = op.cases("loss", ("target", "reduction", "label_smoothing"), cases)

cross_entropy = op.build(loss, wrt=[logits, probabilities], without=[weight, kept])
