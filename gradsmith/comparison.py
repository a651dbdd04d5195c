"""One gradient held against autograd's: the comparison people know, and who is nearer the truth."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

FURTHER = 4
"""How many times autograd's own error is clearly further from the truth."""


@dataclass(frozen=True)
class Comparison:
    """How a gradient compares with autograd's, as the notebook's `cmp` does.

    The two errors are the largest distances from the float64 gradient at the same inputs.
    """

    name: str
    exact: bool
    approximate: bool
    maxdiff: float
    error_generated: float
    error_autograd: float

    @property
    def agrees(self) -> bool:
        """Whether it is approximately autograd's, or not clearly further from the float64 gradient:
        where that is zero, or nearly, two gradients differ by their rounding alone."""
        return self.approximate or self.error_generated <= FURTHER * self.error_autograd

    def line(self) -> str:
        """The notebook's line, and after it the two errors."""
        return (
            f"{self.name:15s} | exact: {self.exact!s:5s} | approximate: {self.approximate!s:5s} "
            f"| maxdiff: {self.maxdiff:<22} | float64 error: generated {self.error_generated:.1e}, "
            f"autograd {self.error_autograd:.1e}"
        )

    def as_json(self) -> dict[str, str | bool | float]:
        return asdict(self)


def compare(name: str, generated: Tensor, autograd: Tensor, truth: Tensor) -> Comparison:
    """Hold a generated gradient against autograd's, and both against the float64 one.

    A generated gradient may leave out axes of size one that the notebook keeps; it must have as
    many elements. Nothing is replaced first: a nan differs from everything.
    """
    generated = generated.reshape(autograd.shape)
    return Comparison(
        name,
        exact=bool(torch.all(generated == autograd)),
        approximate=torch.allclose(generated, autograd),
        maxdiff=(generated - autograd).abs().max().item(),
        error_generated=(generated.double() - truth).abs().max().item(),
        error_autograd=(autograd.double() - truth).abs().max().item(),
    )
