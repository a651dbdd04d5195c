"""Exercise 4: the notebook's training loop, with the backward pass of one's choice.

Minibatches are drawn and losses are read once a block of steps, so that a step costs little
beside its arithmetic; in C a block is one call.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gradsmith.errors import Failure
from gradsmith.makemore import notebook
from gradsmith.makemore.checkpoint import Checkpoint, Options
from gradsmith.makemore.dataset import Dataset, Split
from gradsmith.makemore.gradients import BACKWARDS, LossAndGradients, loss_and_gradients, steps
from gradsmith.makemore.model import calibrate
from gradsmith.makemore.notebook import BATCH, Parameters

BLOCK = 500
DROP_AT = 100_000
"""The step from which the learning rate is 0.01; a multiple of BLOCK."""

# A gradient this far from autograd's, measured by its largest element, is wrong and not rounded:
# float32 rounding stays below 1e-5, and n for n-1 at a batch of 32 is 3e-2.
WRONG = 1e-3


@dataclass(frozen=True)
class Check:
    """How far each gradient was from autograd's at one step, and whether `allclose` held."""

    step: int
    maxdiffs: dict[str, float]
    approximate: dict[str, bool]

    def line(self) -> str:
        worst = max(self.maxdiffs, key=self.maxdiffs.__getitem__)
        close = sum(self.approximate.values())
        return (
            f"step {self.step}: {close} of {len(self.approximate)} gradients approximate, "
            f"largest maxdiff {self.maxdiffs[worst]:.2e} ({worst})"
        )


@dataclass(frozen=True)
class Advance:
    """A block of steps is done: the run as it is now, the block's mean loss, and its checks."""

    step: int
    loss: float
    checks: tuple[Check, ...]


class Training:
    """A run in progress, as its last whole block of steps left it: `advance` does the next ones.

    An interrupt may come anywhere: a block changes copies, which take their place at once.
    """

    def __init__(self, data: Dataset, options: Options, start: Checkpoint | None = None) -> None:
        self._data, self.options = data, options
        self._loss_and_gradients = loss_and_gradients(options.backward, options.target)
        self._steps = steps(options.backward, options.target)
        self._losses = torch.empty(options.steps)
        if start is None:
            start = _beginning(data, options)
        self._losses[: start.step] = start.losses
        self._now = replace(start, options=options, calibration=None)

    @property
    def step(self) -> int:
        return self._now.step

    @property
    def parameters(self) -> Parameters:
        return self._now.parameters

    @property
    def finished(self) -> bool:
        return self.step == self.options.steps

    @property
    def steps_per_second(self) -> float:
        return self.step / self._now.seconds if self._now.seconds else 0.0

    def checkpoint(self) -> Checkpoint:
        """The run as it is now; where it is finished, with batch norm calibrated."""
        if not self.finished:
            return self._now
        model = calibrate(self.parameters, self._data.train)
        return replace(self._now, calibration=model.calibration)

    def advance(self, check_every: int = 0, stop_every: int = BLOCK) -> Iterator[Advance]:
        """Train block by block to the end; a block ends at each multiple of `stop_every` too.

        Raises Failure where the loss is no longer finite, or a checked gradient is wrong.
        """
        by_autograd = BACKWARDS["autograd"]() if check_every else None
        while not self.finished:
            start = time.perf_counter()
            step, g, parameters = self.step, self._now.generator(), self.parameters.copy()
            last = min(
                self.options.steps, *(every * (step // every + 1) for every in (BLOCK, stop_every))
            )
            samples = _samples(self._data.train, last - step, g)
            rate = notebook.LEARNING_RATE if step < DROP_AT else 0.01
            checks, losses = [], []
            for first, after in _pieces(step, last, check_every):
                piece = samples[first - step : after - step]
                if by_autograd and first % check_every == 0:
                    checks.append(self._checked(first, parameters, piece[0], by_autograd))
                losses.append(self._steps(parameters, self._data.train, piece, rate))
            block = torch.cat(losses)
            if not block.isfinite().all():
                raise Failure(f"the loss is no longer finite between steps {step} and {last}")
            self._losses[step:last] = block
            self._now = replace(
                self._now,
                step=last,
                seconds=self._now.seconds + time.perf_counter() - start,
                parameters=parameters,
                generator_state=g.get_state(),
                losses=self._losses[:last],
            )
            yield Advance(last, block.mean().item(), tuple(checks))

    def _checked(
        self, step: int, parameters: Parameters, samples: Tensor, by_autograd: LossAndGradients
    ) -> Check:
        X, Y = self._data.train.X[samples], self._data.train.Y[samples]
        _, gradients = self._loss_and_gradients(parameters, X, Y)
        return _check(step, gradients, by_autograd, parameters, X, Y)


def _beginning(data: Dataset, options: Options) -> Checkpoint:
    """A run before its first step."""
    parameters, g = notebook.initialise(len(data.vocabulary), notebook.HIDDEN, options.seed)
    return Checkpoint(
        options, data.vocabulary, 0, 0.0, parameters, None, g.get_state(), torch.empty(0)
    )


def _samples(split: Split, steps: int, g: torch.Generator) -> Tensor:
    """The places of each minibatch in a data set: one draw is the same stream as one a step."""
    return torch.randint(0, len(split), (steps, BATCH), generator=g)


def _pieces(first: int, last: int, check_every: int) -> Iterator[tuple[int, int]]:
    """A block of steps, cut so that each step that is checked begins a piece."""
    while first < last:
        after = min(last, check_every * (first // check_every + 1)) if check_every else last
        yield first, after
        first = after


def _check(
    step: int,
    gradients: tuple[Tensor, ...],
    by_autograd: LossAndGradients,
    parameters: Parameters,
    X: Tensor,
    Y: Tensor,
) -> Check:
    _, expected = by_autograd(parameters, X, Y)
    maxdiffs, approximate = {}, {}
    for name, found, wanted in zip(Parameters._fields, gradients, expected, strict=True):
        maxdiffs[name] = (found - wanted).abs().max().item()
        approximate[name] = torch.allclose(found, wanted)
        # Written so that a nan is wrong as well. The gradient of b1 is rounding alone, since batch
        # norm subtracts whatever is added before it: hence the absolute part.
        if not maxdiffs[name] <= WRONG * wanted.abs().max().item() + 1e-6:
            raise Failure(
                f"step {step}: the gradient of {name} is not autograd's: "
                f"maxdiff {maxdiffs[name]:.2e}, largest element {wanted.abs().max().item():.2e}"
            )
    return Check(step, maxdiffs, approximate)
