"""Timings of the C target: beside PyTorch's own operators, and beside what the machine can do.

What can be had is measured in the same run: how fast matrices are multiplied, and in turn with
the loops how fast memory is copied. The bytes that an operation must move are those of its inputs,
outputs and residuals, each once in the pass that reads or writes it.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import ModuleType

import torch
from torch import Generator, Tensor

from derive.language.definition import Definition
from derive.language.expressions import Axis
from generated.c import loader
from gradsmith.emitted import emitted
from gradsmith.makemore import gradients, notebook
from gradsmith.makemore.dataset import Split
from gradsmith.proof.samples import random_like, random_sample
from gradsmith.timing.bench import Contestant, medians, native

SHAPES = ((32, 27), (256, 1024), (4096, 1024), (1024, 32000))
USUAL = ("cross_entropy", "batch_norm", "layer_norm", "rms_norm", "softmax")
"""The operations that are timed where none is named: those that PyTorch has fused."""

THREADS = 2
STEPS = 500
"""Training steps in one call."""


@dataclass(frozen=True)
class Products:
    """Floating-point operations a second in a product of matrices, on one thread."""

    rate: float

    def line(self) -> str:
        return f"matrix product 512x512x512 | {self.rate / 1e9:.0f} GFLOP/s"

    def as_json(self) -> dict[str, object]:
        return {"case": "products", **vars(self)}


def products(rounds: int) -> Products:
    """Measure how fast the machine multiplies."""
    a, b, out = torch.randn(512, 512), torch.randn(512, 512), torch.empty(512, 512)
    microseconds = medians({"product": lambda: torch.mm(a, b, out=out)}, rounds)["product"]
    return Products(2 * 512**3 / microseconds * 1e6)


@dataclass(frozen=True)
class Loops:
    """Medians in microseconds of an operation's forward and backward in one shape.

    `c` is that of plain calls of the emitted functions, `native` that of PyTorch's operator
    under autograd, `loops` and `threads` those of the C functions alone, on one thread and on
    THREADS. `copied` is how many bytes a second a copy of a tensor of that shape reads and writes,
    timed in turn with these; `bandwidth` is that of the loops on one thread, in parts of it.
    """

    case: str
    shape: tuple[int, int]
    c: float
    native: float | None
    loops: float
    threads: float
    copied: float
    bandwidth: float

    def line(self) -> str:
        beside = (
            f"native {self.native:.1f} us ({self.c / self.native:.2f}) | " if self.native else ""
        )
        return (
            f"{self.case:14s} {_name(self.shape):11s} | c {self.c:.1f} us | {beside}loops "
            f"{self.loops:.1f} us, {self.bandwidth:.2f} of a copy's {self.copied / 1e9:.1f} GB/s | "
            f"{THREADS} threads {self.loops / self.threads:.2f}x"
        )

    def as_json(self) -> dict[str, object]:
        return {**vars(self), "shape": _name(self.shape)}


def operation(definition: Definition, rounds: int) -> Iterator[Loops]:
    """An operation's forward and backward at each of `SHAPES`, in float32."""
    module = emitted(definition, "c")
    for shape in SHAPES:
        yield _timed(definition, module, shape, rounds)


