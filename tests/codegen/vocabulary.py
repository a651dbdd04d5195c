"""Small operations that between them use every word of the language in every position."""

from collections.abc import Callable

from sympy import And, Expr, Or, acosh, asinh, atanh, ceiling, erfc, floor, loggamma

from derive import (
    Abs,
    ArgMax,
    Builder,
    Definition,
    Maximum,
    Mean,
    Minimum,
    Product,
    Rational,
    StopGradient,
    Sum,
    Tensor,
    Where,
    acos,
    asin,
    atan,
    cos,
    cosh,
    define,
    delta,
    exp,
    log,
    pi,
    sign,
    sin,
    sinh,
    sqrt,
    tan,
    tanh,
)

OPERATIONS: list[Definition] = []

Written = Callable[[Builder], Tensor | tuple[Tensor, ...]]


def operation(write: Written) -> Written:
    """An operation of the function's name; the function returns the outputs."""
    op = define(write.__name__, f"{write.__name__.replace('_', ' ').capitalize()}.")
    outputs = write(op)
    OPERATIONS.append(op.build(*(outputs if isinstance(outputs, tuple) else (outputs,))))
    return write


# --- layouts and broadcasting ---


@operation
def outer_product(op: Builder) -> Tensor:
    n, c = op.axes("n c")
    a, b = op.input("a", n), op.input("b", c)
    return op.let("y", [n, c], a[n] * b[c])


@operation
def outer_product_turned(op: Builder) -> Tensor:
    n, c = op.axes("n c")
    a, b = op.input("a", n), op.input("b", c)
    return op.let("y", [c, n], a[n] - 2 * b[c])


@operation
def transposed(op: Builder) -> Tensor:
    n, c, d = op.axes("n c d")
    x, w = op.input("x", n, c, d), op.input("w", d, n)
    return op.let("y", [d, n, c], x[n, c, d] * w[d, n] - x[n, c, d])


@operation
def middle_axis_broadcast(op: Builder) -> Tensor:
    n, c, d = op.axes("n c d")
    x, w = op.input("x", n, d), op.input("w", c)
    return op.let("y", [n, c, d], x[n, d] ** 2 + w[c] * x[n, d])


@operation
def constant_along_an_axis(op: Builder) -> tuple[Tensor, ...]:
    n, c = op.axes("n c")
    x, z = op.input("x", n), op.input("z", n, c)
    a = op.let("a", [n, c], 3 * x[n])
    b = op.let("b", [c, n], x[n] / 7)
    return op.let("y", [n, c], a[n, c] + b[c, n] * z[n, c]), a, b


@operation
def a_sum_over_outer_axes(op: Builder) -> tuple[Tensor, ...]:
    n, k, c = op.axes("n k c")
    x, a, d = op.input("x", n), op.input("a", k, c), c.another("d")
    p = op.let("p", [n, k, c], a[k, c] ** 2)
    return op.let("y", [n, k, c], x[n] + Sum(a[k, d] * p[n, k, d], d)), p


@operation
def identity(op: Builder) -> Tensor:
    n, c = op.axes("n c")
    x = op.input("x", n, c)
    return op.let("y", [n, c], x[n, c])


@operation
def numbers_alone(op: Builder) -> tuple[Tensor, ...]:
    n, c = op.axes("n c")
    x = op.input("x", n, c)
    eps = op.option("eps", 0.25, positive=True)
    third = op.let("third", [], Rational(1, 3) * c.size / (1 + eps))
    filled = op.let("filled", [n, c], Rational(1, 7) * third[()])
    return op.let("y", [n], Sum(x[n, c] * filled[n, c], c) + third[()]), filled, third


@operation
def composite_flatten(op: Builder) -> Tensor:
    n, t, d, j = op.axes("n t d j")
    x, w = op.input("x", n, t, d), op.input("w", (t, d), j)
    flat = op.let("flat", [n, (t, d)], x[n, t, d] ** 2)
    return op.let("y", [n, j], Sum(flat[n, t, d] * w[t, d, j], t, d))


