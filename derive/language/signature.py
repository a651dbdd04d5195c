"""How Python calls an operation, as its definition says it a line at a time.

A `Calling` collects the signature and what goes with it, and makes the `Interface` of it: each
argument's choices, and the variant that every set of chosen values leads to.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

from sympy import Expr

from derive.language.checks import check_identifier
from derive.language.conventions import CONVENTIONS, NAMED_BY
from derive.language.definition import Definition, DefinitionError, Let, needed
from derive.language.expressions import Axis, Element, Sum, count_of, names_used
from derive.language.interface import (
    AUTOCAST,
    GIVEN,
    LOCALS,
    OTHERWISE,
    ROLES,
    SHAPING,
    Argument,
    Cases,
    Choice,
    Interface,
    Update,
    Variant,
    When,
    arguments_of,
)


@dataclass
class Calling:
    """What a definition says of the public function of an operation `name`.

    `cases` are alternatives by the let's name, `absent` what stands for a tensor left out, `pairs`
    names the tensor beside which another one is given, and `constants` have no gradient.
    """

    name: str
    arguments: tuple[Argument, ...] | None = None
    autocast: str | None = None
    roles: dict[Axis, str] = field(default_factory=dict)
    absent: dict[str, Expr] = field(default_factory=dict)
    cases: dict[str, Cases] = field(default_factory=dict)
    given: dict[str, str] = field(default_factory=dict)
    pairs: dict[str, str] = field(default_factory=dict)
    updates: list[Update] = field(default_factory=list)
    constants: list[When] = field(default_factory=list)
    demands: list[tuple[str, str]] = field(default_factory=list)

    @property
    def argument_names(self) -> tuple[str, ...]:
        return tuple(argument.name for argument in self.arguments or ())

    def sign(self, signature: str, autocast: str | None) -> None:
        """Take the function's signature, and what its result is under autocast.

        Raises:
            DefinitionError: one of them is none.
        """
        if autocast not in AUTOCAST:
            known = ", ".join(filter(None, AUTOCAST))
            raise DefinitionError(
                f"operation {self.name!r}: autocast={autocast!r}; there are {known}"
            )
        try:
            self.arguments, self.autocast = arguments_of(signature), autocast
        except SyntaxError:
            raise DefinitionError(
                f"operation {self.name!r}: {signature!r} is no signature, such as 'x, dim=-1'"
            ) from None

    def play(self, letters: Sequence[Any], roles: Sequence[str]) -> None:
        """Give letters' axes their roles.

        Raises:
            DefinitionError: there is no such role.
        """
        for letter, role in zip(letters, roles, strict=False):
            if role not in ROLES:
                known = ", ".join(ROLES)
                raise DefinitionError(
                    f"axis {letter.name!r}: no role is called {role!r}; there are {known}"
                )
            self.roles[letter.axis] = role

    def note_given(self, name: str, what: str, given: str) -> None:
        """Note how an input or an option may be given, if that is said.

        Raises:
            DefinitionError: there is no such way, or nothing that it could be paired with.
        """
        known = [how for how in GIVEN if (how == "epsilon") == (what == "option")]
        if given and given not in known:
            raise DefinitionError(
                f"{what} {name!r}: no way to give it is {given!r}; there are {', '.join(known)}"
            )
        if given == "paired":
            if not self.absent:
                raise DefinitionError(
                    f"input {name!r}: it is paired with an input before it that may be absent"
                )
            self.pairs[name] = list(self.absent)[-1]
        if given:
            self.given[name] = given

    def demand(
        self, condition: str, raises: str, named: Iterable[str], sizes: Iterable[str]
    ) -> None:
        """Take a condition on what has a name in the definition, on arguments and on sizes.

        Raises:
            DefinitionError: it is no expression, or reads what is none of these.
        """
        try:
            tree = ast.parse(condition, mode="eval").body
        except SyntaxError:
            raise DefinitionError(
                f"demand {condition!r} in {self.name!r}: it must be an expression"
            ) from None
        read = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        known = [*named, *self.argument_names, *sizes, "inf"]
        if not read <= set(known):
            raise DefinitionError(
                f"demand {condition!r} in {self.name!r}: {min(read - set(known))!r} is unknown; "
                f"there are {', '.join(dict.fromkeys(known)) or 'none'}"
            )
        self.demands.append((ast.unparse(tree), raises))

    def interface(self, definition: Definition, without: Sequence[str]) -> Definition:
        """The usual variant of a definition, and with it the public function over all of them.

        Raises:
            DefinitionError: what is said of the function does not fit the definition.
        """
        inputs = {tensor.name for tensor in definition.inputs}
        arguments = tuple(self._with_tensors(a, inputs) for a in self.arguments or ())
        choices = [c for argument in arguments for c in self._choices(argument, without)]
        self._check(definition, arguments, choices)
        variants = tuple(self._variants(definition, choices))
        names = Counter(d.variant for d in {v.definition for v in variants})
        for name in (name for name, count in names.items() if count > 1):
            raise DefinitionError(
                f"operation {self.name!r}: {names[name]} of its variants would be called {name!r}"
            )
        interface = Interface(
            arguments,
            tuple(self.roles.items()),
            tuple(choices),
            variants,
            tuple(self.given.items()),
            tuple(self.pairs.items()),
            tuple(self.demands),
            self.autocast,
        )
        return replace(variants[0].definition, interface=interface)

    def _with_tensors(self, argument: Argument, inputs: set[str]) -> Argument:
        """An argument, which is the input of its own name unless the signature says another."""
        names = argument.tensors or ((argument.name,) if argument.name in inputs else ())
        for name in names:
            if name not in inputs:
                raise DefinitionError(
                    f"argument {argument.name!r} of {self.name!r}: there is no input {name!r}"
                )
        return replace(argument, tensors=names)

    def _choices(self, argument: Argument, without: Sequence[str]) -> Iterator[Choice]:
        """What an argument decides: by its value, by being given, by holding integers."""
        cases = self._deciding()
        if len(argument.tensors) > 1 and not argument.halved:
            yield Choice(argument.name, (True, False), "integers")
        elif argument.name in cases and not argument.tensors:
            chosen = cases[argument.name]
            yield Choice(argument.name, chosen.values(argument.name), unknown=chosen.unknown)
        for name in argument.tensors:
            if name in self.absent and self.given.get(name) != "paired":
                values = (False, True) if name in without else (True, False)
                yield Choice(name, values, "given", mask=self.given.get(name) == "mask")

    def _deciding(self) -> dict[str, Cases]:
        """The cases that say which values each choice has; those of all lets have the same.

        Raises:
            DefinitionError: a let has a case for a value for which another has none.
        """
        found: dict[str, tuple[str, Cases]] = {}
        for name, cases in self.cases.items():
            for choice in cases.choices:
                other, first = found.setdefault(choice, (name, cases))
                values, wanted = cases.values(choice), first.values(choice)
                if set(values) != set(wanted):
                    raise DefinitionError(
                        f"let {name!r} in {self.name!r}: its cases are for {choice} = "
                        f"{', '.join(map(repr, values))}, and those of {other!r} for "
                        f"{', '.join(map(repr, wanted))}"
                    )
        return {choice: cases for choice, (_, cases) in found.items()}

    def _variants(self, definition: Definition, choices: Sequence[Choice]) -> Iterator[Variant]:
        """Every definition that the choices lead to, the usual one first."""
        known: dict[tuple[object, ...], Definition] = {}
        for values in product(*(c.values for c in choices)):
            chosen = dict(zip((c.name for c in choices), values, strict=True))
            variant = self._variant(definition, chosen, label(choices, values))
            if variant is not None:
                # A choice that makes no difference beside the others makes no variant of its own.
                same = (variant.inputs, variant.options, variant.lets, variant.wrt)
                yield Variant(values, known.setdefault(same, variant))

    def _variant(
        self, definition: Definition, chosen: dict[str, Any], name: str
    ) -> Definition | None:
        """The definition for some chosen values; None where there is none."""
        cases = self.cases
        taken = [
            cases[let.name].let(chosen) if let.name in cases else let for let in definition.lets
        ]
        lets = [let for let in taken if let is not None]
        if len(lets) < len(taken):
            return None
        chosen |= {name: chosen[other] for name, other in self.pairs.items()}
        left_out = {name: value for name, value in self.absent.items() if not chosen[name]}
        lets = [_without(let, left_out) for let in lets]
        changed = [update for update in self.updates if update.when.applies(chosen)]
        lets = needed(lets, [*definition.outputs, *(update.let for update in changed)])
        read = names_used(*(let.value for let in lets))
        fixed = {constant.input for constant in self.constants if constant.applies(chosen)}
        options = {s.name for let in lets for s in let.value.free_symbols}
        return replace(
            definition,
            inputs=tuple(t for t in definition.inputs if t.name in read),
            options=tuple(o for o in definition.options if o.name in options),
            lets=tuple(lets),
            wrt=tuple(name for name in definition.wrt if name in read - fixed),
            calls=(),
            updates=tuple((update.when.input, update.let) for update in changed),
            variant=name,
        )

    def _check(
        self, definition: Definition, arguments: Sequence[Argument], choices: Sequence[Choice]
    ) -> None:
        where = f"operation {self.name!r}"
        if not SHAPING & {*self.roles.values()}:
            raise DefinitionError(
                f"{where}: its axes have no roles that say which dimensions of a caller's tensors "
                "they are, such as op.axes('n c', 'rest last')"
            )
        if len(definition.outputs) > 1 and not any(argument.halved for argument in arguments):
            raise DefinitionError(
                f"{where}: a function that is called on tensors of any rank returns one of them, "
                f"got the outputs {', '.join(definition.outputs)}; "
                "without op.called it returns them all"
            )
        for argument in arguments:
            if argument.name not in CONVENTIONS:
                check_identifier(argument.name, "argument")
            if self.given.get(argument.name) == "epsilon" and argument.default != "None":
                raise DefinitionError(
                    f"{where}: {argument.name!r} is the machine epsilon where it is left out, so "
                    f"its default in op.called must be None, got {argument.default or 'none'}"
                )
        named = {argument.name for argument in arguments}
        for role, wanted in NAMED_BY.items():
            if role in self.roles.values() and wanted not in named:
                raise DefinitionError(
                    f"{where}: an axis with the role {role!r} is {ROLES[role]}, "
                    f"and op.called has no argument {wanted!r}"
                )
        known = {choice.name: choice.values for choice in choices}
        own = {*(t.name for t in definition.inputs), *(o.name for o in definition.options)}
        own |= {*definition.outputs, *known}
        sizes = {axis.size.name for axis in self.roles}
        for name in sorted((own | named - {"dtype"}) & (LOCALS | sizes)):
            raise DefinitionError(
                f"{where}: {name!r} is what its function calls something of its own; "
                "use another name"
            )
        whens = [(f"update of {u.when.input!r}", u.when) for u in self.updates]
        whens += [(f"constant {when.input!r}", when) for when in self.constants]
        for what, when in whens:
            for name, value in when.chosen:
                if name not in known:
                    raise DefinitionError(
                        f"{what} in {self.name!r}: nothing is chosen by {name!r}; there are "
                        f"{', '.join(sorted(known)) or 'none'}"
                    )
                if value not in known[name]:
                    raise DefinitionError(
                        f"{what} in {self.name!r}: {name!r} is never {value!r}; it is one of "
                        f"{', '.join(map(repr, known[name]))}"
                    )


def label(choices: Sequence[Choice], values: Sequence[Any]) -> str:
    """A variant in a word that can end an identifier: `sum_weight`; empty for the first values."""
    words = []
    for choice, value in zip(choices, values, strict=True):
        if value is choice.values[0] or value == choice.values[0]:
            continue
        word = _word(choice, value)
        others = (_word(c, v) for c in choices if c is not choice for v in c.values[1:])
        words.append(f"{choice.name}_{word}" if word in others else word)
    return "_".join(words)


def _word(choice: Choice, value: Any) -> str:
    if choice.kind == "integers":
        return choice.name
    if isinstance(value, str):
        return re.sub(r"\W+", "_", value)
    if value is True or value is OTHERWISE:
        return choice.name
    if value is False or value is None:
        return f"no_{choice.name}"
    return f"{choice.name}_{value}".replace(".", "_").replace("-", "minus_").replace("+", "")


def _without(let: Let, left_out: Mapping[str, Expr]) -> Let:
    """A let in which tensors are replaced by what stands for them."""
    found: dict[Any, Expr] = {
        e: left_out[e.tensor_name] for e in let.value.atoms(Element) if e.tensor_name in left_out
    }
    found |= {s: left_out[s.name] for s in let.value.free_symbols if s.name in left_out}
    return replace(let, value=_counted(let.value.xreplace(found))) if found else let


def _counted(value: Expr) -> Expr:
    """An expression in which a sum of what does not vary is a multiple of it: `sum_n(1)` is N."""
    sums = {
        s: s.body * count_of(s.indices)
        for s in value.atoms(Sum)
        if not s.body.free_symbols & set(s.indices)
    }
    return value.xreplace(sums)
