"""How a caller's tensors are seen over a definition's axes, and a result as the caller's again.

Every way of seeing them is a `Layout`, chosen by the roles of the axes. It gives lines of Python
that name the sizes, an expression for each input, and one for the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from codegen.program import CodegenError
from codegen.torch.arguments import Arguments
from derive.language.definition import Tensor

Roles = tuple[str | None, ...]


@dataclass(frozen=True)
class Wide:
    """The tensor that a variable holds, in a dtype wide enough, or as an index inside its axis.

    It is an expression: what is put `around` the variable, or around a check of its shape.
    """

    variable: str
    around: Callable[[str], str]

    def __str__(self) -> str:
        return self.around(self.variable)

    def shaped(self, shape: str) -> str:
        """The tensor, which must have a shape."""
        return self.around(f'_shaped("{self.variable}", {self.variable}, {shape})')

    def ranked(self, rank: int) -> str:
        """The tensor, which must have a rank."""
        return self.around(f'_ranked("{self.variable}", {self.variable}, {rank})')


class Layout(Protocol):
    """A way of seeing tensors of any rank as tensors over a definition's axes."""

    def __init__(self, arguments: Arguments) -> None: ...

    def enter(self) -> Iterator[str]:
        """Lines that check the shapes and name their parts."""
        ...

    def seen(self, tensor: Tensor, wide: Wide) -> str:
        """An input over the definition's axes; `wide` is it as it was given."""
        ...

    def size(self, role: str) -> str:
        """The size of an axis, as an expression."""
        ...

    def restored(self, output: str, roles: Roles) -> str:
        """The result, over axes of these roles, in the caller's shape."""
        ...


def layout(arguments: Arguments) -> Layout:
    """The layout that the roles of an interface call for."""
    return next(kind for role, kind in _LAYOUTS if role in arguments.roles)(arguments)


@dataclass(frozen=True)
class Elements:
    """All dimensions of all tensors, broadcast against each other, are one axis."""

    arguments: Arguments

    @cached_property
    def _spread(self) -> list[str]:
        return self.arguments.with_roles("elements")

    def enter(self) -> Iterator[str]:
        names = self._spread
        if len(names) == 1:
            yield f"shape, last = {names[0]}.shape, _channels_last({names[0]})"
            return
        yield f"shape = _broadcast({', '.join(f'{name}={name}' for name in names)})"

    def seen(self, tensor: Tensor, wide: Wide) -> str:
        if "elements" not in self.arguments.roles_of(tensor):
            return str(wide)
        if len(self._spread) == 1:
            return f"_flattened({wide}, last)"
        return f"_flat({wide.variable}, shape, dtype)"

    def size(self, role: str) -> str:
        return "math.prod(shape)"

    def restored(self, output: str, roles: Roles) -> str:
        if len(roles) > 1:
            return f"{output}.reshape((*shape, *{output}.shape[1:]))"
        if len(self._spread) == 1:
            return f"_unflattened({output}, shape, last)"
        return f"{output}.reshape(shape)"


@dataclass(frozen=True)
class Rows:
    """Dimension 0, and all others as one axis; tensors are broadcast against the first, which has
    as many rows as they have together."""

    arguments: Arguments

    def enter(self) -> Iterator[str]:
        names, first = self.arguments.with_roles("rows", "columns"), self.arguments.primary
        yield f"shape = _broadcast({', '.join(f'{name}={name}' for name in names)})"
        yield f"if {first}.shape[:1] != shape[:1]:"
        yield from refusal("RuntimeError", first, "the first dimension of {[*shape]}")
        yield "rows, columns = math.prod(shape[:1]), math.prod(shape[1:])"

    def seen(self, tensor: Tensor, wide: Wide) -> str:
        return f"{wide}.expand(shape).reshape(rows, columns)"

    def size(self, role: str) -> str:
        return {"rows": "rows", "columns": "columns"}[role]

    def restored(self, output: str, roles: Roles) -> str:
        return f"{output}.reshape({_one_of({('rows', 'columns'): 'shape'}, output, roles)})"


