"""Losses between numbers: how far an input is from its target."""

from derive import (
    OTHERWISE,
    REDUCTION,
    Abs,
    Case,
    Expr,
    Index,
    Sum,
    Tensor,
    Where,
    define,
    reductions,
)


def weighted(each: Expr, weight: Tensor, n: Index) -> dict[str, Case]:
    """A weighted mean is over the weights; a sum and the elements have them as factors."""
    mean = Sum(weight[n] * each, n) / Sum(weight[n], n)
    return reductions(weight[n] * each, n) | {"mean": ([], mean)}


op = define("mse_loss", "Squared error.")
op.called(f"input: x, target, {REDUCTION}, weight=None", autocast="float32")
n = op.axes("n", "elements")
x, target = op.input("x", n), op.input("target", n, given="alike")
weight = op.input("weight", n, absent=1, given="whole")
loss = op.cases("loss", "reduction", weighted((x[n] - target[n]) ** 2, weight, n))
mse_loss = op.build(loss, without=[weight])

op = define("l1_loss", "Absolute error.")
op.called(f"input: x, target, {REDUCTION}, weight=None", autocast="float32")
n = op.axes("n", "elements")
x, target = op.input("x", n), op.input("target", n, given="alike")
weight = op.input("weight", n, absent=1, given="whole")
loss = op.cases("loss", "reduction", weighted(Abs(x[n] - target[n]), weight, n))
l1_loss = op.build(loss, without=[weight])

op = define("smooth_l1_loss", "Squared error below beta, absolute above (Girshick, 2015).")
op.called(f"input: x, target, {REDUCTION}, beta=1.0", autocast="float32")
n = op.axes("n", "elements")
x, target = op.input("x", n), op.input("target", n, given="alike")
beta = op.option("beta", 1.0, positive=True)
op.demand("beta >= 0", raises="RuntimeError")
off = op.let("off", [n], x[n] - target[n])
smooth = Where(Abs(off[n]) >= beta, Abs(off[n]) - beta / 2, off[n] ** 2 / (2 * beta))
each = op.cases("each", "beta", {OTHERWISE: ([n], smooth), 0: ([n], Abs(off[n]))})
smooth_l1_loss = op.build(op.cases("loss", "reduction", reductions(each[n], n)))

op = define("huber_loss", "Squared error up to delta, linear beyond it (Huber, 1964).")
op.called("input: x, target, reduction='mean', delta=1.0, weight=None", autocast="float32")
n = op.axes("n", "elements")
x, target = op.input("x", n), op.input("target", n, given="alike")
weight = op.input("weight", n, absent=1, given="whole")
delta = op.option("delta", 1.0, positive=True)
op.demand("delta > 0", raises="RuntimeError")
off = op.let("off", [n], x[n] - target[n])
each = Where(Abs(off[n]) > delta, delta * (Abs(off[n]) - delta / 2), off[n] ** 2 / 2)
loss = op.cases("loss", "reduction", reductions(weight[n] * each, n))
huber_loss = op.build(loss, without=[weight])
