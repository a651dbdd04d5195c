"""Embedding: a table's rows, looked up by integers."""

from derive import define

op = define(
    "embedding",
    "Embedding: the row of a table at each of a batch of contexts' integers.",
    "input: tokens, weight",
)
n, t, v, d = op.axes("n t v d", "rest last")
tokens, weight = op.integers("tokens", n, t), op.input("weight", v, d)

y = op.let("y", [n, t, d], weight[tokens[n, t], d])

embedding = op.build(y)
