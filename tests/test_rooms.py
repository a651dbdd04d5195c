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
    "derive": (
        *("language", "notation", "calculus", "simplification", "verification", "printing"),
        *("__init__", "derivation", "ops", "library", "files"),
    ),
    "codegen": (
        *("__init__", "program", "spelling", "templating", "processes", "writer", "cache"),
        *("lowering", "torch", "c", "pipeline"),
    ),
    "gradsmith": (
        *("__init__", "errors", "words", "options", "comparison", "emitted"),
        *("makemore", "proof", "timing", "pages", "playground", "commands", "cli", "__main__"),
    ),
}
"""The folders and the files of a room, each above those before it."""

IN_TYPES = {("derive.language.interface", "derive.language.definition")}
"""Of two modules that hold each other, the one that names the other's types alone: it imports
them for the type checker, never as it runs."""

FILES = [file for room in ROOMS for file in sorted((ROOT / room).rglob("*.py"))]


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The line and the top-level name of each import, those inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, "." if node.level else (node.module or "").split(".")[0]


def dotted(file: Path) -> str:
    """The name of the module that a file is."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {dotted(file): file for file in FILES}


def own(tree: ast.AST) -> Iterator[str]:
    """The modules of the project that are imported, wherever in a file and however it is put."""
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            while name and name not in MODULES:
                name = name.rpartition(".")[0]  # what is imported is something inside a module
            if name:
                yield name


def within(room: str) -> Iterator[tuple[str, str]]:
    """Each module of a room, with each of the same room that it imports."""
    for module, file in MODULES.items():
        if module.split(".")[0] == room:
            others = own(ast.parse(file.read_text()))
            yield from ((module, other) for other in others if other.split(".")[0] == room)


def is_for_types(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def layer(module: str) -> int:
    """How far up in its room a module is."""
    room, *inside = module.split(".")
    return LAYERS[room].index(inside[0] if inside else "__init__")


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
def test_a_layer_of_a_room_imports_only_the_layers_below_it(room: str) -> None:
    found = {path.stem for path in (ROOT / room).glob("*.py")}
    found |= {path.parent.name for path in (ROOT / room).glob("*/__init__.py")}
    assert found == set(LAYERS[room])
    assert [pair for pair in within(room) if layer(pair[0]) < layer(pair[1])] == []


@pytest.mark.parametrize("room", LAYERS)
def test_no_two_files_import_each_other_however_far_around(room: str) -> None:
    graph: dict[str, set[str]] = {}
    for module, other in set(within(room)) - IN_TYPES:
        graph.setdefault(module, set()).add(other)
    tuple(TopologicalSorter(graph).static_order())  # raises a CycleError that names them


def test_what_imports_for_types_alone_says_so_to_the_type_checker() -> None:
    for module, other in IN_TYPES:
        tree = ast.parse(MODULES[module].read_text())
        assert other in own(tree)
        tree.body = [node for node in tree.body if not is_for_types(node)]
        assert other not in own(tree)


@pytest.mark.parametrize("room", ["derive", "codegen"])
def test_the_rooms_that_only_derive_never_pay_for_torch(room: str) -> None:
    for file in (ROOT / room).rglob("*.py"):
        names = [name for _, name in imported(ast.parse(file.read_text()))]
        assert "torch" not in names, file


def test_an_import_is_seen_wherever_it_is_and_however_it_is_put() -> None:
    tree = ast.parse("def f():\n    from codegen.pipeline import compile\n    import os.path")
    assert list(imported(tree)) == [(2, "codegen"), (3, "os")]
    forms = (
        "def f():\n    from codegen import pipeline",
        "class A:\n    def f(self):\n        from codegen.pipeline import compile",
        "if True:\n    import codegen.pipeline as p",
        "import torch, codegen.pipeline",
    )
    for form in forms:
        assert list(own(ast.parse(form))) == ["codegen.pipeline"]
    assert list(own(ast.parse("from derive import Mean"))) == ["derive"]
