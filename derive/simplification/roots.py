"""Names for roots, and for what divides by one, after what is under it.

    1/sqrt(sum_n((x - mean)**2)/N + eps)   rstd         the deviation of x, inverted
    1/sqrt(sum_c(x**2)/C + eps)            inv_rms_x    its root mean square
    1/sqrt(sum_c(x**2))                    inv_norm_x   its length

What somebody called a variance is one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sympy import Add, Expr, Pow, Rational, S

from derive.language.definition import Let
from derive.language.expressions import Sum, is_scalar, tensor_name
from derive.simplification.exact_names import apart, called, is_centred
from derive.simplification.naming import word

_DEVIATION = {S.Half: "std", Rational(-1, 2): "rstd"}
_LENGTH = {S.Half: "{}", Rational(-1, 2): "inv_{}"}


def root_word(root: Pow, lets: Sequence[Let]) -> str:
    """A name for a power whose exponent is a half, or minus a half."""
    values = {let.name: let.value for let in lets}
    terms = Add(*(term for term in Add.make_args(root.base) if not is_scalar(term)))
    before, under = apart(terms)
    if "var" in tensor_name(under):
        return _DEVIATION[root.exp]
    scale, total = apart(_spelt(under, values))
    square = _spelt(total.body, values) if isinstance(total, Sum) else S.One
    if not (isinstance(square, Pow) and square.exp == 2):
        return word(root)
    if is_centred(_spelt(square.base, values)):
        return _DEVIATION[root.exp]
    is_mean = bool((before * scale).free_symbols)
    return _LENGTH[root.exp].format(called("rms" if is_mean else "norm", square.base))


def _spelt(expr: Expr, values: Mapping[str, Expr]) -> Expr:
    """What an element stands for, through all the names that it has."""
    while (name := tensor_name(expr)) in values:
        expr = values[name]
    return expr