@dataclass(frozen=True)
class Channels:
    """A batch, channels in dimension 1, and the positions after them; one dimension is channels."""

    arguments: Arguments

    def enter(self) -> Iterator[str]:
        yield f"shape = {self.arguments.primary}.shape"
        yield "batch, channels, positions = _channels(shape)"
        if any("channel" not in r for r in map(self.arguments.roles_of, self._batched)):
            yield "outer = (*shape[:1], *shape[2:]) if len(shape) > 1 else ()"

    @cached_property
    def _batched(self) -> list[Tensor]:
        tensors = self.arguments.tensors.values()
        return [t for t in tensors if "batch" in self.arguments.roles_of(t)]

    def seen(self, tensor: Tensor, wide: Wide) -> str:
        match self.arguments.roles_of(tensor):
            case ("batch", "channel", "spatial"):
                first = wide.variable == self.arguments.primary
                given = str(wide) if first else wide.shaped("shape")
                return f"{given}.reshape(batch, channels, positions)"
            case ("batch", "spatial"):
                return f"{wide.shaped('outer')}.reshape(batch, positions)"
            case _:
                return wide.shaped("(channels,)")

    def size(self, role: str) -> str:
        return _CHANNELS[role]

    def restored(self, output: str, roles: Roles) -> str:
        shapes: dict[Roles, str] = {("batch", "channel", "spatial"): "shape"}
        if any(self.arguments.roles_of(t) == ("batch", "spatial") for t in self._batched):
            shapes["batch", "spatial"] = "outer"
        return f"{output}.reshape({_one_of(shapes, output, roles)}).contiguous()"


@dataclass(frozen=True)
class Groups:
    """A batch, channels in dimension 1 as groups of channels, and the positions after them."""

    arguments: Arguments

    def enter(self) -> Iterator[str]:
        first = self.arguments.primary
        yield f"shape = {first}.shape"
        yield "if len(shape) < 2 or shape[1] % num_groups:"
        yield from refusal("RuntimeError", first, "channels in {num_groups} groups of one size")
        yield "batch, channels, positions = _channels(shape)"
        yield "within = channels // num_groups"

    def seen(self, tensor: Tensor, wide: Wide) -> str:
        if "batch" in self.arguments.roles_of(tensor):
            return f"{wide}.reshape(batch, num_groups, within, positions)"
        return f"{wide.shaped('(channels,)')}.reshape(num_groups, within)"

    def size(self, role: str) -> str:
        return _CHANNELS[role]

    def restored(self, output: str, roles: Roles) -> str:
        whole = ("batch", "group", "within", "spatial")
        return f"{output}.reshape({_one_of({whole: 'shape'}, output, roles)})"


