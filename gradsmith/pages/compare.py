"""Every gradient of an emitted module held against autograd's, in float32 and in float64."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import torch

from derive.language.definition import Definition
from derive.verification.points import random_point, two_sizes
from gradsmith.comparison import Comparison, compare
from gradsmith.proof.check import agrees
from gradsmith.proof.trial import Trial

SEED = 0


def comparisons(definition: Definition, module: ModuleType) -> tuple[Comparison, ...]:
    """One for each gradient that is wanted, at a random point with random cotangents.

    Autograd differentiates PyTorch's own operation where there is one, and otherwise a plain
    interpreter of the definition; never the forward pass that was emitted. What is approximately
    equal is what `gradsmith check` takes for equal.
    """
    sizes = two_sizes(definition)[0]
    trial = Trial(definition, module, random_point(definition, sizes, SEED), SEED)
    sample = trial.usual
    single = sample.to(torch.float32)
    found = trial.emitted_gradients(single)
    autograd = trial.reference_gradients(single) | trial.namesake_gradients(single)
    truth = trial.reference_gradients(sample)
    return tuple(
        replace(
            compare(name, found[name], autograd[name], truth[name]),
            approximate=agrees(found[name], autograd[name], truth[name]),
        )
        for name in definition.wrt
    )
