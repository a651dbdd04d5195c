"""Arguments that mean something by their name: what they mean to PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Convention:
    """What an argument is whose name alone says it: no tensor, no option, and no choice.

    `kind` is what it may be, as it is annotated, and `does` what docstrings say of it, in which
    `{primary}` is the first tensor. It has this meaning where an axis has one of the `roles`, if
    there are any, and next to the arguments `beside`. Where it is not `checked`, any value passes.
    """

    kind: str
    does: str
    roles: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    checked: bool = True


CONVENTIONS: Mapping[str, Convention] = {
    "dim": Convention(
        "int | Sequence[int] | None",
        "the dimension along which arguments are halved, and results joined",
        roles=("dim", "along"),
    ),
    "normalized_shape": Convention(
        "Sequence[int]", "the sizes of the last dimensions", roles=("features",)
    ),
    "num_groups": Convention("int", "how many groups of channels there are", roles=("group",)),
    "keepdim": Convention(
        "bool",
        "whether the dimensions that are reduced stay, with size 1",
        roles=("dim", "along", "last", "channel"),
    ),
    "dtype": Convention(
        "torch.dtype | None", "the dtype to which {primary} is converted first, or None"
    ),
    "inplace": Convention(
        "bool", "whether {primary} is overwritten with the result", checked=False
    ),
    "size_average": Convention(
        "bool | None",
        "PyTorch's older form of reduction, which decides if both this and reduce are None",
        beside=("reduce", "reduction"),
    ),
    "reduce": Convention(
        "bool | None",
        "PyTorch's older form of reduction, which decides if both this and size_average are None",
        beside=("size_average", "reduction"),
    ),
    "unbiased": Convention(
        "bool | None",
        "PyTorch's older form of correction, which decides if this is None",
        beside=("dim", "correction"),
    ),
    "_stacklevel": Convention("int", "accepted as PyTorch does, and ignored", checked=False),
}
"""By name. `Builder.called` tells users of them."""

NAMED_BY = {
    role: name
    for name in ("dim", "normalized_shape", "num_groups")
    for role in CONVENTIONS[name].roles
}
"""The argument that says which dimensions a role is, of those roles that need one."""
