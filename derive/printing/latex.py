r"""LaTeX: expressions and lets.

A cotangent is written with a bar, as is usual: $\bar{x}$ is the derivative of the loss with
respect to $x$. Names of Greek letters become those letters, `x_hat` a hat, other names upright.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import sympy
from sympy import Add, Basic, Expr, KroneckerDelta, Mul, Pow, Rational, Symbol
from sympy.core.relational import Relational
from sympy.logic.boolalg import And, BooleanAtom, Not, Or

from derive.language.definition import Let
from derive.language.expressions import (
    ArgMax,
    Binder,
    Element,
    Index,
    Product,
    StopGradient,
    Sum,
    Where,
)
from derive.printing.arrange import (
    GREEK,
    Arrangement,
    decimal,
    delta_sides,
    letters_in_order,
)
from derive.printing.marks import Marked
from derive.printing.measure import fitted, rows_of, width

# How tightly what stands at the top of a formula binds.
ADD, MUL, POW, ATOM = range(4)

_BINDERS = {Sum: r"\sum", Product: r"\prod", ArgMax: r"\operatorname*{arg\,max}"}

_ACCENTS = {"hat": r"\hat", "bar": r"\overline", "tilde": r"\tilde", "dot": r"\dot"}
_FUNCTIONS = {
    sympy.exp: r"\exp",
    sympy.log: r"\log",
    sympy.sin: r"\sin",
    sympy.cos: r"\cos",
    sympy.tan: r"\tan",
    sympy.asin: r"\arcsin",
    sympy.acos: r"\arccos",
    sympy.atan: r"\arctan",
    sympy.sinh: r"\sinh",
    sympy.cosh: r"\cosh",
    sympy.tanh: r"\tanh",
    sympy.loggamma: r"\log\Gamma",
}
_BRACKETS = {
    sympy.Abs: (r"\left|", r"\right|"),
    sympy.floor: (r"\left\lfloor", r"\right\rfloor"),
    sympy.ceiling: (r"\left\lceil", r"\right\rceil"),
}
_RELATIONS = {"==": "=", "!=": r"\neq", "<": "<", "<=": r"\leq", ">": ">", ">=": r"\geq"}


def latex(expr: Basic, arrangement: Arrangement | None = None) -> str:
    """An expression as a LaTeX formula, without dollar signs."""
    return _latex(expr, arrangement or Arrangement())[0]


def let_latex(let: Let, arrangement: Arrangement | None = None) -> str:
    """One row of an `align`: the tensor at its letters, equals, the value."""
    head = let.tensor.element
    return f"{latex(head)} &= {broken(let.value, arrangement, beside=head)}"


_LINE = 88
"""How many letters stand in a line on paper."""


def broken(
    expr: Expr,
    arrangement: Arrangement | None = None,
    line: float = _LINE,
    beside: Expr | None = None,
) -> str:
    """A formula for the right side of an `align`; a long sum goes on in the next row.

    `beside` is what stands on the left side.
    """
    arrangement = arrangement or Arrangement()
    most = line - (width(beside, arrangement) if beside is not None else 0)
    rows: list[str] = []
    filled = 0.0
    for term in arrangement.terms(expr):
        fit = fitted(term, arrangement, most - 4)  # a sign, and the space before a row
        part, _ = _latex(term, fit)
        minus = part.startswith("-")
        signed = part if not rows else f"- {part[1:]}" if minus else f"+ {part}"
        filled += width(term, fit) + 3
        if rows and filled <= most:
            rows[-1] += f" {signed}"
        else:
            rows.append(signed)
            filled = width(term, fit) + 4
    return " \\\\\n&\\quad ".join(rows)


def name_latex(name: str) -> str:
    r"""A tensor's or option's name: `x_hat` is \hat{x}, `eps` \varepsilon, `weight` upright.

    A cotangent has a bar, and one of the first order that is differentiated itself a (1).
    """
    if name.startswith("grad_"):
        return rf"\overline{{{name_latex(name.removeprefix('grad_'))}}}"
    if name.startswith("first_grad_"):
        return rf"{name_latex(name.removeprefix('first_'))}^{{(1)}}"
    stem, _, accent = name.rpartition("_")
    if accent in _ACCENTS and stem:
        return rf"{_ACCENTS[accent]}{{{name_latex(stem)}}}"
    if name in ("eps", "epsilon"):
        return r"\varepsilon"
    if name in GREEK:
        return rf"\{name}"
    numbered = re.fullmatch(r"([A-Za-z])_?(\d+)", name)
    if numbered:
        return rf"{numbered[1]}^{{({numbered[2]})}}"
    return name if len(name) == 1 else rf"\mathrm{{{escaped(name)}}}"


def escaped(words: str) -> str:
    """Plain words with what LaTeX reserves escaped."""
    table = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(table.get(c, rf"\{c}" if c in "&%$#_{}" else c) for c in words)


# --- expressions ---


def _latex(expr: Any, arrangement: Arrangement) -> tuple[str, int]:
    """The formula of an expression, and how tightly it binds."""
    for cls, writer in _WRITERS.items():
        if isinstance(expr, cls):
            return writer(expr, arrangement)
    if type(expr) in _BRACKETS:
        opening, closing = _BRACKETS[type(expr)]
        return f"{opening} {_list(expr.args, arrangement)} {closing}", ATOM
    if isinstance(expr, sympy.Function):
        name = _FUNCTIONS.get(type(expr), rf"\operatorname{{{escaped(type(expr).__name__)}}}")
        return rf"{name}\left({_list(expr.args, arrangement)}\right)", ATOM
    return sympy.latex(expr), ATOM


def _inside(expr: Any, arrangement: Arrangement, level: int) -> str:
    written, tightness = _latex(expr, arrangement)
    return rf"\left({written}\right)" if tightness < level else written


def _list(exprs: Iterable[Any], arrangement: Arrangement) -> str:
    return ", ".join(latex(e, arrangement) for e in exprs)


def _symbol(expr: Any, arrangement: Arrangement) -> tuple[str, int]:
    if isinstance(expr, Index):
        stem, _, number = expr.name.partition("_")
        return (f"{stem}_{{{escaped(number)}}}" if number else stem), ATOM
    return name_latex(expr.name), ATOM


def _element(expr: Any, arrangement: Arrangement) -> tuple[str, int]:
    indices = ",".join(latex(i, arrangement) for i in expr.indices)
    return f"{name_latex(expr.tensor_name)}_{{{indices}}}", ATOM


def _number(expr: Any, arrangement: Arrangement) -> tuple[str, int]:
    size = abs(expr)
    if expr.is_Float:
        written = sympy.latex(size)
    else:
        fraction = rf"\frac{{{size.p}}}{{{size.q}}}"
        written = decimal(size) or (str(size) if size.is_Integer else fraction)
    return (f"-{written}", ADD) if expr < 0 else (written, ATOM)


def _add(expr: Add, arrangement: Arrangement) -> tuple[str, int]:
    rows: list[str] = []
    for terms in rows_of(expr, arrangement):
        written: list[str] = []
        for term in terms:
            part, _ = _latex(term, arrangement)
            minus = part.startswith("-")
            begins = not (rows or written)
            written.append(part if begins else f"- {part[1:]}" if minus else f"+ {part}")
        rows.append(" ".join(written))
    if len(rows) == 1:
        return rows[0], ADD
    content = r" \\ & \quad ".join(rows)
    return rf"\begin{{aligned}} & {content} \end{{aligned}}", ADD


def _mul(expr: Expr, arrangement: Arrangement) -> tuple[str, int]:
    """A product: coefficients and tensors above and below a bar, sums and differences after it."""
    fraction = arrangement.fraction(expr)
    broken = expr in dict(arrangement.rows) and all(fraction.rows)
    above, after = fraction.rows if broken else fraction.sides
    written = _factors(above, arrangement, bar=not fraction.below)
    if fraction.below:
        written = rf"\frac{{{written}}}{{{_factors(fraction.below, arrangement)}}}"
    behind = _factors(after, arrangement, bar=True)
    if broken:
        rows = rf"& {written} \\ & \quad \times {behind}"
        written = rf"\begin{{aligned}} {rows} \end{{aligned}}"
    elif after:
        written += rf" \, {behind}"
    return (f"-{written}", ADD) if fraction.negative else (written, MUL)


def _factors(factors: Sequence[Expr], arrangement: Arrangement, bar: bool = False) -> str:
    """Factors side by side. A sum swallows what follows it: only the last goes without parentheses.

    `bar` says that something may stand before them, so that a difference always needs some.
    """
    last = len(factors) - 1
    alone = ADD if not last and not bar else MUL
    levels = [alone if place == last else POW for place in range(len(factors))]
    parts = [_inside(f, arrangement, level) for f, level in zip(factors, levels, strict=True)]
    return r" \, ".join(parts) or "1"


def _power(expr: Pow, arrangement: Arrangement) -> tuple[str, int]:
    if expr.exp.is_Number and expr.exp.is_negative:
        return _mul(expr, arrangement)
    if expr.exp == sympy.S.Half:
        return rf"\sqrt{{{latex(expr.base, arrangement)}}}", ATOM
    base = _inside(expr.base, arrangement, ATOM)
    if isinstance(expr.base, Element | Symbol) and "^" in base:
        base = f"{{{base}}}"
    exponent = str(expr.exp) if isinstance(expr.exp, Rational) else latex(expr.exp, arrangement)
    return f"{base}^{{{exponent}}}", POW


def _binder(expr: Binder, arrangement: Arrangement) -> tuple[str, int]:
    letters = ",".join(latex(i) for i in letters_in_order(expr))
    # a difference under a sum needs parentheses; a sum itself binds like a product
    return rf"{_BINDERS[type(expr)]}_{{{letters}}} {_inside(expr.body, arrangement, MUL)}", MUL


def _where(expr: Where, arrangement: Arrangement) -> tuple[str, int]:
    condition, yes, no = (latex(arg, arrangement) for arg in expr.args)
    rows = rf"{yes} & \text{{if }} {condition} \\ {no} & \text{{otherwise}}"
    return rf"\begin{{cases}} {rows} \end{{cases}}", MUL


def _stop(expr: StopGradient, arrangement: Arrangement) -> tuple[str, int]:
    return rf"\operatorname{{stop}}\left({_list(expr.args, arrangement)}\right)", ATOM


def _delta(expr: KroneckerDelta, arrangement: Arrangement) -> tuple[str, int]:
    return rf"\delta_{{{_list(delta_sides(expr), arrangement)}}}", ATOM


def _relation(expr: Any, arrangement: Arrangement) -> tuple[str, int]:
    left, right = (latex(side, arrangement) for side in expr.args)
    return f"{left} {_RELATIONS[expr.rel_op]} {right}", MUL


def _logic(word: str) -> Callable[[Any, Arrangement], tuple[str, int]]:
    def write(expr: Any, arrangement: Arrangement) -> tuple[str, int]:
        parts = sorted(_inside(a, arrangement, MUL) for a in expr.args)
        return (f" {word} ".join(parts) if len(parts) > 1 else f"{word} {parts[0]}"), ADD

    return write


def _marked(expr: Marked, arrangement: Arrangement) -> tuple[str, int]:
    written, tightness = _latex(expr.part, arrangement)
    return rf"\textcolor{{{expr.mark}}}{{{written}}}", tightness


_WRITERS: Mapping[type[Any], Callable[[Any, Arrangement], tuple[str, int]]] = {
    Marked: _marked,
    Rational: _number,
    sympy.Float: _number,
    Symbol: _symbol,
    Element: _element,
    Add: _add,
    Mul: _mul,
    Pow: _power,
    Binder: _binder,
    Where: _where,
    StopGradient: _stop,
    KroneckerDelta: _delta,
    Relational: _relation,
    And: _logic(r"\land"),
    Or: _logic(r"\lor"),
    Not: _logic(r"\lnot"),
    BooleanAtom: lambda expr, _: (rf"\text{{{expr}}}", ATOM),
}
