"""What a derived backward launches and keeps, beside autograd of the same forward in primitives."""

from __future__ import annotations

import json

import pytest
import torch
from click.testing import CliRunner

from derive import library
from derive.language.definition import Definition
from derive.verification.points import random_point, two_sizes
from gradsmith.cli import main
from gradsmith.proof import reference
from gradsmith.proof.samples import at_point, random_like
from gradsmith.timing import primitives
from gradsmith.timing.kernels import count_kernels, kept
from gradsmith.timing.launches import launches

VARIANTS = [v for name in library.names() for v in library.load(name).variants]

MORE_FORWARD = {"bilinear": 1, "bilinear[no_bias]": 1}
"""Contracting three tensors takes PyTorch's `einsum` a kernel more than multiplying them out."""

KEPT_MORE = {
    # A derivative of four bytes where autograd keeps masks of one, and launches five to nine more.
    "leaky_relu": 4.0,
    "hardsigmoid": 2.0,
    **{f"hinge_embedding_loss{variant}": 4 / 3 for variant in ("", "[sum]", "[none]")},
    # A number a row.
    "normalize[p_1]": 1.003,
}
"""How many times the bytes that autograd keeps are kept, where that is more than once."""


@pytest.mark.parametrize("definition", VARIANTS, ids=lambda v: v.full_name)
def test_a_backward_launches_and_keeps_no_more_than_autograd(definition: Definition) -> None:
    found = count_kernels(definition)
    assert len(found.generated.backward) <= len(found.autograd.backward), found
    more = len(found.generated.both) - len(found.autograd.both)
    assert more <= MORE_FORWARD.get(definition.full_name, 0), found
    assert found.ratio_kept <= KEPT_MORE.get(definition.full_name, 1), found


@pytest.mark.parametrize("name", library.names())
def test_the_forward_in_primitives_is_the_definitions(name: str) -> None:
    definition = library.load(name)
    sizes = two_sizes(definition)[0]
    sample = at_point(definition, random_point(definition, sizes, 0)).to(torch.float64, True)
    given = (definition, sample.inputs, sample.options, sample.sizes)
    mine, theirs = primitives.forward(*given), reference.forward(*given)
    outputs = [theirs[output] for output in definition.outputs]
    cotangents = random_like(outputs, torch.Generator().manual_seed(0))
    for output in definition.outputs:
        torch.testing.assert_close(mine[output], theirs[output])
    gradients = [reference.gradients(definition, v, cotangents) for v in (mine, theirs)]
    for wrt in definition.wrt:
        torch.testing.assert_close(gradients[0][wrt], gradients[1][wrt])


def test_what_only_makes_a_view_or_allocates_launches_nothing() -> None:
    x = torch.zeros(4, 6)
    assert not launches(lambda: x.view(24)[None].expand(3, 24)).kernels
    assert not launches(lambda: torch.empty_like(x)).kernels


def test_bytes_are_those_of_what_is_read_and_written() -> None:
    x, row = torch.zeros(4, 6), torch.zeros(6)
    found = launches(lambda: x + row.expand(4, 6))
    assert found.kernels == ("add",)
    assert found.bytes == 4 * (24 + 6 + 24)


def test_the_command_prints_a_line_a_variant_and_the_mean() -> None:
    result = CliRunner().invoke(main, ["bench", "--kernels", "mse_loss", "softmax"])
    assert result.exit_code == 0, result.output
    assert [line.split()[0] for line in result.stdout.splitlines()] == [
        *(v.full_name for v in library.load("mse_loss").variants),
        "softmax",
    ]
    assert "of autograd's kernels on average over 2 operations" in result.stderr


def test_the_counts_are_there_as_json() -> None:
    result = CliRunner().invoke(main, ["bench", "--kernels", "--json", "softmax"])
    (row,) = json.loads(result.stdout)
    assert list(row) == ["case", "kernels", "kernels_with_forward", "bytes", "kept"]
    assert row["kernels"]["generated"] < row["kernels"]["autograd"]
    ahead = row["kernels_with_forward"]
    assert ahead["generated"] < ahead["autograd"]
    for bytes_ in (row["bytes"], row["kept"]):
        assert bytes_["generated"] < bytes_["autograd"]


def test_what_several_operations_keep_counts_once() -> None:
    x = torch.ones(1000, requires_grad=True)
    assert kept(lambda: x * x + x.exp().sin()) == 2 * x.nbytes
    assert kept(lambda: x + 1) == 0
