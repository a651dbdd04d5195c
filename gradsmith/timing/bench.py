"""Timings: generated code beside autograd, PyTorch's own operators and torch.compile.

The contestants of a case take their turn in every round of one run, so that a noisy machine
is noisy to all of them; each one's median is reported.
"""

from __future__ import annotations

import ast
import inspect
import statistics
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from math import prod
from types import FunctionType, ModuleType
from typing import Any

import torch
from torch import Generator, Tensor

from derive.language.definition import Definition
from gradsmith.emitted import emitted
from gradsmith.makemore import notebook
from gradsmith.makemore.gradients import emitted_arguments
from gradsmith.proof.namesakes import namesake
from gradsmith.proof.samples import Sample, random_like, random_sample
from gradsmith.timing.launches import launches

Contestant = Callable[[], object]

CONTESTANTS = ("generated", "chunked", "autograd", "compiled", "native")

SIZES = (10, 16, 20)
"""An operation's three cases: the binary logarithm of its largest tensor's elements."""

TURN = 0.005
"""Seconds that one contestant's turn takes, of as many calls as fit."""


@dataclass(frozen=True)
class Case:
    """What is timed together: functions without arguments that all compute the same gradients.

    `to_compile` makes one more of a forward pass, once `torch.compile` has been at it.
    """

    name: str
    size: str
    contestants: Mapping[str, Contestant]
    to_compile: Callable[[Callable[..., Any]], Contestant]


@dataclass(frozen=True)
class Result:
    """A case's medians in microseconds and its kernels, by contestant; None: does not apply."""

    case: str
    size: str
    microseconds: Mapping[str, float]
    kernels: Mapping[str, int]

    def ratio(self, contestant: str) -> float | None:
        """How many times as fast the generated code is as a contestant."""
        theirs = self.microseconds.get(contestant)
        return theirs and theirs / self.microseconds["generated"]

    def as_json(self) -> dict[str, object]:
        times = {name: self.microseconds.get(name) for name in CONTESTANTS}
        kernels = {name: self.kernels.get(name) for name in CONTESTANTS}
        return {"case": self.case, "size": self.size, **times, "kernels": kernels}


def step() -> Case:
    """One training step of the character model, batch 32 and 200 hidden: loss and gradients."""
    parameters, g = notebook.initialise(27, notebook.HIDDEN, 0)
    X = torch.randint(0, 27, (notebook.BATCH, 3), generator=g)
    Y = torch.randint(0, 27, (notebook.BATCH,), generator=g)
    leaves = parameters.requiring_grad()
    named = emitted_arguments(parameters, X, Y)

    def plain(operation: str) -> Contestant:
        function = import_module(f"generated.{operation}").value_and_grad
        return torch.no_grad()(lambda: function(**named))

    def under_autograd(loss: Callable[..., Tensor]) -> Contestant:
        def run() -> object:
            value = loss(leaves, X, Y)
            return value, torch.autograd.grad(value, tuple(leaves))

        return run

    contestants = {
        "generated": plain("makemore_mlp"),
        "chunked": plain("makemore_mlp_chunked"),
        "autograd": under_autograd(notebook.loss),
    }
    return Case(
        "step", "32x200", contestants, lambda compiler: under_autograd(compiler(notebook.loss))
    )


