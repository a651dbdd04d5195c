"""What was emitted is kept by what it was emitted from, and found again by nothing else."""

from pathlib import Path

import pytest

from codegen import cache, pipeline
from codegen.cache import Cache
from derive import define
from derive.language.definition import Definition


def scaled(by: int) -> Definition:
    op = define("scaled", "A multiple of each element.")
    n = op.axes("n")
    x = op.input("x", n)
    return op.build(op.let("y", [n], by * x[n]))


def refuse(*_: object) -> None:
    raise AssertionError("derived again")


def test_an_unchanged_definition_is_not_derived_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Cache(tmp_path / "kept")
    first = pipeline.sources([scaled(2)], cache=kept)
    monkeypatch.setattr(pipeline, "_part", refuse)
    assert pipeline.sources([scaled(2)], cache=kept) == first
    with pytest.raises(AssertionError, match="derived again"):
        pipeline.sources([scaled(3)], cache=kept)
    with pytest.raises(AssertionError, match="derived again"):
        pipeline.sources([scaled(2)], command="another header", cache=kept)


def test_another_program_finds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Cache(tmp_path)
    pipeline.sources([scaled(2)], cache=kept)
    monkeypatch.setattr(cache, "_programs", lambda: "changed")
    monkeypatch.setattr(pipeline, "_part", refuse)
    with pytest.raises(AssertionError, match="derived again"):
        pipeline.sources([scaled(2)], cache=kept)


def test_a_folder_that_cannot_be_written_to_keeps_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    kept = Cache(tmp_path / "file")
    assert "def scaled" in pipeline.sources([scaled(2)], cache=kept)["scaled.py"]
    assert kept.find("any") is None
