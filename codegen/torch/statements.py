"""A program's lets as statements: one name a let, updates in place where a temporary is owned."""

from __future__ import annotations

import re
from dataclasses import replace

from codegen.program import Program
from codegen.torch.expressions import emit
from codegen.torch.scope import Scope
from codegen.torch.values import Dims, Value, conform, extent
from derive.expressions import Axis
from derive.language import Let, Tensor
from derive.trace import names_used


def storage(tensor: Tensor) -> Dims:
    """A tensor's stored dimensions, each as its letters."""
    return tuple(d if isinstance(d, tuple) else (d,) for d in tensor.dims)


def statements(program: Program) -> list[str]:
    """The body of a function, without what it unpacks first and returns last."""
    given = (*program.params, *program.kept.tensors)
    values = {t.name: Value(t.name, storage(t), integer=t.integer) for t in given}
    like = next((t.name for t in given if not t.integer), given[0].name)
    scope = Scope(program.tensors, values, like, literal=program.literal)
    lines: list[str] = []
    owned: set[str] = set()
    returned = {tensor.name for _, tensor in program.results} | set(program.keeps.names)
    for position, let in enumerate(program.lets):
        later = names_used(*(other.value for other in program.lets[position + 1 :]))
        lent = scope
        for name in owned - later - returned:
            if _reads(let, name) == 1:
                lent = lent.binding(name, replace(lent.values[name], fresh=True))
        value = emit(let.value, lent.ordered(*let.tensor.indices))
        value = conform(scope.real(value), storage(let.tensor), scope.size)
        if value.scalar and not value.dims:
            value = Value(f"torch.full((), {value.text}, {scope.kind})", fresh=True)
        if let.name in returned and len(value.letters) < len(let.tensor.indices):
            value = _expanded(value, let.tensor, scope)
        lines += _bound(let.name, value)
        if value.fresh:
            owned.add(let.name)
        kept_dims = value.dims
        scope = scope.binding(
            let.name, Value(let.name, kept_dims, integer=let.tensor.integer, boolean=False)
        )
    return lines


def _reads(let: Let, name: str) -> int:
    """How often a let's value reads a tensor."""
    return len(re.findall(rf"\b{name}\b", str(let.value)))


def _expanded(value: Value, tensor: Tensor, scope: Scope) -> Value:
    """The value with the dimensions that it lacks, as a view."""
    marks = [":" if dim in value.dims else "None" for dim in storage(tensor)]
    sizes = ", ".join(extent(dim, scope.size) for dim in storage(tensor))
    view = value.within(9, value.text, value.outer)
    if "None" in marks and value.dims:
        view = f"{view}[{', '.join(marks)}]"
    return Value(f"{view}.expand({sizes})", storage(tensor))


def _bound(name: str, value: Value) -> list[str]:
    """`name = ...`, and a line for each update of it."""
    lines = [f"{name} = {value.code}"]
    for update in value.updates:
        lines.append(f"{name} {update.statement}" if update.statement else f"{name}{update.method}")
    return lines


def sizes(lines: list[str], tensors: tuple[Tensor, ...], axes: dict[str, Axis]) -> list[str]:
    """Lines that read the sizes used in `lines` off the shapes of tensors."""
    text = "\n".join(lines)
    wanted = [name for name in axes if re.search(rf"\b{name}\b", text)]
    found: set[str] = set()
    result: list[str] = []
    for tensor in tensors:
        names = [d[0].size.name if len(d) == 1 else "" for d in storage(tensor)]
        new = {n for n in names if n in wanted and n not in found}
        if not new:
            continue
        found |= new
        if len(new) == 1 and len(names) > 1:
            (only,) = new
            result.append(f"{only} = {tensor.name}.shape[{names.index(only)}]")
            continue
        targets = ", ".join(n if n in new else "_" for n in names)
        comma = "," if len(names) == 1 else ""
        result.append(f"{targets}{comma} = {tensor.name}.shape")
    for tensor in tensors:
        for place, dim in enumerate(storage(tensor)):
            missing = [i for i in dim if i.size.name in wanted and i.size.name not in found]
            if len(dim) > 1 and len(missing) == 1:
                others = " * ".join(i.size.name for i in dim if i is not missing[0])
                name = missing[0].size.name
                found.add(name)
                result.append(f"{name} = {tensor.name}.shape[{place}] // ({others})")
    return result
