"""The public function over a definition's variants, as lines of Python.

It is the same for every operation: arguments are checked (`codegen.torch.checks`), tensors of any
rank are seen over the definition's axes (`codegen.torch.views`), the arguments choose a variant,
and its result is seen in the caller's shape again (`codegen.torch.dispatch`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from codegen.torch.arguments import Arguments
from codegen.torch.checks import checked
from codegen.torch.described import arguments_described, axes_described, entry, result_described
from codegen.torch.dispatch import Dispatch
from codegen.torch.reading import names_in
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
    "_in_range": (),
    "_indices": ("_in_range",),
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
"""The small functions that `adapting.py.jinja` and `in_range.py.jinja` have, and what they call in
turn."""


@dataclass(frozen=True)
class PublicFunction:
    """What is emitted for an operation that has an interface.

    `params` declares its arguments, which `arguments` hands on to a function that has the same
    ones; `tensors` are those of them that are tensors. `axes`, `meanings` and `result` are what its
    docstring says of the formulas' axes, of its arguments and of what it returns. `needs` are the
    small functions that the body calls, and those that they call; `raises` says which errors there
    are, and when.
    """

    params: str
    body: tuple[str, ...]
    needs: frozenset[str]
    raises: tuple[str, ...]
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
    dispatch = Dispatch(definition, arguments, shapes, alone)
    body = (
        *checked(definition.name, arguments),
        *seen(definition.name, arguments, shapes),
        *dispatch.lines(),
    )
    named = names_in(body)
    called = named & _ADAPTING.keys()
    needs = called.union(*(_ADAPTING[name] for name in called))
    refusing = {error for _, error in definition.interface.demands}
    refusing |= {choice.unknown for choice in dispatch.refused}
    if "ValueError" in named or "_shaped" in needs:
        refusing.add("ValueError")
    every = definition.interface.arguments
    return PublicFunction(
        signature(arguments),
        body,
        frozenset(needs),
        tuple(_raises(refusing, needs)),
        tuple(a.name for a in every if a.tensors and not arguments.is_mask(a)),
        tuple(handed_on(arguments)),
        tuple(axes_described(arguments)),
        tuple(arguments_described(arguments)),
        result_described(definition, arguments),
    )


def _raises(refusing: set[str], needs: set[str]) -> Iterator[str]:
    """Lines for each error that the function raises: those by which it is `refusing` a value or a
    shape, and those of the small functions that it needs."""
    reasons = {
        "TypeError": "an argument has the wrong type",
        "RuntimeError": "a tensor has the wrong dtype or shape",
    }
    if "_floating" in needs:
        reasons["NotImplementedError"] = "the result would not have a floating-point dtype"
    if needs & {"_dims", "_along", "_halves", "_indices"}:
        reasons["IndexError"] = "a dimension or an index is out of range"
    for error in sorted(refusing):
        known = reasons.get(error)
        reasons[error] = (
            f"{known}, or a value is refused" if known else "a value or a shape is refused"
        )
    for error, why in reasons.items():
        yield from entry(error, f"{why}.")
