"""A program's lets as statements: one name a let, updates in place where a temporary is owned."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from sympy import Expr, Symbol
from sympy.logic.boolalg import And, Boolean, Not, Or

from codegen.program import CodegenError, Program
from codegen.torch.expressions import emit
from codegen.torch.reading import names_in
from codegen.torch.scalars import scalar
from codegen.torch.scope import Scope
from codegen.torch.values import ATOM, Dims, Value, conform, extent, shape
from derive.language.definition import Let, Tensor
from derive.language.expressions import Axis, Element, Where, names_used


def storage(tensor: Tensor) -> Dims:
    """A tensor's stored dimensions, each as its letters."""
    return tuple(d if isinstance(d, tuple) else (d,) for d in tensor.dims)


def _masks(program: Program) -> set[str]:
    """The names of the tensors that a program reads as conditions."""
    found: set[str] = set()
    for let in program.lets:
        conditions = [choice.condition for choice in let.value.atoms(Where)]
        while conditions:
            condition = conditions.pop()
            if isinstance(condition, And | Or | Not):
                conditions += condition.args
            elif isinstance(condition, Element | Symbol):
                found |= names_used(condition)
    return found


def statements(program: Program, before: Mapping[str, frozenset[str]]) -> list[str]:
    """The body of a function, without what it unpacks first and returns last.

    `before` says which parameters what it unpacks was computed from.
    """
    masks = _masks(program)
    scope = _opening(program, before, masks)
    lines: list[str] = []
    borrowed = {*scope.values}
    results = {tensor.name for _, tensor in program.results}
    forward = program.differentiable and not program.unpacked.names
    for let in program.lets:
        handed_on = let.name in program.handed_on
        value = _stored(let, handed_on, masks, scope)
        seen = not value.fresh and bool(names_used(let.value) & borrowed)
        # Autograd tells tensors apart, and a view of an argument is no result of its own.
        if handed_on and (value.text in program.handed_on or seen):
            value = Value(f"{value.at(ATOM)}.clone()", value.dims, fresh=True)
        elif seen:
            borrowed.add(let.name)
        if forward and let.name in results:
            value = _anew(value)
        lines += _bound(let.name, value)
        bound = Value(let.name, value.dims, integer=let.tensor.integer, boolean=value.boolean)
        scope = scope.binding(let.name, bound)
    return lines


def _opening(program: Program, before: Mapping[str, frozenset[str]], masks: set[str]) -> Scope:
    """What is known before the first let: the tensors that the program is given."""
    given = (*program.params, *program.unpacked.tensors)
    values = {
        t.name: Value(t.name, storage(t), integer=t.integer, boolean=t.name in masks) for t in given
    }
    return Scope(
        program.tensors,
        values,
        like=next((t.name for t in given if not t.integer), given[0].name),
        origins=program.origins(before),
        literal=program.literal,
        differentiable=program.differentiable,
        order_of_program=program.order,
        extents=dict(program.extents),
    )


def _stored(let: Let, handed_on: bool, masks: set[str], scope: Scope) -> Value:
    """The value of a let in the dimensions that it is stored in, in all of them where it is handed
    on."""
    value = emit(let.value, scope.ordered(*let.tensor.indices))
    as_it_is = let.tensor.integer or isinstance(let.value, Boolean) or let.name in masks
    value = conform(value if as_it_is else scope.real(value), storage(let.tensor), scope.size)
    if value.scalar and not value.dims:
        value = _filled(value, let.tensor if handed_on else None, scope)
    if handed_on and len(value.letters) < len(let.tensor.indices):
        value = _expanded(value, let.tensor, scope)
    return value


def _anew(value: Value) -> Value:
    """The value without a change in place: before 2.13 `torch.compile` takes an output for constant
    that an `autograd.Function` has changed.
    """
    updates = tuple(replace(update, in_place=False) for update in value.updates)
    return replace(value, updates=updates)


def _filled(number: Value, tensor: Tensor | None, scope: Scope) -> Value:
    """A number as a tensor, in the shape of one where that is handed on."""
    dims = storage(tensor) if tensor is not None else ()
    sizes = shape(dims, scope.size)
    made = f"new_zeros({sizes})" if number.text == "0" else f"new_full({sizes}, {number.text})"
    return Value(f"{scope.like}.{made}", dims, fresh=True)


