"""The notebook's four exercises: emitted gradients held against autograd of its own forward."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gradsmith.comparison import Comparison, compare
from gradsmith.makemore import notebook
from gradsmith.makemore.dataset import Dataset, Split
from gradsmith.makemore.gradients import BACKWARDS, committed, emitted_arguments
from gradsmith.makemore.notebook import Parameters

HIDDEN = 64
STEPS_BEFORE = 100

# The order in which the notebook compares: backwards through its forward pass.
ORDER = (
    *("logprobs", "probs", "counts_sum_inv", "counts_sum", "counts", "norm_logits", "logit_maxes"),
    *("logits", "h", "W2", "b2", "hpreact", "bngain", "bnbias", "bnraw", "bnvar_inv", "bnvar"),
    *("bndiff2", "bndiff", "bnmeani", "hprebn", "embcat", "W1", "b1", "emb", "C"),
)


@dataclass(frozen=True)
class Result:
    """What an exercise found: a line on the forward pass where it has one, and its comparisons."""

    forward: str | None
    comparisons: tuple[Comparison, ...]

    @property
    def passed(self) -> bool:
        return all(row.agrees for row in self.comparisons)


def _setting(data: Dataset, seed: int) -> tuple[Parameters, Split]:
    parameters, g = notebook.initialise(len(data.vocabulary), HIDDEN, seed)
    return parameters, notebook.minibatch(data.train, g)


def whole_graph(data: Dataset, seed: int) -> Result:
    """Exercise 1: the gradient of every intermediate and parameter, one by one."""
    parameters, batch = _setting(data, seed)
    autograd = notebook.gradients(parameters, batch)
    truth = notebook.gradients(parameters.to(torch.float64), batch)
    arguments = emitted_arguments(parameters, batch.X, batch.Y)
    _, generated = committed("makemore_mlp_chunked").value_and_grad(**arguments)
    rows = (
        compare(name, getattr(generated, f"grad_{name}"), autograd[name], truth[name])
        for name in ORDER
    )
    return Result(None, tuple(rows))


def through_cross_entropy(data: Dataset, seed: int) -> Result:
    """Exercise 2: the gradient of the logits, in one go."""
    parameters, batch = _setting(data, seed)
    tensors = notebook.forward(parameters, batch)
    logits, loss = tensors["logits"], tensors["loss"]

    def by_autograd(logits: Tensor) -> Tensor:
        leaf = logits.detach().requires_grad_()
        return torch.autograd.grad(notebook.cross_entropy(leaf, batch.Y)["loss"], leaf)[0]

    fast, gradients = committed("cross_entropy").value_and_grad(logits, batch.Y)
    row = compare(
        "logits", gradients.grad_logits, by_autograd(logits), by_autograd(logits.double())
    )
    return Result(f"{fast.item()} diff: {(fast - loss).item()}", (row,))


def through_batch_norm(data: Dataset, seed: int) -> Result:
    """Exercise 3: the gradient of batch norm's input from that of its output, in one go."""
    parameters, batch = _setting(data, seed)
    tensors = notebook.forward(parameters, batch)
    hprebn, hpreact = tensors["hprebn"], tensors["hpreact"]
    grad_hpreact = notebook.gradients(parameters, batch)["hpreact"]

    def by_autograd(dtype: torch.dtype) -> Tensor:
        leaf = hprebn.to(dtype).detach().requires_grad_()
        gain, bias = parameters.bngain.to(dtype), parameters.bnbias.to(dtype)
        output = notebook.batch_norm(leaf, gain, bias)["hpreact"]
        return torch.autograd.grad(output, leaf, grad_hpreact.to(dtype))[0]

    batch_norm = committed("batch_norm")
    fast, residuals = batch_norm.forward(
        hprebn,
        parameters.bngain.view(-1),
        parameters.bnbias.view(-1),
        eps=notebook.EPS,
        correction=1,
    )
    generated = batch_norm.backward(grad_hpreact, residuals).grad_x
    row = compare("hprebn", generated, by_autograd(torch.float32), by_autograd(torch.float64))
    return Result(f"max diff: {(fast - hpreact).abs().max().item()}", (row,))


def trained(data: Dataset, seed: int) -> Result:
    """Exercise 4: every parameter's gradient after 100 steps with emitted gradients."""
    parameters, g = notebook.initialise(len(data.vocabulary), notebook.HIDDEN, seed)
    loss_and_gradients = BACKWARDS["generated"]()
    for _ in range(STEPS_BEFORE):
        batch = notebook.minibatch(data.train, g)
        _, gradients = loss_and_gradients(parameters, batch.X, batch.Y)
        for p, gradient in zip(parameters, gradients, strict=True):
            p += -notebook.LEARNING_RATE * gradient
    batch = notebook.minibatch(data.train, g)
    by_autograd = BACKWARDS["autograd"]()
    _, generated = loss_and_gradients(parameters, batch.X, batch.Y)
    _, autograd = by_autograd(parameters, batch.X, batch.Y)
    _, truth = by_autograd(parameters.to(torch.float64), batch.X, batch.Y)
    rows = map(compare, Parameters._fields, generated, autograd, truth)
    return Result(None, tuple(rows))


EXERCISES: dict[int, Callable[[Dataset, int], Result]] = {
    1: whole_graph,
    2: through_cross_entropy,
    3: through_batch_norm,
    4: trained,
}
