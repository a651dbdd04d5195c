"""What formulas in the text form are written with: binders, functions, constants, relations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sympy
from sympy import Expr

from derive.language.expressions import (
    ArgMax,
    Maximum,
    Mean,
    Minimum,
    Product,
    StopGradient,
    Sum,
    Where,
    delta,
)
from derive.language.functions import FUNCTIONS

BINDERS: dict[str, Callable[..., Any]] = {
    "sum": Sum,
    "mean": Mean,
    "prod": Product,
    "max": Maximum,
    "min": Minimum,
    "argmax": ArgMax,
}
CALLS: dict[str, tuple[Callable[..., Any], tuple[int, int]]] = {
    **{row.name: (row.function, (1, 1)) for row in FUNCTIONS},
    "abs": (sympy.Abs, (1, 1)),
    "ceil": (sympy.ceiling, (1, 1)),
    "sqrt": (sympy.sqrt, (1, 1)),
    "max": (sympy.Max, (2, 8)),
    "min": (sympy.Min, (2, 8)),
    "delta": (delta, (2, 2)),
    "where": (Where, (3, 3)),
    "stop_gradient": (StopGradient, (1, 1)),
}
CONSTANTS: dict[str, Expr] = {
    "pi": sympy.pi,
    "EulerGamma": sympy.EulerGamma,
    "GoldenRatio": sympy.GoldenRatio,
    "inf": sympy.oo,
}
RELATIONS: dict[str, Callable[..., Any]] = {
    "==": sympy.Eq,
    "!=": sympy.Ne,
    "<": sympy.Lt,
    "<=": sympy.Le,
    ">": sympy.Gt,
    ">=": sympy.Ge,
}
SPELT = {
    "softmax": "exp(x[k]) / sum_k(exp(x[k]))",
    "log_softmax": "x[k] - log(sum_k(exp(x[k])))",
    "logsumexp": "log(sum_k(exp(x[k])))",
    "sigmoid": "1 / (1 + exp(-x))",
    "logsigmoid": "-log(1 + exp(-x))",
    "softplus": "log(1 + exp(x))",
    "silu": "x / (1 + exp(-x))",
    "relu": "max(x, 0)",
    "leaky_relu": "where(x > 0, x, 0.01*x)",
    "elu": "where(x > 0, x, exp(x) - 1)",
    "gelu": "x * (1 + erf(x / sqrt(2))) / 2",
    "heaviside": "where(x > 0, 1, 0)",
    "clamp": "min(max(x, low), high)",
    "clip": "min(max(x, low), high)",
    "norm": "sqrt(sum_k(x[k]**2))",
    "var": "mean_k((x[k] - mean_k(x[k]))**2)",
    "std": "sqrt(mean_k((x[k] - mean_k(x[k]))**2))",
    "square": "x**2",
    "pow": "x**2",
    "rsqrt": "1 / sqrt(x)",
    "cbrt": "sign(x) * abs(x)**(1/3)",
    "hypot": "sqrt(x**2 + y**2)",
    "atan2": "2 * atan(y / (x + sqrt(x**2 + y**2)))",
    "gamma": "exp(loggamma(x))",
    "log2": "log(x) / log(2)",
    "log10": "log(x) / log(10)",
    "log1p": "log(1 + x)",
    "logaddexp": "log(exp(x) + exp(y))",
    "expm1": "exp(x) - 1",
    "detach": "stop_gradient(x)",
    "stopgrad": "stop_gradient(x)",
    "sg": "stop_gradient(x)",
    "ln": "log(x)",
    "exp2": "2**x",
    "sgn": "sign(x)",
    "sqr": "x**2",
    "reciprocal": "1 / x",
    "round": "floor(x + 1/2)",
    "trunc": "sign(x) * floor(abs(x))",
    "mod": "x - y*floor(x/y)",
    "relu6": "min(max(x, 0), 6)",
    "hardtanh": "min(max(x, -1), 1)",
    "softsign": "x / (1 + abs(x))",
    "swish": "x / (1 + exp(-x))",
    "logit": "log(x / (1 - x))",
    "lgamma": "loggamma(x)",
    "argmin": "argmax_k(-x[k])",
    "dot": "sum_k(x[k]*y[k])",
    "matmul": "sum_k(x[n,k]*w[k,m])",
    "einsum": "sum_k(x[n,k]*w[k,m])",
    "cumsum": "sum_u(where(u <= t, x[u], 0))",
    "dropout": "x * mask",
}
"""Functions that are no primitives here, and how they are written; the emitted code is safe."""
