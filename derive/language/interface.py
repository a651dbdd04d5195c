"""How an operation is called: its signature, what its axes are of a caller's tensors, its variants.

A definition is written over a fixed number of axes, with every tensor given. PyTorch's functions
take tensors of any rank, leave some of them out, and let an argument such as `reduction` choose
the mathematics. An `Interface` says how the one is seen as the other:

- the **signature** is the function's own, as Python writes it; `input: x` says that the argument
  `input` is the definition's `x`, `target: labels | probabilities` that a target is one of two
  tensors, integers or not, `input: (a, b)` that it is cut into two;
- the **role** of an axis says which of the caller's dimensions it runs over;
- a **choice** is an argument whose value decides which of several definitions is meant, and a
  **variant** is the definition that one set of values leads to.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from derive.language.expressions import Axis

if TYPE_CHECKING:
    from derive.language.definition import Definition, Let

ROLES = {
    "elements": "all dimensions of its tensors, broadcast against each other",
    "rest": "every dimension that no other axis takes",
    "last": "the last dimension",
    "features": "the last dimensions, as many as the argument `normalized_shape` has",
    "dim": "the dimensions that the argument `dim` names; all of them where it is None",
    "along": "the one dimension that `dim` names; for None as PyTorch's older rule says",
    "channel": "dimension 1; dimension 0 where there is no other",
    "batch": "dimension 0, where there is another",
    "group": "the groups of channels, as many as the argument `num_groups` says",
    "within": "the channels of one group",
    "spatial": "every dimension after the channels",
    "rows": "dimension 0",
    "columns": "every dimension but the first",
}
"""What an axis may be of a caller's tensor."""

SHAPING = ROLES.keys() - {"rest", "batch", "within", "columns"}
"""Those that say by themselves how tensors of any rank are seen; the others stand beside them."""

LOCALS = frozenset(
    (
        *("shape", "dtype", "dims", "split", "rest", "tail", "last", "rows", "columns"),
        *("batch", "channels", "positions", "within", "outer", "count", "counted", "found"),
    )
)
"""What a public function calls things of its own; `dtype` may be an argument of it too. A test
holds this against all that `codegen.torch` assigns."""

GIVEN = {
    "rowwise": "without the last dimension too, one number for each row; or as one number",
    "shared": "as a single number too: the same for all",
    "whole": "in the shape of the first tensor: it is not broadcast",
    "alike": "in another shape than the first tensor with a warning: it is broadcast",
    "paired": "if and only if the tensor declared before it is given",
    "mask": "as an integer: 0 where the integers over the same axes equal it, and 1 elsewhere",
    "epsilon": "not at all: then it is the machine epsilon of the first tensor, at least float32's",
}
"""How a tensor may be given, where that is not by broadcasting it; `epsilon` is for an option."""

AUTOCAST = (None, "float32", "float32 on gpu", "lower")
"""What a result is under autocast: as everywhere, in float32, or in the lower precision; PyTorch
has one list of operations for the CPU and a longer one for other devices.
"""

OTHERWISE = ...
"""As a value of a choice: any value that has no definition of its own."""


@dataclass(frozen=True)
class Argument:
    """One parameter of the public function.

    `default` is Python source, None where the argument must be given; `tensors` names the inputs
    that it may be, an integer one first where there are two, or that it is made of.
    """

    name: str
    default: str | None
    tensors: tuple[str, ...] = ()
    keyword_only: bool = False
    halved: bool = False
    """Whether the tensors are the two halves of it, along the argument `dim`."""


@dataclass(frozen=True)
class Choice:
    """An argument whose value decides which definition is meant.

    For a tensor that may be left out, or is one of two kinds, the values are True and False:
    whether it is given, whether it holds integers.
    """

    name: str
    values: tuple[Any, ...]
    kind: Literal["value", "given", "integers"] = "value"
    unknown: str = "ValueError"
    """The exception that PyTorch raises for any other value."""
    mask: bool = False
    """Of a tensor that may be left out: whether it is given as an integer."""


