"""Names that say exactly what is computed, where those are short.

    x - target          x_minus_target        exp(-x)             exp_neg_x
    sum_c(grad_y*y)     grad_y_dot_y          log(1 + exp(x))     softplus_x
    x - mean            x_centred             where(z == 0, 1, z) z_or_one

What stands beside another name is made of one thing, so that each name can be read in one way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sympy import (
    Add,
    Basic,
    Eq,
    Expr,
    Function,
    Ge,
    Gt,
    Integer,
    KroneckerDelta,
    Le,
    Lt,
    Mul,
    Ne,
    Pow,
    Rational,
    S,
    Symbol,
    exp,
    log,
)
from sympy.core.relational import Relational
from sympy.logic.boolalg import Boolean

from derive.language.cotangents import FIRST_ORDER, PREFIX
from derive.language.expressions import (
    Binder,
    Element,
    Index,
    Parameter,
    StopGradient,
    Sum,
    Where,
    count_of,
    free_indices,
    is_scalar,
)

LONGEST = 44
GRADIENT = (PREFIX, FIRST_ORDER)
"""What the names of cotangents begin with."""

_POWERS: Mapping[Any, str] = {
    Integer(2): "{}_squared",
    Integer(3): "{}_cubed",
    Integer(4): "{}_to_the_4",
    S.Half: "root_{}",
    -S.One: "inv_{}",
    Integer(-2): "inv_{}_squared",
    Integer(-3): "inv_{}_cubed",
    Rational(-1, 2): "inv_root_{}",
}
_SIGNS: Mapping[Any, str] = {S.One: "", -S.One: "neg_"}
_INSTEAD: Mapping[Basic, str] = {
    S.NegativeInfinity: "masked",
    S.Zero: "masked",
    S.One: "or_one",
}
"""What is said of a choice by the constant that it has in place of something, the first first."""

_ASKED: Mapping[type[Basic], Mapping[Basic | None, str]] = {
    Eq: {S.Zero: "is_zero", S.One: "is_one"},
    Ne: {S.Zero: "not_zero", S.One: "not_one"},
    Gt: {S.Zero: "positive", None: "high"},
    Ge: {S.Zero: "not_negative", None: "high"},
    Lt: {S.Zero: "negative", None: "low"},
    Le: {S.Zero: "not_positive", None: "low"},
}
"""What is so of the left side of a relation to a number; to any other under None."""

_SHIFTED = ("_centred", "_shifted")
_SCALED = (*_SHIFTED, "_hat")
"""What a tensor is called that was shifted already, by a smaller one, or scaled by one after it."""


def exact(expr: Basic) -> str | None:
    """The name that says exactly what an expression is; None where there is none."""
    if (spoken := _spoken(expr)) is not None:
        return called(*spoken)
    made = of_kind(_EXACT, expr)
    return made(expr) if made is not None else None


def of_kind(table: Mapping[type[Basic], Any], expr: Basic) -> Any:
    """The row of a table by kinds of nodes for an expression; None where it has none."""
    return next((row for kind, row in table.items() if isinstance(expr, kind)), None)


def _spoken(expr: Basic) -> tuple[str, Expr] | None:
    """A function that has a name, though it is written out, and what it is taken of."""
    if isinstance(expr, log) and (inside := _beside_one(expr.args[0])) is not None:
        return "softplus", inside
    if isinstance(expr, Pow) and expr.exp == -1 and (inside := _beside_one(expr.base)) is not None:
        return "sigmoid", -inside
    return getattr(expr, "spoken", None)


def _beside_one(total: Basic) -> Expr | None:
    """The w of `1 + exp(w)`."""
    power = total - 1 if isinstance(total, Add) else None
    return power.args[0] if isinstance(power, exp) else None


def called(function: str, argument: Expr) -> str:
    """A name for a function of something: `exp_x`, `exp_neg_x`, and `exp_scaled_x` of a number
    times x; `exp_x_minus_y`, but of what is no shorter than that `exp_inner`. What is made of what
    lies at one place is called after what says where, `logsumexp_x_by_j`."""
    argument, place = _at_places(argument)
    if place:
        return f"{called(function, argument)}{place}"
    coefficient, rest = apart(argument)
    sign = _SIGNS.get(coefficient, "scaled_")
    plain = sign != "scaled_" and all(isinstance(a, Element | Symbol) for a in _parts(rest))
    name = exact(rest) if plain else closed(rest)
    whole = f"{function}_{sign}{name}"
    return whole if name and len(whole) <= LONGEST else f"{function}_inner"


def _parts(expr: Expr) -> list[Expr]:
    """What is added or multiplied, signs and one aside."""
    parts = expr.args if isinstance(expr, Add | Mul) else (expr,)
    unsigned = (-part if part.could_extract_minus_sign() else part for part in parts)
    return [part for part in unsigned if part != 1]


def _of_function(expr: Basic) -> str | None:
    tensors = [a for a in expr.args if not is_scalar(a)]
    name = type(expr).__name__.lower()
    return called(name, tensors[0]) if len(tensors) == len(expr.args) == 1 else None


def of_element(element: Element) -> str:
    """`x_0` is `x[n, 0]`, `x_at_place` is `x[n, place[n]]`."""
    looked_up = [e.tensor_name for e in element.indices if isinstance(e, Element)]
    return "_at_".join(["_".join([element.tensor_name, *_places(element)]), *looked_up])


def _of_power(expr: Pow) -> str | None:
    name = exact(expr.base)
    return name and _POWERS.get(expr.exp, "{}_power").format(name)


def _of_product(expr: Mul) -> str | None:
    if (body := mean_of(expr)) is not None:
        return f"{name}_mean" if (name := exact(body)) else None
    coefficient, rest = apart(expr)
    name = _of_factors(Mul.make_args(rest))
    if name is None or coefficient == 1:
        return name
    return f"neg_{name}" if coefficient == -1 else f"{name}_scaled"


def mean_of(expr: Mul) -> Expr | None:
    """What an expression is the mean of."""
    coefficient, rest = apart(expr)
    is_mean = isinstance(rest, Sum) and coefficient * count_of(rest.indices) == 1
    return rest.args[0] if is_mean else None


def _of_factors(factors: Sequence[Expr]) -> str | None:
    if len(factors) == 1:
        return exact(factors[0])
    above = [f for f in factors if not divides(f)]
    if len(factors) == 2 and len(above) == 1:
        (below,) = (1 / f for f in factors if f not in above)
        return _joined("over", above[0], below)
    return _joined("times", *in_order(factors)) if len(factors) == 2 else None


def _of_terms(expr: Add) -> str | None:
    if mixes_sizes(expr):
        return _of_shift(expr)
    if len(expr.args) != 2:
        return None
    number, rest = expr.as_coeff_Add()
    if number != 0:
        return _beside_number(number, rest)
    added = [a for a in expr.args if not _is_negative(a)]
    taken = [-a for a in expr.args if a not in added]
    if len(added) == 2:
        return _joined("plus", *in_order(added))
    if not added:
        return None
    name = closed(taken[0])
    if name is not None and name == closed(added[0]):
        return f"{name}_difference"  # of two places in one tensor
    return _joined("minus", added[0], taken[0])


def _beside_number(number: Expr, rest: Expr) -> str | None:
    """`one_plus_x`, `one_minus_x`, `x_minus_one`."""
    name = closed(-rest if _is_negative(rest) else rest)
    if name is None or abs(number) != 1 or (number == -1 and _is_negative(rest)):
        return None
    if number == -1:
        return f"{name}_minus_one"
    return f"one_{'minus' if _is_negative(rest) else 'plus'}_{name}"


def _of_sum(expr: Sum) -> str | None:
    """`x_sum`, `x_dot_y` of what is multiplied first; `x_by_j` of what is added up where j says,
    and `j_count` of ones."""
    factors = Mul.make_args(expr.body)
    places = names(Mul(*(f for f in factors if isinstance(f, KroneckerDelta))))
    if len(places) == 1:
        rest = Mul(*(f for f in factors if not isinstance(f, KroneckerDelta)))
        name = exact(rest)
        return f"{places[0]}_count" if rest == 1 else name and f"{name}_by_{places[0]}"
    if len(factors) == 2 and not any(is_scalar(f) or divides(f) for f in factors):
        return _joined("dot", *in_order(factors))
    return f"{name}_sum" if (name := exact(expr.body)) else None


def _of_binder(expr: Binder) -> str | None:
    """`x_max`, and `x_max_by_j` of what lies at one place."""
    rest, place = _at_places(expr.body)
    return f"{name}_{expr.ending}{place}" if (name := exact(rest)) else None


def _at_places(expr: Expr) -> tuple[Expr, str]:
    """What is beside the logarithm of a delta, which leaves out what does not lie at one place, and
    what is said of that."""
    for mask in (t for t in Add.make_args(expr) if isinstance(t, log)):
        if isinstance(mask.args[0], KroneckerDelta) and len(names(mask)) == 1:
            return expr - mask, f"_by_{names(mask)[0]}"
    return expr, ""


def _of_condition(condition: Boolean) -> str | None:
    """`x_is_zero`, `near_positive`, `log_x_low`: what is so of what stands beside a number."""
    if isinstance(condition, Eq) and all(isinstance(side, Index) for side in condition.args):
        return "diagonal"
    if not isinstance(condition, Relational) or not condition.atoms(Element):
        return None
    sided = condition.reversed if condition.lhs.is_number else condition
    asked = _ASKED.get(type(sided), {}) if sided.rhs.is_number else {}
    how, name = asked.get(sided.rhs, asked.get(None)), exact(sided.lhs)
    return f"{name}_{how}" if how and name else None


def _of_choice(choice: Where) -> str | None:
    """`x_masked` where what is chosen elsewhere is 0 or an exponent's -inf, `x_or_one` for 1."""
    if (found := kept(choice)) is not None:
        name, instead = exact(found[0]), found[1]
        return f"{name}_{instead}" if name else None
    tensors = [b for b in choice.branches if not is_scalar(b)]
    return _joined("or", *tensors, *(b for b in choice.branches if b not in tensors))


