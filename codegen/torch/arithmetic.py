"""Sums and products of tensors, in few kernels.

A product is gathered into a number and at most two tensors, smaller shapes multiplied
first, so that a sum can take it into `addcmul`, `addmm` or the `alpha` of `add`. A sum grows one
accumulator, in place once it owns it. A literal scope keeps one operation, and one
rounding, for each that is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sympy import Add, KroneckerDelta, Mul, Pow, S

from codegen.program import is_number
from codegen.spelling import is_one_over
from codegen.torch.functions import POWERS
from codegen.torch.scalars import is_count, scalar
from codegen.torch.scatter import Scatter, added_to, as_added, as_scatter, filled, scattered
from codegen.torch.scope import Emit, Scope
from codegen.torch.values import (
    ATOM,
    PLUS,
    TIMES,
    UNARY,
    Update,
    Value,
    call,
    letters_of,
    line_up,
    permute,
)
from derive.language.cotangents import cotangents_in
from derive.language.expressions import Element, Index, Sum, count_of, free_indices
from derive.printing.arrange import in_steps


@dataclass(frozen=True)
class Scaled:
    """A number times one tensor, or times two that are not multiplied yet; `is_gradient` says that
    a cotangent is among what they are made of."""

    scale: Any
    left: Value
    right: Value | None = None
    is_gradient: bool = False

    @property
    def values(self) -> list[Value]:
        return [self.left] if self.right is None else [self.left, self.right]

    @property
    def letters(self) -> set[Index]:
        return set(letters_of(self.values))


# --- products ---


def multiply(expr: Any, scope: Scope, emit: Emit) -> Value:
    """A product, number and all."""
    scatter = as_scatter(expr, free_indices(expr))
    if scatter is not None:
        return scattered(filled(scatter, scope), scatter, scope, emit)
    return _one_plus_product(expr, scope, emit) or finished(gathered(expr, scope, emit), scope)


def _one_plus_product(expr: Any, scope: Scope, emit: Emit) -> Value | None:
    """`g * (1 - h**2)` as `g - (g*h)*h`: two kernels, and one temporary, where there were three.

    Of squares alone: where `g*h` is too large, so is `g*h**2`, which of other products is not sure.
    """
    factors = Mul.make_args(expr)
    sums = [f for f in factors if isinstance(f, Add)]
    others = [f for f in factors if f not in sums]
    if scope.literal or len(factors) != 2 or len(sums) != 1 or not isinstance(others[0], Element):
        return None
    constant, rest = sums[0].as_coeff_Add()
    scale, term = rest.as_coeff_Mul()
    square = isinstance(term, Pow) and term.exp == 2 and isinstance(term.base, Element)
    if constant != 1 or not square or free_indices(term) != free_indices(others[0]):
        return None
    outer, inner = emit(others[0], scope), emit(term.base, scope)
    product = times(replace(outer, fresh=False), inner, scope)
    return _plus(outer, Scaled(scale, product, inner), scope)


def gathered(expr: Any, scope: Scope, emit: Emit) -> Scaled:
    """A product as a number and at most two tensors."""
    numbers = [f for f in Mul.make_args(expr) if is_number(f)]
    tensors = [f for f in Mul.make_args(expr) if not is_number(f)]
    scale = Mul(*numbers)
    deltas = [f for f in tensors if isinstance(f, KroneckerDelta)]
    rest = [f for f in tensors if not isinstance(f, KroneckerDelta)]
    if deltas and rest:
        return Scaled(scale, _masked(deltas, Mul(*rest), scope, emit))
    scale, tensors = _means(scale, tensors, scope)
    over: list[Value] = []
    under: list[Value] = []
    for factor in tensors:
        if isinstance(factor, _Mean):
            over.append(emit_mean(factor, scope, emit))
        elif isinstance(factor, Pow) and factor.exp == -1:
            under.append(scope.real(emit(factor.base, scope)))
        else:
            over.append(scope.real(emit(factor, scope)))
    return _associated(scale, over, under, scope)


@dataclass(frozen=True)
class _Mean:
    sum: Any


def _means(scale: Any, factors: list[Any], scope: Scope) -> tuple[Any, list[Any]]:
    """Take 1/N out of the number where a factor sums over that axis: it is a mean.

    Not out of 1/sqrt(N), which would leave a root to multiply the mean by.
    """
    if scope.literal:
        return scale, factors
    found: list[Any] = []
    for factor in factors:
        if isinstance(factor, Sum) and not factor.body.has(KroneckerDelta):
            count = count_of(factor.indices)
            left: Any = scale * count
            root = any(p.exp.is_Rational and abs(p.exp) < 1 for p in scale.atoms(Pow))
            whole = left.free_symbols <= scale.free_symbols  # 1/N of a sum over n and k is no mean
            shorter = left.count_ops() < scale.count_ops() or left in (1, -1)
            bound = all(i in free_indices(factor.body) for i in factor.indices)
            if shorter and whole and bound and not root:
                found, scale = [*found, _Mean(factor)], left
                continue
        found.append(factor)
    return scale, found


def emit_mean(mean: _Mean, scope: Scope, emit: Emit) -> Value:
    """The mean of a sum's body; where the sum is a contraction, the sum divided by its count."""
    value = emit(mean.sum, scope)
    if value.reduction is not None and value.reduction.function == "sum":
        reduction = replace(value.reduction, function="mean")
        return replace(value, code=reduction.code(), reduction=reduction)
    return scaled(value, 1 / count_of(mean.sum.indices), scope)


