"""Public functions on the sample inputs that PyTorch tests its own operations with.

PyTorch ships them as `op_db`, a table of `OpInfo`; reading it needs the package `expecttest`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Generator, Tensor

from gradsmith.errors import UserError
from gradsmith.proof.namesakes import LOOSER

DTYPES = (torch.float32, torch.float64)
TOLERANCES = {torch.float32: 1e-5, torch.float64: 1e-10}
"""Of the largest element, or of 1 where that is less."""

ORDERS = {"embedding": (1, 0)}
"""Where an entry gives the arguments in another order than the function takes them."""

SKIPPED = {
    ("embedding", "max_norm"): "it writes to the table that is looked up in",
    ("embedding", "scale_grad_by_freq"): "it counts how often a row is looked up",
    ("embedding", "sparse"): "its gradient is no dense tensor",
}
"""The arguments for which a sample is left out, and why."""

LOOSER_ON_CUDA = {"hardswish": 1e-7}
"""Where PyTorch is less exact in float64 there alone: its sixth is a number of float32."""

_PREFIXES = ("nn.functional.", "", "linalg.")


KINDS = ("float32", "float32 strided", "float64", "float64 strided", "errors")
"""What is counted apart: samples as they come, the same not contiguous, and inputs to refuse."""


@dataclass
class Count:
    """How many samples of an operation's entries agree, by kind, and what is wrong with others."""

    op: str
    all: Counter[str] = field(default_factory=Counter)
    agreed: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def line(self) -> str:
        """`mse_loss | float32 6/6 | ...`."""
        parts = [f"{kind} {self.agreed[kind]:3d}/{self.all[kind]:3d}" for kind in KINDS]
        return " | ".join([f"{self.op:34s}", *parts])

    def add(self, kind: str, where: str, problem: str | None) -> None:
        self.all[kind] += 1
        if problem:
            self.problems.append(f"{where}: {problem}")
        else:
            self.agreed[kind] += 1


def entries(name: str) -> list[Any]:
    """PyTorch's entries for an operation; empty where it has none.

    Raises:
        UserError: the package that they need is not installed.
    """
    try:
        from torch.testing._internal.common_methods_invocations import op_db
    except ModuleNotFoundError as error:
        raise UserError(f"PyTorch's samples need the package {error.name!r}") from None
    wanted = {prefix + name for prefix in _PREFIXES}
    return [entry for entry in op_db if entry.name in wanted and entry.supports_autograd]


def require_device(device: str) -> None:
    """Raise UserError where PyTorch computes nothing on a device, by its name."""
    try:
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:  # unknown; or not in this build of PyTorch
        raise UserError(f"device {device!r}: {str(error).splitlines()[0]}") from None


def count(name: str, function: Callable[..., Tensor], device: str = "cpu") -> Count:
    """Hold a public function against every sample of its namesake, in float32 and float64."""
    result = Count(name)
    if name in ORDERS:
        function = _reordered(function, ORDERS[name])
    for entry in entries(name):
        for dtype in DTYPES:
            if dtype not in entry.supported_dtypes(torch.device(device).type):
                continue
            kind, tolerance = str(dtype).removeprefix("torch."), TOLERANCES[dtype]
            tolerance = max(tolerance, LOOSER.get(name, 0.0), _looser_on(device).get(name, 0.0))
            for sample in samples(name, entry, dtype, device):
                for case, how in ((sample, kind), (sample.noncontiguous(), f"{kind} strided")):
                    problem = next(_problems(entry.op, function, case, tolerance), None)
                    result.add(how, f"{entry.name} {how} {_described(case)}", problem)
        if entry.error_inputs_func is not None:
            for case in entry.error_inputs(device):
                where = f"{entry.name} {_described(case.sample_input)}"
                result.add("errors", where, _accepted(function, case))
    return result


def _looser_on(device: str) -> Mapping[str, float]:
    return LOOSER_ON_CUDA if torch.device(device).type == "cuda" else {}


def samples(name: str, entry: Any, dtype: torch.dtype, device: str = "cpu") -> Iterator[Any]:
    """The samples of an entry with gradients, those that it has more for reference, and without.

    PyTorch draws some only where no gradient is asked for.
    """
    drawn = [
        *entry.reference_inputs(device, dtype, requires_grad=True),
        *entry.sample_inputs(device, dtype, requires_grad=False),
    ]
    for sample in drawn:
        if not any(sample.kwargs.get(argument) for op, argument in SKIPPED if op == name):
            yield sample


def _reordered(function: Callable[..., Tensor], order: Sequence[int]) -> Callable[..., Tensor]:
    return lambda *given, **named: function(*(given[place] for place in order), **named)