@operation
def composite_in_another_order(op: Builder) -> Tensor:
    n, t, d = op.axes("n t d")
    x, w = op.input("x", n, (t, d)), op.input("w", d, t)
    return op.let("y", [(d, n), t], x[n, t, d] * w[d, t] + w[d, t])


# --- several letters over one axis ---


@operation
def diagonal(op: Builder) -> Tensor:
    n, c = op.axes("n c")
    m = n.another("m")
    x = op.input("x", n, m, c)
    return op.let("y", [c, n], x[n, n, c] * 2)


@operation
def trace(op: Builder) -> Tensor:
    n = op.axes("n")
    m = n.another("m")
    x = op.input("x", n, m)
    return op.let("y", [], Sum(x[n, n] ** 2, n))


@operation
def with_its_transpose(op: Builder) -> Tensor:
    n = op.axes("n")
    m = n.another("m")
    x = op.input("x", n, m)
    return op.let("y", [n, m], x[n, m] * x[m, n] + x[n, n])


@operation
def pairwise_distances(op: Builder) -> Tensor:
    n, d = op.axes("n d")
    m = n.another("m")
    x = op.input("x", n, d)
    return op.let("y", [n, m], Sum((x[n, d] - x[m, d]) ** 2, d))


@operation
def off_the_diagonal(op: Builder) -> Tensor:
    n, d = op.axes("n d")
    m = n.another("m")
    x = op.input("x", n, d)
    return op.let("y", [n], Sum((1 - delta(n, m)) * x[m, d] * x[n, d], m, d))


@operation
def identity_matrix_added(op: Builder) -> Tensor:
    n = op.axes("n")
    m = n.another("m")
    x, w = op.input("x", n, m), op.input("w", n)
    return op.let("y", [n, m], x[n, m] + w[n] * delta(n, m) - 2 * delta(n, m))


@operation
def causal(op: Builder) -> Tensor:
    i, d = op.axes("i d")
    j = i.another("j")
    q = op.input("q", i, d)
    scores = op.let("scores", [i, j], Where(i >= j, Sum(q[i, d] * q[j, d], d), 0))
    return op.let("y", [i], Sum(scores[i, j] ** 2, j))


@operation
def positions(op: Builder) -> Tensor:
    n, c = op.axes("n c")
    x = op.input("x", n, c)
    return op.let("y", [n], Sum(x[n, c] * (c + 1) / (n + 2), c))


# --- literal indices ---


@operation
def two_sums_of_one_name(op: Builder) -> Tensor:
    n, k, c = op.axes("n k c")
    x, d = op.input("x", n, k, c), c.another("d")
    p = op.let("p", [k, c], Sum(x[0, k, d] * x[1, k, d], d))
    r = op.let("r", [k, c], exp(p[k, c]) / Sum(exp(p[k, d]), d))
    return op.let("y", [c], Sum(p[2, d] * r[1, d], d))


@operation
def first_and_second(op: Builder) -> Tensor:
    n, c = op.axes("n c")
    x = op.input("x", n, c)
    return op.let("y", [n, c], x[n, 0] * x[n, c] - x[0, c] * x[n, 1])


@operation
def one_element(op: Builder) -> Tensor:
    n, c = op.axes("n c")
    x = op.input("x", n, c)
    return op.let("y", [n], x[n, 2] * x[0, 1])


@operation
def masks_both_ways_round(op: Builder) -> Tensor:
    n, k = op.axes("n k")
    x, a, other = op.input("x", n, k), op.input("a", k), n.another("other")
    p = op.let("p", [n, k], a[k] ** 2 * x[n, k] ** 2)
    q = op.let("q", [n, k], Sum(p[other, k] * x[other, k], other))
    r = op.let("r", [n], Where(q[n, 1] > p[n, 0], q[n, 0] + q[n, 2], sin(q[n, 1])))
    return op.let("s", [n, k], r[n] ** 3 / (Abs(r[n]) + Rational(1, 2)) ** Rational(3, 2))


