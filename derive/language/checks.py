"""What is checked of the lines of a definition: names, indices and functions."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any, TypeGuard

from sympy import And, Basic, Expr, Integer, KroneckerDelta, Not, Or, S, Symbol, expand
from sympy.core.function import AppliedUndef

from derive.language.cotangents import PREFIX, is_cotangent
from derive.language.definition import Definition, DefinitionError, Option, Tensor
from derive.language.expressions import (
    Affine,
    ArgMax,
    Axis,
    Binder,
    Element,
    Index,
    Where,
    free_indices,
    tensor_name,
)
from derive.language.functions import is_supported, supported_names
from derive.language.windows import Window, moved_in

_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")
OF_EMITTED_CODE = frozenset(
    (
        *("torch", "forward", "backward", "residuals", "Residuals", "Gradients", "Tensor", "ctx"),
        *("output", "saved"),  # of the functions for autograd
        *("in_torch", "in_torch_instead", "serves", "recorded", "empty"),
        *("check_gradient", "check_tensors", "check_trainable"),
        *("Function", "double_backward", "residuals_backward", "value_and_grad"),
        *("math", "operator", "warnings", "Sequence", "abs", "bool", "enumerate", "hasattr"),
        *("int", "isinstance", "len", "max", "min", "next", "range", "tuple", "type"),
        *("AssertionError", "IndexError", "NotImplementedError", "RuntimeError", "TypeError"),
        "ValueError",
    )
)
"""What emitted code calls things of its own, and what it uses of Python's and torch's. A test
holds this against all that `generated/` reads."""

_FILES = frozenset(("c", "loader"))
"""What stands beside the emitted files of operations."""

NO_RECURRENCES = (
    "there are no recurrences or scans: write one step as a definition, and loop in the caller"
)
"""What a let is told that reads itself."""

COMPUTED = (
    "an index is a letter, a number, an element of an integer tensor, or computed from letters, "
    "sizes, whole numbers and one such element, as in x[t + 2*k - 1] and x[start[n] + k]"
)
"""What is told of an index that is none of these."""


def check_identifier(name: Any, kind: str) -> None:
    """Raise unless a name can stand in emitted code as it is."""
    if not isinstance(name, str) or not _IDENTIFIER.match(name):
        raise DefinitionError(
            f"{kind} name {name!r} is not an identifier: "
            "a letter first, then letters, digits and _ only"
        )
    if keyword.iskeyword(name) or keyword.issoftkeyword(name):
        raise _taken(kind, name, "a word of Python, which is what is emitted")
    if name in OF_EMITTED_CODE and kind != "axis":  # of an axis, code has the size alone
        raise _taken(kind, name, "what the emitted code calls something of its own")
    if kind == "operation" and name in _FILES:
        raise _taken(kind, name, "what stands beside the emitted files of operations")
    if is_cotangent(name):
        raise DefinitionError(
            f"{kind} name {name!r}: names that start with {PREFIX} are kept for gradients"
        )


def _taken(kind: str, name: str, why: str) -> DefinitionError:
    return DefinitionError(f"{kind} name {name!r} is {why}; use another name")


def check_letters(tensor: Tensor, where: str, axes: Mapping[str, Index]) -> None:
    """Raise unless each dimension of a tensor has a letter of its own, over one of the axes."""
    seen: set[Index] = set()
    for index in tensor.indices:
        if not isinstance(index, Index):
            raise DefinitionError(f"{where}: {index!r} is not an index; use one from axes(...)")
        if index.axis.name not in axes:
            raise DefinitionError(
                f"{where}: axis {index.axis.name!r} is not declared in this definition"
            )
        if index in seen:
            raise DefinitionError(
                f"{where}: index {index.name!r} of axis {index.axis.name!r} stands twice; "
                f"it needs a second letter over its axis"
            )
        seen.add(index)


def check_facts(tensor: Tensor) -> None:
    """Raise unless an input has the letters that what is known of it speaks of."""
    letters = ", ".join(i.name for i in tensor.indices) or "none"
    over = tensor.sums_to_one
    if over is not None and over not in tensor.indices:
        raise DefinitionError(
            f"input {tensor.name!r} sums to one over {str(over)!r}, and it is to be one of "
            f"its letters: {letters}"
        )
    if tensor.symmetric and len(set(tensor.axes)) == len(tensor.axes):
        raise DefinitionError(
            f"input {tensor.name!r} is symmetric, and needs two letters over one axis for it: "
            f"{tensor!r}"
        )


def check_sizes(definition: Definition) -> None:
    """Raise unless it is known how long each axis is that something is read along."""
    known = {*definition.given_axes, *definition.extents}
    for window in definition.windows:
        unknown = [i.axis.name for i in window.scales if i.axis not in known]
        if unknown:
            raise DefinitionError(
                f"operation {definition.name!r}: nothing says how long axis {unknown[0]!r} is, "
                f"read at {window.tensor}[{window.place}]: no input has it, and it is not the only "
                "such axis there, or a choice decides what is read"
            )


def check_moved(definition: Definition) -> None:
    """Raise where a letter is read along another axis for what no line then does: `v[t + 0]` is
    `v[t]`, and is read so beside `v[t + 1]` alone."""
    moved = {read for let in definition.lets for read in moved_in(let.value)}
    for let in definition.lets:
        for element in let.value.atoms(Element):
            tensor = definition.tensors[element.tensor_name]
            for place, (used, own) in enumerate(zip(element.indices, tensor.indices, strict=True)):
                letter = used.place if isinstance(used, Affine) else used
                if not is_of_another(letter, own, definition.given_axes):
                    continue
                if (tensor.name, place, letter.name) not in moved:
                    where = f"on axis {own.axis.name!r} of {tensor!r}: {element}"
                    raise DefinitionError(f"let {let.name!r}: {_of_another(letter, where)}")


def is_of_another(letter: Any, own: Index, given: Set[Axis]) -> TypeGuard[Index]:
    """Whether an index is a letter over the axis of another input than the dimension is of."""
    return isinstance(letter, Index) and letter.axis in given - {own.axis}


def _of_another(letter: Index, where: str) -> str:
    return f"index {letter.name!r} of axis {letter.axis.name!r} is used {where}"


def indices(number: int) -> str:
    """`1 index`, `2 indices`."""
    return f"{number} {'index' if number == 1 else 'indices'}"


@dataclass(frozen=True)
class Scope:
    """What the value of a let may read: the tensors and options before it, and the axes.

    Each method raises a DefinitionError that names the let, the axis and the mistake.
    """

    let: str
    tensors: Mapping[str, Tensor]
    options: Mapping[str, Option]
    axes: Mapping[str, Index]
    given: Set[Axis]
    """The axes that inputs have."""
    largest: Mapping[str, Expr]
    """By the names of the tensors that hold them, places at which something is largest."""
    moved: Set[tuple[str, int, str]]
    """Where letters are read along axes of others, as `derive.language.windows.moved_in` has it."""

    def check(self, expr: Basic) -> None:
        """Walk the value: names known, indices on their own axes, functions supported."""
        if isinstance(expr, Element):
            self._check_element(expr)
        elif isinstance(expr, Index):
            self._check_letter(expr)
        elif isinstance(expr, Symbol):
            self._check_symbol(expr)
        else:
            self._check_node(expr)
            for arg in (expr.body,) if isinstance(expr, Binder) else expr.args:
                self.check(arg)

    def _error(self, problem: str) -> DefinitionError:
        return DefinitionError(f"let {self.let!r}: {problem}")

    def _check_element(self, expr: Element) -> None:
        tensor = self._tensor(expr.base.label)
        if len(expr.indices) != len(tensor.indices):
            raise self._error(
                f"{tensor!r} takes {indices(len(tensor.indices))}, got {len(expr.indices)}: {expr}"
            )
        pairs = zip(expr.indices, tensor.indices, strict=True)
        for place, (used, declared) in enumerate(pairs):
            where = f"on axis {declared.axis.name!r} of {tensor!r}"
            letter = used.place if isinstance(used, Affine) else used
            key = (tensor.name, place, str(letter))
            if is_of_another(letter, declared, self.given) and key not in self.moved:
                raise self._error(_of_another(letter, f"{where}: {expr}"))
            if isinstance(used, Affine):
                for largest in used.place.atoms(ArgMax):
                    self.check(largest)
                window = Window.of(used, tensor.name, declared.axis, self.largest)
                self._check_window(window, where)
                continue
            if not (isinstance(used, Index | Integer | ArgMax) or self._is_integer_tensor(used)):
                raise self._error(f"{used} {where}: {COMPUTED}")
            if isinstance(used, Integer) and used < 0:
                raise self._error(f"{used} {where}: a literal index counts from 0")
            self.check(used)

    def _check_window(self, window: Window, where: str) -> None:
        """Raise unless a computed index is one, and lies on its axis or is chosen to be read."""
        for letter in window.scales:
            self._check_letter(letter)
        sizes = {index.size for index in self.axes.values()}
        held = window.held
        known = {*window.scales, *sizes, *held.free_symbols}
        if not window.is_affine or not window.place.free_symbols <= known:
            raise self._error(f"{window.place} {where}: {COMPUTED}")
        if held != 0:
            self.check(held)
            if not self._is_integer_tensor(held):
                raise self._error(f"{window.place} {where}: {COMPUTED}")
        if window.guarded or held != 0:
            return
        guard = f"where(..., {window.tensor}[{window.place}], 0)"
        if not window.least.is_nonnegative:
            raise self._error(
                f"{window.place} {where} may be as small as {window.least}; what lies outside "
                f"is left out by a choice, {guard}"
            )
        known = all(i.axis in {*self.given, window.axis} for i in window.scales)
        room = expand(window.axis.size - 1 - window.most)
        if known and room != 0 and room.is_nonpositive:
            raise self._error(
                f"{window.place} {where} may be as large as {window.most}, and the last place is "
                f"{window.axis.size - 1}; what lies outside is left out by a choice, {guard}, or "
                "the letter is that of an axis of its own, which is then shorter"
            )

    def _check_letter(self, expr: Index) -> None:
        if expr.axis.name not in self.axes:
            raise self._error(f"axis {expr.axis.name!r} is not declared in this definition")
        if expr.name in self.axes and self.axes[expr.name] != expr:
            raise self._error(
                f"the letter {expr.name!r} over axis {expr.axis.name!r} is "
                f"that of axis {expr.name!r}; use another"
            )

    def _check_symbol(self, expr: Symbol) -> None:
        if expr.name in self.options or expr in {index.size for index in self.axes.values()}:
            return
        tensor = self._tensor(expr)
        if tensor.indices:
            raise self._error(f"{tensor!r} is used without its indices")

    def _check_node(self, expr: Basic) -> None:
        if expr in (S.NaN, S.ComplexInfinity):
            raise DefinitionError(
                f"let {self.let!r} holds {expr}, which is no number: a division by zero?"
            )
        if expr == S.Infinity:
            raise DefinitionError(
                f"let {self.let!r} holds inf; only -inf may be chosen, under an exp"
            )
        if expr == S.ImaginaryUnit:
            raise DefinitionError(
                f"let {self.let!r} holds no real number: a root or a logarithm of a negative one?"
            )
        if isinstance(expr, AppliedUndef) or not is_supported(expr):
            raise self._error(
                f"unsupported function {type(expr).__name__!r} in {expr}; "
                f"supported: {', '.join(supported_names())}"
            )
        if isinstance(expr, Where | And | Or | Not):
            self._check_conditions(expr.args[:1] if isinstance(expr, Where) else expr.args)
        if isinstance(expr, KroneckerDelta):
            self._check_delta(expr)
        if isinstance(expr, Binder):
            self._check_binder(expr)

    def _check_conditions(self, parts: Iterable[Basic]) -> None:
        for part in parts:
            if isinstance(part, Expr):
                raise self._error(f"{part} stands where a condition does, such as {part} > 0")

    def _check_delta(self, expr: KroneckerDelta) -> None:
        one, other = expr.args
        for side in expr.args:
            if not side.is_integer:
                raise self._error(
                    f"{side} in {expr} holds no integers: delta(i, j) compares indices; "
                    f"use Where(Eq(a, b), 1, 0) for real numbers"
                )
        if isinstance(one, Index) and isinstance(other, Index) and one.axis != other.axis:
            raise self._error(
                f"{expr} compares letters of axis {one.axis.name!r} and axis {other.axis.name!r}"
            )

    def _check_binder(self, expr: Binder) -> None:
        if not expr.indices:
            kind = type(expr).__name__
            raise self._error(f"{kind}({expr.body}) runs over no index; write {kind}(x[n], n)")
        if isinstance(expr, ArgMax) and len(expr.indices) > 1:
            raise self._error(
                f"{expr} runs over {len(expr.indices)} letters, and one is wanted: "
                f"it is the place along one axis"
            )
        outside = {i.name for i in expr.indices if i.axis.name not in self.axes}
        if outside:
            raise self._error(f"axis {min(outside)!r} is not declared in this definition")
        unused = [i for i in expr.indices if i not in free_indices(expr.body)]
        if unused and isinstance(expr, ArgMax):
            raise self._error(f"{expr} does not depend on {unused[0].name!r}")

    def _tensor(self, used: Symbol) -> Tensor:
        if used.name not in self.tensors:
            raise self._error(
                f"unknown name {used.name!r}; known so far: {', '.join(self.tensors)}"
            )
        if used != self.tensors[used.name].symbol:
            raise self._error(f"{used.name!r} is a tensor of another definition")
        return self.tensors[used.name]

    def _is_integer_tensor(self, expr: Basic) -> bool:
        tensor = self.tensors.get(tensor_name(expr))
        return tensor is not None and tensor.integer
