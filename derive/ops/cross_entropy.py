"""Cross-entropy with labels, or with probabilities of all classes."""

from derive import OTHERWISE, Eq, Expr, StopGradient, Sum, Where, define, exp, log, reductions


def mean_of(total: Expr, count: Expr) -> Expr:
    """A quotient: that of nothing by nothing is not a number, and its gradient is 0."""
    return Where(Eq(count, 0), StopGradient(total / count), total / count)


op = define("cross_entropy", "Cross-entropy of logits with labels, or with probabilities.")
op.called(
    "input: logits, target: target | probabilities, weight=None, size_average=None, "
    "ignore_index: kept=-100, reduce=None, reduction='mean', label_smoothing=0.0",
    autocast="float32",
)
n, k = op.axes("n k", "rest channel")
logits, target = op.input("logits", n, k), op.integers("target", n)
probabilities, weight = op.input("probabilities", n, k), op.input("weight", k, absent=1)
kept = op.input("kept", n, absent=1, given="mask")
smoothing = op.option("label_smoothing", 0.0, nonnegative=True)
op.demand("0 <= label_smoothing <= 1", raises="RuntimeError")
op.demand("input.dim() > 0", raises="IndexError")

logprobs = op.let("logprobs", [n, k], logits[n, k] - log(Sum(exp(logits[n, k]), k)))
right = weight[target[n]] * logprobs[n, target[n]]
uniform = Sum(weight[k] * logprobs[n, k], k) / k.size
total = Sum(weight[target[n]] * kept[n], n)

cases = {}
for smooth, value in {0: right, OTHERWISE: (1 - smoothing) * right + smoothing * uniform}.items():
    counted = Where(Eq(kept[n], 0), 0, value)
    mean = -mean_of(Sum(counted, n), total)
    labels = {"mean": ([], mean), "sum": ([], -Sum(counted, n)), "none": ([n], -counted)}
    cases |= {(True, reduction, smooth): case for reduction, case in labels.items()}
smoothed = op.let("smoothed", [n, k], (1 - smoothing) * probabilities[n, k] + smoothing / k.size)
for smooth, likely in {0: probabilities[n, k], OTHERWISE: smoothed[n, k]}.items():
    classes = reductions(-Sum(weight[k] * likely * logprobs[n, k], k), n)
    cases |= {(False, reduction, smooth): case for reduction, case in classes.items()}
loss = op.cases("loss", ("target", "reduction", "label_smoothing"), cases)

op.constant(weight, target=True)
cross_entropy = op.build(loss, wrt=[logits, probabilities, weight], without=[weight, kept])
