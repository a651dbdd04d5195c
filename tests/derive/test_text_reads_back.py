"""What is printed, read back as Python, has the value of the expression that it stands for."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from derive import Definition, Index, Let, library
from derive.derivation import derive
from derive.files import load_definitions
from derive.printing.text import arrangement_of, text
from derive.verification.evaluate import Array
from derive.verification.verify import surroundings


class Element:
    """A tensor of floats for `eval`: `x[n,c]` is an element, a 0-d tensor is its number."""

    def __init__(self, array: Array) -> None:
        self.array = array

    def __getitem__(self, indices: int | tuple[int, ...]) -> Any:
        value = self.array[indices]
        return value if isinstance(value, int) else float(value)


def over(sizes: Mapping[str, int], join: Callable[[list[float]], float]) -> Callable[..., float]:
    """What stands for `sum_`: the letters' names, then the body as a function of them."""

    def call(letters: str, body: Callable[..., float]) -> float:
        ranges = [range(sizes[letter]) for letter in letters.split(",")]
        return join([body(*setting) for setting in itertools.product(*ranges)])

    return call


def as_python(formula: str) -> str:
    """`sum_n(x[n,c])` as `sum_("n", lambda n: x[n,c])`, which Python can read."""
    pattern = r"\b(sum|prod|argmax)_(?:\{([\w,]+)\}|(\w+))\("

    def opened(found: re.Match[str]) -> str:
        letters = found[2] or found[3]
        return f'{found[1]}_("{letters}", lambda {letters}: '

    return re.sub(r"\bstop_gradient\(", "(", re.sub(pattern, opened, formula))


FUNCTIONS: dict[str, Any] = {
    **{name: getattr(math, name) for name in ("exp", "log", "sqrt", "tanh", "sin", "cos", "erf")},
    "pi": math.pi,
    "abs": abs,
    "max": max,
    "min": min,
    "sign": lambda v: (v > 0) - (v < 0),
    "delta": lambda i, j: int(i == j),
    "where": lambda condition, yes, no: yes if condition else no,
}


def check(definition: Definition) -> None:
    """Every forward let, gradient and step, at a random point."""
    derivation = derive(definition)
    here = next(surroundings(derivation))
    lets = [*derivation.forward, *derivation.simplified.lets]
    lets += [Let(step.tensor, step.after) for step in derivation.steps]
    sizes = {
        letter.name: here.point.sizes[letter.axis]
        for let in lets
        for letter in {*let.value.atoms(Index), *let.tensor.indices}
    }
    names = {
        **FUNCTIONS,
        **{axis.name.upper(): size for axis, size in here.point.sizes.items()},
        "sum_": over(sizes, sum),
        "prod_": over(sizes, math.prod),
        "argmax_": over(sizes, lambda values: values.index(max(values))),
        "__builtins__": {},
    }
    for name, array in here.known.items():
        names[name] = Element(array) if array.shape else float(array.values[0])
    arrangement = arrangement_of(derivation)
    for let in lets:
        formula = as_python(text(let.value, arrangement))
        expected = here.value(let.value, let.tensor.indices)
        for setting in itertools.product(*map(range, expected.shape)):
            letters = {i.name: at for i, at in zip(let.tensor.indices, setting, strict=True)}
            found = eval(formula, names | letters)
            assert found == pytest.approx(float(expected[setting]), rel=1e-9, abs=1e-9), formula


@pytest.mark.parametrize("name", [n for n in library.names() if not n.startswith("makemore")])
def test_what_is_printed_of_the_library_means_what_was_derived(name: str) -> None:
    check(library.load(name))


@pytest.mark.parametrize("name", ["activations", "layers", "losses"])
def test_what_is_printed_of_other_definitions_means_what_was_derived(name: str) -> None:
    file = Path(__file__).parents[1] / "definitions" / f"{name}.py"
    for definition in load_definitions(file).values():
        check(definition)
