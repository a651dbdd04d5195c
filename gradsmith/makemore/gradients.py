"""The loss and all gradients of one minibatch: emitted in two forms, or by autograd; and whole
blocks of training steps on them.

All take the parameters and data, and are called under `torch.no_grad()`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from operator import attrgetter
from types import ModuleType

import torch
from torch import Tensor

from gradsmith.emitted import PACKAGES
from gradsmith.errors import UserError
from gradsmith.makemore import notebook
from gradsmith.makemore.dataset import Split
from gradsmith.makemore.notebook import Parameters

LossAndGradients = Callable[[Parameters, Tensor, Tensor], tuple[Tensor, tuple[Tensor, ...]]]
"""From parameters, X (N, 3) and Y (N): the loss, and one gradient for each parameter in order."""

_parameter_gradients = attrgetter(*(f"grad_{name}" for name in Parameters._fields))


Steps = Callable[[Parameters, Split, Tensor, float], Tensor]
"""From parameters, which it changes, a data set, samples (steps, N) and a learning rate: the
loss of each step."""

OPERATIONS = {"generated": "makemore_mlp", "chunked": "makemore_mlp_chunked"}
"""The emitted models, by what `--backward` calls their gradients."""


def committed(operation: str, target: str = "torch") -> ModuleType:
    """The committed module of an operation.

    Raises UserError, saying how to make it, where it has not been emitted.
    """
    package = PACKAGES[target]
    try:
        return import_module(f"{package}.{operation}")
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("generated"):
            raise
        where = f"{package.replace('.', '/')}/{operation}.py"
        chosen = "" if target == "torch" else f"--target {target} "
        raise UserError(
            f"{where} is not there; `gradsmith generate {chosen}{operation}` makes it"
        ) from None


def emitted_arguments(parameters: Parameters, X: Tensor, Y: Tensor) -> dict[str, Tensor]:
    """The inputs of the emitted models, whose batch-norm parameters are vectors."""
    flat = {"bngain": parameters.bngain.view(-1), "bnbias": parameters.bnbias.view(-1)}
    return {**parameters._asdict(), **flat, "Xb": X, "Yb": Y}


def loss_and_gradients(backward: str, target: str) -> LossAndGradients:
    """What `--backward` and `--target` choose, for one minibatch."""
    if target == "torch":
        return BACKWARDS[backward]()
    return _from_emitted(OPERATIONS[backward], target)


def steps(backward: str, target: str) -> Steps:
    """The same, for many steps of stochastic gradient descent: in one call where C takes them."""
    if target == "torch":
        return _one_by_one(BACKWARDS[backward]())
    module = committed(OPERATIONS[backward], target)

    def in_one_call(parameters: Parameters, split: Split, samples: Tensor, rate: float) -> Tensor:
        named = emitted_arguments(parameters, split.X, split.Y)
        return module.steps(**named, samples=samples, rate=rate)

    return in_one_call


def _one_by_one(loss_and_gradients: LossAndGradients) -> Steps:
    def run(parameters: Parameters, split: Split, samples: Tensor, rate: float) -> Tensor:
        losses = []
        for X, Y in zip(split.X[samples].unbind(), split.Y[samples].unbind(), strict=True):
            loss, gradients = loss_and_gradients(parameters, X, Y)
            for p, gradient in zip(parameters, gradients, strict=True):
                p.add_(gradient, alpha=-rate)
            losses.append(loss)
        return torch.stack(losses)

    return run


def _from_emitted(operation: str, target: str = "torch") -> LossAndGradients:
    value_and_grad = committed(operation, target).value_and_grad

    def loss_and_gradients(
        parameters: Parameters, X: Tensor, Y: Tensor
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        loss, gradients = value_and_grad(**emitted_arguments(parameters, X, Y))
        *rest, grad_bngain, grad_bnbias = _parameter_gradients(gradients)
        return loss, (*rest, grad_bngain.view(1, -1), grad_bnbias.view(1, -1))

    return loss_and_gradients


def _by_autograd() -> LossAndGradients:
    def loss_and_gradients(
        parameters: Parameters, X: Tensor, Y: Tensor
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        with torch.enable_grad():
            leaves = Parameters(*(p.detach().requires_grad_() for p in parameters))
            loss = notebook.loss(leaves, X, Y)
            return loss.detach(), torch.autograd.grad(loss, leaves)

    return loss_and_gradients


BACKWARDS: dict[str, Callable[[], LossAndGradients]] = {
    "generated": lambda: _from_emitted(OPERATIONS["generated"]),
    "chunked": lambda: _from_emitted(OPERATIONS["chunked"]),
    "autograd": _by_autograd,
}
"""The choices of `--backward`: each makes its function when it is wanted."""
