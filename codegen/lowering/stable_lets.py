"""Lets in numerically safe form: found across lets, as `stable_expressions` does in one of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from sympy import Add, Expr, Pow, erf, exp, log, sinh, together

from codegen.lowering import elementary
from codegen.lowering.choices import with_choices
from codegen.lowering.complements import complemented, without_growth
from codegen.lowering.forms import (
    Expm1,
    Log1p,
    LogAddExp,
    LogSoftmax,
    LogSumExp,
    Sigmoid,
    Softmax,
)
from codegen.lowering.hazards import LOG_SUMS, bare_exponentials, is_a_part, is_below_two
from codegen.lowering.stable_expressions import stabilise
from codegen.lowering.tails import without_tails
from codegen.lowering.underflow import by_name, is_safe_logarithm, without_underflow
from codegen.lowering.vanishing import vanishing
from derive.calculus.normal import normalise
from derive.language.definition import Let, needed
from derive.language.expressions import Element, Sum, Where, names_used, tensor_name
from derive.language.functions import erfc
from derive.language.substitute import substitute


def made_safe(lets: Sequence[Let], wanted: Iterable[str]) -> tuple[Let, ...]:
    """The lets that are needed, in numerically safe form; repeated parts are not named."""
    wanted = list(wanted)
    plain = needed(lets, wanted)
    whole = [w for i, let in enumerate(plain) for w in without_underflow([let], plain[:i])]
    safe = _safe(without_tails(whole, whole))
    safe = complemented(safe, safe, instead=False)
    return needed(_powers_near_one(vanishing(safe, safe)), wanted)


def _powers_near_one(lets: Iterable[Let]) -> list[Let]:
    return [replace(let, value=elementary.powers(let.value)) for let in lets]


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
        if let.value.has(exp, sinh, erf, erfc) or set(powered) & names_used(let.value):
            powered[let.name] = let
        let = replace(let, value=_logarithms_seen_through(let.value, powered))
        plain = stabilise(let.value)
        through = _substituted(let, hazards)
        whole = _substituted(through, meant)
        from_one = _told_from_one(let.value, direct)
        forms = (through.value, _substituted(let, direct).value, from_one, whole.value)
        value = _first_safe(forms, plain)
        if (known := _logarithms_seen_through(value, powered)) != value:  # those of weights
            value = stabilise(known)
        if through.value != let.value or bare_exponentials(plain):
            hazards[let.name] = through
        if bare_exponentials(plain):
            direct[let.name] = let
        if value.has(Expm1) and not (other := stabilise(whole.value)).has(Expm1, exp):
            value = other  # nothing is left that grows
        if isinstance(value, LogAddExp | LogSumExp | Sigmoid):
            meant[let.name] = whole
        safe.append(replace(let, value=value))
    return tuple(safe)


def _told_from_one(value: Expr, powers: Mapping[str, Let]) -> Expr:
    """A value in which what one is taken from is written out: it loses what an exponential near one
    is."""

    def told(total: Expr) -> Expr:
        one, rest = total.as_coeff_Add()
        is_difference = abs(one) == 1 and isinstance(-one * rest, Element)
        told = stabilise(substitute(total, powers.values())) if is_difference else total
        return total if bare_exponentials(told) else told

    return value.replace(lambda e: isinstance(e, Add) and bool(names_used(e) & powers.keys()), told)


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
        reads = bool(read & {*whole.sums, *whole.powers})
        forms = chain(whole.safe(spelt), whole.met(spelt), *(some.safe(spelt) for some in less))
        found = next((replace(let, value=form) for form in forms), None) if reads else None
        if found is None and read & whole.sums.keys():
            through[let.name] = replace(let, value=spelt)
        let = found or let
        result.append(replace(let, value=_told_from_one(let.value, whole.powers)))
    safe = without_tails(without_growth(without_underflow(result, made), made), made)
    integrals = (let for let in made if isinstance(let.value, erf))
    return complemented(safe, [*whole.named, *integrals])


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
        """A value in the safe forms that it has, all of these names seen through; that of a
        log-softmax is one. It is not multiplied out, which cancels, unless it must be."""
        totals = {n: m for n, m in self.logarithms.items() if not _is_log_softmax(m.value)}
        known = {**self.powers, **self.sums, **self.quotients, **totals}
        through = substitute(value, known.values())
        for form in (lambda: through, lambda: normalise(_quotients_joined(through))):
            safe = stabilise(form())
            left = bare_exponentials(safe) or names_used(safe) & self.unsafe
            if not (left or _divisors(safe) & self.plain):
                yield by_name(safe, self.named)

    def met(self, value: Expr) -> Iterator[Expr]:
        """A value in which exponentials have met the sum of them that they are divided by, if those
        that are left have names: `(r + y)*m/(r + m)` is `y*exp(log(m) - log(r + m))`, and another
        such with `log(r)` besides."""
        names = names_used(value) & self.powers.keys()
        below = {n for n in names if stabilise(self.powers[n].value).has(*LOG_SUMS)}
        if not below or names == below:
            return
        plain = [let for let in self.powers.values() if isinstance(let.value, exp)]
        found = by_name(stabilise(substitute(value, self.powers.values())), plain)
        exponents = [power.args[0] for power in found.atoms(exp)]
        if all(is_a_part(e) or is_below_two(e) for e in exponents):
            yield by_name(found, self.named)


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


def _logarithms_seen_through(value: Expr, powered: Mapping[str, Let]) -> Expr:
    """Logarithms of tensors that may have underflowed, taken of what the tensors are made of, as
    far as it takes to be safe. A choice is read as it is where it weighs an exponential; and so is
    what nothing comes of but the same logarithm, written out."""

    choices = {name for name, let in powered.items() if isinstance(let.value, Where)}
    others = {name: let for name, let in powered.items() if name not in choices}

    def seen(logarithm: Expr) -> Expr:
        for lets in (powered, others):
            through, safe = logarithm, stabilise(logarithm)
            while inside := names_used(*safe.atoms(log, Log1p)) & lets.keys():
                meant = [lets[name] for name in sorted(inside)]
                through, same = substitute(through, meant), substitute(safe, meant)
                safe = stabilise(through)
                if safe == same and safe.has(log, Log1p):
                    continue
                small = (e.args[0] for e in safe.atoms(log) if names_used(e) & powered.keys())
                if is_safe_logarithm(safe) and {*map(tensor_name, small)} <= choices:
                    return through
        return logarithm

    return value.replace(lambda e: isinstance(e, log) and names_used(e) & set(powered), seen)


def _substituted(let: Let, lets: Mapping[str, Let]) -> Let:
    """A let with the names of others replaced by what they stand for."""
    return replace(let, value=substitute(let.value, lets.values()))


def stable(lets: Sequence[Let], made: Sequence[Let]) -> list[Let]:
    """The lets of a backward pass in numerically safe form; repeated parts are not named. `made`
    are those of the passes before."""
    safe = _powers_near_one(replace(let, value=stabilise(let.value)) for let in lets)
    return with_choices(vanishing(safe, _safe(made)), made)
