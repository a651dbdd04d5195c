"""What a program is once its loops are chosen: statements in nests of loops.

A statement computes one element of a tensor, or one contribution to it. A loop runs over an
index; one that is `tiled` runs over tiles of it, and loops inside it run over the tile.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from sympy import Expr, KroneckerDelta, Mul, Symbol, Tuple, default_sort_key

from codegen.c.explicit import is_reduction
from codegen.lowering.forms import Largest
from codegen.lowering.shifted_sums import placed
from derive.language.definition import Let, Tensor
from derive.language.expressions import Affine, ArgMax, Binder, Element, Index, Product, Sum
from derive.language.substitute import substitute
from derive.printing.text import text

_WORDS = {Sum: "sum", Product: "prod", Largest: "max", ArgMax: "argmax"}


@dataclass(frozen=True)
class Statement:
    """`tensor[at] = value`; or, with `how`, the reduction of the values over the bound letters.

    `at` are the tensor's own letters; in a reduction that scatters, an element of an integer tensor
    or a computed index says where. `reads` are the elements that the value reads, through lets
    without a statement too.
    """

    tensor: Tensor
    at: tuple[Expr, ...]
    value: Expr
    reads: Tuple
    how: type[Binder] | None = None
    bound: tuple[Index, ...] = ()

    @cached_property
    def letters(self) -> tuple[Index, ...]:
        """Every letter that it runs over, free ones first."""
        return (*(i for i in self.at if isinstance(i, Index)), *self.bound)

    @cached_property
    def scatters(self) -> bool:
        return not all(isinstance(i, Index) for i in self.at)

    @cached_property
    def elements(self) -> tuple[tuple[str, tuple[Expr, ...]], ...]:
        """The elements that are read: each tensor's name and the indices."""
        found = [(e.tensor_name, tuple(e.indices)) for e in self.reads.atoms(Element)]
        found += [(i.tensor_name, tuple(i.indices)) for a in self.at for i in a.atoms(Element)]
        whole = {s.name for s in self.reads.free_symbols if not isinstance(s, Index)}
        whole -= {name for name, _ in found}
        return (*sorted(found, key=str), *((name, ()) for name in sorted(whole)))

    @cached_property
    def widest(self) -> tuple[Index, ...]:
        """The letters of the largest element that is read or written, as it is stored."""
        own = [
            tuple(dict.fromkeys(i for i in indices if isinstance(i, Index) and i in self.letters))
            for indices in (self.at, *(indices for _, indices in self.elements))
        ]
        return max(own, key=len)

    @cached_property
    def contiguous(self) -> Index | None:
        """The letter along which most of what is largest lies next to each other."""
        last: list[Index] = []
        for indices in (self.at, *(indices for _, indices in self.elements)):
            within = list(dict.fromkeys(i for i in indices if i in self.letters))
            if within and len(within) == len(self.widest) and within[-1] == indices[-1]:
                last += [i for i in within[-1:] if isinstance(i, Index)]
        return max(last, key=lambda i: (last.count(i), -last.index(i)), default=None)

    @property
    def formula(self) -> str:
        """The statement in index notation: `var[c] = sum_n(x_centred[n,c]**2)/N`."""
        place = f"[{','.join(text(i) for i in self.at)}]" if self.at else ""
        if self.how is None or self.scatters:
            word = "max=" if self.how is Largest else "+=" if self.scatters else "="
            return f"{self.tensor.name}{place} {word} {text(self.value)}"
        letters = "_".join(i.name for i in self.bound)
        return f"{self.tensor.name}{place} = {_WORDS[self.how]}_{letters}({text(self.value)})"

    def renamed(self, names: dict[Index, Index]) -> Statement:
        return replace(
            self,
            at=tuple(i.xreplace(names) for i in self.at),
            value=self.value.xreplace(names),
            reads=self.reads.xreplace(names),
            bound=tuple(names.get(i, i) for i in self.bound),
        )


@dataclass(frozen=True)
class Loop:
    """A loop over an index, or over tiles of it."""

    index: Index
    body: tuple[Node, ...]
    tiled: bool = False


@dataclass(frozen=True)
class Contraction:
    """A sum of products of two tensors, as a product of matrices."""

    statement: Statement
    left: Element
    right: Element


Node = Statement | Loop | Contraction


def statement(let: Let, inlined: dict[str, Let]) -> Statement:
    """A let as a statement over its own letters."""
    at: tuple[Expr, ...] = tuple(let.tensor.indices)
    how: type[Binder] | None = None
    value, bound = let.value, ()
    if isinstance(value, Binder) and is_reduction(value):
        value, how, bound = value.body, type(value), tuple(value.indices)
    if how is Sum:
        value, bound = _without_deltas(value, bound)
        at, value = _placed(at, value, bound)
        how = how if bound else None
    if isinstance(let.value, Largest) and (found := placed(let.value)) is not None:
        letter, place, value = found
        at = tuple(place if i == letter else i for i in at)
    reads = _leaves(value)
    while (further := _leaves(*(substitute(leaf, inlined.values()) for leaf in reads))) != reads:
        reads = further
    return Statement(let.tensor, at, value, reads, how, bound)


def _leaves(*values: Expr) -> Tuple:
    """What values read, each by itself: in a product, one could cancel another."""
    elements = {e for value in values for e in value.atoms(Element)}
    labels = {e.base.label for e in elements}
    symbols = {s for value in values for s in value.atoms(Symbol)} - labels
    return Tuple(*sorted({*elements, *symbols}, key=default_sort_key))


def _without_deltas(value: Expr, bound: tuple[Index, ...]) -> tuple[Expr, tuple[Index, ...]]:
    """A sum over `i` of `delta(i, j)` times something is that at `j`."""
    for factor in Mul.make_args(value):
        if not isinstance(factor, KroneckerDelta):
            continue
        for one, other in (factor.args, factor.args[::-1]):
            if one in bound and isinstance(other, Index):
                rest = Mul(*(f for f in Mul.make_args(value) if f is not factor))
                left = tuple(i for i in bound if i != one)
                return _without_deltas(rest.xreplace({one: other}), left)
    return value, bound


def _placed(
    at: tuple[Expr, ...], value: Expr, bound: tuple[Index, ...]
) -> tuple[tuple[Expr, ...], Expr]:
    """A sum of `delta(v, tokens[n])` times something puts each value at `tokens[n]`, and one of
    `delta(s, t + k)` at `t + k`."""
    for factor in Mul.make_args(value):
        if not isinstance(factor, KroneckerDelta):
            continue
        for one, other in (factor.args, factor.args[::-1]):
            rest = Mul(*(f for f in Mul.make_args(value) if f is not factor))
            if (
                one in at
                and isinstance(other, Element | Affine)
                and other.has(*bound)
                and not (rest.has(one) or other.has(one))
            ):
                return _placed(tuple(other if i == one else i for i in at), rest, bound)
    return at, value
