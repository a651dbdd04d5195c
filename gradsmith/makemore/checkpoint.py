"""Checkpoints: everything a run needs to go on bit for bit, in one safetensors file each.

A file appears whole or not at all: it is written beside its place and moved there. The newest
two are kept, so that a damaged one costs the steps since the one before.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from torch import Generator, Tensor

from codegen.writer import UNFINISHED, write_whole
from gradsmith.makemore.model import Calibration
from gradsmith.makemore.notebook import Parameters

KEPT = 2
PATTERN = "checkpoint-*.safetensors"
_FORMAT = "gradsmith 1"


@dataclass(frozen=True)
class Options:
    """What shapes a run's result. `names` is the names file, None for the default one."""

    steps: int
    backward: str
    seed: int
    names: str | None
    digest: str
    target: str = "torch"


@dataclass(frozen=True)
class Checkpoint:
    """A run after `step` steps: its parameters, its generator's state, and every loss so far.

    A finished run's is calibrated; on the way that would cost more than the steps between.
    """

    options: Options
    vocabulary: tuple[str, ...]
    step: int
    seconds: float
    parameters: Parameters
    calibration: Calibration | None
    generator_state: Tensor
    losses: Tensor

    def generator(self) -> Generator:
        """A generator that draws what the run would draw next."""
        g = Generator()
        g.set_state(self.generator_state)
        return g


class DamagedCheckpoint(Exception):
    """A file that is not a whole checkpoint."""


def save(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint into a run's folder, and drop all but the newest two."""
    tensors = {
        **checkpoint.parameters._asdict(),
        **(checkpoint.calibration._asdict() if checkpoint.calibration else {}),
        "generator_state": checkpoint.generator_state,
        "losses": checkpoint.losses,
    }
    record = {
        "options": asdict(checkpoint.options),
        "vocabulary": checkpoint.vocabulary,
        "step": checkpoint.step,
        "seconds": checkpoint.seconds,
    }
    metadata = {"format": _FORMAT, "run": json.dumps(record)}
    file = folder / f"checkpoint-{checkpoint.step:09d}.safetensors"
    write_whole(file, serialise(tensors, metadata), durable=True)
    for old in _files(folder)[KEPT:]:
        old.unlink(missing_ok=True)
    return file


def load(file: Path) -> Checkpoint:
    """Read a checkpoint. Raises DamagedCheckpoint where the file is not a whole one."""
    try:
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
            names = opened.keys()
            # What is opened is the mapped file: a copy does not change or crash with it.
            tensors = {name: opened.get_tensor(name).clone() for name in names}
        record = json.loads(metadata["run"])
        losses = tensors["losses"]
        if metadata["format"] != _FORMAT or len(losses) != record["step"]:
            raise DamagedCheckpoint(f"{file}: another format")
        parameters = Parameters(*(tensors.pop(name) for name in Parameters._fields))
        calibrated = tensors.keys() >= set(Calibration._fields)
        return Checkpoint(
            Options(**record["options"]),
            tuple(record["vocabulary"]),
            record["step"],
            record["seconds"],
            parameters,
            Calibration(tensors["bnmean"], tensors["bnvar"]) if calibrated else None,
            tensors["generator_state"],
            losses,
        )
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise DamagedCheckpoint(f"{file}: {error}") from error


def newest(folder: Path) -> tuple[Checkpoint | None, list[Path]]:
    """A run's newest whole checkpoint, None where there is none, and the damaged newer ones."""
    damaged: list[Path] = []
    for file in _files(folder):
        try:
            return load(file), damaged
        except DamagedCheckpoint:
            damaged.append(file)
    return None, damaged


def holds_run(folder: Path) -> bool:
    return bool(_files(folder))


def clear(folder: Path) -> None:
    """Drop a run's checkpoints, and what a killed run left unfinished; nothing else."""
    for file in (*_files(folder), *folder.glob(f"{UNFINISHED}*")):
        file.unlink(missing_ok=True)


def _files(folder: Path) -> list[Path]:
    """The checkpoints in a folder, newest first."""
    return sorted(folder.glob(PATTERN), key=_step, reverse=True)


def _step(file: Path) -> int:
    digits = re.search(r"\d+", file.stem)
    return int(digits[0]) if digits else -1
