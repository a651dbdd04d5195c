"""The elementwise functions of the torch target, one row each."""

from __future__ import annotations

from typing import Any

import sympy

from codegen.lowering.forms import Erfcx, Expm1, Log1p, LogNormal, Sigmoid
from derive.language.functions import erfc

FUNCTIONS: dict[Any, str] = {
    sympy.exp: "torch.exp",
    sympy.log: "torch.log",
    sympy.sin: "torch.sin",
    sympy.cos: "torch.cos",
    sympy.tan: "torch.tan",
    sympy.asin: "torch.asin",
    sympy.acos: "torch.acos",
    sympy.atan: "torch.atan",
    sympy.sinh: "torch.sinh",
    sympy.cosh: "torch.cosh",
    sympy.tanh: "torch.tanh",
    sympy.asinh: "torch.asinh",
    sympy.acosh: "torch.acosh",
    sympy.atanh: "torch.atanh",
    sympy.erf: "torch.erf",
    erfc: "torch.erfc",
    Erfcx: "torch.special.erfcx",
    LogNormal: "torch.special.log_ndtr",
    sympy.loggamma: "torch.lgamma",
    sympy.Abs: "torch.abs",
    sympy.sign: "torch.sign",
    sympy.floor: "torch.floor",
    sympy.ceiling: "torch.ceil",
    Sigmoid: "torch.sigmoid",
    Log1p: "torch.log1p",
    Expm1: "torch.expm1",
}

POWERS: dict[Any, str] = {
    sympy.Rational(1, 2): "torch.sqrt",
    sympy.Rational(-1, 2): "torch.rsqrt",
    sympy.Integer(-1): "torch.reciprocal",
}