def _masked(deltas: Sequence[Any], rest: Any, scope: Scope, emit: Emit) -> Value:
    """A value where indices are equal, zero elsewhere."""
    value = finished(gathered(rest, scope, emit), scope)
    if len(deltas) == 1 and (diagonal := _on_diagonal(deltas[0], value, scope)) is not None:
        return diagonal
    masks = [emit(d, scope) for d in deltas]
    lined, layout = line_up([*masks, value], scope.order, scope.size)
    mask = " & ".join(m.at(ATOM) if len(masks) > 1 else m.text for m in lined[:-1])
    return Value(f"torch.where({mask}, {lined[-1].text}, 0)", layout, fresh=True)


def _on_diagonal(delta: Any, value: Value, scope: Scope) -> Value | None:
    """The matrices that have a value's vectors on their diagonals, if that is what is meant."""
    along = [i for i in delta.args if (i,) in scope.split(value).dims]
    others = [i for i in delta.args if isinstance(i, Index) and i not in value.letters]
    if len(along) != 1 or len(others) != 1:
        return None
    value = scope.split(value)
    rest = tuple(dim for dim in value.dims if dim != (along[0],))
    vectors = permute(value, (*rest, (along[0],)))
    dims = (*vectors.dims, (others[0],))
    return Value(f"torch.diag_embed({vectors.text})", dims, fresh=True)


def _associated(scale: Any, over: list[Value], under: list[Value], scope: Scope) -> Scaled:
    """Multiply tensors of one shape first, then smaller shapes into larger ones."""
    shapes: dict[frozenset[Index], tuple[list[Value], list[Value]]] = {}
    for values, place in ((over, 0), (under, 1)):
        for value in values:
            shapes.setdefault(frozenset(value.letters), ([], []))[place].append(value)
    pending: list[tuple[str, Value]] = []
    for shape in sorted(shapes, key=len):
        pending += [("*", v) for v in shapes[shape][0]]
        pending += [("/", v) for v in shapes[shape][1]]
    first = next((p for p in pending if p[0] == "*"), None)
    if first is None:
        sign, only = pending[0]
        pending = pending[1:]
        if not pending and scale != 1 and not scope.literal:
            return Scaled(S.One, _quotient(scalar(scale), only, scope))
        running = call(POWERS[S.NegativeOne], only)
    else:
        pending.remove(first)
        running = first[1]
    while pending:
        sign, value = pending.pop(0)
        if not pending and sign == "*":
            return Scaled(scale, running, value)
        running = times(running, value, scope) if sign == "*" else _quotient(running, value, scope)
    return Scaled(scale, running)


