"""Derive simplified gradients from definitions in index notation.

This is the public language: what a definition file imports. Elementwise functions are
re-exported from SymPy.
"""

from sympy import (
    Abs,
    Rational,
    acos,
    asin,
    atan,
    cos,
    cosh,
    erf,
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

from derive.expressions import (
    ArgMax,
    Axis,
    Index,
    Maximum,
    Mean,
    Minimum,
    Product,
    StopGradient,
    Sum,
    Where,
    delta,
)
from derive.language import Builder, Definition, DefinitionError, Let, Option, Tensor, define

__all__ = [
    "Abs",
    "ArgMax",
    "Axis",
    "Builder",
    "Definition",
    "DefinitionError",
    "Index",
    "Let",
    "Maximum",
    "Mean",
    "Minimum",
    "Option",
    "Product",
    "Rational",
    "StopGradient",
    "Sum",
    "Tensor",
    "Where",
    "acos",
    "asin",
    "atan",
    "cos",
    "cosh",
    "define",
    "delta",
    "erf",
    "exp",
    "log",
    "pi",
    "sign",
    "sin",
    "sinh",
    "sqrt",
    "tan",
    "tanh",
]
