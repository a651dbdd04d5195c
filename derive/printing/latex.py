r"""LaTeX: expressions and lets.

A cotangent is written with a bar, as is usual: $\bar{x}$ is the derivative of the loss with
respect to $x$. Names of Greek letters become those letters, `x_hat` a hat, other names upright.
"""

from __future__ import annotations

from collections.abc import Sequence

import sympy
from sympy import Basic, Expr
from sympy.logic.boolalg import And, BooleanAtom, Not, Or

from derive.language.definition import Let
from derive.language.expressions import ArgMax, Product, Sum
from derive.printing.arrange import Arrangement
from derive.printing.measure import fitted, width
from derive.printing.typeset import Notation

_ACCENTS = {"hat": r"\hat", "tilde": r"\tilde", "dot": r"\dot"}
_UPRIGHT = frozenset(
    {r"\exp", r"\log", r"\sin", r"\cos", r"\tan", r"\sinh", r"\cosh", r"\tanh"} | {r"\max", r"\min"}
)
"""Functions that LaTeX has a command for, called as SymPy calls them."""
_BINDERS = {Sum: r"\sum", Product: r"\prod", ArgMax: r"\operatorname*{arg\,max}"}
_BRACKETS = {
    sympy.Abs: (r"\left|", r"\right|"),
    sympy.floor: (r"\left\lfloor", r"\right\rfloor"),
    sympy.ceiling: (r"\left\lceil", r"\right\rceil"),
}
_FUNCTIONS = {
    sympy.asin: r"\arcsin",
    sympy.acos: r"\arccos",
    sympy.atan: r"\arctan",
    sympy.loggamma: r"\log\Gamma",
}
_RELATIONS = {"==": "=", "!=": r"\neq", "<": "<", "<=": r"\leq", ">": ">", ">=": r"\geq"}
_LOGIC = {And: r"\land", Or: r"\lor", Not: r"\lnot"}


class _Latex(Notation):
    minus, space, thin, times = "-", " ", r" \, ", r"\times "
    slash, comma, index_comma = "/", ", ", ","
    binders, brackets, functions = _BINDERS, _BRACKETS, _FUNCTIONS
    relations, logic = _RELATIONS, _LOGIC

    def word(self, name: str) -> str:
        return name if len(name) == 1 else rf"\mathrm{{{escaped(name)}}}"

    def letter(self, name: str) -> str:
        return name

    def greek(self, name: str) -> str:
        return r"\varepsilon" if name == "epsilon" else rf"\{name}"

    def digits(self, number: str) -> str:
        mantissa, _, exponent = number.partition("e")
        times = "" if mantissa == "1" else rf"{mantissa} \cdot "
        return rf"{times}10^{{{int(exponent)}}}" if exponent else mantissa

    def constant(self, expr: Basic) -> str:
        return rf"\text{{{expr}}}" if isinstance(expr, BooleanAtom) else sympy.latex(expr)

    def barred(self, inside: str) -> str:
        return rf"\overline{{{inside}}}"

    def accented(self, accent: str, inside: str) -> str:
        return rf"{_ACCENTS[accent]}{{{inside}}}"

    def numbered(self, base: str, number: str) -> str:
        return rf"{base}^{{({number})}}"

    def subscript(self, base: str, below: str) -> str:
        return f"{base}_{{{below}}}"

    def power(self, base: str, exponent: str, named: bool) -> str:
        base = f"{{{base}}}" if named and "^" in base else base
        return f"{base}^{{{exponent}}}"

    def root(self, inside: str) -> str:
        return rf"\sqrt{{{inside}}}"

    def fraction(self, above: str, below: str) -> str:
        return rf"\frac{{{above}}}{{{below}}}"

    def parenthesised(self, inside: str) -> str:
        return rf"\left({inside}\right)"

    def bracketed(self, opening: str, inside: str, closing: str) -> str:
        return f"{opening} {inside} {closing}"

    def applied(self, function: str, inside: str) -> str:
        command = function if function.startswith("\\") else f"\\{function}"
        known = command in _UPRIGHT or command == function
        name = command if known else rf"\operatorname{{{escaped(function)}}}"
        return name + self.parenthesised(inside)

    def bound(self, sign: str, letters: str, body: str) -> str:
        return f"{sign}_{{{letters}}} {body}"

    def cases(self, condition: str, yes: str, no: str) -> str:
        rows = rf"{yes} & \text{{if }} {condition} \\ {no} & \text{{otherwise}}"
        return rf"\begin{{cases}} {rows} \end{{cases}}"

    def infix(self, sign: str) -> str:
        return f" {sign} "

    def prefix(self, sign: str) -> str:
        return f"{sign} "

    def between(self, sign: str, term: str) -> str:
        return f"{sign} {term}"

    def rows(self, parts: Sequence[str]) -> str:
        content = r" \\ & \quad ".join(parts)
        return rf"\begin{{aligned}} & {content} \end{{aligned}}"

    def marked(self, mark: str, inside: str) -> str:
        return rf"\textcolor{{{mark}}}{{{inside}}}"


_LATEX = _Latex()


def latex(expr: Basic, arrangement: Arrangement | None = None) -> str:
    """An expression as a LaTeX formula, without dollar signs."""
    return _LATEX.formula(expr, arrangement)


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
        part = latex(term, fit)
        minus = part.startswith("-")
        signed = part if not rows else f"- {part[1:]}" if minus else f"+ {part}"
        filled += width(term, fit) + 3
        if rows and filled <= most:
            rows[-1] += f" {signed}"
        else:
            rows.append(signed)
            filled = width(term, fit) + 4
    return " \\\\\n&\\quad ".join(rows)


def escaped(words: str) -> str:
    """Plain words with what LaTeX reserves escaped."""
    table = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(table.get(c, rf"\{c}" if c in "&%$#_{}" else c) for c in words)