def times(left: Value, right: Value, scope: Scope) -> Value:
    """The elementwise product, in place where one side is owned and has the whole shape."""
    union = set(letters_of([left, right]))
    for target, other in ((right, left), (left, right)):
        if set(target.letters) == union and _fits(target, scope):
            lined, layout = line_up([target, other], target.letters, scope.size)
            if layout == target.dims:
                factor, in_place = lined[1], scope.in_place(target, other)
                return target.then(Update("mul", factor.text, "*", factor, in_place))
    (one, other), layout = line_up([left, right], scope.order, scope.size)
    return Value(f"{one.at(TIMES)} * {other.at(UNARY)}", layout, binds=TIMES, fresh=True)


def _fits(target: Value, scope: Scope) -> bool:
    """Whether a tensor is worth changing: one with several axes, which is ours."""
    return scope.may_update(target) and len(target.letters) > 1 and not scope.literal


def _quotient(left: Value, right: Value, scope: Scope) -> Value:
    (one, other), layout = line_up([left, right], scope.order, scope.size)
    return Value(f"{one.at(TIMES)} / {other.at(UNARY)}", layout, binds=TIMES, fresh=True)


def scaled(value: Value, scale: Any, scope: Scope) -> Value:
    """A tensor times a number."""
    if scale == 1:
        return value
    if scale == -1:
        if value.updates:
            return value.then(Update("neg"))
        return Value(f"-{value.at(UNARY)}", value.dims, binds=UNARY, fresh=True)
    divisor = 1 / scale
    number = scalar(scale)
    if not scope.literal and _is_simpler(divisor, scale):
        below = scalar(divisor)
        if value.updates:
            return value.then(Update("div", below.text, "/", below))
        code = f"{value.at(TIMES)} / {below.at(UNARY)}"
        return Value(code, value.dims, binds=TIMES, fresh=True)
    if value.updates:
        return value.then(Update("mul", number.text, "*", number))
    return Value(f"{number.at(TIMES)} * {value.at(UNARY)}", value.dims, binds=TIMES, fresh=True)


def _is_simpler(divisor: Any, scale: Any) -> bool:
    """Whether dividing by a number reads better than multiplying with its inverse: `/ N`, and
    `/ 2**0.5`."""
    numerator, _ = scale.as_numer_denom()
    root = scale.is_number and scale.is_positive and is_one_over(scale**2)
    return numerator == 1 or root or (numerator == -1 and divisor.is_number is False)


def finished(product: Scaled, scope: Scope) -> Value:
    """The product carried out: the number goes to the smaller tensor, and one that makes the
    product smaller before it, which then does not overflow."""
    if product.right is None:
        return scaled(product.left, product.scale, scope)
    left, right = product.left, product.right
    if product.scale != 1:
        shrinks = product.scale.is_number and abs(product.scale) < 1
        alike = len(left.letters) == len(right.letters)
        if left.fresh and not right.fresh and alike and not shrinks:
            return scaled(times(left, right, scope), product.scale, scope)
        left = scaled(left, product.scale, scope)
    return times(left, right, scope)


# --- sums ---


def add(expr: Any, scope: Scope, emit: Emit) -> Value:
    """A sum of terms, grown in one accumulator."""
    if not scope.whole and _is_of_integers(expr):
        return scope.real(emit(expr, replace(scope, whole=True, literal=True)))
    everything = free_indices(expr)
    constant: Any = S.Zero
    scatters: list[Scatter] = []
    plain: list[Any] = []
    for term in Add.make_args(expr):
        scatter = as_scatter(term, everything)
        if is_number(term):
            constant += term
        elif scatter is not None:
            scatters.append(scatter)
        else:
            plain.append(term)
    added = [t for t in plain if free_indices(t) == everything and as_added(t) is not None]
    together = added if len(added) > 1 else []
    plain = [t for t in plain if t not in together]
    found = [replace(gathered(t, scope, emit), is_gradient=bool(cotangents_in(t))) for t in plain]
    if together:
        found.append(Scaled(S.One, _added_up(together, scope, emit)))
    terms = _merged(found, scope)
    if scatters and not terms:
        value = filled(scatters[0], scope, constant)
    else:
        value = _accumulated(terms, constant, scope)
    assert value is not None
    for scatter in scatters:
        value = scattered(value, scatter, scope, emit)
    return value


