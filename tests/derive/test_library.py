"""Definitions are found in the library and in files, and what is wrong with a file is said."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TypeGuard

import pytest

from derive import DefinitionError, library
from derive.files import load_definitions

WHOLE = """
from derive import define

op = define("double", "Twice the input.")
n = op.axes("n")
x = op.input("x", n)
double = op.build(op.let("y", [n], 2 * x[n]))
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.py"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_operation_has_a_name_of_its_own_and_a_summary() -> None:
    names = library.names()
    assert names == sorted(set(names))
    for name in names:
        definition = library.load(name)
        assert definition.name == name
        assert definition.summary.endswith(".") and "\n" not in definition.summary


def test_a_definition_takes_ten_lines_on_average() -> None:
    files = [Path(file) for file in {library.load(name).source for name in library.names()}]
    lines = sum(len(written(file)) for file in files)
    assert lines <= 10 * len(library.names())


def written(file: Path) -> set[int]:
    """The lines of a file that hold code, besides its imports and what it says of itself."""
    tree = ast.parse(file.read_text())
    imports = {
        line
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for line in range(node.lineno, (node.end_lineno or 0) + 1)
    }
    sayings = {node.lineno for node in ast.walk(tree) if _is_docstring(node)}
    holding = {
        number
        for number, line in enumerate(file.read_text().splitlines(), start=1)
        if line.strip() and not line.strip().startswith("#")
    }
    return holding - imports - sayings


def _is_docstring(node: ast.AST) -> TypeGuard[ast.Expr]:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def test_the_model_holds_its_callees_but_is_its_files_only_operation() -> None:
    callees = [call.callee.name for call in library.load("makemore_mlp").calls]
    assert callees == ["embedding", "batch_norm", "tanh", "cross_entropy"]


def test_the_chunked_model_wants_all_26_gradients_of_the_notebook() -> None:
    definition = library.load("makemore_mlp_chunked")
    assert definition.chunked
    assert len(definition.wrt) == 26
    assert definition.wrt[0] == "logprobs" and definition.wrt[-1] == "C"


def test_an_unknown_operation_is_answered_with_the_nearest() -> None:
    with pytest.raises(DefinitionError, match="did you mean 'batch_norm'"):
        library.load("batchnorm")


def test_a_file_gives_its_definitions_by_name_in_its_order(tmp_path: Path) -> None:
    more = 'op = define("triple", "Thrice.")\nn = op.axes("n")\nx = op.input("x", n)\n'
    more += 'other = op.build(op.let("y", [n], 3 * x[n]))\n'
    found = load_definitions(write(tmp_path, WHOLE + more))
    assert list(found) == ["double", "triple"]


def test_what_a_file_imports_from_the_library_is_not_its_own(tmp_path: Path) -> None:
    imports = "from derive.ops.softmax import softmax\n"
    assert list(load_definitions(write(tmp_path, imports + WHOLE))) == ["double"]


def test_what_a_file_begins_by_a_function_of_the_library_is_its_own(tmp_path: Path) -> None:
    text = "from derive.ops.activations import elementwise\n"
    text += 'op, n, x = elementwise("double", "Twice the input.")\n'
    path = write(tmp_path, text + 'double = op.build(op.let("y", [n], 2 * x[n]))\n')
    assert load_definitions(path)["double"].source == str(path)


def test_a_file_may_hold_a_name_that_the_library_has(tmp_path: Path) -> None:
    path = write(tmp_path, WHOLE.replace('"double"', '"softmax"'))
    assert load_definitions(path)["softmax"] != library.load("softmax")


def test_one_definition_under_two_names_counts_once(tmp_path: Path) -> None:
    assert list(load_definitions(write(tmp_path, WHOLE + "again = double\n"))) == ["double"]


def test_two_definitions_of_one_name_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, WHOLE + WHOLE.replace("double =", "second ="))
    with pytest.raises(DefinitionError, match="two definitions are named 'double'"):
        load_definitions(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match=r"absent\.py: there is no such file"):
        load_definitions(tmp_path / "absent.py")


def test_a_file_without_definitions_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="no definition inside; assign op"):
        load_definitions(write(tmp_path, "x = 1\n"))


def test_a_definition_that_is_never_built_is_named(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="operation 'double' is never built"):
        load_definitions(write(tmp_path, WHOLE.rsplit("\n", 2)[0]))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import nowhere_to_be_found", "ModuleNotFoundError"),
        ("def (", "SyntaxError"),
        ('op.let("z", [n], x[m])', "NameError"),
        ('z = op.let("z", [n], z[n - 1])', "'z' is not defined; there are no recurrences or scans"),
        ('op.input("x", n)', "input 'x' in 'double'"),
    ],
)
def test_what_a_file_raises_is_shown_with_its_line(tmp_path: Path, line: str, problem: str) -> None:
    path = write(tmp_path, WHOLE + line + "\n")
    number = len(WHOLE.splitlines()) + 1
    with pytest.raises(DefinitionError, match=rf"mine\.py:{number}: ") as caught:
        load_definitions(path)
    assert problem in str(caught.value)


def test_a_name_that_is_not_there_is_no_recurrence(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match=r"name 'm' is not defined$"):
        load_definitions(write(tmp_path, WHOLE + 'z = op.let("z", [n], x[m])\n'))


def test_the_line_is_the_files_own_where_a_relative_path_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, WHOLE + "1 / 0\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DefinitionError, match=r"mine\.py:8: "):
        load_definitions("mine.py")


def test_executing_a_file_leaves_no_module_behind(tmp_path: Path) -> None:
    import sys

    before = set(sys.modules)
    load_definitions(write(tmp_path, WHOLE))
    assert not {name for name in set(sys.modules) - before if "mine" in name}
