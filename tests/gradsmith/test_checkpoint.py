"""A checkpoint appears whole or not at all, and holds all that a run needs to go on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gradsmith.makemore import checkpoint, notebook
from gradsmith.makemore.checkpoint import Checkpoint, DamagedCheckpoint, Options
from gradsmith.makemore.model import Calibration


@pytest.fixture
def at_start() -> Checkpoint:
    parameters, g = notebook.initialise(27, 8, 0)
    calibration = Calibration(torch.zeros(1, 8), torch.ones(1, 8))
    options = Options(10, "autograd", 0, None, "abc")
    vocabulary = tuple(".abcdefghijklmnopqrstuvwxyz")
    return Checkpoint(
        options, vocabulary, 0, 0.0, parameters, calibration, g.get_state(), torch.empty(0)
    )


def after(start: Checkpoint, step: int) -> Checkpoint:
    return replace(start, step=step, losses=torch.rand(step))


def test_what_is_saved_is_what_is_loaded(tmp_path: Path, at_start: Checkpoint) -> None:
    saved = after(at_start, 3)
    loaded = checkpoint.load(checkpoint.save(tmp_path, saved))
    assert (loaded.options, loaded.vocabulary, loaded.step) == (
        saved.options,
        saved.vocabulary,
        saved.step,
    )
    for ours, theirs in zip(loaded.parameters, saved.parameters, strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(loaded.losses, saved.losses)
    drawn, expected = (torch.rand(5, generator=c.generator()) for c in (loaded, saved))
    assert torch.equal(drawn, expected)


def test_the_newest_two_are_kept_and_nothing_unfinished(
    tmp_path: Path, at_start: Checkpoint
) -> None:
    for step in (0, 5, 10, 1_000_000_000):
        checkpoint.save(tmp_path, after(at_start, min(step, 20)) if step < 100 else at_start)
    steps = sorted(checkpoint.load(file).step for file in tmp_path.iterdir())
    assert steps == [5, 10]


@pytest.mark.parametrize("left", [0, 7, 3000])
def test_a_cut_off_checkpoint_is_passed_over_for_the_one_before(
    tmp_path: Path, at_start: Checkpoint, left: int
) -> None:
    checkpoint.save(tmp_path, after(at_start, 5))
    cut = checkpoint.save(tmp_path, after(at_start, 10))
    cut.write_bytes(cut.read_bytes()[:left])
    with pytest.raises(DamagedCheckpoint):
        checkpoint.load(cut)
    found, damaged = checkpoint.newest(tmp_path)
    assert found is not None
    assert (found.step, damaged) == (5, [cut])


def test_a_folder_without_a_checkpoint_has_no_newest_one(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-000000005.safetensors.part").write_bytes(b"x")
    assert checkpoint.newest(tmp_path) == (None, [])
    assert not checkpoint.holds_run(tmp_path)


def test_clearing_leaves_what_is_not_a_runs(tmp_path: Path, at_start: Checkpoint) -> None:
    mine = tmp_path / "notes.txt"
    mine.write_text("mine")
    checkpoint.save(tmp_path, at_start)
    checkpoint.clear(tmp_path)
    assert list(tmp_path.iterdir()) == [mine]