def _problems(
    native: Callable[..., Tensor], function: Callable[..., Tensor], case: Any, tolerance: float
) -> Iterator[str]:
    """What differs between a function and its namesake at one sample: value, then gradients.

    Where PyTorch's own result is further from that in float64, it is no measure.
    """
    expected = _Result.of(native, case)
    try:
        found = _Result.of(function, case)
    except Exception as error:
        yield f"raises {type(error).__name__}: {str(error)[:200]}"
        return
    mine, theirs = found.value, expected.value
    if mine.dtype != theirs.dtype or mine.shape != theirs.shape:
        yield f"is {mine.dtype} {[*mine.shape]}, not {theirs.dtype} {[*theirs.shape]}"
        return
    exact = None
    for name, mine, theirs in zip(found.names, found.tensors, expected.tensors, strict=True):
        if _close(mine, theirs, tolerance):
            continue
        if name != "value" and _is_of_no_number(case, expected):
            continue
        exact = exact or _Result.of(native, case, torch.float64)
        truth = exact.tensors[found.names.index(name)]
        if not _off(mine.double(), truth) <= _off(theirs.double(), truth):
            yield f"{name} off by {_off(mine, theirs):.3g}"


def _is_of_no_number(case: Any, expected: _Result) -> bool:
    """Whether an input and the value for it are not numbers: no gradient there means anything."""
    given = (case.input, *case.args, *case.kwargs.values())
    real = (v for v in given if isinstance(v, Tensor) and v.is_floating_point())
    return bool(expected.value.isnan().any()) and any(bool(v.isnan().any()) for v in real)


@dataclass(frozen=True)
class _Result:
    """A value, and the gradients of whatever asks for one, for a random cotangent."""

    value: Tensor
    gradients: tuple[Tensor, ...]

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return self.value.detach(), *self.gradients

    @property
    def names(self) -> list[str]:
        return ["value", *(f"gradient {place}" for place in range(len(self.gradients)))]

    @classmethod
    def of(
        cls, function: Callable[..., Tensor], case: Any, dtype: torch.dtype | None = None
    ) -> _Result:
        """Call a function at a sample, in another precision if one is given."""

        def fresh(value: Any) -> Any:
            """A copy, so that a buffer that is updated does not reach the next call."""
            if not isinstance(value, Tensor):
                return dtype if dtype and isinstance(value, torch.dtype) else value
            if not value.requires_grad and not value.is_floating_point():
                return value
            wanted = dtype or value.dtype
            copy = value if value.requires_grad else value.clone()
            return copy.to(wanted) if wanted != value.dtype else copy

        arguments = [fresh(v) for v in (case.input, *case.args)]
        named = {name: fresh(v) for name, v in case.kwargs.items()}
        given = (case.input, *case.args, *case.kwargs.values())
        leaves = [v for v in given if isinstance(v, Tensor) and v.requires_grad]
        value = function(*arguments, **named)
        if not value.requires_grad:
            return cls(value, ())
        generator = Generator().manual_seed(0)
        cotangent = torch.randn(value.shape, generator=generator, dtype=torch.float64)
        found = torch.autograd.grad(value, leaves, cotangent.to(value), allow_unused=True)
        pairs = zip(found, leaves, strict=True)
        return cls(value, tuple(torch.zeros_like(v) if g is None else g for g, v in pairs))


def _accepted(function: Callable[..., Tensor], case: Any) -> str:
    """Why an input that is an error was not refused as one; empty where it was."""
    sample = case.sample_input
    try:
        function(sample.input, *sample.args, **sample.kwargs)
    except case.error_type:
        return ""
    except Exception as error:
        return f"raises {type(error).__name__} for {case.error_type.__name__}: {error}"
    return f"is accepted where PyTorch raises {case.error_type.__name__}"


def _close(a: Tensor, b: Tensor, tolerance: float) -> bool:
    """Whether two tensors are one but for rounding; what is infinite or no number has no scale."""
    finite = b.detach()[b.detach().isfinite()]
    scale = max(1.0, finite.abs().max().item()) if finite.numel() else 1.0
    return torch.allclose(a, b, rtol=tolerance, atol=tolerance * scale, equal_nan=True)


def _off(a: Tensor, b: Tensor) -> float:
    return (a - b).detach().abs().max().item()


def _described(sample: Any) -> str:
    """A sample's arguments in a word each."""
    parts: Sequence[str] = [_word(v) for v in (sample.input, *sample.args)]
    named = [f"{k}={_word(v)}" for k, v in sample.kwargs.items()]
    return f"({', '.join([*parts, *named])})"


def _word(value: object) -> str:
    return f"{[*value.shape]}" if isinstance(value, Tensor) else repr(value)
