"""The trained character model, with batch norm calibrated on the whole training set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from gradsmith.makemore.dataset import CONTEXT, Split
from gradsmith.makemore.notebook import EPS, Parameters

LONGEST = 1000
"""How many characters are drawn for a name at most: a model may hardly ever draw the end mark."""


class Calibration(NamedTuple):
    """The mean and variance, each (1, H), that batch norm uses outside training."""

    bnmean: Tensor
    bnvar: Tensor


@dataclass(frozen=True)
class Model:
    """Parameters, and batch norm's calibration."""

    parameters: Parameters
    calibration: Calibration

    def logits(self, X: Tensor) -> Tensor:
        """From contexts (N, 3) to logits (N, V)."""
        _, _, _, W2, b2, bngain, bnbias = self.parameters
        hpreact = _hidden(self.parameters, X)
        bnmean, bnvar = self.calibration
        hpreact = bngain * (hpreact - bnmean) * (bnvar + EPS) ** -0.5 + bnbias
        return torch.tanh(hpreact) @ W2 + b2

    def loss(self, split: Split) -> float | None:
        """The mean cross-entropy over a split; None where a small data set leaves it empty."""
        return F.cross_entropy(self.logits(split.X), split.Y).item() if len(split) else None

    def sample(self, vocabulary: tuple[str, ...], g: Generator) -> str:
        """One name, character by character until the end mark is drawn; a longer one is cut off."""
        context, characters = [0] * CONTEXT, list[int]()
        while characters[-1:] != [0] and len(characters) < LONGEST:
            probs = F.softmax(self.logits(torch.tensor([context])), dim=1)
            ix = int(torch.multinomial(probs, num_samples=1, generator=g).item())
            context = [*context[1:], ix]
            characters.append(ix)
        return "".join(vocabulary[i] for i in characters)


def calibrate(parameters: Parameters, training_set: Split) -> Model:
    """Measure batch norm's mean and unbiased variance over the whole training set."""
    hpreact = _hidden(parameters, training_set.X)
    measured = Calibration(hpreact.mean(0, keepdim=True), hpreact.var(0, keepdim=True))
    return Model(parameters, measured)


def _hidden(parameters: Parameters, X: Tensor) -> Tensor:
    return parameters.C[X].view(len(X), -1) @ parameters.W1 + parameters.b1
