"""Run by `test_sanitized`: C files under sanitizers, at sizes where loops end in odd places.

    python sanitized.py FOLDER OPERATION...

An operation is one of the library, or a file of definitions. A copy of each C file has tiles,
blocks and panels of a few elements, so that small sizes cross their borders. What it computes is
held against the interpreter. Prints how many comparisons were made and how many wrong indices were
refused; a sanitizer ends the process at its first report.
"""

from __future__ import annotations

import itertools
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType

import torch
from sympy import Integer
from torch import Generator, Tensor

from codegen.pipeline import compile
from derive import Definition, library
from derive.files import load_definitions
from derive.language.expressions import Axis
from derive.language.places import held, numbers
from gradsmith.emitted import Functions
from gradsmith.proof import reference
from gradsmith.proof.samples import Sample, random_like, random_sample

SMALL = {
    "TILE": "4",
    "BLOCK": "3",
    "FEW": "2",
    "SPAN": "5",
    "KEPT": "4096",
    "LINE": "5",
    "PAST": "8",
    "PARALLEL": "8",
    "HEIGHT": "3",
    "WIDTH": "4",
    "DEPTH": "5",
}
PRIMES = (2, 3, 5, 7, 11, 13)
TOLERANCES = {torch.float64: 1e-9, torch.float32: 2e-4}


def shrunk(text: str) -> str:
    """A C file whose constants are a few elements each."""
    for name, value in SMALL.items():
        text, count = re.subn(rf"\b{name} = (?:[^,/}}]|/(?!\*))+", f"{name} = {value} ", text)
        assert count or not re.search(rf"\b{name}\b", text), name
    return text


def emitted(name: str) -> Iterator[tuple[Definition, ModuleType]]:
    """The operations that a name stands for, each with its module."""
    if not name.endswith(".grad"):
        yield library.load(name), import_module(f"generated.c.{name}")
        return
    for definition in load_definitions(name).values():
        yield definition, compile(definition, "c")


def replaced(module: ModuleType, name: str, folder: Path) -> ModuleType:
    """An operation's module, its functions taken from the shrunk copy of its C file."""
    copy = folder / f"{name}.c"
    if not copy.exists():
        copy.write_text(shrunk(Path(module._SOURCE).read_text()))
    for value in vars(module).values():
        if isinstance(value, module.Function):
            value._source = copy
    return module


def assignments(definition: Definition) -> Iterator[dict[Axis, int]]:
    """Sizes of axes: nothing, one element, primes in either order, each axis empty in turn."""
    axes = definition.axes
    yield dict.fromkeys(axes, 0)
    yield dict.fromkeys(axes, 1)
    primes = list(itertools.islice(itertools.cycle(PRIMES), len(axes)))
    yield dict(zip(axes, primes, strict=True))
    yield dict(zip(axes, reversed(primes), strict=True))
    if len(axes) + len(definition.windows) <= len(PRIMES):  # which make axes longer still
        yield {axis: 9 + 2 * place for place, axis in enumerate(axes)}
    for empty in axes if len(axes) > 1 else ():
        yield {axis: 0 if axis == empty else 3 for axis in axes}


def precisions(place: int) -> list[torch.dtype]:
    """Both for an operation's usual variant; one or the other for each that comes after it."""
    both = [*TOLERANCES]
    return both if place == 0 else [both[place % 2]]


def compared(
    definition: Definition,
    module: ModuleType,
    sizes: Mapping[Axis, int],
    dtypes: Sequence[torch.dtype],
) -> int:
    """How many precisions agree with autograd of the plain interpreter; raises where one does
    not."""
    try:
        sample = random_sample(definition, sizes, Generator().manual_seed(0))
    except RuntimeError:  # there is no index into an axis of size 0
        return 0
    functions = Functions.of(module, definition)
    for dtype in dtypes:
        tolerance = TOLERANCES[dtype]
        where = (definition.full_name, dtype, [*sizes.values()])
        single = sample.to(dtype, requires_grad=True)
        expected = attempted(truth, definition, single, functions.value_and_grad is not None)
        try:
            found = attempted(results, functions, sample.to(dtype))
        except ZeroDivisionError:  # how a composite axis of size 0 splits
            return 0
        assert (found is None) == (expected is None), (*where, "is refused by one alone")
        for a, b in zip(found or [], expected or [], strict=True):
            assert a.dtype == dtype and a.shape == b.shape, (*where, a.shape, b.shape)
            assert torch.allclose(a, b, tolerance, tolerance, equal_nan=True), (*where, a, b)
    return len(dtypes)


