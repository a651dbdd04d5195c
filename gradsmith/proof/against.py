"""Somebody's own backward, held against the derived one, and what is wrong with it.

Where a gradient differs, the derived backward is interpreted again with one slip after another
made in it on purpose: the one that reproduces the wrong gradient at two points of different sizes
is the likely mistake.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from sympy import Float, Rational
from torch import Generator, Tensor

from derive.calculus.trace import Derivation
from derive.derivation import derive
from derive.files import execute
from derive.language.definition import Definition, Let
from derive.language.expressions import Axis
from derive.verification.points import random_point, two_sizes
from gradsmith.emitted import Functions, emitted
from gradsmith.errors import Failure, UserError
from gradsmith.proof import reference
from gradsmith.proof.proofs import FLOAT64
from gradsmith.proof.samples import Sample, at_point, random_like
from gradsmith.proof.slips import slips

Backward = Callable[..., object]

ALIKE = 1e-6
"""How near a spoilt gradient comes to the wrong one, of its largest element, to explain it."""


@dataclass(frozen=True)
class Verdict:
    """What is said of one gradient: how far off it is, and the slip that explains it."""

    name: str
    agrees: bool
    problem: str = ""
    explanation: str = ""

    def line(self) -> str:
        if not self.problem:
            return f"{self.name:15s} | agrees"
        because = f"\n{'':15s} | {self.explanation}" if self.explanation else ""
        return f"{self.name:15s} | {self.problem}{because}"


def load(place: str) -> Backward:
    """The function at `FILE.py:FUNCTION`.

    Raises:
        UserError: the place is not of that form, or the file has no such function.
        DefinitionError: the file cannot be executed; the message has the line.
    """
    path, colon, name = place.rpartition(":")
    if not colon or not name.isidentifier():
        raise UserError(f"--against {place}: it takes FILE.py:FUNCTION")
    function = getattr(execute(Path(path)), name, None)
    if not callable(function):
        raise UserError(f"{path} has no function {name!r}")
    return function


def judge(
    definition: Definition,
    backward: Backward,
    seed: int = 0,
    options: Mapping[str, float] | None = None,
) -> list[Verdict]:
    """One verdict for each gradient of a definition, and one for each argument written to.

    Options take the values in `options`; else random ones where the function has a parameter of
    that name, and their defaults where it has not.

    Raises:
        UserError: a parameter of the function has a name that nothing here has, or what it
            returns is no gradient of this definition.
        Failure: the function raises.
    """
    derivation = derive(definition)
    fixed = _fixed_options(definition, backward, options or {})
    scenes = [Scene.at(derivation, sizes, fixed, backward, seed) for sizes in two_sizes(definition)]
    written = [name for name in scenes[0].written if all(name in s.written for s in scenes)]
    verdicts = [_verdict(derivation, name, scenes) for name in definition.wrt]
    return verdicts + [
        Verdict(name, False, "written to: others may still read it") for name in written
    ]


@dataclass(frozen=True)
class Scene:
    """One point: what the derived backward is computed from, the truth, and their answer."""

    values: Mapping[str, Tensor]
    options: Mapping[str, float]
    sizes: Mapping[Axis, int]
    truth: Mapping[str, Tensor]
    theirs: Mapping[str, Tensor | None]
    written: tuple[str, ...]
    """The arguments that their function changed in place."""

    @classmethod
    def at(
        cls,
        derivation: Derivation,
        sizes: Mapping[Axis, int],
        fixed: Mapping[str, float],
        backward: Backward,
        seed: int,
    ) -> Scene:
        definition = derivation.definition
        sample = at_point(definition, random_point(definition, sizes, seed))
        sample = replace(sample, options={**sample.options, **fixed})
        sample = sample.to(torch.float64, requires_grad=True)
        graph = reference.forward(definition, sample.inputs, sample.options, sizes)
        outputs = [graph[name] for name in definition.outputs]
        cotangents = random_like(outputs, Generator().manual_seed(seed))
        truth = reference.gradients(definition, graph, cotangents)
        plain = {name: value.detach() for name, value in graph.items()}
        known = reference.follow(
            [let for let in derivation.forward if let.name not in plain],
            derivation.tensors,
            plain,
            sample.options,
            sizes,
        )
        seeds = {t.name: c for t, c in zip(derivation.seeds, cotangents, strict=True)}
        theirs, written = _their_answer(definition, backward, known, seeds, sample)
        return cls({**known, **seeds}, sample.options, sizes, truth, theirs, written)

    def derived(self, derivation: Derivation, lets: tuple[Let, ...], name: str) -> Tensor:
        """The gradient of a name as the lets of a backward pass have it, spoilt or not."""
        tensors = derivation.tensors | {let.name: let.tensor for let in lets}
        values = reference.follow(lets, tensors, self.values, self.options, self.sizes)
        return values[dict(derivation.backward.gradients)[name].name]


def _verdict(derivation: Derivation, name: str, scenes: list[Scene]) -> Verdict:
    label = f"grad_{name}"
    for scene in scenes:
        theirs, truth = scene.theirs[name], scene.truth[name]
        if theirs is None:
            return Verdict(label, agrees=True, problem="not returned")
        if theirs.shape != truth.shape:
            return Verdict(
                label, False, f"wrong: shape {[*theirs.shape]}, {name} has {[*truth.shape]}"
            )
        if bad := int((~theirs.isfinite()).sum()):
            return Verdict(label, False, f"wrong: {bad} of {theirs.numel()} elements not finite")
    off = max(_distance(scene.theirs[name], scene.truth[name]) for scene in scenes)
    size = max(scene.truth[name].abs().max().item() for scene in scenes)
    if off <= FLOAT64 * max(1.0, size):
        return Verdict(label, agrees=True)
    problem = f"wrong: off by up to {off:.3g}, where the gradient is up to {size:.3g}"
    return Verdict(label, False, problem, _explain(derivation, name, scenes))


def _explain(derivation: Derivation, name: str, scenes: list[Scene]) -> str:
    """The first slip that gives their gradient at every point, in words; empty if none does."""
    for slip in slips(derivation, name):
        if all(
            _alike(scene.derived(derivation, slip.lets, name), scene.theirs[name])
            for scene in scenes
        ):
            return slip.words
    return ""


def _their_answer(
    definition: Definition,
    backward: Backward,
    values: Mapping[str, Tensor],
    seeds: Mapping[str, Tensor],
    sample: Sample,
) -> tuple[dict[str, Tensor | None], tuple[str, ...]]:
    """Call their function with what its parameters' names ask for.

    Returns:
        What it returns, by name, and the names of the arguments that it wrote to.
    """
    given: dict[str, object] = {**values, **sample.options, **seeds}
    if len(seeds) == 1:
        given["grad_output"] = next(iter(seeds.values()))
    given = {n: v.clone() if isinstance(v, Tensor) else v for n, v in given.items()}
    parameters = inspect.signature(backward).parameters
    if "residuals" in parameters:
        inputs = sample.to(torch.float64).inputs
        *_, given["residuals"] = Functions.of(emitted(definition), definition).forward(
            **inputs, **sample.options
        )
    arguments = {name: _argument(p, given) for name, p in parameters.items()}
    try:
        with torch.no_grad():
            answer = backward(**arguments)
    except (Exception, SystemExit) as error:
        raise Failure(f"the function raises {type(error).__name__}: {error}") from error
    before = {**values, **seeds, "grad_output": next(iter(seeds.values()))}
    written = [
        name
        for name, value in arguments.items()
        if name in before and isinstance(value, Tensor) and not torch.equal(value, before[name])
    ]
    return _named(definition, answer), tuple(written)


def _fixed_options(
    definition: Definition, backward: Backward, asked: Mapping[str, float]
) -> dict[str, float]:
    """The options that do not vary: those asked for, and those the function does not take."""
    known = {o.name: o.default for o in definition.options}
    for name in asked:
        if name not in known:
            options = ", ".join(known) or "none"
            raise UserError(f"{definition.name} has no option {name!r}; it has {options}")
    for option in definition.options:
        value = asked.get(option.name)
        if value is None:
            continue
        exact = Rational(value) if math.isfinite(value) else Float(value)
        if option.refuses(exact):
            raise UserError(f"--option {option.name}={value:g}: it is {option.wanted}")
    taken = inspect.signature(backward).parameters
    defaults = {n: d for n, d in known.items() if d is not None and n not in taken}
    return {**defaults, **asked}


def _argument(parameter: inspect.Parameter, given: Mapping[str, object]) -> object:
    if parameter.name in given:
        return given[parameter.name]
    if parameter.default is not inspect.Parameter.empty:
        return parameter.default
    raise UserError(
        f"there is nothing to pass for the parameter {parameter.name!r}; "
        f"there are residuals, {', '.join(sorted(given))}"
    )


def _named(definition: Definition, answer: object) -> dict[str, Tensor | None]:
    """Their gradients by name of what they are the gradients of."""
    wrt = definition.wrt
    if isinstance(answer, Tensor):
        answer = (answer,)
    if isinstance(answer, tuple) and (fields := getattr(answer, "_fields", None)):
        answer = dict(zip(fields, answer, strict=True))
    if isinstance(answer, Mapping):
        named = {str(key).removeprefix("grad_"): value for key, value in answer.items()}
        unknown = [name for name in named if name not in wrt]
    elif isinstance(answer, tuple | list) and len(answer) <= len(wrt):
        named, unknown = dict(zip(wrt, answer, strict=False)), []
    else:
        named, unknown = {}, [f"a {type(answer).__name__}"]
    if unknown:
        raise UserError(
            f"the function returns {unknown[0]}; it should return gradients of {', '.join(wrt)}"
        )
    for name, value in named.items():
        if not isinstance(value, Tensor | None):
            raise UserError(f"the gradient of {name} is a {type(value).__name__}, not a tensor")
    return {name: named.get(name) for name in wrt}


def _distance(a: Tensor | None, b: Tensor) -> float:
    """The largest difference."""
    assert a is not None
    return (a.double() - b.double()).abs().max().item()


def _alike(a: Tensor, b: Tensor | None) -> bool:
    return b is not None and _distance(b, a) <= ALIKE * b.abs().max().item()