def operation(definition: Definition) -> Iterator[Case]:
    """An operation's forward and backward by plain calls, at each of `SIZES`, in float32.

    Autograd differentiates the emitted forward, less what only the emitted backward reads.
    """
    module = emitted(definition)
    tensors = list(definition.tensors.values())
    rank = max(1, *(len(t.indices) for t in tensors))
    for bits in SIZES:
        sizes = definition.fitted(dict.fromkeys(definition.axes, 1 << bits // rank))
        largest = max(tensors, key=lambda t: prod(sizes[axis] for axis in t.axes))
        shape = "x".join(str(sizes[axis]) for axis in largest.axes)
        generator = Generator().manual_seed(bits)
        sample = random_sample(definition, sizes, generator).to(torch.float32)
        yield _operation_case(definition, module, sample, shape, generator)


def _operation_case(
    definition: Definition, module: ModuleType, sample: Sample, shape: str, generator: Generator
) -> Case:
    inputs, options = sample.inputs, sample.options
    *outputs, _ = module.forward(**inputs, **options)
    cotangents = random_like(outputs, generator)
    leaves = sample.to(torch.float32, requires_grad=True).inputs
    wanted = [leaves[name] for name in definition.wrt if name in leaves]

    def plain() -> object:
        *values, residuals = module.forward(**inputs, **options)
        return values, module.backward(*cotangents, residuals)

    def under_autograd(forward: Callable[..., Sequence[Tensor]]) -> Contestant:
        def run() -> object:
            values = forward(**leaves, **options)
            return values, torch.autograd.grad(values, wanted, cotangents)

        return run

    bare = without_residuals(module.forward)
    contestants = {"generated": torch.no_grad()(plain), "autograd": under_autograd(bare)}
    if (operator := native(definition, sample, cotangents)) is not None:
        contestants["native"] = operator
    return Case(
        definition.name, shape, contestants, lambda compiler: under_autograd(compiler(bare))
    )


def native(
    definition: Definition, sample: Sample, cotangents: Sequence[Tensor]
) -> Contestant | None:
    """PyTorch's own operator, forward and backward, by the inputs that it has gradients for; None
    where it has no such operator."""
    operator = namesake(definition)
    if operator is None:
        return None

    def is_differentiable(name: str) -> bool:
        leaf = sample.inputs[name].detach().clone().requires_grad_()
        try:
            return operator({**sample.inputs, name: leaf}, sample.options).requires_grad
        except RuntimeError:  # "not differentiable with respect to argument 'target'"
            return False

    names = [name for name in definition.wrt if is_differentiable(name)]
    leaves = {name: sample.inputs[name].detach().clone().requires_grad_() for name in names}
    values, wanted = {**sample.inputs, **leaves}, list(leaves.values())

    def run() -> object:
        value = operator(values, sample.options)
        return (value,), torch.autograd.grad(value, wanted, cotangents)

    return run


def without_residuals(forward: Callable[..., Any]) -> Callable[..., Sequence[Tensor]]:
    """An emitted forward that returns its outputs only, and computes nothing else."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(forward)))
    (function,) = tree.body
    assert isinstance(function, ast.FunctionDef)
    *statements, last = function.body
    assert isinstance(last, ast.Return) and isinstance(last.value, ast.Tuple)
    last.value.elts.pop()
    kept: list[ast.stmt] = [last]
    read = _names(last)
    for statement in reversed(statements):
        if _makes(statement) & read:
            kept.insert(0, statement)
            read |= _names(statement)
    function.body, function.returns = kept, None
    assert isinstance(forward, FunctionType)
    names = dict(forward.__globals__)
    exec(compile(ast.fix_missing_locations(tree), "<forward>", "exec"), names)
    made = names[function.name]
    assert isinstance(made, FunctionType)
    return made


def _makes(statement: ast.stmt) -> set[str]:
    """The names that a statement binds or, by an augmented assignment or a method, changes."""
    if isinstance(statement, ast.Assign):
        return set().union(*(_names(target) for target in statement.targets))
    if isinstance(statement, ast.AugAssign):
        return _names(statement.target)
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        function = statement.value.func
        return _names(function.value) if isinstance(function, ast.Attribute) else set()
    return set()


def _names(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def measure(case: Case, rounds: int, compile: bool, say: Callable[[str], None]) -> Result:
    """Time a case; where torch.compile fails, `say` is told and it has no figure."""
    contestants = dict(case.contestants)
    if compile:
        try:
            torch.compiler.reset()
            compiled = case.to_compile(torch.compile)
            compiled()
            contestants["compiled"] = compiled
        except Exception as error:  # whatever a compiler on this machine may raise
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            say(f"{case.name} {case.size}: torch.compile failed and is left out: {reason}")
    counted = {name: len(launches(call)) for name, call in case.contestants.items()}
    return Result(case.name, case.size, medians(contestants, rounds), counted)


def medians(contestants: Mapping[str, Contestant], rounds: int) -> dict[str, float]:
    """The median microseconds of each contestant's call; all have a turn in every round."""
    repeats = {name: _repeats(call) for name, call in contestants.items()}
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, call in contestants.items():
            times[name].append(_seconds(call, repeats[name]))
    return {name: statistics.median(each) * 1e6 for name, each in times.items()}


def _repeats(call: Contestant) -> int:
    """How many calls fit in one turn, after one to warm up."""
    call()
    return max(1, int(TURN / _seconds(call, 1)))


def _seconds(call: Contestant, repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats
