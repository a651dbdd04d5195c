"""Imports run downwards only: each room imports from the rooms below it, and nothing else."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# An expression is SymPy's wherever it is read, and mpmath is what SymPy computes with.
ROOMS = {
    "derive": {"sympy", "mpmath", "lark"},
    "codegen": {"derive", "sympy", "jinja2", "ruff"},
    "generated": {"torch"},
    "gradsmith": {
        *("derive", "codegen", "generated"),
        *("torch", "numpy", "sympy", "click", "rich", "safetensors", "matplotlib", "platformdirs"),
        *("jinja2", "markupsafe", "pygments", "fontTools"),
    },
}
FILES = [file for room in ROOMS for file in sorted((ROOT / room).rglob("*.py"))]


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The line and the top-level name of each import, those inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, "." if node.level else (node.module or "").split(".")[0]


@pytest.mark.parametrize("file", FILES, ids=[str(file.relative_to(ROOT)) for file in FILES])
def test_a_file_imports_only_its_own_room_and_those_below(file: Path) -> None:
    room = file.relative_to(ROOT).parts[0]
    allowed = ROOMS[room] | sys.stdlib_module_names
    # What is emitted stands alone: a generated file does not import its neighbour, but for those
    # that call C, which share a loader and have torch's for what C does not serve.
    allowed |= set() if room == "generated" else {room}
    if file.parent == ROOT / "generated" / "c":
        allowed |= {"."} if file.name != "loader.py" else {"platformdirs"}
    wrong = [
        f"line {line}: {name}"
        for line, name in imported(ast.parse(file.read_text()))
        if name not in allowed
    ]
    assert not wrong, f"{file.relative_to(ROOT)} may not import {', '.join(wrong)}"


@pytest.mark.parametrize("room", ["derive", "codegen"])
def test_the_rooms_that_only_derive_never_pay_for_torch(room: str) -> None:
    for file in (ROOT / room).rglob("*.py"):
        names = [name for _, name in imported(ast.parse(file.read_text()))]
        assert "torch" not in names, file


def test_an_import_that_runs_upwards_is_seen() -> None:
    tree = ast.parse("def f():\n    from codegen.pipeline import compile\n    import os.path")
    assert list(imported(tree)) == [(2, "codegen"), (3, "os")]
