"""Deltas as positions: what an equality of indices adds goes to its place, without a one-hot.

e[n,k] - c[n] * delta(k, target[n])        ->  e.scatter_add_(1, target[:, None], -c[:, None])
sum_{n,t} g[n,t,d] * delta(v, index[n,t])  ->  zeros.index_add_(0, index, g)
sum_n g[n] * delta(h, y[n]) * delta(w, x[n])  ->  zeros.index_put_((y, x), g, accumulate=True)
max_n(log(delta(q, y[n])) + f[n])          ->  full.scatter_reduce_(0, y, f, "amax")
delta(i, j)                                ->  an identity matrix
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

from sympy import KroneckerDelta, Mul, S, Symbol

from codegen.lowering.shifted_sums import placed
from codegen.program import CodegenError, is_number
from codegen.torch.scalars import scalar
from codegen.torch.scope import Emit, Scope
from codegen.torch.values import (
    ATOM,
    Dims,
    Update,
    Value,
    extent,
    line_up,
    permute,
    reshape,
    shape,
    sorted_by,
)
from codegen.torch.windows import position, shift_of, shifted
from derive.language.expressions import Affine, Element, Index, Parameter, Sum, free_indices


@dataclass(frozen=True)
class Scatter:
    """`coefficient` at positions `at` of the letter `along`, added into a tensor over `letters`."""

    along: Index
    at: Any
    coefficient: Any
    letters: frozenset[Index]


def _places(delta: Any) -> tuple[Index, Any] | None:
    """(k, target[n]) where a delta compares a letter with an integer element or another letter."""
    one, other = delta.args
    for letter, at in ((one, other), (other, one)):
        if isinstance(letter, Index) and _is_position(at) and letter not in free_indices(at):
            return letter, at
    return None


def _is_position(expr: Any) -> bool:
    if isinstance(expr, Index | Parameter):
        return False
    return isinstance(expr, Element | Symbol | Affine)


def as_scatter(term: Any, letters: Set[Index]) -> Scatter | None:
    """A term that touches one place along a letter, in a sum whose letters are `letters`."""
    factors = Mul.make_args(term)
    deltas = [f for f in factors if isinstance(f, KroneckerDelta)]
    if len(deltas) != 1 or (place := _places(deltas[0])) is None:
        return None
    along, at = place
    coefficient = Mul(*(f for f in factors if f is not deltas[0]))
    if along in free_indices(coefficient) or coefficient.has(KroneckerDelta):
        return None
    return Scatter(along, at, coefficient, frozenset(letters))


def filled(scatter: Scatter, scope: Scope, number: Any = S.Zero) -> Value:
    """A tensor that holds one number everywhere, for a scatter to add into."""
    dims = tuple((i,) for i in sorted_by(scatter.letters, scope.order))
    return full(dims, scope.like_for(scatter.at, scatter.coefficient), scope, number)


def full(dims: Dims, like: str, scope: Scope, number: Any = S.Zero) -> Value:
    """A tensor of one number."""
    if number == 0:
        sizes = ", ".join(extent(d, scope.size) for d in dims)
        return Value(f"{like}.new_zeros({sizes})", dims, fresh=True)
    text = f"{like}.new_full({shape(dims, scope.size)}, {scalar(number).text})"
    return Value(text, dims, fresh=True)


def scattered(into: Value, scatter: Scatter, scope: Scope, emit: Emit) -> Value:
    """A tensor with one more scatter added, in place where it is owned."""
    into = scope.split(into)
    missing = [i for i in sorted_by(scatter.letters, scope.order) if (i,) not in into.dims]
    if missing:
        wanted = sorted_by(scatter.letters, scope.order)
        sizes = ", ".join(scope.size(i) for i in wanted)
        into = Value(f"{_aligned(into, wanted)}.expand({sizes})", tuple((i,) for i in wanted))
    place = into.dims.index((scatter.along,))
    layout = tuple(() if p == place else dim for p, dim in enumerate(into.dims))
    sizes = [1 if not dim else scope.size(dim[0]) for dim in layout]
    inner = scope.ordered(*(i for dim in layout for i in dim))
    index = _spread(_position(scatter.at, scatter.along, inner, emit), layout, sizes)
    added = [index]
    if is_number(scatter.coefficient) and not scope.differentiable:
        number = scalar(scatter.coefficient).text
        name, arguments = "scatter", f'{place}, {index.text}, {number}, reduce="add"'
    else:
        source = _spread(_source(scatter.coefficient, inner, emit, scope), layout, sizes)
        name, arguments = "scatter_add", f"{place}, {index.text}, {source.text}"
        added.append(source)
    if scope.may_update(into):
        in_place = scope.in_place(into, *added)
        return into.then(Update(name, arguments, in_place=in_place))
    return Value(f"{into.at(ATOM)}.{name}({arguments})", into.dims, fresh=True)


def _position(at: Any, along: Index, scope: Scope, emit: Emit) -> Value:
    """Where something goes along a letter, as a tensor of integers."""
    value = position(at, along, scope, emit) if isinstance(at, Affine) else emit(at, scope)
    return scope.split(value)


def _aligned(value: Value, letters: list[Index]) -> str:
    value = permute(value, [(i,) for i in letters if (i,) in value.dims])
    marks = [":" if (i,) in value.dims else "None" for i in letters]
    return f"{value.at(ATOM)}[{', '.join(marks)}]"


def _spread(value: Value, layout: Dims, sizes: list[Any]) -> Value:
    """A tensor with all of a layout's dimensions, repeated where it lacks a letter."""
    value = permute(value, [d for d in layout if d in value.dims and d])
    lacking = [bool(d) and d not in value.dims for d in layout]
    marks = [":" if d and d in value.dims else "None" for d in layout]
    while any(lacking) and marks and marks[0] == "None":  # expanding supplies leading ones
        marks = marks[1:]
    if "None" not in marks and not any(lacking):
        return Value(value.text, layout, value.outer)
    text = value.at(ATOM)
    if "None" in marks:
        while marks[-1] == ":":
            marks.pop()
        text = f"{text}[{', '.join(marks)}]"
    if any(lacking):
        text = f"{text}.expand({', '.join(map(str, sizes))})"
    return Value(text, layout)


