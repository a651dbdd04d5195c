"""What is said of the gradients of an emitted module: a row for each, in float64 and in float32.

Inputs, options and cotangents are random and non-uniform, the sizes of axes all different.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor

from derive.language.definition import Definition
from derive.verification.points import random_point, two_sizes
from gradsmith.emitted import emitted
from gradsmith.proof.namesakes import namesake
from gradsmith.proof.proofs import (
    PROOFS,
    Problem,
    Proof,
    finite_difference_problems,
    gradcheck_problems,
)
from gradsmith.proof.samples import Sample
from gradsmith.proof.trial import Trial

FLOAT32 = 1e-5
"""Of a gradient's largest element, in float32; beside four times autograd's own error."""

OVERFLOWN = 1e-3
"""In float32 beside float64 alone, where autograd of the plain formulas overflows."""


@dataclass(frozen=True)
class Row:
    """What the checks say of one gradient. `problems` are in words; none where all is well."""

    op: str
    input: str
    gradcheck: bool
    exact: bool
    approximate: bool
    maxdiff: float | None
    problems: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return self.gradcheck and self.approximate and not self.problems

    def line(self, width: int = 20) -> str:
        """In the notebook's format; before it the operation, in a column as wide, and gradcheck."""
        return (
            f"{self.op:{width}s} {self.input:15s} | gradcheck: {self.gradcheck!s:5s} "
            f"| exact: {self.exact!s:5s} | approximate: {self.approximate!s:5s} "
            f"| maxdiff: {self.maxdiff}"
        )

    def as_json(self) -> dict[str, str | bool | float | None]:
        return {
            "op": self.op,
            "input": self.input,
            "gradcheck": self.gradcheck,
            "exact": self.exact,
            "approximate": self.approximate,
            "maxdiff": self.maxdiff,
        }


def failed(definition: Definition, problem: str) -> list[Row]:
    """Rows for an operation that could not be checked at all."""
    return [
        Row(definition.full_name, name, False, False, False, None, (problem,))
        for name in definition.wrt
    ]


def check(
    definition: Definition, module: ModuleType | None = None, seed: int = 0, target: str = "torch"
) -> list[Row]:
    """One row for each gradient of an emitted module, the definition's own unless given.

    What raises while it is checked is a failure, told in the rows' problems.
    """
    try:
        module = module or emitted(definition, target)
        trials = [
            Trial(definition, module, random_point(definition, sizes, seed), seed)
            for sizes in two_sizes(definition)
        ]
        if any(option.default is not None for option in definition.options):
            trials.append(trials[0].usually)
    except Exception as error:
        return failed(definition, _in_words(error))
    problems = [p for proof in PROOFS for trial in trials for p in _guarded(proof, trial)]
    differences = [p for trial in trials for p in _guarded(finite_difference_problems, trial)]
    differences += _guarded(gradcheck_problems, trials[0])
    return [_row(trials[0], name, problems, differences) for name in definition.wrt]


def _row(trial: Trial, name: str, problems: list[Problem], differences: list[Problem]) -> Row:
    """What all proofs found of one gradient, and it beside autograd's in float32."""
    wrong = [text for about, text in differences if about in (name, None)]
    others = [text for about, text in problems if about in (name, None)]
    said = [*others, *wrong]
    try:
        exact, approximate, maxdiff = in_float32(trial, name)
        if not approximate:
            said.append(f"float32: off by {maxdiff:.3g} from autograd")
    except Exception as error:
        exact, approximate, maxdiff = False, False, None
        said.append(_in_words(error))
    return Row(
        op=trial.definition.full_name,
        input=name,
        gradcheck=not (wrong or others),
        exact=exact,
        approximate=approximate,
        maxdiff=maxdiff,
        problems=tuple(dict.fromkeys(said)),
    )


def in_float32(trial: Trial, name: str) -> tuple[bool, bool, float]:
    """Exact, approximate and maxdiff of one gradient beside autograd's, as people compare them.

    With options at their defaults, where PyTorch's own operation is the reference, and off them.
    """
    native = namesake(trial.definition) is not None and name in trial.sample.inputs
    found = [_beside(trial, name, trial.usual, native)]
    if trial.sample.options:
        found.append(_beside(trial, name, trial.sample, False))
    exact, approximate, maxdiff = zip(*found, strict=True)
    return all(exact), all(approximate), max(maxdiff)


def _beside(trial: Trial, name: str, sample: Sample, native: bool) -> tuple[bool, bool, float]:
    by_autograd = trial.namesake_gradients if native else trial.reference_gradients
    single = sample.to(torch.float32)
    autograd, truth = by_autograd(single)[name], by_autograd(sample)[name]
    found = trial.emitted_gradients(single)[name]
    if found.shape != autograd.shape:
        raise ValueError(f"grad_{name} has shape {[*found.shape]}, {name} {[*autograd.shape]}")
    if truth.isfinite().all() and not autograd.isfinite().all():  # written out, it overflows
        off, scale = (found - truth).abs().max().item(), max(truth.abs().max().item(), 0.1)
        return False, off <= OVERFLOWN * scale, off
    difference = (found - autograd).abs().max().item()
    return bool(torch.equal(found, autograd)), agrees(found, autograd, truth), difference


def agrees(found: Tensor, autograd: Tensor, truth: Tensor) -> bool:
    """Whether a gradient in float32 is autograd's but for rounding, which `truth` is free of."""
    own_error = (autograd - truth).abs().max().item()
    allowed = FLOAT32 * max(truth.abs().max().item(), 0.1) + 4 * own_error
    return (found - autograd).abs().max().item() <= allowed  # false for nan


def _guarded(proof: Proof, trial: Trial) -> list[Problem]:
    try:
        return list(proof(trial))
    except Exception as error:
        return [(None, f"{proof.__name__.removesuffix('_problems')}: {_in_words(error)}")]


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
