"""A module's parts as lines of text, ready for the template to lay out."""

from __future__ import annotations

import re
from dataclasses import dataclass

from codegen.program import Kept, Module, Program
from codegen.torch.statements import sizes, statements, storage
from derive.language import Option, Tensor


@dataclass(frozen=True)
class Function:
    """One emitted function: its signature's parts, its body and what it returns."""

    params: str
    body: tuple[str, ...]
    returns: tuple[str, ...]


def parameters(tensors: tuple[Tensor, ...], options: tuple[Option, ...]) -> str:
    """`x: Tensor, weight: Tensor, *, eps: float = 1e-05`."""
    parts = [f"{t.name}: Tensor" for t in tensors]
    if options:
        parts.append("*")
        parts += [_option(o) for o in options]
    return ", ".join(parts)


def _option(option: Option) -> str:
    kind = "int" if option.integer else "float"
    return f"{option.name}: {kind}" + ("" if option.default is None else f" = {option.default!r}")


def shape_text(tensor: Tensor) -> str:
    """The shape a tensor has, as it is written in messages: `(N, T * D)`."""
    dims = [" * ".join(i.size.name for i in dim) for dim in storage(tensor)]
    return f"({', '.join(dims)}{',' if len(dims) == 1 else ''})"


def function(program: Program, kept: Kept) -> Function:
    """A program as the parts of a function. `kept` is what it returns besides its results."""
    body = statements(program)
    tensors = (*program.params, *program.kept.tensors)
    hidden = {a.size.name for a in program.kept.sizes}
    axes = {name: axis for name, axis in program.axes.items() if name not in hidden}
    results = tuple(tensor.name for _, tensor in program.results)
    extra = [f"{name}" for name in kept.names]
    text = [*body, *extra]
    return Function(
        params=parameters(program.params, program.options),
        body=(*sizes(text, tensors, axes), *body),
        returns=results,
    )


def checks(module: Module) -> list[str]:
    """Lines that refuse arguments of another dtype or shape, naming what was got and wanted."""
    lines: list[str] = []
    known: set[str] = set()
    for tensor in module.inputs:
        name, wanted = tensor.name, shape_text(tensor)
        if tensor.integer:
            lines.append(f"if {name}.is_floating_point():")
            lines.append(f'    raise TypeError(f"{name} must hold integers, got {{{name}.dtype}}")')
        else:
            lines.append(f"if not {name}.is_floating_point():")
            lines.append(
                f'    raise TypeError(f"{name} must hold floating-point numbers, '
                f'got {{{name}.dtype}}")'
            )
        mismatch = [f"{name}.dim() != {len(tensor.dims)}"]
        fresh: list[str] = []
        for place, dim in enumerate(storage(tensor)):
            names = [i.size.name for i in dim]
            if all(n in known for n in names):
                mismatch.append(f"{name}.shape[{place}] != {' * '.join(names)}")
            elif len(names) == 1:
                known.add(names[0])
                fresh.append(f"{names[0]} = {name}.shape[{place}]")
        lines.append(f"if {' or '.join(mismatch)}:")
        where = "".join(
            f", {n} = {{{n}}}" for n in sorted(known) if any(n in m for m in mismatch[1:])
        )
        lines.append(
            f'    raise ValueError(f"{name} must have shape {wanted}, '
            f'got {{tuple({name}.shape)}}{where}")'
        )
        lines += fresh
    return [line for line in lines if not _is_idle(line, lines)]


def _is_idle(line: str, lines: list[str]) -> bool:
    """Whether a line reads a size that no check mentions."""
    found = re.match(r"(\w+) = ", line)
    return found is not None and not any(
        re.search(rf"\b{found[1]}\b", other.split("must have shape")[0])
        for other in lines
        if other is not line
    )