# --- sums of deltas ---


@dataclass(frozen=True)
class IndexAdd:
    """The sum over `bound` of `rest * delta(along, at)`, or the `largest` of what is at a place."""

    along: Index
    at: Any
    rest: Any
    bound: tuple[Index, ...]
    largest: bool = False


@dataclass(frozen=True)
class IndexPut:
    """The sum over `bound` of `rest` times a delta for each letter of `at`, with its position."""

    at: dict[Index, Any]
    rest: Any
    bound: tuple[Index, ...]


def as_index_put(expr: Any) -> IndexPut | None:
    """A sum in which several deltas say where each of its terms goes."""
    factors = Mul.make_args(expr.body)
    found = {f: _places(f) for f in factors if isinstance(f, KroneckerDelta)}
    at = dict(filter(None, found.values()))
    rest = Mul(*(f for f in factors if f not in found))
    positions = set().union(*map(free_indices, at.values()))
    apart = not at.keys() & (free_indices(rest) | positions | {*expr.indices})
    summed = {*expr.indices} <= positions
    if len(found) < 2 or len(at) < len(found) or not (apart and summed):
        return None
    return IndexPut(at, rest, expr.indices)


def index_put(put: IndexPut, scope: Scope, emit: Emit, into: Value | None = None) -> Value:
    """Zeros, or a value over the same letters, to which each term is added at its positions."""
    positions = set().union(*map(free_indices, put.at.values()))
    letters = sorted_by(
        {*put.at} | (positions | free_indices(put.rest)) - {*put.bound}, scope.order
    )
    letters = [*into.letters] if into is not None else letters
    inner = scope.ordered(*put.bound, *(i for i in letters if i not in put.at))
    values = [
        _position(put.at[i], i, inner, emit) if i in put.at else inner.arange(i) for i in letters
    ]
    source = _source(put.rest, inner, emit, scope)
    (*places, source), _ = line_up([*values, source], inner.order, scope.size)
    like = scope.like_for(*put.at.values(), put.rest)
    base = into or full(tuple((i,) for i in letters), like, scope)
    arguments = f"({', '.join(p.text for p in places)}), {source.text}, accumulate=True"
    in_place = scope.may_update(base) and scope.in_place(base, *places, source)
    return base.then(Update("index_put", arguments, in_place=in_place))


def as_index_add(expr: Any) -> IndexAdd | None:
    """A sum in which a delta says where each of its terms goes."""
    factors = Mul.make_args(expr.body)
    for delta in factors:
        place = _places(delta) if isinstance(delta, KroneckerDelta) else None
        if place is None or not free_indices(place[1]) & set(expr.indices):
            continue
        along, at = place
        rest = Mul(*(f for f in factors if f is not delta))
        if along in expr.indices or along in free_indices(rest):
            continue
        return IndexAdd(along, at, rest, expr.indices)
    return None


def as_added(term: Any) -> IndexPut | IndexAdd | None:
    """A sum, or a multiple of one, whose terms can be added to a tensor at their positions."""
    number, rest = term.as_coeff_Mul()
    if not isinstance(rest, Sum):
        return None
    whole = Sum(number * rest.body, *rest.indices)
    if (put := as_index_put(whole)) is not None:
        return put
    added = as_index_add(whole)
    if added is None or not free_indices(added.at) <= {*added.bound}:
        return None
    if shift_of(added.at) is not None:  # padding puts a slice in its place
        return None
    return added