def _is_of_integers(expr: Any) -> bool:
    """Whether elements of integer tensors are added up, which is exact before they are rounded to
    real numbers: of large ones only the difference may be small."""
    terms = [term.as_coeff_Mul() for term in Add.make_args(expr)]
    elements = [rest for number, rest in terms if number.is_Integer and isinstance(rest, Element)]
    numbers = [term for term in Add.make_args(expr) if term.is_Integer]
    whole = all(element.is_integer for element in elements)
    return whole and bool(elements) and len(elements) + len(numbers) == len(terms)


def _added_up(sums: Sequence[Any], scope: Scope, emit: Emit) -> Value:
    """Sums whose terms go to positions, in one tensor that all of them are added to."""
    first, *others = sorted(sums, key=lambda term: term.could_extract_minus_sign())
    value = emit(first, scope)
    for term in others:
        value = added_to(value, term, scope, emit)
    return value


def _merged(terms: list[Scaled], scope: Scope) -> list[Scaled]:
    """Add up terms of one small shape first, so that only their sum meets the large one."""
    everything = set().union(*(t.letters for t in terms)) if terms else set()
    groups: dict[frozenset[Index], list[Scaled]] = {}
    for term in terms:
        groups.setdefault(frozenset(term.letters), []).append(term)
    merged: list[Scaled] = []
    for shape, group in groups.items():
        if len(group) > 1 and shape < everything:
            total = _accumulated(group, S.Zero, scope)
            assert total is not None
            group = [Scaled(S.One, total)]
        merged += group
    return merged


def _accumulated(terms: list[Scaled], constant: Any, scope: Scope) -> Value | None:
    if not terms:
        return scalar(constant) if constant != 0 else None
    (constant, *more), small = in_steps(constant)
    value = _accumulated_from(terms, Add(constant, *more), scope)
    for number in small:
        value = _plus_number(value, number)
    return value


def _accumulated_from(terms: list[Scaled], constant: Any, scope: Scope) -> Value:
    """The terms and one number, in one accumulator."""
    head, rest = _head(terms, scope)
    if constant != 0 and head.right is None and not rest and head.scale == -1:
        number = scalar(constant)
        code = f"{number.at(PLUS)} - {head.left.at(TIMES)}"
        return Value(code, head.left.dims, binds=PLUS, fresh=True)
    if constant != 0 and head.right is None and not rest and not scope.literal:
        scale: Any = -head.scale
        inverse = not scale.is_number and (1 / scale).count_ops() < scale.count_ops()
        if inverse and (is_count(-1 / scale) or not scale.could_extract_minus_sign()):
            code = f"torch.rsub({head.left.text}, {scalar(constant).text}, "
            code += f"alpha={scalar(scale).text})"
            return Value(code, head.left.dims, fresh=True)
    accumulator = finished(head, scope)
    if head.left.pair and head.right is None and not scope.literal:
        accumulator, rest = _addmm(head, rest, scope) or (accumulator, rest)
    for term in rest:
        accumulator = _plus(accumulator, term, scope)
    if constant != 0:
        accumulator = _plus_number(accumulator, constant)
    return accumulator


