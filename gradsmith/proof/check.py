"""Proof of an emitted module: against the evaluator, autograd, PyTorch and finite differences.

Nothing that is compared here comes from the emitted forward alone. Tolerances scale with the
gradient and are far below what a dropped term, a flipped sign or N for N - 1 changes. Inputs,
options and cotangents are random and non-uniform, the sizes of axes all different.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import ModuleType

import torch
from torch import Generator, Tensor
from torch.autograd.gradcheck import GradcheckError, gradcheck

from derive.language.definition import Definition
from derive.language.expressions import Axis, StopGradient
from derive.verification.evaluate import Array, evaluate
from derive.verification.points import Point, finite_difference, random_point, two_sizes
from gradsmith.emitted import Functions, emitted
from gradsmith.proof import reference
from gradsmith.proof.namesakes import LOOSER, namesake
from gradsmith.proof.samples import Sample, at_point, random_like, to_torch

FLOAT64 = 1e-9
"""Of the largest element, or of 1 where that is less: rounding takes about 1e-14 of it."""

FLOAT32 = 1e-5
"""The same in float32, beside four times autograd's own distance from float64."""

OVERFLOWN = 1e-3
"""In float32 beside float64 alone, where autograd of the plain formulas overflows."""

DIFFERENCES = 1e-6
"""Of `torch.autograd.gradcheck`, whose central differences are right to about 1e-9."""


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

    def line(self) -> str:
        """In the notebook's format, with the operation and gradcheck before it."""
        return (
            f"{self.op:20s} {self.input:15s} | gradcheck: {self.gradcheck!s:5s} "
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
    rows: list[Row] = []
    for name in definition.wrt:
        wrong = tuple(text for about, text in differences if about in (name, None))
        others = tuple(text for about, text in problems if about in (name, None))
        try:
            exact, approximate, maxdiff = in_float32(trials[0], name)
            said = others + wrong
        except Exception as error:
            exact, approximate, maxdiff = False, False, None
            said = (*others, *wrong, _in_words(error))
        if not approximate and maxdiff is not None:
            said = (*said, f"float32: off by {maxdiff:.3g} from autograd")
        unique = tuple(dict.fromkeys(said))
        rows.append(
            Row(
                definition.full_name,
                name,
                not (wrong or others),
                exact,
                approximate,
                maxdiff,
                unique,
            )
        )
    return rows


@dataclass(frozen=True)
class Trial:
    """An emitted module at one point, beside what it is held against."""

    definition: Definition
    module: ModuleType
    point: Point
    seed: int

    @cached_property
    def sample(self) -> Sample:
        return at_point(self.definition, self.point)

    @cached_property
    def functions(self) -> Functions:
        return Functions.of(self.module, self.definition)

    @property
    def sizes(self) -> Mapping[Axis, int]:
        return self.point.sizes

    @cached_property
    def expected(self) -> Mapping[str, Array]:
        """Every tensor of the definition, from the evaluator."""
        return evaluate(self.definition.lets, self.point.values, self.point.sizes)

    def shape(self, name: str) -> list[int]:
        """A tensor's shape with composite dimensions expanded, as the evaluator has it."""
        return [self.sizes[axis] for axis in self.definition.tensors[name].axes]

    def cotangents(self, outputs: Sequence[Tensor]) -> list[Tensor]:
        return random_like(outputs, Generator().manual_seed(self.seed))

    def emitted_gradients(self, sample: Sample) -> dict[str, Tensor]:
        """The emitted forward, then the emitted backward."""
        outputs, residuals = self.run(sample)
        found = self.functions.backward(*self.cotangents(outputs), residuals)
        return {name: getattr(found, f"grad_{name}") for name in self.definition.wrt}

    def run(self, sample: Sample) -> tuple[list[Tensor], object]:
        *outputs, residuals = self.functions.forward(**sample.inputs, **sample.options)
        return outputs, residuals

    def reference_gradients(self, sample: Sample) -> dict[str, Tensor]:
        """Autograd of the plain interpreter."""
        leaves = _leaves(sample.inputs)
        values = reference.forward(self.definition, leaves, sample.options, sample.sizes)
        outputs = [values[name] for name in self.definition.outputs]
        return reference.gradients(self.definition, values, self.cotangents(outputs))

    def namesake_gradients(self, sample: Sample) -> dict[str, Tensor]:
        """Autograd of PyTorch's own operation for the inputs; empty where there is none."""
        native = namesake(self.definition)
        if native is None:
            return {}
        names = [name for name in self.definition.wrt if name in sample.inputs]
        wanted = _leaves({name: sample.inputs[name] for name in names})
        output = native({**sample.inputs, **wanted}, sample.options)
        return reference.autograd([output], wanted, self.cotangents([output]))

    def higher(
        self, function: Callable[[Mapping[str, Tensor]], list[Tensor]], order: int
    ) -> dict[str, dict[str, Tensor]]:
        """For each gradient, by autograd of a function: its own gradients by inputs and cotangents,
        or, at order 3, those of all these together."""
        inputs = _leaves(self.sample.inputs)
        outputs = function(inputs)
        by = {name: inputs[name] for name in self.definition.wrt}
        seeds = [cotangent.requires_grad_() for cotangent in self.cotangents(outputs)]
        first = reference.autograd(outputs, by, seeds, create_graph=True)
        directions = random_like(list(first.values()), Generator().manual_seed(self.seed + 2))
        by |= {f"grad_{n}": s for n, s in zip(self.definition.outputs, seeds, strict=True)}
        found = {
            name: reference.autograd([gradient], by, [direction], create_graph=True)
            for (name, gradient), direction in zip(first.items(), directions, strict=True)
        }
        if order == 2:
            return found
        for name, gradients in found.items():
            every = list(gradients.values())
            directions = random_like(every, Generator().manual_seed(self.seed + 3))
            found[name] = reference.autograd(every, by, directions, create_graph=True)
        return found

    @cached_property
    def usually(self) -> Trial:
        """The same sizes and other inputs, with options at their defaults where they have one."""
        point = random_point(self.definition, self.sizes, self.seed, usual=True)
        return replace(self, point=point)

    @property
    def usual(self) -> Sample:
        return self.usually.sample


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

    def emitted(inputs: Mapping[str, Tensor]) -> list[Tensor]:
        found = trial.functions.operation(**inputs, **sample.options)
        return [found] if isinstance(found, Tensor) else list(found)

    found, truth = (trial.higher(function, order) for function in (emitted, plainly))
    for name, gradients in truth.items():
        for by, expected in gradients.items():
            if problem := _difference(found[name][by], expected, FLOAT64):
                yield name, f"{words} of grad_{name} by {by} {problem} autograd's"


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
    if found.numel() == 0:
        return None
    off = (found.detach() - expected.detach()).abs().max().item()
    scale = max(1.0, expected.abs().max().item())
    return None if off <= tolerance * scale else f"is off by {off:.3g} (of {scale:.3g}) from"


def _guarded(proof: Proof, trial: Trial) -> list[Problem]:
    try:
        return list(proof(trial))
    except Exception as error:
        return [(None, f"{proof.__name__.removesuffix('_problems')}: {_in_words(error)}")]


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _leaves(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name: value.detach().clone().requires_grad_(value.is_floating_point())
        for name, value in inputs.items()
    }


def _to_array(value: Tensor) -> Array:
    return Array.of(value.tolist())
