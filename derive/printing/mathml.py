"""MathML: expressions and lets as a browser sets them, marks and links included.

The conventions are those of `latex`: a bar for a cotangent, Greek letters by their names,
`x_hat` a hat, other names upright. A `Marked` part is an `mrow` with the mark as its class.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from html import escape

import sympy
from sympy import Basic, Expr
from sympy.logic.boolalg import And, BooleanAtom, Not, Or

from derive.language.expressions import ArgMax, Product, Sum
from derive.printing.arrange import Arrangement
from derive.printing.typeset import Notation

_ACCENTS = {"hat": "^", "tilde": "~", "dot": "\u02d9"}
_CONSTANTS = {sympy.pi: "\u03c0", sympy.E: "e", sympy.EulerGamma: "\u03b3"}
_SIGNS = {"+": "+", "-": "\u2212"}
_BINDERS = {Sum: "\u2211", Product: "\u220f", ArgMax: "arg max"}
_BRACKETS = {
    sympy.Abs: ("|", "|"),
    sympy.floor: ("\u230a", "\u230b"),
    sympy.ceiling: ("\u2308", "\u2309"),
}
_FUNCTIONS = {
    sympy.asin: "arcsin",
    sympy.acos: "arccos",
    sympy.atan: "arctan",
    sympy.loggamma: "log \u0393",
}
_RELATIONS = {"==": "=", "!=": "\u2260", "<": "<", "<=": "\u2264", ">": ">", ">=": "\u2265"}
_LOGIC = {And: "\u2227", Or: "\u2228", Not: "\u00ac"}


class _MathML(Notation):
    minus, space = '<mo form="prefix">\u2212</mo>', ""
    thin, times = '<mspace width="0.167em"/>', '<mo form="infix">\u00d7</mo>'
    slash, comma, index_comma = "<mo>/</mo>", "<mo>,</mo>", '<mo separator="true">,</mo>'
    binders, brackets, functions = _BINDERS, _BRACKETS, _FUNCTIONS
    relations, logic = _RELATIONS, _LOGIC

    def word(self, name: str) -> str:
        return f"<mi>{escape(name)}</mi>"

    def letter(self, name: str) -> str:
        return self.word(name)

    def greek(self, name: str) -> str:
        size = "CAPITAL" if name[0].isupper() else "SMALL"
        name = f"GREEK {size} LETTER {name.upper().replace('LAMBDA', 'LAMDA')}"
        return f"<mi>{unicodedata.lookup(name)}</mi>"

    def digits(self, number: str) -> str:
        mantissa, _, exponent = number.partition("e")
        if not exponent:
            return f"<mn>{mantissa}</mn>"
        power = self.power(
            "<mn>10</mn>", f"<mn>{int(exponent)}</mn>".replace("-", "\u2212"), named=False
        )
        if mantissa == "1":
            return power
        return f"<mrow><mn>{mantissa}</mn><mo>\u00b7</mo>{power}</mrow>"

    def constant(self, expr: Basic) -> str:
        if isinstance(expr, BooleanAtom):
            return f"<mtext>{expr}</mtext>"
        return self.word(_CONSTANTS.get(expr, str(expr)))

    def barred(self, inside: str) -> str:
        return f'<mrow class="bar">{inside}</mrow>'

    def accented(self, accent: str, inside: str) -> str:
        over = f'<mo stretchy="false">{_ACCENTS[accent]}</mo>'
        return f'<mover accent="true">{inside}{over}</mover>'

    def numbered(self, base: str, number: str) -> str:
        return f"<msup>{base}<mrow><mo>(</mo><mn>{number}</mn><mo>)</mo></mrow></msup>"

    def subscript(self, base: str, below: str) -> str:
        return f"<msub>{base}<mrow>{below}</mrow></msub>"

    def power(self, base: str, exponent: str, named: bool) -> str:
        return f"<msup><mrow>{base}</mrow><mrow>{exponent}</mrow></msup>"

    def root(self, inside: str) -> str:
        return f"<msqrt>{inside}</msqrt>"

    def fraction(self, above: str, below: str) -> str:
        return f"<mfrac><mrow>{above}</mrow><mrow>{below}</mrow></mfrac>"

    def parenthesised(self, inside: str) -> str:
        return self.bracketed("(", inside, ")")

    def bracketed(self, opening: str, inside: str, closing: str) -> str:
        return f"<mrow><mo>{opening}</mo>{inside}<mo>{closing}</mo></mrow>"

    def applied(self, function: str, inside: str) -> str:
        return f"<mrow>{self.word(function)}<mo>\u2061</mo>{self.parenthesised(inside)}</mrow>"

    def bound(self, sign: str, letters: str, body: str) -> str:
        return f"<mrow><munder><mo>{sign}</mo><mrow>{letters}</mrow></munder>{body}</mrow>"

    def cases(self, condition: str, yes: str, no: str) -> str:
        cells = [(yes, f"<mtext>if\u00a0</mtext>{condition}"), (no, "<mtext>otherwise</mtext>")]
        table = "".join(f"<mtr><mtd>{a}</mtd><mtd>{b}</mtd></mtr>" for a, b in cells)
        opening = '<mo fence="true" form="prefix" stretchy="true">{</mo>'
        return f'<mrow>{opening}<mtable class="cases">{table}</mtable></mrow>'

    def infix(self, sign: str) -> str:
        return f"<mo>{escape(sign)}</mo>"

    def prefix(self, sign: str) -> str:
        return self.infix(sign)

    def between(self, sign: str, term: str) -> str:
        return f'<mo form="infix">{_SIGNS[sign]}</mo>{term}'

    def rows(self, parts: Sequence[str]) -> str:
        rows = "".join(f"<mtr><mtd>{part}</mtd></mtr>" for part in parts)
        return f'<mtable class="rows" displaystyle="true">{rows}</mtable>'

    def marked(self, mark: str, inside: str) -> str:
        return f'<mrow class="{escape(mark)}">{inside}</mrow>'


_MATHML = _MathML()


def mathml(expr: Basic, arrangement: Arrangement | None = None) -> str:
    """An expression as the inside of a `math` element."""
    return _MATHML.formula(expr, arrangement)


def inline(content: str) -> str:
    """A formula in a line of words."""
    return f"<math>{content}</math>"


def equation(left: Expr, right: Expr, arrangement: Arrangement | None = None) -> str:
    """`left = right` in a line of words."""
    return inline(f"{mathml(left, arrangement)}<mo>=</mo>{mathml(right, arrangement)}")


def terms(expr: Expr, arrangement: Arrangement | None = None) -> list[str]:
    """The terms of a sum, each with the sign before it."""
    arrangement = arrangement or Arrangement()
    return _MATHML.signed(arrangement.terms(expr), arrangement)


def name_mathml(name: str) -> str:
    """A tensor's or option's name."""
    return _MATHML.name(name)
