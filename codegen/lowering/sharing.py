"""What a program would compute more than once is computed once, under a name.

Equal subexpressions, whatever letters they are written with, are found in all lets of a
program; the largest come first, so that their parts are named only where they occur elsewhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from sympy import Add, Basic, Expr, KroneckerDelta, Mul, Pow, default_sort_key
from sympy.core.relational import Relational
from sympy.logic.boolalg import And, Not, Or

from codegen.program import Program, is_number
from derive.calculus.recognise import Named, abstract, is_atomic, with_signs
from derive.language.definition import Let, Tensor
from derive.language.expressions import (
    Affine,
    ArgMax,
    Axis,
    Element,
    Index,
    Sum,
    Where,
    free_indices,
    fresh_names,
    names_used,
    tensor_name,
    with_args,
)
from derive.language.facts import has_root
from derive.language.substitute import substitute
from derive.simplification.naming import word


def computed_once(lets: Sequence[Let], besides: Iterable[str] = ()) -> tuple[Let, ...]:
    """The lets, with a new one for each subexpression that is repeated, before the first that reads
    it. `besides` are names that no new let takes."""
    given, others = {let.name for let in lets}, frozenset(besides)
    letters = dict.fromkeys(i for let in lets for i in let.tensor.indices)
    sums = frozenset(abstract(total)[0] for let in lets for total in let.value.atoms(Sum))
    result = [replace(let, value=_taken_out(let.value, sums)) for let in lets]
    while True:
        while (repeated := _largest_repeated(result)) is not None:
            result = _named(result, repeated, others)
        result = _in_letters(result, letters)
        while (product := _common_product(result)) is not None:
            result = _factored(result, product, others)
        once = _without_repeats(result, {let.name for let in result} - given)
        if len(once) == len(result):
            new = {let.name for let in once} - given
            return tuple(_negated_once([*_signs_inside(once, new, others)]))
        result = once  # what read two names of one thing may be the same now


def named_apart(lets: Sequence[Let], found: Callable[[Expr], Iterable[Expr]]) -> Sequence[Let]:
    """The lets, with a new one for each subexpression that is `found` in their values."""
    patterns = dict.fromkeys(_pattern(e) for let in lets for e in found(let.value))
    for pattern in patterns:
        lets = _named(lets, pattern, frozenset())
    return lets


def _taken_out(expr: Any, sums: frozenset[Expr]) -> Any:
    """An expression whose sums have before them what is the same in all of their terms; `sums` are
    the patterns of those that are computed somewhere."""
    if not expr.has(Sum):
        return expr
    expr = expr.func(*(_taken_out(a, sums) for a in expr.args))
    if not isinstance(expr, Sum) or not isinstance(expr.body, Mul):
        return expr
    bound = set(expr.indices)
    same = [f for f in expr.body.args if f.atoms(Element) and not free_indices(f) & bound]
    rest = Mul(*(f for f in expr.body.args if f not in same))
    return Mul(*same, _in_turn(rest, expr.indices, sums))


def _in_turn(product: Expr, bound: Sequence[Index], sums: frozenset[Expr]) -> Expr:
    """The sum of a product, by one letter before the others where the factors that have it have
    fewer letters, or where their sum is computed anyway:

        sum_{i,j}(a[i,j] * b[i,f])  ->  sum_i(b[i,f] * sum_j(a[i,j]))

    What is put at a computed place is put there when all else is multiplied.
    """
    factors = Mul.make_args(product)
    placed = (f for f in factors if isinstance(f, KroneckerDelta) and f.has(Affine))
    last = set().union(*map(free_indices, placed))
    early = [i for i in bound if i not in last]
    inner = {i: Sum(Mul(*(f for f in factors if i in free_indices(f))), i) for i in early}
    if len(bound) == 1 or not inner:
        return Sum(product, *bound)
    reach = {i: len(free_indices(total.body)) for i, total in inner.items()}
    known = {i for i, total in inner.items() if abstract(total)[0] in sums}
    first = min(inner, key=lambda i: (i not in known, reach[i]))
    if first not in known and reach[first] == len(free_indices(product)):
        return Sum(product, *bound)
    rest = Mul(inner[first], *(f for f in factors if first not in free_indices(f)))
    return _in_turn(rest, [i for i in bound if i != first], sums)


def _in_letters(lets: Sequence[Let], own: Iterable[Index]) -> list[Let]:
    """The lets, each sum over a letter that was made up, as `t_1`, over one of some others, if it
    can be: an inner sum that has a name by now leaves its letter to the outer one."""
    own = tuple(own)

    def renamed(expr: Any) -> Any:
        if not expr.has(Sum):
            return expr
        expr = with_args(expr, [renamed(a) for a in expr.args])
        for old in expr.indices if isinstance(expr, Sum) else ():
            letters = expr.body.atoms(Index)
            free = (i for i in own if i.axis == old.axis and i not in letters)
            made_up = old.name.startswith(f"{old.axis.name}_")
            if made_up and (new := next(free, None)) is not None:
                indices = (new if i == old else i for i in expr.indices)
                expr = Sum(expr.body.xreplace({old: new}), *indices)
        return expr

    return [replace(let, value=renamed(let.value)) for let in lets]


def _is_read(expr: Basic) -> bool:
    """Whether nothing is computed for an expression, as for an element that no tensor chooses."""
    if isinstance(expr, Element):
        looked_up = (i for i in expr.indices if isinstance(i, Expr) and i.has(Element, ArgMax))
        return not any(looked_up) and not any(map(tensor_name, expr.indices))
    return is_atomic(expr)


def _without_repeats(lets: list[Let], new: set[str]) -> list[Let]:
    """The lets, each new one that another only repeats being called as that one is."""
    for again in lets:
        first = next((let for let in lets if let.name in new and _repeats(again, let)), None)
        if first is None:
            continue
        called = [Let(first.tensor, again.tensor[first.tensor.indices])]
        rest = [replace(o, value=substitute(o.value, called)) for o in lets if o is not again]
        place = lets.index(first)
        named = Let(again.tensor, first.at(*again.tensor.indices))
        return _without_repeats([*rest[:place], named, *rest[place + 1 :]], new)
    return lets


def _repeats(let: Let, other: Let) -> bool:
    """Whether a let is another one over again, be its letters called otherwise."""
    same = _axes(let.tensor) == _axes(other.tensor)
    return same and let.value == other.tensor[let.tensor.indices]


def named_once(program: Program) -> Program:
    """The program without lets that only give another tensor a second name: what it does not hand
    on is read by the first name, and what it hands on is made under that name."""
    made = {let.name: let for let in program.lets}
    for let in () if program.literal else program.lets:
        value = let.value
        if not isinstance(value, Element) or value.indices != let.tensor.indices:
            continue
        source = program.tensors[value.tensor_name]
        if _axes(source) != _axes(let.tensor):
            continue
        if let.name not in program.handed_on:
            renamed, rest = let.tensor, [o for o in program.lets if o is not let]
            called = value
        elif source.name in made and source.name not in program.handed_on:
            first = made[source.name]
            anew = Let(replace(let.tensor, dims=source.dims), first.value)
            rest = [anew if o is first else o for o in program.lets if o is not let]
            renamed, called = source, let.tensor[source.indices]
        else:
            continue
        lets = tuple(replace(o, value=substitute(o.value, [Let(renamed, called)])) for o in rest)
        return named_once(replace(program, lets=lets))
    return program


def _axes(tensor: Tensor) -> list[tuple[Axis, ...]]:
    """The axes of each stored dimension."""
    return [tuple(i.axis for i in (d if isinstance(d, tuple) else (d,))) for d in tensor.dims]


def _common_product(lets: Sequence[Let]) -> frozenset[Expr] | None:
    """The most factors that two products share, of which computing them takes a kernel."""
    products = [_factors(p) for let in lets for p in _products(let.value)]
    common = {a & b for place, a in enumerate(products) for b in products[:place]}
    worth = [c for c in common if len(c) > 1 and any(not is_number(f) for f in c)]
    return max(worth, key=lambda c: (len(c), sorted(map(str, c))), default=None)


def _products(expr: Basic) -> Iterator[Mul]:
    """The products that are carried out as they stand: not those that are scattered, and of those
    that are summed what is multiplied element by element."""
    if is_atomic(expr) or is_number(expr) or isinstance(expr, KroneckerDelta):
        return
    if isinstance(expr, Sum):
        yield from _multiplied_first(expr)
        return
    if isinstance(expr, Mul) and not expr.has(KroneckerDelta):
        yield expr
    for arg in expr.args:
        yield from _products(arg)


def _multiplied_first(total: Sum) -> Iterator[Mul]:
    """What the sum of a product multiplies element by element before it is one of matrices: the
    factors over the same letters, where there are others; and what it adds up at the positions that
    deltas say, if these have all of its letters."""
    if not isinstance(total.body, Mul):
        return
    tensors = [f for f in total.body.args if not is_number(f)]
    deltas = [f for f in tensors if f.has(KroneckerDelta)]
    if deltas:
        added = [f for f in tensors if f not in deltas]
        positions = set().union(*map(free_indices, deltas))
        if len(added) > 1 and positions >= {*total.indices}:
            yield Mul(*added)
        return
    for letters in dict.fromkeys(map(free_indices, tensors)):
        alike = [f for f in tensors if free_indices(f) == letters]
        if 1 < len(alike) < len(tensors):
            yield Mul(*alike)


def _factors(product: Mul) -> frozenset[Expr]:
    """What a product is made of, its numbers as one factor and without their sign."""
    tensors = [f for f in product.args if not is_number(f)]
    numbers = _sign(product) * _numbers(product)
    return frozenset(tensors if numbers == 1 else [*tensors, numbers])


def _numbers(product: Mul) -> Expr:
    return Mul(*(f for f in product.args if is_number(f)))


def _sign(product: Mul) -> int:
    return -1 if _numbers(product).could_extract_minus_sign() else 1


def _factored(lets: Sequence[Let], common: frozenset[Expr], others: frozenset[str]) -> list[Let]:
    """The lets with a name for some factors that several products share."""
    product = Mul(*common)
    first = next(
        place
        for place, let in enumerate(lets)
        if any(common <= _factors(p) for p in _products(let.value))
    )
    (fresh,) = fresh_names([word(product)], _taken(lets, others))
    letters = tuple(abstract(product)[1])
    tensor = Tensor(fresh, _stored(letters, product.atoms(Element), lets[first]))

    def replaced(expr: Any) -> Any:
        if is_atomic(expr) or is_number(expr) or isinstance(expr, KroneckerDelta):
            return expr
        if isinstance(expr, Sum):
            if not any(common <= _factors(p) for p in _multiplied_first(expr)):
                return expr
            body = tensor.element * Mul(*(f for f in expr.body.args if f not in common))
            return expr.func(body, *expr.indices)
        args = [replaced(a) for a in expr.args]
        if isinstance(expr, Mul) and not expr.has(KroneckerDelta) and common <= _factors(expr):
            return _sign(expr) * tensor.element * Mul(*_factors(expr) - common)
        return with_args(expr, args)

    rest = [replace(let, value=replaced(let.value)) for let in lets[first:]]
    return [*lets[:first], Let(tensor, product), *rest]


def _signs_inside(lets: Sequence[Let], new: set[str], others: frozenset[str]) -> Sequence[Let]:
    """The lets, each new one that is read more than once, and always with a minus before it, with
    that inside, and called so."""
    for let in lets:
        signs = [sign for other in lets for sign in _signs(other.value, let.name)]
        if let.name in new and len(signs) > 1 and set(signs) == {-1}:
            (fresh,) = fresh_names([word(-let.value)], _taken(lets, others))
            tensor = replace(let.tensor, name=fresh)
            turned = [Let(let.tensor, -tensor.element)]
            inside = [
                Let(tensor, -o.value) if o is let else replace(o, value=substitute(o.value, turned))
                for o in lets
            ]
            return _signs_inside(inside, new | {fresh}, others)
    return lets


def _taken(lets: Iterable[Let], others: Iterable[str]) -> set[str]:
    """The names that no new let may have."""
    lets = list(lets)
    return {*others, *(let.name for let in lets), *names_used(*(let.value for let in lets))}


def _signs(expr: Basic, name: str) -> Iterator[int]:
    """The sign before each element of a tensor in an expression; a factor of others has none."""
    if isinstance(expr, Element):
        if expr.tensor_name == name:
            yield 1
    elif isinstance(expr, Mul) and isinstance(-expr, Element):
        yield from (-sign for sign in _signs(-expr, name))
    else:
        for arg in expr.args:
            yield from _signs(arg, name)


def _negated_once(lets: list[Let]) -> list[Let]:
    """`a = -g*x` and `b = -a` as `b = g*x` and `a = -b`: one sign less."""
    for place, let in enumerate(lets):
        sign, value = _unsigned(let.value)
        if sign == 1:
            continue
        for later in range(place + 1, len(lets)):
            other = lets[later]
            if other.value == -let.tensor.element and other.tensor.dims == let.tensor.dims:
                between = lets[place + 1 : later]
                if not any(let.name in names_used(b.value) for b in between):
                    positive = replace(other, value=value)
                    negative = replace(let, value=-other.tensor.element)
                    return _negated_once(
                        [*lets[:place], positive, *between, negative, *lets[later + 1 :]]
                    )
    return lets


def _largest_repeated(lets: Sequence[Let]) -> Expr | None:
    """The pattern of the largest subexpression that occurs at least twice."""
    counts = Counter(pattern for let in lets for pattern, _ in _patterns(let.value))
    repeated = [pattern for pattern, count in counts.items() if count > 1]
    return max(repeated, key=lambda e: (e.count_ops(), default_sort_key(e)), default=None)


@lru_cache(maxsize=10_000)
def _patterns(expr: Basic) -> tuple[tuple[Expr, Expr], ...]:
    """The subexpressions that take a kernel, each behind its pattern, as often as it is written."""
    return tuple((_pattern(e), e) for e in _computed(expr))


def _pattern(expr: Expr) -> Expr:
    """The pattern of an expression; a sum and its negative have the same."""
    return min((abstract(same)[0] for _, same in with_signs(expr)), key=default_sort_key)


def _computed(expr: Basic, summed: bool = False, chosen: bool = False) -> Iterator[Expr]:
    """The same without patterns; `summed` says that a sum is taken of the expression, and `chosen`
    that a choice may leave it out: a root stays there, of which zero has no derivative."""
    if _is_read(expr) or is_number(expr) or isinstance(expr, KroneckerDelta):
        return
    if isinstance(expr, Element):
        yield expr
        return
    letters = free_indices(expr)
    product_of_a_sum = (  # carried out by the sum's own kernel
        summed
        and isinstance(expr, Mul)
        and any(free_indices(f) < letters for f in expr.args if not is_number(f))
    )
    scatter = expr.has(KroneckerDelta) and not isinstance(expr, Where)
    inverse = isinstance(expr, Pow) and expr.exp == -1  # dividing is as cheap as multiplying
    elsewhere = scatter or product_of_a_sum or inverse or (chosen and has_root(expr))
    if not elsewhere and (expr.atoms(Element) or _compares_letters(expr)):
        term = _unsigned(expr)[1]
        if not is_atomic(term) and term not in expr.args:  # that is still to come
            yield term
    if isinstance(expr, And | Or | Not):
        return  # a part of a condition has no name, the whole has one
    for arg in expr.args:
        number, rest = arg.as_coeff_Mul() if isinstance(expr, Add) else (1, arg)
        inside = chosen or isinstance(expr, Where)
        yield from _computed(rest if number != 1 else arg, isinstance(expr, Sum), inside)


def _compares_letters(expr: Basic) -> bool:
    """Whether an expression compares letters, as `i != j` does."""
    return isinstance(expr, Relational) and len(free_indices(expr)) > 1


def _unsigned(expr: Any) -> tuple[int, Any]:
    """A product's sign, and the product without it: what differs by a sign is computed once."""
    if isinstance(expr, Mul) and expr.as_coeff_Mul()[0].is_negative:
        return -1, -expr
    return 1, expr


