"""The vocabulary of index notation, as SymPy expressions.

SymPy supplies numbers, sums, products, powers and elementwise functions; this
module adds what index notation needs beside them:

- `Axis` and `Index`: an axis of a tensor, and a letter that runs over it;
- `Sum`: one sum over a *set* of bound indices;
- `Product`: the product over a set of bound indices;
- `ArgMax`: where an expression is largest along an index, as an integer;
- `Affine`: a place on an axis that is computed from letters, such as `t + k`;
- `Where`: a choice between two expressions;
- `StopGradient`: the identity, with derivative zero.

`KroneckerDelta` is SymPy's own. A tensor element is an `Element`, SymPy's `Indexed` that is made
once, or a plain `Symbol` for a tensor without axes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, ClassVar, Self

from sympy import (
    Add,
    Basic,
    Expr,
    Function,
    Indexed,
    IndexedBase,
    KroneckerDelta,
    Mul,
    Pow,
    S,
    Symbol,
    Tuple,
    default_sort_key,
    sympify,
)
from sympy.logic.boolalg import Boolean


class Parameter(Symbol):
    """A scalar that no tensor holds: the size of an axis, or an option."""

    __slots__ = ()


@dataclass(frozen=True, order=True)
class Axis:
    """A named axis. Its size is the positive integer symbol of the name in upper case."""

    name: str

    @cached_property
    def size(self) -> Parameter:
        return Parameter(self.name.upper(), integer=True, positive=True)


class Index(Symbol):
    """A letter that runs over an axis: an integer from 0 to the axis's size, exclusive."""

    __slots__ = ("axis",)
    axis: Axis

    def __new__(cls, name: str, axis: Axis) -> Index:
        index = Symbol.__xnew__(cls, name, integer=True, nonnegative=True)
        index.axis = axis
        return index

    def _hashable_content(self) -> tuple[Any, ...]:
        return (*super()._hashable_content(), self.axis.name)

    def __getnewargs_ex__(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (self.name, self.axis), {}

    @property
    def size(self) -> Parameter:
        return self.axis.size

    def another(self, name: str) -> Index:
        """A second letter over the same axis, as in `i != j`."""
        return Index(name, self.axis)


class Element(Indexed):
    """An element of a tensor. Equal ones are one object: they are made and compared all the time,
    and to deduce what is known of one is most of the work."""

    def __new__(cls, base: IndexedBase, *indices: Any) -> Element:
        return _element(cls, base, *indices)

    @property
    def tensor_name(self) -> str:
        return self.base.label.name

    def _hashable_content(self) -> tuple[Any, ...]:
        return self.args  # the base knows the assumptions


@lru_cache(maxsize=200_000, typed=True)  # for 1, 1.0 and True are equal
def _element(cls: type[Element], base: IndexedBase, *indices: Any) -> Any:
    return Indexed.__new__(cls, base, *indices)


class Binder(Expr):
    """A body under a set of bound indices. Subclasses say what is done with the body's values, and
    what the `ending` of a name for that is."""

    ending: ClassVar[str]
    is_commutative = True

    def __new__(cls, body: Any, *indices: Index | Tuple) -> Expr:
        flat = [i for group in indices for i in (group if isinstance(group, Tuple) else (group,))]
        for i in flat:
            if not isinstance(i, Index):
                raise TypeError(f"{cls.__name__} runs over indices, and {i!r} is none")
        if twice := [i.name for i in set(flat) if flat.count(i) > 1]:
            raise ValueError(f"{cls.__name__} runs over {min(twice)!r} twice")
        ordered = sorted(set(flat), key=default_sort_key)
        return Expr.__new__(cls, sympify(body, strict=True), Tuple(*ordered))

    @property
    def body(self) -> Expr:
        return self.args[0]

    @property
    def indices(self) -> tuple[Index, ...]:
        return tuple(self.args[1])

    @property
    def bound_symbols(self) -> set[Index]:
        return set(self.indices)

    @property
    def free_symbols(self) -> set[Basic]:
        return self.body.free_symbols - self.bound_symbols

    def _xreplace(self, rule: Mapping[Any, Any]) -> tuple[Basic, bool]:
        """Replace under the binder without capture: a bound index is never replaced, and
        is renamed first where the replacement would bring in the same letter."""
        if self in rule:
            return rule[self], True
        rule = {old: new for old, new in rule.items() if old not in self.bound_symbols}
        incoming = set().union(*(new.free_symbols for new in rule.values())) if rule else set()
        clashing = [i for i in self.indices if i in incoming]
        body, indices = self.body, list(self.indices)
        if clashing:
            symbols = incoming.union(*(old.free_symbols for old in rule))
            taken = names_in(body) | {getattr(s, "name", "") for s in symbols}
            fresh = dict(zip(clashing, fresh_indices(clashing, taken), strict=True))
            body = body.xreplace(fresh)
            indices = [fresh.get(i, i) for i in indices]
        replaced, changed = body._xreplace(rule) if rule else (body, False)
        if not changed and not clashing:
            return self, False
        return self.func(replaced, *indices), changed

    def _sympystr(self, printer: Any) -> str:
        letters = ", ".join(i.name for i in self.indices)
        return f"{type(self).__name__}({printer.doprint(self.body)}, {letters})"

    def rename(self, taken: Iterable[str]) -> Self:
        """The same expression with bound indices that avoid the names in `taken`."""
        taken = set(taken)
        clashing = [i for i in self.indices if i.name in taken]
        if not clashing:
            return self
        fresh = dict(
            zip(clashing, fresh_indices(clashing, taken | names_in(self.body)), strict=True)
        )
        return self.func(self.body.xreplace(fresh), *(fresh.get(i, i) for i in self.indices))


class Sum(Binder):
    """The sum of a body over a set of bound indices: `Sum(x[n, c], n)`; that of zeros is zero."""

    ending = "sum"

    def __new__(cls, body: Any, *indices: Index | Tuple) -> Expr:
        total = super().__new__(cls, body, *indices)
        return S.Zero if total.args[0] == 0 else total

    @property
    def is_positive(self) -> bool | None:
        return self.body.is_positive or None

    @property
    def is_nonnegative(self) -> bool | None:
        return self.body.is_nonnegative or None

    is_real = True
    is_extended_real = True
    is_finite = True

    @property
    def is_zero(self) -> bool | None:
        return False if self.body.is_positive else None

    @property
    def is_nonzero(self) -> bool | None:
        return True if self.body.is_positive else None


class Product(Binder):
    """The product of a body over a set of bound indices."""

    ending = "product"
    is_real = True
    is_extended_real = True


class ArgMax(Binder):
    """The index at which a body is largest; the first of them where several are.

    `ArgMax(z[n, k], k)` is an integer for each n.
    """

    ending = "argmax"
    is_integer = True
    is_nonnegative = True
    is_real = True


class Affine(Expr):
    """A place on an axis that is computed from letters: the index of `x[n, t + k]`.

    A letter of another axis alone is such a place, too: `x[i]` beside `x[i + 1]`.
    """

    is_commutative = True
    is_integer = True
    is_real = True
    is_extended_real = True
    is_finite = True

    def __new__(cls, place: Any) -> Expr:
        place = sympify(place, strict=True)
        terms = [Mul.make_args(term) for term in Add.make_args(place)]
        if any(isinstance(factor, Guarded) for term in terms for factor in term):
            cls = Guarded
        # What another tensor holds stays as it is: that is read at places of its own.
        place = Add(*(Mul(*(_place_of(factor) for factor in term)) for term in terms))
        return place if place.is_Integer else Expr.__new__(cls, place)

    @property
    def place(self) -> Expr:
        return self.args[0]

    def _sympystr(self, printer: Any) -> str:
        return printer.doprint(self.place)


def _place_of(factor: Expr) -> Expr:
    return factor.place if isinstance(factor, Affine) else factor


class Guarded(Affine):
    """A computed place that may lie outside of its axis, read where a choice says that it does not:
    the index of `Where(t > 0, x[t - 1], 0)`."""


class Where(Expr):
    """`Where(condition, a, b)`: a where the condition holds, b elsewhere.

    The branch that is not taken is never evaluated, so it may be undefined there.
    """

    is_commutative = True

    def __new__(cls, condition: Any, yes: Any, no: Any) -> Expr:
        if isinstance(condition, bool):
            raise TypeError("a condition of Where is plain True or False: use Eq(a, b) for a == b")
        condition, yes, no = (sympify(a, strict=True) for a in (condition, yes, no))
        if isinstance(yes, Where) and yes.condition == condition:
            yes = yes.branches[0]
        if isinstance(no, Where) and no.condition == condition:
            no = no.branches[1]
        if condition == S.true or yes == no:
            return yes
        if condition == S.false:
            return no
        return Expr.__new__(cls, condition, yes, no)

    @property
    def condition(self) -> Boolean:
        return self.args[0]

    @property
    def branches(self) -> tuple[Expr, Expr]:
        return self.args[1], self.args[2]

    @property
    def is_real(self) -> bool | None:
        return True if all(b.is_real for b in self.branches) else None

    @property
    def is_extended_real(self) -> bool | None:
        return self.is_real

    @property
    def is_positive(self) -> bool | None:
        return True if all(b.is_positive for b in self.branches) else None

    @property
    def is_nonnegative(self) -> bool | None:
        return True if all(b.is_nonnegative for b in self.branches) else None


class StopGradient(Function):
    """The identity, through which no gradient flows; a number is only itself."""

    nargs = 1

    @classmethod
    def eval(cls, arg: Expr) -> Expr | None:
        if arg.has(Element) or not all(isinstance(s, Parameter) for s in arg.free_symbols):
            return None
        return arg

    def _eval_is_real(self) -> bool | None:
        return self.args[0].is_real

    def _eval_is_positive(self) -> bool | None:
        return self.args[0].is_positive


def count_of(indices: Iterable[Index]) -> Expr:
    """How many settings some indices have together: the product of their sizes."""
    return Mul(*(index.size for index in indices))


def Mean(body: Any, *indices: Index) -> Expr:
    """The mean of a body over its bound indices: their sum divided by their number."""
    return Sum(body, *indices) / count_of(indices)


def Maximum(body: Any, *indices: Index) -> Expr:
    """The largest value of a body along its indices: the body, taken at its `ArgMax`.

    Its gradient therefore goes to one place, the first where several are largest.

    Raises:
        ValueError: there is no index.
    """
    body = sympify(body, strict=True)
    if not indices:
        raise ValueError(f"Maximum of {body} runs over no index")
    for index in indices:
        body = body.xreplace({index: ArgMax(body, index)})
    return body


def Minimum(body: Any, *indices: Index) -> Expr:
    """The smallest value of a body along its indices.

    Raises:
        ValueError: there is no index.
    """
    body = sympify(body, strict=True)
    if not indices:
        raise ValueError(f"Minimum of {body} runs over no index")
    return -Maximum(-body, *indices)


def delta(i: Any, j: Any) -> Expr:
    """One where two indices are equal, zero elsewhere."""
    return KroneckerDelta(i, j)


def computed(index: Any, letter: Index) -> Any:
    """An index where `letter` stands in a tensor's declaration: as it is, or the `Affine` place
    that it says."""
    foreign = isinstance(index, Index) and index.axis != letter.axis
    return Affine(index) if foreign or isinstance(index, Add | Mul | Pow) else index


def with_args(expr: Any, args: Sequence[Any]) -> Any:
    """An expression over other arguments; itself where they are the ones that it has."""
    same = all(new is old for new, old in zip(args, expr.args, strict=True))
    return expr if same else expr.func(*args)


def tensor_name(expr: Basic) -> str:
    """The name of the tensor of which an expression is an element, or of the option that it is;
    empty where it is neither."""
    if isinstance(expr, Element):
        return expr.tensor_name
    return expr.name if isinstance(expr, Symbol) and not isinstance(expr, Index) else ""


@lru_cache(maxsize=200_000)
def names_in(expr: Basic) -> frozenset[str]:
    """Every symbol name that occurs in an expression, bound ones included."""
    return frozenset(s.name for s in _symbols(expr))


def names_used(*exprs: Basic) -> set[str]:
    """The names of the tensors and options that expressions read."""
    return set().union(*map(_names_used, exprs))


@lru_cache(maxsize=200_000)
def _names_used(expr: Basic) -> frozenset[str]:
    return frozenset(s.name for s in _symbols(expr) if not isinstance(s, Index))


@lru_cache(maxsize=200_000)
def _symbols(expr: Basic) -> frozenset[Symbol]:
    if isinstance(expr, Symbol):
        return frozenset((expr,))
    return frozenset().union(*map(_symbols, expr.args))


def fresh_names(stems: Iterable[str], taken: Iterable[str]) -> Iterator[str]:
    """For each stem the first of `k`, `k_1`, `k_2`, ... that is not taken yet."""
    used = set(taken)
    for stem in stems:
        name, count = stem, 0
        while name in used:
            count += 1
            name = f"{stem}_{count}"
        used.add(name)
        yield name


def fresh_indices(indices: Iterable[Index], taken: Iterable[str]) -> list[Index]:
    """Indices over the same axes, named after them, that avoid the names in `taken`."""
    indices = list(indices)
    stems = [index.axis.name for index in indices]
    return [i.another(name) for i, name in zip(indices, fresh_names(stems, taken), strict=True)]


@lru_cache(maxsize=200_000)
def free_indices(expr: Basic) -> frozenset[Index]:
    """The indices of an expression that no sum, product or argmax binds."""
    return frozenset(s for s in expr.free_symbols if isinstance(s, Index))


@lru_cache(maxsize=200_000)
def is_scalar(expr: Basic) -> bool:
    """Whether an expression holds numbers, sizes and options alone: it can be a coefficient."""
    if isinstance(expr, Symbol):
        return isinstance(expr, Parameter)
    return not isinstance(expr, Element) and all(is_scalar(a) for a in expr.args)
