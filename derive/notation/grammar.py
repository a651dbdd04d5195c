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
from collections.abc import Collection, Iterator
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


def parse(text: str, start: int = 0, end: int | None = None) -> Tree[Token]:
    """The syntax tree of a text, or of the lines of it between two offsets: a `start` with a child
    for each line.

    Raises:
        TextError: the text is too long or too deep, or is not in the language.
    """
    if len(text) > LONGEST:
        problem = f"the text has {len(text)} characters; at most {LONGEST} are read"
        raise TextError(problem, text, Place(LONGEST, LONGEST + 1))
    before = re.sub(r"[^\n]", " ", text[:start])  # what is left keeps its place
    try:
        tree = _parser().parse(before + text[start:end])
    except UnexpectedInput as error:
        raise _as_text_error(error, text[:end]) from None
    _check_depth(tree, text)
    return tree


_HEADER = re.compile(r"^[ \t]*([A-Za-z]\w*)[ \t]*:", re.MULTILINE)


def pieces(text: str) -> Iterator[tuple[str, int, int]]:
    """What stands under each header: its name, and the offsets between which it stands. What
    stands before the first has no name."""
    headers = [(m[1], m.start()) for m in _HEADER.finditer(text)]
    begins = [("", 0), *headers] if not headers or text[: headers[0][1]].strip() else headers
    ends = [start for _, start in begins[1:]]
    for (name, start), end in zip(begins, [*ends, len(text)], strict=True):
        yield name, start, end


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


_UNDER = re.compile(r"\b(sum|mean|prod|max|min|argmax)_(\w*|\{[\w, ]*\})\s*\Z")
"""A sum or its like with its letters, up to where it should go on."""


def _as_text_error(error: UnexpectedInput, text: str) -> TextError:
    start = error.pos_in_stream if error.pos_in_stream is not None else len(text)
    if isinstance(error, UnexpectedToken):
        if error.token.type == "$END":
            return _unfinished("text", error, text, len(text))
        if error.token.type == "_END":
            return _unfinished("line", error, text, start)
        return _misplaced(str(error.token), error, text, start)
    if isinstance(error, UnexpectedCharacters):
        return _misplaced(text[start : start + 1], error, text, start)
    return _unfinished("text", error, text, start)


def _unfinished(what: str, error: UnexpectedInput, text: str, start: int) -> TextError:
    """A text or a line that ends where something is still to come."""
    hint = ""
    if isinstance(error, UnexpectedToken):
        opened = {"RPAR", "RSQB"} & {*_allowed(error)}
        hint = "; a bracket is not closed" if opened else f"; expected {_wanted(error)}"
    return TextError(f"the {what} ends too soon{hint}", text, Place(start, start + 1))


_MEANT = {
    "|": "write abs(x), or the word or",
    "@": "write the sum of a matrix product, as in sum_k(x[n,k] * w[k,m])",
    "²": "write **2",
    "³": "write **3",
    "if": "write where(x > 0, x, 0)",
    "?": "write where(x > 0, x, 0)",
    "&": "write and",
    "Σ": "write sum_n(x[n])",
    "∑": "write sum_n(x[n])",
    "Π": "write prod_n(x[n])",
    "∏": "write prod_n(x[n])",
    "√": "write sqrt(x)",
    "∞": "write inf",
    "π": "write pi",
    "%": "write x - y*floor(x/y)",
    **dict.fromkeys("∇∂", "gradients are derived: write what they are of"),
    **dict.fromkeys("\N{MINUS SIGN}\N{EN DASH}\N{EM DASH}", "write -"),
    **dict.fromkeys("·⋅∙•\N{MULTIPLICATION SIGN}\N{ASTERISK OPERATOR}", "write *"),
    **dict.fromkeys("÷\N{DIVISION SLASH}", "write /"),
    "≤": "write <=",
    "≥": "write >=",
    "≠": "write !=",
    "\N{NO-BREAK SPACE}": "write a plain space",
    "\\": "LaTeX is not read: write sum_n(x[n]), exp(x), a/b",
    ".": "nothing is called by a dot: write sum_n(x[n]), exp(x)",
    "{": "indices stand in square brackets, as in x[n,k]",
}
"""What is written otherwise here, by the first character or word that tells it."""


def _misplaced(
    found: str, error: UnexpectedToken | UnexpectedCharacters, text: str, start: int
) -> TextError:
    """What does not belong where it stands; what was meant, if that is known."""
    hint = _meant(found, error, text, start) or f"expected {_wanted(error)}"
    problem = f"{found!r} does not belong here; {hint}"
    return TextError(problem, text, Place(start, start + len(found)))


def _meant(
    found: str, error: UnexpectedToken | UnexpectedCharacters, text: str, start: int
) -> str | None:
    """What should be written instead, or nothing."""
    allowed, before = _allowed(error), text[:start]
    under = _UNDER.search(before)
    if found == "{" and under:
        kind = under[1]
        return (
            f"letters alone stand there, as in {kind}_{{n,k}}(x[n,k]), and all their places "
            f"count; where(...) leaves some out, as in {kind}_k(where(k < n, x[k], 0))"
        )
    if found == "," and under:
        return f"several letters stand in braces, as in {under[1]}_{{n,k}}(x[n,k])"
    if under and under[2]:
        return f"{under[0].rstrip()} needs its parentheses at once, as in {under[1]}_n(x[n])"
    if found in _MEANT:
        return _MEANT[found]
    if re.match(r"[\d.]+_\d", text[start:]):
        return "digits stand together, as in 1000"
    if found.isdigit() and re.match(r"[\d.]+[A-Za-z]", text[start:]):
        return _PRODUCT
    if found in ("+", "-") and "RSQB" in allowed:
        return f"a letter stands alone here, and {NO_RECURRENCES}"
    if (found == "=" and before.endswith("=")) or (found == ":" and "EQUAL" in allowed):
        return "a line that makes something has one ="
    if found == ":":
        return "there are no slices: a letter runs over a whole axis, as in x[n,k]"
    if found == "/" and before.endswith("/"):
        return "write floor(x/y); a comment begins with #"
    if "EQUAL" in allowed and re.match(r"[\w -]*:", text[start:]):
        return "a header is one name and a colon, as in batch_norm: What it computes."
    if found == "(" and "EQUAL" in allowed:
        return _MEANT["{"]
    if not found.isascii() and found.isalpha():
        return "a name is of plain letters, digits and _, as in alpha"
    compared = isinstance(error, UnexpectedToken) and error.token.type == "RELATION"
    if compared and "NAME" not in allowed:
        return "write two comparisons, as in 0 < x[n] and x[n] < 1"
    if found in (")", "]") and "_END" in allowed:
        return "there is nothing that it closes"
    if found == "=" and "RELATION" in allowed:
        return "two numbers are compared by ==, and each let has a line of its own"
    if "SCALE" in allowed:
        if found == "[":
            return "a choice is written where(x > 0, 1, 0)"
        if re.match(r"[A-Za-z(\d]", found):
            return _PRODUCT
    return None


_PRODUCT = "a product needs its sign, as in 2*x[n]"


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
