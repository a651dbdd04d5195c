"""What a public function demands of its arguments, as lines that raise where it does not hold."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator

from codegen.torch.arguments import Arguments
from codegen.torch.reading import names_read, renamed
from derive.language.interface import Argument


def demanded_of(argument: Argument, arguments: Arguments) -> Iterator[str]:
    """What is demanded of one argument by itself, in words or as it is written."""
    name = argument.name
    words = {f"not {name}": "must be False", f"{name} is None": "must be None"}
    for condition, _ in arguments.interface.demands:
        tree = ast.parse(condition, mode="eval").body
        match tree:
            case ast.BoolOp(op=ast.And()):
                parts = tree.values
            case _:
                parts = [tree]
        for part in map(ast.unparse, parts):
            if names_read(part) in ({name}, *({tensor} for tensor in argument.tensors)):
                yield words.get(part, part)


def demanded(operation: str, arguments: Arguments, sized: bool = False) -> Iterator[str]:
    """Conditions that must hold, those that read the size of an axis apart from the others."""
    roles = arguments.interface.roles
    for condition, error in arguments.interface.demands:
        read = names_read(condition)
        if any(axis.size.name in read for axis, _ in roles) != sized:
            continue
        tensors = _compared(condition) & set(arguments.tensors)
        variables = {name: arguments.variable(name) for name in read & set(arguments.tensors)}
        said = renamed(condition, variables)
        condition = renamed(said, {"inf": "math.inf"})
        if tensors:
            yield f"if not _everywhere({condition}):"
            yield f'    raise {error}("{operation} wants {said} everywhere")'
            continue
        shown = [name for name in sorted(read) if name in arguments.options]
        shown += [axis.size.name for axis, _ in roles if axis.size.name in read]
        got = [f"{name} = {{{name}}}" for name in shown]
        got += [f"{name} of shape {{[*{name}.shape]}}" for name in sorted(_measured(said))]
        yield f"if not ({condition}):"
        yield f"    raise {error}("
        # Literals are joined when they are formatted, where they fit on a line.
        *others, last = textwrap.wrap(f"{operation} wants {said}{',' if got else ''}", 80)
        yield from (f'        "{words} "' for words in others)
        yield f'        "{last} "' if got else f'        "{last}"'
        for place, one in enumerate(got):
            yield f'        f"{"" if place else "got "}{one}{", " if one != got[-1] else ""}"'
        yield "    )"


def _measured(condition: str) -> set[str]:
    """The names that a condition asks for their dimensions, as of `input.dim()`."""
    nodes = (n.value for n in ast.walk(ast.parse(condition)) if isinstance(n, ast.Attribute))
    return {n.id for n in nodes if isinstance(n, ast.Name)}


def _compared(condition: str) -> set[str]:
    """The names that a condition compares by value, not by being None or by an attribute."""
    nodes = list(ast.walk(ast.parse(condition)))
    apart: list[ast.AST] = [n.value for n in nodes if isinstance(n, ast.Attribute)]
    apart += [
        n.left
        for n in nodes
        if isinstance(n, ast.Compare) and any(isinstance(o, ast.Is | ast.IsNot) for o in n.ops)
    ]
    return {n.id for n in nodes if isinstance(n, ast.Name) and n not in apart}
