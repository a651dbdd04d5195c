"""Imports run downwards only: each room imports from the rooms below it, and nothing else."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
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
        *(
            "torch",
            "numpy",
            "sympy",
            "click",
            "rich",
            "safetensors",
            "filelock",
            "matplotlib",
            "platformdirs",
        ),
        *("jinja2", "markupsafe", "pygments", "fontTools"),
    },
}
LAYERS = {
    "derive": ("language", "notation", "calculus", "simplification", "verification", "printing"),
    "codegen": ("lowering", "torch", "c"),
    "gradsmith": ("makemore", "proof", "timing", "pages", "commands"),
}
"""The folders of a room, each above those before it."""

FILES = [file for room in ROOMS for file in sorted((ROOT / room).rglob("*.py"))]


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The line and the top-level name of each import, those inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, "." if node.level else (node.module or "").split(".")[0]


def whole(tree: ast.Module, room: str) -> Iterator[str]:
    """What of its room a file imports as it is loaded: a function may show what it is a part of."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{room}."):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


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


@pytest.mark.parametrize("room", LAYERS)
def test_a_folder_of_a_room_imports_only_the_folders_below_it(room: str) -> None:
    layers = LAYERS[room]
    folders = {path.name for path in (ROOT / room).iterdir() if (path / "__init__.py").exists()}
    assert folders - {"ops"} == set(layers)
    for above, layer in enumerate(layers):
        for file in (ROOT / room / layer).rglob("*.py"):
            for module in whole(ast.parse(file.read_text()), room):
                top = module.split(".")[1]
                assert top not in layers[above + 1 :], f"{file.relative_to(ROOT)}: {module}"


@pytest.mark.parametrize("room", LAYERS)
def test_no_two_files_import_each_other_however_far_around(room: str) -> None:
    graph: dict[str, set[str]] = {}
    for file in (ROOT / room).rglob("*.py"):
        name = ".".join(file.relative_to(ROOT).with_suffix("").parts)
        graph[name] = set(whole(ast.parse(file.read_text()), room))
    tuple(TopologicalSorter(graph).static_order())  # raises a CycleError that names them


@pytest.mark.parametrize("room", ["derive", "codegen"])
def test_the_rooms_that_only_derive_never_pay_for_torch(room: str) -> None:
    for file in (ROOT / room).rglob("*.py"):
        names = [name for _, name in imported(ast.parse(file.read_text()))]
        assert "torch" not in names, file


def test_an_import_that_runs_upwards_is_seen() -> None:
    tree = ast.parse("def f():\n    from codegen.pipeline import compile\n    import os.path")
    assert list(imported(tree)) == [(2, "codegen"), (3, "os")]
