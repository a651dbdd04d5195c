"""Embedding: a table's rows, looked up by integers."""

from derive import OTHERWISE, Eq, StopGradient, Where, define

op = define("embedding", "Embedding: the row of a table at each of a batch of integers.")
op.called(
    "input: tokens, weight, padding_idx=None, max_norm=None, norm_type=2.0, "
    "scale_grad_by_freq=False, sparse=False"
)
n, t, v, d = op.axes("n t v d", "rest last")
tokens, weight = op.integers("tokens", n, t), op.input("weight", v, d)
padding = op.option("padding_idx", 0, integer=True)
rows = "weight.shape[0]"
op.demand(f"padding_idx is None or -{rows} <= padding_idx < {rows}", raises="AssertionError")
op.demand("max_norm is None and not scale_grad_by_freq and not sparse", "NotImplementedError")

row = weight[tokens[n, t], d]
# The padding, which may be counted from the end, is looked up and not learnt.
from_start = Where(padding < 0, padding + v.size, padding)
padded = Where(Eq(tokens[n, t], from_start), StopGradient(row), row)
embedding = op.build(
    op.cases("y", "padding_idx", {None: ([n, t, d], row), OTHERWISE: ([n, t, d], padded)})
)
