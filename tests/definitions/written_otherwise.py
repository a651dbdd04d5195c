"""The library's operations written another way: inline, in small steps, under other names."""

from collections.abc import Callable

from derive import (
    Builder,
    Definition,
    Expr,
    Index,
    Maximum,
    Mean,
    Rational,
    Sum,
    Tensor,
    define,
    exp,
    log,
    sqrt,
)

op = define("nll_inline", "Cross-entropy, log-softmax in one line.")
b, v = op.axes("b v")
a, t = op.input("a", b, v), op.integers("t", b)
nll_inline = op.build(op.let("cost", [], Mean(log(Sum(exp(a[b, v]), v)) - a[b, t[b]], b)))

op = define("nll_steps", "Cross-entropy in small steps, the largest logit subtracted first.")
b, v = op.axes("b v")
a, t = op.input("a", b, v), op.integers("t", b)
top = op.let("top", [b], Maximum(a[b, v], v))
shifted = op.let("shifted", [b, v], a[b, v] - top[b])
e = op.let("e", [b, v], exp(shifted[b, v]))
total = op.let("total", [b], Sum(e[b, v], v))
q = op.let("q", [b, v], e[b, v] / total[b])
log_q = op.let("log_q", [b, v], log(q[b, v]))
nll_steps = op.build(op.let("cost", [], -Mean(log_q[b, t[b]], b)))

op = define("nll_probabilities", "Cross-entropy by way of the probabilities.")
b, v = op.axes("b v")
a, t = op.input("a", b, v), op.integers("t", b)
q = op.let("q", [b, v], exp(a[b, v]) / Sum(exp(a[b, v]), v))
nll_probabilities = op.build(op.let("cost", [], -Sum(log(q[b, t[b]]), b) / b.size))


Whitened = Callable[[Builder, Tensor, Index, Index, Expr], Expr]


def whitening(name: str, summary: str, lets: Whitened) -> Definition:
    """Batch norm over b, as `lets(op, u, b, f, tiny)` writes it: mean and what divides by it."""
    op = define(name, summary)
    b, f = op.axes("b f")
    u, gain, shift = op.input("u", b, f), op.input("gain", f), op.input("shift", f)
    tiny = op.option("tiny", 1e-5, positive=True)
    return op.build(op.let("out", [b, f], gain[f] * lets(op, u, b, f, tiny) + shift[f]))


def inline(op: Builder, u: Tensor, b: Index, f: Index, tiny: Expr) -> Expr:
    mean = Mean(u[b, f], b)
    other = b.another("m")
    var = Sum((u[other, f] - mean) ** 2, other) / (b.size - 1)
    return (u[b, f] - mean) / sqrt(var + tiny)


def by_moments(op: Builder, u: Tensor, b: Index, f: Index, tiny: Expr) -> Expr:
    first = op.let("first", [f], Mean(u[b, f], b))
    second = op.let("second", [f], Mean(u[b, f] ** 2, b))
    return (u[b, f] - first[f]) / sqrt(second[f] - first[f] ** 2 + tiny)


def by_std(op: Builder, u: Tensor, b: Index, f: Index, tiny: Expr) -> Expr:
    centre = op.let("centre", [f], Mean(u[b, f], b))
    std = op.let("std", [f], sqrt(Sum((u[b, f] - centre[f]) ** 2, b) / b.size + tiny))
    return (u[b, f] - centre[f]) / std[f]


def in_steps(op: Builder, u: Tensor, b: Index, f: Index, tiny: Expr) -> Expr:
    centre = op.let("centre", [f], Sum(u[b, f], b) / b.size)
    off = op.let("off", [b, f], u[b, f] - centre[f])
    off2 = op.let("off2", [b, f], off[b, f] ** 2)
    spread = op.let("spread", [f], Sum(off2[b, f], b) / (b.size - 1))
    inverse = op.let("inverse", [f], (spread[f] + tiny) ** Rational(-1, 2))
    return op.let("white", [b, f], off[b, f] * inverse[f])[b, f]


whiten_inline = whitening("whiten_inline", "Batch norm in one line, unbiased.", inline)
whiten_moments = whitening("whiten_moments", "Batch norm by E[x^2] - E[x]^2.", by_moments)
whiten_std = whitening("whiten_std", "Batch norm by a standard deviation.", by_std)
whiten_steps = whitening("whiten_steps", "Batch norm in small steps, unbiased.", in_steps)

op = define("softmax_row", "Softmax in one line, its sum over a letter of its own.")
q, k = op.axes("q k")
s = op.input("s", q, k)
m = k.another("m")
softmax_row = op.build(op.let("prob", [q, k], exp(s[q, k]) / Sum(exp(s[q, m]), m)))
