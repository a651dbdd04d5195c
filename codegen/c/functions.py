"""The elementwise functions of the C target, one row each.

`R(sqrt)` is the function of C's library for the precision of `real`; the others are small
functions that stand at the top of a file which uses them, in `templates/c/elementary.c.jinja`.
"""

from __future__ import annotations

from typing import Any

import sympy

from codegen.lowering.forms import (
    Clamped,
    Erfcx,
    Expm1,
    Finite,
    Log1p,
    LogAddExp,
    LogNormal,
    Sigmoid,
)
from derive.language.functions import erfc

FUNCTIONS: dict[Any, str] = {
    sympy.exp: "vector_exp",
    sympy.log: "vector_log",
    sympy.sin: "R(sin)",
    sympy.cos: "R(cos)",
    sympy.tan: "R(tan)",
    sympy.asin: "R(asin)",
    sympy.acos: "R(acos)",
    sympy.atan: "R(atan)",
    sympy.sinh: "R(sinh)",
    sympy.cosh: "R(cosh)",
    sympy.tanh: "vector_tanh",
    sympy.asinh: "R(asinh)",
    sympy.acosh: "R(acosh)",
    sympy.atanh: "R(atanh)",
    sympy.erf: "vector_erf",
    erfc: "vector_erfc",
    Erfcx: "vector_erfcx",
    LogNormal: "log_normal",
    sympy.loggamma: "R(lgamma)",
    sympy.polygamma: "digamma",
    sympy.Abs: "R(fabs)",
    sympy.sign: "sign",
    sympy.floor: "R(floor)",
    sympy.ceiling: "R(ceil)",
    Sigmoid: "sigmoid",
    LogAddExp: "log_add_exp",
    Log1p: "vector_log1p",
    Expm1: "vector_expm1",
    Finite: "finite",
    Clamped: "clamped",
}

NEEDS: dict[str, tuple[str, ...]] = {
    "sigmoid": ("vector_exp",),
    "log_add_exp": ("vector_exp", "vector_log1p", "larger"),
    "contract": ("least", "fused"),
    "vector_exp": ("fused", "bits"),
    "vector_log": ("fused", "bits"),
    "vector_tanh": ("fused", "vector_expm1"),
    "vector_expm1": ("fused", "bits"),
    "vector_log1p": ("vector_log",),
    "vector_erf": ("vector_exp",),
    "vector_erfc": ("vector_exp",),
    "vector_erfcx": ("vector_exp",),
    "log_normal": ("vector_exp", "vector_erfcx", "vector_log", "vector_log1p"),
    "tile_width": ("least",),
}
"""What a small function calls in turn."""

ELEMENTARY = (
    *("least", "within", "tile_width", "stream", "fused", "square", "cube", "larger", "exceeds"),
    *("choose", "sign", "finite", "clamped", "digamma", "bits"),
    *("vector_exp", "vector_log", "vector_tanh", "vector_expm1"),
    *("vector_log1p", "vector_erf", "vector_erfc", "vector_erfcx", "log_normal", "sigmoid"),
    *("log_add_exp", "contract"),
)
"""The small functions that the template has."""