_EXACT: Mapping[type[Basic], Callable[[Any], str | None]] = {
    Symbol: lambda symbol: symbol.name,  # before a condition, which SymPy holds it for, too
    Element: of_element,
    StopGradient: lambda stopped: exact(stopped.args[0]),
    Boolean: _of_condition,
    Sum: _of_sum,
    Binder: _of_binder,
    Pow: _of_power,
    Add: _of_terms,
    Mul: _of_product,
    Where: _of_choice,
    Function: _of_function,
}
"""What an expression is called exactly, by its kind, if it is."""


def _joined(how: str, one: Expr, other: Expr) -> str | None:
    """`x_minus_y`; what is the same but for letters, or for where gradients stop, has no such name
    but for a choice of them."""
    first, second = closed(one), closed(other)
    if not (first and second):
        return None
    if first == second:
        return first if how == "or" else None
    return f"{first}_{how}_{second}"


def closed(expr: Expr) -> str | None:
    """The exact name of what can stand beside another one: it is made of one thing."""
    return None if isinstance(_core(expr), Add | Mul | Where) else exact(expr)


def _core(expr: Expr) -> Expr:
    """What functions, sums, choices of zero and numbers before them leave of an expression."""
    rest = apart(expr)[1]
    if (spoken := _spoken(rest)) is not None:
        return _core(spoken[1])
    if isinstance(rest, Where) and (found := kept(rest)) is not None:
        return _core(found[0])
    return _core(rest.args[0]) if isinstance(rest, Pow | Binder | Function) else rest


