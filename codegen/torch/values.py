"""Tensor-valued source text that knows its axes, and how to line several up.

A `Value` is an expression in the emitted source together with the letter of each of its
dimensions. A dimension may carry several letters (a composite one, laid out as one) or
none (size one, for broadcasting).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from derive.language.expressions import Index

Letters = tuple[Index, ...]
Dims = tuple[Letters, ...]

# How tightly Python binds: the precedence of the outermost operator of a source text.
ATOM, POWER, UNARY, TIMES, PLUS, MASK_AND, MASK_OR, COMPARE = 9, 8, 7, 6, 5, 4, 3, 2


@dataclass(frozen=True)
class Update:
    """An operation on a temporary: a method with its arguments, or an operator with an operand.

    It is `in_place` unless the temporary may lack a batch that an argument has under vmap.
    """

    name: str
    arguments: str = ""
    operator: str = ""
    operand: Value | None = None
    in_place: bool = True

    def after(self, code: str, binds: int) -> tuple[str, int]:
        """The operation on an expression, and how tightly what it makes binds."""
        if self.operand is not None and not self.in_place:
            own = PLUS if self.operator in ("+", "-") else TIMES
            code = f"{Value.within(own, code, binds)} {self.operator} {self.operand.at(own + 1)}"
            return code, own
        method = f"{self.name}{'_' if self.in_place else ''}"
        return f"{Value.within(ATOM, code, binds)}.{method}({self.arguments})", ATOM

    def line(self, target: str) -> str:
        """The operation as a statement."""
        if not self.in_place:
            return f"{target} = {self.after(target, ATOM)[0]}"
        if self.operand is not None:
            return f"{target} {self.operator}= {self.operand.text}"
        return self.after(target, ATOM)[0]


@dataclass(frozen=True)
class Reduction:
    """An operand reduced by one of its methods, or by a function of torch's, over the dimensions
    that `where` says, or over all. It has the layout `kept` where those stay, at size one."""

    function: str
    operand: Value
    where: str
    kept: Dims

    def code(self, keepdim: bool = False) -> str:
        arguments = [self.where] if self.where else []
        arguments += ["keepdim=True"] if keepdim else []
        if self.function.startswith("torch."):
            return f"{self.function}({', '.join([self.operand.text, *arguments])})"
        return f"{self.operand.at(ATOM)}.{self.function}({', '.join(arguments)})"


@dataclass(frozen=True)
class Value:
    """Source text of a tensor.

    `binds` is the precedence of its outermost operator. `fresh` says that nothing else can
    see the tensor, so that `updates`, in order, may still be applied to it;
    `remembered` that autograd, where it watches, looks at the result once more.
    `pair` holds the two matrices where the value is their product, `reduction` what is reduced,
    and how, where it is a reduction.
    """

    code: str
    dims: Dims = ()
    binds: int = ATOM
    fresh: bool = False
    remembered: bool = False
    boolean: bool = False
    integer: bool = False
    scalar: bool = False
    updates: tuple[Update, ...] = ()
    pair: tuple[str, str] | None = None
    reduction: Reduction | None = None

    @property
    def letters(self) -> Letters:
        return tuple(i for dim in self.dims for i in dim)

    @property
    def is_real(self) -> bool:
        return not (self.boolean or self.integer or self.scalar)

    @property
    def text(self) -> str:
        """The whole value as one expression, its updates carried out in it."""
        return self._whole[0]

    @property
    def outer(self) -> int:
        return self._whole[1]

    @cached_property
    def _whole(self) -> tuple[str, int]:
        code, binds = self.code, self.binds
        for update in self.updates:
            code, binds = update.after(code, binds)
        return code, binds

    @staticmethod
    def within(binds: int, code: str, own: int) -> str:
        return code if own >= binds else f"({code})"

    def at(self, binds: int) -> str:
        """The text, in parentheses where its surroundings bind tighter."""
        return self.within(binds, self.text, self.outer)

    def then(self, update: Update) -> Value:
        """The value after one more update."""
        return replace(self, updates=(*self.updates, update), pair=None, reduction=None)


def call(function: str, *arguments: Value) -> Value:
    """An elementwise function of values that share one layout."""
    text = ", ".join(a.text for a in arguments)
    return Value(f"{function}({text})", arguments[0].dims, fresh=True, remembered=True)


def letters_of(values: Iterable[Value]) -> list[Index]:
    """Every letter of some values, each once, in order of appearance."""
    return list(dict.fromkeys(i for v in values for i in v.letters))


def sorted_by(letters: Iterable[Index], order: Sequence[Index]) -> list[Index]:
    """Letters sorted by their place in `order`, those not in it last, by name."""
    place = {letter: at for at, letter in enumerate(order)}
    return sorted(letters, key=lambda i: (place.get(i, len(order)), i.name))


Size = Callable[[Index], str]


def split(value: Value, size: Size, keep: Iterable[Letters] = ()) -> Value:
    """The value with every composite dimension, but those in `keep`, as dimensions of its own."""
    keep = set(keep)
    if all(len(dim) < 2 or dim in keep for dim in value.dims):
        return value
    dims: list[Letters] = []
    for dim in value.dims:
        dims += [dim] if len(dim) < 2 or dim in keep else [(i,) for i in dim]
    return reshape(value, tuple(dims), size)


def reshape(value: Value, dims: Dims, size: Size) -> Value:
    """The elements of a value, in the same order, under other dimensions."""
    if dims == value.dims:
        return value
    sizes = ", ".join(extent(dim, size) for dim in dims)
    return Value(
        f"{value.at(ATOM)}.reshape({sizes})", dims, boolean=value.boolean, integer=value.integer
    )


def extent(dim: Letters, size: Size) -> str:
    """The source of a dimension's size."""
    return " * ".join(size(i) for i in dim) or "1"


