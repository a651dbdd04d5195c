"""Sums, products and argmax over axes; contractions as matrix products or einsum."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import combinations
from string import ascii_lowercase
from typing import Any

from sympy import Add, KroneckerDelta, Mul, Pow

from codegen.program import CodegenError, is_number
from codegen.torch.arithmetic import finished, gathered, times
from codegen.torch.scatter import as_index_add, as_index_put, index_added, index_put
from codegen.torch.scope import Emit, Scope
from codegen.torch.values import (
    ATOM,
    TIMES,
    Letters,
    Reduction,
    Value,
    letters_of,
    permute,
    reshape,
    sorted_by,
)
from derive.language.expressions import Element, Index, Sum, count_of, free_indices


def summed(expr: Any, scope: Scope, emit: Emit) -> Value:
    """A sum over indices: of a constant, of terms, of a product."""
    body, bound = expr.body, list(expr.indices)
    scope = scope.ordered(*scope.order, *bound)
    idle = [i for i in bound if i not in free_indices(body)]
    if idle:
        bound = [i for i in bound if i not in idle]
        inner = Sum(body, *bound) if bound else body
        return emit(Mul(inner, *(i.size for i in idle)), scope)
    put = as_index_put(expr)
    if put is not None:
        return index_put(put, scope, emit)
    added = as_index_add(expr)
    if added is not None:
        return index_added(added, scope, emit)
    if isinstance(body, Add) and any(_grows_when_multiplied(a) for a in body.args):
        return emit(Add(*(Sum(a, *bound) for a in body.args)), scope)
    factors = Mul.make_args(body)
    outside = [f for f in factors if not free_indices(f) & set(bound)]
    if outside:
        inside = Mul(*(f for f in factors if f not in outside))
        return emit(Mul(*outside, Sum(inside, *bound), evaluate=False), scope)
    if any(isinstance(f, KroneckerDelta) for f in factors):
        return reduced("sum", emit(body, scope), bound, scope)
    scope = scope.ordered(*_as_stored(body, scope), *scope.order)
    numbers = [f for f in factors if is_number(f)]
    if numbers:  # a factor such as i + 1 is made of an index
        return emit(
            Mul(*numbers, Sum(Mul(*(f for f in factors if f not in numbers)), *bound)), scope
        )
    return _contracted(_by_shape(factors, scope, emit), bound, scope)


def _as_stored(body: Any, scope: Scope) -> list[Index]:
    """The letters of a sum's body in the order of a tensor over all of them, if it has one."""
    for element in sorted(body.atoms(Element), key=str):
        if set(element.indices) == free_indices(body):
            tensor, value = scope.named(element.tensor_name)
            used = dict(zip(tensor.indices, element.indices, strict=True))
            return [used[i] for i in value.letters]
    return []


def _grows_when_multiplied(term: Any) -> bool:
    """Whether carrying a term's product out would make a tensor larger than any factor."""
    letters = [free_indices(f) for f in Mul.make_args(term)]
    return len(letters) > 1 and all(own != set().union(*letters) for own in letters)


def _by_shape(factors: Sequence[Any], scope: Scope, emit: Emit) -> list[Value]:
    """One tensor for each set of letters, factors of a smaller set multiplied into a larger one
    where that one has all their letters."""
    groups: dict[frozenset[Index], list[Any]] = {}
    for factor in factors:
        groups.setdefault(frozenset(free_indices(factor)), []).append(factor)
    shapes = sorted(groups, key=lambda s: (len(s), sorted(i.name for i in s)))
    maximal = [s for s in shapes if not any(s < t for t in shapes)]
    if len(maximal) == 1:
        return [_carried_out(groups[s], scope, emit) for s in shapes]
    for shape in shapes:
        if shape not in maximal:
            home = next(s for s in shapes if shape < s)
            groups[home] += groups.pop(shape)
    return [_carried_out(groups[s], scope, emit) for s in maximal]


def _carried_out(factors: Sequence[Any], scope: Scope, emit: Emit) -> Value:
    return finished(gathered(Mul(*factors, evaluate=False), scope, emit), scope)


def _contracted(values: list[Value], bound: Sequence[Index], scope: Scope) -> Value:
    """The sum over bound letters of a product of tensors of different shapes."""
    whole = set(letters_of(values))
    if len(values) == 1:
        return reduced("sum", values[0], bound, scope)
    largest = max(values, key=lambda v: len(v.letters))
    if set(largest.letters) == whole:
        if len(values) == 2:
            vector = next(v for v in values if v is not largest)
            if (found := _matrix_vector(largest, vector, bound, scope)) is not None:
                return found
        running, *rest = values
        for value in rest:
            running = times(running, value, scope)
        return reduced("sum", running, bound, scope)
    if len(values) == 2:
        return _contract(values[0], values[1], bound, scope)
    first, second = min(combinations(values, 2), key=lambda p: _width(p, values, bound))
    rest = [v for v in values if v is not first and v is not second]
    here = [i for i in bound if i not in letters_of(rest)]
    here = [i for i in here if i in letters_of([first, second])]
    merged = _contracted([first, second], here, scope) if here else times(first, second, scope)
    return _contracted([merged, *rest], [i for i in bound if i not in here], scope)


