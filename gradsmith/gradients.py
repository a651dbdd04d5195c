"""The loss and all gradients of one minibatch: emitted in two forms, or by autograd.

All three take the parameters and a minibatch and are called under `torch.no_grad()`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from operator import attrgetter
from types import ModuleType

import torch
from torch import Tensor

from gradsmith import notebook
from gradsmith.errors import UserError
from gradsmith.notebook import Parameters

LossAndGradients = Callable[[Parameters, Tensor, Tensor], tuple[Tensor, tuple[Tensor, ...]]]
"""From parameters, X (N, 3) and Y (N): the loss, and one gradient for each parameter in order."""

_parameter_gradients = attrgetter(*(f"grad_{name}" for name in Parameters._fields))


def emitted(operation: str) -> ModuleType:
    """The committed module of an operation.

    Raises UserError, saying how to make it, where it has not been emitted.
    """
    try:
        return import_module(f"generated.{operation}")
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("generated"):
            raise
        raise UserError(
            f"generated/{operation}.py is not there; `gradsmith generate {operation}` makes it"
        ) from None


def emitted_arguments(parameters: Parameters, X: Tensor, Y: Tensor) -> dict[str, Tensor]:
    """The inputs of the emitted models, whose batch-norm parameters are vectors."""
    flat = {"bngain": parameters.bngain.view(-1), "bnbias": parameters.bnbias.view(-1)}
    return {**parameters._asdict(), **flat, "Xb": X, "Yb": Y}


def _from_emitted(operation: str) -> LossAndGradients:
    value_and_grad = emitted(operation).value_and_grad

    def loss_and_gradients(
        parameters: Parameters, X: Tensor, Y: Tensor
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        C, W1, b1, W2, b2, bngain, bnbias = parameters
        loss, gradients = value_and_grad(
            C=C,
            W1=W1,
            b1=b1,
            W2=W2,
            b2=b2,
            bngain=bngain.view(-1),
            bnbias=bnbias.view(-1),
            Xb=X,
            Yb=Y,
        )
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
    "generated": lambda: _from_emitted("makemore_mlp"),
    "chunked": lambda: _from_emitted("makemore_mlp_chunked"),
    "autograd": _by_autograd,
}
"""The choices of `--backward`: each makes its function when it is wanted."""
