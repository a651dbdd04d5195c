"""From formulas in the text form of the language to SymPy expressions.

Every value is built from the classes that the tables of `vocabulary` name. No text is handed to
SymPy, and none to Python; what SymPy would compute at once, such as a power of constants, is
bounded.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn

import sympy
from lark import Token, Tree
from sympy import Add, Basic, Expr, Float, Mul, Pow, Rational
from sympy.logic.boolalg import Boolean

from derive.language.checks import COMPUTED, indices, is_of_another
from derive.language.definition import DefinitionError, Tensor
from derive.language.expressions import (
    Affine,
    Axis,
    Index,
    Where,
    computed,
)
from derive.language.windows import Window
from derive.notation.grammar import Node, TextError, place_of
from derive.notation.vocabulary import BINDERS, CALLS, CONSTANTS, RELATIONS, SPELT

_DIGITS = 40
_LARGEST_EXPONENT = 64
_LARGEST_ARGUMENT = 1000
_MOST_BITS = 2000
_TOO_LARGE = "this number is too large"


@dataclass
class Names:
    """What the names in a text stand for, so far.

    `given` are the axes of inputs, `later` the names that some line makes; `declared` says that the
    inputs are declared; `moved` has where letters are read along axes of others, as
    `derive.language.windows.moved_in` has it.
    """

    text: str
    tensors: dict[str, Tensor] = field(default_factory=dict)
    options: dict[str, Expr] = field(default_factory=dict)
    axes: dict[str, Index] = field(default_factory=dict)
    letters: dict[str, Index] = field(default_factory=dict)
    given: set[Axis] = field(default_factory=set)
    later: set[str] = field(default_factory=set)
    declared: bool = False
    moved: set[tuple[str, int, str]] = field(default_factory=set)

    def letter(self, name: str) -> Index | None:
        """The letter of that name: a second one over some axis, or an axis's own."""
        return self.letters.get(name) or self.axes.get(name)

    def fail(self, node: Node, problem: str) -> NoReturn:
        """Raise what is wrong with a node, at its place in the text."""
        raise TextError(problem, self.text, place_of(node))

    def near(self, name: str) -> str:
        """A hint at the known name that looks most like an unknown one."""
        if name.partition("_")[0] in BINDERS:
            return f"; {name} needs its parentheses, as in {name}(x[n])"
        return close(name, [*self.tensors, *self.options, *self.later, *CONSTANTS])

    @contextmanager
    def at(self, node: Node) -> Iterator[None]:
        """What is wrong inside is told with a node's place, unless it has one already."""
        try:
            yield
        except TextError:
            raise
        except (DefinitionError, ValueError, TypeError) as error:
            raise TextError(str(error), self.text, place_of(node)) from None