def _multiples(expr: Any) -> Iterator[tuple[Any, Any]]:
    """The ways to see an expression as a number times another one, itself first."""
    yield from with_signs(expr)
    if isinstance(expr, Mul):
        yield -1, -expr
        yield expr.as_coeff_Mul()


def _by_name(expr: Any, pattern: Expr, named: Named) -> Any:
    """An expression that reads a tensor wherever it has the pattern."""
    if _is_read(expr) or is_number(expr):
        return expr
    for number, value in _multiples(expr):
        found, letters = abstract(value)
        if found == pattern:
            return number * named.at(letters)
    if isinstance(expr, And | Or | Not | Element):
        return expr
    return with_args(expr, [_by_name(a, pattern, named) for a in expr.args])


def _named(lets: Sequence[Let], pattern: Expr, others: frozenset[str]) -> list[Let]:
    """The lets with a name for a pattern: that of the let which is nothing else, or a new one."""
    first, found = next(
        (place, e)
        for place, let in enumerate(lets)
        for other, e in _patterns(let.value)
        if other == pattern
    )
    own, (pattern, letters) = lets[first], abstract(found)
    if own.value == found and set(letters) == set(own.tensor.indices):
        named = Named(own.tensor, letters)
        return [*lets[: first + 1], *(_reading(let, pattern, named) for let in lets[first + 1 :])]
    (fresh,) = fresh_names([word(found)], _taken(lets, others))
    looked_up = isinstance(found, Element) and bool(found.is_integer)
    read = found.atoms(Element) or own.value.atoms(Element)
    tensor = Tensor(fresh, _stored(letters, read, own), integer=looked_up)
    rest = [_reading(let, pattern, Named(tensor, letters)) for let in lets[first:]]
    return [*lets[:first], Let(tensor, found), *rest]


def _reading(let: Let, pattern: Expr, named: Named) -> Let:
    return replace(let, value=_by_name(let.value, pattern, named))


def reading(let: Let, others: Iterable[Let]) -> Let:
    """The let, which reads others wherever it has their values."""
    for other in others:
        pattern, letters = abstract(other.value)
        if set(letters) == set(other.tensor.indices):
            let = _reading(let, pattern, Named(other.tensor, letters))
    return let


def _stored(letters: Sequence[Index], read: Iterable[Element], let: Let) -> tuple[Index, ...]:
    """The letters of a new let in the order of the element that has all of them; else of the let
    that it is for, or of the element that has most."""
    elements = sorted(read, key=lambda e: (-len({*e.indices} & {*letters}), str(e)))
    whole = any({*letters} <= {*e.indices} for e in elements)
    if not whole and {*letters} <= {*let.tensor.indices}:
        return tuple(i for i in let.tensor.indices if i in letters)
    stored = [i for element in elements for i in element.indices if i in letters]
    return tuple(dict.fromkeys([*stored, *letters]))
