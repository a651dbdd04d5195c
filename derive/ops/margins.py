"""Losses with a margin: right enough is right."""

from math import inf

from derive import (
    OTHERWISE,
    REDUCTION,
    Abs,
    Eq,
    Expr,
    Maximum,
    Min,
    Sum,
    Tensor,
    Where,
    define,
    reductions,
    sqrt,
)
from derive.ops.distances import power, root


def clamped(value: Expr) -> Expr:
    """The positive part; where it begins it has a slope already, as PyTorch's clamp has."""
    return Where(value < 0, 0, value)


op = define("hinge_embedding_loss", "A distance; for targets -1, what it lacks to the margin.")
op.called(f"input: x, target, margin=1.0, {REDUCTION}", autocast="float32")
n = op.axes("n", "elements")
x, target, margin = op.input("x", n), op.input("target", n), op.option("margin", 1.0)
far, near = Where(Eq(target[n], 1), 0, clamped(margin - x[n])), Where(Eq(target[n], -1), 0, x[n])
hinge_embedding_loss = op.build(op.cases("loss", "reduction", reductions(far + near, n)), wrt=[x])

op = define("margin_ranking_loss", "How far two numbers are from being ranked as the target says.")
op.called(f"input1, input2, target, margin=0.0, {REDUCTION}", autocast="float32")
n = op.axes("n", "elements")
input1, input2, target = op.input("input1", n), op.input("input2", n), op.input("target", n)
margin = op.option("margin", 0.0)
op.demand("input1.dim() == input2.dim() == target.dim()", raises="RuntimeError")
each = clamped(margin - target[n] * (input1[n] - input2[n]))
margin_ranking_loss = op.build(op.cases("loss", "reduction", reductions(each, n)))

op = define("cosine_embedding_loss", "1 - cosine; for targets -1, its excess over the margin.")
op.called(f"input1, input2, target, margin=0.0, {REDUCTION}", autocast="float32")
n, d = op.axes("n d", "rest last")
input1, input2, target = op.input("input1", n, d), op.input("input2", n, d), op.input("target", n)
margin = op.option("margin", 0.0)
op.demand("input1.shape == input2.shape and target.dim() == input1.dim() - 1 < 2", "RuntimeError")
dot = op.let("dot", [n], Sum(input1[n, d] * input2[n, d], d))
square1 = op.let("square1", [n], Sum(input1[n, d] ** 2, d) + 1e-12)
square2 = op.let("square2", [n], Sum(input2[n, d] ** 2, d) + 1e-12)
cosine = op.let("cosine", [n], dot[n] / sqrt(square1[n] * square2[n]))
unlike = Where(Eq(target[n], -1), clamped(cosine[n] - margin), 0)
each = Where(Eq(target[n], 1), 1 - cosine[n], unlike)
loss = op.cases("loss", "reduction", reductions(each, n))
cosine_embedding_loss = op.build(loss, wrt=[input1, input2])

op = define(
    "triplet_margin_loss", "How much nearer an anchor is to a negative (Balntas et al., 2016)."
)
op.called(
    f"anchor, positive, negative, margin=1.0, p=2.0, eps=1e-6, swap=False, {REDUCTION}",
    autocast="float32",
)
n, d = op.axes("n d", "rest last")
anchor, positive, negative = (op.input(name, n, d) for name in ("anchor", "positive", "negative"))
margin, p, eps = op.option("margin", 1.0), op.option("p", 2.0), op.option("eps", 1e-6)
op.demand("anchor.dim() == positive.dim() == negative.dim()", raises="RuntimeError")
op.demand("margin > 0 and p > 0")


def apart(name: str, a: Tensor, b: Tensor) -> Tensor:
    """The distance of two rows, eps away from where it has no gradient."""
    off = op.let(f"off_{name}", [n, d], a[n, d] - b[n, d] + eps)[n, d]
    some = {2: sqrt(Sum(off**2, d)), 1: Sum(Abs(off), d), inf: Maximum(Abs(off), d)}
    cases = some | {OTHERWISE: root(Sum(power(Abs(off), p), d), p)}
    return op.cases(name, "p", {value: ([n], distance) for value, distance in cases.items()})


near, far = apart("near", anchor, positive), apart("far", anchor, negative)
between = apart("between", positive, negative)
swapped = Min(far[n], between[n])
other = op.cases("other", "swap", {False: ([n], far[n]), True: ([n], swapped)})
each = clamped(margin + near[n] - other[n])
triplet_margin_loss = op.build(op.cases("loss", "reduction", reductions(each, n)))