@dataclass(frozen=True)
class Tail:
    """Some dimensions, moved to the end, are one axis, and all that are left are another."""

    arguments: Arguments

    @cached_property
    def _role(self) -> str:
        return next(role for role in TAILS if role in self.arguments.roles)

    @cached_property
    def _whole(self) -> list[str]:
        """The variables over the same two axes as the first one."""
        first = next(
            t
            for n, t in self.arguments.tensors.items()
            if self.arguments.variable(n) == self.arguments.primary
        )
        alike = [
            n
            for n, t in self.arguments.tensors.items()
            if t.axes == first.axes and not self.arguments.one_of_two(n)
        ]
        return list(dict.fromkeys(map(self.arguments.variable, alike)))

    def enter(self) -> Iterator[str]:
        first, kept = self.arguments.primary, "keepdim" in self.arguments.conventional
        if len(self._whole) > 1 and not self.arguments.halved:
            names = ", ".join(self._whole)
            yield f"{names} = torch.broadcast_tensors({names})"
        if self._role in _DIMS:
            alone = [n for n in self.arguments.tensors if self.arguments.one_of_two(n)]
            if kept or alone:
                yield f"shape = {first}.shape"
            if self._role == "channel" and self._keeps_shape:
                yield f"last = _channels_last({first})"
            usual = _DIMS[self._role].format(first=first)
            yield f"dims = {f'(dim % {first}.dim(),)' if self.arguments.halved else usual}"
            for name in self._whole:
                yield f"{name} = {name}.movedim(dims, tuple(range(-len(dims), 0)))"
        split = _SPLITS.get(self._role, "-1").format(first=first)
        if split != "-1":
            yield f"split = {split}"
            split = "split"
        yield f"rest, tail = {first}.shape[:{split}], {first}.shape[{split}:]"
        if self._role == "features":
            yield "if not normalized_shape or tuple(tail) != tuple(normalized_shape):"
            yield from refusal("RuntimeError", first, "a shape that ends in {[*normalized_shape]}")

    @cached_property
    def _keeps_shape(self) -> bool:
        """Whether a result has the caller's dimensions, all of them."""
        definitions = [v.definition for v in self.arguments.interface.variants]
        axes = [d.tensors[name].axes for d in definitions for name in d.outputs]
        return ("rest", self._role) in map(self.arguments.roles_over, axes)

    def seen(self, tensor: Tensor, wide: Wide) -> str:
        roles, name = self.arguments.roles_of(tensor), wide.variable
        match roles:
            case ("rest", "last") if name not in self._whole:
                given = wide.shaped(f"(*rest, *{name}.shape[-1:])")
                return f"{given}.reshape(math.prod(rest), math.prod({name}.shape[-1:]))"
            case ("rest", _) if name not in self._whole:
                moved = wide.shaped("shape")
                back = "movedim(dims, tuple(range(-len(dims), 0)))"
                return f"{moved}.{back}.reshape(math.prod(rest), math.prod(tail))"
            case ("rest", _):
                return f"{wide}.reshape(math.prod(rest), math.prod(tail))"
            case ("rest",) if tensor.integer:
                return f"{wide.shaped('rest')}.reshape(-1)"
            case ("rest",):
                return f"_flat({name}, rest, dtype)"
            case ("channel",) if dict(self.arguments.interface.given).get(tensor.name) == "shared":
                return f"{wide}.reshape(-1).expand(math.prod(tail))"
            case ("features" | "channel",):
                return f"{wide.shaped('tail')}.reshape(-1)"
            case _:
                return wide.ranked(len(roles))

    def size(self, role: str) -> str:
        return f"math.prod({'rest' if role == 'rest' else 'tail'})"

    def restored(self, output: str, roles: Roles) -> str:
        match roles:
            case ("rest",) if "keepdim" not in self.arguments.conventional:
                return f"{output}.reshape(rest)"
            case ("rest",) if self._role == "last":
                return f"{output}.reshape((*rest, 1) if keepdim else rest)"
            case ("rest",):
                kept = "[1 if d in dims else size for d, size in enumerate(shape)]"
                return f"{output}.reshape({kept} if keepdim else rest)"
            case ("rest", "last", None):
                return f"{output}.reshape((*rest, *tail, {output}.shape[-1]))"
            case ("rest", None):
                return f"{output}.reshape((*rest, {output}.shape[-1]))"
            case _:
                whole = f"{output}.reshape((*rest, *tail))"
                moved = f"{whole}.movedim(tuple(range(-len(dims), 0)), dims)"
                if self._role == "channel":
                    return f"({moved} if last else {moved}.contiguous())"
                return f"{moved}.contiguous()" if self._role in _DIMS else whole


_CHANNELS = {
    "batch": "batch",
    "channel": "channels",
    "group": "num_groups",
    "within": "within",
    "spatial": "positions",
}
"""The variables that hold the sizes of axes."""

_DIMS = {
    "channel": "(1,) if {first}.dim() > 1 else tuple(range({first}.dim()))",
    "dim": "_dims(dim, {first}.dim())",
    "along": "_along(dim, {first}.dim())",
}
"""The dimensions that are moved to the end, by the role of the axis that they are."""

_SPLITS = {
    "channel": "{first}.dim() - len(dims)",
    "dim": "{first}.dim() - len(dims)",
    "along": "{first}.dim() - len(dims)",
    "features": "{first}.dim() - len(normalized_shape)",
}
"""Where the dimensions of the tail begin, if it need not be one."""

TAILS = ("last", "features", "channel", "dim", "along")

_LAYOUTS: tuple[tuple[str, type[Layout]], ...] = (
    ("elements", Elements),
    ("group", Groups),
    ("spatial", Channels),
    ("rows", Rows),
    *((role, Tail) for role in TAILS),
)


def _one_of(shapes: Mapping[Roles, str], output: str, roles: Roles) -> str:
    """The shape that a result over axes of these roles has.

    Raises:
        CodegenError: a caller's tensors have no such shape.
    """
    if roles not in shapes:
        known = " or ".join(f"({', '.join(map(str, known))})" for known in shapes)
        raise CodegenError(
            f"{output!r} must be over axes of the roles {known}, or over none, where it is "
            f"returned in a caller's shape; got ({', '.join(map(str, roles))})"
        )
    return shapes[roles]


def refusal(error: str, name: str, wanted: str) -> Iterator[str]:
    """Raise an error that says which shape a tensor must have, and which it has."""
    yield f"    raise {error}("
    yield f'        f"{name} must have {wanted}, "'
    yield f'        f"got shape {{[*{name}.shape]}}"'
    yield "    )"
