"""MathML: expressions and lets as a browser sets them, marks and links included.

The conventions are those of `latex`: a bar for a cotangent, Greek letters by their names,
`x_hat` a hat, other names upright. A `Marked` part is an `mrow` with the mark as its class.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import Any

import sympy
from sympy import Add, Basic, Expr, KroneckerDelta, Mul, Pow, Rational, Symbol
from sympy.core.relational import Relational
from sympy.logic.boolalg import And, BooleanAtom, Not, Or

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
from derive.printing.measure import rows_of

# How tightly what stands at the top of a formula binds.
ADD, MUL, POW, ATOM = range(4)

Written = tuple[str, int]

_ACCENTS = {"hat": "^", "bar": "\u203e", "tilde": "~", "dot": "\u02d9"}
_BINDERS = {Sum: "<mo>\u2211</mo>", Product: "<mo>\u220f</mo>", ArgMax: "<mo>arg max</mo>"}
_FUNCTIONS = {
    sympy.asin: "arcsin",
    sympy.acos: "arccos",
    sympy.atan: "arctan",
    sympy.loggamma: "log \u0393",
}
_BRACKETS = {
    sympy.Abs: ("|", "|"),
    sympy.floor: ("\u230a", "\u230b"),
    sympy.ceiling: ("\u2308", "\u2309"),
}
_RELATIONS = {"==": "=", "!=": "\u2260", "<": "<", "<=": "\u2264", ">": ">", ">=": "\u2265"}
_MINUS, _THIN = '<mo form="prefix">\u2212</mo>', '<mspace width="0.167em"/>'
_BETWEEN = '<mo form="infix">{}</mo>'
_TIMES = '<mo form="infix">\u00d7</mo>'


def mathml(expr: Basic, arrangement: Arrangement | None = None) -> str:
    """An expression as the inside of a `math` element."""
    return _mathml(expr, arrangement or Arrangement())[0]


def inline(content: str) -> str:
    """A formula in a line of words."""
    return f"<math>{content}</math>"


def equation(left: Expr, right: Expr, arrangement: Arrangement | None = None) -> str:
    """`left = right` in a line of words."""
    return inline(f"{mathml(left, arrangement)}<mo>=</mo>{mathml(right, arrangement)}")


def terms(expr: Expr, arrangement: Arrangement | None = None) -> list[str]:
    """The terms of a sum, each with the sign before it."""
    return _signed_terms(expr, arrangement or Arrangement())


def name_mathml(name: str) -> str:
    """A tensor's or option's name."""
    if name.startswith("grad_"):
        inside = name_mathml(name.removeprefix("grad_"))
        return f'<mrow class="bar">{inside}</mrow>'
    if name.startswith("first_grad_"):
        return _numbered(name_mathml(name.removeprefix("first_")), "1")
    stem, _, accent = name.rpartition("_")
    if accent in _ACCENTS and stem:
        over = f'<mo stretchy="false">{_ACCENTS[accent]}</mo>'
        return f'<mover accent="true">{name_mathml(stem)}{over}</mover>'
    if name in GREEK or name in ("eps", "epsilon"):
        return f"<mi>{_greek('epsilon' if name == 'eps' else name)}</mi>"
    numbered = re.fullmatch(r"([A-Za-z])_?(\d+)", name)
    if numbered:
        return _numbered(f"<mi>{numbered[1]}</mi>", numbered[2])
    return f"<mi>{escape(name)}</mi>"


def _numbered(base: str, number: str) -> str:
    return f"<msup>{base}<mrow><mo>(</mo><mn>{number}</mn><mo>)</mo></mrow></msup>"


def _greek(name: str) -> str:
    size = "CAPITAL" if name[0].isupper() else "SMALL"
    return unicodedata.lookup(f"GREEK {size} LETTER {name.upper().replace('LAMBDA', 'LAMDA')}")


# --- expressions ---


def _mathml(expr: Any, arrangement: Arrangement) -> Written:
    for cls, writer in _WRITERS.items():
        if isinstance(expr, cls):
            return writer(expr, arrangement)
    if type(expr) in _BRACKETS:
        opening, closing = _BRACKETS[type(expr)]
        inside = _list(expr.args, arrangement)
        return f"<mrow><mo>{opening}</mo>{inside}<mo>{closing}</mo></mrow>", ATOM
    if isinstance(expr, sympy.Function):
        name = _FUNCTIONS.get(type(expr), type(expr).__name__)
        applied = _parenthesised(_list(expr.args, arrangement))
        return f"<mrow><mi>{escape(name)}</mi><mo>\u2061</mo>{applied}</mrow>", ATOM
    return f"<mi>{escape(_CONSTANTS.get(expr, str(expr)))}</mi>", ATOM


_CONSTANTS = {sympy.pi: "\u03c0", sympy.E: "e", sympy.EulerGamma: "\u03b3"}


def _parenthesised(inside: str) -> str:
    return f"<mrow><mo>(</mo>{inside}<mo>)</mo></mrow>"


def _inside(expr: Any, arrangement: Arrangement, level: int) -> str:
    written, tightness = _mathml(expr, arrangement)
    return _parenthesised(written) if tightness < level else written


def _list(exprs: Iterable[Any], arrangement: Arrangement) -> str:
    return "<mo>,</mo>".join(mathml(e, arrangement) for e in exprs)


def _marked(expr: Marked, arrangement: Arrangement) -> Written:
    written, tightness = _mathml(expr.part, arrangement)
    return f'<mrow class="{escape(expr.mark)}">{written}</mrow>', tightness


def _symbol(expr: Any, arrangement: Arrangement) -> Written:
    if isinstance(expr, Index):
        stem, _, number = expr.name.partition("_")
        letter = f"<mi>{escape(stem)}</mi>"
        below = f"<mn>{escape(number)}</mn>"
        return (f"<msub>{letter}{below}</msub>" if number else letter), ATOM
    return name_mathml(expr.name), ATOM


def _element(expr: Any, arrangement: Arrangement) -> Written:
    name = name_mathml(expr.tensor_name)
    indices = '<mo separator="true">,</mo>'.join(mathml(i, arrangement) for i in expr.indices)
    return f"<msub>{name}<mrow>{indices}</mrow></msub>", ATOM


def _number(expr: Any, arrangement: Arrangement) -> Written:
    size = abs(expr)
    if expr.is_Float:
        written = f"<mn>{float(size):.15g}</mn>"
    elif decimal(size) or size.is_Integer:
        written = f"<mn>{decimal(size) or size}</mn>"
    else:
        written = f"<mfrac><mn>{size.p}</mn><mn>{size.q}</mn></mfrac>"
    return (f"{_MINUS}{written}", ADD) if expr < 0 else (written, ATOM)


def _signed_terms(expr: Expr, arrangement: Arrangement) -> list[str]:
    parts: list[str] = []
    for term in arrangement.terms(expr):
        written, _ = _mathml(term, arrangement)
        if parts and written.startswith(_MINUS):
            written = _BETWEEN.format("\u2212") + written.removeprefix(_MINUS)
        elif parts:
            written = _BETWEEN.format("+") + written
        parts.append(written)
    return parts


def _add(expr: Add, arrangement: Arrangement) -> Written:
    terms = iter(_signed_terms(expr, arrangement))
    rows = ["".join(next(terms) for _ in row) for row in rows_of(expr, arrangement)]
    return (_rows(rows) if len(rows) > 1 else rows[0]), ADD


def _rows(parts: Sequence[str]) -> str:
    """Parts one below another."""
    rows = "".join(f"<mtr><mtd>{part}</mtd></mtr>" for part in parts)
    return f'<mtable class="rows" displaystyle="true">{rows}</mtable>'


def _mul(expr: Expr, arrangement: Arrangement) -> Written:
    """A product: coefficients and tensors above and below a bar, sums and differences after it."""
    fraction = arrangement.fraction(expr)
    broken = expr in dict(arrangement.rows) and all(fraction.rows)
    above, after = fraction.rows if broken else fraction.sides
    written = _factors(above, arrangement, bar=not fraction.below)
    if fraction.below:
        below = _factors(fraction.below, arrangement)
        written = f"<mfrac><mrow>{written}</mrow><mrow>{below}</mrow></mfrac>"
    behind = _factors(after, arrangement, bar=True)
    if broken:
        written = _rows([written, f"{_TIMES}{behind}"])
    elif after:
        written += f"{_THIN}{behind}"
    return (f"{_MINUS}{written}", ADD) if fraction.negative else (written, MUL)


def _factors(factors: Sequence[Expr], arrangement: Arrangement, bar: bool = False) -> str:
    """Factors side by side. A sum swallows what follows it: only the last goes without parentheses.

    `bar` says that something may stand before them, so that a difference always needs some.
    """
    last = len(factors) - 1
    alone = ADD if not last and not bar else MUL
    levels = [alone if place == last else POW for place in range(len(factors))]
    parts = [_inside(f, arrangement, level) for f, level in zip(factors, levels, strict=True)]
    return _THIN.join(parts) or "<mn>1</mn>"


def _power(expr: Pow, arrangement: Arrangement) -> Written:
    if expr.exp.is_Number and expr.exp.is_negative:
        return _mul(expr, arrangement)
    if expr.exp == sympy.S.Half:
        return f"<msqrt>{mathml(expr.base, arrangement)}</msqrt>", ATOM
    base = _inside(expr.base, arrangement, ATOM)
    if isinstance(expr.exp, Rational) and not expr.exp.is_Integer:
        exponent = f"<mn>{expr.exp.p}</mn><mo>/</mo><mn>{expr.exp.q}</mn>"
    else:
        exponent = mathml(expr.exp, arrangement)
    return f"<msup><mrow>{base}</mrow><mrow>{exponent}</mrow></msup>", POW


def _binder(expr: Binder, arrangement: Arrangement) -> Written:
    letters = "<mo>,</mo>".join(mathml(i) for i in letters_in_order(expr))
    body = _inside(expr.body, arrangement, MUL)
    sign = f"<munder>{_BINDERS[type(expr)]}<mrow>{letters}</mrow></munder>"
    return f"<mrow>{sign}{body}</mrow>", MUL


def _where(expr: Where, arrangement: Arrangement) -> Written:
    condition, yes, no = (mathml(arg, arrangement) for arg in expr.args)
    cells = [(yes, f"<mtext>if\u00a0</mtext>{condition}"), (no, "<mtext>otherwise</mtext>")]
    table = "".join(f"<mtr><mtd>{a}</mtd><mtd>{b}</mtd></mtr>" for a, b in cells)
    opening = '<mo fence="true" form="prefix" stretchy="true">{</mo>'
    return f'<mrow>{opening}<mtable class="cases">{table}</mtable></mrow>', MUL


def _stop(expr: StopGradient, arrangement: Arrangement) -> Written:
    inside = _parenthesised(_list(expr.args, arrangement))
    return f"<mrow><mi>stop</mi><mo>\u2061</mo>{inside}</mrow>", ATOM


def _delta(expr: KroneckerDelta, arrangement: Arrangement) -> Written:
    sides = _list(delta_sides(expr), arrangement)
    return f"<msub><mi>\u03b4</mi><mrow>{sides}</mrow></msub>", ATOM


def _relation(expr: Any, arrangement: Arrangement) -> Written:
    left, right = (mathml(side, arrangement) for side in expr.args)
    return f"{left}<mo>{escape(_RELATIONS[expr.rel_op])}</mo>{right}", MUL


def _logic(word: str) -> Callable[[Any, Arrangement], Written]:
    def write(expr: Any, arrangement: Arrangement) -> Written:
        parts = sorted(_inside(a, arrangement, MUL) for a in expr.args)
        sign = f"<mo>{word}</mo>"
        return (sign.join(parts) if len(parts) > 1 else f"{sign}{parts[0]}"), ADD

    return write


_WRITERS: Mapping[type[Any], Callable[[Any, Arrangement], Written]] = {
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
    And: _logic("\u2227"),
    Or: _logic("\u2228"),
    Not: _logic("\u00ac"),
    BooleanAtom: lambda expr, _: (f"<mtext>{expr}</mtext>", ATOM),
}
