"""What `gradsmith bench` measures; how fast anything is stands in its output, not here."""

import json

import torch
from click.testing import CliRunner

from gradsmith import bench
from gradsmith.cli import main


def run(*arguments: str) -> list[dict[str, object]]:
    result = CliRunner().invoke(main, ["bench", *arguments, "--json", "--rounds", "1"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_the_training_step_launches_at_most_36_kernels() -> None:
    (step,) = run("step", "--no-compile")
    assert set(step) == {
        *("case", "size", "generated", "chunked", "autograd", "compiled", "native", "kernels")
    }
    kernels = step["kernels"]
    assert isinstance(kernels, dict)
    assert kernels["generated"] <= 36 < kernels["autograd"] < kernels["chunked"]
    assert step["compiled"] is None


def test_an_operation_is_timed_at_three_sizes_beside_its_namesake() -> None:
    rows = run("softmax", "--no-compile")
    assert [row["size"] for row in rows] == [f"{n}x{k}" for n, k in bench.SIZES]
    assert all(row["native"] for row in rows)
    assert all(row["chunked"] is None for row in rows)


def test_views_are_not_counted_as_kernels() -> None:
    x = torch.randn(3, 4)
    assert bench.kernels(lambda: x.T.reshape(2, 6).unsqueeze(0)) == 1  # the copy that it takes
    assert bench.kernels(lambda: x.view(12)[2:]) == 0


def test_an_unknown_case_is_named() -> None:
    result = CliRunner().invoke(main, ["bench", "sofmax"])
    assert result.exit_code == 2
    assert "sofmax" in result.output
