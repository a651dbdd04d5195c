"""Normalisations and statistics that the library does not have."""

from derive import Maximum, Mean, Sum, define, exp, log, sqrt

op = define("group_norm", "Normalisation over the channels of a group and the positions.")
n, g, c, s = op.axes("n g c s")
x = op.input("x", n, g, c, s)
weight, bias = op.input("weight", g, c), op.input("bias", g, c)
eps = op.option("eps", 1e-5, positive=True)
mean = op.let("mean", [n, g], Mean(x[n, g, c, s], c, s))
var = op.let("var", [n, g], Mean((x[n, g, c, s] - mean[n, g]) ** 2, c, s))
rstd = op.let("rstd", [n, g], 1 / sqrt(var[n, g] + eps))
x_hat = op.let("x_hat", [n, g, c, s], (x[n, g, c, s] - mean[n, g]) * rstd[n, g])
y = op.let("y", [n, g, c, s], weight[g, c] * x_hat[n, g, c, s] + bias[g, c])
group_norm = op.build(y)

op = define("weight_norm", "A weight whose rows have a length of their own.")
o, i = op.axes("o i")
v, length = op.input("v", o, i), op.input("length", o)
norm = op.let("norm", [o], sqrt(Sum(v[o, i] ** 2, i)))
weight_norm = op.build(op.let("w", [o, i], length[o] * v[o, i] / norm[o]))

op = define("l2_normalize", "Each row divided by its length.")
n, d = op.axes("n d")
x = op.input("x", n, d)
eps = op.option("eps", 1e-6, positive=True)
y = op.let("y", [n, d], x[n, d] / sqrt(Sum(x[n, d] ** 2, d) + eps))
l2_normalize = op.build(y)

op = define("cosine_similarity", "The cosine between the rows of two tensors.")
n, d = op.axes("n d")
a, b = op.input("a", n, d), op.input("b", n, d)
len_a = op.let("len_a", [n], sqrt(Sum(a[n, d] ** 2, d)))
len_b = op.let("len_b", [n], sqrt(Sum(b[n, d] ** 2, d)))
cos = op.let("cosine", [n], Sum(a[n, d] * b[n, d], d) / (len_a[n] * len_b[n]))
cosine_similarity = op.build(cos)

op = define("logsumexp", "The logarithm of a sum of exponentials, over k.")
n, k = op.axes("n k")
x = op.input("x", n, k)
logsumexp = op.build(op.let("y", [n], log(Sum(exp(x[n, k]), k))))

op = define("variance", "The unbiased variance over n.")
n, c = op.axes("n c")
x = op.input("x", n, c)
mean = op.let("mean", [c], Mean(x[n, c], n))
variance = op.build(op.let("var", [c], Sum((x[n, c] - mean[c]) ** 2, n) / (n.size - 1)))

op = define("max_pool", "The largest element over s.")
n, s = op.axes("n s")
x = op.input("x", n, s)
max_pool = op.build(op.let("y", [n], Maximum(x[n, s], s)))
