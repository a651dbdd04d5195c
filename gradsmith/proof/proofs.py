"""The proofs of an emitted module: the evaluator, autograd, PyTorch and finite differences.

Each is given a trial and yields what is wrong. Nothing that is compared comes from the emitted
forward alone. Tolerances scale with the gradient and are far below what a dropped term, a flipped
sign or N for N - 1 changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Generator, Tensor
from torch.autograd.gradcheck import GradcheckError, gradcheck

from derive.language.expressions import StopGradient
from derive.verification.evaluate import Array
from derive.verification.points import finite_difference
from gradsmith.proof import reference
from gradsmith.proof.namesakes import LOOSER, namesake
from gradsmith.proof.samples import to_torch
from gradsmith.proof.trial import Trial

FLOAT64 = 1e-9
"""Of the largest element, or of 1 where that is less: rounding takes about 1e-14 of it."""

DIFFERENCES = 1e-6
"""Of `torch.autograd.gradcheck`, whose central differences are right to about 1e-9."""


Problem = tuple[str | None, str]
"""The gradient that is wrong, or None for all of them; and what is wrong."""


def forward_problems(trial: Trial) -> Iterator[Problem]:
    """The emitted forward, its residuals included, against the evaluator."""
    outputs, residuals = trial.run(trial.sample)
    found = dict(zip(trial.definition.outputs, outputs, strict=True))
    kept = getattr(residuals, "_asdict", dict)()
    found |= {name: value for name, value in kept.items() if name in trial.definition.tensors}
    for name, value in found.items():
        tensor = trial.definition.tensors[name]
        expected = to_torch(trial.expected[name], tensor, trial.sample.sizes)
        if problem := _difference(value, expected, FLOAT64):
            yield None, f"forward: {name} {problem} the evaluator's"


def namesake_problems(trial: Trial) -> Iterator[Problem]:
    """The emitted forward and backward against PyTorch's own operation and its autograd."""
    native = namesake(trial.definition)
    if native is None:
        return
    sample, tolerance = trial.usual, LOOSER.get(trial.definition.name, FLOAT64)
    (found,), _ = trial.run(sample)
    expected = native(sample.inputs, sample.options)
    if problem := _difference(found, expected, tolerance):
        yield None, f"forward: {trial.definition.outputs[0]} {problem} PyTorch's"
    gradients = trial.emitted_gradients(sample)
    for name, truth in trial.namesake_gradients(sample).items():
        if problem := _difference(gradients[name], truth, tolerance):
            yield name, f"grad_{name} {problem} that of PyTorch's operation"


def backward_problems(trial: Trial) -> Iterator[Problem]:
    """The emitted backward against autograd of the plain interpreter."""
    found = trial.emitted_gradients(trial.sample)
    for name, truth in trial.reference_gradients(trial.sample).items():
        if problem := _difference(found[name], truth, FLOAT64):
            yield name, f"grad_{name} {problem} autograd's"


def purity_problems(trial: Trial) -> Iterator[Problem]:
    """Backward called twice gives the same, and leaves its arguments alone."""
    outputs, residuals = trial.run(trial.sample)
    cotangents = trial.cotangents(outputs)
    before = [c.clone() for c in cotangents]
    first = trial.functions.backward(*cotangents, residuals)
    first = {name: getattr(first, name).clone() for name in first._fields}
    second = trial.functions.backward(*cotangents, residuals)
    for name, gradient in first.items():
        if not torch.equal(gradient, getattr(second, name)):
            yield name.removeprefix("grad_"), f"{name} changes when backward is called twice"
    if not all(torch.equal(a, b) for a, b in zip(before, cotangents, strict=True)):
        yield None, "backward writes to the cotangent it is given"
    for name, value in trial.sample.inputs.items():
        expected = to_torch(trial.point.values[name], trial.definition.tensors[name], trial.sizes)
        if not torch.equal(value, expected):
            yield None, f"the input {name} is written to"


def value_and_grad_problems(trial: Trial) -> Iterator[Problem]:
    """The function for training loops against forward and backward with cotangent one."""
    both = trial.functions.value_and_grad
    if both is None:
        return
    value, found = both(**trial.sample.inputs, **trial.sample.options)
    (expected,), residuals = trial.run(trial.sample)
    if problem := _difference(value, expected, FLOAT64):
        yield None, f"value_and_grad: the value {problem} forward's"
    truth = trial.functions.backward(torch.ones_like(expected), residuals)
    for name in trial.definition.wrt:
        gradient = f"grad_{name}"
        if problem := _difference(getattr(found, gradient), getattr(truth, gradient), FLOAT64):
            yield name, f"value_and_grad: {gradient} {problem} backward's"


def second_order_problems(trial: Trial) -> Iterator[Problem]:
    """The gradients' own gradients against those of autograd, twice over the plain interpreter."""
    yield from _higher_order_problems(trial, 2, "the gradient")