def _head(terms: list[Scaled], scope: Scope) -> tuple[Scaled, list[Scaled]]:
    """The term to start from: one that costs nothing or is a temporary already."""
    everything = set().union(*(t.letters for t in terms))

    def cost(term: Scaled) -> tuple[bool, ...]:
        single = term.right is None
        bare = single and term.scale == 1
        whole = term.letters == everything
        matrix = single and term.left.pair is not None and not scope.literal
        return (not matrix, not (bare and whole), not bare, term.scale != 1, not whole)

    head = min(terms, key=cost)
    return head, sorted((t for t in terms if t is not head), key=lambda t: t.right is not None)


def _addmm(head: Scaled, rest: list[Scaled], scope: Scope) -> tuple[Value, list[Scaled]] | None:
    """A matrix product and what is added to it, in one kernel."""
    matrix = head.left
    for term in rest:
        if term.right is not None or term.scale != 1 or not term.letters <= set(matrix.letters):
            continue
        (_, bias), layout = line_up([matrix, term.left], matrix.letters, scope.size)
        if layout != matrix.dims:
            continue
        assert matrix.pair is not None
        alpha = "" if head.scale == 1 else f", alpha={scalar(head.scale).text}"
        code = f"torch.addmm({bias.text}, {', '.join(matrix.pair)}{alpha})"
        return Value(code, matrix.dims, fresh=True), [t for t in rest if t is not term]
    return None


def _plus(accumulator: Value, term: Scaled, scope: Scope) -> Value:
    """The accumulator plus one more term. What is subtracted from more numbers is divided first:
    equal ones less their mean are zero, and less their sum times a rounded 1/N they are not. Of
    gradients it is as well as it is, and a kernel less."""
    scale, negative = term.scale, term.scale.could_extract_minus_sign()
    divided = negative and not scale.is_number and _is_simpler(1 / scale, scale)
    mean = divided and term.letters < set(accumulator.letters) and not term.is_gradient
    apart = scale in (1, -1) or mean
    if scope.literal or (term.right is None and apart):
        value = finished(replace(term, scale=-scale if negative else scale), scope)
        sign = "-" if negative else "+"
        method = ("sub" if negative else "add", "")
        return _combined(accumulator, [value], scope, method, sign)
    if term.right is None:
        number = scalar(-scale if negative else scale).text
        method = ("sub" if negative else "add", f", alpha={number}")
        return _combined(accumulator, [term.left], scope, method)
    value = "" if scale == 1 else f", value={scalar(scale).text}"
    return _combined(accumulator, [term.left, term.right], scope, ("addcmul", value))


def _combined(
    accumulator: Value,
    values: list[Value],
    scope: Scope,
    method: tuple[str, str],
    sign: str = "",
) -> Value:
    """accumulator.method(values), in place where the accumulator is owned and wide enough."""
    name, keywords = method
    wide = set(letters_of(values)) <= set(accumulator.letters)
    owned = wide and _fits(accumulator, scope)
    order = accumulator.letters if owned else scope.order
    lined, layout = line_up([accumulator, *values], order, scope.size)
    arguments = ", ".join(v.text for v in lined[1:]) + keywords
    if owned and layout == accumulator.dims:
        operand, in_place = lined[1] if sign else None, scope.in_place(accumulator, *values)
        return accumulator.then(Update(name, arguments, sign, operand, in_place))
    if sign:
        tight = TIMES if sign == "-" else PLUS
        code = f"{lined[0].at(PLUS)} {sign} {lined[1].at(tight)}"
        return Value(code, layout, binds=PLUS, fresh=True)
    return Value(f"torch.{name}({lined[0].text}, {arguments})", layout, fresh=True)


def _plus_number(accumulator: Value, constant: Any) -> Value:
    negative = constant.could_extract_minus_sign()
    number = scalar(-constant if negative else constant)
    sign, name = ("-", "sub") if negative else ("+", "add")
    if accumulator.updates:
        return accumulator.then(Update(name, number.text, sign, number))
    code = f"{accumulator.at(PLUS)} {sign} {number.at(TIMES)}"
    return Value(code, accumulator.dims, binds=PLUS, fresh=True)