# --- gathers and their adjoints ---


@operation
def picked(op: Builder) -> Tensor:
    n, k = op.axes("n k")
    z, t = op.input("z", n, k), op.integers("t", n)
    return op.let("y", [n], z[n, t[n]] ** 2)


@operation
def picked_along_the_first_axis(op: Builder) -> Tensor:
    n, k = op.axes("n k")
    z, t = op.input("z", k, n), op.integers("t", n)
    return op.let("y", [n], z[t[n], n] * z[t[n], n])


@operation
def picked_vectors(op: Builder) -> Tensor:
    n, k, d = op.axes("n k d")
    z, t = op.input("z", n, k, d), op.integers("t", n)
    return op.let("y", [n, d], z[n, t[n], d] * 3)


@operation
def rows_of_a_table(op: Builder) -> Tensor:
    v, d, n, t = op.axes("v d n t")
    table, index = op.input("table", v, d), op.integers("index", n, t)
    return op.let("y", [n, t, d], table[index[n, t], d])


@operation
def columns_of_a_table(op: Builder) -> Tensor:
    v, d, n = op.axes("v d n")
    table, index = op.input("table", d, v), op.integers("index", n)
    scale = op.input("scale", d)
    return op.let("y", [n, d], scale[d] * table[d, index[n]])


@operation
def two_indices_at_once(op: Builder) -> Tensor:
    v, w, n = op.axes("v w n")
    table = op.input("table", v, w)
    first, second = op.integers("first", n), op.integers("second", n)
    return op.let("y", [n], table[first[n], second[n]] * 2)


@operation
def two_tables_at_one_index(op: Builder) -> Tensor:
    v, d, n, t = op.axes("v d n t")
    table, weight, index = op.input("table", v, d), op.input("w", t, v), op.integers("index", n, t)
    return op.let("y", [n, d], Sum(table[index[n, t], d] * weight[t, index[n, t]], t))


@operation
def an_index_of_an_index(op: Builder) -> Tensor:
    v, n, t = op.axes("v n t")
    table, inner, outer = op.input("table", v), op.integers("inner", t), op.integers("outer", n)
    return op.let("y", [n], table[inner[outer[n]]] ** 2)


@operation
def picked_by_one_number(op: Builder) -> Tensor:
    v, d = op.axes("v d")
    table, which = op.input("table", v, d), op.integers("which")
    return op.let("y", [d], table[which[()], d] ** 2)


@operation
def one_hot_taken_away(op: Builder) -> Tensor:
    n, k = op.axes("n k")
    z, t, c = op.input("z", n, k), op.integers("t", n), op.input("c", n)
    return op.let("y", [n, k], z[n, k] - c[n] * delta(k, t[n]) + 2 * delta(k, t[n]))


@operation
def one_hot_alone(op: Builder) -> Tensor:
    n, k = op.axes("n k")
    c, t, z = op.input("c", n), op.integers("t", n), op.input("z", k)
    return op.let("y", [k, n], c[n] * delta(k, t[n]) * z[k])


@operation
def histogram(op: Builder) -> Tensor:
    n, t, v = op.axes("n t v")
    w, index, z = op.input("w", n, t), op.integers("index", n, t), op.input("z", v)
    return op.let("y", [v], z[v] * Sum(w[n, t] * delta(v, index[n, t]), n, t))


@operation
def histogram_of_each_row(op: Builder) -> Tensor:
    n, t, v, d = op.axes("n t v d")
    w, index, z = op.input("w", n, t, d), op.integers("index", n, t), op.input("z", v)
    return op.let("y", [n, v, d], z[v] * Sum(w[n, t, d] * delta(v, index[n, t]), t))