def in_order(exprs: Iterable[Expr]) -> list[Expr]:
    """Gradients first, and options last; else by their names."""
    return sorted(exprs, key=lambda e: (not gradients(e), is_scalar(e), exact(e) or "", str(e)))


def apart(expr: Basic) -> tuple[Expr, Expr]:
    """The number that something is multiplied by, of options and sizes too, and the rest."""
    scalars = [f for f in Mul.make_args(expr) if is_scalar(f)]
    return Mul(*scalars), Mul(*(f for f in Mul.make_args(expr) if f not in scalars))


def _is_negative(term: Expr) -> bool:
    return apart(term)[0].could_extract_minus_sign()


def divides(factor: Basic) -> bool:
    return isinstance(factor, Pow) and bool(factor.exp.is_negative)


def kept(choice: Where) -> tuple[Expr, str] | None:
    """What is kept of a choice that has a constant elsewhere, and what is said of it then."""
    for constant, instead in _INSTEAD.items():
        for one, other in (choice.branches, choice.branches[::-1]):
            if one == constant and not other.is_number:
                return other, instead
    return None


def _of_shift(expr: Add) -> str | None:
    """A name for a full tensor that one which lacks an axis is subtracted from, or added to."""
    letters = free_indices(expr)
    (full,) = (a for a in expr.args if free_indices(a) == letters)
    name = _first(full, _SHIFTED) if isinstance(full, Element) else closed(full)
    return f"{name}_{shifted(expr)}" if name else None