def _timed(
    definition: Definition, module: ModuleType, shape: tuple[int, int], rounds: int
) -> Loops:
    # The C library learns from this that memory of that size is asked for again, and keeps it: else
    # whoever comes next pays for fresh pages, or not, by chance.
    torch.empty(31 << 20, dtype=torch.uint8)
    generator = Generator().manual_seed(prod(shape))
    sample = random_sample(definition, _sizes(definition.axes, shape), generator)
    sample = sample.to(torch.float32)
    inputs, options = sample.inputs, sample.options
    *outputs, residuals = module.forward(**inputs, **options)
    cotangents = random_like(outputs, generator)
    gradients = module.backward(*cotangents, residuals)
    forward = _alone(module, "_forward", lambda: module.forward(**inputs, **options))
    backward = _alone(module, "_backward", lambda: module.backward(*cotangents, residuals))

    def plain() -> object:
        *_, kept = module.forward(**inputs, **options)
        return module.backward(*cotangents, kept)

    source, target = torch.randn(shape), torch.empty(shape)
    contestants: dict[str, Contestant] = {
        "copy": lambda: target.copy_(source),
        "c": plain,
        "loops": lambda: (forward(1), backward(1)),
        "threads": lambda: (forward(THREADS), backward(THREADS)),
    }
    if (operator := native(definition, sample, cotangents)) is not None:
        contestants["native"] = operator
    times = medians(contestants, rounds)
    kept = [t for t in residuals if isinstance(t, Tensor)]
    given = {t.data_ptr() for t in inputs.values()}
    moved = _bytes([*inputs.values(), *outputs, *(t for t in kept if t.data_ptr() not in given)])
    moved += _bytes([*kept, *cotangents, *gradients])
    copied = 2 * source.nbytes / times["copy"] * 1e6
    return Loops(
        definition.name,
        shape,
        times["c"],
        times.get("native"),
        times["loops"],
        times["threads"],
        copied,
        moved / times["loops"] * 1e6 / copied,
    )


def _alone(module: ModuleType, name: str, run: Callable[[], object]) -> Callable[[int], object]:
    """A C function alone, on a number of threads: called as a run of its binding calls it."""
    functions = vars(module)[name]
    function = functions[torch.float32]
    handed: list[tuple[float, ...]] = []

    def once(*arguments: float) -> None:
        handed.append(arguments)
        function(*arguments)

    functions[torch.float32] = once
    try:
        result = run()
    finally:
        functions[torch.float32] = function
    (arguments,) = handed

    def again(threads: int, alive: object = result) -> None:
        function(*arguments[:-1], threads)

    return again


def _sizes(axes: Sequence[Axis], shape: tuple[int, int]) -> dict[Axis, int]:
    """The rows of a shape for the first axis and its columns for the last; one axis has all."""
    if len(axes) == 1:
        return {axes[0]: prod(shape)}
    return {**dict.fromkeys(axes, 1), axes[0]: shape[0], axes[-1]: shape[1]}


def _bytes(tensors: Sequence[Tensor]) -> int:
    return sum(t.nbytes for t in {t.data_ptr(): t for t in tensors}.values())


def _name(shape: tuple[int, int]) -> str:
    return "x".join(map(str, shape))


@dataclass(frozen=True)
class Training:
    """Microseconds of one training step of the character model, its update included."""

    c: float
    torch: float
    autograd: float

    def line(self) -> str:
        return (
            f"step           32x200      | c {self.c:.1f} us | torch {self.torch:.0f} us "
            f"({self.torch / self.c:.1f}x) | autograd {self.autograd:.0f} us "
            f"({self.autograd / self.c:.1f}x)"
        )

    def as_json(self) -> dict[str, object]:
        return {"case": "step", **vars(self)}


def step(rounds: int) -> Training:
    """Training steps of the character model, batch 32 and 200 hidden, on random data."""
    parameters, g = notebook.initialise(27, notebook.HIDDEN, 0)
    data = Split(
        torch.randint(0, 27, (9999, 3), generator=g), torch.randint(0, 27, (9999,), generator=g)
    )
    samples = torch.randint(0, len(data), (STEPS, notebook.BATCH), generator=g)
    few = samples[: STEPS // 10]

    def taken(steps: gradients.Steps, samples: Tensor) -> Contestant:
        return torch.no_grad()(lambda: steps(parameters, data, samples, 1e-3))

    times = medians(
        {
            "c": taken(gradients.steps("generated", "c"), samples),
            "torch": taken(gradients.steps("generated", "torch"), few),
            "autograd": taken(gradients.steps("autograd", "torch"), few),
        },
        rounds,
    )
    return Training(times["c"] / STEPS, times["torch"] / len(few), times["autograd"] / len(few))


def seconds_to_compile(definition: Definition) -> float:
    """How long the first use of an operation takes to compile it: the usual variant, in float32."""
    source = Path(emitted(definition, "c").__file__ or "").with_suffix(".c")
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        loader.build(source, ("-DVARIANT=0",), Path(folder) / "built.so")
        return time.perf_counter() - start
