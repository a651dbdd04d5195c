"""What tests of training ask of a run that is in a folder."""

from __future__ import annotations

from pathlib import Path

import torch

from gradsmith.makemore import checkpoint
from gradsmith.makemore.checkpoint import Checkpoint


def newest(folder: Path) -> Checkpoint:
    found, damaged = checkpoint.newest(folder)
    assert found is not None
    assert not damaged
    return found


def same(ours: Checkpoint, theirs: Checkpoint) -> bool:
    pairs = zip(
        (*ours.parameters, ours.losses, ours.generator_state),
        (*theirs.parameters, theirs.losses, theirs.generator_state),
        strict=True,
    )
    return all(torch.equal(a, b) for a, b in pairs)
