"""The text form of a definition, which `derive.notation.reading` reads back as an equal one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import sympy
from sympy import Expr, Symbol

from derive.language.definition import Call, Definition, Let, dim_text
from derive.language.expressions import Index
from derive.printing.arrange import Arrangement
from derive.printing.text import declaration, text


def definition_text(
    definition: Definition, known: Callable[[Definition], bool] = lambda callee: False
) -> str:
    """A definition in the text form of the language.

    `known` says which of the definitions it uses the reader can look up by name; the others
    are written out before it.
    """
    written = dict.fromkeys([*_callees(definition, known), definition])
    return "\n".join("\n".join(_lines(each)) + "\n" for each in written)


def _callees(definition: Definition, known: Callable[[Definition], bool]) -> Iterator[Definition]:
    """What a definition uses and the reader does not know, each after what it uses itself."""
    for callee in dict.fromkeys(call.callee for call in definition.calls):
        if not known(callee):
            yield from _callees(callee, known)
            yield callee


def _lines(definition: Definition) -> Iterator[str]:
    yield f"{definition.name}: {definition.summary}"
    yield from _listed("letters", [f"{i.name} over {i.axis.name}" for i in _letters(definition)])
    yield from _listed("inputs", [declaration(tensor) for tensor in definition.inputs])
    yield from _listed("options", [declaration(option) for option in definition.options])
    yield ""
    arrangement = arrangement_of_definition(definition)
    calls = {call.lets[0]: call for call in definition.calls}
    within = {name for call in definition.calls for name in call.lets}
    alone = [let for let in definition.lets if let.name not in within]
    heads = {let.name: _head(let) for let in alone}
    margin = max(map(len, heads.values()), default=0)
    for let in definition.lets:
        if let.name in calls:
            yield _use(calls[let.name], arrangement)
        elif let.name not in within:
            yield f"{heads[let.name]:<{margin}} = {text(_marked(let.value), arrangement)}"
    ending = list(_ending(definition))
    yield from ["", *ending] if ending else []


def arrangement_of_definition(definition: Definition) -> Arrangement:
    """The order of writing in which a definition's names stand as they are declared."""
    names = [axis.size.name for axis in definition.axes]
    names += [option.name for option in definition.options]
    return Arrangement({name: at for at, name in enumerate([*names, *definition.tensors])})


def _listed(keyword: str, things: list[str]) -> list[str]:
    return [f"{keyword:<8} {', '.join(things)}"] if things else []


def _letters(definition: Definition) -> list[Index]:
    """Every letter that is not its axis's own; those over axes that a call brings are plain."""
    brought = {
        ours
        for call in definition.calls
        for theirs, ours in call.axes
        if theirs in call.callee.extents
    }
    used = {i for tensor in definition.tensors.values() for i in tensor.indices}
    used |= {i for let in definition.lets for i in let.value.atoms(Index)}
    second = (i for i in used if i.name != i.axis.name and i.axis not in brought)
    return sorted(second, key=lambda i: (i.axis, i.name))


def _head(let: Let) -> str:
    """A let's left side, with dimensions that are stored as one in parentheses."""
    dims = ",".join(map(dim_text, let.tensor.dims))
    return f"{let.name}[{dims}]" if dims else let.name


def _marked(value: Expr) -> Expr:
    """The value with each rounded number as `~0.1`: a plain 0.1 is read as one tenth."""
    rounded = {n: Symbol(f"~{float(n)!r}") for n in value.atoms(sympy.Float)}
    return value.xreplace(rounded) if rounded else value


def _use(call: Call, arrangement: Arrangement) -> str:
    options = dict(call.options)
    inputs = {tensor.name for tensor in call.callee.inputs}
    given = [f"{name} = {tensor.name}" for name, tensor in call.tensors if name in inputs]
    given += [
        f"{option.name} = {text(_marked(options[option.name]), arrangement)}"
        for option in call.callee.options
        if options[option.name] != option.default
    ]
    return f"use {call.callee.name}({', '.join(given)}) as {', '.join(call.lets)}"


def _ending(definition: Definition) -> Iterator[str]:
    """What is asked for, where it is not what goes without saying."""
    real = [let.name for let in definition.lets if not let.tensor.integer]
    if definition.outputs != (real[-1],):
        yield f"outputs   {', '.join(definition.outputs)}"
    if definition.wrt != tuple(tensor.name for tensor in definition.inputs if not tensor.integer):
        yield f"gradients {', '.join(definition.wrt)}"
    yield from _listed("updates  ", [f"{buffer} = {let}" for buffer, let in definition.updates])
    if definition.chunked:
        yield "chunked"