def close(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` where some known name looks like it, or nothing."""
    near = difflib.get_close_matches(name, list(known), n=1) if len(name) > 1 else []
    return f"; did you mean {near[0]!r}?" if near else ""


def plain_number(token: Token, names: Names) -> int | float:
    """The number that a token spells."""
    _check_digits(token, names)
    return int(token) if token.isdigit() else float(token)


def value(node: Node, names: Names) -> Any:
    """The number or the condition that a node of a syntax tree stands for.

    Raises:
        TextError: a name, a letter or a function is unknown, or something does not fit.
    """
    assert isinstance(node, Tree)
    with names.at(node):
        found = _VALUES[node.data](node, names)
    if isinstance(found, Expr):
        _check_size(found.as_coeff_Mul()[0], node, names)
    return found


def _reals(nodes: Sequence[Node], names: Names) -> list[Expr]:
    values = [value(node, names) for node in nodes]
    for node, found in zip(nodes, values, strict=True):
        if not isinstance(found, Expr):
            names.fail(node, "a condition stands where a number does: use where(..., 1, 0)")
    return values


def _conditions(nodes: Sequence[Node], names: Names) -> list[Boolean]:
    values = [value(node, names) for node in nodes]
    for node, found in zip(nodes, values, strict=True):
        if isinstance(found, Expr) or not isinstance(found, Boolean):
            names.fail(node, "a number stands where a condition does, such as x[n] > 0")
    return values


def _either(node: Tree[Token], names: Names) -> Basic:
    return sympy.Or(*_conditions(node.children, names))


def _both(node: Tree[Token], names: Names) -> Basic:
    return sympy.And(*_conditions(node.children, names))


def _negated(node: Tree[Token], names: Names) -> Basic:
    return sympy.Not(*_conditions(node.children, names))


def _relation(node: Tree[Token], names: Names) -> Basic:
    left, relation, right = node.children
    return RELATIONS[str(relation)](*_reals([left, right], names))


def _sum(node: Tree[Token], names: Names) -> Expr:
    terms = _reals(node.children[::2], names)
    signs = [1, *(-1 if sign == "-" else 1 for sign in node.children[1::2])]
    return Add(*(term if sign > 0 else -term for term, sign in zip(terms, signs, strict=True)))


def _product(node: Tree[Token], names: Names) -> Expr:
    first, *others = _reals(node.children[::2], names)
    for operator, factor in zip(node.children[1::2], others, strict=True):
        if operator == "/" and factor.is_zero:
            names.fail(node, "this divides by zero")
        first = first / factor if operator == "/" else first * factor
    return first


def _minus(node: Tree[Token], names: Names) -> Expr:
    return Mul(-1, _reals(node.children[1:], names)[0])


def _power(node: Tree[Token], names: Names) -> Expr:
    base, exponent = _reals(node.children, names)
    constant = base.is_number and exponent.is_number
    if constant and not abs(exponent) <= _LARGEST_EXPONENT:
        names.fail(node, f"a power of constants beyond {_LARGEST_EXPONENT} is not computed")
    coefficient, _ = base.as_coeff_Mul()
    raised = isinstance(exponent, Rational) and abs(coefficient) != 1
    if raised and _bits(coefficient) * abs(exponent) > _MOST_BITS:
        names.fail(node, _TOO_LARGE)
    if base.is_zero and exponent.is_negative:
        names.fail(node, "this divides by zero")
    return Pow(base, exponent)


def _number(node: Tree[Token], names: Names) -> Expr:
    _check_digits(node.children[0], names)
    return Rational(str(node.children[0]))


def _about(node: Tree[Token], names: Names) -> Expr:
    _check_digits(node.children[0], names)
    return Float(float(str(node.children[0])[1:]))


def _check_digits(token: Node, names: Names) -> None:
    digits, _, exponent = str(token).lower().partition("e")
    if len(digits) > _DIGITS or abs(int(exponent or 0)) > 300:
        names.fail(token, f"a number has at most {_DIGITS} digits, and an exponent up to 300")


def _check_size(number: Basic, node: Node, names: Names) -> None:
    if _bits(number) > _MOST_BITS:
        names.fail(node, _TOO_LARGE)


def _bits(number: Basic) -> int:
    """How long a rational number is; of other numbers SymPy computes no digits."""
    return max(abs(number.p), number.q).bit_length() if isinstance(number, Rational) else 0


def _name(node: Tree[Token], names: Names) -> Expr:
    name = str(node.children[0])
    if name in names.tensors:
        tensor = names.tensors[name]
        if tensor.indices:
            names.fail(node, f"{tensor!r} is used without its indices")
        return tensor.symbol
    if name in names.options:
        return names.options[name]
    if name.lower() in names.axes and name.isupper():
        return names.axes[name.lower()].size
    if name in CONSTANTS:
        return CONSTANTS[name]
    letter = names.letter(name)
    if letter is not None:
        return letter
    if name in names.later:
        names.fail(node, f"{name!r} is used before the line that makes it")
    names.fail(node, f"unknown name {name!r}{_declared(name, names)}")


def _declared(name: str, names: Names) -> str:
    """A hint at what an unknown name may stand for, or at how it is declared."""
    if name in ("e", "E"):
        return "; write exp(x) for e**x"
    stem, _, letter = name.rpartition("_")
    if stem and len(letter) == 1 and not close(name, [*names.tensors, *names.options]):
        return f"; indices stand in square brackets, as in {stem}[{letter}]"
    line = "the inputs line" if names.declared else f"a line with all inputs: inputs {name}, ..."
    return names.near(name) or (
        f"; for a number that is given, a line: options {name}; an input without axes is "
        f"declared in {line}; one with axes has its letters, as in {name}[n]"
    )


def _element(node: Tree[Token], names: Names) -> Expr:
    token, *given = node.children
    tensor = names.tensors.get(str(token))
    if tensor is None and not names.declared and any(_is_arithmetic(index) for index in given):
        axes = ",".join("stuvwxyz"[: len(given)])
        hint = f"; its axes are declared by a line such as: inputs {token}[{axes}]"
        names.fail(token, f"{str(token)!r} is read at a computed index{hint}")
    if tensor is None:
        names.fail(token, no_tensor(str(token), names))
    if len(given) != len(tensor.indices):
        names.fail(node, f"{tensor!r} takes {indices(len(tensor.indices))}, got {len(given)}")
    values = [value(index, names) for index in given]
    triples = zip(given, values, tensor.indices, strict=True)
    for at, (index, found, letter) in enumerate(triples):
        axis = letter.axis
        foreign = is_of_another(found, letter, names.given)
        if foreign and (tensor.name, at, found.name) not in names.moved:
            problem = f"{found.name!r} runs over axis {found.axis.name!r}, and {tensor!r}"
            hint = f"; for a second letter over it, a line: letters {found.name} over {axis.name}"
            names.fail(index, f"{problem} has axis {axis.name!r} here{hint}")
        place = computed(found, letter)
        if isinstance(place, Affine) and not Window.of(place, tensor.name, axis).is_affine:
            names.fail(index, COMPUTED)
    return tensor[tuple(values)]


def _is_arithmetic(index: Node) -> bool:
    return isinstance(index, Tree) and index.data in ARITHMETIC


ARITHMETIC = ("sum", "product", "minus")
"""The kinds of nodes that compute an index from what they hold."""


def no_tensor(name: str, names: Names) -> str:
    """What is wrong with a name that stands where a tensor's does."""
    if name in names.later:
        return f"{name!r} is used before the line that makes it"
    if name in names.options:
        return f"{name!r} is an option, which has no indices"
    hint = names.near(name)
    if not hint and names.declared:
        hint = "; no line makes it: if it is an input, declare it in the inputs line"
    elif not hint:
        hint = "; declare it by a line such as: inputs x[n,c]"
    return f"unknown tensor {name!r}{hint}"


def _call(node: Tree[Token], names: Names) -> Expr:
    token, *arguments = node.children
    name = str(token)
    if name not in CALLS:
        tensor = f"; the indices of a tensor stand in square brackets, as in {name}[n]"
        hint = tensor if name in names.tensors or name in names.later else _instead(name)
        names.fail(token, f"unknown function {name!r}{hint or tensor}")
    function, (least, most) = CALLS[name]
    if not least <= len(arguments) <= most:
        hint = _instead(name) if name in BINDERS and len(arguments) == 1 else ""
        wanted = str(least) if least == most else f"{least} to {most}"
        plural = "" if most == 1 else "s"
        names.fail(node, f"{name} takes {wanted} argument{plural}, got {len(arguments)}{hint}")
    if name == "where":
        (condition,) = _conditions(arguments[:1], names)
        return Where(condition, *_reals(arguments[1:], names))
    values = _reals(arguments, names)
    for argument, value in zip(arguments, values, strict=True):
        if value.is_number and name != "delta":
            _check_constant(argument, value, names)
    value = function(*values)
    if value in (sympy.zoo, sympy.oo, -sympy.oo, sympy.nan):
        names.fail(node, "this is no number")
    for number in value.atoms(Rational) if not value.free_symbols else ():
        _check_size(number, node, names)
    return value


def _instead(name: str) -> str:
    """A hint at what is written in place of a function that there is not."""
    name = name.lower()
    if name in BINDERS:
        return f"; it runs over letters, as in {name}_n(x[n])"
    stem = name.rpartition("_")[0]
    for plain in (name, stem, name.replace("_", ""), stem.replace("_", "")):
        if plain in SPELT:
            return f"; write {SPELT[plain]}"
    return close(name, CALLS)


def _check_constant(node: Node, value: Expr, names: Names) -> None:
    """SymPy computes functions of constants: only those that are soon computed."""
    if not (value.is_real and abs(value) <= _LARGEST_ARGUMENT):
        names.fail(node, f"a function of a constant beyond {_LARGEST_ARGUMENT} is not computed")


def _binder(node: Tree[Token], names: Names) -> Expr:
    token, body = node.children
    letters = []
    for written in letters_under(token):
        letter = names.letter(written)
        if letter is None:
            several = [c for c in written if c.strip()]
            hint = close(written, names.axes)
            if len(several) > 1 and all(map(names.letter, several)):
                hint = f"; several letters stand in braces: {{{','.join(several)}}}"
            names.fail(written, f"unknown letter {str(written)!r}{hint}")
        letters.append(letter)
    return BINDERS[str(token).partition("_")[0]](*_reals([body], names), *letters)


def letters_under(token: Node) -> list[Token]:
    """The letters that a sum or its like runs over, each at its place in the text."""
    assert isinstance(token, Token)
    begins = token.index("_") + 1
    return [
        Token("NAME", token[m.start() : m.end()], start_pos=(token.start_pos or 0) + m.start())
        for m in re.compile(r"[^\s,{}](?:[^,{}]*[^\s,{}])?").finditer(token, begins)
    ]


_VALUES: dict[str, Callable[[Tree[Token], Names], Any]] = {
    "either": _either,
    "both": _both,
    "negated": _negated,
    "relation": _relation,
    "sum": _sum,
    "product": _product,
    "minus": _minus,
    "power": _power,
    "number": _number,
    "about": _about,
    "name": _name,
    "element": _element,
    "call": _call,
    "binder": _binder,
}
