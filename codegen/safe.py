"""Lets in numerically safe form: `codegen.stable` finds it in one expression, this across lets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from sympy import Add, Expr, Pow, exp, log, together

from codegen.choices import with_choices
from codegen.stable import LogSoftmax, Sigmoid, Softmax, bare_exponentials, stabilise
from derive.expressions import Sum, names_used
from derive.language import Let, Tensor, needed
from derive.normal import normalise
from derive.recognise import abstract
from derive.substitute import replace_exactly, substitute


def made_safe(lets: Sequence[Let], wanted: Iterable[str]) -> tuple[Let, ...]:
    """The lets that are needed, in numerically safe form; repeated parts are not named."""
    wanted = list(wanted)
    return needed(_safe(needed(lets, wanted)), wanted)


def _safe(lets: Sequence[Let]) -> tuple[Let, ...]:
    """Lets in safe form; an exponential that has a name of its own is looked through where that
    makes its users safe, and whatever is made of exponentials is under a logarithm."""
    hazards: dict[str, Let] = {}
    direct: dict[str, Let] = {}
    powered: dict[str, Let] = {}
    safe: list[Let] = []
    for let in lets:
        if let.value.has(exp) or set(powered) & names_used(let.value):
            powered[let.name] = _substituted(let, powered)
        let = replace(let, value=_logarithms_seen_through(let.value, powered))
        plain = stabilise(let.value)
        through = _substituted(let, hazards)
        forms = (through.value, _substituted(let, direct).value)
        value = _first_safe(forms, plain)
        if through.value != let.value or bare_exponentials(plain):
            hazards[let.name] = through
        if bare_exponentials(plain):
            direct[let.name] = let
        safe.append(replace(let, value=value))
    return tuple(safe)


def _first_safe(forms: Iterable[Expr], plain: Expr) -> Expr:
    """The first of some forms that has no exponential left, or else the plain one."""
    found = (stabilise(form) for form in forms)
    return next((value for value in found if not bare_exponentials(value)), plain)


def without_exponentials(lets: Sequence[Let], made: Sequence[Let]) -> tuple[Let, ...]:
    """A backward pass in which none reads exponentials or sums of them, where something safe can be
    read in their place: `p[i,j] * rows[i] / columns[j]` is a softmax along the columns."""
    powers: dict[str, tuple[Tensor, Expr]] = {}
    sums: dict[str, tuple[Tensor, Expr]] = {}
    quotients: dict[str, tuple[Tensor, Expr]] = {}
    logarithms: dict[str, tuple[Tensor, Expr]] = {}
    named: dict[str, Let] = {}
    for let in made:
        through = substitute(let.value, powers | sums | logarithms)
        found = stabilise(through)
        if isinstance(found, LogSoftmax):
            logarithms[let.name] = (let.tensor, through)
        elif isinstance(found, Softmax | Sigmoid):
            quotients[let.name] = (let.tensor, through)
            named[let.name] = replace(let, value=found)
        elif bare_exponentials(found):
            (sums if through.has(Sum) else powers)[let.name] = (let.tensor, through)
    result = []
    for let in lets:
        if names_used(let.value) & {*sums, *powers}:
            through = _quotients_joined(substitute(let.value, powers | sums | quotients))
            value = stabilise(normalise(through))
            if not bare_exponentials(value):
                let = replace(let, value=_by_name(value, named.values()))
        result.append(let)
    return tuple(result)


def _quotients_joined(value: Expr) -> Expr:
    """`1/(1 - 1/(1 + e))` as `(1 + e)/e`, which divides by nothing that comes to zero."""

    def is_difference(e: Expr) -> bool:
        return isinstance(e, Pow) and isinstance(e.base, Add) and e.base.has(exp) and e.exp == -1

    return value.replace(is_difference, lambda e: 1 / together(e.base))


def _by_name(value: Expr, lets: Iterable[Let]) -> Expr:
    """A value that reads each softmax or sigmoid which has a name by that."""
    for let in lets:
        pattern, own = abstract(let.value)
        if set(own) != set(let.tensor.indices):
            continue  # it is repeated along an axis: nothing says where it is to be read
        for found in value.atoms(type(let.value)):
            other, letters = abstract(found)
            if other == pattern:
                place = dict(zip(own, letters, strict=True))
                element = let.tensor[tuple(place[i] for i in let.tensor.indices)]
                value = replace_exactly(value, found, element)
    return value


def _logarithms_seen_through(value: Expr, powered: Mapping[str, Let]) -> Expr:
    """Logarithms of tensors that may have underflowed, taken of what the tensors are made of."""

    def seen(logarithm: Expr) -> Expr:
        (inside,) = logarithm.args
        through = log(substitute(inside, {n: (o.tensor, o.value) for n, o in powered.items()}))
        safe = stabilise(through)
        return logarithm if safe.has(log) or bare_exponentials(safe) else through

    return value.replace(lambda e: isinstance(e, log) and names_used(e) & set(powered), seen)


def _substituted(let: Let, lets: Mapping[str, Let]) -> Let:
    """A let with the names of others replaced by what they stand for."""
    values = {name: (other.tensor, other.value) for name, other in lets.items()}
    return replace(let, value=substitute(let.value, values))


def stable(lets: Sequence[Let], varying: set[str]) -> list[Let]:
    """The lets of a backward pass in numerically safe form; repeated parts are not named."""
    return with_choices([replace(let, value=stabilise(let.value)) for let in lets], varying)