@operation
def counted(op: Builder) -> Tensor:
    n, v = op.axes("n v")
    index, z = op.integers("index", n), op.input("z", v)
    return op.let("y", [v], z[v] * Sum(delta(v, index[n]), n))


@operation
def equal_labels(op: Builder) -> Tensor:
    n = op.axes("n")
    m = n.another("m")
    label, x = op.integers("label", n), op.input("x", n)
    return op.let("y", [n], Sum(delta(label[n], label[m]) * x[m] * x[n], m))


@operation
def segment_means(op: Builder) -> Tensor:
    n, s, d = op.axes("n s d")
    x, segment, size = (
        op.input("x", n, d),
        op.integers("segment", n),
        op.input("size", s, positive=True),
    )
    return op.let("y", [s, d], Sum(delta(s, segment[n]) * x[n, d], n) / size[s])


# --- contractions ---


@operation
def matrix_product_turned(op: Builder) -> Tensor:
    n, c, d = op.axes("n c d")
    x, w = op.input("x", c, n), op.input("w", d, c)
    return op.let("y", [d, n], Sum(x[c, n] * w[d, c], c))


@operation
def matrix_vector(op: Builder) -> Tensor:
    n, c = op.axes("n c")
    x, v, u = op.input("x", n, c), op.input("v", c), op.input("u", n)
    return op.let("y", [], Sum(x[n, c] * v[c] * u[n], n, c))


@operation
def dot(op: Builder) -> Tensor:
    n = op.axes("n")
    a, b = op.input("a", n), op.input("b", n)
    return op.let("y", [], Sum(a[n] * b[n], n))


@operation
def batched_product(op: Builder) -> Tensor:
    b, i, j, d = op.axes("b i j d")
    q, k = op.input("q", b, i, d), op.input("k", b, j, d)
    return op.let("y", [b, i, j], Sum(q[b, i, d] * k[b, j, d], d))


@operation
def batch_in_the_middle(op: Builder) -> Tensor:
    i, j, h, d = op.axes("i j h d")
    q, k = op.input("q", i, h, d), op.input("k", j, h, d)
    return op.let("y", [i, h, j], Sum(q[i, h, d] * k[j, h, d], d) / sqrt(d.size))


@operation
def heads_merged(op: Builder) -> Tensor:
    n, h, d, j = op.axes("n h d j")
    x, w = op.input("x", h, n, d), op.input("w", (h, d), j)
    return op.let("y", [n, j], Sum(x[h, n, d] * w[h, d, j], h, d))


@operation
def many_rows(op: Builder) -> Tensor:
    n, t, d, j = op.axes("n t d j")
    x, w, b = op.input("x", n, t, d), op.input("w", d, j), op.input("b", j)
    return op.let("y", [n, t, j], Sum(x[n, t, d] * w[d, j], d) + b[j])


@operation
def three_in_a_row(op: Builder) -> Tensor:
    a, b, c, d = op.axes("a b c d")
    x, y, z = op.input("x", a, b), op.input("y", b, c), op.input("z", c, d)
    return op.let("w", [a, d], Sum(x[a, b] * y[b, c] * z[c, d], b, c))


@operation
def three_around(op: Builder) -> Tensor:
    a, b, c = op.axes("a b c")
    x, y, z = op.input("x", a, b), op.input("y", b, c), op.input("z", c, a)
    return op.let("w", [], Sum(x[a, b] * y[b, c] * z[c, a], a, b, c))


@operation
def scaled_contraction(op: Builder) -> Tensor:
    n, c, d = op.axes("n c d")
    x, w, s = op.input("x", n, c), op.input("w", c, d), op.input("s", c)
    b = op.input("b", d)
    return op.let("y", [n, d], 2 * Sum(x[n, c] * s[c] * w[c, d], c) - 3 * b[d] + 1)


