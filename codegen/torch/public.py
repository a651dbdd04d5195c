"""The public function over a definition's variants, as lines of Python.

It is the same for every operation: arguments are checked (`codegen.torch.checks`), tensors of any
rank are seen over the definition's axes (`codegen.torch.views`), the arguments choose a variant,
and its result is seen in the caller's shape again (`codegen.torch.dispatch`).
"""

from __future__ import annotations

from dataclasses import dataclass

from codegen.torch.arguments import Arguments
from codegen.torch.checks import checked
from codegen.torch.described import arguments_described, axes_described, result_described
from codegen.torch.dispatch import Dispatch
from codegen.torch.shapes import layout
from codegen.torch.signature import handed_on, signature
from codegen.torch.views import seen
from derive.language.definition import Definition

_ADAPTING: dict[str, tuple[str, ...]] = {
    "_along": (),
    "_autocast": (),
    "_broadcast": (),
    "_channels": (),
    "_channels_last": (),
    "_constant": (),
    "_correction": (),
    "_dims": ("_integer",),
    "_everywhere": (),
    "_flat": ("_wide",),
    "_flattened": (),
    "_floating": (),
    "_halves": (),
    "_indices": (),
    "_integer": (),
    "_may_be": ("_must_be",),
    "_must_be": (),
    "_number": (),
    "_ranked": (),
    "_reduction": (),
    "_shaped": (),
    "_unflattened": (),
    "_wide": (),
}
"""The small functions that `adapting.py.jinja` has, and what they call in turn."""

_RAISED = {
    "ValueError": "an argument has an unknown value or a size that is refused.",
    "AssertionError": "an argument is out of its range.",
    "NotImplementedError": "an argument asks for what is not there.",
}
"""What a function raises by its own lines, beside what every function does."""


@dataclass(frozen=True)
class PublicFunction:
    """What is emitted for an operation that has an interface.

    `params` declares its arguments, which `arguments` hands on to a function that has the same
    ones; `tensors` are those of them that are tensors. `axes`, `meanings` and `result` are what its
    docstring says of the formulas' axes, of its arguments and of what it returns. `needs` are the
    small functions that the body calls, and those that they call; `raises` is what it raises itself
    or by them, and why.
    """

    params: str
    body: tuple[str, ...]
    needs: frozenset[str]
    raises: dict[str, str]
    tensors: tuple[str, ...]
    arguments: tuple[str, ...]
    axes: tuple[str, ...]
    meanings: tuple[str, ...]
    result: str


def public_function(definition: Definition, alone: frozenset[str]) -> PublicFunction:
    """The public function of a definition that has an interface; the variants named in `alone`
    have a function for the value alone."""
    assert definition.interface is not None
    arguments = Arguments(definition.interface)
    shapes = layout(arguments)
    body = (
        *checked(definition.name, arguments),
        *seen(definition.name, arguments, shapes),
        *Dispatch(definition, arguments, shapes, alone).lines(),
    )
    text = "\n".join(body)
    called = {name for name in _ADAPTING if f"{name}(" in text}
    needs = called.union(*(_ADAPTING[name] for name in called))
    every = definition.interface.arguments
    return PublicFunction(
        signature(arguments),
        body,
        frozenset(needs),
        _raises(text, needs),
        tuple(a.name for a in every if a.tensors and not arguments.is_mask(a)),
        tuple(handed_on(arguments)),
        tuple(axes_described(arguments)),
        tuple(arguments_described(arguments)),
        result_described(definition, arguments),
    )


def _raises(body: str, needs: set[str]) -> dict[str, str]:
    found = {name: why for name, why in _RAISED.items() if name in body}
    if "_shaped" in needs:
        found["ValueError"] = _RAISED["ValueError"]
    if needs & {"_dims", "_along", "_halves", "_indices"}:
        found["IndexError"] = "a dimension or an index is out of range."
    return found
