"""From the text form of the language to definitions, by the `Builder` that a Python file uses.

`grammar` says how the text is put together, `formulas` what its formulas mean; here
are the declarations, and what goes without saying: inputs that nobody declared, and the axes
that second letters run over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from lark import Token, Tree
from sympy import Expr

from derive.language.builder import Builder
from derive.language.checks import NO_RECURRENCES
from derive.language.definition import FACTS, Definition, Dim, Tensor
from derive.language.expressions import Axis, Index
from derive.notation.formulas import (
    ARITHMETIC,
    Names,
    letters_under,
    no_tensor,
    plain_number,
    value,
)
from derive.notation.grammar import Node, Place, TextError, parse, pieces, place_of

Lookup = Callable[[str], Definition]
Line = Tree[Token]

MOST_LETS = 200
UNNAMED = "operation"


def read(text: str, lookup: Lookup, source: str = "<text>") -> dict[str, Definition]:
    """The definitions of a text, by name, in its order.

    One without an `inputs` line, which names every input, has those that its lets use; one
    without a header is called `operation`. `lookup` gives the definition of a name after `use`
    that the text itself does not define before; it raises a DefinitionError for a name that it
    does not know.

    Raises:
        TextError: a mistake, with its line and column.
    """
    found: dict[str, Definition] = {}
    for name, definition in read_each(text, lookup, source).items():
        if isinstance(definition, TextError):
            raise definition
        found[name] = definition
    return found


def read_each(text: str, lookup: Lookup, source: str) -> dict[str, Definition | TextError]:
    """As `read`; in place of a definition that has a mistake, or that uses one, stands that."""
    found: dict[str, Definition | TextError] = {}

    def known(name: str) -> Definition:
        definition = found.get(name) or lookup(name)
        if isinstance(definition, TextError):
            raise definition
        return definition

    for name, start, end in pieces(text):
        try:
            for lines in _definitions(parse(text, start, end)):
                definition = _one(text, lines, known, source)
                name = definition.name
                if name in found:
                    problem = f"two definitions are named {name!r}"
                    raise TextError(problem, text, place_of(lines[0]))
                found[name] = definition
        except TextError as mistake:
            found[name or UNNAMED] = mistake
    if not found:
        raise TextError("there is no definition here", text, Place(0, 1))
    return found


def _one(text: str, lines: Sequence[Line], lookup: Lookup, source: str) -> Definition:
    if len(lines) > MOST_LETS:
        problem = f"a definition has at most {MOST_LETS} lines"
        raise TextError(problem, text, place_of(lines[MOST_LETS]))
    return _Reader(Names(text), lines, lookup, source).definition()


def _definitions(tree: Tree[Token]) -> Iterator[list[Line]]:
    """The lines of each definition: one begins at each header."""
    lines: list[Line] = []
    for line in tree.children:
        if not isinstance(line, Tree):  # of a text without lines
            continue
        if line.data == "header" and lines:
            yield lines
            lines = []
        lines.append(line)
    if lines:
        yield lines


class _Reader:
    """One definition as it is read."""

    def __init__(self, names: Names, lines: Sequence[Line], lookup: Lookup, source: str) -> None:
        self.names = names
        self.lines = lines
        self.lookup = lookup
        self.builder = self._begun()
        self.builder.source = source

    def definition(self) -> Definition:
        """The definition that the lines make."""
        self.names.later = self._made_later()
        self.names.declared = bool(self._of_kind("inputs"))
        for kind, declare in (
            ("letters", self._letters),
            ("inputs", self._inputs),
            ("options", self._options),
        ):
            for line in self._of_kind(kind):
                declare(line)
        if not self.names.declared:
            self._infer_inputs()
        self.names.moved = self.builder.moved = self._moved()
        for line in self.lines:
            if line.data == "let":
                self._let(line)
            elif line.data == "use":
                self._use(line)
        return self._built()

    def _begun(self) -> Builder:
        headers = self._of_kind("header")
        if len(headers) == 0:
            return Builder(UNNAMED, "Without a name.")
        name, _, summary = str(headers[0].children[0]).partition(":")
        with self.names.at(headers[0]):
            return Builder(name.strip(), summary.strip() or "Without a summary.")

    def _built(self) -> Definition:
        outputs = [t for line in self._of_kind("outputs") for t in self._named(line)]
        wrt = [t for line in self._of_kind("gradients") for t in self._named(line)]
        for line in self._of_kind("updates"):
            for update in line.find_data("update"):
                buffer, let = self._named(update)
                with self.names.at(update):
                    self.builder.becomes(buffer, let)
        if not outputs:
            made = [t for t in self.names.tensors.values() if t not in self.builder.inputs]
            outputs = [t for t in made if not t.integer][-1:]
        chunked = bool(self._of_kind("chunked"))
        with self.names.at(self.lines[-1]):
            return self.builder.build(*outputs, wrt=wrt or None, chunked=chunked)

    def _named(self, line: Line) -> list[Tensor]:
        for token in line.children:
            if token not in self.names.tensors:
                name = str(token)
                self.names.fail(token, f"unknown name {name!r}{self.names.near(name)}")
        return [self.names.tensors[str(token)] for token in line.children]

    def _of_kind(self, kind: str) -> list[Line]:
        return [line for line in self.lines if line.data == kind]

    def _made_later(self) -> set[str]:
        """The names that some let or `use` of the definition makes."""
        heads = [line.children[0] for line in self._of_kind("let")]
        made = {str(head.children[0]) for head in heads if isinstance(head, Tree)}
        for line in self._of_kind("use"):
            made |= set(_names_after_as(line) or (let.name for let in self._callee(line).lets))
        return made

    # --- declarations ---

    def _letters(self, line: Line) -> None:
        for letter in line.find_data("letter"):
            name, over = map(str, letter.children)
            self.names.letters[name] = self._axis(over, letter).another(name)

    def _axis(self, name: str, node: Node) -> Index:
        if name not in self.names.axes:
            with self.names.at(node):
                self.names.axes[name] = self.builder.axes(name)
        return self.names.axes[name]

    def _letter(self, name: str, node: Node) -> Index:
        """A letter that was seen before, or else that of a new axis."""
        return self.names.letter(name) or self._axis(name, node)

    def _head(self, head: Node) -> tuple[str, list[Dim]]:
        """The name and the dimensions of what is declared, or of a let's left side."""
        name, *dims = head.children if isinstance(head, Tree) else [head]
        return str(name), [
            tuple(self._letter(str(letter), letter) for letter in _tokens(dim))
            if isinstance(dim, Tree)
            else self._letter(str(dim), dim)
            for dim in dims
            if dim is not None
        ]

    def _inputs(self, line: Line) -> None:
        for declared in line.find_data("tensor"):
            head, facts = declared.children
            known = self._facts(facts)
            name, dims = self._head(head)
            self._input(name, dims, declared, **known)

    def _input(self, name: str, dims: Sequence[Dim], node: Node, **facts: Any) -> None:
        with self.names.at(node):
            if facts.pop("integer", False):
                self.names.tensors[name] = self.builder.integers(name, *dims)
            else:
                self.names.tensors[name] = self.builder.input(name, *dims, **facts)
        self.names.given |= {*self.names.tensors[name].axes}

    def _facts(self, facts: Node | None) -> dict[str, Any]:
        known: dict[str, Any] = {}
        for fact in facts.find_data("fact") if isinstance(facts, Tree) else ():
            words = _tokens(fact)
            if len(words) == 2:
                known["sums_to_one"] = self._letter(str(words[1]), fact)
            elif words[0] not in FACTS:
                self.names.fail(
                    fact, f"unknown fact {str(words[0])!r}; there are {', '.join(FACTS)}"
                )
            else:
                known[str(words[0])] = True
        return known

    def _options(self, line: Line) -> None:
        for declared in line.find_data("option"):
            name, default, facts = declared.children
            number = self._default(default)
            known = self._facts(facts)
            for fact in known:
                if fact in ("nonzero", "symmetric", "sums_to_one"):
                    self.names.fail(declared, f"an option cannot be {fact.replace('_', ' ')}")
            with self.names.at(declared):
                self.names.options[str(name)] = self.builder.option(str(name), number, **known)

    def _default(self, node: Node | None) -> int | float | None:
        if not isinstance(node, Tree):
            return None
        *sign, size = _tokens(node)
        number = float("inf") if size == "inf" else plain_number(size, self.names)
        return -number if sign else number

    # --- what goes without saying ---

    def _infer_inputs(self) -> None:
        """What the lets use and no line makes: a tensor over the letters that it is first used at.

        One that stands where an index does holds integers.
        """
        elements = [
            e for line in self.lines for e in line.iter_subtrees_topdown() if e.data == "element"
        ]
        integers = {
            str(inner.children[0])
            for element in elements
            for index in element.children[1:]
            if isinstance(index, Tree)
            for inner in index.find_data("element")
        }
        for element in elements:
            name, *indices = element.children
            if name in self.names.later or name in self.names.tensors:
                continue
            letters = [_plain_letter(index) for index in indices]
            if all(letters) and len(set(letters)) == len(letters):
                dims = [self._letter(letter, element) for letter in letters]
                self._input(str(name), dims, element, integer=name in integers)

    def _moved(self) -> set[tuple[str, int, str]]:
        """Where some line reads at an index that is computed: the tensor, the place, each name."""
        elements = (element for line in self.lines for element, _ in _elements(line))
        return {
            (str(element.children[0]), place, name)
            for element in elements
            for place, index in enumerate(element.children[1:])
            if not _plain_letter(index)
            for name in _names_in(index)
        }

    def _learn_letters(self, line: Line) -> None:
        """A new letter runs over the axis at which some tensor has it; one of an index that is
        computed, and not in a choice by it, over an axis of its own."""
        known = self.names
        found: dict[str, Axis | None] = {}
        for element, decided in _elements(line):
            tensor = known.tensors.get(str(element.children[0]))
            for index, axis in zip(
                element.children[1:], tensor.axes if tensor else (), strict=False
            ):
                new = [n for n in _names_in(index) if not self._is_known(n)]
                for letter in new:
                    guarded = len(new) == 1 and letter in decided
                    own = not _plain_letter(index) and not guarded
                    found[letter] = None if own else found.get(letter, axis)
        for letter, axis in found.items():
            if axis is None:
                self._axis(letter, line)
            else:
                known.letters[letter] = Index(letter, axis)

    def _is_known(self, name: str) -> bool:
        known = self.names
        sizes = {axis.upper() for axis in known.axes}
        return known.letter(name) is not None or name in {*known.tensors, *known.options, *sizes}

    # --- lets ---

    def _let(self, line: Line) -> None:
        head, formula = line.children
        assert isinstance(head, Tree)
        self._check_reads(line)
        self._learn_letters(line)
        name, dims = self._head(head)
        built = value(formula, self.names)
        if not isinstance(built, Expr):
            self.names.fail(
                formula, "a let is a number, and this a condition: write where(..., 1, 0)"
            )
        self._check_letters(formula, {*map(str, head.scan_values(lambda _: True))})
        with self.names.at(line):
            made = self.builder.let(name, dims, built)
        self._know_lets()
        self.names.tensors[made.name] = made  # one that is -inf in places is no let

    def _check_reads(self, line: Line) -> None:
        """Refuse a let that reads itself before all else in it: what such a line reads is often
        not known, or not known by those letters."""
        head, formula = line.children
        assert isinstance(head, Tree) and isinstance(formula, Tree)
        made = head.children[0]
        for read in formula.iter_subtrees_topdown():
            again = read.data in ("name", "element") and read.children[0] == made
            if again and made not in self.names.tensors:
                self.names.fail(read, f"{str(made)!r} cannot read itself; {NO_RECURRENCES}")

    def _check_letters(self, node: Node, bound: set[str]) -> None:
        """Refuse a letter that neither the left side of a let nor a sum has, where it stands."""
        if not isinstance(node, Tree):
            return
        if node.data == "binder":
            bound = {*bound, *map(str, letters_under(node.children[0]))}
        name, known = _plain_letter(node), self.names
        letter = known.letter(name)
        if letter and name not in {*bound, *known.tensors, *known.options}:
            where = f"index {name!r} of axis {letter.axis.name!r}"
            known.fail(node, f"{where} is neither on the left side nor summed over")
        for child in node.children:
            self._check_letters(child, bound)

    def _know_lets(self) -> None:
        self.names.axes |= self.builder.axes_by_name
        self.names.tensors |= {let.name: let.tensor for let in self.builder.lets}

    def _callee(self, line: Line) -> Definition:
        with self.names.at(line.children[0]):
            return self.lookup(str(line.children[0]))

    def _use(self, line: Line) -> None:
        callee = self._callee(line)
        renamed = _names_after_as(line)
        if renamed and len(renamed) != len(callee.lets):
            wanted = f"{callee.name} makes {len(callee.lets)} tensors"
            self.names.fail(line, f"{wanted}, got {len(renamed)} names")
        wanted_inputs = {tensor.name for tensor in callee.inputs}
        inputs: dict[str, Tensor] = {}
        options: dict[str, Any] = {}
        for argument in line.find_data("argument"):
            name, given = str(argument.children[0]), argument.children[1]
            if name not in wanted_inputs:
                options[name] = value(given, self.names)
                continue
            plain = _plain_letter(given)
            tensor = self.names.tensors.get(plain)
            if tensor is None and plain and plain not in self.names.options:
                self.names.fail(given, no_tensor(plain, self.names))
            if tensor is None:
                self.names.fail(given, f"the input {name!r} of {callee.name} is a tensor's name")
            inputs[name] = tensor
        names = dict(zip([let.name for let in callee.lets], renamed, strict=False))
        with self.names.at(line):
            self.builder.call(callee, inputs, options, names)
        self._know_lets()