@operation
def contraction_of_a_sum(op: Builder) -> Tensor:
    n, c, d = op.axes("n c d")
    x, w, s = op.input("x", n, c), op.input("w", c, d), op.input("s", c, d)
    return op.let("y", [n, d], Sum(x[n, c] * (w[c, d] + s[c, d]) + w[c, d] ** 2, c))


@operation
def contraction_with_a_left_over_sum(op: Builder) -> Tensor:
    n, c, d, e = op.axes("n c d e")
    x, w = op.input("x", n, c, e), op.input("w", c, d)
    return op.let("y", [n, d], Sum(x[n, c, e] * w[c, d], c, e))


@operation
def mean_of_a_mean_over_an_idle_axis(op: Builder) -> Tensor:
    n, c = op.axes("n c")
    x = op.input("x", n, c)
    m = n.another("m")
    p = op.let("p", [], Sum(Sum(x[n, 1], m) / n.size, n) / n.size)
    return op.let("y", [c], x[1, c] * p[()])


@operation
def sum_over_an_idle_axis(op: Builder) -> Tensor:
    n, c = op.axes("n c")
    x, w = op.input("x", n), op.input("w", c)
    return op.let("y", [n], Sum(x[n] ** 2, c) + Sum(w[c], c, n))


# --- products and choices ---


@operation
def product_over_rows(op: Builder) -> Tensor:
    n, c = op.axes("n c")
    x = op.input("x", n, c, nonzero=True)
    return op.let("y", [n], Product(x[n, c], c))


@operation
def product_of_everything(op: Builder) -> Tensor:
    n, c = op.axes("n c")
    x = op.input("x", n, c, nonzero=True)
    return op.let("y", [], Product(1 + x[n, c] ** 2 / 9, n, c))


@operation
def largest(op: Builder) -> tuple[Tensor, ...]:
    n, k = op.axes("n k")
    z = op.input("z", n, k)
    return op.let("y", [n], Maximum(z[n, k], k)), op.let("low", [k], Minimum(z[n, k], n))


@operation
def weight_at_the_largest(op: Builder) -> Tensor:
    n, k = op.axes("n k")
    z, w = op.input("z", n, k), op.input("w", k)
    return op.let("y", [n], w[ArgMax(z[n, k], k)] * z[n, 0])


@operation
def clipped(op: Builder) -> Tensor:
    n, c = op.axes("n c")
    x, low = op.input("x", n, c), op.input("low", c)
    return op.let("y", [n, c], Where(x[n, c] > low[c], x[n, c], low[c]))


@operation
def safe_branches(op: Builder) -> Tensor:
    n = op.axes("n")
    x = op.input("x", n)
    ratio = Where(x[n] > Rational(1, 2), log(Abs(x[n])) / x[n], 0)
    return op.let("y", [n], ratio + Where(And(x[n] > 0, x[n] < 1), 1, 0) * x[n])


@operation
def either(op: Builder) -> Tensor:
    n = op.axes("n")
    x = op.input("x", n)
    return op.let("y", [n], Where(Or(x[n] > 1, x[n] < -1), x[n] ** 2, x[n]) * Rational(1, 3))


@operation
def constants_chosen(op: Builder) -> Tensor:
    n = op.axes("n")
    x, w = op.input("x", n), op.input("w", n)
    return op.let("y", [n], Where(x[n] > 0, Rational(1, 3), Rational(-1, 7)) * w[n])


@operation
def decided_by_an_option(op: Builder) -> Tensor:
    n = op.axes("n")
    x = op.input("x", n)
    slope = op.option("slope", 0.5, positive=True)
    return op.let("y", [n], Where(slope > 1, x[n] ** 2, x[n] * slope))


@operation
def stopped(op: Builder) -> Tensor:
    n = op.axes("n")
    x = op.input("x", n)
    return op.let("y", [n], x[n] * StopGradient(x[n] ** 2) + x[n])


