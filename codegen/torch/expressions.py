"""Expressions over explicit axes, printed as PyTorch source: one row a kind of node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from sympy import Add, Integer, KroneckerDelta, Mul, Pow, S, Symbol, polygamma
from sympy.core.relational import Eq, Gt, Relational
from sympy.logic.boolalg import And, Not, Or

from codegen.lowering.forms import (
    AtLeast,
    AtMost,
    Clamped,
    Finite,
    Largest,
    LogAddExp,
    LogSoftmax,
    LogSumExp,
    Softmax,
)
from codegen.program import CodegenError, is_number
from codegen.spelling import RELATIONS
from codegen.torch.arithmetic import add, multiply
from codegen.torch.elements import element
from codegen.torch.functions import FUNCTIONS, POWERS
from codegen.torch.reductions import argmax, product, reduced, summed
from codegen.torch.scalars import scalar
from codegen.torch.scatter import largest_by_place
from codegen.torch.scope import Scope
from codegen.torch.values import (
    ATOM,
    COMPARE,
    MASK_AND,
    MASK_OR,
    POWER,
    UNARY,
    Update,
    Value,
    call,
    line_up,
)
from derive.language.expressions import (
    Affine,
    ArgMax,
    Element,
    Index,
    Parameter,
    Product,
    StopGradient,
    Sum,
    Where,
)


def emit(expr: Any, scope: Scope) -> Value:
    """The source of an expression.

    Raises:
        CodegenError: the torch target has no way to print a node.
    """
    if is_number(expr):
        return scalar(expr)
    for kind, printer in _PRINTERS:
        if isinstance(expr, kind):
            return printer(expr, scope)
    if type(expr) in FUNCTIONS:
        return call(FUNCTIONS[type(expr)], scope.real(emit(expr.args[0], scope)))
    raise CodegenError(f"the torch target cannot print {type(expr).__name__!r}: {expr}")


def _element(expr: Any, scope: Scope) -> Value:
    return element(expr, scope, emit)


def _power(expr: Any, scope: Scope) -> Value:
    base, exponent = expr.args
    if exponent in POWERS and not is_number(base):
        return call(POWERS[exponent], scope.real(emit(base, scope)))
    values = [scope.real(emit(a, scope)) for a in (base, exponent)]
    (left, right), layout = _lined_up(values, scope)
    text = f"{left.at(ATOM)} ** {right.at(UNARY)}"
    return Value(text, layout, binds=POWER, fresh=True, remembered=not right.scalar)


def _lined_up(values: Sequence[Value], scope: Scope) -> tuple[list[Value], Any]:
    return line_up(values, scope.order, scope.size)


def _where(expr: Any, scope: Scope) -> Value:
    condition = _tensor_mask(emit(expr.condition, scope), scope)
    branches = [scope.real(emit(b, scope)) for b in expr.branches]
    if all(b.scalar for b in branches):
        if expr.branches == (S.One, S.Zero):
            return scope.real(replace(condition, boolean=True))  # a kept mask does not say so
        branches[0] = Value(f"torch.tensor({branches[0].text}, {scope.kind})")
    (mask, yes, no), layout = _lined_up([condition, *branches], scope)
    if yes.scalar and not yes.updates:
        code = f"{no.at(ATOM)}.masked_fill({mask.text}, {yes.text})"
        return Value(code, layout, fresh=True)
    return Value(f"torch.where({mask.text}, {yes.text}, {no.text})", layout, fresh=True)


def _relation(expr: Any, scope: Scope) -> Value:
    left, right = expr.args
    if isinstance(expr, Gt) and right == 0 and _is_product_of_deltas(left):
        return emit(And(*(Eq(*f.args) for f in Mul.make_args(left))), scope)
    if isinstance(expr, Eq) and isinstance(left, Index) and isinstance(right, Index):
        return _diagonal(left, right, scope)
    whole = replace(scope, whole=all(_is_whole(a, scope) for a in expr.args))
    values = [emit(a, whole) for a in expr.args]
    if values[0].scalar and not values[1].scalar:  # the tensor stands on the left, as one says it
        expr, values = expr.reversed, values[::-1]
    sign = next(text for kind, text in RELATIONS.items() if isinstance(expr, kind))
    if all(v.scalar for v in values):
        return Value(
            f"{values[0].at(COMPARE + 1)} {sign} {values[1].at(COMPARE + 1)}",
            binds=COMPARE,
            scalar=True,
        )
    (one, other), layout = _lined_up(values, scope)
    code = f"{one.at(COMPARE + 1)} {sign} {other.at(COMPARE + 1)}"
    return Value(code, layout, binds=COMPARE, boolean=True, fresh=True)


def _is_whole(expr: Any, scope: Scope) -> bool:
    """Whether it is made of positions alone, of which half precision has only the first."""
    if isinstance(expr, Element):
        return scope.tensors[expr.tensor_name].integer
    if isinstance(expr, Add | Mul | Affine):
        return all(_is_whole(a, scope) for a in expr.args)
    return isinstance(expr, Index | Integer) or (isinstance(expr, Parameter) and expr.is_integer)


def _diagonal(row: Index, column: Index, scope: Scope) -> Value:
    sizes = ", ".join(dict.fromkeys([scope.size(row), scope.size(column)]))
    code = f"torch.eye({sizes}, dtype=torch.bool, device={scope.like}.device)"
    return Value(code, ((row,), (column,)), boolean=True, fresh=True)


def _is_product_of_deltas(expr: Any) -> bool:
    return all(isinstance(f, KroneckerDelta) for f in Mul.make_args(expr))


def _logical(sign: str, word: str, binds: int) -> Callable[[Any, Scope], Value]:
    def printer(expr: Any, scope: Scope) -> Value:
        values = [emit(a, scope) for a in expr.args]
        if all(v.scalar for v in values):
            code = f" {word} ".join(v.at(COMPARE) for v in values)
            return Value(code, binds=0, scalar=True)
        values = [_tensor_mask(v, scope) for v in values]
        lined, layout = _lined_up(values, scope)
        code = f" {sign} ".join(v.at(binds + 1) for v in lined)
        return Value(code, layout, binds=binds, boolean=True, fresh=True)

    return printer


def _tensor_mask(value: Value, scope: Scope) -> Value:
    if not value.scalar:
        return value
    return Value(f"torch.tensor({value.text}, device={scope.like}.device)", boolean=True)


def _not(expr: Any, scope: Scope) -> Value:
    value = emit(expr.args[0], scope)
    if value.scalar:
        return Value(f"not {value.at(COMPARE)}", binds=0, scalar=True)
    return Value(f"~{value.at(POWER)}", value.dims, binds=UNARY, boolean=True, fresh=True)


def _detached(value: Value) -> Value:
    return Value(f"{value.at(ATOM)}.detach()", value.dims, fresh=value.fresh)


def _delta(expr: Any, scope: Scope) -> Value:
    row, column = expr.args
    if isinstance(row, Index) and isinstance(column, Index):
        return _diagonal(row, column, scope)
    whole = replace(scope, whole=all(_is_whole(a, scope) for a in expr.args))
    sides = sorted((emit(a, whole) for a in expr.args), key=lambda v: v.scalar)  # as one says it
    (left, right), layout = _lined_up(sides, scope)
    code = f"{left.at(COMPARE + 1)} == {right.at(COMPARE + 1)}"
    return Value(code, layout, binds=COMPARE, boolean=True, fresh=True)


def _index(expr: Any, scope: Scope) -> Value:
    return scope.arange(expr)


def _along(function: str) -> Callable[[Any, Scope], Value]:
    def printer(expr: Any, scope: Scope) -> Value:
        value = scope.split(scope.real(emit(expr.body, scope)))
        if (expr.index,) not in value.dims:
            raise CodegenError(f"{expr}: the body does not depend on {expr.index}")
        place = value.dims.index((expr.index,))
        text = f"{function}({value.text}, {place})"
        return Value(text, value.dims, fresh=True, remembered=True)

    return printer


def _logsumexp(expr: Any, scope: Scope) -> Value:
    body = emit(expr.body, scope.ordered(*scope.order, *expr.indices))
    return reduced("torch.logsumexp", body, expr.indices, scope)


def _logaddexp(expr: Any, scope: Scope) -> Value:
    values = [emit(a, scope) for a in expr.args]
    values = [Value(f"{scope.like}.new_full((), {v.text})") if v.scalar else v for v in values]
    (left, right), layout = _lined_up(values, scope)
    return Value(f"torch.logaddexp({left.text}, {right.text})", layout, fresh=True)


def _bounded(expr: Any, scope: Scope) -> Value:
    held, bound = expr.args
    value = scope.real(emit(held, scope))
    given = f"{'min' if isinstance(expr, AtLeast) else 'max'}={emit(bound, scope).text}"
    return Value(f"{value.at(ATOM)}.clamp({given})", value.dims, fresh=True)


def _clamped(expr: Any, scope: Scope) -> Value:
    value = emit(expr.args[0], scope)
    return Value(f"{value.at(ATOM)}.clamp(min=-1e10)", value.dims, fresh=True)


def _finite(expr: Any, scope: Scope) -> Value:
    value = scope.real(emit(expr.args[0], scope))
    in_place = scope.may_update(value) and scope.in_place(value)
    return value.then(Update("nan_to_num", "0, 0, 0", in_place=in_place))


def _polygamma(expr: Any, scope: Scope) -> Value:
    order, at = expr.args
    value = scope.real(emit(at, scope))
    if order == 0:
        return call("torch.digamma", value)
    if not isinstance(order, Integer):
        raise CodegenError(f"{expr}: the order of a polygamma must be a number")
    return Value(f"torch.polygamma({int(order)}, {value.text})", value.dims, fresh=True)


_PRINTERS: tuple[tuple[Any, Callable[[Any, Scope], Value]], ...] = (
    (Index, _index),
    (Affine, lambda e, s: emit(e.place, s)),
    ((Element, Symbol), _element),
    (Add, lambda e, s: add(e, s, emit)),
    (Mul, lambda e, s: multiply(e, s, emit)),
    (Pow, _power),
    (Sum, lambda e, s: summed(e, s, emit)),
    (Product, lambda e, s: product(e, s, emit)),
    (ArgMax, lambda e, s: argmax(e, s, emit)),
    (LogSumExp, _logsumexp),
    (Largest, lambda e, s: largest_by_place(e, s, emit)),
    (Finite, _finite),
    (Softmax, _along("torch.softmax")),
    (LogSoftmax, _along("torch.log_softmax")),
    (LogAddExp, _logaddexp),
    (AtLeast | AtMost, _bounded),
    (Clamped, _clamped),
    (Where, _where),
    (StopGradient, lambda e, s: _detached(emit(e.args[0], s))),
    (KroneckerDelta, _delta),
    (Relational, _relation),
    (And, _logical("&", "and", MASK_AND)),
    (Or, _logical("|", "or", MASK_OR)),
    (Not, _not),
    (polygamma, _polygamma),
)
