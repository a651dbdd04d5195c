"""What `bench` measures and prints; never how long it takes."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

from derive import library
from gradsmith.cli import main
from gradsmith.emitted import emitted
from gradsmith.makemore import notebook
from gradsmith.timing import bench
from gradsmith.timing.launches import launches

KEYS = ["case", "size", "generated", "chunked", "autograd", "compiled", "native", "kernels"]


def run(*arguments: str) -> tuple[list[dict[str, object]], str]:
    result = CliRunner().invoke(main, ["bench", "--rounds", "1", "--json", *arguments])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout), result.stderr


def test_an_operation_has_three_sizes_and_the_documented_keys() -> None:
    rows, _ = run("tanh", "--no-compile")
    assert [list(row) for row in rows] == [KEYS] * 3
    assert [row["size"] for row in rows] == ["32x32", "256x256", "1024x1024"]
    for row in rows:
        assert row["chunked"] is None and row["compiled"] is None
        assert all(isinstance(row[name], float) for name in ("generated", "autograd", "native"))


def test_an_operator_that_has_no_gradient_by_an_input_is_timed_by_the_others() -> None:
    case = next(bench.operation(library.load("soft_margin_loss")))
    found = case.contestants["native"]()
    assert isinstance(found, tuple)
    assert len(found[1]) == 1  # the gradient by x, and none by target


def test_the_training_step_is_the_case_named_step() -> None:
    ((row,), _) = run("step", "--no-compile")
    assert row["case"] == "step"
    assert row["native"] is None
    assert isinstance(row["chunked"], float)


def test_the_generated_step_launches_at_most_36_kernels() -> None:
    ((row,), _) = run("step", "--no-compile")
    counts = row["kernels"]
    assert isinstance(counts, dict)
    assert counts["generated"] <= 36 < counts["autograd"]
    assert counts["compiled"] is None


def test_a_compiler_that_fails_gives_null_and_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Callable[..., object]) -> Callable[..., object]:
        raise RuntimeError("no compiler on this machine")

    monkeypatch.setattr(torch, "compile", broken)
    rows, messages = run("tanh")
    assert [row["compiled"] for row in rows] == [None] * 3
    assert "tanh 32x32: torch.compile failed" in messages
    assert "no compiler on this machine" in messages


def test_an_unknown_case_is_refused_by_name() -> None:
    result = CliRunner().invoke(main, ["bench", "walrus"])
    assert result.exit_code == 2
    assert "no case 'walrus'; there are step, batch_norm" in result.stderr
    assert "did you mean 'softmax'?" in CliRunner().invoke(main, ["bench", "sofmax"]).stderr


def test_every_contestant_of_a_case_computes_the_same() -> None:
    layer_norm = library.load("layer_norm")
    for case, names in [
        (bench.step(), notebook.Parameters._fields),
        (next(bench.operation(layer_norm)), layer_norm.wrt),
    ]:
        found = {name: call() for name, call in case.contestants.items()}
        expected = _computed(found.pop("autograd"), names)
        assert found
        for contestant, result in found.items():
            for mine, wanted in zip(_computed(result, names), expected, strict=True):
                mine = mine.view_as(wanted)
                assert torch.allclose(mine, wanted, rtol=1e-4, atol=1e-6), contestant


def test_views_are_no_kernels() -> None:
    x = torch.zeros(4, 6)
    assert not len(launches(lambda: x.view(24).reshape(2, 12).T[None].expand(3, 12, 2)))
    assert len(launches(lambda: (x + 1).sum())) == 2


def test_autograd_gets_a_forward_without_what_only_the_emitted_backward_reads() -> None:
    module = emitted(library.load("cross_entropy"))
    bare = bench.without_residuals(module.forward)
    logits, target = torch.randn(4, 3), torch.tensor([0, 2, 1, 1])
    (loss,) = bare(logits, target)
    assert torch.equal(loss, module.forward(logits, target)[0])
    whole = launches(lambda: module.forward(logits, target))
    assert len(launches(lambda: bare(logits, target))) < len(whole)


def _computed(found: object, names: tuple[str, ...]) -> list[Tensor]:
    """What a contestant computes: the value, then the gradients of some names in order."""
    assert isinstance(found, tuple)
    value, gradients = found
    if hasattr(gradients, "_fields"):
        gradients = [getattr(gradients, f"grad_{name}") for name in names]
    return [value if isinstance(value, Tensor) else value[0], *gradients]
