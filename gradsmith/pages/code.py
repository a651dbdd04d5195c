"""The emitted code beside the mathematics: which line computes which let, and which term of it."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from html import escape

from pygments.lexers.python import PythonLexer
from pygments.token import Comment, Keyword, Name, Number, Operator, String
from sympy import Add, Expr, Mul

from derive.language.definition import Let
from derive.language.expressions import names_in
from derive.printing.marks import Marked

FUNCTIONS = ("forward", "backward")

_CLASSES = {
    Keyword: "k",
    Comment: "c",
    String: "s",
    Number: "n",
    Name.Function: "f",
    Name.Builtin: "b",
    Operator.Word: "k",
}


@dataclass(frozen=True)
class Statement:
    """A statement of an emitted function: its lines as HTML, the name it makes, those it reads.

    `anchor` is unique on a page; `number` is that of its first line in the emitted file.
    """

    anchor: str
    number: int
    makes: str
    reads: frozenset[str]
    html: str

    @property
    def mark(self) -> str:
        """The classes of a term that the statement computes."""
        return f"term {self.anchor}"


@dataclass(frozen=True)
class Beside:
    """A let and the statements that compute it; either may be missing.

    The let's terms are marked with the anchors of the statements that compute them. `inlined`
    says that a let has no statement because others compute it on the way.
    """

    let: Let | None
    statements: tuple[Statement, ...]

    @property
    def inlined(self) -> bool:
        return self.let is not None and not self.statements


def side_by_side(
    source: str, function: str, lets: Sequence[Let], before: Sequence[Let] = ()
) -> list[Beside]:
    """The body of an emitted function in order, each let at the statements that compute it.

    `before` are lets of the forward function that these read. What it works out ahead is read
    through, and a part that is worked out there belongs to the line that does.
    """
    waiting = {let.name: let for let in lets}
    named = {let.name for let in (*before, *lets)}
    ahead = statements(source, function.replace("backward", "forward")) if before else []
    whole = list(_through_helpers([*ahead, *statements(source, function)], named))
    early = [s for s in whole[: len(ahead)] if s.makes not in named]
    groups = list(_grouped(whole[len(ahead) :]))
    within = _within([*before, *lets], [s for _, own in groups for s in own])
    rows: list[Beside] = []
    for makes, own in groups:
        let = waiting.pop(makes, None)
        lines = [*(s for s in early if any(s.makes in o.reads for o in own)), *own]
        rows.append(Beside(let and with_anchors(let, lines, within), tuple(own)))
    inlined = [Beside(let, ()) for let in waiting.values()]
    first = next((place for place, row in enumerate(rows) if row.let), len(rows))
    return [*rows[:first], *inlined, *rows[first:]]


def _through_helpers(found: Iterable[Statement], lets: set[str]) -> Iterator[Statement]:
    """Statements that also read what the names they read, which are no lets, are made of."""
    helpers: dict[str, frozenset[str]] = {}
    for statement in found:
        through = (helpers[name] for name in statement.reads if name in helpers)
        reads = statement.reads.union(*through)
        if statement.makes not in lets:
            helpers[statement.makes] = helpers.get(statement.makes, frozenset()) | reads
        yield replace(statement, reads=reads)


def _grouped(found: Iterable[Statement]) -> Iterator[tuple[str, list[Statement]]]:
    """Statements, those together that follow one another and make the same name."""
    group: list[Statement] = []
    for statement in found:
        if group and statement.makes != group[0].makes:
            yield group[0].makes, group
            group = []
        group.append(statement)
    if group:
        yield group[0].makes, group


Within = Mapping[str, frozenset[str]]
"""What is read for the lets that no statement makes or reads under their name."""


def _within(lets: Sequence[Let], found: Sequence[Statement]) -> Within:
    named = {s.makes for s in found}.union(*(s.reads for s in found))
    return {
        let.name: names_in(let.value) | {o.name for o in lets if o.value == let.tensor.element}
        for let in lets
        if let.name not in named
    }


def with_anchors(let: Let, own: Sequence[Statement], within: Within) -> Let:
    """A let whose parts are marked with the statement that brings them in."""
    if len(own) == 1:
        return replace(let, value=Marked(let.value, own[0].mark))
    return replace(let, value=_anchored(let.value, own, within))


def _anchored(value: Expr, own: Sequence[Statement], within: Within) -> Expr:
    """The terms of a sum, the factors of a product, each with the statement that it belongs to.

    A product of a sum is both: its terms come first, the factors in a later statement.
    """
    if isinstance(value, Add):
        return Add(*(_signed(term, _statement_of(term, own, within).mark) for term in value.args))
    if isinstance(value, Mul):
        sums = [f for f in value.args if isinstance(f, Add)]
        late = tuple(reversed(own))
        return Mul(
            *(
                _anchored(f, own, within)
                if sums == [f]
                else _signed(f, _statement_of(f, late, within).mark)
                for f in value.args
            )
        )
    return Marked(value, _statement_of(value, own, within).mark)


def _signed(part: Expr, mark: str) -> Expr:
    """A part with its mark; the sign, and the bar of a fraction, stay outside."""
    if part.is_Number:
        return part
    if part.is_Pow and part.args[1].is_Number and part.args[1].is_negative:
        return part.func(Marked(part.args[0], mark), part.args[1])
    number, _ = part.as_coeff_Mul()
    return Mul(-1, Marked(-part, mark)) if number.is_negative else Marked(part, mark)


def _statement_of(part: Expr, own: Sequence[Statement], within: Within) -> Statement:
    """The first statement that reads all of a part's names, or else most of them."""
    wanted = read_for(names_in(part), within)
    return max(own, key=lambda s: (len(wanted & s.reads), -own.index(s)))


