"""What a gradient makes of the inputs alone is worked out in the forward pass.

    grad_x = grad_y * (1 + cos(x))**2   ->   dy_dx  = (1 + cos(x))**2      forward
                                             grad_x = grad_y * dy_dx       backward

Where each operation is a kernel, the backward pass is as many kernels shorter, and the two passes
together are no longer than before; a forward pass alone is. It is done where what the forward pass
makes for the backward pass takes no more memory than before, by an estimate: `dy_dx` in place of
`cos(x)`. Inputs, and what is returned, are there anyway; but where one tensor takes the place of
an output and an input, less is kept in all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from sympy import Add, And, Basic, Expr, KroneckerDelta, Mul, Or, S, Symbol
from sympy.logic.boolalg import Boolean

from codegen.program import is_number
from derive.calculus.recognise import is_atomic
from derive.language.definition import Dim, Let, Tensor, needed
from derive.language.expressions import (
    ArgMax,
    Element,
    Index,
    Parameter,
    Where,
    free_indices,
    fresh_names,
    names_used,
    tensor_name,
)
from derive.simplification.naming import word

_LENGTH = 1000
"""How long an axis is taken to be where memory is compared."""


def worked_out_ahead(
    lets: Sequence[Let],
    seeds: Iterable[Tensor],
    gradients: Iterable[str],
    made: Iterable[Tensor],
    inputs: Iterable[Tensor],
    outputs: Iterable[Tensor],
    taken: Iterable[str],
) -> tuple[tuple[Let, ...], tuple[Let, ...]]:
    """The lets of a backward pass: those that the forward pass works out, and those left.

    `seeds` are the cotangents, `gradients` the names of the results, `made` the tensors that the
    forward pass makes between its `inputs` and its `outputs`, and `taken` all other names that it
    has: none of them is a new let's.
    """
    forward = _Forward(*({tensor.name: tensor for tensor in t} for t in (made, inputs, outputs)))
    names = tuple(tensor.name for tensor in seeds)
    plan = _Plan(tuple(lets), names, frozenset(gradients), forward, frozenset(taken))
    whole = plan
    for let in plan.bound:
        whole = whole.parted(let)
    whole = whole.moved(let.name for let in whole.free)
    plan = whole if whole.improves(plan) else _step_by_step(plan)
    return plan.early, plan.late


def _step_by_step(plan: _Plan) -> _Plan:
    """A plan with each part moved ahead that may be."""
    for let in plan.bound:
        parted = plan.parted(let)
        moved = parted.moved(new.name for new in parted.free if new not in plan.free)
        plan = moved if moved.improves(plan) else plan
    for let in plan.free:
        moved = plan.moved([let.name])
        plan = moved if moved.improves(plan) else plan
    return plan


@dataclass(frozen=True)
class _Forward:
    """The tensors of a forward pass, by name."""

    made: Mapping[str, Tensor]
    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]


@dataclass(frozen=True)
class _Plan:
    """The lets of a backward pass, and the names of those that are moved ahead."""

    lets: tuple[Let, ...]
    seeds: tuple[str, ...]
    gradients: frozenset[str]
    forward: _Forward
    taken: frozenset[str]
    ahead: frozenset[str] = frozenset()

    @cached_property
    def varying(self) -> frozenset[str]:
        """The names of the cotangents and of what is made of them."""
        found = {*self.seeds, *self.gradients}
        for let in self.lets:
            if names_used(let.value) & found:
                found.add(let.name)
        return frozenset(found)

    @property
    def bound(self) -> tuple[Let, ...]:
        return tuple(let for let in self.lets if let.name in self.varying)

    @property
    def free(self) -> tuple[Let, ...]:
        return tuple(let for let in self.lets if let.name not in self.varying)

    @cached_property
    def early(self) -> tuple[Let, ...]:
        return needed(self.free, self.ahead)

    @cached_property
    def late(self) -> tuple[Let, ...]:
        early = {let.name for let in self.early}
        return needed([let for let in self.lets if let.name not in early], self.gradients)

    def improves(self, other: _Plan) -> bool:
        """Whether less is left for the backward pass, without more to keep."""
        no_more = self._made <= other._made or self._kept < other._kept
        return no_more and self._work < other._work

    @cached_property
    def _work(self) -> int:
        return sum(_operations(let.value) for let in self.late)

    @cached_property
    def _read(self) -> frozenset[str]:
        """The names that the backward pass reads."""
        used = names_used(*(let.value for let in self.late))
        return frozenset(used - {let.name for let in self.late})

    @cached_property
    def _made(self) -> int:
        """How many bytes the forward pass makes for the backward pass."""
        early = sum(_bytes(let.tensor, let.value) for let in self.early if let.name in self._read)
        made = self.forward.made.items()
        return early + sum(_bytes(tensor) for name, tensor in made if name in self._read)

    @cached_property
    def _kept(self) -> int:
        """How many elements are kept in all: an input counts half, for it is the caller's too."""
        early = {let.name: let.tensor for let in self.early}
        whole = {**early, **self.forward.made, **self.forward.outputs}
        counted = ((2, whole), (1, self.forward.inputs))
        return sum(
            weight * _LENGTH ** len(tensor.indices)
            for weight, tensors in counted
            for name, tensor in tensors.items()
            if name in self._read
        )

    def moved(self, names: Iterable[str]) -> _Plan:
        return replace(self, ahead=self.ahead.union(names))

    def parted(self, let: Let) -> _Plan:
        """The plan in which what a let makes of the inputs alone has names of its own."""
        taken = {*self.taken, *self.forward.made, *self.seeds, *(other.name for other in self.lets)}
        taken |= {i.name for other in self.lets for i in other.value.atoms(Index)}
        parts = _Parts(let, self.varying, self.seeds, taken)
        value = parts.value()
        place = self.lets.index(let)
        lets = (*self.lets[:place], *parts.made, Let(let.tensor, value), *self.lets[place + 1 :])
        return replace(self, lets=lets)


