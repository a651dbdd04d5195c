"""The character model of makemore 4, from the operations it is made of."""

from derive import Sum, define
from derive.ops.batch_norm import batch_norm
from derive.ops.cross_entropy import cross_entropy
from derive.ops.embedding import embedding
from derive.ops.tanh import tanh

op = define("makemore_mlp", "The character model of makemore 4: its loss on a minibatch.")
n, t, v, d, j, k = op.axes("n t v d j k")
C, Xb = op.input("C", v, d), op.integers("Xb", n, t)
W1, b1 = op.input("W1", (t, d), j), op.input("b1", j)
bngain, bnbias = op.input("bngain", j), op.input("bnbias", j)
W2, b2 = op.input("W2", j, k), op.input("b2", k)
Yb = op.integers("Yb", n)
eps = op.option("eps", 1e-5, positive=True)

emb = op.call(embedding, {"weight": C, "tokens": Xb}, names={"y": "emb"})
embcat = op.let("embcat", [n, (t, d)], emb[n, t, d])
hprebn = op.let("hprebn", [n, j], Sum(embcat[n, t, d] * W1[t, d, j], t, d) + b1[j])
hpreact = op.call(
    batch_norm,
    {"x": hprebn, "weight": bngain, "bias": bnbias},
    options={"eps": eps, "correction": 1},
    names={"mean": "bnmean", "var": "bnvar", "rstd": "bnvar_inv", "x_hat": "bnraw", "y": "hpreact"},
)
h = op.call(tanh, {"x": hpreact})
logits = op.let("logits", [n, k], Sum(h[n, j] * W2[j, k], j) + b2[k])
loss = op.call(cross_entropy, {"logits": logits, "target": Yb})

makemore_mlp = op.build(loss)
