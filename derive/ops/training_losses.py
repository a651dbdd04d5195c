"""Losses that are trained with and that PyTorch does not have."""

from derive import Eq, Mean, Sum, Where, define, exp, log, reductions, tanh

op = define("capped_cross_entropy", "Cross-entropy of softly capped logits, with z-loss.")
op.called("input: logits, target, cap=30.0, z_loss=1e-4, reduction='mean'", autocast="float32")
n, k = op.axes("n k", "rest channel")
logits, target = op.input("logits", n, k), op.integers("target", n)
cap, z_loss = op.option("cap", 30.0, positive=True), op.option("z_loss", 1e-4)
op.demand("cap > 0 and logits.dim() > 0")
capped = op.let("capped", [n, k], cap * tanh(logits[n, k] / cap))
z = op.let("z", [n], log(Sum(exp(capped[n, k]), k)))
each = z[n] - capped[n, target[n]] + z_loss * z[n] ** 2
capped_cross_entropy = op.build(op.cases("loss", "reduction", reductions(each, n)))

op = define("focal_loss", "Cross-entropy, less for what is right already (Lin et al., 2017).")
op.called("input: logits, target, gamma=2.0, reduction='mean'", autocast="float32")
n, k = op.axes("n k", "rest channel")
logits, target = op.input("logits", n, k), op.integers("target", n)
gamma = op.option("gamma", 2.0, nonnegative=True)
op.demand("gamma >= 0 and logits.dim() > 0")
logprobs = op.let("logprobs", [n, k], logits[n, k] - log(Sum(exp(logits[n, k]), k)))
right = op.let("right", [n], logprobs[n, target[n]])
wrong = op.let("wrong", [n], 1 - exp(right[n]))  # where it is 0, a power may have no derivative
each = Where(Eq(wrong[n], 0), 0, -(wrong[n] ** gamma) * right[n])
focal_loss = op.build(op.cases("loss", "reduction", reductions(each, n)))

op = define("distillation_loss", "Divergence of a student from its teacher (Hinton et al., 2015).")
op.called("input: logits, teacher, temperature=2.0", autocast="float32")
n, k = op.axes("n k", "rest channel")
logits, teacher = op.input("logits", n, k), op.input("teacher", n, k)
temperature = op.option("temperature", 2.0, positive=True)
op.demand("temperature > 0 and logits.dim() > 0")
a, b = logits[n, k] / temperature, teacher[n, k] / temperature
logprobs = op.let("logprobs", [n, k], a - log(Sum(exp(a), k)))
wanted = op.let("wanted", [n, k], exp(b) / Sum(exp(b), k))
divergence = Sum(wanted[n, k] * (log(wanted[n, k]) - logprobs[n, k]), k)
loss = op.let("loss", [], temperature**2 * Mean(divergence, n))
distillation_loss = op.build(loss, wrt=[logits])