def shape(dims: Dims, size: Size) -> str:
    """The source of a tuple of sizes."""
    sizes = [extent(dim, size) for dim in dims]
    return f"({sizes[0]},)" if len(sizes) == 1 else f"({', '.join(sizes)})"


def permute(value: Value, dims: Sequence[Letters]) -> Value:
    """The value with its dimensions in another order."""
    dims = tuple(dims)
    if dims == value.dims:
        return value
    places = [value.dims.index(dim) for dim in dims]
    if places == [1, 0]:
        code = f"{value.at(ATOM)}.T"
    elif places[:-2] == list(range(len(places) - 2)):
        code = f"{value.at(ATOM)}.mT"
    else:
        code = f"{value.at(ATOM)}.permute({', '.join(map(str, places))})"
    return Value(code, dims, boolean=value.boolean, integer=value.integer)


def line_up(
    values: Sequence[Value], order: Sequence[Index], size: Size
) -> tuple[list[Value], Dims]:
    """Values brought to one broadcast layout, and that layout.

    Each result has the layout's dimensions with empty ones where the value lacks a letter;
    leading empty ones are left out, since broadcasting supplies them.
    """
    groups = {dim for v in values for dim in v.dims if len(dim) > 1}
    common = {
        g
        for g in groups
        if all(g in v.dims or not set(g) & set(v.letters) for v in values)
        and not any(set(g) & set(h) for h in groups if h != g)
    }
    values = [split(v, size, common) for v in values]
    letters = sorted_by(letters_of(values), order)
    layout: list[Letters] = []
    for letter in letters:
        group = next((g for g in common if letter in g), (letter,))
        if group not in layout:
            layout.append(group)
    return [broadcast(v, tuple(layout)) for v in values], tuple(layout)


def broadcast(value: Value, layout: Dims) -> Value:
    """A value with size-one dimensions where the layout has letters that it lacks."""
    present = tuple(dim for dim in layout if dim in value.dims)
    wanted = tuple(dim if dim in present else () for dim in layout)
    while wanted and not wanted[0]:
        wanted = wanted[1:]
    if value.dims == wanted:
        return value
    if (reduction := value.reduction) is not None:
        fits = len(reduction.kept) <= len(layout)  # else it would have dimensions more
        if fits and _without_leading(reduction.kept) == wanted:
            return replace(value, code=reduction.code(keepdim=True), dims=wanted, reduction=None)
    value = permute(value, present)
    if value.dims == wanted:
        return value
    marks = [":" if dim else "None" for dim in wanted]
    while len(marks) > 1 and marks[-1] == ":" and marks[-2] == ":":
        marks.pop()
    if marks and marks[-1] == ":" and "None" in marks:
        marks.pop()
    return Value(
        f"{value.at(ATOM)}[{', '.join(marks)}]",
        wanted,
        boolean=value.boolean,
        integer=value.integer,
    )


def _without_leading(dims: Dims) -> Dims:
    while dims and not dims[0]:
        dims = dims[1:]
    return dims


def conform(value: Value, dims: Dims, size: Size) -> Value:
    """The value laid out as `dims` wants it; letters that it lacks are left out."""
    value = replace(value, dims=tuple(d for d in value.dims if d)) if () in value.dims else value
    have = set(value.letters)
    wanted = tuple(dim for dim in dims if set(dim) & have)
    if value.dims == wanted:
        return value
    if set(value.dims) == set(wanted):
        return permute(value, wanted)
    value = split(value, size, wanted)
    flat: list[Letters] = []
    for dim in wanted:
        flat += [dim] if dim in value.dims else [(i,) for i in dim if i in have]
    value = permute(value, flat)
    if any(not set(dim) <= have for dim in wanted):
        return value
    return reshape(value, wanted, size)
