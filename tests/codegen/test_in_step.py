"""The committed files are what is emitted today, byte for byte, whatever a process hashes by."""

from __future__ import annotations

from pathlib import Path

import pytest

import generated
from codegen import pipeline
from derive import library

pytestmark = pytest.mark.slow

FOLDERS = {"torch": Path(generated.__file__).parent, "c": Path(generated.__file__).parent / "c"}


@pytest.mark.parametrize("target", FOLDERS)
@pytest.mark.parametrize("name", library.names())
def test_the_files_of_an_operation_are_in_step(
    name: str, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "in_processes", map)  # what is derived already is here
    for file, text in pipeline.sources([library.load(name)], target=target).items():
        assert (FOLDERS[target] / file).read_text(encoding="utf-8") == text


@pytest.mark.parametrize(("target", "endings"), [("torch", [".py"]), ("c", [".c", ".py"])])
def test_a_folder_holds_the_files_of_its_operations_and_no_others(
    target: str, endings: list[str]
) -> None:
    found = {path.name for path in FOLDERS[target].iterdir() if path.suffix in (".py", ".c")}
    shared = {"__init__.py", *pipeline.TARGETS[target].shared()}
    assert found - shared == {name + ending for name in library.names() for ending in endings}