def read_for(names: frozenset[str], within: Within) -> frozenset[str]:
    """What is read for some names: for one without a statement, what is read in its stead."""
    outer = {name: read for name, read in within.items() if name not in names}
    inner = [read_for(within[name], outer) for name in names if name in within]
    return (names - set(within)).union(*inner)


# --- reading what was emitted ---


def statements(source: str, function: str) -> list[Statement]:
    """The statements of an emitted function, its docstring and checks of arguments left out."""
    whole = _functions(source)[function]
    before = whole.lineno - 1
    lines = _highlighted(source.splitlines()[before : whole.end_lineno])
    return [
        Statement(
            anchor=f"{function}-{node.lineno}",
            number=node.lineno,
            makes=_makes(node),
            reads=frozenset(n.id for n in ast.walk(node) if isinstance(n, ast.Name)),
            html=_dedented(lines[node.lineno - 1 - before : (node.end_lineno or 0) - before]),
        )
        for node in whole.body
        if not _is_said_elsewhere(node)
    ]


@lru_cache(maxsize=2)
def _functions(source: str) -> dict[str, ast.FunctionDef]:
    return {node.name: node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}


def _is_said_elsewhere(node: ast.stmt) -> bool:
    """A docstring, or a check of what was passed in."""
    if isinstance(node, ast.If):
        return any(isinstance(inner, ast.Raise) for inner in node.body)
    if not isinstance(node, ast.Expr):
        return False
    is_check = isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Name)
    return is_check or isinstance(node.value, ast.Constant)


def _makes(node: ast.stmt) -> str:
    """The one name that a statement binds or changes."""
    if isinstance(node, ast.Assign):
        target: ast.expr = node.targets[0]
    elif isinstance(node, ast.AugAssign):
        target = node.target
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        function = node.value.func
        target = function.value if isinstance(function, ast.Attribute) else function
    else:
        return ""
    return target.id if isinstance(target, ast.Name) else ""


def _dedented(lines: Sequence[str]) -> str:
    return "\n".join(line.removeprefix("    ") for line in lines)


def _highlighted(lines: Sequence[str]) -> list[str]:
    """Lines of Python as HTML, with a class for each kind of word."""
    parts: list[str] = []
    for kind, text in PythonLexer(stripnl=False, ensurenl=False).get_tokens("\n".join(lines)):
        name = next((c for token, c in _CLASSES.items() if kind in token), "")
        for place, piece in enumerate(text.split("\n")):
            parts.append("\n" if place else "")
            if piece:
                written = escape(piece)
                parts.append(f'<span class="{name}">{written}</span>' if name else written)
    return "".join(parts).split("\n")
