"""The character model of makemore 4, in small steps that each have a simple gradient."""

from derive import Maximum, Mean, Rational, Sum, define, exp, log, tanh

op = define("makemore_mlp_chunked", "The character model of makemore 4, cut into small steps.")
n, t, v, d, j, k = op.axes("n t v d j k")
C, Xb = op.input("C", v, d), op.integers("Xb", n, t)
W1, b1 = op.input("W1", (t, d), j), op.input("b1", j)
bngain, bnbias = op.input("bngain", j), op.input("bnbias", j)
W2, b2 = op.input("W2", j, k), op.input("b2", k)
Yb = op.integers("Yb", n)
eps = op.option("eps", 1e-5, positive=True)

emb = op.let("emb", [n, t, d], C[Xb[n, t], d])
embcat = op.let("embcat", [n, (t, d)], emb[n, t, d])
hprebn = op.let("hprebn", [n, j], Sum(embcat[n, t, d] * W1[t, d, j], t, d) + b1[j])
bnmeani = op.let("bnmeani", [j], 1 / n.size * Sum(hprebn[n, j], n))
bndiff = op.let("bndiff", [n, j], hprebn[n, j] - bnmeani[j])
bndiff2 = op.let("bndiff2", [n, j], bndiff[n, j] ** 2)
bnvar = op.let("bnvar", [j], 1 / (n.size - 1) * Sum(bndiff2[n, j], n))
bnvar_inv = op.let("bnvar_inv", [j], (bnvar[j] + eps) ** Rational(-1, 2))
bnraw = op.let("bnraw", [n, j], bndiff[n, j] * bnvar_inv[j])
hpreact = op.let("hpreact", [n, j], bngain[j] * bnraw[n, j] + bnbias[j])
h = op.let("h", [n, j], tanh(hpreact[n, j]))
logits = op.let("logits", [n, k], Sum(h[n, j] * W2[j, k], j) + b2[k])
logit_maxes = op.let("logit_maxes", [n], Maximum(logits[n, k], k))
norm_logits = op.let("norm_logits", [n, k], logits[n, k] - logit_maxes[n])
counts = op.let("counts", [n, k], exp(norm_logits[n, k]))
counts_sum = op.let("counts_sum", [n], Sum(counts[n, k], k))
counts_sum_inv = op.let("counts_sum_inv", [n], counts_sum[n] ** -1)
probs = op.let("probs", [n, k], counts[n, k] * counts_sum_inv[n])
logprobs = op.let("logprobs", [n, k], log(probs[n, k]))
loss = op.let("loss", [], -Mean(logprobs[n, Yb[n]], n))

cross_entropy = (logprobs, probs, counts_sum_inv, counts_sum, counts, norm_logits, logit_maxes)
second_layer = (logits, h, W2, b2)
batch_norm = (hpreact, bngain, bnbias, bnraw, bnvar_inv, bnvar, bndiff2, bndiff, bnmeani)
first_layer = (hprebn, embcat, W1, b1, emb, C)

makemore_mlp_chunked = op.build(
    loss, wrt=(*cross_entropy, *second_layer, *batch_norm, *first_layer), chunked=True
)
