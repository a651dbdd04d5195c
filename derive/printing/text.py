"""Plain text: expressions and lets in index notation."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import sympy
from sympy import Add, Basic, Expr, KroneckerDelta, Mul, Pow, Rational
from sympy.core.relational import Relational
from sympy.logic.boolalg import And, BooleanAtom, Not, Or

from derive.calculus.trace import Derivation
from derive.language.definition import FACTS, Let, Option, Tensor, dim_text
from derive.language.expressions import (
    Affine,
    ArgMax,
    Binder,
    Element,
    Product,
    StopGradient,
    Sum,
    Where,
)
from derive.language.functions import BY_CLASS, as_extreme
from derive.printing.arrange import (
    ADD,
    ATOM,
    MUL,
    POW,
    Arrangement,
    decimal,
    delta_sides,
    letters_in_order,
    number_right,
    place_terms,
)

_BREAKS = re.compile(r"( [-+] )|((?<![*/ ])[*/](?![*/]))|((?<=,) )")
"""Where a formula may be broken, the best first: before a sign, before a factor, after a comma."""

_BINDERS = {Sum: "sum", Product: "prod", ArgMax: "argmax"}
_NAMES = {sympy.Abs: "abs", sympy.ceiling: "ceil"}
_WITHIN = re.compile(r"(?<=[a-z])(?=[A-Z])")
"""Where a word begins within a class's name: a `LogAddExp` is written `log_add_exp`."""


def text(expr: Basic, arrangement: Arrangement | None = None) -> str:
    """An expression in index notation: `weight[c]*rstd[c]*(grad_y[n,c] - grad_bias[c]/N)`."""
    return _text(expr, arrangement or Arrangement())[0]


def lets_text(
    lets: Iterable[Let], arrangement: Arrangement | None = None, width: int | None = None
) -> list[str]:
    """Lines for lets, their equals signs one below the other; sums beyond `width` are broken."""
    lets = tuple(lets)
    heads = [text(let.tensor.element) for let in lets]
    return equations(zip(heads, (let.value for let in lets), strict=True), arrangement, width)


def equations(
    pairs: Iterable[tuple[str, Expr]],
    arrangement: Arrangement | None = None,
    width: int | None = None,
) -> list[str]:
    """Lines `head = value`, the equals signs one below the other; an empty head goes on."""
    pairs = tuple(pairs)
    margin = max((len(head) for head, _ in pairs), default=0)
    lines: list[str] = []
    for head, value in pairs:
        first, *rest = _rows(value, arrangement or Arrangement(), (width or 1 << 30) - margin - 3)
        lines += [f"{head:<{margin}} = {first}", *(f"{'':<{margin}}   {row}" for row in rest)]
    return lines


def _rows(expr: Expr, arrangement: Arrangement, width: int) -> list[str]:
    """An expression in rows of some width, broken only between the terms of a sum."""
    rows: list[str] = []
    for term in arrangement.terms(expr):
        part = text(term, arrangement)
        signed = part if not rows else f"- {part[1:]}" if part.startswith("-") else f"+ {part}"
        if rows and len(rows[-1]) + 1 + len(signed) <= width:
            rows[-1] += f" {signed}"
        else:
            rows.append(signed)
    return rows


def broken(line: str, width: int) -> list[str]:
    """A line of `equations` in pieces that fit, where it can be broken.

    Each ends inside of as few brackets as possible, and the next stands below what the innermost
    of them holds.
    """
    pieces: list[str] = []
    begins = re.search(r" \+?= ", line) or re.match(r" *(/\* )?", line)
    opened = [begins.end() if begins else 0]
    while len(line) > width:
        columns, places = opened, []
        for at in range(opened[-1] + 1, width + 1):
            if line[at - 1] in "([{":
                columns = [*columns, at]
            elif line[at - 1] in ")]}":
                columns = columns[:-1]
            if found := _BREAKS.match(line, at):
                places.append((len(columns), found.lastindex or 0, -at, columns))
        if not places:
            break
        _, _, at, opened = min(places)
        pieces.append(line[:-at].rstrip())
        line = " " * opened[-1] + line[-at:].lstrip()
    return [*pieces, line]


def arrangement_of(derivation: Derivation) -> Arrangement:
    """The order of writing in which tensors stand as they are declared."""
    definition = derivation.definition
    sizes = [axis.size.name for axis in definition.axes]
    names = [*sizes, *(option.name for option in definition.options), *derivation.tensors]
    return Arrangement({name: place for place, name in enumerate(names)})


def declaration(thing: Tensor | Option) -> str:
    """An input or option as it was declared: `W1[(t d),j]`, `eps = 1e-05 (positive)`."""
    if isinstance(thing, Option):
        head = thing.name if thing.default is None else f"{thing.name} = {thing.default}"
    else:
        head = thing.name + (f"[{','.join(map(dim_text, thing.dims))}]" if thing.dims else "")
    return head + known_of(thing)


def known_of(thing: Tensor | Option) -> str:
    """What is known of an input or option, in brackets after it: ` (positive)`, or nothing."""
    facts = [fact for fact in FACTS if getattr(thing, fact, False)]
    if isinstance(thing, Tensor) and thing.sums_to_one is not None:
        facts.append(f"sums to one over {thing.sums_to_one}")
    return f" ({', '.join(facts)})" if facts else ""


# --- expressions ---


