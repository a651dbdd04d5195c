"""The notebook's exercises, from emitted gradients, against autograd of the notebook's lines."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import Result

from gradsmith.comparison import compare
from gradsmith.makemore import exercises
from gradsmith.makemore.dataset import Dataset
from gradsmith.makemore.exercises import EXERCISES
from gradsmith.makemore.gradients import committed
from gradsmith.makemore.notebook import Parameters

Command = Callable[..., Result]

LINE = re.compile(
    r"(?P<name>.{15}) \| exact: (True |False) \| approximate: (True |False) \| maxdiff: (\S+)"
)


def test_a_comparison_prints_the_notebooks_line_first() -> None:
    t = torch.tensor([1.0, 2.0])
    row = compare("logits", t, t + 1e-6, t.double())
    ex, app, maxdiff = False, True, (t - (t + 1e-6)).abs().max().item()
    line = f"{'logits':15s} | exact: {ex!s:5s} | approximate: {app!s:5s} | maxdiff: {maxdiff}"
    assert row.line().startswith(line)


def test_a_nan_is_never_exact_or_approximate() -> None:
    t, nan = torch.zeros(2), torch.tensor([0.0, float("nan")])
    row = compare("x", nan, t, t.double())
    assert (row.exact, row.approximate, row.agrees) == (False, False, False)
    assert row.maxdiff != row.maxdiff


def test_a_gradient_without_the_kept_axes_is_compared_element_by_element() -> None:
    column = torch.tensor([[1.0], [2.0]])
    assert compare("x", column.view(-1), column, column.double()).exact


@pytest.mark.parametrize(("number", "count"), [("1", 26), ("2", 1), ("3", 1), ("4", 7)])
def test_an_exercise_prints_a_line_for_each_variable(
    gradsmith: Command, few_names: Path, number: str, count: int
) -> None:
    result = gradsmith("exercise", number, "--names", few_names)
    assert result.exit_code == 0, result.output
    rows = [line for line in result.stdout.splitlines() if LINE.match(line)]
    assert len(rows) == count
    others = [line for line in result.stdout.splitlines() if not LINE.match(line)]
    assert len(others) == (1 if number in "23" else 0)
    assert all("diff: " in line for line in others)


def test_gradients_that_differ_by_rounding_alone_are_no_failure(
    gradsmith: Command, tmp_path: Path
) -> None:
    file = tmp_path / "short.txt"
    file.write_text("a\nb\nc\n")  # batch norm of a few different rows amplifies the rounding
    result = gradsmith("exercise", "1", "--names", file)
    assert "approximate: False" in result.stdout
    assert result.exit_code == 0


def test_a_gradient_that_is_wrong_is_a_failure(
    gradsmith: Command, few_names: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = committed("cross_entropy")
    right = module.value_and_grad

    def wrong(*given: torch.Tensor) -> tuple[torch.Tensor, Any]:
        loss, gradients = right(*given)
        return loss, gradients._replace(grad_logits=gradients.grad_logits * 31 / 32)

    monkeypatch.setattr(module, "value_and_grad", wrong)
    result = gradsmith("exercise", "2", "--names", few_names)
    assert "approximate: False" in result.stdout
    assert result.exit_code == 1


def test_json_has_the_same_rows_and_both_errors(gradsmith: Command, few_names: Path) -> None:
    result = gradsmith("exercise", "1", "--names", few_names, "--json")
    rows = json.loads(result.stdout)
    assert [row["name"] for row in rows] == list(exercises.ORDER)
    for row in rows:
        assert list(row) == [
            *("name", "exact", "approximate", "maxdiff", "error_generated", "error_autograd"),
        ]
        assert row["error_generated"] < 1e-6


def test_an_unknown_exercise_is_a_usage_error(gradsmith: Command) -> None:
    assert gradsmith("exercise", "5").exit_code == 2


def test_a_missing_names_file_is_a_usage_error(gradsmith: Command, tmp_path: Path) -> None:
    result = gradsmith("exercise", "1", "--names", tmp_path / "nobody.txt")
    assert result.exit_code == 2
    assert "there is no such file" in result.stderr


@pytest.mark.parametrize("seed", range(12))
def test_exercise_1_on_the_notebooks_names(notebook_data: Dataset, seed: int) -> None:
    rows = EXERCISES[1](notebook_data, seed).comparisons
    assert len(rows) == 26
    assert all(row.approximate for row in rows)
    assert sum(row.exact for row in rows) >= 11
    assert max(row.maxdiff for row in rows) <= 1.5e-8


@pytest.mark.parametrize("seed", range(8))
def test_exercise_2_on_the_notebooks_names(notebook_data: Dataset, seed: int) -> None:
    (row,) = EXERCISES[2](notebook_data, seed).comparisons
    assert row.approximate
    assert row.maxdiff <= 1e-8
    assert row.error_generated <= 1.5e-9


@pytest.mark.parametrize("seed", range(8))
def test_exercise_3_on_the_notebooks_names(notebook_data: Dataset, seed: int) -> None:
    (row,) = EXERCISES[3](notebook_data, seed).comparisons
    assert row.approximate
    assert row.maxdiff <= 1.9e-9


def test_exercise_4_on_the_notebooks_names(notebook_data: Dataset) -> None:
    rows = EXERCISES[4](notebook_data, 0).comparisons
    assert tuple(row.name for row in rows) == Parameters._fields
    assert all(row.approximate for row in rows)


def test_a_wrong_gradient_is_neither_approximate_nor_as_near_the_truth() -> None:
    truth = torch.randn(32, 8, generator=torch.Generator().manual_seed(0)).double() * 1e-2
    t = truth.float()
    wrong = compare("x", t * 31 / 32, t, truth)
    assert not wrong.approximate
    assert not wrong.agrees
