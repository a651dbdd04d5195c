"""A run in a folder: begun or resumed, its checkpoints written, its results at the end."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
from filelock import FileLock, Timeout

from codegen.writer import write_whole
from gradsmith.errors import Failure, UserError
from gradsmith.makemore import checkpoint
from gradsmith.makemore import dataset as names
from gradsmith.makemore.checkpoint import Checkpoint, Options
from gradsmith.makemore.dataset import Dataset
from gradsmith.makemore.model import Model, calibrate
from gradsmith.makemore.training import Advance, Training

METRICS = "metrics.json"
CURVE = "loss.png"
LOCK = ".lock"
SAMPLES = 20

FLAGS = {"backward": "backward", "seed": "seed", "target": "target", "digest": "names"}
"""The options that a run keeps to, and the flag that states each: a names file is its content.

Its steps may be others, since a shorter run is the beginning of a longer one.
"""


class RunError(UserError):
    """A folder or options that do not fit the run they are meant for."""


@dataclass(frozen=True)
class Request:
    """What a caller asks of `train`; `stated` names the options that were given, not defaults."""

    steps: int
    backward: str
    seed: int
    names: Path | None
    target: str
    stated: frozenset[str]

    def options(self, digest: str) -> Options:
        file = str(self.names.absolute()) if self.names else None
        return Options(self.steps, self.backward, self.seed, file, digest, self.target)


@dataclass(frozen=True)
class Results:
    """What is known at the end; a loss is None where a small data set left the split empty."""

    steps: int
    train_loss: float | None
    val_loss: float | None
    test_loss: float | None
    steps_per_second: float
    parameters: int
    backward: str
    target: str
    seed: int
    samples: tuple[str, ...]


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """The folder of a run, for this process alone; one that was made and stays empty goes again.

    Raises RunError where it cannot be made, or another process trains in it.
    """
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK, timeout=0)
        lock.acquire()
    except Timeout:
        raise RunError(f"--out {folder}: another process is training there") from None
    except OSError as error:
        raise RunError(f"--out {folder}: cannot be made a folder: {error.strerror}") from None
    try:
        yield
    finally:
        (folder / LOCK).unlink(missing_ok=True)
        lock.release()
        if made and not any(folder.iterdir()):
            folder.rmdir()


def earlier(folder: Path, resume: bool, overwrite: bool) -> tuple[Checkpoint | None, list[Path]]:
    """What to go on from, None to begin afresh; and the newer checkpoints that are damaged.

    Raises RunError where the folder holds a run and neither flag says what to do, or no whole
    checkpoint of a run to resume.
    """
    if resume and overwrite:
        raise RunError("--resume goes on with a run and --overwrite discards it: give one of them")
    if not resume:
        if checkpoint.holds_run(folder) and not overwrite:
            raise RunError(
                f"--out {folder}: already holds a run; --resume goes on, --overwrite discards it"
            )
        return None, []
    found, damaged = checkpoint.newest(folder)
    if damaged and found is None:
        names = ", ".join(file.name for file in damaged)
        raise RunError(f"--out {folder}: {names} damaged, and no other; --overwrite begins anew")
    if found is None:
        raise RunError(
            f"--out {folder}: holds no {checkpoint.PATTERN} to resume; "
            f"without --resume a new run begins there"
        )
    return found, damaged


def discard(folder: Path) -> None:
    """Drop the run that a folder holds, and nothing else that is there."""
    checkpoint.clear(folder)
    for leftover in (METRICS, CURVE):
        (folder / leftover).unlink(missing_ok=True)


def begin(request: Request, found: Checkpoint | None) -> tuple[Dataset, Training]:
    """Start a run as requested, or go on from a checkpoint with the run's own options.

    Raises RunError where a stated option is another than the run's own, or the run is past the
    steps that are stated.
    """
    if found is None:
        data = names.load(request.names)
        return data, Training(data, request.options(data.digest))
    own = found.options
    names_stated = "names" in request.stated
    file = request.names if names_stated else own.names and Path(own.names)
    data = names.load(file or None)
    if data.digest != own.digest and not names_stated:
        raise RunError(
            f"names file {file or names.default_file()}: has changed since the run began: "
            f"content {data.digest[:12]}, wanted {own.digest[:12]}"
        )
    asked = {**vars(own), **{name: getattr(request, name) for name in request.stated - {"names"}}}
    asked["digest"] = data.digest
    different = [
        f"--{FLAGS[name]} {asked[name]} (the run has {value})"
        for name, value in vars(own).items()
        if name in FLAGS and asked[name] != value
    ]
    if asked["steps"] < found.step:
        different.append(f"--steps {asked['steps']} (the run has done {found.step})")
    if different:
        raise RunError(f"--resume with other options than the run's own: {', '.join(different)}")
    return data, Training(data, Options(**asked), found)


@contextmanager
def kept_when_stopped(training: Training, folder: Path) -> Iterator[None]:
    """A run that is interrupted leaves a checkpoint, and Failure says how it goes on from there."""
    try:
        yield
    except KeyboardInterrupt:
        checkpoint.save(folder, training.checkpoint())
        raise Failure(
            f"stopped at step {training.step}; "
            f"`gradsmith train --resume --out {shlex.quote(str(folder))}` goes on"
        ) from None


def carry_on(
    training: Training, folder: Path, check_every: int, checkpoint_every: int
) -> Iterator[Advance]:
    """Train to the end, with a checkpoint at the start, which has the steps that are now asked for,
    and from time to time."""
    if not training.finished:
        checkpoint.save(folder, training.checkpoint())
    for advance in training.advance(check_every, checkpoint_every):
        if advance.step % checkpoint_every == 0 and not training.finished:
            checkpoint.save(folder, training.checkpoint())
        yield advance


def finish(training: Training, data: Dataset, folder: Path) -> Results:
    """Evaluate and sample from a finished run; write its last checkpoint, metrics and curve."""
    from gradsmith.makemore.curve import draw

    final = training.checkpoint()
    checkpoint.save(folder, final)
    model, g = model_of(final, data), final.generator()
    results = Results(
        steps=final.step,
        train_loss=model.loss(data.train),
        val_loss=model.loss(data.val),
        test_loss=model.loss(data.test),
        steps_per_second=training.steps_per_second,
        parameters=model.parameters.elements(),
        backward=final.options.backward,
        target=final.options.target,
        seed=final.options.seed,
        samples=tuple(model.sample(final.vocabulary, g) for _ in range(SAMPLES)),
    )
    write_whole(folder / CURVE, draw(final.losses), durable=True)
    metrics = json.dumps(vars(results), indent=2, ensure_ascii=False) + "\n"
    write_whole(folder / METRICS, metrics.encode(), durable=True)
    return results


def model_of(found: Checkpoint, data: Dataset | None = None) -> Model:
    """A checkpoint's model, calibrated on the run's own names where the run is not finished."""
    if found.calibration:
        return Model(found.parameters, found.calibration)
    return calibrate(found.parameters, (data or names_of(found)).train)


def names_of(found: Checkpoint) -> Dataset:
    """The data set that a run was trained on."""
    own = found.options.names
    return names.load(Path(own) if own else None, found.vocabulary)


def newest(folder: Path) -> Checkpoint:
    """The newest whole checkpoint of a run, damaged ones named on standard error.

    Raises RunError where there is none.
    """
    found, damaged = checkpoint.newest(folder)
    for file in damaged if found else ():
        click.echo(f"{file.name} is damaged: passed over", err=True)
    if found is None:
        what = f"{len(damaged)} damaged checkpoints" if damaged else "no checkpoint"
        raise RunError(f"{folder}: holds {what}; wanted the --out folder of a `gradsmith train`")
    return found
