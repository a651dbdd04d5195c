"""Norms of vectors, what is divided by them, and distances."""

from math import inf

from derive import (
    OTHERWISE,
    Abs,
    Builder,
    Eq,
    Expr,
    Index,
    Max,
    Maximum,
    Minimum,
    Ne,
    StopGradient,
    Sum,
    Tensor,
    Where,
    define,
    sqrt,
)


def root(x: Expr, degree: Expr | int = 2) -> Expr:
    """A root of what is not negative, with the derivative 0 at 0, as PyTorch has it."""
    return Where(Eq(x, 0), 0, sqrt(x) if degree == 2 else x ** (1 / degree))


def power(x: Expr, p: Expr) -> Expr:
    """A power of what is not negative, with the derivative 0 at 0, as PyTorch has it."""
    return Where(Eq(x, 0), StopGradient(x**p), x**p)


def norm(op: Builder, name: str, x: Expr, n: Index, k: Index, argument: str) -> Tensor:
    """The p-norm of rows, by the value of an argument."""
    p = op.option(argument, 2.0)
    op.demand(f"{k.size} > 0 or 0 <= {argument} < inf", raises="RuntimeError")
    size = op.let(f"{name}_abs", [n, k], Abs(x))
    return op.cases(
        name,
        argument,
        {
            2: ([n], root(Sum(x**2, k))),
            1: ([n], Sum(size[n, k], k)),
            0: ([n], Sum(Where(Ne(x, 0), 1, 0), k)),
            inf: ([n], Maximum(Abs(x), k)),
            -inf: ([n], Minimum(Abs(x), k)),
            OTHERWISE: ([n], root(Sum(power(size[n, k], p), k), p)),
        },
    )


op = define("vector_norm", "The p-norm of the elements along dimensions, as one vector.")
op.called("x, ord=2, dim=None, keepdim=False, *, dtype=None", autocast="float32 on gpu")
n, k = op.axes("n k", "rest dim")
vector_norm = op.build(norm(op, "y", op.input("x", n, k)[n, k], n, k, "ord"))

op = define("normalize", "Vectors divided by their p-norm, or by eps where that is more.")
op.called("input: x, p=2.0, dim=1, eps=1e-12", autocast="float32 on gpu")
n, k = op.axes("n k", "rest dim")
x, eps = op.input("x", n, k), op.option("eps", 1e-12, positive=True)
size = norm(op, "size", x[n, k], n, k, "p")
normalize = op.build(op.let("y", [n, k], x[n, k] / Max(size[n], eps)))

op = define("cosine_similarity", "The cosine between vectors, their norms at least eps.")
op.called("x1, x2, dim=1, eps=1e-8", autocast="float32 on gpu")
n, k = op.axes("n k", "rest dim")
x1, x2, eps = op.input("x1", n, k), op.input("x2", n, k), op.option("eps", 1e-8, positive=True)
op.demand("eps >= 0", raises="RuntimeError")
dot = op.let("dot", [n], Sum(x1[n, k] * x2[n, k], k))
norm1 = op.let("norm1", [n], root(Sum(x1[n, k] ** 2, k)))
norm2 = op.let("norm2", [n], root(Sum(x2[n, k] ** 2, k)))
# What is less than eps has the derivative that it would have by itself, as PyTorch has it.
size1 = op.let("size1", [n], norm1[n] + StopGradient(Max(eps - norm1[n], 0)))
size2 = op.let("size2", [n], norm2[n] + StopGradient(Max(eps - norm2[n], 0)))
cosine_similarity = op.build(op.let("y", [n], dot[n] / (size1[n] * size2[n])))

op = define("pairwise_distance", "The p-norm of the difference of rows, eps added to each element.")
op.called("x1, x2, p=2.0, eps=1e-6, keepdim=False", autocast="float32 on gpu")
n, k = op.axes("n k", "rest last")
x1, x2, eps = op.input("x1", n, k), op.input("x2", n, k), op.option("eps", 1e-6)
off = op.let("off", [n, k], x1[n, k] - x2[n, k] + eps)
pairwise_distance = op.build(norm(op, "y", off[n, k], n, k, "p"))
