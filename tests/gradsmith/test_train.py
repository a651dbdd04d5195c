"""Training: the notebook's steps, what a run writes, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import click
import pytest
import torch
from click.testing import Result

from gradsmith.commands.train import command
from gradsmith.errors import Failure
from gradsmith.makemore import checkpoint, gradients, notebook, runs
from gradsmith.makemore import dataset as names
from gradsmith.makemore.checkpoint import Options
from gradsmith.makemore.gradients import BACKWARDS
from gradsmith.makemore.model import LONGEST, calibrate
from gradsmith.makemore.notebook import Parameters
from gradsmith.makemore.training import Training
from tests.gradsmith.runs import newest

Command = Callable[..., Result]
Found = tuple[torch.Tensor, tuple[torch.Tensor, ...]]


def options(steps: int, backward: str = "autograd") -> Options:
    return Options(steps, backward, 0, None, "")


def test_a_step_is_the_notebooks(few_names: Path) -> None:
    data = names.load(few_names)
    parameters, g = notebook.initialise(len(data.vocabulary), 200, 0)
    parameters = parameters.requiring_grad()
    losses = []
    for _ in range(3):
        batch = notebook.minibatch(data.train, g)
        loss = notebook.loss(parameters, batch.X, batch.Y)
        for p in parameters:
            p.grad = None
        loss.backward()
        for p in parameters:
            assert p.grad is not None
            p.data += -0.1 * p.grad
        losses.append(loss.item())
    training = Training(data, options(3))
    with torch.no_grad():
        list(training.advance())
        ended = training.checkpoint()
    for ours, theirs in zip(ended.parameters, parameters, strict=True):
        torch.testing.assert_close(ours, theirs.detach())
    assert ended.losses.tolist() == pytest.approx(losses)
    assert torch.equal(ended.generator_state, g.get_state())


def test_the_learning_rate_drops_at_an_absolute_step(
    few_names: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gradsmith.makemore.training.DROP_AT", 1)

    def ones(parameters: Parameters, X: torch.Tensor, Y: torch.Tensor) -> Found:
        return torch.tensor(1.0), tuple(torch.ones_like(p) for p in parameters)

    monkeypatch.setitem(BACKWARDS, "autograd", lambda: ones)
    training = Training(names.load(few_names), options(3))
    moved = []
    with torch.no_grad():
        for _ in training.advance(stop_every=1):
            moved.append(training.parameters.b1[0].item())
    assert moved[0] - moved[1] == pytest.approx(0.01, rel=1e-4)
    assert moved[1] - moved[2] == pytest.approx(0.01, rel=1e-4)


def test_a_finished_run_leaves_metrics_a_curve_and_checkpoints(finished: Path) -> None:
    metrics = json.loads((finished / "metrics.json").read_text())
    assert {"steps", "train_loss", "val_loss", "test_loss", "steps_per_second"} <= metrics.keys()
    assert metrics["steps"] == 120
    assert 0 < metrics["train_loss"] < 4
    assert (finished / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert newest(finished).step == 120
    assert not list(finished.glob(".unfinished-*"))


def test_results_go_to_standard_output_and_the_rest_to_standard_error(
    tmp_path: Path, few_names: Path, gradsmith: Command
) -> None:
    result = gradsmith(
        *("train", "--steps", 20, "--backward", "autograd", "--check-every", 10),
        *("--names", few_names, "--out", tmp_path / "run"),
    )
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["parameters", "train", "val", "test"]
    assert len(lines) == 4 + 20
    assert all(name.endswith(".") for name in lines[4:])
    assert "step 10: 7 of 7 gradients approximate" in result.stderr
    assert "20/20" in result.stderr


def test_the_choices_of_backward_are_those_there_are() -> None:
    option = next(p for p in command.params if p.name == "backward")
    assert isinstance(option.type, click.Choice)
    assert list(option.type.choices) == list(BACKWARDS)


def test_quiet_is_silent_on_standard_error(
    tmp_path: Path, few_names: Path, gradsmith: Command
) -> None:
    result = gradsmith(
        *("train", "--steps", 20, "--backward", "autograd", "--quiet"),
        *("--names", few_names, "--out", tmp_path / "run"),
    )
    assert (result.exit_code, result.stderr) == (0, "")


@pytest.mark.parametrize("backward", ["generated", "chunked"])
def test_derived_gradients_train_as_autograd_does(few_names: Path, backward: str) -> None:
    data = names.load(few_names)
    with torch.no_grad():
        theirs, ours = (Training(data, options(1001, b)) for b in ("autograd", backward))
        for run in (theirs, ours):
            list(run.advance(check_every=250))
        difference = ours.checkpoint().losses[1000] - theirs.checkpoint().losses[1000]
    assert difference.abs().item() <= 1e-4


def test_two_runs_do_not_train_in_one_folder(
    tmp_path: Path, few_names: Path, gradsmith: Command
) -> None:
    arguments = ["train", "--steps", 5, "--names", few_names, "--out", tmp_path]
    with runs.claimed(tmp_path):
        refused = gradsmith(*arguments)
    assert refused.exit_code == 2
    assert "another process is training there" in refused.stderr
    assert gradsmith(*arguments).exit_code == 0


def test_a_run_that_is_refused_leaves_no_folder(tmp_path: Path, gradsmith: Command) -> None:
    result = gradsmith("train", "--names", tmp_path / "none.txt", "--out", tmp_path / "new")
    assert result.exit_code == 2
    assert not (tmp_path / "new").exists()


def test_a_folder_that_holds_a_run_is_refused(
    finished: Path, few_names: Path, gradsmith: Command
) -> None:
    arguments = ["train", "--steps", 5, "--backward", "autograd", "--names", few_names]
    refused = gradsmith(*arguments, "--out", finished)
    assert refused.exit_code == 2
    assert "already holds a run" in refused.stderr
    assert newest(finished).step == 120
    assert gradsmith(*arguments, "--out", finished, "--overwrite").exit_code == 0
    assert newest(finished).step == 5
    assert gradsmith(*arguments, "--out", finished, "--overwrite", "--resume").exit_code == 2


def test_three_names_are_enough(tmp_path: Path, gradsmith: Command) -> None:
    few = tmp_path / "three.txt"
    few.write_text("ann\nbob\ncy\n")
    result = gradsmith(
        *("train", "--steps", 3, "--backward", "autograd", "--names", few),
        *("--out", tmp_path / "run"),
    )
    assert result.exit_code == 0, result.stderr
    assert "val -" in result.stdout
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["val_loss"] is None


@pytest.mark.parametrize("name", Parameters._fields)
def test_a_wrong_gradient_is_caught_while_training(
    few_names: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    right = BACKWARDS["autograd"]()
    at = Parameters._fields.index(name)

    def wrong(parameters: Parameters, X: torch.Tensor, Y: torch.Tensor) -> Found:
        loss, found = right(parameters, X, Y)
        # n for n-1, or for b1, whose gradient is zero but for rounding, a term that is not there
        spoilt = found[at] * 31 / 32 + (1e-3 if name == "b1" else 0)
        return loss, (*found[:at], spoilt, *found[at + 1 :])

    monkeypatch.setitem(gradients.BACKWARDS, "generated", lambda: wrong)
    training = Training(names.load(few_names), options(5, "generated"))
    with torch.no_grad(), pytest.raises(Failure, match=f"the gradient of {name} is not autograd's"):
        list(training.advance(check_every=1))


def test_a_loss_that_is_no_number_stops_the_run(
    few_names: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverging(parameters: Parameters, X: torch.Tensor, Y: torch.Tensor) -> Found:
        return torch.tensor(float("nan")), tuple(torch.zeros_like(p) for p in parameters)

    monkeypatch.setitem(BACKWARDS, "autograd", lambda: diverging)
    training = Training(names.load(few_names), options(5))
    with torch.no_grad(), pytest.raises(Failure, match="no longer finite"):
        list(training.advance())


def test_a_run_can_be_sampled_and_evaluated(finished: Path, gradsmith: Command) -> None:
    metrics = json.loads((finished / "metrics.json").read_text())
    sampled = gradsmith("sample", finished, "--count", 3)
    assert sampled.stdout.splitlines() == metrics["samples"][:3]
    assert (
        gradsmith("sample", finished, "--seed", 5).stdout
        == gradsmith("sample", finished, "--seed", 5).stdout
    )
    evaluated = gradsmith("evaluate", finished).stdout.split()
    assert evaluated == [
        *("train", str(metrics["train_loss"])),
        *("val", str(metrics["val_loss"])),
        *("test", str(metrics["test_loss"])),
    ]


def test_a_name_is_cut_off_where_the_model_does_not_end_it(few_names: Path) -> None:
    data = names.load(few_names)
    parameters, g = notebook.initialise(len(data.vocabulary), 200, 0)
    parameters.b2[0] = -1e9
    with torch.no_grad():
        name = calibrate(parameters, data.train).sample(data.vocabulary, g)
    assert len(name) == LONGEST
    assert names.END not in name


def test_a_run_that_was_stopped_is_calibrated_when_it_is_sampled_or_evaluated(
    few_names: Path, tmp_path: Path, gradsmith: Command
) -> None:
    data = names.load(few_names)
    with torch.no_grad():
        training = Training(data, Options(60, "autograd", 0, str(few_names), data.digest))
        for _ in training.advance(stop_every=20):
            break
        checkpoint.save(tmp_path, training.checkpoint())
        expected = calibrate(training.parameters, data.train).loss(data.val)
    assert f"val {expected}" in gradsmith("evaluate", tmp_path).stdout
    assert len(gradsmith("sample", tmp_path, "--count", 2).stdout.split()) == 2


@pytest.mark.parametrize("name", ["sample", "evaluate"])
def test_a_folder_without_a_run_is_named(tmp_path: Path, gradsmith: Command, name: str) -> None:
    result = gradsmith(name, tmp_path)
    assert result.exit_code == 2
    assert f"{tmp_path}: holds no checkpoint" in result.stderr


def test_evaluating_on_characters_the_model_does_not_know_names_them(
    finished: Path, tmp_path: Path, gradsmith: Command
) -> None:
    other = tmp_path / "other.txt"
    other.write_text("ann\nbob\nzoë\n")
    result = gradsmith("evaluate", finished, "--names", other)
    assert result.exit_code == 2
    assert "line 3 has 'ë'" in result.stderr