def _expanded(value: Value, tensor: Tensor, scope: Scope) -> Value:
    """The value with the dimensions that it lacks, in memory of its own."""
    dims = storage(tensor)
    while dims and dims[0] not in value.dims:  # broadcasting supplies leading ones
        dims = dims[1:]
    marks = [":" if dim in value.dims else "None" for dim in dims]
    sizes = ", ".join(extent(dim, scope.size) for dim in storage(tensor))
    view = value.within(ATOM, value.text, value.outer)
    if "None" in marks and value.dims:
        view = f"{view}[{', '.join(marks)}]"
    return Value(f"{view}.expand({sizes}).clone()", storage(tensor), fresh=True)


def _bound(name: str, value: Value) -> list[str]:
    """`name = ...`, and a line for each update of it."""
    return [f"{name} = {value.code}", *(update.line(name) for update in value.updates)]


def sizes(
    lines: Iterable[str],
    tensors: Sequence[Tensor],
    axes: Mapping[str, Axis],
    extents: Mapping[Axis, Expr] | None = None,
) -> list[str]:
    """Lines that read the sizes used in `lines` off the shapes of tensors, or compute them, where
    they are one of the `extents`.

    Raises:
        CodegenError: no tensor shows a size that is used.
    """
    read = names_in(lines)
    tensors = sorted(tensors, key=lambda t: -len({d for d in storage(t) if len(d) == 1}))
    found = sizes_in(tensors, axes)
    wanted = [name for name in axes if name in read]
    computed: list[str] = []
    for axis, length in reversed([*(extents or {}).items()]):
        name = axis.size.name
        if name in wanted and name not in found:
            computed.insert(0, f"{name} = {scalar(length).text}")
            wanted = [n for n in wanted if n != name]
            wanted += sorted({s.name for s in length.free_symbols} - {*wanted})
    for name in wanted:
        if name not in found:
            stored = any(axes[name] in tensor.axes for tensor in tensors)
            hint = "; one of them is to have it as a dimension of its own" if stored else ""
            raise CodegenError(
                f"the size of axis {axes[name].name!r} is needed, and no tensor has a "
                f"dimension that shows it; the tensors are {', '.join(map(repr, tensors))}{hint}"
            )
    needed = set(wanted)
    for name in reversed(found):  # a size that is divided out of a composite needs the others
        needed |= set(found[name].others) if name in needed else set()
    return [*_read(tensors, [found[name] for name in found if name in needed]), *computed]


@dataclass(frozen=True)
class Place:
    """Where a size is seen: a dimension of a tensor, which it shares with `others`."""

    name: str
    tensor: str
    dimension: int
    others: tuple[str, ...] = ()


def sizes_in(tensors: Sequence[Tensor], axes: Mapping[str, Axis]) -> dict[str, Place]:
    """Where each size can be seen, in an order in which each one's `others` come before it."""
    found: dict[str, Place] = {}
    shared: list[tuple[str, int, list[str]]] = []
    for tensor in tensors:
        for dimension, dim in enumerate(storage(tensor)):
            names = [i.size.name for i in dim]
            if len(names) == 1 and names[0] in axes:
                found.setdefault(names[0], Place(names[0], tensor.name, dimension))
            elif len(names) > 1:
                shared.append((tensor.name, dimension, names))
    for _ in shared:
        for name, dimension, names in shared:
            unknown = [n for n in names if n not in found and n in axes]
            if len(unknown) == 1:
                others = tuple(n for n in names if n != unknown[0])
                found[unknown[0]] = Place(unknown[0], name, dimension, others)
    return found


def _read(tensors: Sequence[Tensor], places: Sequence[Place]) -> list[str]:
    """One line a tensor that shows sizes, and one for each that is divided out."""
    lines: list[str] = []
    for tensor in tensors:
        here = {p.dimension: p.name for p in places if p.tensor == tensor.name and not p.others}
        rank = len(tensor.dims)
        if len(here) == 1 and rank > 1:
            ((dimension, name),) = here.items()
            lines.append(f"{name} = {tensor.name}.shape[{dimension}]")
        elif here:
            targets = ", ".join(here.get(d, "_") for d in range(rank))
            lines.append(f"{targets}{',' if rank == 1 else ''} = {tensor.name}.shape")
    for place in places:
        if place.others:
            others = " * ".join(place.others)
            others = f"({others})" if len(place.others) > 1 else others
            lines.append(f"{place.name} = {place.tensor}.shape[{place.dimension}] // {others}")
    return lines
