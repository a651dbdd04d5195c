"""The notebook's own lines: its initialisation, and its forward passes under autograd.

This is the reference that derived gradients are held against, so nothing here is derived or
emitted, and every intermediate has the notebook's name, shape and order of operations.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from gradsmith.makemore.dataset import CONTEXT, Split

EMBEDDING = 10
HIDDEN = 200
"""As many neurons as are trained; the exercises that compare intermediates have fewer."""

BATCH = 32
LEARNING_RATE = 0.1
EPS = 1e-5
GENERATOR_SEED = 2147483647


class Parameters(NamedTuple):
    """The model's parameters, in the notebook's order and shapes.

    C (V, 10), W1 (30, H), b1 (H), W2 (H, V), b2 (V), bngain (1, H), bnbias (1, H).
    """

    C: Tensor
    W1: Tensor
    b1: Tensor
    W2: Tensor
    b2: Tensor
    bngain: Tensor
    bnbias: Tensor

    def elements(self) -> int:
        return sum(p.nelement() for p in self)

    def to(self, dtype: torch.dtype) -> Parameters:
        return Parameters(*(p.to(dtype) for p in self))

    def copy(self) -> Parameters:
        return Parameters(*(p.clone() for p in self))

    def requiring_grad(self) -> Parameters:
        """The same values as leaves of a new graph."""
        return Parameters(*(p.detach().clone().requires_grad_() for p in self))


def initialise(vocab_size: int, n_hidden: int, seed: int) -> tuple[Parameters, Generator]:
    """The notebook's initialisation, and its generator, from which minibatches are drawn next.

    The notebook draws the batch-norm parameters from torch's global generator, which `seed`
    stands for here; nothing outside is seeded.
    """
    g = Generator().manual_seed(GENERATOR_SEED)
    everywhere = Generator().manual_seed(seed)
    fan_in = EMBEDDING * CONTEXT
    C = torch.randn((vocab_size, EMBEDDING), generator=g)
    W1 = torch.randn((fan_in, n_hidden), generator=g) * (5 / 3) / (fan_in**0.5)
    b1 = torch.randn(n_hidden, generator=g) * 0.1
    W2 = torch.randn((n_hidden, vocab_size), generator=g) * 0.1
    b2 = torch.randn(vocab_size, generator=g) * 0.1
    bngain = torch.randn((1, n_hidden), generator=everywhere) * 0.1 + 1.0
    bnbias = torch.randn((1, n_hidden), generator=everywhere) * 0.1
    return Parameters(C, W1, b1, W2, b2, bngain, bnbias), g


def minibatch(split: Split, g: Generator) -> Split:
    """One minibatch of 32 examples, drawn with replacement."""
    ix = torch.randint(0, len(split), (BATCH,), generator=g)
    return Split(split.X[ix], split.Y[ix])


def forward(parameters: Parameters, batch: Split) -> dict[str, Tensor]:
    """The forward pass in the notebook's small steps: every intermediate by its name, in order."""
    C, W1, b1, W2, b2, bngain, bnbias = parameters
    emb = C[batch.X]
    embcat = emb.view(emb.shape[0], -1)
    hprebn = embcat @ W1 + b1
    normalised = batch_norm(hprebn, bngain, bnbias)
    h = torch.tanh(normalised["hpreact"])
    logits = h @ W2 + b2
    entropy = cross_entropy(logits, batch.Y)
    steps = {"emb": emb, "embcat": embcat, "hprebn": hprebn}
    return {**steps, **normalised, "h": h, "logits": logits, **entropy}


def batch_norm(hprebn: Tensor, bngain: Tensor, bnbias: Tensor) -> dict[str, Tensor]:
    """The notebook's batch norm of (N, H), normalised by the unbiased variance, step by step."""
    n = hprebn.shape[0]
    bnmeani = 1 / n * hprebn.sum(0, keepdim=True)
    bndiff = hprebn - bnmeani
    bndiff2 = bndiff**2
    bnvar = 1 / (n - 1) * (bndiff2).sum(0, keepdim=True)
    bnvar_inv = (bnvar + EPS) ** -0.5
    bnraw = bndiff * bnvar_inv
    hpreact = bngain * bnraw + bnbias
    return {
        "bnmeani": bnmeani,
        "bndiff": bndiff,
        "bndiff2": bndiff2,
        "bnvar": bnvar,
        "bnvar_inv": bnvar_inv,
        "bnraw": bnraw,
        "hpreact": hpreact,
    }


def cross_entropy(logits: Tensor, Yb: Tensor) -> dict[str, Tensor]:
    """The notebook's cross-entropy of (N, V) with N targets, step by step."""
    n = logits.shape[0]
    logit_maxes = logits.max(1, keepdim=True).values
    norm_logits = logits - logit_maxes
    counts = norm_logits.exp()
    counts_sum = counts.sum(1, keepdim=True)
    counts_sum_inv = counts_sum**-1
    probs = counts * counts_sum_inv
    logprobs = probs.log()
    loss = -logprobs[range(n), Yb].mean()
    return {
        "logit_maxes": logit_maxes,
        "norm_logits": norm_logits,
        "counts": counts,
        "counts_sum": counts_sum,
        "counts_sum_inv": counts_sum_inv,
        "probs": probs,
        "logprobs": logprobs,
        "loss": loss,
    }


def loss(parameters: Parameters, X: Tensor, Y: Tensor) -> Tensor:
    """The loss as exercise 4 writes it: fewer, larger steps than `forward`."""
    C, W1, b1, W2, b2, bngain, bnbias = parameters
    emb = C[X]
    embcat = emb.view(emb.shape[0], -1)
    hprebn = embcat @ W1 + b1
    bnmean = hprebn.mean(0, keepdim=True)
    bnvar = hprebn.var(0, keepdim=True, unbiased=True)
    bnvar_inv = (bnvar + EPS) ** -0.5
    bnraw = (hprebn - bnmean) * bnvar_inv
    hpreact = bngain * bnraw + bnbias
    h = torch.tanh(hpreact)
    logits = h @ W2 + b2
    return F.cross_entropy(logits, Y)


def gradients(parameters: Parameters, batch: Split) -> dict[str, Tensor]:
    """What autograd makes of `forward`: every parameter's and intermediate's gradient, by name."""
    leaves = parameters.requiring_grad()
    tensors = {**leaves._asdict(), **forward(leaves, batch)}
    loss = tensors.pop("loss")
    found = torch.autograd.grad(loss, list(tensors.values()))
    return dict(zip(tensors, found, strict=True))