def _width(
    pair: tuple[Value, Value], values: list[Value], bound: Sequence[Index]
) -> tuple[int, bool]:
    """How many letters a pair's product has, and whether it is summed over none."""
    rest = letters_of(v for v in values if v not in pair)
    letters = letters_of(pair)
    left = [i for i in letters if i not in bound or i in rest]
    return len(left), len(left) == len(letters)


def _matrix_vector(
    matrix: Value, vector: Value, bound: Sequence[Index], scope: Scope
) -> Value | None:
    if len(bound) != 1 or vector.integer or matrix.integer:
        return None
    (letter,) = bound
    matrix = scope.split(matrix)
    others = tuple(d for d in matrix.dims if d != (letter,))
    if set(vector.letters) != set(bound):
        return _matrices_vectors(matrix, scope.split(vector), letter)
    if matrix.dims[-1] == (letter,):
        code = f"{matrix.at(TIMES)} @ {vector.at(ATOM)}"
    elif matrix.dims[0] == (letter,) and len(matrix.dims) == 2:
        code = f"{vector.at(TIMES)} @ {matrix.at(ATOM)}"
    else:
        return None
    return Value(code, others, binds=TIMES, fresh=True)


def _matrices_vectors(matrix: Value, vector: Value, letter: Index) -> Value | None:
    """A matrix times a vector for each place of the letters in front of both."""
    batch = vector.dims[:-1]
    if vector.dims[-1] != (letter,) or len(matrix.dims) != len(vector.dims) + 1:
        return None
    if matrix.dims[:-2] != batch or letter not in matrix.letters:
        return None
    others = tuple(d for d in matrix.dims if d != (letter,))
    if matrix.dims[-1] == (letter,):
        last = len(batch) + 1
        code = f"({matrix.at(TIMES)} @ {vector.at(ATOM)}.unsqueeze({last})).squeeze({last})"
    else:
        row = len(batch)
        code = f"({vector.at(ATOM)}.unsqueeze({row}) @ {matrix.at(ATOM)}).squeeze({row})"
    return Value(code, others, fresh=True)


def _contract(left: Value, right: Value, bound: Sequence[Index], scope: Scope) -> Value:
    """Two tensors, neither of which has all the letters."""
    for one, other in ((left, right), (right, left)):
        alone = [i for i in bound if i in one.letters and i not in other.letters]
        if alone:
            summed_first = reduced("sum", one, alone, scope)
            rest = [i for i in bound if i not in alone]
            pair = [summed_first, other] if one is left else [other, summed_first]
            if not rest:
                return times(pair[0], pair[1], scope)
            return _contracted(pair, rest, scope)
    if not bound:
        return times(left, right, scope)
    out = sorted_by([i for i in letters_of([left, right]) if i not in bound], scope.order)
    shared = set(left.letters) & set(right.letters)
    batch = [i for i in out if i in shared]
    rows = next((i for i in out if i not in shared), None)
    if rows in right.letters:
        left, right = right, left
    found = _matrix_product(left, right, batch, list(bound), scope)
    return found or _einsum([left, right], out, scope)


def _matrix_product(
    left: Value, right: Value, batch: list[Index], bound: list[Index], scope: Scope
) -> Value | None:
    """left[batch, l, k] @ right[batch, k, r]; None where the two cannot be seen that way."""
    rows = [i for i in left.letters if i not in batch and i not in bound]
    columns = [i for i in right.letters if i not in batch and i not in bound]
    if not rows or not columns:
        return None
    if batch and max(len(rows), len(columns), len(bound)) > 1:
        return None
    if batch:
        lead = tuple((i,) for i in batch)
        row, column, inner = (rows[0],), (columns[0],), (bound[0],)
        one = _as_matrix(scope.split(left), lead, row, inner)
        other = _as_matrix(scope.split(right), lead, inner, column)
        if one is None or other is None:
            return None
        code = f"{one.at(TIMES)} @ {other.at(ATOM)}"
        return Value(code, (*lead, row, column), binds=TIMES, fresh=True)
    bound = [i for i in left.letters if i in bound]
    one = _two_sided(left, tuple(rows), tuple(bound), scope)
    other = _two_sided(right, tuple(bound), tuple(columns), scope)
    if other is None:
        return None
    if _has_many_rows(left, tuple(bound)) and not other.code.endswith(")"):
        code = f"{left.at(TIMES)} @ {other.at(ATOM)}"
        return Value(code, (*left.dims[:-1], other.dims[1]), binds=TIMES, fresh=True)
    if one is None:
        return None
    code = f"{one.at(TIMES)} @ {other.at(ATOM)}"
    dims = (one.dims[0], other.dims[1])
    return Value(code, dims, binds=TIMES, fresh=True, pair=(one.text, other.text))


