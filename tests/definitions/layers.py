"""Layers that the library does not have."""

from derive import Mean, Sum, define, delta, exp, sqrt, tanh

op = define("attention", "One head of scaled dot-product attention.")
i, j, d, e = op.axes("i j d e")
q, k, v = op.input("q", i, d), op.input("k", j, d), op.input("v", j, e)
scores = op.let("scores", [i, j], Sum(q[i, d] * k[j, d], d) / sqrt(d.size))
probs = op.let("probs", [i, j], exp(scores[i, j]) / Sum(exp(scores[i, j]), j))
attention = op.build(op.let("out", [i, e], Sum(probs[i, j] * v[j, e], j)))

op = define("bilinear", "A bilinear form of two inputs, one for each output.")
n, i, j, o = op.axes("n i j o")
a, b = op.input("a", n, i), op.input("b", n, j)
weight, bias = op.input("weight", o, i, j), op.input("bias", o)
form = Sum(a[n, i] * weight[o, i, j] * b[n, j], i, j)
bilinear = op.build(op.let("y", [n, o], form + bias[o]))

op = define("rotate_pairs", "Pairs of numbers turned by an angle, a position's and a frequency's.")
t, p, r = op.axes("t p r")
x, cos, sin = op.input("x", t, p, r), op.input("cos_of", t, p), op.input("sin_of", t, p)
even = delta(r, 0) * (x[t, p, 0] * cos[t, p] - x[t, p, 1] * sin[t, p])
odd = delta(r, 1) * (x[t, p, 0] * sin[t, p] + x[t, p, 1] * cos[t, p])
rotate_pairs = op.build(op.let("y", [t, p, r], even + odd), wrt=[x])

op = define("mlp", "A perceptron with one hidden layer, and its squared error.")
n, i, h = op.axes("n i h")
x, W1, b1 = op.input("x", n, i), op.input("W1", i, h), op.input("b1", h)
w2, target = op.input("w2", h), op.input("target", n)
hidden = op.let("hidden", [n, h], tanh(Sum(x[n, i] * W1[i, h], i) + b1[h]))
out = op.let("out", [n], Sum(hidden[n, h] * w2[h], h))
mlp = op.build(op.let("loss", [], Mean((out[n] - target[n]) ** 2, n)))

op = define("bag_of_words", "The mean of the embeddings of a bag's words.")
n, t, v, d = op.axes("n t v d")
words, table = op.integers("words", n, t), op.input("table", v, d)
bag_of_words = op.build(op.let("y", [n, d], Mean(table[words[n, t], d], t)))

op = define("factorisation_machine", "Second-order factorisation machine.")
n, i, f = op.axes("n i f")
x, w, v = op.input("x", n, i), op.input("w", i), op.input("v", i, f)
total = op.let("total", [n, f], Sum(v[i, f] * x[n, i], i))
pairs = Sum(total[n, f] ** 2 - Sum(v[i, f] ** 2 * x[n, i] ** 2, i), f) / 2
factorisation_machine = op.build(op.let("y", [n], Sum(w[i] * x[n, i], i) + pairs))

op = define("pooling", "A mean of values, weighted by the softmax of their scores, in one line.")
n = op.axes("n")
a, x = op.input("a", n), op.input("x", n)
pooling = op.build(op.let("y", [], Sum(exp(a[n]) * x[n], n) / Sum(exp(a[n]), n)))

op = define("pointer", "Attention of one query to its own values, by way of the weights.")
n, t, d = op.axes("n t d")
s, v = op.input("s", n, t), op.input("v", n, t, d)
e = op.let("e", [n, t], exp(s[n, t]))
p = op.let("p", [n, t], e[n, t] / Sum(e[n, t], t))
pointer = op.build(op.let("y", [n, d], Sum(p[n, t] * v[n, t, d], t)))