def _text(expr: Any, arrangement: Arrangement) -> tuple[str, int]:
    """The text of an expression, and how tightly it binds."""
    for cls, writer in _WRITERS.items():
        if isinstance(expr, cls):
            return writer(expr, arrangement)
    if type(expr) in BY_CLASS or isinstance(expr, sympy.Function):
        name = _NAMES.get(type(expr)) or _WITHIN.sub("_", type(expr).__name__).lower()
        return f"{name}({_list(expr.args, arrangement)})", ATOM
    return str(expr), ATOM


def _inside(expr: Any, arrangement: Arrangement, level: int) -> str:
    """The text of a part, in parentheses where it binds less tightly than its place asks."""
    written, tightness = _text(expr, arrangement)
    return f"({written})" if tightness < level else written


def _list(exprs: Sequence[Any], arrangement: Arrangement) -> str:
    return ", ".join(text(e, arrangement) for e in exprs)


def _element(expr: Any, arrangement: Arrangement) -> tuple[str, int]:
    indices = ",".join(text(i, arrangement) for i in expr.indices)
    return f"{expr.tensor_name}[{indices}]", ATOM


def _affine(expr: Affine, arrangement: Arrangement) -> tuple[str, int]:
    """A computed index, closely written: `t+k`."""
    first, *rest = (text(term, arrangement) for term in place_terms(expr.place))
    return "".join([first, *(t if t.startswith("-") else f"+{t}" for t in rest)]), ADD


def _number(expr: Any, arrangement: Arrangement) -> tuple[str, int]:
    if expr.is_Float:
        return f"{float(expr)!r}", ATOM if expr >= 0 else ADD
    written = decimal(abs(expr)) if expr.is_Rational else None
    if written is not None:
        return (f"-{written}", ADD) if expr < 0 else (written, ATOM)
    return str(expr), ADD if expr < 0 else ATOM if expr.is_Integer else MUL


def _add(expr: Add, arrangement: Arrangement) -> tuple[str, int]:
    written = ""
    for term in arrangement.terms(expr):
        part = text(term, arrangement)
        if part.startswith("-"):
            written += f" - {part[1:]}" if written else part
        else:
            written += f" + {part}" if written else part
    return written, ADD


def _mul(expr: Expr, arrangement: Arrangement) -> tuple[str, int]:
    fraction = arrangement.fraction(expr)
    above = [_inside(f, arrangement, POW) for f in fraction.above]
    written = "*".join(above) or "1"
    if fraction.below:
        below = "*".join(_inside(f, arrangement, POW) for f in fraction.below)
        written += f"/({below})" if len(fraction.below) > 1 else f"/{below}"
    if fraction.negative:
        return f"-{written}", ADD
    return written, MUL if len(above) > 1 or fraction.below else POW


def _power(expr: Pow, arrangement: Arrangement) -> tuple[str, int]:
    if expr.exp.is_Number and expr.exp.is_negative:
        return _mul(expr, arrangement)
    if expr.exp == sympy.S.Half:
        return f"sqrt({text(expr.base, arrangement)})", ATOM
    base = _inside(expr.base, arrangement, ATOM)
    return f"{base}**{_inside(expr.exp, arrangement, ATOM)}", POW


def _binder(expr: Binder, arrangement: Arrangement) -> tuple[str, int]:
    letters = [i.name for i in letters_in_order(expr)]
    under = letters[0] if len(letters) == 1 else "{" + ",".join(letters) + "}"
    return f"{_BINDERS[type(expr)]}_{under}({text(expr.body, arrangement)})", ATOM


def _where(expr: Where, arrangement: Arrangement) -> tuple[str, int]:
    name, args = as_extreme(expr) or ("where", expr.args)
    return f"{name}({_list(args, arrangement)})", ATOM


def _stop(expr: StopGradient, arrangement: Arrangement) -> tuple[str, int]:
    return f"stop_gradient({_list(expr.args, arrangement)})", ATOM


def _delta(expr: KroneckerDelta, arrangement: Arrangement) -> tuple[str, int]:
    return f"delta({_list(delta_sides(expr), arrangement)})", ATOM


def _relation(expr: Any, arrangement: Arrangement) -> tuple[str, int]:
    expr = number_right(expr)
    left, right = (text(side, arrangement) for side in expr.args)
    return f"{left} {expr.rel_op} {right}", MUL


def _logic(word: str) -> Callable[[Any, Arrangement], tuple[str, int]]:
    def write(expr: Any, arrangement: Arrangement) -> tuple[str, int]:
        parts = sorted(_inside(a, arrangement, MUL) for a in expr.args)
        return (f" {word} ".join(parts) if len(parts) > 1 else f"{word} {parts[0]}"), ADD

    return write


_WRITERS: Mapping[type[Any], Callable[[Any, Arrangement], tuple[str, int]]] = {
    Rational: _number,
    sympy.Float: _number,
    Element: _element,
    Affine: _affine,
    Add: _add,
    Mul: _mul,
    Pow: _power,
    Binder: _binder,
    Where: _where,
    StopGradient: _stop,
    KroneckerDelta: _delta,
    Relational: _relation,
    And: _logic("and"),
    Or: _logic("or"),
    Not: _logic("not"),
    BooleanAtom: lambda expr, _: (str(expr), ATOM),
    type(sympy.E): lambda *_: ("exp(1)", ATOM),
}