def _operations(expr: Any) -> int:
    if is_atomic(expr) or is_number(expr):
        return 0
    tensors = [a for a in expr.args if not is_number(a)]
    numbers = len(tensors) < len(expr.args)
    own = len(tensors) + numbers - 1 if isinstance(expr, Add | Mul) else 1
    if isinstance(expr, Add):  # what is taken away costs no more than what is added
        tensors = [-a if a.could_extract_minus_sign() else a for a in tensors]
    return own + sum(map(_operations, tensors))


def _bytes(tensor: Tensor, value: Any = None) -> int:
    size = 1 if isinstance(value, Boolean) else 8 if tensor.integer else 4
    return size * _LENGTH ** len(tensor.indices)


@dataclass
class _Parts:
    """Takes a let apart: what varies with the cotangents, and what does not.

    `made` collects the lets of what does not, under names that are not `taken`.
    """

    let: Let
    varying: frozenset[str]
    seeds: tuple[str, ...]
    taken: set[str]
    made: list[Let] = field(default_factory=list)

    def value(self) -> Any:
        """The let's value, which reads what is made in place of its parts."""
        value = self.let.value
        varying = [e for e in _elements(value) if tensor_name(e) in self.varying]
        if len(varying) == 1 and not value.has(KroneckerDelta):
            (cotangent,) = varying
            factor = self.factor(value, cotangent)
            if factor is not None and (zero := _zero(factor)) is not None:
                passed, condition = zero
                mask = self.named(condition)
                return Where(mask, cotangent, 0) if passed else Where(mask, 0, cotangent)
            if factor is not None:
                return cotangent * self.named(factor, self.derivative(cotangent))
        return self.walk(value)

    def derivative(self, cotangent: Expr) -> str:
        """What the factor of an output's cotangent in an input's gradient is called, if it is."""
        of, by = (name.removeprefix("grad_") for name in (tensor_name(cotangent), self.let.name))
        named = self.let.name.startswith("grad_") and tensor_name(cotangent) in self.seeds
        return f"d{of}_d{by}" if named else ""

    def varies(self, expr: Any) -> bool:
        return bool(names_used(expr) & self.varying)

    def factor(self, expr: Expr, cotangent: Expr) -> Expr | None:
        """What multiplies a cotangent in an expression that is linear in it, or nothing."""
        if expr == cotangent:
            return S.One
        if isinstance(expr, Mul):
            ((first, *more), rest) = _apart(expr.args, self.varies)
            inner = None if more else self.factor(first, cotangent)
            return None if inner is None else inner * Mul(*rest)
        if isinstance(expr, Add):
            terms = [self.factor(term, cotangent) for term in expr.args]
            return None if None in terms else Add(*terms)
        if isinstance(expr, Where) and not self.varies(expr.condition):
            yes, no = (S.Zero if b == 0 else self.factor(b, cotangent) for b in expr.branches)
            return None if yes is None or no is None else Where(expr.condition, yes, no)
        return None

    def walk(self, expr: Any) -> Any:
        """An expression in which the largest parts that do not vary are named."""
        if not self.varies(expr):
            return self.named(expr)
        if isinstance(expr, Mul | Add):
            varying, rest = _apart(expr.args, self.varies)
            hits, rest = _apart(rest, lambda e: e.has(KroneckerDelta))
            part = [self.named(expr.func(*rest))] if rest else []
            return expr.func(*map(self.walk, varying), *hits, *part)
        if is_atomic(expr):
            return expr
        args = [a if isinstance(a, Index) else self.walk(a) for a in expr.args]
        return expr.func(*args)

    def named(self, expr: Any, name: str = "") -> Any:
        """What a part is called, if naming it saves work."""
        if is_atomic(expr) or is_number(expr) or expr.has(KroneckerDelta, ArgMax):
            return expr
        if not _elements(expr):
            return expr
        (name,) = fresh_names([name or word(expr)], self.taken)
        self.taken.add(name)
        tensor = Tensor(name, self.dims(expr))
        self.made.append(Let(tensor, expr))
        return tensor.element

    def dims(self, expr: Any) -> tuple[Dim, ...]:
        """The let's own dimensions, or those of its letters, and others, that a part has."""
        letters, own = free_indices(expr), self.let.tensor
        if letters == set(own.indices):
            return own.dims
        inner = sorted(letters - set(own.indices), key=lambda i: i.name)
        return (*(i for i in own.indices if i in letters), *inner)


