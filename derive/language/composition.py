"""A definition inside another: the callee's lets in the caller's tensors, axes and options."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sympy import Basic, Expr, Symbol, sympify

from derive.language.definition import Definition, DefinitionError, Dim, Tensor
from derive.language.expressions import Axis, Element, Index, fresh_names
from derive.language.windows import moved_in


def check_call(
    where: str,
    callee: Definition,
    inputs: Mapping[str, Tensor],
    options: Mapping[str, Any],
    names: Mapping[str, str],
) -> None:
    """Raise unless every input of the callee is given, and nothing that it does not have."""
    wanted = {t.name for t in callee.inputs}
    if set(inputs) != wanted:
        raise DefinitionError(
            f"{where}: it takes the inputs {sorted(wanted)}, got {sorted(inputs)}"
        )
    unknown = sorted(set(names) - {let.name for let in callee.lets})
    unknown += sorted(set(options) - {o.name for o in callee.options})
    if unknown:
        raise DefinitionError(f"{where}: unknown name {unknown[0]!r}")


def option_values(where: str, callee: Definition, given: Mapping[str, Any]) -> dict[str, Expr]:
    """The value of each option of the callee: what is given, else its default.

    Raises:
        DefinitionError: it has neither, or is not known to be as the callee has it.
    """
    values: dict[str, Expr] = {}
    for option in callee.options:
        value = given.get(option.name, option.default)
        if value is None:
            raise DefinitionError(
                f"{where}: option {option.name!r} has no default, and no value is given"
            )
        values[option.name] = sympify(value)
        if option.refuses(values[option.name]):
            raise DefinitionError(
                f"{where}: option {option.name!r} must be {option.wanted}, got {value}"
            )
    return values


def match_axes(
    where: str, callee: Definition, inputs: Mapping[str, Tensor], taken: Iterable[str]
) -> dict[Axis, Axis]:
    """The caller's axis for each of the callee's, read off the inputs; for one that is as long as
    what is read along it allows a new one, whose name is not `taken`.

    Raises:
        DefinitionError: an input has another rank or kind, or an axis stands for two.
    """
    axes: dict[Axis, Axis] = {}
    for theirs in callee.inputs:
        ours = inputs[theirs.name]
        if len(ours.indices) != len(theirs.indices) or ours.integer != theirs.integer:
            raise DefinitionError(f"{where}: input {theirs.name!r} wants {theirs!r}, got {ours!r}")
        for their_axis, our_axis in zip(theirs.axes, ours.axes, strict=True):
            if axes.setdefault(their_axis, our_axis) != our_axis:
                raise DefinitionError(
                    f"{where}: axis {their_axis.name!r} stands for both "
                    f"{axes[their_axis].name!r} and {our_axis.name!r} at input {theirs.name!r}"
                )
    taken = {*taken}
    for axis in callee.axes:
        if axis in axes:
            continue
        if axis not in callee.extents:
            raise DefinitionError(f"{where}: no input says which axis {axis.name!r} is")
        (name,) = fresh_names([axis.name], taken)
        taken |= {name, name.upper()}
        axes[axis] = Axis(name)
    return axes


@dataclass(frozen=True)
class Letters:
    """The caller's letters for the callee's.

    The letter of an axis becomes the letter of the caller's axis. Where two axes of the callee
    are one axis of the caller, and for second letters, the callee's letter stays, unless it is
    the letter of one of the caller's axes.
    """

    axes: Mapping[Axis, Axis]
    own: Mapping[Axis, Index]
    taken: frozenset[str]

    @classmethod
    def of(cls, axes: Mapping[Axis, Axis], letters: Mapping[str, Index]) -> Letters:
        """The table for a caller whose axes have these letters, by name."""
        own: dict[Axis, Index] = {}
        for theirs, ours in axes.items():
            if letters[ours.name] not in own.values():
                own[theirs] = letters[ours.name]
        return cls(axes, own, frozenset(letters))

    def letter(self, theirs: Index) -> Index:
        if theirs.name == theirs.axis.name and theirs.axis in self.own:
            return self.own[theirs.axis]
        return Index(next(fresh_names([theirs.name], self.taken)), self.axes[theirs.axis])

    def dims(self, dims: Iterable[Dim]) -> tuple[Dim, ...]:
        return tuple(
            tuple(map(self.letter, dim)) if isinstance(dim, tuple) else self.letter(dim)
            for dim in dims
        )


def moved_by(
    callee: Definition, names: Mapping[str, str], letters: Letters
) -> set[tuple[str, int, str]]:
    """Where the callee reads letters along axes of others, by the caller's `names`, its own where
    there is none; see `derive.language.windows.moved_in`."""
    spelt = {i.name: letters.letter(i).name for let in callee.lets for i in let.value.atoms(Index)}
    reads = (read for let in callee.lets for read in moved_in(let.value))
    return {(names.get(name, name), place, spelt[letter]) for name, place, letter in reads}


def translate(
    expr: Expr, tensors: Mapping[str, Tensor], options: Mapping[str, Expr], letters: Letters
) -> Any:
    """An expression of the callee, rebuilt with the caller's tensors, option values and letters."""
    sizes: dict[Symbol, Symbol] = {theirs.size: ours.size for theirs, ours in letters.axes.items()}

    def walk(e: Basic) -> Basic:
        if isinstance(e, Element):
            return tensors[e.tensor_name][tuple(walk(i) for i in e.indices)]
        if isinstance(e, Index):
            return letters.letter(e)
        if isinstance(e, Symbol):
            if e in sizes:
                return sizes[e]
            if e.name in options:
                return options[e.name]
            return tensors[e.name].symbol
        if not e.args:
            return e
        return e.func(*(walk(a) for a in e.args))

    return walk(expr)