@dataclass(frozen=True)
class Variant:
    """The definition that a set of chosen values leads to, one for each choice, in their order."""

    values: tuple[Any, ...]
    definition: Definition


@dataclass(frozen=True)
class Interface:
    """A public function over one or more definitions. The first variant is the usual one.

    `given` says of a tensor how it may be given, a key of `GIVEN`; `demands` are conditions on
    arguments, options, inputs and sizes, each with the exception that PyTorch raises where it
    does not hold.
    """

    arguments: tuple[Argument, ...]
    roles: tuple[tuple[Axis, str], ...]
    choices: tuple[Choice, ...]
    variants: tuple[Variant, ...]
    given: tuple[tuple[str, str], ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
    demands: tuple[tuple[str, str], ...] = ()
    autocast: str | None = None

    def role(self, axis: Axis) -> str | None:
        """What an axis is of the caller's tensors; None where each tensor shows its size."""
        return dict(self.roles).get(axis)


@dataclass(frozen=True)
class Cases:
    """Alternatives for one let, by the values of one or several choices."""

    choices: tuple[str, ...]
    lets: tuple[tuple[tuple[Any, ...], Let], ...]
    unknown: str = "ValueError"

    @classmethod
    def of(
        cls, choices: tuple[str, ...], lets: Iterable[tuple[tuple[Any, ...], Let]], unknown: str
    ) -> Cases:
        """Of alternatives, each of which is known to be what all of them are."""
        lets = list(lets)
        tensors = [let.tensor for _, let in lets]
        positive = all(tensor.positive for tensor in tensors)
        nonnegative = all(tensor.positive or tensor.nonnegative for tensor in tensors)
        known = {"positive": positive, "nonnegative": nonnegative and not positive}
        alike = (
            (values, replace(let, tensor=replace(let.tensor, **known))) for values, let in lets
        )
        return cls(choices, tuple(alike), unknown)

    def values(self, choice: str) -> tuple[Any, ...]:
        """The values of a choice that have a case, in order."""
        place = self.choices.index(choice)
        return tuple(dict.fromkeys(values[place] for values, _ in self.lets))

    def let(self, chosen: Mapping[str, Any]) -> Let | None:
        """The alternative for a value of each choice; None where there is no such definition."""
        return dict(self.lets).get(tuple(chosen[choice] for choice in self.choices))


@dataclass(frozen=True)
class When:
    """What is so of an input for some values of choices, if it is given at all."""

    input: str
    chosen: tuple[tuple[str, Any], ...] = ()

    def applies(self, chosen: Mapping[str, Any]) -> bool:
        given = chosen.get(self.input, True)
        return given and all(chosen[name] == value for name, value in self.chosen)


@dataclass(frozen=True)
class Update:
    """What a buffer becomes: the let, and when it does."""

    when: When
    let: str


def arguments_of(signature: str) -> tuple[Argument, ...]:
    """The parameters that a signature, such as `input: x, dim=-1`, declares.

    Raises:
        SyntaxError: it is none.
    """
    function = ast.parse(f"def f({signature}): ...").body[0]
    assert isinstance(function, ast.FunctionDef)
    taken = function.args
    defaults = [None] * (len(taken.args) - len(taken.defaults)) + list(taken.defaults)
    pairs = [*zip(taken.args, defaults, strict=True)]
    pairs += [*zip(taken.kwonlyargs, taken.kw_defaults, strict=True)]
    return tuple(
        Argument(
            name=a.arg,
            default=None if default is None else ast.unparse(default),
            tensors=tuple(_names(a.annotation)),
            keyword_only=a in taken.kwonlyargs,
            halved=isinstance(a.annotation, ast.Tuple),
        )
        for a, default in pairs
    )


def _names(annotation: ast.expr | None) -> Iterator[str]:
    if annotation is not None:
        yield from (node.id for node in ast.walk(annotation) if isinstance(node, ast.Name))
