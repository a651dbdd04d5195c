"""The text form of the language: from text to a syntax tree, with its place in the text.

    batch_norm: Batch normalisation over n.
    inputs   x[n,c], weight[c], bias[c]
    options  eps = 1e-05 (positive)

    mean[c] = mean_n(x[n,c])
    ...

The grammar is `grammar.lark`. Nothing is looked up here and nothing is evaluated; what the names
mean is for `derive.notation.reading` to say.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from derive.language.checks import NO_RECURRENCES
from derive.language.definition import DefinitionError

Node = Tree[Token] | Token

LONGEST = 20_000
"""How many characters a text may have."""

DEEPEST = 40
"""How deep its brackets and signs may be nested."""


@dataclass(frozen=True)
class Place:
    """A stretch of a text: from `start` to `end`, offsets in characters."""

    start: int
    end: int


class TextError(DefinitionError):
    """A mistake in a text. `line` and `column` count from one; `length` is that of what is marked.

    The message shows the line, if anything is on it, and a caret below the mistake.
    """

    def __init__(self, problem: str, text: str, place: Place) -> None:
        start = min(place.start, len(text))
        begins = text.rfind("\n", 0, start) + 1
        shown = text[begins:].split("\n", 1)[0].rstrip()
        self.problem = problem
        self.line = text.count("\n", 0, start) + 1
        self.column = start - begins + 1
        self.length = max(1, min(place.end, begins + len(shown)) - start)
        margin = "".join("\t" if c == "\t" else " " for c in shown[: self.column - 1])
        caret = f"{margin:<{self.column - 1}}^{'~' * (self.length - 1)}"
        excerpt = f"\n  {shown}\n  {caret}" if shown else ""
        super().__init__(f"line {self.line}, column {self.column}: {problem}{excerpt}")


def parse(text: str) -> Tree[Token]:
    """The syntax tree of a text: a `start` with a child for each line.

    Raises:
        TextError: the text is too long or too deep, or is not in the language.
    """
    if len(text) > LONGEST:
        problem = f"the text has {len(text)} characters; at most {LONGEST} are read"
        raise TextError(problem, text, Place(LONGEST, LONGEST + 1))
    try:
        tree = _parser().parse(text)
    except UnexpectedInput as error:
        raise _as_text_error(error, text) from None
    _check_depth(tree, text)
    return tree


def place_of(node: Node) -> Place:
    """Where a node of a syntax tree stands."""
    if isinstance(node, Token):
        start = node.start_pos or 0
        return Place(start, start + len(node))
    if node.meta.empty:
        return Place(0, 0)
    return Place(node.meta.start_pos, node.meta.end_pos)


@cache
def _parser() -> Lark:
    grammar = Path(__file__).with_name("grammar.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", propagate_positions=True, maybe_placeholders=True)


def _check_depth(tree: Tree[Token], text: str) -> None:
    """Refuse what is nested so deeply that walking it recursively could exhaust the stack."""
    level: list[Tree[Token]] = [tree]
    for _ in range(DEEPEST + 2):
        level = [c for node in level for c in node.children if isinstance(c, Tree)]
        if not level:
            return
    problem = f"this is nested more than {DEEPEST} deep; name a part of it by a let of its own"
    raise TextError(problem, text, place_of(level[0]))


_LOOSE = ("sum_", "mean_", "prod_", "max_", "min_", "argmax_")


def _as_text_error(error: UnexpectedInput, text: str) -> TextError:
    start = error.pos_in_stream if error.pos_in_stream is not None else len(text)
    if isinstance(error, UnexpectedToken):
        if error.token.type == "$END":
            return TextError("the text ends too soon", text, Place(len(text), len(text) + 1))
        before = text[:start].split()
        if before and before[-1].startswith(_LOOSE):
            problem = f"{before[-1]} needs its parentheses at once, as in {before[-1]}(x[n])"
            return TextError(problem, text, Place(start, start + len(error.token)))
        if error.token.type == "_END":
            return TextError("the line ends too soon", text, Place(start, start + 1))
        return _misplaced(str(error.token), error, text, start)
    if isinstance(error, UnexpectedCharacters):
        return _misplaced(text[start : start + 1], error, text, start)
    return TextError("the text ends too soon", text, Place(start, start + 1))


_MEANT = {
    "|": "write abs(x)",
    "@": "write the sum of a matrix product, as in sum_k(x[n,k] * w[k,m])",
    "²": "write **2",
    "if": "write where(x > 0, x, 0)",
    "&": "write and",
    "Σ": "write sum_n(x[n])",
    "∑": "write sum_n(x[n])",
}
"""What is written otherwise here, by the first character or word that tells it."""


def _misplaced(
    found: str, error: UnexpectedToken | UnexpectedCharacters, text: str, start: int
) -> TextError:
    """What does not belong where it stands; what was meant, if that is known."""
    hint = _MEANT.get(found) or f"expected {_wanted(error)}"
    if found.isdigit() and re.match(r"[\d.]+[A-Za-z]", text[start:]):
        hint = "a product needs its sign, as in 2*x[n]"
    if found in ("+", "-") and "RSQB" in _allowed(error):
        hint = f"a letter stands alone here, and {NO_RECURRENCES}"
    if isinstance(error, UnexpectedToken) and error.token.type == "RELATION":
        hint = "write two comparisons, as in 0 < x[n] and x[n] < 1"
    problem = f"{found!r} does not belong here; {hint}"
    return TextError(problem, text, Place(start, start + len(found)))


_IN_WORDS = {
    "NAME": "a name",
    "NUMBER": "a number",
    "SIGN": "+ or -",
    "SCALE": "* or /",
    "_POWER": "**",
    "_END": "the end of the line",
    "LSQB": "[",
    "RSQB": "]",
    "LPAR": "(",
    "RPAR": ")",
    "EQUAL": "=",
    "COMMA": "a comma",
    "OVER": "over",
    "RELATION": "a comparison",
}


def _wanted(error: UnexpectedToken | UnexpectedCharacters) -> str:
    """What could stand there, in words; what else could besides goes without saying."""
    allowed = _allowed(error)
    names = [words for name, words in _IN_WORDS.items() if name in allowed]
    if not names:
        return "a definition's next line"
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _allowed(error: UnexpectedToken | UnexpectedCharacters) -> Collection[str]:
    """The kinds of tokens that could stand there."""
    return (error.accepts if isinstance(error, UnexpectedToken) else error.allowed) or ()