def shifted(expr: Expr) -> str:
    return "centred" if is_centred(expr) else "shifted"


def is_centred(expr: Expr) -> bool:
    """Whether one that lacks an axis is subtracted from a full tensor, as a mean is."""
    letters = free_indices(expr)
    smaller = (a for a in expr.args if free_indices(a) < letters and not is_scalar(a))
    return mixes_sizes(expr) and all(a.could_extract_minus_sign() for a in smaller)


def gradients(expr: Basic) -> list[str]:
    """The names of the cotangents that an expression is made of, in order."""
    return [name for name in tensors(expr) if name.startswith(GRADIENT)]


def names(expr: Basic) -> list[str]:
    """The names of the tensors in an expression, in order."""
    found: dict[str, None] = {}
    for element in sorted(expr.atoms(Element), key=str):
        found.setdefault(element.tensor_name)
    return list(found)


def tensors(expr: Basic) -> list[str]:
    """The same, with those of tensors without axes."""
    alone = {s.name for s in expr.free_symbols if _is_tensor(s)}
    return [*names(expr), *sorted(alone - {*names(expr)})]


def _is_tensor(symbol: Basic) -> bool:
    return isinstance(symbol, Symbol) and not isinstance(symbol, Index | Parameter)


def scaled_name(element: Expr) -> str:
    """What an element is called with a smaller tensor before it, be it shifted already."""
    return f"{_first(element, _SCALED)}_hat"


def _first(element: Expr, endings: Iterable[str]) -> str:
    """What an element was called before it was shifted or scaled."""
    if not isinstance(element, Element):
        return str(element)
    name = element.tensor_name
    for ending in endings:
        name = name.removesuffix(ending)
    return "_".join([name, *_places(element)])


def _places(element: Element) -> list[str]:
    """The literal indices of an element."""
    return [str(i) for i in element.indices if isinstance(i, Integer)]


def mixes_sizes(expr: Basic) -> bool:
    """Whether a sum joins a full tensor with one that lacks an axis: a shift."""
    if not isinstance(expr, Add):
        return False
    letters = free_indices(expr)
    nonscalar = [a for a in expr.args if not is_scalar(a)]
    return (
        len(nonscalar) == 2
        and any(free_indices(a) == letters for a in nonscalar)
        and any(free_indices(a) < letters for a in nonscalar)
    )