def added_to(value: Value, term: Any, scope: Scope, emit: Emit) -> Value:
    """A value over all the letters of such a sum, to which its terms are added."""
    value, added = scope.split(value), as_added(term)
    assert added is not None
    if isinstance(added, IndexPut):
        return index_put(added, scope, emit, value)
    return index_added(added, scope, emit, value)


def largest_by_place(expr: Any, scope: Scope, emit: Emit) -> Value:
    """The largest value at each place, minus infinity where there is none.

    Raises:
        CodegenError: it is not of values that integers give a place.
    """
    if (found := placed(expr)) is None:
        raise CodegenError(f"{expr}: the torch target has no form of it")
    return index_added(IndexAdd(*found, expr.indices, largest=True), scope, emit)


def index_added(added: IndexAdd, scope: Scope, emit: Emit, into: Value | None = None) -> Value:
    """Zeros, or a value over the same letters, to which each term is added at its position."""
    positions = free_indices(added.at)
    running = [i for i in added.bound if i in positions]
    early = [i for i in added.bound if i not in positions]
    rest = Sum(added.rest, *early) if early else added.rest
    outer = sorted_by(free_indices(rest) - set(added.bound) - positions, scope.order)
    batch = sorted_by(positions - set(added.bound), scope.order)
    inner = scope.ordered(*batch, *running, *outer)
    if (first := shift_of(added.at)) is not None and not batch:
        order = sorted_by([*running, *outer], scope.order)
        source = _spread(
            _source(rest, scope.ordered(*order), emit, scope),
            tuple((i,) for i in order),
            [scope.size(i) for i in order],
        )
        return shifted(source, running[0], added.along, first, scope)
    index = _position(added.at, added.along, inner, emit)
    if not batch and not added.largest:
        return _index_added(added, rest, index, running, outer, scope, emit, into)
    layout = (*((i,) for i in batch), *((i,) for i in running), *((i,) for i in outer))
    joined = (*((i,) for i in batch), tuple(running), *((i,) for i in outer))
    sizes = [scope.size(d[0]) for d in layout]
    source = _source(rest, inner, emit, scope)
    values = [_joined(_spread(v, layout, sizes), joined, scope) for v in (index, source)]
    dims = (*((i,) for i in batch), (added.along,), *((i,) for i in outer))
    return _into(dims, added, "scatter_add", str(len(batch)), values, scope)


def _joined(value: Value, dims: Dims, scope: Scope) -> Value:
    return reshape(value, dims, scope.size)


def _into(
    dims: Dims,
    added: IndexAdd,
    name: str,
    place: str,
    values: Sequence[Value],
    scope: Scope,
    into: Value | None = None,
    *more: str,
) -> Value:
    """Zeros, or another value, to which a method adds values at a place."""
    like = scope.like_for(added.at, added.rest)
    base = into or full(dims, like, scope, S.NegativeInfinity if added.largest else S.Zero)
    if added.largest:
        name, more = "scatter_reduce", ('"amax"',)
    arguments = ", ".join([place, *(v.text for v in values), *more])
    in_place = scope.may_update(base) and scope.in_place(base, *values)
    value = base.then(Update(name, arguments, in_place=in_place))
    return replace(value, remembered=added.largest)


def _source(rest: Any, inner: Scope, emit: Emit, scope: Scope) -> Value:
    if is_number(rest):
        return Value(f"{scope.like}.new_full((), {scalar(rest).text})")
    return scope.split(scope.real(emit(rest, inner)))


def _index_added(
    added: IndexAdd,
    rest: Any,
    index: Value,
    running: list[Index],
    outer: list[Index],
    scope: Scope,
    emit: Emit,
    into: Value | None,
) -> Value:
    """The plain case: every letter of the positions is summed over."""
    order = [*into.letters] if into else sorted_by([added.along, *outer], scope.order)
    place = order.index(added.along)
    index = permute(index, [(i,) for i in running])
    if len(running) > 1:
        index = Value(f"{index.at(ATOM)}.flatten()", (tuple(running),), integer=True)
    before, after = [(i,) for i in order[:place]], [(i,) for i in order[place + 1 :]]
    layout = (*before, *((i,) for i in running), *after)
    joined = (*before, tuple(running), *after)
    number, _ = rest.as_coeff_Mul()
    rest, more = (-rest, ("alpha=-1",)) if number == -1 else (rest, ())
    source = _source(rest, scope.ordered(*(i for d in layout for i in d)), emit, scope)
    sizes = [scope.size(d[0]) for d in layout]
    values = [index, _joined(_spread(source, layout, sizes), joined, scope)]
    dims = (*before, (added.along,), *after)
    return _into(dims, added, "index_add", str(place), values, scope, into, *more)
