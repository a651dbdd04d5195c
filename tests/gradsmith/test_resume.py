"""A run that was stopped, however, goes on bit for bit; a finished one goes on to more steps."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
import torch
from click.testing import Result

from gradsmith.makemore import checkpoint
from gradsmith.makemore import dataset as names
from gradsmith.makemore.checkpoint import Options
from gradsmith.makemore.gradients import BACKWARDS, LossAndGradients
from gradsmith.makemore.notebook import Parameters
from gradsmith.makemore.training import Training
from tests.gradsmith.runs import newest, same

pytestmark = pytest.mark.slow

Command = Callable[..., Result]


def options(steps: int) -> Options:
    return Options(steps, "autograd", 0, None, "")


def test_a_resumed_run_reaches_the_same_bits(few_names: Path, tmp_path: Path) -> None:
    data = names.load(few_names)
    with torch.no_grad():
        whole = Training(data, options(60))
        list(whole.advance())
        part = Training(data, options(60))
        for advance in part.advance(stop_every=7):
            if advance.step == 21:
                break
        file = checkpoint.save(tmp_path, part.checkpoint())
        rest = Training(data, options(60), checkpoint.load(file))
        list(rest.advance(stop_every=11))
        assert same(rest.checkpoint(), whole.checkpoint())


@pytest.mark.parametrize(("target", "steps", "every"), [("torch", 2000, 50), ("c", 20_000, 200)])
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_run_ended_in_the_middle_reaches_the_same_bits(
    tmp_path: Path,
    few_names: Path,
    gradsmith: Command,
    interruptible: None,
    c_compiler: None,
    end: signal.Signals,
    target: str,
    steps: int,
    every: int,
) -> None:
    arguments = ["train", "--target", target, "--steps", str(steps), "--quiet"]
    arguments += ["--names", str(few_names), "--checkpoint-every", str(every)]
    ended, whole = tmp_path / "ended", tmp_path / "whole"
    with subprocess.Popen(
        [sys.executable, "-m", "gradsmith", *arguments, "--out", str(ended)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        deadline = time.monotonic() + 60
        while not list(ended.glob("checkpoint-*[1-9]*")) and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(end)
        _, said = process.communicate()
    stopped_at = newest(ended).step
    assert 0 < stopped_at < steps
    assert (f"stopped at step {stopped_at};" in said) == (end == signal.SIGINT)
    resumed = gradsmith("train", "--resume", "--out", ended)
    assert resumed.exit_code == 0, resumed.stderr
    assert f"going on from step {stopped_at}" in resumed.stderr
    assert gradsmith(*arguments, "--out", whole).exit_code == 0
    assert same(newest(ended), newest(whole))


def interrupted_at(call: int, right: LossAndGradients) -> LossAndGradients:
    """The same, but that Ctrl-C is pressed while it is called for the given time."""
    calls = count(1)

    def interrupted(
        parameters: Parameters, X: torch.Tensor, Y: torch.Tensor
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        if next(calls) == call:
            raise KeyboardInterrupt
        return right(parameters, X, Y)

    return interrupted


def test_a_run_interrupted_within_a_block_keeps_the_block_before_and_reaches_the_same_bits(
    tmp_path: Path, few_names: Path, gradsmith: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["train", "--steps", 1200, "--backward", "autograd", "--names", few_names]
    stopped, whole = tmp_path / "a stopped run", tmp_path / "whole"
    with monkeypatch.context() as patch:
        backward = interrupted_at(700, BACKWARDS["autograd"]())
        patch.setitem(BACKWARDS, "autograd", lambda: backward)
        result = gradsmith(*arguments, "--out", stopped)
    assert result.exit_code == 1
    goes_on = f"`gradsmith train --resume --out '{stopped}'` goes on"
    assert f"stopped at step 500; {goes_on}" in result.stderr
    assert newest(stopped).step == 500
    assert gradsmith("train", "--resume", "--out", stopped).exit_code == 0
    assert gradsmith(*arguments, "--out", whole).exit_code == 0
    assert same(newest(stopped), newest(whole))


def test_a_run_interrupted_after_its_last_step_says_how_to_go_on_to_its_results(
    tmp_path: Path, few_names: Path, gradsmith: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(losses: torch.Tensor) -> bytes:
        raise KeyboardInterrupt

    arguments = ["train", "--steps", 20, "--backward", "autograd", "--names", few_names]
    with monkeypatch.context() as patch:
        patch.setattr("gradsmith.makemore.curve.draw", interrupted)
        result = gradsmith(*arguments, "--out", tmp_path / "run")
    assert result.exit_code == 1
    assert "stopped at step 20; `gradsmith train --resume" in result.stderr
    assert not (tmp_path / "run" / "metrics.json").exists()
    assert gradsmith("train", "--resume", "--out", tmp_path / "run").exit_code == 0
    assert (tmp_path / "run" / "metrics.json").exists()


def test_an_interrupt_while_a_stopped_run_is_written_leaves_what_was_there(
    tmp_path: Path, few_names: Path, gradsmith: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    backward = interrupted_at(700, BACKWARDS["autograd"]())
    monkeypatch.setitem(BACKWARDS, "autograd", lambda: backward)
    written, fsync = count(1), os.fsync

    def interrupted(handle: int) -> None:
        if next(written) == 2:
            raise KeyboardInterrupt
        fsync(handle)

    monkeypatch.setattr(os, "fsync", interrupted)
    result = gradsmith(
        *("train", "--steps", 1200, "--backward", "autograd", "--names", few_names),
        *("--out", tmp_path / "run"),
    )
    assert result.exit_code == 1
    assert [file.name for file in (tmp_path / "run").iterdir()] == [
        "checkpoint-000000000.safetensors"
    ]
    assert newest(tmp_path / "run").step == 0


def test_resuming_where_there_is_no_checkpoint_is_refused(
    tmp_path: Path, few_names: Path, gradsmith: Command
) -> None:
    folder = tmp_path / "new"
    result = gradsmith("train", "--resume", "--names", few_names, "--out", folder)
    assert result.exit_code == 2
    assert f"--out {folder}: holds no checkpoint-*.safetensors to resume" in result.stderr
    assert "without --resume a new run begins there" in result.stderr
    assert not folder.exists()


def test_resuming_with_other_options_names_them(
    finished: Path, tmp_path: Path, gradsmith: Command
) -> None:
    other = tmp_path / "other.txt"
    other.write_text("ann\nbob\ncy\n")
    result = gradsmith(
        *("train", "--resume", "--out", finished, "--steps", 9, "--backward", "chunked"),
        *("--seed", 3, "--names", other),
    )
    assert result.exit_code == 2
    for option in ("--steps 9 (the run has done 120)", "--backward chunked", "--seed 3", "--names"):
        assert option in result.stderr


def test_resuming_a_finished_run_changes_nothing(finished: Path, gradsmith: Command) -> None:
    before = newest(finished)
    result = gradsmith("train", "--resume", "--out", finished, "--steps", 120)
    assert result.exit_code == 0, result.stderr
    assert "all 120 steps are done; --steps N goes on to more" in result.stderr
    assert "steps/s" not in result.stderr
    assert same(newest(finished), before)


def test_a_finished_run_goes_on_to_more_steps_as_if_it_had_been_asked_for_them_at_first(
    finished: Path, tmp_path: Path, few_names: Path, gradsmith: Command
) -> None:
    extended = gradsmith("train", "--resume", "--out", finished, "--steps", 200)
    assert extended.exit_code == 0, extended.stderr
    at_once = gradsmith(
        *("train", "--steps", 200, "--backward", "autograd"),
        *("--names", few_names, "--out", tmp_path / "at once"),
    )
    ours, theirs = newest(finished), newest(tmp_path / "at once")
    assert same(ours, theirs)
    assert ours.options == theirs.options
    assert extended.stdout == at_once.stdout


def test_a_run_that_is_stopped_on_its_way_to_more_steps_keeps_to_them(
    finished: Path, gradsmith: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    backward = interrupted_at(1, BACKWARDS["autograd"]())
    with monkeypatch.context() as patch:
        patch.setitem(BACKWARDS, "autograd", lambda: backward)
        assert gradsmith("train", "--resume", "--out", finished, "--steps", 130).exit_code == 1
    assert gradsmith("train", "--resume", "--out", finished).exit_code == 0
    assert newest(finished).step == 130


def test_resuming_with_names_that_changed_since_is_refused(
    finished: Path, few_names: Path, gradsmith: Command
) -> None:
    few_names.write_text("ann\nbob\ncy\n")
    result = gradsmith("train", "--resume", "--out", finished)
    assert result.exit_code == 2
    assert "has changed since the run began" in result.stderr


def test_a_damaged_checkpoint_is_passed_over_and_named(finished: Path, gradsmith: Command) -> None:
    expected = newest(finished)
    damaged = max(finished.glob(checkpoint.PATTERN))
    damaged.write_bytes(damaged.read_bytes()[:100])
    result = gradsmith("train", "--resume", "--out", finished)
    assert f"{damaged.name} is damaged" in result.stderr
    assert same(newest(finished), expected)


def test_a_run_whose_checkpoints_are_all_damaged_is_refused_and_left_as_it_is(
    finished: Path, gradsmith: Command
) -> None:
    for file in finished.glob(checkpoint.PATTERN):
        file.write_bytes(file.read_bytes()[:100])
    before = sorted(file.name for file in finished.iterdir())
    result = gradsmith("train", "--resume", "--out", finished)
    assert result.exit_code == 2
    assert "damaged" in result.stderr and "--overwrite begins anew" in result.stderr
    assert sorted(file.name for file in finished.iterdir()) == before


def test_sampling_from_an_older_checkpoint_says_that_the_newest_is_damaged(
    finished: Path, gradsmith: Command
) -> None:
    newest_file = max(finished.glob(checkpoint.PATTERN))
    newest_file.write_bytes(newest_file.read_bytes()[:100])
    result = gradsmith("sample", finished, "--count", 1)
    assert result.exit_code == 0, result.stderr
    assert f"{newest_file.name} is damaged: passed over" in result.stderr
