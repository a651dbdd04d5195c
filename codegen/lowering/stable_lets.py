"""Lets in numerically safe form: found across lets, as `stable_expressions` does in one of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from sympy import Add, Expr, Pow, exp, log, together

from codegen.lowering.choices import with_choices
from codegen.lowering.exponents import bare_exponentials
from codegen.lowering.forms import Log1p, LogAddExp, LogSoftmax, LogSumExp, Sigmoid, Softmax
from codegen.lowering.moments import about_the_mean
from codegen.lowering.stable_expressions import stabilise
from codegen.lowering.vanishing import vanishing
from derive.calculus.normal import normalise
from derive.calculus.recognise import Named, abstract
from derive.language.definition import Let, needed
from derive.language.expressions import Element, Sum, Where, names_used, tensor_name
from derive.language.substitute import replace_exactly, substitute


def made_safe(lets: Sequence[Let], wanted: Iterable[str]) -> tuple[Let, ...]:
    """The lets that are needed, in numerically safe form; repeated parts are not named."""
    wanted = list(wanted)
    safe = _safe(about_the_mean(needed(lets, wanted)))
    return needed(vanishing(safe, safe), wanted)


def _safe(lets: Sequence[Let]) -> tuple[Let, ...]:
    """Lets in safe form; an exponential that has a name of its own is looked through where that
    makes its users safe, with a sigmoid that it is multiplied by if it takes that, and whatever is
    made of exponentials is under a logarithm."""
    hazards: dict[str, Let] = {}  # what has an exponential left, the others written into it
    direct: dict[str, Let] = {}  # the same, by the names that it reads
    powered: dict[str, Let] = {}  # what is made of exponentials
    meant: dict[str, Let] = {}  # what is safe as it stands, written out
    safe: list[Let] = []
    for let in lets:
        if let.value.has(exp) or set(powered) & names_used(let.value):
            powered[let.name] = let
        let = replace(let, value=_logarithms_seen_through(let.value, powered))
        plain = stabilise(let.value)
        through = _substituted(let, hazards)
        whole = _substituted(through, meant)
        from_one = {n: direct[n] for n in _told_from_one(let.value) & direct.keys()}
        others = (_substituted(let, some) for some in (direct, from_one))
        forms = (through.value, *(other.value for other in others), whole.value)
        value = _first_safe(forms, plain)
        if (known := _logarithms_seen_through(value, powered)) != value:  # those of weights
            value = stabilise(known)
        if through.value != let.value or bare_exponentials(plain):
            hazards[let.name] = through
        if bare_exponentials(plain):
            direct[let.name] = let
        if isinstance(value, LogAddExp | LogSumExp | Sigmoid):
            meant[let.name] = whole
        safe.append(replace(let, value=value))
    return tuple(safe)


def _told_from_one(expr: Expr) -> set[str]:
    """The names of what one is taken from: of an exponential near one, that loses what it is."""
    found: set[str] = set()
    for total in expr.atoms(Add):
        one, rest = total.as_coeff_Add()
        if abs(one) == 1 and isinstance(-one * rest, Element):
            found |= names_used(rest)
    return found


def _first_safe(forms: Iterable[Expr], plain: Expr) -> Expr:
    """The first of some forms that has no exponential left, or else the plain one."""
    found = (stabilise(form) for form in forms)
    return next((value for value in found if not bare_exponentials(value)), plain)


def without_exponentials(lets: Sequence[Let], made: Sequence[Let]) -> tuple[Let, ...]:
    """A backward pass in which none reads exponentials or sums of them, where something safe can be
    read in their place: `p[i,j] * rows[i] / columns[j]` is a softmax along the columns. What cannot
    be made safe by itself is looked through by what reads it, and may then be needed no more."""
    whole = _Meanings.of(made)
    powers = sorted(whole.powers)
    # An exponential that is a factor of its own is none that a sum of them is divided by.
    less = [_Meanings.of(made, frozenset([name])) for name in powers]
    less += [_Meanings.of(made, frozenset(powers))] if len(powers) > 1 else []
    result: list[Let] = []
    through: dict[str, Let] = {}
    for let in lets:
        spelt = substitute(let.value, through.values())
        read = names_used(spelt)
        tried = [whole, *less] if read & {*whole.sums, *whole.powers} else []
        safe = (
            replace(let, value=_by_name(value, meanings.named))
            for meanings in tried
            for value in meanings.safe(spelt)
            if not (bare_exponentials(value) or names_used(value) & meanings.unsafe)
            if not _divisors(value) & meanings.plain
        )
        if (found := next(safe, None)) is None and read & whole.sums.keys():
            through[let.name] = replace(let, value=spelt)
        result.append(found or let)
    return _complemented(result, [let for let in whole.named if isinstance(let.value, Sigmoid)])


def _complemented(lets: Sequence[Let], named: Iterable[Let]) -> tuple[Let, ...]:
    """The lets with each `1 - s` read as the sigmoid of the opposite argument, which does not round
    to zero, where a sigmoid s is read for nothing else."""
    for sigmoid in named:
        found = [
            replace(let, value=_by_name(stabilise(substitute(let.value, [sigmoid])), [sigmoid]))
            if sigmoid.name in names_used(let.value)
            else let
            for let in lets
        ]
        if not any(sigmoid.name in names_used(let.value) for let in found):
            lets = found
    return tuple(lets)


@dataclass(frozen=True)
class _Meanings:
    """What names of exponentials, of sums of them, of their logarithms and of safe quotients stand
    for, but for the names that stay `plain`; the quotients also in safe form. `unsafe` are the
    sums, those of what stays plain too."""

    powers: Mapping[str, Let]
    sums: Mapping[str, Let]
    quotients: Mapping[str, Let]
    logarithms: Mapping[str, Let]
    named: tuple[Let, ...]
    unsafe: frozenset[str]
    plain: frozenset[str]

    @staticmethod
    def of(made: Sequence[Let], plain: frozenset[str] = frozenset()) -> _Meanings:
        """Those of a forward pass, but for the names that are to stay as `plain` as they are."""
        powers: dict[str, Let] = {}
        sums: dict[str, Let] = {}
        quotients: dict[str, Let] = {}
        logarithms: dict[str, Let] = {}
        named: list[Let] = []
        unsafe: set[str] = set()
        for let in made:
            if let.name in plain:
                continue
            known = powers | sums | logarithms
            through = replace(let, value=substitute(let.value, known.values()))
            safe = stabilise(through.value)
            if names_used(through.value) & quotients.keys():
                further = _substituted(through, quotients)
                if isinstance(form := stabilise(further.value), LogAddExp | Softmax):
                    through, safe = further, form
            if isinstance(safe.as_coeff_Mul()[1], LogSoftmax | LogAddExp | LogSumExp):
                logarithms[let.name] = through
                if isinstance(safe, LogAddExp):
                    named.append(replace(let, value=safe))
            elif isinstance(safe, Softmax | Sigmoid):
                quotients[let.name] = through
                named.append(replace(let, value=safe))
            elif bare_exponentials(safe):
                summed = any(total.has(exp) for total in through.value.atoms(Sum))
                (sums if summed else powers)[let.name] = through
                unsafe.update({let.name} if summed else ())
            elif names_used(safe) & unsafe or any(
                names_used(total) & plain for total in safe.atoms(Sum)
            ):
                unsafe.add(let.name)
        return _Meanings(
            powers, sums, quotients, logarithms, tuple(named), frozenset(unsafe), plain
        )

    def safe(self, value: Expr) -> Iterator[Expr]:
        """A value in safe form, all of these names seen through; that of a log-softmax is one. It
        is not multiplied out, which cancels, unless it must be."""
        totals = {n: m for n, m in self.logarithms.items() if not _is_log_softmax(m.value)}
        known = {**self.powers, **self.sums, **self.quotients, **totals}
        through = substitute(value, known.values())
        yield stabilise(through)
        yield stabilise(normalise(_quotients_joined(through)))


def _divisors(value: Expr) -> set[str]:
    """The names of which sums are made that something is divided by."""
    below = [e for e in value.atoms(Pow) if isinstance(e.base, Add) and e.exp.is_negative]
    return names_used(*below)


def _is_log_softmax(value: Expr) -> bool:
    return isinstance(stabilise(value), LogSoftmax)


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
                value = replace_exactly(value, found, Named(let.tensor, own).at(letters))
    return value


def _logarithms_seen_through(value: Expr, powered: Mapping[str, Let]) -> Expr:
    """Logarithms of tensors that may have underflowed, taken of what the tensors are made of, as
    far as it takes to be safe. A choice is read as it is where it weighs an exponential."""

    choices = {name for name, let in powered.items() if isinstance(let.value, Where)}
    others = {name: let for name, let in powered.items() if name not in choices}

    def seen(logarithm: Expr) -> Expr:
        for lets in (powered, others):
            through, safe = logarithm, stabilise(logarithm)
            while inside := names_used(*safe.atoms(log, Log1p)) & lets.keys():
                through = substitute(through, [lets[name] for name in sorted(inside)])
                safe = stabilise(through)
                left = {tensor_name(one.args[0]) for one in safe.atoms(log) if one.has(Element)}
                if left <= choices and not bare_exponentials(safe):
                    return through
        return logarithm

    return value.replace(lambda e: isinstance(e, log) and names_used(e) & set(powered), seen)


def _substituted(let: Let, lets: Mapping[str, Let]) -> Let:
    """A let with the names of others replaced by what they stand for."""
    return replace(let, value=substitute(let.value, lets.values()))


def stable(lets: Sequence[Let], made: Sequence[Let]) -> list[Let]:
    """The lets of a backward pass in numerically safe form; repeated parts are not named. `made`
    are those of the passes before."""
    safe = [replace(let, value=stabilise(let.value)) for let in lets]
    return with_choices(vanishing(safe, _safe(made)), made)
