"""Losses that the library does not have."""

from derive import (
    Abs,
    Mean,
    Rational,
    StopGradient,
    Sum,
    Where,
    define,
    delta,
    exp,
    log,
    sqrt,
)

op = define("huber", "Huber loss, the mean over the batch.")
n = op.axes("n")
x, target = op.input("x", n), op.input("target", n)
beta = op.option("beta", 1.0, positive=True)
r = op.let("r", [n], x[n] - target[n])
element = Where(Abs(r[n]) < beta, r[n] ** 2 / (2 * beta), Abs(r[n]) - beta / 2)
huber = op.build(op.let("loss", [], Mean(element, n)))

op = define("focal", "Focal loss of logits with integer targets, the mean over the batch.")
n, k = op.axes("n k")
z, target = op.input("z", n, k), op.integers("target", n)
gamma = op.option("gamma", 2.0, positive=True)
p = op.let("p", [n, k], exp(z[n, k]) / Sum(exp(z[n, k]), k))
pt = op.let("pt", [n], p[n, target[n]])
focal = op.build(op.let("loss", [], -Mean((1 - pt[n]) ** gamma * log(pt[n]), n)))

op = define("info_nce", "Contrastive loss: each row against all others, its partner the positive.")
n, d = op.axes("n d")
z, partner = op.input("z", n, d), op.integers("partner", n)
temperature = op.option("temperature", 0.5, positive=True)
i, j = n.another("i"), n.another("j")
sim = op.let("sim", [i, j], Sum(z[i, d] * z[j, d], d) / temperature)
others = op.let("others", [i], Sum((1 - delta(i, j)) * exp(sim[i, j]), j))
info_nce = op.build(op.let("loss", [], Mean(log(others[i]) - sim[i, partner[i]], i)))

op = define("kl_temperature", "Divergence of a student from a teacher at a temperature.")
n, k = op.axes("n k")
student, teacher = op.input("student", n, k), op.input("teacher", n, k)
tau = op.option("tau", 2.0, positive=True)
log_q = op.let("log_q", [n, k], student[n, k] / tau - log(Sum(exp(student[n, k] / tau), k)))
log_p = op.let("log_p", [n, k], teacher[n, k] / tau - log(Sum(exp(teacher[n, k] / tau), k)))
fixed = StopGradient(exp(log_p[n, k]))
divergence = Mean(Sum(fixed * (StopGradient(log_p[n, k]) - log_q[n, k]), k), n)
kl_temperature = op.build(op.let("loss", [], tau**2 * divergence), wrt=[student])

op = define("gaussian_nll", "Negative log likelihood of a normal distribution, the mean.")
n = op.axes("n")
mu, var, x = op.input("mu", n), op.input("var", n, positive=True), op.input("x", n)
likelihood = log(var[n]) + (x[n] - mu[n]) ** 2 / var[n]
gaussian_nll = op.build(op.let("loss", [], Mean(likelihood, n) / 2))

op = define("triplet", "Triplet margin loss with squared distances, the mean over the batch.")
n, d = op.axes("n d")
anchor, near, far = op.input("anchor", n, d), op.input("near", n, d), op.input("far", n, d)
margin = op.option("margin", 1.0, positive=True)
near_by = op.let("near_by", [n], Sum((anchor[n, d] - near[n, d]) ** 2, d))
far_off = op.let("far_off", [n], Sum((anchor[n, d] - far[n, d]) ** 2, d))
slack = op.let("slack", [n], near_by[n] - far_off[n] + margin)
triplet = op.build(op.let("loss", [], Mean(Where(slack[n] > 0, slack[n], 0), n)))

op = define("binary_cross_entropy", "Binary cross-entropy of logits, the mean over the batch.")
n = op.axes("n")
z, y = op.input("z", n), op.input("y", n)
s = op.let("s", [n], 1 / (1 + exp(-z[n])))
entropy = y[n] * log(s[n]) + (1 - y[n]) * log(1 - s[n])
binary_cross_entropy = op.build(op.let("loss", [], -Mean(entropy, n)), wrt=[z])

op = define("label_smoothing", "Cross-entropy with smoothed integer targets.")
n, k = op.axes("n k")
z, target = op.input("z", n, k), op.integers("target", n)
smoothing = op.option("smoothing", 0.1, positive=True)
logp = op.let("logp", [n, k], z[n, k] - log(Sum(exp(z[n, k]), k)))
q = op.let("q", [n, k], (1 - smoothing) * delta(k, target[n]) + smoothing / k.size)
label_smoothing = op.build(op.let("loss", [], -Mean(Sum(q[n, k] * logp[n, k], k), n)))

op = define("rmse", "Root mean squared error.")
n = op.axes("n")
x, target = op.input("x", n), op.input("target", n)
rmse = op.build(op.let("loss", [], sqrt(Mean((x[n] - target[n]) ** 2, n) + Rational(1, 100))))