def attempted(function: Callable[..., list[Tensor]], *given: object) -> list[Tensor] | None:
    """What a function gives; None where there is no largest element to give."""
    try:
        return function(*given)
    except IndexError:
        return None


def results(functions: Functions, sample: Sample) -> list[Tensor]:
    """Outputs and gradients by forward and backward; with those of the joint function."""
    *outputs, residuals = functions.forward(**sample.inputs, **sample.options)
    found = [*outputs, *functions.backward(*cotangents(outputs), residuals)]
    if functions.value_and_grad is not None:
        value, gradients = functions.value_and_grad(**sample.inputs, **sample.options)
        found += [value, *gradients]
    return found


def truth(definition: Definition, sample: Sample, joint: bool) -> list[Tensor]:
    """The same by the interpreter, with a cotangent of one again if `joint`."""

    def by_autograd(seeds: Callable[[Sequence[Tensor]], Sequence[Tensor]]) -> list[Tensor]:
        values = reference.forward(definition, sample.inputs, sample.options, sample.sizes)
        outputs = [values[name] for name in definition.outputs]
        gradients = reference.gradients(definition, values, seeds(outputs))
        return [*(o.detach() for o in outputs), *(gradients[name] for name in definition.wrt)]

    ones = by_autograd(lambda outputs: [torch.ones_like(o) for o in outputs]) if joint else []
    return by_autograd(cotangents) + ones


def cotangents(outputs: Sequence[Tensor]) -> list[Tensor]:
    return random_like(outputs, Generator().manual_seed(1))


def refused(definition: Definition, module: ModuleType, dtype: torch.dtype) -> int:
    """How many calls with an index out of range raise; raises where one goes through."""
    sizes = {axis: 3 + place for place, axis in enumerate(definition.axes)}
    sample = random_sample(definition, sizes, Generator().manual_seed(0)).to(dtype)
    functions, count = Functions.of(module, definition), 0
    *outputs, residuals = functions.forward(**sample.inputs, **sample.options)
    kept = getattr(residuals, "_asdict", dict)()
    lengths = {axis.size: Integer(size) for axis, size in sample.sizes.items()}
    allowed = numbers(window for _, window in held(definition.lets, definition.tensors))
    for name, ranges in allowed.items():
        firsts = [int(first.xreplace(lengths)) for first, _ in ranges if first is not None]
        ends = [int(end.xreplace(lengths)) for _, end in ranges if end is not None]
        before = [max(firsts) - 1, -(2**62)] if firsts else []
        for wrong in (*before, *([min(ends), 2**62] if ends else [])):
            calls: list[Callable[[], object]] = []
            if name in sample.inputs:
                given = {**sample.inputs, name: spoilt(sample.inputs[name], wrong)}
                for function in filter(None, (functions.forward, functions.value_and_grad)):
                    calls.append(partial(function, **given, **sample.options))
            if name in kept:
                bad = residuals._replace(**{name: spoilt(kept[name], wrong)})
                calls.append(partial(functions.backward, *cotangents(outputs), bad))
            for call in calls:
                try:
                    call()
                except IndexError:
                    count += 1
                else:
                    raise AssertionError((definition.full_name, name, wrong, "is not refused"))
    return count


def spoilt(indices: Tensor, wrong: int) -> Tensor:
    copy = indices.clone()
    copy.view(-1)[-1:] = wrong
    return copy


def main(folder: str, *names: str) -> None:
    torch.set_num_threads(3)
    counts = {"compared": 0, "refused": 0}
    for operation, module in (pair for name in names for pair in emitted(name)):
        module = replaced(module, operation.name, Path(folder))
        for place, definition in enumerate(operation.variants):
            dtypes = precisions(place)
            for sizes in assignments(definition):
                counts["compared"] += compared(definition, module, sizes, dtypes)
            counts["refused"] += refused(definition, module, dtypes[0])
    print(json.dumps(counts))


if __name__ == "__main__":
    main(*sys.argv[1:])
