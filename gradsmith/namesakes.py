"""What PyTorch or the notebook has for an operation of the library: a forward not emitted here."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from derive import library
from derive.language import Definition, DefinitionError
from gradsmith import notebook
from gradsmith.notebook import Parameters

Values = Mapping[str, Tensor]
Options = Mapping[str, float]
Namesake = Callable[[Values, Options], Tensor]


def _batch_norm(v: Values, o: Options) -> Tensor:
    return F.batch_norm(
        v["x"], None, None, v["weight"], v["bias"], training=True, momentum=0.0, eps=o["eps"]
    )


def _layer_norm(v: Values, o: Options) -> Tensor:
    return F.layer_norm(v["x"], v["weight"].shape, v["weight"], v["bias"], o["eps"])


def _makemore_mlp(v: Values, _: Options) -> Tensor:
    rows = {name: v[name].view(1, -1) for name in ("bngain", "bnbias")}
    parameters = {name: rows.get(name, v[name]) for name in Parameters._fields}
    return notebook.loss(Parameters(**parameters), v["Xb"], v["Yb"])


_TABLE: dict[str, Namesake] = {
    "batch_norm": _batch_norm,
    "cross_entropy": lambda v, _: F.cross_entropy(v["logits"], v["target"]),
    "embedding": lambda v, _: F.embedding(v["tokens"], v["weight"]),
    "layer_norm": _layer_norm,
    "linear": lambda v, _: F.linear(v["x"], v["weight"], v["bias"]),
    "log_softmax": lambda v, _: F.log_softmax(v["x"], 1),
    "makemore_mlp": _makemore_mlp,
    "makemore_mlp_chunked": _makemore_mlp,
    "mse_loss": lambda v, _: F.mse_loss(v["x"], v["target"]),
    "rms_norm": lambda v, o: F.rms_norm(v["x"], v["weight"].shape, v["weight"], o["eps"]),
    "sigmoid": lambda v, _: torch.sigmoid(v["x"]),
    "softmax": lambda v, _: F.softmax(v["x"], 1),
    "tanh": lambda v, _: torch.tanh(v["x"]),
}


def namesake(definition: Definition) -> Namesake | None:
    """PyTorch's own forward of a library operation, right where options have their defaults.

    None for a definition that is not the library's, whatever its name.
    """
    return _TABLE.get(definition.name) if in_library(definition) else None


def in_library(definition: Definition) -> bool:
    """Whether the library has this very definition."""
    try:
        return library.load(definition.name) == definition
    except DefinitionError:
        return False