def _as_matrix(
    value: Value, lead: tuple[Letters, ...], row: Letters, column: Letters
) -> Value | None:
    """value[lead, row, column], if at most its last two dimensions are in the other order."""
    if value.dims == (*lead, row, column):
        return value
    if value.dims == (*lead, column, row):
        return Value(f"{value.at(ATOM)}.mT", (*lead, row, column))
    return permute(value, (*lead, row, column)) if set(value.dims) == {*lead, row, column} else None


def _two_sided(value: Value, rows: Letters, columns: Letters, scope: Scope) -> Value | None:
    """value[rows, columns] as a matrix, its letters grouped into two dimensions."""
    if value.dims == (rows, columns):
        return value
    if value.dims == (columns, rows):
        return Value(f"{value.at(ATOM)}.T", (rows, columns))
    split = scope.split(value)
    if split.letters == (*rows, *columns):
        return reshape(value, (rows, columns), scope.size)
    if split.letters == (*columns, *rows):
        turned = reshape(value, (columns, rows), scope.size)
        return Value(f"{turned.at(ATOM)}.T", (rows, columns))
    return None


def _has_many_rows(value: Value, bound: Letters) -> bool:
    """Whether a tensor has more than one dimension of rows, and the contracted one last."""
    return len(value.dims) > 2 and value.dims[-1] == bound


def _einsum(values: Sequence[Value], out: Sequence[Index], scope: Scope) -> Value:
    values = [scope.split(v) for v in values]
    names: dict[Index, str] = {}
    for letter in letters_of(values):
        taken = set(names.values())
        wanted = letter.name.lower()
        free = (c for c in ascii_lowercase if c not in taken)
        names[letter] = wanted if len(wanted) == 1 and wanted not in taken else next(free)
    inputs = ",".join("".join(names[i] for i in v.letters) for v in values)
    formula = f"{inputs}->{''.join(names[i] for i in out)}"
    operands = ", ".join(v.text for v in values)
    code = f'torch.einsum("{formula}", {operands})'
    return Value(code, tuple((i,) for i in out), fresh=True)


def reduced(function: str, value: Value, bound: Iterable[Index], scope: Scope) -> Value:
    """A tensor reduced over letters that it has, by a method or a torch function."""
    value = scope.real(value)
    letters = set(bound)
    groups = {dim for dim in value.dims if len(dim) > 1 and set(dim) <= letters}
    if any(len(dim) > 1 and set(dim) & letters for dim in value.dims if dim not in groups):
        value = scope.split(value)
    places = [place for place, dim in enumerate(value.dims) if dim and set(dim) <= letters]
    dims = tuple(dim for place, dim in enumerate(value.dims) if place not in places)
    kept = tuple(() if place in places else dim for place, dim in enumerate(value.dims))
    where = str(places[0]) if len(places) == 1 else f"({', '.join(map(str, places))})"
    if not dims and function == "sum":  # of all dimensions, which need not be said
        where = ""
    reduction = Reduction(function, value, where, kept)
    code, remembered = reduction.code(), function != "sum"
    return Value(code, dims, fresh=True, remembered=remembered, reduction=reduction)


def product(expr: Any, scope: Scope, emit: Emit) -> Value:
    """A product over indices; over one that the body does not depend on, a power."""
    body, bound = expr.body, list(expr.indices)
    scope = scope.ordered(*scope.order, *bound)
    idle = [i for i in bound if i not in free_indices(body)]
    if idle:
        rest = [i for i in bound if i not in idle]
        inner = expr.func(body, *rest) if rest else body
        return emit(Pow(inner, count_of(idle), evaluate=False), scope)
    value = scope.split(scope.real(emit(body, scope)))
    for letter in bound:
        if len(value.dims) == 1:
            return Value(f"{value.at(ATOM)}.prod()", (), fresh=True)
        value = reduced("prod", value, [letter], scope)
    return replace(value, reduction=None) if len(bound) > 1 else value


def argmax(expr: Any, scope: Scope, emit: Emit) -> Value:
    """The position of the first largest element.

    Raises:
        CodegenError: it runs over more than one index.
    """
    if len(expr.indices) != 1:
        raise CodegenError(f"{expr}: an argmax over several indices is not one position")
    (letter,) = expr.indices
    value = scope.split(scope.real(emit(expr.body, scope.ordered(*scope.order, letter))))
    place = value.dims.index((letter,))
    dims = tuple(d for d in value.dims if d != (letter,))
    return Value(f"{value.at(ATOM)}.argmax({place})", dims, integer=True, fresh=True)
