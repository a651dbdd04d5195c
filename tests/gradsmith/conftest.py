"""What the application's tests share: names files, and the command line called in process."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gradsmith.cli import main
from gradsmith.makemore import dataset as names

Command = Callable[..., Result]


@pytest.fixture
def gradsmith() -> Command:
    """The command line: `gradsmith("train", "--steps", 10)`."""

    def call(*arguments: object) -> Result:
        return CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=False)

    return call


@pytest.fixture
def few_names(tmp_path: Path) -> Path:
    """A names file small enough to train on at once."""
    file = tmp_path / "few names.txt"
    file.write_text("\n".join(names.read_names(names.default_file())[::100]) + "\n")
    return file


@pytest.fixture
def finished(tmp_path: Path, few_names: Path, gradsmith: Command) -> Path:
    """A run of 120 steps, done."""
    folder = tmp_path / "a run"
    result = gradsmith(
        *("train", "--steps", 120, "--backward", "autograd", "--quiet"),
        *("--names", few_names, "--out", folder),
    )
    assert result.exit_code == 0, result.stderr
    return folder


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Has processes take SIGINT that a test starts, also where this one was told to ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def notebook_data() -> names.Dataset:
    """The notebook's own data set, which is not ours to ship."""
    if not (file := os.environ.get("GRADSMITH_NAMES")):
        pytest.skip("GRADSMITH_NAMES does not name the notebook's names file")
    return names.load(Path(file))
