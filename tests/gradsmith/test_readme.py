"""What the README shows is what happens."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import Result

from codegen import pipeline
from derive.files import load_definitions

README = Path(__file__).parents[2] / "README.md"
Command = Callable[..., Result]


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The README's definition of an operation, as a file."""
    block = re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert block
    file = tmp_path / "info_nce.py"
    file.write_text(block[1])
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
    shown = gradsmith("show", "batch_norm", "--wrt", "x", "--steps").stdout
    indented = "\n".join(f"    {line}" if line else "" for line in shown.rstrip().splitlines())
    assert indented in README.read_text()


def test_the_mistake_in_a_text_is_shown_there_as_it_prints(gradsmith: Command) -> None:
    shown = gradsmith("show", "--text", "y[n,k] = exp(x[n,k]) / sum_k(exq(x[n,k]))").stderr
    indented = "\n".join(f"    {line}" for line in shown.rstrip().splitlines())
    assert indented in README.read_text()
