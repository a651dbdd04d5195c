"""What the README shows is what happens."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
import torch
from click.testing import Result
from torch import Tensor

from codegen import pipeline
from derive.files import load_definitions
from tests.test_rooms import ROOMS

README = Path(__file__).parents[2] / "README.md"
Command = Callable[..., Result]


def definition(name: str) -> str:
    """The README's definition of an operation, as the text of a file."""
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    (block,) = (block for block in blocks if f"{name} = op.build(" in block)
    return block


def stands_there(printed: str) -> bool:
    """Whether what a command prints stands in the README, four spaces before each line."""
    return textwrap.indent(printed.rstrip(), "    ") in README.read_text()


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The README's definition of an operation that the library does not have, as a file."""
    file = tmp_path / "info_nce.py"
    file.write_text(definition("info_nce"))
    return file


def test_the_example_is_shown_with_the_gradient_that_is_printed_there(
    example: Path, gradsmith: Command
) -> None:
    shown = gradsmith("show", "info_nce", "--definitions", example)
    assert shown.exit_code == 0, shown.stderr
    gradient = re.search(r"^Gradient\n(.*?)\n\n", shown.stdout, re.MULTILINE | re.DOTALL)
    assert gradient
    in_readme = {line.strip() for line in README.read_text().splitlines()}
    assert {line.strip() for line in gradient[1].splitlines()} <= in_readme


def test_the_example_is_the_contrastive_loss_and_so_is_its_gradient(example: Path) -> None:
    module = pipeline.compile(load_definitions(example)["info_nce"])
    g = torch.Generator().manual_seed(0)
    u, v = (torch.randn(5, 3, generator=g, dtype=torch.float64) for _ in range(2))
    leaves = u.clone().requires_grad_(), v.clone().requires_grad_()
    scores = leaves[0] @ leaves[1].T / 0.07
    expected = torch.nn.functional.cross_entropy(scores, torch.arange(5))
    loss, gradients = module.value_and_grad(u, v, temperature=0.07)
    torch.testing.assert_close(loss, expected.detach())
    for ours, theirs in zip(gradients, torch.autograd.grad(expected, leaves), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_batch_norm_derivation_stands_there_as_it_prints(gradsmith: Command) -> None:
    assert stands_there(gradsmith("show", "batch_norm", "--wrt", "x", "--steps").stdout)


def test_the_second_order_stands_there_as_it_prints(gradsmith: Command) -> None:
    shown = gradsmith("show", "tanh", "--order", "2").stdout
    assert stands_there(f"$ gradsmith show tanh --order 2\n{shown}")


def test_the_mistake_in_a_text_is_shown_there_as_it_prints(gradsmith: Command) -> None:
    shown = gradsmith("show", "--text", "y[n,k] = exp(x[n,k]) / sum_k(exq(x[n,k]))")
    assert stands_there(shown.stderr)


def test_what_is_called_as_pytorch_calls_it_is_emitted_and_comes_to_the_same(
    tmp_path: Path,
) -> None:
    (file := tmp_path / "losses.py").write_text(definition("mse_loss"))
    emitted = pipeline.compile(load_definitions(file)["mse_loss"]).mse_loss
    native: Callable[..., Tensor] = torch.nn.functional.mse_loss
    g = torch.Generator().manual_seed(0)
    x, target, weight = (torch.rand(2, 3, generator=g, dtype=torch.float64) for _ in range(3))
    x.requires_grad_()
    for reduction, given in product(["none", "mean", "sum"], [None, weight]):
        both = (of(x, target, reduction=reduction, weight=given) for of in (emitted, native))
        found, expected = both
        torch.testing.assert_close(found, expected)
        gradients = [torch.autograd.grad(value.sum(), x) for value in (found, expected)]
        torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_what_the_table_of_rooms_says(room: str) -> None:
    (row,) = re.findall(rf"^\| `{room}/` \|.*\| (.*) \|$", README.read_text(), re.MULTILINE)
    named = set(re.findall(r"\w+", row)) & set().union({"platformdirs"}, *ROOMS.values())
    above = [*ROOMS][: [*ROOMS].index(room)] if "the rooms above" in row else []
    # Of what is emitted, the loader of libraries alone asks where a cache is.
    allowed = ROOMS[room] | ({"platformdirs"} if room == "generated" else set())
    assert named | set(above) == allowed
