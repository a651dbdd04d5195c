"""Training: the function that runs many steps of a model, from its loss and gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from codegen.c.lines import Piece, allocated
from codegen.c.memory import PLACE, REAL
from codegen.c.module import Function, Parameter, filled, wrapped
from codegen.program import Module
from codegen.templating import render
from derive.language.definition import Tensor
from derive.language.expressions import Axis

_OWN = frozenset(("samples", "rate", "losses", "batch", "loss", "gradients", "check_trainable"))
"""What the function that takes many steps calls its own."""


@dataclass(frozen=True)
class Model:
    """A definition that can be trained: integer inputs say what each sample of a batch is, every
    other input is a parameter."""

    batch: Axis
    data: tuple[Tensor, ...]
    parameters: tuple[Tensor, ...]


def model_of(module: Module) -> Model | None:
    """A module as a model, where it is one: it has a loss, and its integers alone have samples."""
    data = tuple(t for t in module.inputs if t.integer)
    parameters = tuple(t for t in module.inputs if not t.integer)
    if module.value_and_grad is None or not data or not all(t.axes for t in data):
        return None
    batch = data[0].axes[0]
    once = all(t.axes[0] == batch and t.axes.count(batch) == 1 for t in data)
    if not once or any(batch in t.axes for t in parameters):
        return None
    if not {t.name for t in parameters} <= set(module.gradients):
        return None
    if _OWN & {*(t.name for t in module.inputs), *(o.name for o in module.options)}:
        return None
    return Model(batch, data, parameters)


@dataclass(frozen=True)
class Input:
    """An input as C has it: its name, its elements (of data those of one sample), its gradient."""

    name: str
    count: str
    is_data: bool
    gradient: str


def steps(model: Model, module: Module, joint: Function) -> Function:
    """The C function that takes many steps, on batches of a data set, by the one that gives
    the loss and the gradients."""
    assert module.value_and_grad is not None
    spelled = {p.name: p.spelled for p in joint.parameters}

    def elements(axes: Sequence[Axis]) -> str:
        return " * ".join(spelled[a.size.name] for a in axes) or "1"

    (_, loss), *found = module.value_and_grad.results
    gradients = dict(zip(module.gradients, (tensor.name for _, tensor in found), strict=True))
    inputs = [
        Input(
            spelled[t.name],
            elements(t.axes[1:] if t.integer else t.axes),
            t.integer,
            "" if t.integer else spelled[gradients[t.name]],
        )
        for t in module.inputs
    ]
    instead = {i.name: f"{i.name}_batch" for i in inputs if i.is_data}
    instead[spelled[loss.name]] = "&losses[step]"
    batch = spelled[model.batch.size.name]
    pieces = [Piece(f"{i.name}_batch", PLACE, f"{batch} * {i.count}") for i in inputs if i.is_data]
    pieces += [Piece(spelled[t.name], REAL, elements(t.axes)) for _, t in found]
    body = render(
        "c/steps.c.jinja",
        batch=batch,
        inputs=inputs,
        status=len(inputs) + 2,
        allocated=allocated(pieces),
        arguments=", ".join(instead.get(p.spelled, p.spelled) for p in joint.parameters),
    )
    given = {t.name for t in module.inputs}
    rest = [p for p in joint.parameters if not p.is_tensor]
    parameters = (
        *(_used(p, model) for p in joint.parameters if p.name in given),
        Parameter("samples", "samples", PLACE, "read"),
        Parameter("losses", "losses", REAL, "written"),
        Parameter("rows", "rows", PLACE),
        Parameter("count", "count", PLACE),
        *rest[:-1],
        Parameter("rate", "rate", REAL),
        rest[-1],
    )
    says = (
        f"Train in place: for each row of samples, places in the data, the loss of that batch of "
        f"{batch}, and a step of the parameters down its gradient."
    )
    lines = tuple(piece for line in body.splitlines() for piece in wrapped(line))
    return Function("steps", filled(says), parameters, lines)


def _used(parameter: Parameter, model: Model) -> Parameter:
    """An input as it is used in training: a parameter of the model is written to, data are not."""
    is_data = parameter.name in {t.name for t in model.data}
    return parameter if is_data else replace(parameter, use="written")