# --- functions and powers ---


def elementwise(name: str, formula: Callable[[Expr], Expr], positive: bool = False) -> None:
    op = define(name, f"{name.replace('_', ' ').capitalize()}.")
    n, c = op.axes("n c")
    x = op.input("x", n, c, positive=positive)
    OPERATIONS.append(op.build(op.let("y", [n, c], formula(x[n, c]))))


elementwise("trigonometry", lambda x: sin(x) * cos(x) + tan(x / 4))
elementwise("inverse_trigonometry", lambda x: asin(x / 9) + acos(x / 8) - atan(x))
elementwise("hyperbolic", lambda x: sinh(x) - cosh(x) + tanh(x) + asinh(x))
elementwise("inverse_hyperbolic", lambda x: atanh(x / 9) + acosh(x**2 + 2))
elementwise("error_functions", lambda x: (1 + erfc(x)) / sqrt(pi))
elementwise("log_gamma", lambda x: loggamma(x), positive=True)
elementwise("steps", lambda x: x * (sign(x) + floor(x / 7) + ceiling(x / 7)))
elementwise("absolute", lambda x: Abs(x) * x)
elementwise("whole_powers", lambda x: x**-2 + x**3, positive=True)
elementwise("half_powers", lambda x: x ** Rational(-3, 2) - 2 * sqrt(x), positive=True)
elementwise("reciprocal", lambda x: 3 / x, positive=True)
elementwise("power_of_itself", lambda x: x**x, positive=True)
elementwise("exponential_of_a_number", lambda x: Rational(3, 2) ** x - 2)
elementwise("softplus_times", lambda x: x * log(1 + exp(x)))
elementwise("two_exponentials", lambda x: log(exp(2 * x) + exp(-x)))


@operation
def decided_by_two_options(op: Builder) -> Tensor:
    n = op.axes("n")
    x, a, b = op.input("x", n), op.option("a", 1.5), op.option("b", -0.5)
    scale = Where(And(a > 0, b > 0), 2, 3) * sign(b) + Where(Or(a < 0, b < 0), 5, 7)
    return op.let("y", [n], scale * x[n] ** 2 + sign(a - 2 * b) * x[n])


@operation
def power_by_an_option(op: Builder) -> Tensor:
    n = op.axes("n")
    x = op.input("x", n, positive=True)
    gamma = op.option("gamma", 1.5, positive=True)
    return op.let("y", [n], x[n] ** gamma * sqrt(gamma) / log(gamma + 2))


@operation
def quotients(op: Builder) -> Tensor:
    n, c = op.axes("n c")
    x, s = op.input("x", n, c), op.input("s", n, positive=True)
    w = op.input("w", c, positive=True)
    return op.let("y", [n, c], -2 * x[n, c] / (3 * s[n] * w[c] ** 2) + 1 / (s[n] * w[c]))


@operation
def exponentials_under_names(op: Builder) -> Tensor:
    n, k = op.axes("n k")
    z = op.input("z", n, k)
    e = op.let("e", [n, k], exp(z[n, k]))
    s = op.let("s", [n], Sum(e[n, k], k))
    return op.let("y", [n, k], e[n, k] / s[n])


@operation
def weighted_mean_by_softmax(op: Builder) -> Tensor:
    n, k = op.axes("n k")
    z, v = op.input("z", n, k), op.input("v", n, k)
    total = Sum(exp(z[n, k]), k)
    return op.let("y", [n], Sum(exp(z[n, k]) * v[n, k], k) / total)


@operation
def several_outputs(op: Builder) -> tuple[Tensor, ...]:
    n, c = op.axes("n c")
    x = op.input("x", n, c)
    mean = op.let("mean", [c], Mean(x[n, c], n))
    centred = op.let("centred", [n, c], x[n, c] - mean[c])
    return centred, op.let("spread", [c], Sum(centred[n, c] ** 2, n)), mean
