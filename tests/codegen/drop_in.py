"""Calls of the public functions, those of PyTorch's samples before all, and what they stand for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from derive import library
from gradsmith.proof.opinfo import ORDERS, entries

PUBLIC = [name for name in library.names() if library.load(name).interface is not None]
SAMPLED = [name for name in PUBLIC if entries(name)]


@dataclass(frozen=True)
class Call:
    """The arguments of a public function."""

    given: tuple[Any, ...]
    named: dict[str, Any] = field(default_factory=dict)

    def cast(self, dtype: torch.dtype) -> Call:
        def one(value: Any) -> Any:
            if isinstance(value, Tensor):
                real = value.is_floating_point()
                return value.detach().to(dtype) if real else value.detach().clone()
            return dtype if isinstance(value, torch.dtype) else value

        return Call(tuple(map(one, self.given)), {k: one(v) for k, v in self.named.items()})

    def at(self, function: Callable[..., Tensor], first: Tensor) -> Tensor:
        """Call a function with another value of the first real tensor."""
        place = self.first
        return function(*self.given[:place], first, *self.given[place + 1 :], **self.named)

    @property
    def first(self) -> int:
        reals = (isinstance(v, Tensor) and v.is_floating_point() for v in self.given)
        return list(reals).index(True)


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


LABELS = torch.tensor([0, 2, 1, 2])
OURS = {
    "capped_cross_entropy": Call((drawn(4, 3), LABELS)),
    "distillation_loss": Call((drawn(4, 3), drawn(4, 3).flip(0))),
    "focal_loss": Call((drawn(4, 3), LABELS)),
    "geglu": Call((drawn(3, 4),)),
    "rotary_embedding": Call((drawn(2, 3, 4), drawn(3, 2).cos(), drawn(3, 2).sin())),
    "swiglu": Call((drawn(3, 4),)),
    "normalize": Call((drawn(4, 3),)),
    "softmin": Call((drawn(4, 3), 1)),
}
"""Calls of operations for which PyTorch has no samples."""


def function(name: str) -> Callable[..., Tensor]:
    found = getattr(import_module(f"generated.{name}"), name)
    order = ORDERS.get(name)
    if order is None:
        return found
    return lambda *given, **named: found(*(given[place] for place in order), **named)


def calls(name: str) -> list[Call]:
    """PyTorch's samples of a function in float64, those of any size first."""
    if name in OURS:
        return [OURS[name]]
    offered = (e.sample_inputs("cpu", torch.float64, requires_grad=True) for e in entries(name))
    samples = [sample for each in offered for sample in each]
    found = [Call((s.input, *s.args), s.kwargs) for s in samples]
    return sorted(found, key=lambda c: c.given[0].numel() == 0 or c.given[0].dim() < 2)


def native(name: str) -> Callable[..., Tensor]:
    return entries(name)[0].op


def loss(name: str, call: Call) -> Callable[[Tensor], Tensor]:
    of = function(name)
    return lambda first: call.at(of, first).sin().sum()


def updates(name: str, call: Call) -> bool:
    """Whether running statistics are given, which a transform refuses to change."""
    has_buffers = any(v.updates for v in library.load(name).variants)
    statistics = (*call.given[1:3], call.named.get("running_mean"))
    return has_buffers and any(isinstance(v, Tensor) for v in statistics)
