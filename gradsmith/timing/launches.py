"""What a call launches: ATen operations that do arithmetic or move elements, and their bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_VIEWS = {
    *("_unsafe_view", "detach", "empty", "empty_like", "empty_strided"),
    *("new_empty", "new_empty_strided"),
}
"""Operations that are not marked as views and launch nothing either."""


@dataclass(frozen=True)
class Launches:
    """What a call launches: the names of its kernels in order, and how many bytes they move."""

    kernels: tuple[str, ...]
    bytes: int

    def __len__(self) -> int:
        return len(self.kernels)


def launches(call: Callable[[], object]) -> Launches:
    """What a call launches, operations that only make a view or only allocate aside."""
    with _Recorder() as recorder:
        call()
    return Launches(tuple(recorder.kernels), recorder.bytes)


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.kernels: list[str] = []
        self.bytes = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: nothing is compiled here, and to skip the compiler PyTorch would import it first."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if not (func.is_view or name in _VIEWS):
            self.kernels.append(name)
            self.bytes += sum(map(bytes_of, tree_leaves((args, kwargs, result))))
        return result


def bytes_of(value: object) -> int:
    """The memory that a tensor's elements take; what is broadcast counts once."""
    if not isinstance(value, Tensor):
        return 0
    sizes = zip(value.shape, value.stride(), strict=True)
    return value.element_size() * prod(size for size, stride in sizes if stride)
