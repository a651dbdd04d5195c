"""What a backward pass costs when it runs: kernels, bytes moved, and what was kept for it.

Counted by PyTorch's own dispatch while the chunked form, the simplified form and autograd compute
the same gradients at one shape; a view is no kernel.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from types import ModuleType

import torch
from torch import Generator, Tensor
from torch.utils._pytree import tree_leaves

from codegen import pipeline
from derive.calculus.trace import Derivation
from derive.language.definition import Definition
from derive.language.expressions import Axis, Index
from gradsmith.emitted import Functions
from gradsmith.proof.samples import Sample, random_like, random_sample
from gradsmith.timing.bench import without_residuals
from gradsmith.timing.launches import bytes_of, launches

ELEMENTS = 1 << 15
"""About how many elements the largest tensor has."""

STEPS = 1 << 24
"""As many settings of its letters one let goes through at most, all of which may be in memory."""


@dataclass(frozen=True)
class Running:
    """A backward pass as it ran: kernels, bytes read and written, bytes kept for it."""

    form: str
    kernels: int
    moved: int
    kept: int


@dataclass(frozen=True)
class Costs:
    """Several forms of one backward pass at the same sizes, in float32."""

    sizes: tuple[tuple[str, int], ...]
    forms: tuple[Running, ...]


def costs(derivation: Derivation, simplified: ModuleType) -> Costs:
    """The chunked and the simplified backward pass beside autograd's, each run once.

    Autograd's is left out where the gradients of intermediates are wanted, which it does not keep.
    """
    definition = derivation.definition
    sizes = sizes_for(definition)
    generator = Generator().manual_seed(0)
    sample = random_sample(definition, sizes, generator).to(torch.float32)
    chunked = chunked_module(derivation)
    emitted = Functions.of(simplified, definition)
    forms = [
        _emitted("chunked", Functions.of(chunked, definition), sample),
        _emitted("simplified", emitted, sample),
    ]
    if set(definition.wrt) <= set(sample.inputs):
        forms.insert(0, _by_autograd(definition, emitted, sample))
    return Costs(tuple((axis.size.name, size) for axis, size in sizes.items()), tuple(forms))


def sizes_for(definition: Definition) -> dict[Axis, int]:
    """One size for every axis, so that the largest tensor has about `ELEMENTS` elements, and no let
    goes through more than `STEPS` settings of its letters; larger where others ask for it."""
    rank = max(1, *(len(tensor.indices) for tensor in definition.tensors.values()))
    lets = ({*let.tensor.indices, *let.value.atoms(Index)} for let in definition.lets)
    letters = max(1, *map(len, lets))
    bits = min((ELEMENTS.bit_length() - 1) // rank, (STEPS.bit_length() - 1) // letters)
    return definition.fitted(dict.fromkeys(definition.axes, 1 << bits))


def chunked_module(derivation: Derivation) -> ModuleType:
    """The module of the same derivation with every cotangent named, in memory."""
    definition = replace(derivation.definition, calls=(), chunked=True)
    chunked = replace(derivation, definition=definition)
    module = ModuleType(f"_chunked_{definition.name}")
    exec(compile(pipeline.functions(chunked), "<chunked>", "exec"), module.__dict__)
    return module


def _emitted(form: str, functions: Functions, sample: Sample) -> Running:
    with torch.no_grad():
        *outputs, residuals = functions.forward(**sample.inputs, **sample.options)
        cotangents = random_like(outputs, Generator().manual_seed(1))
        found = launches(lambda: functions.backward(*cotangents, residuals))
    return Running(form, len(found), found.bytes, _size(tree_leaves(residuals)))


def _by_autograd(definition: Definition, functions: Functions, sample: Sample) -> Running:
    leaves = sample.to(torch.float32, requires_grad=True).inputs
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        outputs = without_residuals(functions.forward)(**leaves, **sample.options)
    if not any(output.requires_grad for output in outputs):
        return Running("autograd", 0, 0, _size(kept))
    cotangents = random_like(outputs, Generator().manual_seed(1))
    wanted = [leaves[name] for name in definition.wrt]
    of = partial(torch.autograd.grad, outputs, wanted, cotangents, allow_unused=True)
    found = launches(of)
    return Running("autograd", len(found), found.bytes, _size(kept))


def _size(tensors: Iterable[object]) -> int:
    """The bytes of different tensors, those that share their memory counted once."""
    found = {t.untyped_storage().data_ptr(): bytes_of(t) for t in tensors if isinstance(t, Tensor)}
    return sum(found.values())