def third_order_problems(trial: Trial) -> Iterator[Problem]:
    """The same once more, where autograd goes through the emitted second order."""
    yield from _higher_order_problems(trial, 3, "the third derivative")


def _higher_order_problems(trial: Trial, order: int, words: str) -> Iterator[Problem]:
    definition, sample = trial.definition, trial.sample
    if not sample.inputs.keys() >= set(definition.wrt):
        return

    def plainly(inputs: Mapping[str, Tensor]) -> list[Tensor]:
        values = reference.forward(definition, inputs, sample.options, sample.sizes)
        return [values[name] for name in definition.outputs]

    def derived(inputs: Mapping[str, Tensor]) -> list[Tensor]:
        found = trial.functions.operation(**inputs, **sample.options)
        return [found] if isinstance(found, Tensor) else list(found)

    found, truth = (trial.higher(function, order) for function in (derived, plainly))
    for name, gradients in truth.items():
        for by, expected in gradients.items():
            if problem := _difference(*_where_known(found[name][by], expected), FLOAT64):
                yield name, f"{words} of grad_{name} by {by} {problem} autograd's"


def _where_known(found: Tensor, expected: Tensor) -> tuple[Tensor, Tensor]:
    """Both where autograd has a number: differentiating what is written, it comes to `0 * inf` at
    kinks and where exponentials overflow."""
    known = expected.isfinite()
    if known.all() or found.shape != expected.shape:
        return found, expected
    return found[known], expected[known]


Proof = Callable[[Trial], Iterator[Problem]]
PROOFS: tuple[Proof, ...] = (
    forward_problems,
    namesake_problems,
    backward_problems,
    purity_problems,
    value_and_grad_problems,
    second_order_problems,
    third_order_problems,
)


def finite_difference_problems(trial: Trial) -> Iterator[Problem]:
    """Each gradient along a random direction against 60-digit differences of the evaluator."""
    found = trial.emitted_gradients(trial.sample)
    cotangents = trial.cotangents(trial.run(trial.sample)[0])
    seeds = {
        name: _to_array(cotangent.reshape(trial.shape(name)))
        for name, cotangent in zip(trial.definition.outputs, cotangents, strict=True)
    }
    generator = Generator().manual_seed(trial.seed + 1)
    for name in trial.definition.wrt:
        shape = trial.shape(name)
        direction = torch.randn(shape, generator=generator, dtype=torch.float64)
        slope = float(
            finite_difference(
                trial.definition.lets, trial.point, {name: _to_array(direction)}, seeds
            )
        )
        along = (found[name].reshape(shape) * direction).sum()
        if problem := _difference(along, torch.tensor(slope, dtype=torch.float64), FLOAT64 * 10):
            yield name, f"grad_{name} along a direction {problem} the finite difference"


def gradcheck_problems(trial: Trial) -> Iterator[Problem]:
    """`torch.autograd.gradcheck` of the autograd-enabled function, one input at a time.

    Differences do not see `stop_gradient`, so a definition with one is left to the evaluator's.
    """
    if any(let.value.has(StopGradient) for let in trial.definition.lets):
        return
    operation = trial.functions.operation
    for name in trial.definition.wrt:
        if name not in trial.sample.inputs:
            continue

        def of_one(value: Tensor, name: str = name) -> Tensor | tuple[Tensor, ...]:
            return operation(**{**trial.sample.inputs, name: value}, **trial.sample.options)

        leaf = trial.sample.inputs[name].clone().requires_grad_()
        try:
            gradcheck(of_one, (leaf,), atol=DIFFERENCES, rtol=DIFFERENCES)
        except GradcheckError as error:
            yield name, f"gradcheck: {str(error).strip().splitlines()[0]}"


def _difference(found: Tensor, expected: Tensor, tolerance: float) -> str | None:
    """How a tensor differs from the expected one, in words; None where it does not."""
    if not isinstance(found, Tensor):
        return f"is a {type(found).__name__}, not"
    if found.shape != expected.shape:
        return f"has shape {[*found.shape]}, not {[*expected.shape]} as"
    if not found.is_floating_point():
        return None if torch.equal(found, expected) else "differs from"
    if found.dtype != expected.dtype:
        return f"is {found.dtype}, not {expected.dtype} as"
    found, expected = found.detach(), expected.detach()
    finite = expected.isfinite()  # by an infinite scale nothing would be off
    if not torch.equal(found[~finite], expected[~finite]):
        return "is infinite or not a number in other places than"
    if not finite.any():
        return None
    off = (found - expected)[finite].abs().max().item()
    scale = max(1.0, expected[finite].abs().max().item())
    return None if off <= tolerance * scale else f"is off by {off:.3g} (of {scale:.3g}) from"


def _to_array(value: Tensor) -> Array:
    return Array.of(value.tolist())