def _apart(args: Iterable[Any], holds: Any) -> tuple[list[Any], list[Any]]:
    args = list(args)
    return [a for a in args if holds(a)], [a for a in args if not holds(a)]


def _elements(expr: Basic) -> set[Any]:
    """The elements of tensors in an expression, those without axes too."""
    inside = {e.base.label for e in expr.atoms(Element)}
    symbols = {s for s in expr.atoms(Symbol) if not isinstance(s, Index | Parameter)} - inside
    return expr.atoms(Element) | symbols


def _zero(factor: Any) -> tuple[bool, Any] | None:
    """For a factor that is 1 or 0: whether its condition lets pass, and that condition.

    A condition is not negated: for what is not a number, that would not be its opposite.
    """
    for passed in (True, False):
        condition = _condition(factor, passed)
        if condition is not None and condition not in (S.true, S.false):
            return passed, condition
    return None


def _condition(factor: Any, passed: bool) -> Any:
    """When a factor is 1, or when it is 0; nothing where it may be another number."""
    if factor in (0, 1):
        return S.true if bool(factor) == passed else S.false
    if not isinstance(factor, Where):
        return None
    yes, no = (_condition(branch, passed) for branch in factor.branches)
    if (yes, no) == (S.true, S.false):
        return factor.condition
    if yes is None or no is None or not isinstance(factor.condition, Boolean):
        return None  # a condition that has a name already takes no part in another
    if yes == S.true:
        return Or(factor.condition, no)
    return And(factor.condition, yes) if no == S.false else None