def _tokens(tree: Node) -> list[Token]:
    return [t for t in tree.children if isinstance(t, Token)] if isinstance(tree, Tree) else [tree]


def _plain_letter(node: Node | None) -> str:
    """The name that a formula is, or nothing."""
    return str(node.children[0]) if isinstance(node, Tree) and node.data == "name" else ""


def _names_in(index: Node) -> list[str]:
    """The names in an index, but for those in the indices of what it reads."""
    if _plain_letter(index):
        return [_plain_letter(index)]
    inside = index.children if isinstance(index, Tree) and index.data in ARITHMETIC else ()
    return [name for part in inside for name in _names_in(part)]


def _elements(
    node: Node, decided: frozenset[str] = frozenset()
) -> Iterator[tuple[Line, frozenset[str]]]:
    """The elements that a line reads, and the names by which choices decide whether they are."""
    if not isinstance(node, Tree):
        return
    if node.data == "element":
        yield node, decided
    if node.data == "call" and node.children[0] == "where" and len(node.children) > 1:
        _, condition, *branches = node.children
        yield from _elements(condition, decided)
        names = condition.find_data("name") if isinstance(condition, Tree) else ()
        within = decided | {_plain_letter(name) for name in names}
        for branch in branches:
            yield from _elements(branch, within)
        return
    for child in node.children:
        yield from _elements(child, decided)


def _names_after_as(line: Line) -> list[str]:
    return [str(token) for token in _tokens(line) if token.type == "NAME"]
