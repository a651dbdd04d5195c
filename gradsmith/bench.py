"""Timings: generated code beside autograd, PyTorch's own operators and torch.compile.

The contestants of a case are timed in turn within one run, round after round, so that a
noisy machine is noisy to all of them; what is reported is each one's median.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from derive.expressions import Axis
from derive.language import Definition
from gradsmith import notebook
from gradsmith.namesakes import namesake
from gradsmith.samples import random_sample

Contestant = Callable[[], object]

SIZES = ((32, 32), (256, 128), (2048, 128))
"""The sizes of an operation's cases: of the first axis, and of every other one."""

VIEWS = (
    frozenset({"alias", "as_strided", "detach", "diagonal", "expand", "permute", "select", "slice"})
    | {"split", "squeeze", "t", "transpose", "unbind", "unsqueeze", "view", "lift_fresh"}
    | {"_unsafe_view", "_reshape_alias"}
)
"""ATen operations that launch no kernel."""


@dataclass(frozen=True)
class Result:
    """One case: medians in microseconds, None where a contestant does not apply, and kernels."""

    case: str
    size: str
    generated: float
    chunked: float | None
    autograd: float
    compiled: float | None
    native: float | None
    kernels: dict[str, int]

    @property
    def ratio(self) -> float:
        """How many times as fast as autograd the generated code is."""
        return self.autograd / self.generated

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class _Kernels(TorchDispatchMode):
    """Counts the ATen operations that launch a kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        name = func.overloadpacket.__name__
        self.count += name not in VIEWS
        return func(*args, **(kwargs or {}))


def kernels(contestant: Contestant) -> int:
    """How many kernels one call launches; views and the like are not counted."""
    with _Kernels() as counter:
        contestant()
    return counter.count


def medians(contestants: Mapping[str, Contestant], rounds: int) -> dict[str, float]:
    """The median microseconds of each contestant's call, all of them timed in every round."""
    repeats = {name: _repeats(call) for name, call in contestants.items()}
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, call in contestants.items():
            start = time.perf_counter()
            for _ in range(repeats[name]):
                call()
            times[name].append((time.perf_counter() - start) / repeats[name] * 1e6)
    return {name: statistics.median(each) for name, each in times.items()}


def _repeats(call: Contestant) -> int:
    """Calls that take about five milliseconds together, after one to warm up."""
    call()
    start = time.perf_counter()
    call()
    return max(1, round(0.005 / max(time.perf_counter() - start, 1e-7)))


def step(rounds: int, compile: bool) -> Result:
    """One training step's loss and gradients, at the notebook's sizes: hidden 200, batch 32."""
    parameters, g = notebook.initialise(27, 200, 0)
    X = torch.randint(0, 27, (32, 3), generator=g)
    Y = torch.randint(0, 27, (32,), generator=g)
    leaves = parameters.requiring_grad()
    named: dict[str, Tensor] = {**parameters._asdict(), "Xb": X, "Yb": Y}
    for name in ("bngain", "bnbias"):
        named[name] = named[name].reshape(-1)

    def emitted(name: str) -> Contestant:
        function = import_module(f"generated.{name}").value_and_grad
        return torch.no_grad()(lambda: function(**named))

    def under_autograd(loss: Callable[..., Tensor]) -> Contestant:
        def run() -> object:
            return torch.autograd.grad(loss(leaves, X, Y), tuple(leaves))

        return run

    contestants = {
        "generated": emitted("makemore_mlp"),
        "chunked": emitted("makemore_mlp_chunked"),
        "autograd": under_autograd(notebook.loss),
    }
    if compile:
        contestants["compiled"] = under_autograd(torch.compile(notebook.loss))
    return _result("step", "32x200", contestants, rounds)


def operation(definition: Definition, rounds: int, compile: bool) -> Iterator[Result]:
    """Forward and backward of one library operation, plain calls, at each of `SIZES`."""
    module = import_module(f"generated.{definition.name}")
    for first, other in SIZES:
        sizes: dict[Axis, int] = dict.fromkeys(definition.axes, other)
        sizes[definition.inputs[0].axes[0]] = first
        sample = random_sample(definition, sizes, torch.Generator().manual_seed(0))
        sample = sample.to(torch.float32)
        leaves = sample.to(torch.float32, requires_grad=True)
        wanted = [leaves.inputs[name] for name in definition.wrt if name in leaves.inputs]
        contestants = _contestants(definition, module, sample, leaves, wanted, compile)
        yield _result(definition.name, f"{first}x{other}", contestants, rounds)


def _contestants(
    definition: Definition, module: ModuleType, sample: Any, leaves: Any, wanted: Any, compile: bool
) -> dict[str, Contestant]:
    inputs, options = dict(sample.inputs), dict(sample.options)
    outputs = module.forward(**inputs, **options)[0]
    cotangent = torch.randn_like(outputs)

    def generated() -> object:
        _, residuals = module.forward(**inputs, **options)
        return module.backward(cotangent, residuals)

    def differentiated(forward: Callable[[], Tensor]) -> Contestant:
        return lambda: torch.autograd.grad(forward(), wanted, cotangent)

    def plain() -> Tensor:
        return module.forward(**leaves.inputs, **leaves.options)[0]

    contestants: dict[str, Contestant] = {
        "generated": torch.no_grad()(generated),
        "autograd": differentiated(plain),
    }
    own = namesake(definition)
    if own is not None:
        contestants["native"] = differentiated(lambda: own(leaves.inputs, leaves.options))
    if compile:
        contestants["compiled"] = differentiated(torch.compile(plain))
    return contestants


def _result(case: str, size: str, contestants: dict[str, Contestant], rounds: int) -> Result:
    counted = {n: kernels(call) for n, call in contestants.items() if n != "compiled"}
    times = medians(contestants, rounds)
    return Result(
        case=case,
        size=size,
        generated=times["generated"],
        chunked=times.get("chunked"),
        autograd=times["autograd"],
        compiled=times.get("compiled"),
        native=times.get("native"),
        kernels=counted,
    )
